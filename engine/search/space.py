"""The space of a search: which values vary, and between what limits.

A space is written as a mapping from names to one of

- ``"LOW:HIGH"``, with ``:log`` for a scale on which each factor counts the same, ``:int`` for whole numbers, or
  ``:STEP`` for numbers that far apart;
- ``(low, high)`` or ``(low, high, "log")``: two integers mean whole numbers;
- a list of choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import bad_input, bad_type

_FORM = "LOW:HIGH, with :log, :int or :STEP behind it"
#: More points than these on a grid are a mistake: they would never be trained.
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Dimension:
    """One value that varies.

    Attributes
    ----------
    name : of the value.
    choices : what it may be; empty for a range.
    low, high : the limits of a range, both included.
    whole : whether its values are integers.
    log : whether each factor counts the same.
    step : how far its values are apart; None: not fixed.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Any) -> Any:
        """The value for a trial of Optuna."""
        if self.choices:
            return trial.suggest_categorical(self.name, list(self.choices))
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log, step=step)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)

    def points(self, count: int) -> list[Any]:
        """Its values on a grid: all choices or steps, or `count` values from low to high."""
        if self.choices:
            return list(self.choices)
        if self.step is not None or (self.whole and self.high - self.low < count):
            values = np.arange(self.low, self.high + (self.step or 1) / 2, self.step or 1)
        else:
            values = np.geomspace(self.low, self.high, count) if self.log else np.linspace(self.low, self.high, count)
            values[0], values[-1] = self.low, self.high
        return list(dict.fromkeys(round(value) if self.whole else float(value) for value in values))

    def ends(self) -> list[Any]:
        """The values to check: all choices, or the limits."""
        if self.choices:
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.whole else [self.low, self.high]

    def to_json(self) -> Any:
        """What it is, for the record of a study."""
        if self.choices:
            return list(self.choices)
        marks = ["log"] * self.log + ["int"] * self.whole
        marks += [] if self.step is None else [f"{self.step:.12g}"]
        return ":".join([f"{self.low:.12g}", f"{self.high:.12g}", *marks])


def make_space(given: Any, argument: str = "space") -> list[Dimension]:
    """The dimensions of a mapping.

    Raises
    ------
    InputError
        for anything but a mapping from names to ranges and choices, or if there are none.
    """
    if not isinstance(given, Mapping):
        raise bad_type(argument, "a mapping from names to ranges and choices", describe(given))
    if not given:
        raise bad_input(argument, "at least one value that varies", "none", f'such as {{"lr": {_EXAMPLE}}}')
    return [_dimension(name, value, f"{argument}[{name!r}]") for name, value in given.items()]


_EXAMPLE = '(1e-4, 1e-1, "log")'


