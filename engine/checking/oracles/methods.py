"""Independent second opinions on a gradient.  Each takes a `Subject` and one of its parts; it returns numbers.

Entry by entry:  `differences.central`, `complex_step`, `rtrl` (forward accumulation).
Along random directions, which needs only a few passes at any size:  `differences.along`, `adjoint`, `taylor`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.checking.oracles import differences
from engine.checking.subjects import complex_reals
from engine.checking.subjects.subject import MANY, Part, Subject
from engine.checking.verdicts import precision

EPS = differences.EPS
#: The complex step has no cancellation, so the step can be so small that nothing of second order is left.
COMPLEX_STEP = 1e-30
#: The square of the step, all that is left of higher orders, hides derivatives smaller than this.
COMPLEX_UNDERFLOW = 1e-57
#: Random directions through a whole tensor; every gate block and span of time steps gets one of its own beside them.
DIRECTIONS = 3
#: Tensors with more entries are looked at along fewer directions and with fewer steps.
LARGE = 50_000
#: Where spans begin, counted from the end: those of time, and those of an axis of which nothing is known.
TIME_SPANS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
SPANS = (0, 1, 4, 16, 64, 256)
#: Steps of the Taylor test, from coarse to fine.
TAYLOR_STEPS = tuple(2.0**-k for k in range(3, 27))


def complex_step(subject: Subject, part: Part, entries: np.ndarray) -> np.ndarray:
    """Derivatives (n, G) by the complex step: Im f(x + ih) / h, exact to round-off (Squire and Trapp 1998).

    NaN where the function does not take complex numbers, or returns real ones: then nothing is known.
    """
    values = subject.host(part).astype(np.complex128)
    block = differences.block_size(subject, part)
    found = [np.zeros((0, len(subject.weights)))]
    for start in range(0, len(entries), block):
        chosen = entries[start : start + block]
        stack = np.repeat(values[None], len(chosen), axis=0)
        stack.reshape(len(stack), -1)[np.arange(len(chosen)), chosen] += 1j * COMPLEX_STEP
        outputs = _run_complex(subject, part, stack)
        if outputs is None:
            return np.full((len(entries), len(subject.weights)), np.nan)
        found.append((outputs.imag / COMPLEX_STEP) @ subject.weights.T)
    slopes = np.concatenate(found)
    return np.where(np.abs(slopes) < COMPLEX_UNDERFLOW, 0.0, slopes)


def complex_reach(subject: Subject, seed: int) -> str:
    """Why the complex step does not work for this function; empty if it works.

    Any ``abs``, real buffer, cast or conjugating product on the way drops imaginary parts silently, and the result is
    still a number.  So the complex step is first compared with a difference along a random direction.
    """
    here = subject.here()
    generator = np.random.default_rng([seed, 4])
    for part in subject.parts:
        if part.size == 0:
            continue
        direction = generator.normal(size=part.shape)
        values = subject.host(part)
        stack = (values + 1j * COMPLEX_STEP * direction)[None]
        found = _run_complex(subject, part, stack)
        if found is None:
            line = complex_reals.where(functools.partial(subject.run, part, stack))
            real = f"what it makes of {part.name} is real (abs, .real, a cast?)"
            return f"forward does not carry complex numbers through: {line or real}"
        size = float(np.max(np.abs(here), initial=0.0))
        unseen = precision.behind_zeros(subject)
        rounding = 1e3 * float(np.max(subject.output_noise() + unseen, initial=0.0))
        if float(np.max(np.abs(found[0].real - here), initial=0.0)) > max(1e-12 * size, rounding, COMPLEX_STEP):
            return "forward gives other values for complex input: it is not analytic, or so chaotic that rounding shows"
        if subject.can_copy:  # the plain kernels, which are known to be analytic
            continue
        slope = (found.imag / COMPLEX_STEP) @ subject.weights.T
        numeric, error = differences.along(subject, part, direction[None], reach(subject, part, [Direction(direction)]))
        error += np.abs(subject.weights) @ unseen / differences.ALL_STEPS[0]
        if (np.abs(slope - numeric) > 10.0 * error + 1e-6 * np.maximum(np.abs(slope), np.abs(numeric))).any():
            return f"forward loses the imaginary part on the way from {part.name} (abs, a cast, a real buffer?)"
    return ""


def _run_complex(subject: Subject, part: Part, stack: np.ndarray) -> np.ndarray | None:
    try:
        outputs = complex_reals.strictly(lambda: subject.run(part, stack))
    except (TypeError, np.exceptions.ComplexWarning):
        return None
    if outputs.dtype.kind == "c":
        return outputs
    # real numbers come back where imaginary ones are dropped, or where no output depends on this tensor
    far = subject.host(part) + np.random.default_rng(11).normal(size=(2, *part.shape))
    return outputs.astype(np.complex128) if (subject.run(part, far) == subject.here()).all() else None


def rtrl(subject: Subject, part: Part, entries: np.ndarray) -> np.ndarray:
    """Derivatives (n, G) by forward accumulation: real-time recurrent learning (Williams and Zipser 1989).

    The sensitivity of every state to one entry is carried forward in time; for small nets only.
    """
    found = np.zeros((len(entries), len(subject.weights)))
    for row, entry in enumerate(entries):
        direction = np.zeros(part.size)
        direction[entry] = 1.0
        moved = subject.tangent({part.name: subject.backend.asarray(direction.reshape(part.shape))})
        found[row] = subject.weights @ subject.flat(moved)
    return found


# -- along directions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Direction:
    """A random direction through a tensor, or through one gate block or span of time steps of it.

    `reach` is the length of one unit step along it; 0 takes the size of the tensor's entries.
    """

    values: np.ndarray
    gate: str | None = None
    steps: tuple[int, int] | None = None
    reach: float = 0.0


def directions(subject: Subject, part: Part, seed: int) -> list[Direction]:
    """Directions to look along, which leave fixed entries where they are; see `_everywhere`."""
    found = _everywhere(subject, part, seed)
    if part.free is None:
        return found
    found = [replace(look, values=np.where(part.free, look.values, 0.0)) for look in found]
    return [look for look in found if look.values.any()]


def _everywhere(subject: Subject, part: Part, seed: int) -> list[Direction]:
    """Directions to look along: some through everything, and one for each gate block and each span of time steps.

    Early steps have spans of their own because their gradients have shrunk: later steps would hide them.
    """
    generator = np.random.default_rng([seed, 1])
    if part.size == 0:
        return []
    whole = 1 if part.size > LARGE else DIRECTIONS - part.own_axes  # its axes bring more
    found = [Direction(generator.normal(size=part.shape)) for _ in range(whole)]
    for block, gate in enumerate(part.gates):
        values = np.zeros(part.shape)
        own = part.blocks(values)[block]
        own[...] = generator.normal(size=own.shape)
        found.append(Direction(values, gate=gate))
    axes = [part.time_axis] if part.time_axis is not None else []
    if part.own_axes and part.time_axis is None:
        gated = part.gate_axis % len(part.shape) if part.gates else None
        axes = [axis for axis, size in enumerate(part.shape) if size > 1 and axis != gated]
    if subject.weights.shape[1] > MANY or part.size > LARGE:
        return found
    for axis in axes:
        for span in _spans_from_the_end(part.shape[axis], TIME_SPANS if axis == part.time_axis else SPANS):
            values = np.zeros(part.shape)
            own_steps = (slice(None),) * axis + (slice(*span),)
            values[own_steps] = generator.normal(size=values[own_steps].shape)
            found.append(Direction(values, steps=span if axis == part.time_axis else None))
    return found


def _spans_from_the_end(steps: int, widths: Sequence[int]) -> list[tuple[int, int]]:
    """The last steps one by one, then spans that grow: backward meets them in this order."""
    edges = {steps - width for width in widths if width < steps}
    return list(itertools.pairwise(sorted({0, *edges})))


def claimed_along(subject: Subject, part: Part, looks: list[Direction]) -> tuple[np.ndarray, np.ndarray]:
    """<gradient, v> (n, G) for every direction and group, and its natural size: the root of the summed squares."""
    stack = np.stack([look.values.reshape(-1) for look in looks])
    claimed = subject.claimed[part.name].reshape(len(subject.weights), -1)
    return stack @ claimed.T, np.sqrt(stack**2 @ (claimed**2).T)


def lengths(looks: list[Direction]) -> np.ndarray:
    """(n,) how long each direction is."""
    return np.sqrt(np.array([(look.values**2).sum() for look in looks]))


def adjoint(subject: Subject, part: Part, looks: list[Direction]) -> np.ndarray:
    """<J v, u> (n, G), which must equal <v, J' u>: forward mode against backward, exact to round-off."""
    found = [
        subject.weights @ subject.flat(subject.tangent({part.name: subject.backend.asarray(look.values)}))
        for look in looks
    ]
    return np.stack(found)


