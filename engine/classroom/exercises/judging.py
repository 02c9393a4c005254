"""The tests of a pair of functions, forward and backward."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.checking import Report, check_gradients
from engine.classroom.exercises.pair import HiddenCase, Pair, Test, Tests, WrongError
from engine.classroom.exercises.student import Student, StudentError
from engine.classroom.exercises.words import (
    compare,
    exchanged,
    fits,
    matching,
    report_in_words,
    require_array,
    same,
    sound,
)
from engine.errors import InputError


def tests_of(pair: Pair, student: Student, seed: int) -> Tests:
    """The tests, in the order in which a student should make them pass."""
    first = pair.cases[0]
    clues = Clues(pair, student, seed)
    for case in pair.cases:
        points = 2 if case is first else 1
        yield Test(f"{pair.forward}: {case.title}", points, functools.partial(_forward, clues, case))
    for case in pair.cases:
        points = 4 if case is first else 1
        yield Test(f"{pair.backward}: {case.title}", points, functools.partial(_backward, clues, case))
    yield Test(f"{pair.backward}: a gradient of zero", 1, lambda: _zero(pair, student, first, seed))
    yield Test(f"{pair.backward}: called twice", 1, lambda: _twice(pair, student, first, seed))


def drawn(pair: Pair, case: HiddenCase, seed: int) -> tuple[dict[str, Any], np.random.Generator]:
    """All arguments of a case, and the generator for what else is drawn."""
    rng = np.random.default_rng([seed, sum(map(ord, pair.forward + case.title))])
    return pair.draw(case, rng), rng


class Clues:
    """The mistakes that the ordinary case leaves possible; only these are named in the other cases.

    With one row, one unit or one time step many mistakes give the same numbers, and the first of them would be named.
    A mistake that the ordinary case cannot show, such as one at padding, stays possible where all is right there.
    """

    def __init__(self, pair: Pair, student: Student, seed: int) -> None:
        self.pair, self.student, self.seed = pair, student, seed

    @functools.cached_property
    def forward(self) -> set[str]:
        """Words of mistakes of forward."""
        arguments, _ = drawn(self.pair, self.pair.cases[0], self.seed)
        right = self.pair.expected(arguments)
        try:
            found, _ = _forward_call(self.pair, self.student, arguments)
        except (WrongError, StudentError):
            return set()
        return {words for words, wrong in sound(self.pair.forward_suspects(arguments)) if fits(found, right, wrong)}

    @functools.cached_property
    def backward(self) -> set[str]:
        """Words of mistakes of backward."""
        arguments, rng = drawn(self.pair, self.pair.cases[0], self.seed)
        douts = _douts(self.pair, arguments, rng)
        try:
            found = gradients(self.pair, self.student, arguments, douts)
        except (WrongError, StudentError):
            return set()
        suspects = sound(self.pair.backward_suspects(arguments, douts))
        return {words for words, wrong in suspects if all(same(found[name], wrong[name]) for name in wrong)}


def _forward(clues: Clues, case: HiddenCase) -> None:
    pair = clues.pair
    arguments, _ = drawn(pair, case, clues.seed)
    outputs, _ = _forward_call(pair, clues.student, arguments)
    right = pair.expected(arguments)
    for place, (name, output, wanted) in enumerate(zip(pair.outputs, outputs, right, strict=True)):
        own = _suspects(clues, arguments, place)
        compare(name, output, wanted, own, pair.timed and np.ndim(wanted) > 2)


def _suspects(clues: Clues, arguments: dict[str, Any], place: int) -> Iterator[tuple[str, np.ndarray]]:
    """Mistakes of forward with one of the outputs that they give; nothing is worked out for outputs that are right."""
    for words, wrong in sound(clues.pair.forward_suspects(arguments)):
        if words in clues.forward:
            yield words, wrong[place]


def _forward_call(pair: Pair, student: Student, arguments: dict[str, Any]) -> tuple[list[Any], Any]:
    """What forward returns, and its cache; raise if it writes into an argument."""
    given = _copies(arguments)
    *outputs, cache = _call(pair, student, given)
    for name, value, before in zip(arguments, given, arguments.values(), strict=True):
        if isinstance(value, np.ndarray) and not np.array_equal(value, before):
            raise WrongError(f"an in-place change: {pair.forward} writes into its argument {name}; work on a copy")
    return outputs, cache


def _copies(arguments: dict[str, Any]) -> list[Any]:
    return [value.copy() if isinstance(value, np.ndarray) else value for value in arguments.values()]


def _call(pair: Pair, student: Student, given: list[Any]) -> tuple[Any, ...]:
    outputs = student.forward(pair.forward)(*given)
    if len(outputs) != len(pair.outputs) + 1:
        wanted = ", ".join((*pair.outputs, "cache"))
        raise WrongError(f"{pair.forward} must return ({wanted}); it returned {len(outputs)} values")
    return outputs


def gradients(
    pair: Pair, student: Student, arguments: dict[str, Any], douts: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    """What backward returns, by name of the input; with the right shapes."""
    return _walked(pair, student, arguments, douts, _cache(pair, student, arguments, douts))


def _cache(pair: Pair, student: Student, arguments: dict[str, Any], douts: tuple[np.ndarray, ...]) -> Any:
    """The cache of a forward whose results have the right shapes."""
    *outputs, cache = _call(pair, student, _copies(arguments))
    for name, output, dout in zip(pair.outputs, outputs, douts, strict=True):
        require_array(name, output, dout.shape)
    return cache


def _walked(
    pair: Pair, student: Student, arguments: dict[str, Any], douts: tuple[np.ndarray, ...], cache: Any
) -> dict[str, np.ndarray]:
    """One call of backward: the gradients by name, of the right number and shapes, and nothing changed in place."""
    given = [np.array(dout) for dout in douts]
    found = student.backward(pair.backward)(*given, cache)
    named = _named(pair, arguments, found)
    for name, before, after in zip(pair.outputs, douts, given, strict=True):
        if not np.array_equal(before, after):
            raise WrongError(f"an in-place change: {pair.backward} writes into its argument d{name}; work on a copy")
    for place, number in student.written:
        own = f" ({list(arguments)[number]})" if 0 <= number < len(arguments) else ""
        raise WrongError(f"an in-place change: {pair.backward} writes into its cache, {place}{own}; work on a copy")
    return named


def _named(pair: Pair, arguments: dict[str, Any], found: Any) -> dict[str, np.ndarray]:
    names = [f"d{name}" for name in pair.inputs]
    if found is None:
        raise WrongError(f"what {pair.backward} returns is None: is a return missing?")
    if isinstance(found, dict):
        missing = [name for name in pair.inputs if f"d{name}" not in found and name not in found]
        if missing:
            raise WrongError(f"{pair.backward} must return a gradient for each input; d{missing[0]} is not in the dict")
        found = [found.get(f"d{name}", found.get(name)) for name in pair.inputs]
    if len(names) == 1 and not isinstance(found, (tuple, list)):
        found = (found,)
    if not isinstance(found, (tuple, list)) or len(found) != len(names):
        count = len(found) if isinstance(found, (tuple, list)) else f"no tuple but a {type(found).__name__}"
        raise WrongError(f"{pair.backward} must return ({', '.join(names)}), a gradient for each; it returned {count}")
    shapes = {f"d{name}": np.shape(arguments[name]) for name in pair.inputs}
    arrays = [require_array(name, one, shapes[name], shapes) for name, one in zip(names, found, strict=True)]
    return dict(zip(pair.inputs, arrays, strict=True))


def _douts(pair: Pair, arguments: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return tuple(rng.normal(size=np.shape(output)) for output in pair.expected(arguments))


def _backward(clues: Clues, case: HiddenCase) -> None:
    """Check the gradients; wrong ones are compared with those of common mistakes, which takes longest."""
    pair, student = clues.pair, clues.student
    arguments, rng = drawn(pair, case, clues.seed)
    douts = _douts(pair, arguments, rng)
    found = gradients(pair, student, arguments, douts)
    report = _check(pair, student, arguments, clues.seed)
    if report.passed:
        return
    _require_forward(pair, student, arguments)
    suspects = sound(pair.backward_suspects(arguments, douts) if report.verdict == "wrong" else ())
    first = next(suspects, None)
    specific = [] if first is None else exchanged(found, first[1])
    if first is not None and not specific and clues.backward:
        possible = ((words, wrong) for words, wrong in suspects if words in clues.backward)
        named = matching(found, first[1], possible)
        specific = [": ".join([*([", ".join(names)] if names else []), words]) for words, names in named.items()]
    raise WrongError(report_in_words(report, specific))


def _require_forward(pair: Pair, student: Student, arguments: dict[str, Any]) -> None:
    """Raise where forward is wrong: its gradients are then those of another function, and say nothing on backward."""
    words = f"first put {pair.forward} right: the gradients depend on what it computes"
    try:
        outputs, _ = _forward_call(pair, student, arguments)
    except WrongError as error:
        raise WrongError(words) from error
    if not all(map(same, outputs, pair.expected(arguments))):
        raise WrongError(words)


def _check(pair: Pair, student: Student, arguments: dict[str, Any], seed: int) -> Report:
    """The gradient check of the student's own forward and backward."""
    forward, backward = student.forward(pair.forward), student.backward(pair.backward)
    fixed = {name: value for name, value in arguments.items() if name not in pair.inputs}

    several = len(pair.outputs) > 1

    def run(*inputs: Any) -> Any:
        try:
            *outputs, cache = forward(*inputs, *fixed.values())
        except StudentError as error:
            if any(map(np.iscomplexobj, inputs)):  # the checker asks whether complex numbers will do: they need not
                raise TypeError(str(error)) from error
            raise
        return (tuple(outputs) if several else outputs[0]), cache

    def walk(dout: Any, cache: Any) -> Any:
        found = backward(*(dout if several else (dout,)), cache)
        if isinstance(found, dict):
            return tuple(found.get(f"d{name}", found.get(name)) for name in pair.inputs)
        return tuple(found) if isinstance(found, list) else found

    try:
        return check_gradients(
            run,
            walk,
            [arguments[name] for name in pair.inputs],
            seed=seed,
            names=pair.inputs,
            time_axis=0 if pair.timed else None,
            gates=pair.gates or None,
            gate_axis=0 if pair.gates else None,
            progress=False,
        )
    except InputError as error:
        raise WrongError(str(error)) from error


