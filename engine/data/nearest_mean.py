"""The baseline of every recogniser: the class whose mean example is nearest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Steps that examples of different lengths are brought to before they are compared.
STEPS = 16


def nearest_mean(
    train: Sequence[NDArray[np.floating]],
    classes: NDArray[np.int64],
    rows: Sequence[NDArray[np.floating]],
    steps: int = STEPS,
) -> NDArray[np.int64]:
    """Return the class (M,) of each row whose mean over the training rows is nearest to it.

    Rows are resampled to `steps` steps on straight lines between theirs, and compared by the sum of squares.

    Parameters
    ----------
    train : N arrays (t, D)
        The rows that the means are taken over.
    classes : int array (N,)
        Their classes.
    rows : M arrays (t, D)
        What is to be recognised.
    steps : int
        Steps to compare.

    Examples
    --------
    >>> import numpy as np
    >>> up, down = np.array([[0.0], [1.0]]), np.array([[1.0], [0.5], [0.0]])
    >>> nearest_mean([up, down], np.array([0, 1]), [down + 0.1, up]).tolist()
    [1, 0]
    """
    known = np.stack([resampled(row, steps).reshape(-1) for row in train])
    asked = np.stack([resampled(row, steps).reshape(-1) for row in rows])
    present = np.unique(classes)
    means = np.stack([known[classes == label].mean(axis=0) for label in present])
    # |row - mean|^2 without |row|^2, which is the same for all means
    distance = (means**2).sum(axis=1) - 2 * asked @ means.T
    return present[distance.argmin(axis=1)].astype(np.int64)


def resampled(row: NDArray[np.floating], steps: int) -> NDArray[np.float64]:
    """Return a row (t, D) at `steps` evenly spaced places from its first to its last step."""
    place = np.linspace(0, len(row) - 1, steps)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(row) - 1)
    share = (place - before)[:, None]
    found: NDArray[np.float64] = row[before] * (1 - share) + row[after] * share
    return found
