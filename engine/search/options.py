"""What may vary in ``bptt tune``: the options of ``bptt train`` that suit the task, and what varies by default."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import bad_input
from engine.search.space import Dimension, from_options
from engine.training.config import DEFAULTS, LAYERS, PARTICULAR, field_names
from engine.training.kinds import TaskKind
from engine.training.option_rules import OPTIMIZERS_WITH, RULES
from engine.training.rules import shown

#: Options that say what is learnt, from what, and how it is measured: trials that differ in them cannot be compared.
_FIXED = frozenset(
    "task files data column missing time sort regular decimal delimiter encoding skip horizon season scaling "
    "validation test from_run freeze rates own report_every validate_every checkpoint_every backend".split()
)
_TYPES: dict[str, type] = {"steps": int, "epochs": float, "minutes": float}


def values_of(space: Sequence[Dimension], given: Mapping[str, Any], draw: Callable[[Dimension], Any]) -> dict[str, Any]:
    """A value of each dimension that has a meaning beside those before it: momentum is drawn for SGD, not for Adam.

    Parameters
    ----------
    given : the options that are the same in all trials.
    draw : the value of a dimension.
    """
    found: dict[str, Any] = {}
    for dimension in space:
        users = OPTIMIZERS_WITH.get(dimension.name)
        if users is None or {**given, **found}.get("optimizer", "adam") in users:
            found[dimension.name] = draw(dimension)
    return found


def default_space(kind: type[TaskKind], given: Mapping[str, Any]) -> list[Dimension]:
    """What varies if nobody says so: the learning rate, the cell, the units, and dropout, where the task has them.

    The learning rate lies up to ten times above and below the task's default, the units between a quarter and twice.
    """
    if kind.varies:
        found = from_options(kind.varies, (), lambda name, place: _type_of(kind, name, place))
        return [dimension for dimension in found if dimension.name not in given]
    usual = {**DEFAULTS, **kind.defaults}
    rate, hidden = usual["lr"], usual["hidden"]
    found = [Dimension("lr", (), rate / 10, rate * 10, log=True)]
    if "cell" in kind.shared:
        found.append(Dimension("cell", ("lstm", "gru")))
    if "hidden" in kind.shared:
        found.append(Dimension("hidden", (), max(1, hidden // 4), hidden * 2, whole=True, log=True))
    if "dropout" in kind.shared:
        found.append(Dimension("dropout", (), 0.0, 0.5))
    return [dimension for dimension in found if dimension.name not in given]


def space_of(
    kind: type[TaskKind],
    ranges: Sequence[str],
    choices: Sequence[str],
    given: Mapping[str, Any],
    label: Callable[[str], str],
) -> list[Dimension]:
    """What varies, checked option by option."""
    found = from_options(ranges, choices, lambda name, place: _type_of(kind, name, place), label)
    if not found:
        found = default_space(kind, given)
    if not found:
        raise bad_input(label("ranges"), "something that varies", "nothing", "leave one of the fixed options out")
    rules = {**RULES, **{option.name: option.rule for option in kind.own}}
    for dimension in found:
        name = dimension.name
        if name in given:
            raise bad_input(label(name), "an option that does not vary", "one that does too", "leave one of them out")
        for value in dimension.ends():
            expected = rules[name].fault(value)
            if expected is not None:
                option = label("choices" if dimension.choices else "ranges")
                raise bad_input(f"{option} {name.replace('_', '-')}", expected, shown(value))
    # A value that others depend on is drawn first.
    return sorted(found, key=lambda dimension: dimension.name != "optimizer")


def _type_of(kind: type[TaskKind], name: str, place: str) -> type:
    """The type of an option of ``bptt train`` that may vary with this task."""
    own = {option.name: option for option in kind.own if not option.source}
    shared = {one for one in field_names() - _FIXED if one not in PARTICULAR or one in kind.shared}
    known = {one: _TYPES.get(one, type(DEFAULTS[one])) for one in shared}
    known |= {one: option.value_type() for one, option in own.items() if option.value_type() is not tuple}
    if name in known:
        return known[name]
    words = name.replace("_", "-")
    if name in _FIXED:
        raise bad_input(
            place, "an option that may differ from trial to trial", repr(words), "fix it: give it as to train"
        )
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0].replace('_', '-')!r}?" if close else "bptt train --help lists them"
    layers = " that the task has" if name in LAYERS else ""
    raise bad_input(place, f"an option of bptt train{layers}", repr(words), hint)
