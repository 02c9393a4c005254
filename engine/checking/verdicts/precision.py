"""The precision of a function: measured, never guessed from its values.

Whole numbers look like float32 but need not be; a function may work in float32 inside and return float64.  So all
inputs are moved along one random direction to equally spaced places, and fourth differences of every output are taken
there.  They remove the smooth part and leave the rest: rounding (Hamming; Moré and Wild, Estimating computational
noise, 2011).  A kink remains too, but it grows with the spacing, and so does the bend of a steep function, while
rounding stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.checking.subjects.trees import copied, dtype_of

if TYPE_CHECKING:
    from engine.checking.subjects.subject import Subject

#: Spacings, relative to each input: far beyond the last digit of float32, and 16 times that.
NEAR, FAR = 2.0**-20, 2.0**-16
#: Relative noise below the first is no float32, beyond the second it is chaos.
FAINT, LOUD = 2.0**-36, 2.0**-14
#: Rounding may seem to grow or shrink by so much from spacing to spacing; a kink grows by 12 at least.
STEADY = 6.0
#: Places to each side where it is measured; fewer where it is only looked for.
REACH, GLANCE = 4, 2
#: The last digit is about so many times the root mean square of what rounding does to it.
DIGIT = 4.0
#: Times that all inputs are moved by one rounding.
JITTERS = 3


def output_noise(subject: Subject) -> np.ndarray:
    """(N,) by how much rounding may move each output: a last digit, or what all inputs moved by one make of it.

    The second is much more where a network carries errors along and lets them grow.
    """
    here = subject.flat(subject.outputs).astype(np.float64)
    digits = [np.full(int(np.prod(out.shape)), np.finfo(dtype_of(out) or np.float64).eps) for out in subject.outputs]
    noise = np.maximum(np.concatenate(digits) * np.abs(here), _inside(subject, here))
    generator = np.random.default_rng(6)
    for _ in range(JITTERS):
        moved = {part.name: copied(part.array) for part in subject.parts}
        subject.jitter(moved.values(), generator)
        noise = np.fmax(noise, np.abs(subject.probe(moved) - here))
    return noise


def behind_zeros(subject: Subject) -> np.ndarray:
    """(N,) a last digit of what outputs that are exactly 0 are elsewhere, and so of what may cancel in them.

    The loss of a perfect prediction is 0, log(1 + 1e-26), and no difference can show its gradient of 1e-26.
    """
    here = subject.here()
    beside = subject.moderate() if (here == 0.0).any() else None
    if beside is None or beside.here().shape != here.shape:
        return np.zeros_like(here)
    return np.where(here == 0.0, np.finfo(np.float64).eps * np.abs(beside.here()), 0.0)


def _inside(subject: Subject, here: np.ndarray) -> np.ndarray:
    """(N,) the last digit of outputs that were rounded, on the way, to fewer digits than they have."""
    generator = np.random.default_rng(7)
    directions = {}
    for part in subject.parts:
        signs = generator.choice((-1.0, 1.0), size=part.shape)
        directions[part.name] = subject.host(part) * signs * generator.uniform(0.5, 1.5, size=part.shape)
    size, largest = np.abs(here), float(np.max(np.abs(here), initial=0.0, where=np.isfinite(here)))
    first = _differences(subject, here, directions, NEAR, GLANCE)
    if not (first > FAINT * size + 2.0**-48 * largest).any():
        return np.zeros_like(here)
    near, far = (_differences(subject, here, directions, spacing, REACH) for spacing in (NEAR, FAR))
    steady = (near <= STEADY * far) & (far <= STEADY * near) & (far < LOUD * largest)
    found = np.where(steady, DIGIT * np.maximum(near, far), 0.0)
    coarse = (near > FAINT * size) & (size > 0.0)
    if 2 * np.count_nonzero(steady & coarse) > np.count_nonzero(coarse):  # the others have a kink besides
        typical = float(np.median((near / np.maximum(size, 1e-300))[steady & coarse]))
        found = np.where(coarse, np.maximum(found, DIGIT * typical * size), found)
    return found


def _differences(
    subject: Subject, here: np.ndarray, directions: dict[str, np.ndarray], spacing: float, reach: int
) -> np.ndarray:
    """(N,) root mean square of the fourth differences, in units of the noise that they come from."""
    rows = []
    places = [(part, subject.host(part)) for part in subject.parts]
    for k in range(-reach, reach + 1):
        if k == 0:
            rows.append(here)
            continue
        moved = {
            part.name: subject.backend.asarray(values + k * spacing * directions[part.name], part.array.dtype)
            for part, values in places
        }
        rows.append(subject.probe(moved).astype(np.float64))
    fourth = np.diff(np.stack(rows), n=4, axis=0)
    return np.nan_to_num(np.sqrt((fourth**2).mean(axis=0) / 70.0), nan=0.0, posinf=0.0)  # 70 = 1 + 16 + 36 + 16 + 1