def _zero(pair: Pair, student: Student, case: HiddenCase, seed: int) -> None:
    arguments, rng = drawn(pair, case, seed)
    zeros = tuple(np.zeros(np.shape(output)) for output in pair.expected(arguments))
    for name, value in gradients(pair, student, arguments, zeros).items():
        if not same(value, np.zeros_like(value)):
            raise WrongError(
                f"d{name} is not zero although every gradient that comes in is: it must depend on them alone"
            )
    _require_some(pair, gradients(pair, student, arguments, _douts(pair, arguments, rng)))


def _require_some(pair: Pair, found: dict[str, np.ndarray]) -> None:
    """Raise for a backward that returns zeros whatever comes in."""
    for name, value in found.items():
        if not value.any():
            raise WrongError(f"d{name} is zero whatever gradient {pair.backward} is given")


def _twice(pair: Pair, student: Student, case: HiddenCase, seed: int) -> None:
    """Two calls with one cache give the same; a call of forward between them changes nothing."""
    arguments, rng = drawn(pair, case, seed)
    douts = _douts(pair, arguments, rng)
    cache = _cache(pair, student, arguments, douts)

    def walk() -> list[np.ndarray]:
        return list(_walked(pair, student, arguments, douts, cache).values())

    first = walk()
    _require_some(pair, dict(zip(pair.inputs, first, strict=True)))
    try:
        second = walk()
    except StudentError as error:
        if error.kind in ("time", "ended"):
            raise
        raise WrongError(f"the second call with the same cache fails; do not change the cache: {error}") from error
    if not all(map(same, second, first)):
        raise WrongError(
            "the second call with the same cache gives other gradients: backward changes its cache in place, or keeps "
            "sums between calls (start them from zero in each call)"
        )
    other = pair.draw(case, rng)
    _call(pair, student, list(other.values()))
    if not all(map(same, walk(), first)):
        raise WrongError("after another call of forward the old cache gives other gradients: all must be in the cache")
