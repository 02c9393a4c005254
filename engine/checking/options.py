"""The options of every gradient check: the method, the tolerance, the number of entries, the time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from engine.checking.subjects.shapes.function_options import allowed
from engine.checking.verdicts import judging
from engine.checking.verdicts.budget import Clock
from engine.checks import integer, number, one_of

#: The largest error that passes, by method: tighter for methods that are exact to round-off.
TOLERANCE = {"central": 1e-6, "directional": 1e-6, "complex": 1e-10, "adjoint": 1e-10, "rtrl": 1e-10, "taylor": 0.4}
#: Methods that need forward-mode derivatives, which the engine has for its own layers.
FORWARD_MODE = ("adjoint", "rtrl")
#: Methods for anyone's functions and objects.
FOR_ALL = tuple(name for name in TOLERANCE if name not in FORWARD_MODE)


@dataclass(frozen=True)
class Options:
    """The options that all checks share; `engine.check_gradients` says what they mean.

    Attributes
    ----------
    tol : the largest error that passes, or None for that of the method.
    clock : the time that the check may take, and who is told how far it has come.
    """

    method: str
    seed: int
    tol: float | None
    entries: int | None
    atol: float
    clock: Clock
    allow: tuple[str, ...] = ()

    def tolerance(self, narrow: bool) -> float:
        """The largest error that passes if backward works in float32 (`narrow`), or in float64."""
        if self.tol is not None:
            return self.tol
        return max(TOLERANCE[self.method], judging.FLOAT32_TOLERANCE) if narrow else TOLERANCE[self.method]


def read_options(
    methods: Collection[str],
    method: str,
    seed: int,
    tol: float | None,
    entries: int | None,
    atol: float,
    clock: Clock,
    allow: Any = (),
) -> Options:
    """The options of a check that knows these methods.

    Raises
    ------
    InputError, InputTypeError
        for one that is not as `engine.check_gradients` describes it.
    """
    return Options(
        one_of("method", method, methods),
        integer("seed", seed, 0),
        None if tol is None else number("tol", tol),
        None if entries is None else integer("entries", entries, 1),
        number("atol", atol),
        clock,
        allowed(allow),
    )
