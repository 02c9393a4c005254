"""Two promises of every backward: it is linear in the gradient that it gets, and it does not change its cache.

A gradient check gives it one random gradient.  Clipping at 5, a threshold or a square would pass there, but spoil a
training with larger losses.  So would a backward that treats zeros or ones in dout specially, because a training passes
zeros and ones.  And two calls of backward must give the same, on one cache, as for a Jacobian, or on a fresh one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.checking.subjects.subject import Subject

#: Multiples of the first gradient: small and of the other sign, and large.
FACTORS = (-1.0 / 7.0, 1000.0)
#: How small a gradient with zeros in it is made besides.
TINY = 2.0**-20
#: How many times the noise of the first gradient the parts may have that it is put together from.
PARTS = 4.0
#: What sums in another order, as on a GPU, may change in a repetition, relative to the largest gradient of all.
STILL = 1e-12
#: If noise is this part of the largest gradient, backward may be different every time: more repetitions show it.
LOUD, REPETITIONS = 0.01, 8
#: How closely the results must follow, relative to the largest value of a tensor, beside measured noise.
CLOSE, CLOSE_NARROW = 1e-6, 1e-4
#: How closely what is added must be a multiple of the tensor.
FITS = 1e-4
SEVERAL = 3
DECAY = "weight decay? Check the loss that has the term, or set it to 0"
NOT_LINEAR = "backward is not linear in dout: clipping, a threshold, or something added?"
SPECIAL = "backward is not linear in dout: zeros, ones or tiny numbers in dout give something else"
CHANGES = (
    "backward gives something else when it is called again at the same place: a sum that is not reset, random numbers, "
    "or the order of a set?"
)
UNUSED = "backward gives the same for any dout: is its result multiplied by dout?"
SPOILS = "a second backward on the same cache gives something else: backward spoils its cache"


def check_linearity(subject: Subject, noise: dict[str, np.ndarray]) -> None:
    """Put into `subject.causes` the tensors whose gradient does not follow the one that backward is handed.

    Parameters
    ----------
    noise : by name, how far rounding may move the gradient.
    """
    largest = max((float(np.max(np.abs(one[0]), initial=0.0)) for one in subject.claimed.values()), default=0.0)
    still = {part.name: np.full(part.shape, STILL * largest) for part in subject.parts}  # nothing is moved here
    loud = any((noise[name] > LOUD * np.abs(one[0]).max(initial=0.0)).any() for name, one in subject.claimed.items())
    for _ in range(REPETITIONS if loud else 1):
        _compare(subject, still, _pull(subject, subject.cotangents()), 1.0, CHANGES)
    for factor in FACTORS:
        pulled = _pull(subject, [one * factor for one in subject.cotangents()])
        _compare(subject, noise, pulled, factor, NOT_LINEAR)
    try:
        pulled = _ones_and_rest(subject)
    except Exception as error:  # what is given to it in every training must not stop it
        said = f"backward raises {type(error).__name__} where dout has zeros or ones in it"
        for part in subject.parts:
            subject.causes.setdefault(part.name, said)
    else:
        wider = {name: PARTS * one for name, one in noise.items()}
        _compare(subject, wider, pulled, 1.0, SPECIAL)


def _compare(
    subject: Subject, noise: dict[str, np.ndarray], pulled: Mapping[str, np.ndarray], factor: float, cause: str
) -> None:
    """Compare what backward gave with so many times the first gradient."""
    for part in subject.parts:
        first, found = subject.claimed[part.name][0], pulled[part.name]
        if not _close(subject, first, found / factor, noise[part.name]):
            if factor != 1.0:
                unused = UNUSED if np.array_equal(first, found) else ""
                cause = unused or _decay(subject.host(part), first, found, factor) or NOT_LINEAR
            subject.causes.setdefault(part.name, cause)


def _decay(values: np.ndarray, first: np.ndarray, found: np.ndarray, factor: float) -> str:
    """Words for a multiple of the tensor itself that is added whatever dout is; nothing where that is not so."""
    if values.size < SEVERAL:  # a single number is a multiple of any other
        return ""
    added = (factor * first - found) / (factor - 1.0)
    square = float((values * values).sum())
    times = float((added * values).sum()) / square if square > 0.0 and np.isfinite(added).all() else 0.0
    if not times or np.abs(added - times * values).max() > FITS * np.abs(added).max():
        return ""
    return f"backward adds {times:.4g} times the tensor itself, whatever dout is: {DECAY}"


def _pull(subject: Subject, cotangents: list[Any]) -> dict[str, np.ndarray]:
    return {name: _host(subject, one) for name, one in subject.pull(cotangents).items()}


def _ones_and_rest(subject: Subject) -> dict[str, np.ndarray]:
    """The first gradient put together from one for ones everywhere, and a tiny one for the rest, with a zero in it."""
    cotangents = subject.cotangents()
    level = next((float(subject.backend.to_host(one).reshape(-1)[-1]) for one in cotangents if one.size), 1.0)
    ones = _pull(subject, [one * 0.0 + 1.0 for one in cotangents])
    rest = _pull(subject, [(one - level) * TINY for one in cotangents])
    return {name: np.asarray(level * ones[name] + rest[name] / TINY) for name in ones}


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
    allowed = noise + close * size + 1e3 * float(np.finfo(dtype).tiny) / TINY
    return bool((np.abs(other - first) <= allowed).all())
