"""What is judged: a pair of functions, forward and backward, with the cases that only the judge knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Sizes = dict[str, int]


@dataclass(frozen=True)
class HiddenCase:
    """One hidden case.

    Attributes
    ----------
    title : what is special about it, for the student; the numbers stay hidden.
    sizes : such as T, B, D, H.
    scale : of the random numbers.
    options : for `Pair.draw`, such as the lengths of rows.
    """

    title: str
    sizes: Sizes
    scale: float = 0.7
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A forward and a backward function.

    Attributes
    ----------
    forward, backward : their names in the student's file.
    inputs : names of forward's float arguments, in order.
    outputs : names of what forward returns before the cache.
    draw : from a case and a generator to all of forward's arguments by name, in order; the float ones are checked.
    expected : from these to the right outputs.
    cases : the first is an ordinary one.
    gates : names of the gate blocks of weights and biases, along their axis 0.
    timed : whether axis 0 of x is time.
    forward_suspects : from the arguments to mistakes with the outputs they give.
    backward_suspects : from the arguments and the gradients of the outputs to the right gradients, by name of the input
        and without words, and then to mistakes with the gradients they give; a mistake may name only some inputs.
    """

    forward: str
    backward: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    draw: Callable[[HiddenCase, np.random.Generator], dict[str, Any]]
    expected: Callable[[dict[str, Any]], tuple[np.ndarray, ...]]
    cases: tuple[HiddenCase, ...]
    gates: tuple[str, ...] = ()
    timed: bool = False
    forward_suspects: Callable[[dict[str, Any]], Iterable[tuple[str, tuple[np.ndarray, ...]]]] = lambda _: ()
    backward_suspects: Callable[[dict[str, Any], tuple[np.ndarray, ...]], Iterable[tuple[str, Arrays]]] = lambda *_: ()


@dataclass(frozen=True)
class Test:
    """One judged test.

    Attributes
    ----------
    name : for people.
    points : what it gives if it passes.
    run : raises `WrongError` with the words for the student, or `StudentError`.
    """

    name: str
    points: int
    run: Callable[[], None]


class WrongError(Exception):
    """A result that is not right; the message tells the student what the numbers say."""


Tests = Iterator[Test]
