"""Numerical gradients by central differences (rule 17)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.backend import Backend

#: Balances the truncation error e**2 against the round-off error eps/e of a central difference.
STEP = float(np.cbrt(np.finfo(np.float64).eps))


def random_cotangents(seed: int, outputs: Sequence[Any], backend: Backend) -> list[Any]:
    """Random weights for every output, never ones: a sum of plain ones cannot tell one output from another."""
    generator = np.random.default_rng(seed)
    return [backend.asarray(generator.normal(size=output.shape), dtype=output.dtype) for output in outputs]


def central_differences(
    evaluate: Callable[[], Sequence[Any]], array: Any, cotangents: Sequence[Any], backend: Backend
) -> np.ndarray:
    """Gradient of sum(cotangent * output) with respect to every entry of `array`.

    Parameters
    ----------
    evaluate : runs the function on the present contents of `array` and returns its outputs.
    array : float64 array that `evaluate` reads; each entry is moved by +-e in turn and put back exactly.
    cotangents : one for each output.

    Returns
    -------
    float64 host array in the shape of `array`.
    """
    flat = array.reshape(-1)
    assert flat.base is not None or flat is array, "the array must be contiguous to be perturbed in place"
    gradient = np.zeros(array.size)
    for index, value in enumerate(backend.to_host(array).reshape(-1).tolist()):
        base = value if math.isfinite(value) else 0.0  # a NaN in a pad: whatever stands there must not matter
        step = STEP * max(1.0, abs(base))
        above, below = base + step, base - step
        flat[index] = above
        high = [output.copy() for output in evaluate()]
        flat[index] = below
        low = evaluate()
        flat[index] = value
        # output by output, before any sum: less cancellation than between two sums
        change = sum(
            ((h - low_part) * cotangent).sum() for h, low_part, cotangent in zip(high, low, cotangents, strict=True)
        )
        gradient[index] = float(change) / (above - below)  # the realised difference, not 2e
    return gradient.reshape(array.shape)


def roundoff_of(outputs: Sequence[Any], cotangents: Sequence[Any]) -> float:
    """How far rounding alone can move a central difference: a few units in the last place of the outputs, over 2e."""
    size = sum(float(abs(output * cotangent).sum()) for output, cotangent in zip(outputs, cotangents, strict=True))
    return 0.5 * float(np.finfo(np.float64).eps) * size / STEP
