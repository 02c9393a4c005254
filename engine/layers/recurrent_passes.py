"""The two passes of a recurrent layer: the walk over its layers and directions, with what each of them takes.

`engine.layers.recurrent.Recurrent` checks the arguments and hands them on; a kernel set walks one layer and direction
over time.  `_run` and `_walk` stand side by side.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.checks import switch
from engine.layers import arguments
from engine.layers.base import Layer
from engine.layers.cell_parameters import of_direction
from engine.layers.exemption import precision_at
from engine.layers.masks import apply_mask
from engine.layers.noise import Noise, factors_in
from engine.layers.segment_sizes import segments_for
from engine.layers.segments import (
    Again,
    DrawnMask,
    SegmentedDirection,
    backward_in_segments,
    forward_in_segments,
)
from engine.layers.tape import DirectionTape, RecurrentTape
from engine.layers.timeline import Timeline
from engine.layers.walk import Direction, backward_walk, every_direction, forward_walk
from kernels import Kernels
from kernels.cells import Adjoints, Cell, Pass
from kernels.reference import ReferenceKernels

Array = Any  # of the layer's backend


class Sums(NamedTuple):
    """The sums of a pass in parts, from the last to the first; they are added to the gradients when all are done.

    Attributes
    ----------
    arrays : for each gradient of a weight the sum so far.
    masks : the masks on weight_hh by the ending of the direction, None if there is none; the last step of the sum.
    """

    arrays: dict[str, Array]
    masks: dict[str, Array]


class RecurrentPasses(Layer):
    """The passes of a `Recurrent` layer, which has these attributes and explains them.

    `widths` has the number of units of each state, `zoned` zoneout's probability for those that have it.
    """

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    num_directions: int
    widths: tuple[int, ...]
    dropout: float
    variational: bool
    recurrent_dropout: float
    weight_dropout: float
    precision: str
    exempt: tuple[str, ...]
    recompute: Any
    zoned: dict[str, float]
    _sums: Sums | None = None
    _noisy: Cell
    _quiet: Cell

    def _run(
        self,
        x: Array,
        timeline: Timeline,
        firsts: tuple[tuple[Array, ...], ...],
        noise: Noise | None,
        version: int,
        keep: bool,
    ) -> tuple[Array, Any, list[DirectionTape], list[Array]]:
        """Output, last state, and what backward needs: a tape for each direction, a mask for each layer.

        `firsts` are the first states by slot; `version` is that of the weights, see `_stamp`.
        """
        xp = self.backend.xp
        masks: list[Any] = []
        last: list[Any] = []
        tapes: list[DirectionTape] = []
        cell = self._quiet if noise is None or noise.call is None else self._noisy
        spans = self._spans(timeline) if keep and self.recompute is not None else None

        def enter(layer: int, values: Array) -> Array:
            first = spans[0] if spans else None
            mask: Any = None if noise is None else noise.between_layers(layer, values.shape[2], first)
            if spans and noise is not None and mask is not None:
                mask = DrawnMask(functools.partial(noise.between_layers, layer, values.shape[2]), spans)
            masks.append(mask)
            return values if mask is None else apply_mask(xp, values, mask)

        def run(direction: Direction, values: Array) -> Array:
            weights, _, packs = self._arrays(cell, direction)
            drop, factors = None, {}
            if noise is not None:
                factors = {} if spans else noise.factors(direction, cell)
                if "weight_hh" in weights:
                    drop = noise.of_weights(direction, weights["weight_hh"].shape)
                if drop is not None:
                    weights, packs = weights | {"weight_hh": weights["weight_hh"] * drop}, None
            if packs is not None:
                packs.keep_for(version)
            given = Pass(cell, weights, timeline.lengths, factors, self._precision_at(direction), packs)
            if spans:
                again = Again(self.backend.kernels, given, factors_in(noise, direction, cell))
                first_back = direction.layer == self.num_layers - 1 and not direction.reverse
                borders, states, y, end = forward_in_segments(
                    again, values, firsts[direction.slot], spans, xp.copy, first_back
                )
                last.append(list(states))
                tapes.append(SegmentedDirection(values, again, spans, borders, drop, end))
                return y
            found, y = self._kernels(timeline).forward_layer(
                given, values, firsts[direction.slot], keep or timeline.empty
            )
            last.append([slots[-1] for slots in found.states])
            if keep:
                tapes.append(DirectionTape(cell, values, found, factors, drop))
            return y

        y = forward_walk(self.num_layers, self.num_directions, x, enter, run, timeline.flip, self._joined)
        return self._laid_out(y), self._stacked(last), tapes, masks

    def _walk(
        self, tape: RecurrentTape, dy: Any, dstate: Any, grads: dict[str, Array], keep: bool
    ) -> tuple[Array, Any, list[tuple[Cell, Adjoints]]]:
        """Reverse of `_run`: dx, dstate and the adjoints of each direction; adds to `grads`."""
        self.check_tape(tape)
        timeline, slots = tape.timeline, self.num_layers * self.num_directions
        dy = arguments.enter_dy(self, dy, timeline)
        dlast = arguments.enter_state(self, "dstate", dstate, timeline.batch, part_may_be_none=True)
        traces: list[Any] = [None] * slots
        dfirst: list[Any] = [None] * slots

        tell = self.on_gradients if grads is self._grads.own else None

        def leave(layer: int, values: Array) -> Array:
            if tell is not None:
                tell(layer)
            mask = tape.masks[layer]
            return values if mask is None else apply_mask(self.backend.xp, values, mask)  # enter: apply_mask

        def run(direction: Direction, dy_d: Array) -> Array:
            record = tape.layers[direction.layer][direction.reverse]
            last = tuple([None if part is None else part[direction.slot] for part in dlast])
            adjoints, dx_d = self._walk_direction(record, direction, dy_d, last, timeline, grads, keep)
            dfirst[direction.slot] = adjoints.dstates
            traces[direction.slot] = record.cell, adjoints
            return dx_d

        dx = backward_walk(self.num_layers, self.num_directions, dy, leave, run, timeline.flip, self.widths[0])
        return self._laid_out(dx), self._stacked(dfirst), traces

    def _walk_direction(
        self,
        record: DirectionTape,
        direction: Direction,
        dy: Array,
        dlast: tuple[Array, ...],
        timeline: Timeline,
        grads: dict[str, Array],
        keep: bool,
    ) -> tuple[Any, Array]:
        """The adjoints and dx of one layer and direction; adds to `grads`, which has those of all directions."""
        weights, own, packs = self._arrays(record.cell, direction)
        shape = (timeline.steps, timeline.batch, weights["weight_ih"].shape[1])
        record.check(self.backend, shape, self.hidden_size, self.widths, self.dtype)
        own = own if grads is self._grads.own else of_direction(self.cell, direction, grads)
        targets = own
        sums = self._sums
        going_on = sums is not None and grads is sums.arrays
        if sums is not None and going_on:
            sums.masks[direction.end] = record.weight_mask
        if isinstance(record, SegmentedDirection) and not keep:
            return self._walk_segments(record, dy, dlast, own, going_on)
        if record.weight_mask is not None:
            weights, packs = weights | {"weight_hh": weights["weight_hh"] * record.weight_mask}, None
            targets = own if going_on else own | {"weight_hh": self.backend.xp.zeros_like(weights["weight_hh"])}
        given = Pass(record.cell, weights, timeline.lengths, record.factors, self._precision_at(direction), packs)
        found = self._kernels(timeline).backward_layer(given, record.run, record.x, dy, dlast, targets, keep, going_on)
        if record.weight_mask is not None and not going_on:
            own["weight_hh"] += targets["weight_hh"] * record.weight_mask  # weight_hh * weight_mask
        return found

    def _walk_segments(
        self, record: SegmentedDirection, dy: Array, dlast: tuple[Array, ...], own: dict[str, Array], going_on: bool
    ) -> tuple[Any, Array]:
        """`_walk_direction` for a tape that is made again, segment by segment."""
        if going_on:
            return backward_in_segments(record, dy, dlast, own)
        sums = {name: self.backend.xp.zeros_like(grad) for name, grad in own.items()}
        found = backward_in_segments(record, dy, dlast, sums)
        for name, total in sums.items():
            grad = own[name]
            grad += total * record.weight_mask if name == "weight_hh" and record.weight_mask is not None else total
        return found

    @contextlib.contextmanager
    def summing(self) -> Iterator[None]:
        """Between its begin and its end, backward passes are parts of one pass: see `Sums`."""
        zeros = self.backend.xp.zeros_like
        self._sums = sums = Sums({name: zeros(grad) for name, grad in self._grads.own.items()}, {})
        try:
            yield
        finally:
            self._sums = None
        for direction in every_direction(self.num_layers, self.num_directions):
            own = of_direction(self.cell, direction, self._grads.own)
            mask = sums.masks.get(direction.end)
            for name, total in of_direction(self.cell, direction, sums.arrays).items():
                own[name] += total if mask is None or name != "weight_hh" else total * mask

    def _spans(self, timeline: Timeline) -> list[slice] | None:
        """The segments of a pass whose gates are recomputed; None for a single one."""
        T, B = timeline.steps, timeline.batch
        spans = [] if timeline.empty else segments_for(self, T, B, timeline.lengths is not None)
        return spans if len(spans) > 1 else None

    def _arrays(self, cell: Cell, direction: Direction) -> tuple[dict[str, Array], dict[str, Array], Any]:
        """Weights and gradients of one layer and direction, and what the kernels keep of them (`Kernels.packs`).

        They are looked up once; the two mappings are only read.
        """
        memo, key = self._params.memo, (cell, direction.slot)
        found = memo.get(key)
        if found is None:
            weights, grads = (of_direction(self.cell, direction, part.own) for part in (self._params, self._grads))
            packs = self.backend.kernels.packs(cell, weights, grads, self._precision_at(direction))
            found = memo[key] = weights, grads, packs
        return found

    def _precision_at(self, direction: Direction) -> str:
        """The precision of one layer and direction, with what is exempt there."""
        return precision_at(self.precision, self.exempt, direction.end) if self.exempt else self.precision

    def _kernels(self, timeline: Timeline) -> Kernels:
        """The backend's kernels; plain array code where no step or no row is there to walk (rule 9)."""
        return ReferenceKernels(self.backend.xp) if timeline.empty else self.backend.kernels

    def _by_layer(self, parts: list[Any]) -> tuple[tuple[Any, ...], ...]:
        N = self.num_directions
        return (tuple(parts),) if len(parts) == N else tuple([tuple(parts[n : n + N]) for n in range(0, len(parts), N)])

    def _joined(self, outputs: list[Array]) -> Array:
        return self.backend.xp.concatenate(outputs, axis=2)

    def _laid_out(self, values: Array) -> Array:
        """Time-major values in the layer's layout."""
        return self.backend.xp.ascontiguousarray(values.swapaxes(0, 1)) if self.batch_first else values

    def _stacked(self, parts: Sequence[Sequence[Array]]) -> Any:
        """The state of all slots from those of each, new arrays: a tuple where the cell has several."""
        xp = self.backend.xp
        if len(parts) == 1:  # in a small pass, to stack takes as long as the gates
            copy = np.ndarray.copy if xp is np else xp.copy
            states = tuple([copy(part[None]) for part in parts[0]])
        else:
            states = tuple([xp.stack(part) for part in zip(*parts, strict=True)])
        return states if len(states) > 1 else states[0]

    def _next_call(self, training: bool) -> int | None:
        """The call number for this pass's masks; None if no mask is drawn."""
        between = self.num_layers > 1 and self.dropout > 0.0
        drawn = between or self.zoned or self.recurrent_dropout or self.weight_dropout
        return self._take_call() if switch("training", training) and drawn else None

    def _is_silent(self) -> bool:
        """Whether NumPy does no arithmetic in a pass: then there are no warnings to suppress."""
        cell, kernels = self._noisy, self.backend.kernels
        compiled = getattr(kernels, "silent", False) and all(work.between is None for work in cell.works)
        one = self.num_layers == self.num_directions == 1 and not cell.given and not self.weight_dropout
        return compiled and one and not cell.own and self.precision == "float32"

    def _noise(self, call: int | None, timeline: Timeline) -> Noise | None:
        """The masks of a pass; None where nothing is drawn, and no expectation stands in its place."""
        if call is None and not self._quiet.given:
            return None
        return Noise(self, call, timeline)
