"""The options of a check of someone's functions or objects, made sure of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.checks import describe
from engine.errors import bad_input, bad_type

#: What a check may let pass on demand.
ALLOWED = ("mutation",)


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
