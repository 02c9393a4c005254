"""Check a forward mode that a user wrote by hand against differences of forward."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.check import check_gradients
from engine.checking.report.report import Report
from engine.checking.second_order import require_functions
from engine.checking.subjects.complex_inputs import is_complex
from engine.checking.subjects.shapes.arguments import argument_names, as_arguments
from engine.checking.subjects.trees import kind, leaves, refill, transform
from engine.checks import describe
from engine.errors import bad_input, bad_type

#: The most numbers of a Jacobian that is held.
LARGEST = 20_000_000
NOT_LINEAR = "jvp is not linear: along a sum of directions it gives something else than the sum"


def check_jvp(
    forward: Callable[..., Any],
    jvp: Callable[..., Any],
    inputs: Sequence[Any],
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    **options: Any,
) -> Report:
    """Check a Jacobian-vector product, the forward mode of a function, against differences.

    jvp is called for each column of the Jacobian by itself, and for the sum of all columns.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs) -> (out, cache)``, or out alone; then jvp gets the inputs in place of a cache.
    jvp : callable
        ``jvp(directions, cache) -> tangents``; directions have one array for each input, None for one of whole numbers;
        tangents come in the structure of out.
    inputs : sequence
        As for `check_gradients`.
    method : str
        As for `check_gradients`.
    seed : int
        Of the random weighting and directions.
    tol : float or None
        Largest error that passes, as for `check_gradients`.
    **options : Any
        The others of `check_gradients`.

    Returns
    -------
    Report
        For the inputs; a wrong column is reported at the entry that moves.

    Raises
    ------
    InputError, InputTypeError
        For arguments, or results of the functions, that are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> def forward(x, w):
    ...     return np.tanh(x @ w), (x, w)
    >>> def jvp(directions, cache):
    ...     (dx, dw), (x, w) = directions, cache
    ...     return (1 - np.tanh(x @ w) ** 2) * (dx @ w + x @ dw)
    >>> x, w = np.array([[0.3, -1.2]]), np.array([[0.7, 0.1], [-0.4, 0.9]])
    >>> engine.check_jvp(forward, jvp, [x, w]).verdict
    'ok'
    """
    require_functions(forward=forward, jvp=jvp)
    forward, inputs, own = as_arguments(forward, inputs)
    options = {"names": own or argument_names(forward, len(inputs))} | options
    if is_complex(inputs):
        raise bad_type("inputs", "real arrays", "a complex one", "give its real and imaginary part as two inputs")
    columns = _Columns(jvp, inputs)

    def with_cache(*arguments: Any) -> tuple[Any, Any]:
        found = forward(*arguments)
        out, cache = found if isinstance(found, tuple) and len(found) == 2 else (found, arguments)
        return out, (out, cache)

    report = check_gradients(with_cache, columns.backward, inputs, method, seed, tol, **options)
    if report.verdict in ("ok", "kink", "cannot tell") and not columns.linear:
        report = dataclasses.replace(report, trouble="wrong", cause=NOT_LINEAR)
    return report


class _Columns:
    """The Jacobian that a jvp claims, column by column, as the backward of a pair."""

    def __init__(self, jvp: Callable[..., Any], inputs: Sequence[Any]) -> None:
        self._jvp, self._inputs, self.linear = jvp, tuple(inputs), True
        self._known: dict[bytes, np.ndarray] = {}

    def backward(self, dout: Any, kept: Any) -> tuple[Any, ...]:
        """Gradients of sum(dout * out) by each input."""
        jacobian = self._jacobian(*kept)
        weights = np.concatenate([np.zeros(0), *(np.reshape(one, -1) for one in leaves(dout))])
        row = weights @ jacobian
        splits = np.cumsum([np.size(one) for one in self._floats()])[:-1]
        own = [part.reshape(np.shape(one)) for part, one in zip(np.split(row, splits), self._floats(), strict=True)]
        pieces = iter(own)
        return tuple(transform(lambda leaf: next(pieces) if _is_float(leaf) else None, one) for one in self._inputs)

    def _jacobian(self, out: Any, cache: Any) -> np.ndarray:
        """(N, P) derivatives of each output by each entry of the inputs; kept as long as the cache is the same."""
        key = _digest(cache)
        if key in self._known:
            return self._known[key]
        count = sum(np.size(one) for one in self._floats())
        size = sum(np.size(one) for one in leaves(out) if _is_float(one))
        if count * size > LARGEST:
            hint = "take fewer, or smaller ones"
            raise bad_input("inputs", f"at most {LARGEST // max(1, size):,} entries", f"{count:,}", hint)
        generator = np.random.default_rng(5)
        found = np.zeros((size, count))
        for entry, length in enumerate(generator.choice((-1.0, 1.0), size=count) * generator.uniform(0.5, 2.0, count)):
            direction = np.zeros(count)
            direction[entry] = length
            found[:, entry] = self._along(direction, out, cache) / length
        together = generator.normal(size=count)
        natural = np.abs(found) @ np.abs(together)
        gap = np.abs(self._along(together, out, cache) - found @ together)
        narrow = any(getattr(one, "dtype", None) == np.float32 for one in (*self._floats(), *leaves(out)))
        self.linear &= bool((gap <= (1e-3 if narrow else 1e-9) * natural).all() or not np.isfinite(found).all())
        if key:
            self._known = dict(list(self._known.items())[-3:]) | {key: found}
        return found

    def _along(self, direction: np.ndarray, out: Any, cache: Any) -> np.ndarray:
        """(N,) tangents of all outputs along one direction through all inputs."""
        splits = np.cumsum([np.size(one) for one in self._floats()])[:-1]
        parts = zip(np.split(direction, splits), self._floats(), strict=True)
        own = iter([part.reshape(np.shape(one)).astype(np.asarray(one).dtype) for part, one in parts])
        directions = tuple(transform(lambda leaf: next(own) if _is_float(leaf) else None, one) for one in self._inputs)
        tangents = leaves(self._jvp(directions, copy.deepcopy(cache)))
        wanted = [one for one in leaves(out) if _is_float(one)]
        if len(tangents) != len(wanted):
            raise bad_input("jvp", f"{len(wanted)} tangents, one for each output", f"{len(tangents)}")
        for tangent, one in zip(tangents, wanted, strict=True):
            if np.shape(tangent) != np.shape(one):
                raise bad_input(
                    "jvp", f"a tangent of shape {np.shape(one)}", f"{np.shape(tangent)} ({describe(tangent)})"
                )
        return np.concatenate([np.zeros(0), *(np.reshape(tangent, -1) for tangent in tangents)])

    def _floats(self) -> list[Any]:
        return [one for one in leaves(list(self._inputs)) if _is_float(one)]


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, float) or kind(leaf) == "f"


def _digest(cache: Any) -> bytes:
    """A digest that distinguishes caches; empty for a cache that cannot be pickled."""
    try:
        return hashlib.sha256(pickle.dumps(refill(cache, iter(leaves(cache))))).digest()
    except Exception:  # locks, generators, local functions
        return b""
