"""Forward mode: how a small change of everything moves every state, from the forward gate functions alone.

A dual number is a value with its tangent.  The step of `kernels.steps` runs on dual numbers as it runs on arrays, so
the derivative follows from the forward functions by the rules below and never looks at a backward function.  So the two
check each other: <J v, u> = <v, J' u> for every v and u (Griewank and Walther 2008, section 3.3).  Backward walks time
from the end and needs one pass for each output direction.  Forward mode walks from the start and needs one pass for
each input direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kernels.activations import alike, library, matmul
from kernels.cells import Pass
from kernels.phases import Place
from kernels.steps import Steps

Array = Any  # of any array library


class Dual:
    """A value and its tangent, of one shape."""

    __array_ufunc__ = None  # NumPy and CuPy leave array * Dual to the methods below

    def __init__(self, value: Array, dot: Array) -> None:
        self.value, self.dot = value, dot

    def __add__(self, other: Any) -> Dual:
        other = dual(other)
        return Dual(self.value + other.value, self.dot + other.dot)

    def __sub__(self, other: Any) -> Dual:
        other = dual(other)
        return Dual(self.value - other.value, self.dot - other.dot)

    def __mul__(self, other: Any) -> Dual:
        other = dual(other)
        return Dual(self.value * other.value, self.dot * other.value + self.value * other.dot)

    def __truediv__(self, other: Any) -> Dual:
        other = dual(other)
        quotient = self.value / other.value
        return Dual(quotient, (self.dot - quotient * other.dot) / other.value)

    def __radd__(self, other: Any) -> Dual:
        return dual(other) + self

    def __rsub__(self, other: Any) -> Dual:
        return dual(other) - self

    def __rmul__(self, other: Any) -> Dual:
        return dual(other) * self

    def __rtruediv__(self, other: Any) -> Dual:
        return dual(other) / self

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.dot)

    def __pos__(self) -> Dual:
        return self

    def __gt__(self, other: Any) -> Array:
        return self.value > dual(other).value  # a step: its slope is 0

    def __ge__(self, other: Any) -> Array:
        return self.value >= dual(other).value

    def __lt__(self, other: Any) -> Array:
        return self.value < dual(other).value

    def __le__(self, other: Any) -> Array:
        return self.value <= dual(other).value

    def __getitem__(self, index: Any) -> Dual:
        return Dual(self.value[index], self.dot[index])

    def __setitem__(self, index: Any, part: Dual) -> None:
        self.value[index], self.dot[index] = part.value, part.dot

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return tuple(self.value.shape)

    @property
    def real(self) -> Array:
        """The value's real part: what a comparison looks at."""
        return self.value.real

    def reshape(self, *shape: Any) -> Dual:
        """Both in another shape; a tangent with more copies on its first axis than the value keeps them."""
        value = self.value.reshape(*shape)
        copies = self.dot.shape[:1] if self.dot.shape != self.value.shape else value.shape[:1]
        return Dual(value, self.dot.reshape(*copies, *value.shape[1:]))

    def swapaxes(self, first: int, second: int) -> Dual:
        """Both with two axes swapped."""
        return Dual(self.value.swapaxes(first, second), self.dot.swapaxes(first, second))

    def sum(self, axis: int, keepdims: bool = False) -> Dual:
        """Sum along an axis."""
        return Dual(self.value.sum(axis=axis, keepdims=keepdims), self.dot.sum(axis=axis, keepdims=keepdims))

    def each(self, function: Callable[[Array], Array]) -> Dual:
        """A linear function of an array, on both."""
        return Dual(function(self.value), function(self.dot))

    def __pow__(self, power: float) -> Dual:
        return Dual(self.value**power, power * self.value ** (power - 1) * self.dot)


def dual(value: Any) -> Dual:
    """The value as a dual number; a plain value gets the tangent 0."""
    return value if isinstance(value, Dual) else Dual(value, 0 * value)


def _functions(xp: Any, act: str, one: Array) -> dict[str, Any]:
    """The library of gate functions on dual numbers: each function with its own slope."""
    plain = library(xp, act, one)
    slopes: dict[str, Callable[[Array, Array], Array]] = {  # of (value, function of the value)
        "sigmoid": lambda x, y: y * (1 - y),
        "tanh": lambda x, y: 1 - y * y,
        "relu": lambda x, y: one * (y.real > 0),
        "exp": lambda x, y: y,
        "log": lambda x, y: 1 / x,
    }

    def lifted(name: str) -> Callable[[Any], Dual]:
        def function(x: Any) -> Dual:
            x = dual(x)
            y = plain[name](x.value)
            return Dual(y, slopes[name](x.value, y) * x.dot)

        return function

    def maximum(a: Any, b: Any) -> Dual:
        a, b = dual(a), dual(b)
        (a_value, b_value), (a_dot, b_dot) = alike(xp, a.value, b.value), alike(xp, a.dot, b.dot)
        first = a_value.real >= b_value.real
        return Dual(xp.where(first, a_value, b_value), xp.where(first, a_dot, b_dot))

    functions: dict[str, Any] = {name: lifted(name) for name in slopes}
    return plain | functions | {"maximum": maximum, "act": functions[act]}


