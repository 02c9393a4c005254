"""What a bug of the second zoo is, and how one is made of a layer or of a pair of functions."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import engine
from engine.checking.report.report import Report
from engine.zoo.bug import BugCase

#: All sizes differ, so that no wrong axis has the right length: time steps, rows, features, hidden units.
T, B, D, H = 5, 3, 2, 4
#: The last time step, the first that backward meets; and the next, where a wrong dh_prev or dc_prev first shows.
LAST, BEFORE_LAST = T - 1, T - 2

Gradients = dict[str, np.ndarray]
Names = frozenset[str]
Gates = frozenset[str | None]
Setting = Callable[..., BugCase]

NO_GATE: Gates = frozenset({None})
WRONG: Names = frozenset({"wrong"})


@dataclass(frozen=True)
class SecondBug:
    """One mistake in somebody's backward code, and the truth about it.

    What `names`, `gates`, `time_step`, `verdicts` and `cause` mean, see `engine.zoo.bug.Bug`.  Inputs of a
    function have no gate blocks that a checker could know of, so `gates` is {None} there.

    Attributes
    ----------
    kind : ``"layer"`` (a foreign layer), ``"pair"`` (of functions) or ``"method"`` (of one of the engine's layers).
    check, right : from a method and a seed to the report on the wrong code, and on the right code.
    walks : from whether the bug is in, and a seed, to all gradients of two backward passes.  Between the two passes
        of a layer, which are over one tape, its forward runs on something else.
    time_axis : of x.
    """

    kind: str
    name: str
    story: str
    check: Callable[[str, int], Report]
    right: Callable[[str, int], Report]
    walks: Callable[[bool, int], tuple[Gradients, Gradients]]
    names: Names
    gates: Gates
    time_step: int | None
    cause: str | None = None
    verdicts: Names = WRONG
    time_axis: int | None = 0

    @property
    def x(self) -> str:
        """The name of x."""
        return "input 0" if self.kind == "pair" else "x"


def only(*names: str) -> Names:
    """The names themselves."""
    return frozenset(names)


def blocks(*gates: str) -> Gates:
    """Gate blocks that are wrong; where they are several, a diagnosis may also name none of them."""
    return frozenset(gates) if len(gates) == 1 else frozenset((*gates, None))


def parameters(end: str = "_l0", prefix: str = "") -> Names:
    """The weights and biases of one recurrent layer."""
    return frozenset(prefix + name + end for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def rewritten(function: Any, was: str, becomes: str) -> Any:
    """The function with one piece of its source, which occurs in it once, exchanged for another."""
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(was) != 1:
        raise LookupError(f"{function.__qualname__}: expected {was!r} once, found it {source.count(was)} times")
    code = "from __future__ import annotations\n" + source.replace(was, becomes)
    found: dict[str, Any] = {}
    exec(compile(code, f"<{function.__qualname__}, rewritten>", "exec"), function.__globals__, found)
    return found[function.__name__]


def leaves(nest: Any) -> list[np.ndarray]:
    """The arrays of a nest of tuples and lists, in order."""
    if isinstance(nest, (tuple, list)):
        return [leaf for part in nest for leaf in leaves(part)]
    return [] if nest is None else [nest]


def random_like(nest: Any, rng: np.random.Generator) -> Any:
    """The nest with random numbers in place of its own."""
    if isinstance(nest, (tuple, list)):
        return tuple(random_like(part, rng) for part in nest)
    return None if nest is None else rng.normal(size=nest.shape)


# -- layers ------------------------------------------------------------------------------------------------------------


def layer_bug(
    kind: str,
    name: str,
    story: str,
    setting: Setting,
    wrong: Mapping[str, Any],
    names: Names,
    gates: Gates,
    time_step: int | None,
    **more: Any,
) -> SecondBug:
    """A bug in a layer.

    Parameters
    ----------
    setting : ``setting(seed)`` builds the case of right code; its further arguments are the classes that it uses.
    wrong : classes to be used in place of those, by argument.
    more : further attributes of the bug.
    """

    def case(bad: bool, seed: int) -> BugCase:
        return setting(seed, **(wrong if bad else {}))

    return SecondBug(
        kind,
        name,
        story,
        lambda method, seed: _check(case(True, seed), method, seed),
        functools.partial(_right, setting),
        lambda bad, seed: _walk_twice(case(bad, seed)),
        names,
        gates,
        time_step,
        **more,
    )


@functools.cache
def _right(setting: Setting, method: str, seed: int) -> Report:
    return _check(setting(seed), method, seed)


def _check(case: BugCase, method: str, seed: int) -> Report:
    return engine.gradcheck(case.layer, case.x, case.state, case.lengths, method=method, seed=seed)


def _walk_twice(case: BugCase) -> tuple[Gradients, Gradients]:
    layer = case.layer
    rng = np.random.default_rng(7)
    y, last, tape = layer.forward(case.x, case.state, case.lengths)
    dy, dlast = rng.normal(size=y.shape), random_like(last, rng)
    found = []
    for _ in range(2):
        before = {name: grad.copy() for name, grad in layer.grads.items()}
        dx, dfirst = layer.backward(tape, dy, dlast)
        new = {name: layer.grads[name] - before[name] for name in before}
        new |= dict(zip(_state_names(last), [part.copy() for part in leaves(dfirst)], strict=True))
        found.append(new if dx is None else {**new, "x": dx.copy()})
        layer.forward(case.x[::-1].copy(), case.state, case.lengths)
    return found[0], found[1]


def _state_names(last: Any) -> list[str]:
    """h0, c0; for the states of a chain of layers with each one's place in front."""
    if not isinstance(last, tuple):
        return [] if last is None else ["h0"]
    if len(last) == 2 and all(isinstance(part, np.ndarray) and part.ndim for part in last):
        return ["h0", "c0"]
    return [f"{k}.{name}" for k, part in enumerate(last) for name in _state_names(part)]


# -- pairs of functions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A forward and a backward function, and random inputs for them.

    Attributes
    ----------
    inputs : from a random generator to the inputs.
    time_axis : of x, the first input; None where it is a single step.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Any, Any], Any]
    inputs: Callable[[np.random.Generator], tuple[Any, ...]]
    time_axis: int | None = None


