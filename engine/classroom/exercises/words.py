"""From wrong numbers to words that help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine.checking import Report
from engine.checking.diagnosis.patterns import pattern, shape_in_words
from engine.classroom.exercises.pair import WrongError

#: Relative to the largest right value: results this close are the same.
CLOSE = 1e-7
#: Words for what the checker calls the cause.
HINTS = {
    "input mutated": "an in-place change: the function writes into an array that it was given; work on a copy",
    "non-deterministic": "two calls with the same numbers give different results: is something left over from "
    "the call before?",
    "non-finite": "NaN or infinity: exp of a large number, log of 0, or a division by 0?",
    "kink": "the gradient departs at a corner of the function",
    "cannot tell": "rounding hides the answer: are there float32 numbers in your code?",
}


def same(found: Any, right: Any) -> bool:
    """Whether two arrays have one shape and the same values to round-off."""
    found, right = np.asarray(found), np.asarray(right)
    if found.shape != right.shape or not {found.dtype.kind, right.dtype.kind} <= set("fiub"):
        return False
    size = float(np.abs(right).max(initial=0.0))
    return bool(np.all(np.abs(found - right) <= CLOSE * max(size, 1e-300) + 1e-12))


def require_array(
    name: str, value: Any, shape: tuple[int, ...], others: Mapping[str, tuple[int, ...]] | None = None
) -> np.ndarray:
    """The value as an array of that shape; `others` are the shapes of what is returned beside it.

    Raises
    ------
    WrongError
        with words on what is the matter.
    """
    if value is None:
        raise WrongError(f"{name} is None: is a return missing?")
    if not isinstance(value, (np.ndarray, int, float)) or isinstance(value, bool):
        raise WrongError(f"{name} must be an array of shape {shape}; it is a {type(value).__name__}")
    array = np.asarray(value)
    if array.shape != shape:
        for other, its in (others or {}).items():
            if other != name and array.shape == its:
                raise WrongError(f"{name} has shape {array.shape} in place of {shape}: it has {other}'s shape: order?")
        raise WrongError(f"{name} has {shape_in_words(array.shape, shape)}")
    if array.dtype.kind not in "fiu":
        raise WrongError(f"{name} has dtype {array.dtype}; it must be floats")
    return array.astype(np.float64)


def sound(suspects: Iterable[Any]) -> Iterator[Any]:
    """The suspects up to the first that fails: a failing one must not keep the student's file from being judged."""
    try:
        yield from suspects
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return


def fits(found: Sequence[Any], right: Sequence[Any], wrong: Sequence[Any]) -> bool:
    """Whether what came out is what a mistake gives: in one output that it spoils, or in all if it spoils none here."""
    spoilt = [place for place, value in enumerate(wrong) if not same(value, right[place])]
    return any(same(found[place], wrong[place]) for place in spoilt) if spoilt else all(map(same, found, right))


def exchanged(found: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> list[str]:
    """Pairs of gradients of one shape that stand in each other's place."""
    names = [name for name in found if name in right]
    return [
        f"d{one} and d{other} are exchanged: look at the order of what is returned"
        for place, one in enumerate(names)
        for other in names[place + 1 :]
        if not same(right[one], right[other]) and same(found[one], right[other]) and same(found[other], right[one])
    ]


def compare(
    name: str, value: Any, right: np.ndarray, suspects: Iterable[tuple[str, Any]] = (), timed: bool = False
) -> None:
    """Raise `WrongError` with words unless the value is right.

    Parameters
    ----------
    name : what it is called, for the student.
    value : whatever came back.
    right : what it should be.
    suspects : mistakes with the values they would give.
    timed : whether axis 0 is time.
    """
    right = np.asarray(right)
    found = require_array(name, value, right.shape)
    if same(found, right):
        return
    for words, wrong in sound(suspects):
        if wrong is not None and not same(wrong, right) and same(found, wrong):
            raise WrongError(f"{name} is wrong: {words}")
    raise WrongError(f"{name} is wrong: {_departure(found, right, timed)}")


def _departure(found: np.ndarray, right: np.ndarray, timed: bool) -> str:
    size = float(np.abs(right).max(initial=0.0))
    departs = ~(np.abs(found - right) <= CLOSE * size + 1e-12)
    said = []
    if timed and right.ndim > 1 and len(right) > 1:
        steps = np.flatnonzero(departs.reshape(len(right), -1).any(axis=1))
        if steps[0] > 0:
            said.append(f"right up to step {steps[0] - 1}, wrong from step {steps[0]} on: look at what a step hands on")
        elif len(steps) < len(right):
            said.append(f"wrong at steps {', '.join(map(str, steps))} only")
    if np.isfinite(right).all() and not np.isfinite(found).all():
        return "NaN or infinity: exp of a large number, log of 0, or a division by 0?"
    if right.ndim == 0:
        said.append(f"it is {float(found):.6g}, and should be {float(right):.6g}")
    words = pattern(found, right, departs)
    said += [words] if words else []
    if not said:
        said.append(f"{np.count_nonzero(departs)} of {right.size} entries differ, by up to {_gap(found, right):.1e}")
    return "; ".join(said)


def _gap(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.nanmax(np.abs(found - right), initial=0.0))


def matching(
    found: dict[str, np.ndarray], right: dict[str, np.ndarray], suspects: Iterable[Any]
) -> dict[str, list[str]]:
    """The suspects whose gradients are those that were found, with the wrong ones among these that they explain.

    A suspect that explains every wrong gradient stands alone.
    """
    wrong = {name for name, value in right.items() if not same(found[name], value)}
    partly: dict[str, str] = {}
    for words, gradients in sound(suspects):
        fits = {name for name, value in gradients.items() if name in found and same(found[name], value)}
        if fits == set(gradients) & set(found) and fits & wrong:
            departing = {name for name in fits & wrong if not same(gradients[name], right[name])}
            if departing == wrong:
                return {words: []}
            for name in departing:
                partly.setdefault(f"d{name}", words)
    return {words: [name for name in partly if partly[name] == words] for words in partly.values()}


def report_in_words(report: Report, specific: Sequence[str] = ()) -> str:
    """What a gradient check says, for a student who has not read how it works."""
    lines = [f"likely: {words}" for words in specific]
    wrong = [row for row in report.rows if row.verdict not in ("ok", "not looked at")]
    right = [f"d{row.name}" for row in report.rows if row.verdict == "ok"]
    if report.verdict in HINTS:
        lines.append(HINTS[report.verdict])
    for row in wrong:
        said = f": {row.words}" if row.words else ""
        lines.append(f"d{row.name} is {row.verdict}{said}")
    if right:
        lines.append(f"right: {', '.join(right)}")
    if report.diagnosis is not None and not specific:
        lines.append(f"where to look: {report.diagnosis}")
    return "\n".join(lines)
