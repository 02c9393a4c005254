"""The options of a check of someone's functions or objects, made sure of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.checking.subjects.shapes.arguments import Convention
from engine.checks import describe, integer
from engine.errors import bad_input, bad_type

#: What a check may let pass on demand.
ALLOWED = ("mutation",)


@dataclass(frozen=True)
class Shape:
    """How someone's functions are to be read; see `engine.check_gradients`."""

    names: Sequence[str]
    time_axis: int | None = None
    gates: Sequence[str] | None = None
    gate_axis: int | None = None
    check: Any = None
    fixed: Mapping[str, Any] | None = None
    convention: Convention | None = None
    narrow: bool = False  # whether backward works in float32, whatever the inputs are


def read_shape(
    time_axis: Any, gates: Any, gate_axis: Any, check: Any, fixed: Any, convention: Convention | None = None
) -> Shape:
    """How the functions are to be read, made sure of; the names of the inputs are added when they are known."""
    if time_axis is not None and integer("time_axis", time_axis, 0) > 2:
        raise bad_input("time_axis", "0, 1 or 2", describe(time_axis))
    axis = None if gate_axis is None else integer("gate_axis", gate_axis, -2)
    return Shape((), time_axis, gate_names(gates), axis, check, fixed, convention)


def input_names(given: Any, own: Sequence[str]) -> list[str]:
    """The names of the inputs: those that were given, or their own."""
    if given is None:
        return list(own)
    if isinstance(given, str) or not isinstance(given, (tuple, list)) or not all(isinstance(g, str) for g in given):
        raise bad_type("names", "a list of names of the inputs", describe(given))
    if len(given) != len(own) or len(set(given)) != len(given):
        raise bad_input("names", f"{len(own)} different names, one for each input", ", ".join(given))
    return list(given)


def gate_names(gates: Any) -> tuple[str, ...] | None:
    """The names of gate blocks, a letter each or in a list."""
    if gates is None:
        return None
    if not isinstance(gates, (str, tuple, list)) or not all(isinstance(gate, str) for gate in gates):
        raise bad_type("gates", 'names of gates, such as "ifgo" or ["reset", "update"]', describe(gates))
    if len(gates) < 2 or len(set(gates)) != len(gates):
        raise bad_input("gates", "two or more different names", repr(gates))
    return tuple(gates)


def allowed(allow: Any) -> tuple[str, ...]:
    """What may pass beside right gradients."""
    hint = 'write allow=("mutation",)'
    if not isinstance(allow, (tuple, list, set, frozenset, dict)):
        raise bad_type("allow", 'a tuple that may hold "mutation"', describe(allow), hint)
    for one in allow:
        if not isinstance(one, str) or one not in ALLOWED:
            raise bad_input("allow", 'a tuple that may hold "mutation"', describe(one), hint)
    return tuple(allow)
