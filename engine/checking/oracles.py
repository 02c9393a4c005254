"""Independent second opinions on a gradient.  Each takes a `Subject` and one of its parts; it returns numbers.

Entry by entry:  `central` (differences), `complex_step`, `rtrl` (forward accumulation).
Along random directions, which needs only a few passes at any size:  `directional`, `adjoint`, `taylor`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.checking.subject import COMPLEX, Part, Subject

EPS = float(np.finfo(np.float64).eps)
#: Balances the truncation error e**2 against the round-off error eps/e of a central difference.
STEP = float(np.cbrt(EPS))
#: The complex step has no cancellation, so the step can be so small that nothing of second order is left.
COMPLEX_STEP = 1e-30
DIRECTIONS = 4
#: Steps of the Taylor test, from coarse to fine.
TAYLOR_STEPS = [2.0**-k for k in range(3, 27)]


def central(subject: Subject, part: Part) -> np.ndarray:
    """Every entry by central differences (rule 17): the divisor is the realised difference (x+e) - (x-e)."""
    gradient = np.zeros(part.array.size)
    for index, value in enumerate(_entries(subject, part)):
        base = value if math.isfinite(value) else 0.0  # a NaN in a pad: whatever stands there must not matter
        step = STEP * max(1.0, abs(base))
        above, below = base + step, base - step
        high, low = (_evaluate_at(subject, part, index, moved) for moved in (above, below))
        gradient[index] = subject.weigh_change(high, low) / (above - below)
    return gradient.reshape(part.array.shape)


def one_sided(subject: Subject, part: Part, index: int) -> tuple[float, float]:
    """The slopes to the left and to the right of one entry: they differ at a kink, and hardly elsewhere."""
    base = _entries(subject, part)[index]
    step = STEP * max(1.0, abs(base))
    above, below = base + step, base - step
    here = subject.evaluate({})
    left = subject.weigh_change(here, _evaluate_at(subject, part, index, below)) / (base - below)
    right = subject.weigh_change(_evaluate_at(subject, part, index, above), here) / (above - base)
    return left, right


def complex_step(subject: Subject, part: Part) -> np.ndarray:
    """Every entry by the complex step: Im f(x + ih) / h, exact to round-off (Squire and Trapp 1998).

    NaN where an output is not complex: the function has dropped the imaginary part, and nothing can be said.
    """
    gradient = np.zeros(part.array.size)
    for index, value in enumerate(_entries(subject, part)):
        base = value if math.isfinite(value) else 0.0
        outputs = _evaluate_at(subject, part, index, complex(base, COMPLEX_STEP))
        if all(output.dtype.kind != "c" for output in outputs):
            return np.full(part.array.shape, np.nan)
        gradient[index] = float(subject.weigh([output.imag for output in outputs])) / COMPLEX_STEP
    return gradient.reshape(part.array.shape)


def rtrl(subject: Subject, part: Part) -> np.ndarray:
    """Every entry by forward accumulation, as real-time recurrent learning does (Williams and Zipser 1989).

    The sensitivity of every state to one entry is carried along with the time; for small nets only.
    """
    assert subject.tangent is not None
    gradient = np.zeros(part.array.size)
    for index in range(part.array.size):
        unit = np.zeros(part.array.size)
        unit[index] = 1.0
        direction = subject.backend.asarray(unit.reshape(part.array.shape))
        gradient[index] = float(subject.weigh(subject.tangent({part.name: direction})))
    return gradient.reshape(part.array.shape)


def directional(subject: Subject, part: Part, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Claimed and numerical derivative along random directions: <gradient, v> and a central difference along v."""
    claimed, numeric = [], []
    values = _host(subject, part)
    for direction in _directions(part, seed):
        step = STEP * max(1.0, float(np.abs(values).max(initial=0.0))) / float(np.abs(direction).max())
        # the moved points are rounded: the realised direction is the difference between them
        above, below = values + step * direction, values - step * direction
        realised = (above - below) / (2.0 * step)
        high, low = (subject.evaluate({part.name: subject.backend.asarray(moved)}) for moved in (above, below))
        claimed.append(float((part.analytic * realised).sum()))
        numeric.append(subject.weigh_change(high, low) / (2.0 * step))
    return np.array(claimed), np.array(numeric)


def adjoint(subject: Subject, part: Part, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of <v, J' u> = <J v, u>: backward's gradient against forward mode, exact to round-off."""
    assert subject.tangent is not None
    claimed, numeric = [], []
    for direction in _directions(part, seed):
        claimed.append(float((part.analytic * direction).sum()))
        numeric.append(float(subject.weigh(subject.tangent({part.name: subject.backend.asarray(direction)}))))
    return np.array(claimed), np.array(numeric)


def taylor(subject: Subject, part: Part, seed: int, roundoff: float) -> float:
    """Order in h of the remainder |f(x + hv) - f(x) - h <gradient, v>|: about 2 if the gradient is right, 1 if wrong.

    2 where the remainder sinks into round-off at a step where a wrong gradient would not (also if a kink was crossed at
    larger ones); else the slope of the finest steps that stand clear of it; NaN where too few are left to tell.
    """
    values = _host(subject, part)
    direction = next(_directions(part, seed))
    direction = direction / max(float(np.sqrt((direction**2).sum())), EPS)
    before = subject.evaluate({})
    remainders = []
    for step in TAYLOR_STEPS:
        moved = values + step * direction
        after = subject.evaluate({part.name: subject.backend.asarray(moved)})
        claimed = float((part.analytic * (moved - values)).sum())
        remainders.append(abs(subject.weigh_change(after, before) - claimed))
    if not all(map(math.isfinite, remainders)):
        return math.nan
    # round-off in f, and in the claimed change itself, which shrinks with the step
    size = float(np.abs(part.analytic * direction).sum())
    noise = [100.0 * (roundoff + EPS * size * h) for h in TAYLOR_STEPS]
    clear = [r > limit for r, limit in zip(remainders, noise, strict=True)]
    usable = clear.index(False) if False in clear else len(clear)
    if usable < len(clear):
        claimed = abs(float((part.analytic * direction).sum())) * TAYLOR_STEPS[usable]
        if noise[usable] < 1e-6 * claimed:  # a gradient wrong by one part in a million would stand clear here
            return 2.0
    if usable < 4:
        return math.nan
    slopes = [math.log2(remainders[k - 1] / remainders[k]) for k in range(max(1, usable - 4), usable)]
    return float(np.median(slopes))


def _directions(part: Part, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng([seed, 1])
    for _ in range(DIRECTIONS):
        yield generator.normal(size=part.array.shape)


def _host(subject: Subject, part: Part) -> np.ndarray:
    """The part's values on the host, 0 in place of a NaN that stands in a pad."""
    values = np.array(subject.backend.to_host(part.array))
    return np.where(np.isfinite(values), values, 0.0)


def _entries(subject: Subject, part: Part) -> list[float]:
    values: list[float] = subject.backend.to_host(part.array).reshape(-1).tolist()
    return values


def _evaluate_at(subject: Subject, part: Part, index: int, value: complex) -> list[Any]:
    """The outputs with one entry of one part replaced."""
    dtype = COMPLEX if isinstance(value, complex) else np.dtype(np.float64)
    moved = np.array(subject.backend.to_host(part.array), dtype=dtype)
    moved.reshape(-1)[index] = value
    return subject.evaluate({part.name: subject.backend.asarray(moved)})
