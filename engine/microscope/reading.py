"""From numbers to words: the rate, the memory length, the verdict.  A sentence never says more than its numbers.

The verdict looks at ||dh[end]/d(all states)[0]||, how much the h at the end depends on the first states, at most.  It
is a property of the states that were passed through, not of the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from engine.microscope.result import GateFlow, Jacobians, WeightFlow

#: What is left of a change over all steps: below the first it vanishes, above the second it explodes.
VANISHED, EXPLODED = 0.1, 10.0
#: Where a memory ends: what is left is below this.
LEFT = np.exp(-1.0)
#: A gate is worth a sentence if so many of its activations are near a bound.
MANY = 0.5
#: The part of a gradient that the last steps must give.
MOST_OF_IT = 0.9


def by_lag(jacobians: Jacobians, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of ||dh[end]/d(all states)[t]|| against the steps from slot t to the end: the mean over rows.

    Returns
    -------
    lags : numpy.ndarray (n,)
        Ascending, from 0.
    log : numpy.ndarray (n,)
    """
    R = jacobians.to_h.shape[1]
    rows = lengths[lengths > 0][:R]
    lag = rows - jacobians.slots[:, None]
    with np.errstate(divide="ignore"):
        log = np.log(jacobians.to_h)
    inside = lag >= 0
    lags = np.unique(lag[inside])
    return lags, np.array([log[inside & (lag == n)].mean() for n in lags])


def rate_of(lags: np.ndarray, log: np.ndarray) -> float | None:
    """The factor of one step: the slope of a straight line through the logarithms."""
    known = np.isfinite(log)
    if np.count_nonzero(known) < 2:
        return None
    return float(np.exp(np.polyfit(lags[known], log[known], 1)[0]))


def memory_of(lags: np.ndarray, log: np.ndarray) -> float | None:
    """The number of steps after which the norm stays below 1/e, between two slots by a straight line; None if never."""
    above = np.flatnonzero(log >= np.log(LEFT))
    last = int(above[-1])  # at lag 0 the norm is 1
    if last == len(log) - 1:
        return None
    if not np.isfinite(log[last + 1]):
        return float(lags[last + 1])
    part = (log[last] - np.log(LEFT)) / (log[last] - log[last + 1])
    return float(lags[last] + part * (lags[last + 1] - lags[last]))


def verdict_of(
    jacobians: Jacobians | None, lengths: np.ndarray, states: Mapping[str, np.ndarray]
) -> tuple[str, float | None, float | None, list[str]]:
    """Verdict, rate, memory length, and the sentences that go with them."""
    values = np.concatenate(list(states.values()))
    if not np.isfinite(values).all():
        return "non-finite", None, None, ["a state's gradient is NaN or infinite"]
    if not values.any():
        return "no gradient", None, None, ["no gradient arrives at any state: the loss does not depend on this layer"]
    if jacobians is None:
        return "cannot tell", None, None, ["the Jacobians were not measured, so nothing is said of how far it reaches"]
    lags, log = by_lag(jacobians, lengths)
    if np.isnan(log).any():
        return "non-finite", None, None, ["a Jacobian is NaN or infinite"]
    rate, memory = rate_of(lags, log), memory_of(lags, log)
    steps, left = int(lags[-1]), float(np.exp(log[-1]))
    bound = "at most" if left <= EXPLODED else "up to"
    first = (
        f"a small change of the first states changes the last h by {bound} {left:.2g} of its size, {steps} steps later"
    )
    verdict = "vanishing" if left < VANISHED else "exploding" if left > EXPLODED else "steady"
    each = [] if rate is None else [f"each step further back multiplies this by {rate:.3g}"]
    if memory is None:
        second = f"memory length: longer than these {steps} steps (1/e is not reached)"
    else:
        second = f"memory length: {memory:.1f} steps until 1/e of a change is left"
    return verdict, rate, memory, [first, *each, second]


def of_gates(gates: Mapping[str, GateFlow]) -> Iterator[str]:
    """A sentence for each gate that is near its bounds for the most part."""
    for name, gate in gates.items():
        low, high = (float(np.nanmean(side)) if side.size else 0.0 for side in _sides(gate))
        if not low + high > MANY:
            continue
        if gate.activation == "relu":
            yield f"gate {name}: {low:.0%} of its activations are 0, where relu passes no gradient"
        else:
            assert gate.bounds is not None
            ends = f"{low:.0%} near {gate.bounds[0]:g}, {high:.0%} near {gate.bounds[1]:g}"
            yield f"gate {name}: {ends}; the slope of {gate.activation} there is at most 36% of its largest"


def of_truncation(states: Mapping[str, np.ndarray], k2: int) -> str:
    """The slots that a truncated pass does not reach."""
    reached = np.flatnonzero(np.any([norms > 0 for norms in states.values()], axis=0))
    first, T = int(reached[0]), len(next(iter(states.values()))) - 1
    if first == 0:
        return f"truncated BPTT with k2 = {k2}: a gradient arrives at every slot"
    return f"truncated BPTT with k2 = {k2}: no gradient arrives at the slots 0 to {first - 1} of {T}"


def _sides(gate: GateFlow) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(gate.near_low)
    return gate.near_low[known], gate.near_high[known]


def of_weights(weights: Mapping[str, WeightFlow]) -> Iterator[str]:
    """How many of the last steps give most of a recurrent weight's gradient."""
    for name, weight in weights.items():
        if "weight_hh" not in name or not np.isfinite(weight.share).all():
            continue
        count = last_steps(weight.share)
        yield f"{MOST_OF_IT:.0%} of the gradient of {name} comes from the last {count} of {len(weight.share)} steps"


def last_steps(share: np.ndarray, part: float = MOST_OF_IT) -> int:
    """The smallest number of last steps whose shares sum to `part`, and stay above it with every step more."""
    sums = np.cumsum(share[::-1])
    below = np.flatnonzero(sums < part)
    return int(below[-1]) + 2 if len(below) else 1