def _dimension(name: Any, value: Any, place: str) -> Dimension:
    if not isinstance(name, str) or not name.isidentifier():
        raise bad_input(place, "a name such as 'lr' or 'hidden'", describe(name))
    if isinstance(value, str):
        return read_range(name, value, place)
    if isinstance(value, list):
        return choices_of(name, value, place)
    if isinstance(value, tuple) and len(value) in (2, 3):
        low, high = value[:2]
        scale = value[2] if len(value) == 3 else None
        if not all(
            isinstance(v, int | float | np.integer | np.floating) and not isinstance(v, bool) for v in value[:2]
        ):
            raise bad_type(place, f"two numbers and possibly 'log', such as {_EXAMPLE}", describe(value))
        if scale not in (None, "log"):
            raise bad_input(place, f"two numbers and possibly 'log', such as {_EXAMPLE}", describe(scale))
        whole = all(isinstance(v, int | np.integer) for v in (low, high))
        return make_range(Dimension(name, (), low, high, whole, scale == "log"), place)
    expected = f"a range such as {_EXAMPLE} or '1e-4:1e-1:log', or a list of choices"
    raise bad_type(place, expected, describe(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def choices_of(name: str, values: Sequence[Any], place: str) -> Dimension:
    """A dimension of these choices."""
    for value in values:
        if not isinstance(value, str | int | float | bool | None):
            hint = "give names or numbers here, and let them mean something in your function"
            raise bad_type(place, "choices that are texts, numbers, True, False or None", describe(value), hint)
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_input(place, "finite choices", f"{value}")
    if not values:
        raise bad_input(place, "at least one choice", "none")
    if len(set(map(repr, values))) < len(values):
        raise bad_input(place, "choices that differ", describe(next(v for v in values if values.count(v) > 1)))
    return Dimension(name, tuple(values))


def read_range(name: str, text: str, place: str, whole: bool = False) -> Dimension:
    """The dimension that ``LOW:HIGH`` describes, with marks behind it.

    Parameters
    ----------
    whole : whether its values are integers even without a mark.
    """
    parts = text.split(":")
    if len(parts) < 2:
        raise bad_input(place, _FORM, repr(text))
    marks = [mark for mark in parts[2:] if mark in ("log", "int")]
    steps = [mark for mark in parts[2:] if mark not in ("log", "int")]
    if len(steps) > 1 or len(set(marks)) < len(marks):
        raise bad_input(place, _FORM, repr(text))
    low, high, *step = (_number(part, text, place) for part in [*parts[:2], *steps])
    whole = whole or "int" in marks
    found = Dimension(name, (), low, high, whole, "log" in marks, step[0] if step else None)
    return make_range(found, place)


def _number(word: str, text: str, place: str) -> float:
    try:
        if word != word.strip() or "_" in word or not word.isascii():
            raise ValueError
        return float(word)
    except ValueError:
        raise bad_input(place, _FORM, repr(text)) from None


def make_range(given: Dimension, place: str) -> Dimension:
    """The dimension, after a check of its limits."""
    low, high, step = given.low, given.high, given.step
    if not (math.isfinite(low) and math.isfinite(high)):
        raise bad_input(place, "finite limits", f"{low:g} to {high:g}")
    if given.whole and not (float(low).is_integer() and float(high).is_integer()):
        raise bad_input(place, "limits that are integers, as the values are", f"{low:g} to {high:g}")
    if not low < high:
        raise bad_input(place, "a range from a smaller to a larger number", f"{low:g} to {high:g}")
    if given.log and low <= 0:
        raise bad_input(place, "a range above 0 on a logarithmic scale", f"{low:g} to {high:g}", "leave log out")
    if step is not None and (given.log or not 0 < step <= high - low or (given.whole and not float(step).is_integer())):
        got = f"{step:g}" + " with log" * given.log
        raise bad_input(place, "a step > 0 within the range, whole where the values are, and no log beside it", got)
    return replace(given, low=float(low), high=float(high))


def grid(space: Sequence[Dimension], count: int, place: str) -> dict[str, list[Any]]:
    """The values of each dimension on a grid with `count` points to a range."""
    found = {dimension.name: dimension.points(count) for dimension in space}
    size = math.prod(map(len, found.values()))
    if size > MOST_POINTS:
        raise bad_input(place, f"a grid of at most {MOST_POINTS:,} points", f"{size:,}", "vary fewer values")
    return found


def from_options(
    ranges: Sequence[str],
    choices: Sequence[str],
    type_of: Callable[[str, str], type],
    label: Callable[[str], str] = str,
) -> list[Dimension]:
    """The space that options of the command line describe: ``NAME=LOW:HIGH...`` and ``NAME=A,B,C``.

    Parameters
    ----------
    type_of : the type of the option of that name, for an argument that is named in an error.
    """
    found: list[Dimension] = []
    for option, words in (("ranges", ranges), ("choices", choices)):
        for word in words:
            shown, equals, text = word.partition("=")
            name, place = shown.strip("-").replace("-", "_"), label(option)
            if not equals or not name:
                form = "NAME=LOW:HIGH" if option == "ranges" else "NAME=A,B,C"
                raise bad_input(place, form, repr(word))
            kind = type_of(name, place)
            place = f"{place} {shown}"
            if any(dimension.name == name for dimension in found):
                raise bad_input(place, "each option once", "it twice", "give one range or one list of choices")
            if option == "choices":
                values = [_value(part, kind, place) for part in text.split(",")]
                found.append(choices_of(name, values, place))
            elif kind in (int, float):
                found.append(read_range(name, text, place, whole=kind is int))
            else:
                raise bad_input(place, "an option that is a number", "one that is not", f"use --choice {shown}=A,B")
    return found


def _value(word: str, kind: type, place: str) -> Any:
    """A choice, in the type of its option."""
    if kind is bool:
        if word not in ("true", "false"):
            raise bad_input(place, "true,false", repr(word))
        return word == "true"
    if kind is str:
        return word
    try:
        if "_" in word or not word.isascii():
            raise ValueError
        return kind(word)
    except ValueError:
        raise bad_input(place, f"{'whole ' * (kind is int)}numbers with a comma between them", repr(word)) from None
