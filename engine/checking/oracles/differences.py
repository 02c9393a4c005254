"""Central differences that know how far they can be trusted.

No single step size is right for every function: a large step sees the function's bend, and a small one its rounding.
In float32, beside a kink or in a chaotic network, there may be no good step in between.  So a sweep of steps is taken,
each a quarter of the one before.  Richardson's extrapolation removes the leading powers of the step (Richardson 1911).
The estimate whose neighbours in the tableau agree best is kept, and their disagreement is its error bound (Ridders
1982).
"""

from __future__ import annotations

import numpy as np

from engine.checking.subjects.subject import Part, Subject

#: The first steps: if the function is smooth, three steps give ten digits.
FIRST_STEPS = (2.0**-9, 2.0**-11, 2.0**-13)
PAIR_ALONG = 2.0**-14
#: If they do not agree: from steps that a float32 function needs, to steps too short to reach a kink nearby.
ALL_STEPS = tuple(2.0**-k for k in range(3, 26, 2))
SHORTEST = 2.0**-27
#: Beside a pole or the end of a domain, and where a function turns within a millionth.
FINE_STEPS = tuple(2.0**-k for k in range(3, 48, 2))
#: A slope that shrinks with the step so many times in a row counts as 0.
SHRINKS = 6
EPS = float(np.finfo(np.float64).eps)
#: How far the neighbours' disagreement may underestimate the error.
SAFETY = 4.0
#: Outputs may be off by so many times their measured noise.  A check takes thousands of differences, and none of them
#: may be farther off.
ROUNDINGS = 12.0
#: Along directions: bounds larger than this part of the slope call for all steps, and for those beside poles.
ROUGH, STEEP = 1e-7, 1e-5
#: Error bounds beyond so many times what rounding does come from the steps.
FAR_BEYOND = 1e3
#: Memory for output values that are held at a time, in numbers.
BLOCK = 4_000_000