class _Joining:
    """What `Steps` asks of an array library, for dual numbers."""

    def __init__(self, xp: Any) -> None:
        self._xp, self.zeros, self.stack = xp, xp.zeros, xp.stack

    def zeros_like(self, a: Any) -> Dual:
        """Zeros, with the tangent 0."""
        a = dual(a)
        return Dual(self._xp.zeros_like(a.value), self._xp.zeros_like(a.dot))

    def concatenate(self, parts: list[Any], axis: int) -> Dual:
        """Join the values, and the tangents."""
        parts = [dual(part) for part in parts]
        values, dots = [part.value for part in parts], [part.dot for part in parts]
        return Dual(self._xp.concatenate(values, axis=axis), self._xp.concatenate(dots, axis=axis))


class _DualSteps(Steps):
    """Steps on dual numbers.  The tangent of a user's row function comes from its value by a complex step.

    f(v + i s dv) = f(v) + i s f'(v) dv + O(s^2); with s = 1e-20 the rest is below round-off (Squire and Trapp 1998).
    """

    def through_copies(self, function: Callable[..., Any], parts: Sequence[Any]) -> Dual:
        """See `Steps.through_copies`."""
        parts = [dual(part) for part in parts]
        values = [part.value for part in parts]
        moved = [part.value + 1j * (_STEP * part.dot) for part in parts]
        dot = super().through_copies(function, moved).imag / _STEP
        return Dual(super().through_copies(function, values), dot)


_STEP = 1e-20


def dual_steps(xp: Any, given: Pass, dtype: Any) -> Steps:
    """The steps of a layer and direction on dual numbers; weights that are plain arrays do not move."""
    one = xp.dtype(dtype).type(1)

    def multiply(a: Any, b: Any) -> Dual:
        a = dual(a)
        value, moved = (b.value, matmul(xp, a.value, b.dot)) if isinstance(b, Dual) else (b, 0)
        return Dual(matmul(xp, a.value, value), matmul(xp, a.dot, value) + moved)

    return _DualSteps(_Joining(xp), given, one, multiply, _functions(xp, given.cell.act, one))


def step_tangent(steps: Steps, pre: Array, states: tuple[Dual, ...], t: int) -> tuple[Array, ...]:
    """The tangent of each state after step t, from the tangents of the states before it.

    Parameters
    ----------
    steps : Steps
        From `dual_steps`.
    pre : array (1, B, G, H)
        The input projection of the step; it does not move.
    states : tuple of Dual
        The states before the step: the values (1, B, width), and tangents (K, B, width).
    t : int
        The number of the step, for its factors.

    Returns
    -------
    tuple of array (K or 1, B, width)
        1 where a state does not depend on those before it.
    """
    at = steps.forward(pre, states, t)
    return tuple(dual(at[Place("new", name)]).dot for name in steps.cell.states)


def run_tangent(xp: Any, given: Pass, pre: Dual, states: tuple[Dual, ...]) -> tuple[Array, tuple[Array, ...]]:
    """Tangents of a layer and direction.

    Parameters
    ----------
    given : as in the forward pass, but that the weights have tangents.
    pre : (T, B, G*H) the input projection and its tangent.
    states : the initial states, each (B, H).

    Returns
    -------
    h_dot (T+1, B, H), and the tangent of each state after the last step.
    """
    cell, lengths = given.cell, given.lengths
    G, steps = len(cell.gates), dual_steps(xp, given, pre.value.dtype)
    pre = pre.reshape(*pre.shape[:-1], G, pre.shape[-1] // G)
    h_dot = [states[0].dot]
    for t in range(pre.shape[0]):
        at = steps.forward(pre[t], states, t)
        after = [dual(at[Place("new", name)]) for name in cell.states]
        if lengths is not None:  # S[t+1] = where(valid, S_new, S[t])
            valid = (lengths > t)[:, None]
            after = [
                Dual(xp.where(valid, new.value, old.value), xp.where(valid, new.dot, old.dot))
                for new, old in zip(after, states, strict=True)
            ]
        states = tuple(after)
        h_dot.append(states[0].dot)
    return xp.stack(h_dot), tuple(state.dot for state in states)
