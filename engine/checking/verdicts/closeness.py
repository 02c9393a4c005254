"""Whether two arrays are the same, the same up to the order of a sum, or two ways of computing the same."""

from __future__ import annotations

import numpy as np


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal, NaN to NaN."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def close(a: np.ndarray, b: np.ndarray, dtype: str) -> bool:
    """Whether two sums of the same terms, perhaps taken in another order, are equal."""
    size = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
    return bool(np.allclose(a, b, rtol=0.0, atol=256 * float(np.finfo(dtype).eps) * size, equal_nan=True))


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two ways of computing the same outputs agree."""
    size = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
    return bool(np.allclose(a, b, rtol=0.0, atol=1e-9 * size, equal_nan=True))