def one_pair(subject: Subject, part: Part, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (n, G) by the shortest of the first steps alone, and the effect of rounding on each.

    The effect of the function's bend is not bounded.  They still settle an entry if they confirm its claimed gradient,
    because a wrong gradient would have to be wrong by exactly the error of the difference.
    """
    return _differences(subject, part, entries, FIRST_STEPS[-1])


def central(
    subject: Subject, part: Part, entries: np.ndarray, pair: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (n, G) of every group of outputs by the entries (n,) of a tensor, and bounds of their errors.

    The divisor is the realised difference (x+e) - (x-e) (rule 17).

    Parameters
    ----------
    pair : the result of `one_pair` for the same entries, if it is known.
    """
    steps = FIRST_STEPS if pair is None else FIRST_STEPS[:-1]
    slopes, floors = _sweep(subject, part, entries, steps)
    if pair is not None:
        slopes, floors = (
            np.concatenate([longer, one[None]]) for longer, one in zip((slopes, floors), pair, strict=True)
        )
    return _settle(subject, slopes, floors, FIRST_STEPS[0])


def thorough(subject: Subject, part: Part, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `central`, with all steps, and a last one so short that it hardly ever crosses a kink nearby.

    The last step need not agree with a longer one: the slopes to its left and right confirm each other.
    """
    slopes, floors = _sweep(subject, part, entries, ALL_STEPS)
    best, bound = _settle(subject, slopes, floors, ALL_STEPS[0])
    # an output near 0 may be the difference of numbers that are not, and carries their rounding
    bound = unsettled(slopes, floors, best, bound) + 64.0 * EPS * np.nan_to_num(np.abs(slopes[0]), posinf=0.0)
    if not _within_reach(part, (SHORTEST,)):
        return best, bound
    left, right = one_sided(subject, part, entries, SHORTEST)
    nearer = 0.5 * sum(one_sided(subject, part, entries, 0.25 * SHORTEST))  # of an odd function both sides bend alike
    middle = 0.5 * (left + right)
    error = np.abs(left - right) + SAFETY * np.abs(middle - nearer) + output_rounding(subject) / (0.25 * SHORTEST)
    better = (error < bound) & np.isfinite(bound)
    return np.where(better, middle, best), np.where(better, error, bound)


def fine(subject: Subject, part: Part, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `thorough`, for steep functions or the end of a domain: steps relative to small numbers, and far shorter ones.

    A slope that shrinks with the step all the way is that of a minimum, or of a higher power, and becomes 0.
    """
    return _closest(*_sweep(subject, part, entries, FINE_STEPS, relative=True))


def _closest(slopes: np.ndarray, floors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    best, bound = extrapolate(slopes, floors)
    bound = unsettled(slopes, floors, best, bound)
    size = np.abs(slopes)
    shrinks = (size[:-1] > 3.0 * size[1:]) & (size[:-1] > 10.0 * floors[:-1])
    run, longest = np.zeros(best.shape), np.zeros(best.shape)
    for step in shrinks:
        run = np.where(step, run + 1, 0)
        longest = np.maximum(longest, run)
    smallest = np.nanmin(np.where(size > 0.0, size, np.inf), axis=0)
    zero = (longest >= SHRINKS) & (smallest <= size[0] * 3.0**-SHRINKS)
    return np.where(zero, 0.0, best), np.where(zero, smallest, bound)


def _settle(subject: Subject, slopes: np.ndarray, floors: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """The best estimates and their bounds; an output that never moves may still move within its rounding."""
    best, bound = extrapolate(slopes, floors)
    return best, np.where((best == 0.0) & (bound == 0.0), output_rounding(subject) / longest, bound)


def extrapolate(slopes: np.ndarray, floors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best of Richardson's tableau, and its error bound.

    Parameters
    ----------
    slopes, floors : (S, ...) central differences for steps that shrink by 4, and the effect of rounding on each.
    """
    floors = floors.copy()
    for k in range(1, len(floors)):  # what moved at a longer step is only hidden by rounding at a shorter one
        floors[k] = np.maximum(floors[k], 4.0 * floors[k - 1])
    best, bound = slopes[-1], np.full(slopes.shape[1:], np.inf)
    finest = np.zeros(slopes.shape[1:], dtype=np.int64)
    column, power = slopes, 16.0
    for level in range(len(slopes)):
        if level == 0:
            candidates = column[1:]
            errors = np.abs(np.diff(column, axis=0))
        elif level <= 3:
            before = column
            column = (power * before[1:] - before[:-1]) / (power - 1.0)  # removes the step's next even power
            power *= 16.0
            candidates = column
            errors = np.maximum(np.abs(column - before[1:]), np.abs(column - before[:-1]))
        else:
            break
        errors = SAFETY * errors + floors[len(floors) - len(candidates) :]
        for k, (candidate, error) in enumerate(zip(candidates, errors, strict=True), len(slopes) - len(candidates)):
            better = error < bound
            best, bound = np.where(better, candidate, best), np.where(better, error, bound)
            finest = np.where(better, k, finest)
    # on both sides of a kink far steps agree as well; shorter ones contradict them, beyond rounding or within it
    for k, (slope, rounding) in enumerate(zip(slopes, floors, strict=True)):
        gap = np.nan_to_num(np.abs(slope - best), nan=0.0)  # beyond the end of a domain nothing contradicts
        against = (k > finest) & ((gap > rounding) | (k <= finest + 2))
        bound = np.where(against, np.maximum(bound, 2.0 * gap), bound)
    return best, bound


def unsettled(slopes: np.ndarray, floors: np.ndarray, best: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """The error bounds (n, G), infinite where the differences do not converge.

    In a chaotic network the outputs change by as much for a step of 1e-8 as for one of 1e-1, so the slope grows as the
    step shrinks.  It would converge only at steps far below rounding.  If this holds for many entries, it holds for
    all: a few agree by chance.
    """
    shortest = np.abs(slopes[-1])
    growing = (shortest > 30.0 * np.abs(best)) & (shortest > 100.0 * floors[-1])
    many = growing.mean(axis=0) > 0.1 if len(growing) else False
    return np.where(growing | many, np.inf, bound)


def one_sided(subject: Subject, part: Part, entries: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (n, G) to the left and to the right of entries: at a kink they differ however small the step."""
    high, low, above, below, base = _moved(subject, part, entries, step)
    here = subject.here()
    weights = subject.weights.T
    left = ((here - low) @ weights) / (base - below)[:, None]
    right = ((high - here) @ weights) / (above - base)[:, None]
    return left, right


def one_sided_along(subject: Subject, part: Part, directions: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (n, N) of every output to the two sides along directions (n, ...)."""
    base, here = subject.host(part).astype(np.float64), subject.here()
    high, low = (in_blocks(subject, part, base + sign * step * directions) for sign in (1.0, -1.0))
    return (here - low) / step, (high - here) / step


def output_rounding(subject: Subject) -> np.ndarray:
    """(G,) how far rounding of all outputs may move their weighted sum."""
    return ROUNDINGS * np.sqrt((subject.weights**2) @ subject.output_noise() ** 2)


def first_movement(subject: Subject, part: Part, entry: int) -> float:
    """How much the outputs move when they begin to, as one entry is moved further and further away.

    In units of each output's own rounding; 0 if none ever moves.  A saturated function begins to move in the last
    digit; a function with a kink farther away, such as a relu that is off, begins with a jump.
    """
    here = subject.here()
    digit = np.maximum(subject.output_noise(), EPS * np.abs(here)) + np.finfo(np.float64).tiny
    for k in range(0, 40):
        high, low, *_ = _moved(subject, part, np.array([entry]), 2.0**-13 * 1.5**k)
        moved = max(float(np.max(np.abs(side[0] - here) / digit, initial=0.0)) for side in (high, low))
        if moved > 0.0:
            return moved
    return 0.0


def one_pair_along(
    subject: Subject, part: Part, directions: np.ndarray, reach: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `one_pair`, along directions (n, ...); all entries move at once, so a shorter step goes as far."""
    slopes, floors = _sweep_along(subject, part, directions, reach, (PAIR_ALONG,))
    return slopes[0], floors[0]


def along(subject: Subject, part: Part, directions: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (n, G) along directions (n, ...), and bounds of their errors.

    Parameters
    ----------
    reach : (n,) the length of a direction that counts as one step of size 1.
    """
    slopes, floors = _sweep_along(subject, part, directions, reach, FIRST_STEPS)
    best, bound = _settle(subject, slopes, floors, float(FIRST_STEPS[0] * reach.min()))
    rough = np.flatnonzero((bound > ROUGH * np.abs(best)).any(axis=1))
    if rough.size:
        slopes, floors = _sweep_along(subject, part, directions[rough], reach[rough], ALL_STEPS)
        best[rough], errors = _settle(subject, slopes, floors, float(ALL_STEPS[0] * reach.min()))
        bound[rough] = unsettled(slopes, floors, best[rough], errors)
    limit = FAR_BEYOND * output_rounding(subject) / (ALL_STEPS[0] * reach[:, None])
    still = np.flatnonzero((~(bound <= limit) & ~(bound <= STEEP * np.abs(best))).any(axis=1))
    if still.size and not subject.narrow:
        closest, errors = _closest(*_sweep_along(subject, part, directions[still], reach[still], FINE_STEPS))
        better = ~(errors >= bound[still])
        best[still], bound[still] = np.where(better, closest, best[still]), np.where(better, errors, bound[still])
    return best, bound


# -- evaluating --------------------------------------------------------------------------------------------------------


def _sweep(
    subject: Subject, part: Part, entries: np.ndarray, steps: tuple[float, ...], relative: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (S, n, G) for every step, and what rounding does to each."""
    pairs = [_differences(subject, part, entries, step, relative) for step in _within_reach(part, steps)]
    return np.stack([slope for slope, _ in pairs]), np.stack([floor for _, floor in pairs])


def _differences(
    subject: Subject, part: Part, entries: np.ndarray, step: float, relative: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    found = [np.zeros((0, len(subject.weights)))] * 2
    slopes, floors = [found[0]], [found[1]]
    block = block_size(subject, part)
    for start in range(0, len(entries), block):
        chosen = entries[start : start + block]
        high, low, above, below, _ = _moved(subject, part, chosen, step, relative)
        width = (above - below)[:, None]
        slopes.append(((high - low) @ subject.weights.T) / width)
        floors.append(floor(subject, high, low, width))
    return np.concatenate(slopes), np.concatenate(floors)


def _moved(
    subject: Subject, part: Part, entries: np.ndarray, step: float, relative: bool = False
) -> tuple[np.ndarray, ...]:
    """Outputs (n, N) with single entries moved up and down; where to; and where from.

    A step is a part of the number, and of 1 for numbers below 1, unless it is to be relative for those as well.
    """
    values = subject.host(part)
    base = values.reshape(-1)[entries].astype(np.float64)
    reach = step * np.where((np.abs(base) > 1.0) | (relative & (base != 0.0)), np.abs(base), 1.0)
    stack = np.repeat(values[None], 2 * len(entries), axis=0)
    flat = stack.reshape(len(stack), -1)
    rows = np.arange(len(entries))
    flat[rows, entries] = base + reach
    flat[rows + len(entries), entries] = base - reach
    above, below = flat[rows, entries].astype(np.float64), flat[rows + len(entries), entries].astype(np.float64)
    found = subject.run(part, stack).astype(np.float64)
    return found[: len(entries)], found[len(entries) :], above, below, base


def _within_reach(part: Part, steps: tuple[float, ...]) -> tuple[float, ...]:
    """The steps that a number of the tensor's dtype can make."""
    return tuple(step for step in steps if step >= 16.0 * float(np.finfo(part.dtype).eps))


def _sweep_along(
    subject: Subject, part: Part, directions: np.ndarray, reach: np.ndarray, steps: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (S, n, G) along directions for every step, and what rounding does to each."""
    base = subject.host(part).astype(np.float64)
    slopes, floors = [], []
    for step in _within_reach(part, steps):
        size = (step * reach).reshape(-1, *(1,) * base.ndim)
        stack = np.concatenate([base + size * directions, base - size * directions]).astype(part.dtype)
        found = in_blocks(subject, part, stack)
        high, low = found[: len(directions)], found[len(directions) :]
        width = 2.0 * (step * reach)[:, None]
        slopes.append(((high - low) @ subject.weights.T) / width)
        floors.append(floor(subject, high, low, width))
    return np.stack(slopes), np.stack(floors)


def in_blocks(subject: Subject, part: Part, stack: np.ndarray) -> np.ndarray:
    """Outputs (K, N) for K values of a part, not too many at a time."""
    block = 2 * block_size(subject, part)
    found = [subject.run(part, stack[k : k + block]) for k in range(0, len(stack), block)]
    return np.concatenate(found).astype(np.float64)


def block_size(subject: Subject, part: Part) -> int:
    """How many copies of a part are held, and run, together."""
    largest = max(1, 16 * subject.weights.shape[1], 2 * part.size)
    return int(min(128, max(1, BLOCK // largest)))


def floor(subject: Subject, high: np.ndarray, low: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """What rounding of the outputs alone may do to a difference, counting those that moved."""
    noise = np.where(high != low, subject.output_noise(), 0.0)
    return ROUNDINGS * np.sqrt((noise**2) @ (subject.weights.T**2)) / width