def pair_bug(
    name: str,
    story: str,
    pair: Pair,
    was: str,
    becomes: str,
    names: tuple[int, ...],
    time_step: int | None = None,
    **more: Any,
) -> SecondBug:
    """A bug in one line of a pair's backward function; `names` are positions among the inputs."""
    bad = Pair(pair.forward, rewritten(pair.backward, was, becomes), pair.inputs, pair.time_axis)
    return SecondBug(
        "pair",
        name,
        story,
        functools.partial(_check_pair, bad),
        functools.partial(_check_pair, pair),
        lambda wrong, seed: _call_twice(bad if wrong else pair, seed),
        frozenset(f"input {k}" for k in names),
        NO_GATE,
        time_step,
        time_axis=pair.time_axis,
        **more,
    )


@functools.cache
def _check_pair(pair: Pair, method: str, seed: int) -> Report:
    inputs = pair.inputs(np.random.default_rng([seed, 8]))
    names = [f"input {k}" for k in range(len(inputs))]
    return engine.check_gradients(
        pair.forward, pair.backward, inputs, method=method, seed=seed, time_axis=pair.time_axis, names=names
    )


def _call_twice(pair: Pair, seed: int) -> tuple[Gradients, Gradients]:
    calls = _calls(pair, seed)
    return next(calls), next(calls)


def _calls(pair: Pair, seed: int) -> Iterator[Gradients]:
    while True:
        inputs = pair.inputs(np.random.default_rng([seed, 8]))
        out, cache = pair.forward(*inputs)
        found = pair.backward(random_like(out, np.random.default_rng(9)), cache)
        named = {f"input {k}": gradient for k, gradient in enumerate(found)}
        yield {name: value for name, value in named.items() if value is not None}