def reach(subject: Subject, part: Part, looks: list[Direction]) -> np.ndarray:
    """(n,) how far along each direction one unit step goes: about the size of the tensor's entries."""
    size = max(1.0, float(np.max(np.abs(subject.host(part)), initial=0.0)))
    return np.array([look.reach or size / float(np.abs(look.values).max()) for look in looks])


def taylor(subject: Subject, part: Part, looks: list[Direction], allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order in h of the remainder |f(x + hv) - f(x) - h <gradient, v>|: about 2 if the gradient is right, 1 if wrong.

    It is the slope over the finest steps that are clear of round-off.  It is also 2 if the remainder sinks into
    round-off at once, or at a step where that of a gradient wrong by one part in a million would not.  It is NaN if too
    few steps are left.

    Parameters
    ----------
    allowed : (n, G) how far a right derivative may be off, in the directions' own length.

    Returns
    -------
    slopes, claimed : (n, G) orders, and the claimed derivatives.
    """
    base = subject.host(part).astype(np.float64)
    size = float(np.max(np.abs(base), initial=0.0))
    scale = size if 0.0 < size < 1.0 else 1.0  # a step far longer than the numbers sees nothing but higher orders
    lengths = np.array([max(float(np.sqrt((look.values**2).sum())), EPS) for look in looks])
    off = allowed / lengths[:, None]
    unit = [look.values / max(float(np.sqrt((look.values**2).sum())), EPS) for look in looks]
    before = subject.here()
    claimed_gradient = subject.claimed[part.name].reshape(len(subject.weights), -1)
    remainders, noises = [], []
    rounding = np.zeros(1)
    steps = TAYLOR_STEPS if part.size <= LARGE else TAYLOR_STEPS[::2]
    steps = tuple(scale * step for step in steps)
    for step in steps:
        moved = np.stack([base + step * one for one in unit]).astype(part.dtype)
        realised = (moved.astype(np.float64) - base).reshape(len(unit), -1)
        after = differences.in_blocks(subject, part, moved)
        claimed = realised @ claimed_gradient.T
        remainders.append(np.abs((after - before) @ subject.weights.T - claimed))
        natural = np.sqrt((realised**2) @ (claimed_gradient**2).T)
        # what moved at a longer step is only hidden by rounding at a shorter one
        rounding = np.maximum(rounding, differences.floor(subject, after, before[None], 1.0))
        moved_or_not = np.where(rounding > 0.0, rounding, differences.output_rounding(subject))
        noises.append(25.0 * (moved_or_not + EPS * natural) + 2.0 * off * step)
    slopes = np.empty(remainders[0].shape)
    claims = np.abs(np.stack([one.reshape(-1) for one in unit]) @ claimed_gradient.T)
    for place in np.ndindex(*slopes.shape):
        least = max(1e-6 * claims[place], 10.0 * off[place])
        slopes[place] = _order([r[place] for r in remainders], [n[place] for n in noises], least, steps)
    return slopes, claims


def _order(remainders: list[float], noise: list[float], least: float, steps: tuple[float, ...]) -> float:
    """The slope of the remainders; `least` is the error of a derivative that has to be seen."""
    if not np.isfinite(remainders).all():
        return np.nan
    clear = [r > limit for r, limit in zip(remainders, noise, strict=True)]
    usable = clear.index(False) if False in clear else len(clear)
    if usable < len(clear) and noise[usable] <= least * steps[usable]:
        return 2.0
    if 0 < usable < len(clear) and remainders[usable - 1] > 4.0 * (steps[usable - 1] / steps[usable]) * noise[usable]:
        return 2.0  # it drops out of sight at once: the longer steps have crossed a kink
    if steps[0] / steps[max(0, usable - 1)] < 8.0:
        return np.nan
    found = [
        np.log(remainders[k - 1] / remainders[k]) / np.log(steps[k - 1] / steps[k])
        for k in range(max(1, usable - 4), usable)
    ]
    slope = float(np.median(found))
    return slope if slope > 0.5 else np.nan  # what does not shrink with the step is noise, not a wrong gradient
