"""Recomputation in a recurrent layer: forward keeps the states at the borders of segments, and no gates.

Backward walks the segments from the last to the first.  It runs each one forward again, from the state at its border,
and then backward, so that the tape of one segment exists at a time (Chen et al. 2016, for time in place of depth).

The gradients have the bits of full storage (rule 29): borders are whole blocks of steps before the end
(`kernels.Kernels.block`), so no sum is broken off in the middle, and masks are drawn again from their counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from engine.backend import Backend
from engine.errors import bad_input
from engine.layers.masks import apply_mask
from engine.layers.tape import DirectionTape
from kernels import Kernels
from kernels.cells import Adjoints, Pass, Run
from kernels.reference import part_of

Array = Any  # of the layer's backend
#: The factors k_X of some time steps, by name.
Factors = Callable[[slice], dict[str, Array]]


class Again(NamedTuple):
    """What a direction needs to be run again.

    Attributes
    ----------
    kernels : that ran it.
    given : what all its steps shared, without factors.
    factors : draws the factors of some steps.
    """

    kernels: Kernels
    given: Pass
    factors: Factors

    def part(self, steps: slice) -> Pass:
        """What the steps of a segment share."""
        return part_of(self.given, steps)._replace(factors=self.factors(steps))


class SegmentedDirection(DirectionTape):
    """One layer, one direction, of which backward makes the tape again, segment by segment.

    Whoever asks for its states, gates or factors gets those of all steps: they are computed then, and not kept.

    Parameters
    ----------
    x : (T, B, D) input in processing order.
    again : how to run it.
    spans : the segments, in order.
    borders : for each segment, every state (B, H) before its first step.
    weight_mask : as in `DirectionTape`.
    last_run : the tape of the last segment, where forward has made it: the first backward takes it off, so that
        there is never more than one.
    """

    def __init__(
        self,
        x: Array,
        again: Again,
        spans: list[slice],
        borders: list[tuple[Array, ...]],
        weight_mask: Array,
        last_run: Run | None = None,
    ) -> None:
        found = {"cell": again.given.cell, "x": x, "again": again, "spans": spans, "borders": borders}
        vars(self).update(found, weight_mask=weight_mask, last_run=last_run)

    again: Again
    spans: list[slice]
    borders: list[tuple[Array, ...]]
    last_run: Run | None

    @property
    def run(self) -> Run:
        """The tape of the kernels of all steps, computed anew."""
        steps = slice(0, len(self.x))
        return self.again.kernels.forward_layer(self.again.part(steps), self.x, self.borders[0])[0]

    @property
    def factors(self) -> Mapping[str, Array]:
        """The masks k_X of all steps, drawn anew."""
        return self.again.factors(slice(0, len(self.x)))

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`: what is kept."""
        yield ".x", self.x
        for number, states in enumerate(self.borders):
            yield from ((f".borders[{number}][{k}]", state) for k, state in enumerate(states))
        if self.weight_mask is not None:
            yield ".weight_mask", self.weight_mask

    def check(
        self, backend: Backend, shape: tuple[int, int, int], units: int, widths: tuple[int, ...], dtype: Any
    ) -> None:
        """See `DirectionTape.check`."""
        wanted = [(shape[1], width) for width in widths]
        fits = all([state.shape for state in states] == wanted for states in self.borders)
        if not fits or self.x.shape != shape or backend.dtype_of(self.x) != dtype:
            hint = "a tape is only read: run forward again"
            raise bad_input("tape", f"arrays as forward left them, x {shape}", f"x {self.x.shape}", hint)


class DrawnMask:
    """A mask between layers, as `engine.layers.masks.apply_mask` takes it, that is drawn again where it is needed.

    Parameters
    ----------
    draw : the mask of some time steps.
    spans : the segments.
    """

    def __init__(self, draw: Callable[[slice], Array], spans: list[slice]) -> None:
        self.draw, self.spans = draw, spans

    def __getitem__(self, steps: slice) -> Array:
        return self.draw(slice(*steps.indices(self.spans[-1].stop)))

    def lay_on(self, xp: Any, values: Array) -> Array:
        """values (T, B, units) with the mask on them, segment by segment."""
        found = xp.empty(values.shape, dtype=values.dtype)
        for steps in self.spans:
            found[steps] = apply_mask(xp, values[steps], self.draw(steps))
        return found


def forward_in_segments(
    again: Again,
    x: Array,
    firsts: tuple[Array, ...],
    spans: list[slice],
    copy: Callable[[Array], Array],
    keep_last: bool = False,
) -> tuple[list[tuple[Array, ...]], tuple[Array, ...], Array, Run | None]:
    """The states at the borders, the last states, y (T, B, P), and the tape of the last segment if it is to be kept."""
    kernels, states, borders = again.kernels, tuple(copy(state) for state in firsts), []
    y: Array = None
    for steps in spans:
        borders.append(states)
        keep = keep_last and steps is spans[-1]
        run, part = kernels.forward_layer(again.part(steps), x[steps], states, keep)
        y = kernels.empty((len(x), *part.shape[1:]), part.dtype) if y is None else y
        y[steps] = part
        states = tuple(copy(slots[-1]) for slots in run.states)  # the slots are no longer than the segment
    return borders, states, y, run if keep_last else None


def backward_in_segments(
    tape: SegmentedDirection, dy: Array, dlast: tuple[Array, ...], sums: Mapping[str, Array]
) -> tuple[Adjoints, Array]:
    """Reverse of `forward_in_segments`: the adjoints and dx; what the weights receive is added to `sums`."""
    again, x, dx = tape.again, tape.x, None
    kernels = again.kernels
    kernels.release()  # what forward has left
    for steps, states in reversed(list(zip(tape.spans, tape.borders, strict=True))):
        if steps.start == 0 and len(x) % steps.stop:  # the first segment may be shorter: no array of another fits
            kernels.release()
        part, x_part, dy_part = again.part(steps), x[steps], None if dy is None else dy[steps]
        run, vars(tape)["last_run"] = tape.last_run, None
        if run is None:
            run = kernels.forward_layer(part, x_part, states)[0]
        adjoints, dx_part = kernels.backward_layer(part, run, x_part, dy_part, dlast, sums, False, True)
        del run
        dx = kernels.empty(x.shape, dx_part.dtype) if dx is None else dx
        dx[steps], dlast = dx_part, adjoints.dstates
        del adjoints, dx_part  # before the next segment makes its own
    return Adjoints(None, None, dlast, None, {}, None), dx
