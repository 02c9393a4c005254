"""From times to figures: ratios with their intervals, and how near a step comes to the machine's best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from engine.measuring.timed_step import TimedStep

RESAMPLES = 2000


def case_of(row: Mapping[str, Any]) -> TimedStep:
    """The case that a row was measured for."""
    return TimedStep(**{name: row[name] for name in TimedStep.__dataclass_fields__})


def median(row: Mapping[str, Any], library: str) -> float:
    """Seconds of a step."""
    return float(np.median(row["seconds"][library]))


def ratio(row: Mapping[str, Any], peer: str, ours: str = "engine") -> float:
    """The peer's median time over ours: above 1, ours is faster."""
    return median(row, peer) / median(row, ours)


def interval(row: Mapping[str, Any], peer: str, ours: str = "engine") -> tuple[float, float]:
    """A 95 % interval of the ratio, by bootstrap over rounds.

    A round's two times stay together, because a disturbance of the machine slows both.  With few rounds this is little
    more than their range.
    """
    theirs, mine = (np.asarray(row["seconds"][library]) for library in (peer, ours))
    rounds = min(len(theirs), len(mine))
    drawn = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    ratios = np.median(theirs[drawn], axis=1) / np.median(mine[drawn], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def fraction(row: Mapping[str, Any], library: str = "engine") -> float | None:
    """The step's matrix products a second, as a fraction of what sgemm reached on the same cores in the same rounds."""
    if not row.get("sgemm"):
        return None
    return case_of(row).flops() / median(row, library) / (1e9 * float(np.max(row["sgemm"])))


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios: 2 and 1/2 make 1."""
    return float(np.exp(np.mean(np.log(list(values)))))
