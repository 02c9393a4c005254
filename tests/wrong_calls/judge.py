"""Make a call with wrong arguments and judge what came of it."""

from __future__ import annotations

import dataclasses
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.errors import BackendUnavailableError, EngineError
from engine.layers.base import Layer
from engine.optimizers.base import Optimizer
from engine.optimizers.schedules import Schedule
from wrong_calls import pool
from wrong_calls.calls import CATALOGUE, Call, Place
from wrong_calls.domains import Illegal

#: The one form of every message: one line, and not a page of it.
SENTENCE = re.compile(r"\A[^\n]+?: expected [^\n]+, got [^\n]+\Z")
#: That of a cell whose functions disagree: the cell, the function and the line, then what is wrong.
OF_A_CELL = re.compile(r"\Acell '[^\n]+?'[^\n]*: [^\n]+\Z")
UNAVAILABLE = re.compile(r"\A(backend|kernels) '[^\n]+' cannot be used here: [^\n]+\Z")
LONGEST = 1000

REFUSED, RIGHT, FAILED = "refused", "accepted and right", "failure"


class Example(NamedTuple):
    """A call, written down: the entry, and for one or more arguments a recipe of `pool.make`."""

    entry: str
    wrong: dict[str, tuple[Any, ...]]


class Outcome(NamedTuple):
    """What came of it: `REFUSED`, `RIGHT` or `FAILED`, and why."""

    verdict: str
    why: str = ""


def judge(example: Example, place: Place) -> Outcome:
    """Make the call of an example."""
    build = CATALOGUE[example.entry]
    call, again = build(place), build(place)
    plain, legal = _plain_arguments(example, again)
    before = flattened(call.watched())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = flattened(call.run(**_wrong_arguments(example, call)))
        except EngineError as error:
            return _refusal(error, before == flattened(call.watched()))
        except Exception as error:
            return Outcome(FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    if not legal:
        return Outcome(FAILED, "accepted, and is no legal value")
    said = [warning for warning in said if not warning.category.__module__.startswith("engine")]
    if said:
        return Outcome(FAILED, f"{said[0].category.__name__}: {said[0].message}")
    return _compared(result, again, plain)


def _compared(result: Any, call: Call, plain: dict[str, Any]) -> Outcome:
    """Whether the call with the plain forms of its arguments gives the same."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = flattened(call.run(**{name: a.valid for name, a in call.arguments.items()} | plain))
    except Exception as error:
        return Outcome(FAILED, f"accepted, but its plain form gives {type(error).__name__}: {error}")
    return Outcome(RIGHT) if result == wanted else Outcome(FAILED, "accepted, with another result than its plain form")


def _refusal(error: EngineError, untouched: bool) -> Outcome:
    form = UNAVAILABLE if isinstance(error, BackendUnavailableError) else SENTENCE
    try:
        message = str(error)
    except Exception:
        return Outcome(FAILED, f"a {type(error).__name__} whose message cannot be shown")
    if not any(one.match(message) for one in (form, SENTENCE, OF_A_CELL)):
        return Outcome(FAILED, f"a message of another form: {message[:200]!r}")
    if len(message) > LONGEST:
        return Outcome(FAILED, f"a message of {len(message)} characters: {message[:80]!r}")
    if not untouched:
        return Outcome(FAILED, f"refused, and yet something was changed: {message}")
    return Outcome(REFUSED, message)


def _wrong_arguments(example: Example, call: Call) -> dict[str, Any]:
    """All arguments of the call, some of them wrong."""
    given = {name: argument.valid for name, argument in call.arguments.items()}
    for name, recipe in example.wrong.items():
        argument = call.arguments[name]
        given[name] = pool.make(recipe, argument.valid, argument.extras)
    return given


def _plain_arguments(example: Example, call: Call) -> tuple[dict[str, Any], bool]:
    """The plain forms of the arguments that were replaced, and whether all of them are legal."""
    plain: dict[str, Any] = {}
    for name, recipe in example.wrong.items():
        argument = call.arguments[name]
        try:
            plain[name] = argument.domain(pool.make(recipe, argument.valid, argument.extras))
        except Illegal:
            return {}, False
    return plain, True


# -- results that can be compared --------------------------------------------------------------------------------------


class Numbers:
    """An array to be compared: NaN equals NaN, and a few roundings do not matter."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.array(array)
        if self.array.dtype.byteorder not in "=|":
            self.array = self.array.astype(self.array.dtype.newbyteorder("="))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Numbers) or self.array.shape != other.array.shape:
            return False
        a, b = self.array, other.array
        if a.dtype != b.dtype:
            return False
        if a.dtype.kind not in "fc":
            return bool(np.array_equal(a, b))
        with np.errstate(all="ignore"):
            scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
            return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6 * float(scale), equal_nan=True))

    __hash__ = None  # type: ignore[assignment]


def flattened(value: Any) -> Any:
    """A result as something that ``==`` compares: arrays and objects by what they hold."""
    if isinstance(value, np.str_):
        return repr(str(value))
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.ndarray | np.generic):
        return Numbers(np.asarray(value))
    if hasattr(value, "detach"):
        return Numbers(value.detach().numpy())
    if isinstance(value, int | float) and value == value:
        return value
    if value is None or isinstance(value, float | str | bytes):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): flattened(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [flattened(item) for item in value]
    if isinstance(value, Iterator):
        return [flattened(item) for item in itertools.islice(value, 30)]
    if isinstance(value, Layer):
        return flattened(
            [value.config(), dict(value.params), dict(value.grads), str(value.dtype), value.call_counters()]
        )
    if isinstance(value, Optimizer):
        return flattened(value.state_dict())
    if isinstance(value, Schedule):
        return [value(step) for step in range(5)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [
            f.name for f in dataclasses.fields(value) if f.name not in ("stamp", "cell", "timeline", "xp", "kernels")
        ]
        return [type(value).__name__, *(flattened(getattr(value, name)) for name in names)]
    if hasattr(value, "to_json"):
        return flattened(value.to_json())
    return type(value).__name__
