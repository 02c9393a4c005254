"""What the forward pass of a `BatchNormLSTM` keeps for backward, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.layers import showing
from engine.layers.timeline import Timeline
from kernels.gates.normalising import normalise_backward

Array = Any  # of the layer's backend
Mean = Callable[[Array], Array]


class Normalised(NamedTuple):
    """What one normalisation of one step keeps for backward.

    Attributes
    ----------
    rows, out : array (B, W)
        What went in and came out.
    scale : array (W,) or None
        One over the root of the running variance, where it was used; None where the statistics are the batch's.
    over : int
        How many rows these are of.
    """

    rows: Array
    out: Array
    scale: Array | None
    over: int


class StepRecord(NamedTuple):
    """What one step keeps for backward; each array (B, H) unless it says otherwise.

    Attributes
    ----------
    x : array (B, D)
    h_prev, c_prev : the states before the step.
    from_x, from_h : the normalised products, (B, 4H).
    cell : the normalised c_t.
    i, f, g, o, u : gates behind their functions, and tanh of the normalised cell.
    valid : bool (B, 1), the rows that have this step; None for all.
    """

    x: Array
    h_prev: Array
    c_prev: Array
    from_x: Normalised
    from_h: Normalised
    cell: Normalised
    i: Array
    f: Array
    g: Array
    o: Array
    u: Array
    valid: Array | None

    def through(self, normalised: Normalised, dout: Array, eps: float, xp: Any) -> Array:
        """Reverse of a normalisation of this step: the gradient of its rows, 0 where a row has not this step."""
        if normalised.scale is not None:
            return self.kept(dout * normalised.scale, xp)  # out = (rows - running_mean) * scale
        mean = mean_over(xp, self.valid, normalised.over)
        return self.kept(normalise_backward(dout, normalised.rows, normalised.out, mean, eps), xp)

    def kept(self, values: Array, xp: Any) -> Array:
        """The values of the rows that have this step, 0 of the others."""
        return values if self.valid is None else xp.where(self.valid, values, 0)

    def passed(self, values: Array, xp: Any) -> Array:
        """The values of the rows that are past their end, 0 of the others: their states go on as they are."""
        return xp.zeros_like(values) if self.valid is None else xp.where(self.valid, 0, values)


@dataclass(frozen=True, repr=False)
class BatchNormLSTMTape(showing.Tape):
    """What forward leaves for backward.

    Attributes
    ----------
    steps : tuple of StepRecord
        What every step keeps.
    timeline : Timeline
        The valid steps.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    steps: tuple[StepRecord, ...]
    timeline: Timeline
    stamp: tuple[int, int]

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        for t, step in enumerate(self.steps):
            for name, value in step._asdict().items():
                if isinstance(value, Normalised):
                    yield f".steps[{t}].{name}.rows", value.rows
                    yield f".steps[{t}].{name}.out", value.out
                elif value is not None:
                    yield f".steps[{t}].{name}", value


def mean_over(xp: Any, valid: Array | None, count: int) -> Mean:
    """What takes the mean of (B, W) over the rows that have a step, as (1, W)."""

    def mean(values: Array) -> Array:
        kept = values if valid is None else xp.where(valid, values, 0)
        return kept.sum(axis=0, keepdims=True) / count

    return mean


def rows_by_step(timeline: Timeline) -> list[int]:
    """How many rows have each step; known on the host."""
    if timeline.host_lengths is None:
        return [timeline.batch] * timeline.steps
    return [int((timeline.host_lengths > t).sum()) for t in range(timeline.steps)]


def sigmoid(xp: Any, a: Array) -> Array:
    """1 / (1 + exp(-a)), without an exponential that overflows."""
    return 0.5 * (1 + xp.tanh(0.5 * a))
