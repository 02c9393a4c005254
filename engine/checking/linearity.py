"""What backward owes to whoever calls it: it is linear in the gradient that it is handed, and leaves its cache alone.

A gradient check hands it one random gradient.  Clipping at 5, a threshold or a square would pass there, and spoil a
training with larger losses; and who calls backward twice on one cache, as for a Jacobian, must get the same twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.checking.subject import Subject

#: Multiples of the first gradient: small and of the other sign, and large.
FACTORS = (-1.0 / 7.0, 1000.0)
#: How closely the results must follow, relative to the largest value of a tensor, beside measured noise.
CLOSE, CLOSE_NARROW = 1e-6, 1e-4
#: How closely what is added must be a multiple of the tensor.
FITS = 1e-4
DECAY = "weight decay? Check the loss that has the term, or set it to 0"
NOT_LINEAR = "backward is not linear in dout: clipping, a threshold, or something added?"
UNUSED = "backward gives the same for any dout: is its result multiplied by dout?"
SPOILS = "a second backward on the same cache gives something else: backward spoils its cache"


def check_linearity(subject: Subject, noise: dict[str, np.ndarray]) -> None:
    """Put into `subject.causes` the tensors whose gradient does not grow as the one that backward is handed.

    Parameters
    ----------
    noise : by name, how far rounding may move the gradient.
    """
    for factor in FACTORS:
        pulled = subject.pull([cotangent * factor for cotangent in subject.cotangents()])
        for part in subject.parts:
            found, first = _host(subject, pulled[part.name]), subject.claimed[part.name][0]
            if not _close(subject, first, found / factor, noise[part.name]):
                cause = UNUSED if np.array_equal(first, found) else _decay(subject.host(part), first, found, factor)
                subject.causes.setdefault(part.name, cause or NOT_LINEAR)


def _decay(values: np.ndarray, first: np.ndarray, found: np.ndarray, factor: float) -> str:
    """Words for a multiple of the tensor itself that is added whatever dout is; nothing where that is not so."""
    added = (factor * first - found) / (factor - 1.0)
    square = float((values * values).sum())
    times = float((added * values).sum()) / square if square > 0.0 and np.isfinite(added).all() else 0.0
    if not times or np.abs(added - times * values).max() > FITS * np.abs(added).max():
        return ""
    return f"backward adds {times:.4g} times the tensor itself, whatever dout is: {DECAY}"


def spoils_cache(subject: Subject, noise: dict[str, np.ndarray]) -> bool:
    """Whether backward gives something else when it is called again on the same cache."""
    again = subject.pull_again()
    return again is not None and not all(
        _close(subject, subject.claimed[part.name][0], _host(subject, again[part.name]), noise[part.name])
        for part in subject.parts
    )


def _host(subject: Subject, gradient: Any) -> np.ndarray:
    return np.asarray(subject.backend.to_host(gradient), dtype=np.float64)


def _close(subject: Subject, first: np.ndarray, other: np.ndarray, noise: np.ndarray) -> bool:
    if not np.isfinite(first).all():
        return True  # the check has worse to say
    size = float(np.max(np.abs(first), initial=0.0))
    close, dtype = (CLOSE_NARROW, np.float32) if subject.narrow else (CLOSE, np.float64)
    allowed = noise + close * size + 1e3 * float(np.finfo(dtype).tiny)
    return bool((np.abs(other - first) <= allowed).all())
