"""Right pairs of functions that are hard for gradient checkers, and the verdicts that are right for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

METHODS = ("central", "complex", "directional", "taylor")
OK = ("ok",)
#: Rounding leaves nothing that differences could compare with, or it is a matter of luck: both verdicts are honest.
HIDDEN = ("ok", "cannot tell")
#: At a kink; the complex step looks at one side alone.
KINK = ("kink",)
NEAR_KINK = ("ok", "kink")
NOT_WRONG = ("ok", "kink", "cannot tell")

Pair = tuple[Callable[..., Any], Callable[..., Any], list[Any]]


@dataclass(frozen=True)
class HardCase:
    """One kind of right code.

    Attributes
    ----------
    name, family : in words.
    make : draws forward, backward and inputs from a generator.
    expected : the right verdicts by method.
    """

    name: str
    family: str
    make: Callable[[np.random.Generator], Pair]
    expected: dict[str, tuple[str, ...]] = field(default_factory=dict)


CASES: list[HardCase] = []


def case(expected: tuple[str, ...] = OK, **by_method: tuple[str, ...]) -> Callable[[Any], Any]:
    """Enter a function that makes a pair into the list of cases, under its own name and that of its file."""

    def enter(make: Callable[[np.random.Generator], Pair]) -> Callable[[np.random.Generator], Pair]:
        verdicts = {method: by_method.get(method, expected) for method in METHODS}
        CASES.append(HardCase(make.__name__, make.__module__.rpartition(".")[2], make, verdicts))
        return make

    return enter


def pointwise(function: Callable[[Any], Any], slope: Callable[[Any], Any], x: np.ndarray) -> Pair:
    """A function applied to every number of one array."""
    return lambda x: (function(x), x), lambda dout, x: dout * slope(x), [x]


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_back(dy: Any, y: Any) -> Any:
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
