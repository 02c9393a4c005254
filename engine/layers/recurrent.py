"""The recurrent layers: stacking, directions, lengths, carried state and dropout around the kernels' time loops.

A cell is a pair of gate functions (``kernels.gates``); a kernel set walks one layer and direction over time
(``kernels.reference``); here the layers are stacked, and that is all.  ``forward`` and ``backward`` stand side by side.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from engine import philox
from engine.backend import Backend
from engine.checks import describe, integer, probability, switch
from engine.errors import OptionWarning, bad_input, bad_type
from engine.layers import arguments, empty
from engine.layers.base import Layer, apply_mask
from engine.layers.tape import DirectionTape, DirectionTrace, RecurrentTape, RecurrentTrace
from engine.layers.timeline import Timeline
from kernels import products
from kernels.cells import Cell

MOST_LAYERS = 1000  # more are a slip: to make a hundred thousand small arrays alone takes minutes
PREDICT_CHUNK = 64  # steps that `predict` holds at a time: enough for one good matrix product, little to keep


class Recurrent(Layer):
    """What RNN, LSTM and GRU share.  `engine.layers.rnn` documents the arguments."""

    tape_type = RecurrentTape
    fixed = Layer.fixed | {
        "cell", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "num_directions"
    }  # fmt: skip
    settings = Layer.settings | {"dropout": probability, "variational": switch}

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        variational: bool = False,
        bidirectional: bool = False,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            options = "num_layers, bias, batch_first, dropout, variational, bidirectional, backend, dtype, seed"
            raise bad_type("options", f"some of {options}", ", ".join(unknown), "see help() of the class for its own")
        super().__init__(backend, dtype, seed)
        self.cell = cell
        self.input_size = integer("input_size", input_size, 1)
        self.hidden_size = integer("hidden_size", hidden_size, 1)
        self.num_layers = integer("num_layers", num_layers, 1)
        if self.num_layers > MOST_LAYERS:
            raise bad_input("num_layers", f"at most {MOST_LAYERS} layers", describe(num_layers))
        self.bias, self.batch_first = switch("bias", bias), switch("batch_first", batch_first)
        self.bidirectional = switch("bidirectional", bidirectional)
        self.dropout, self.variational = dropout, variational
        self.num_directions = 2 if self.bidirectional else 1
        if self.dropout and self.num_layers == 1:
            mend = f"it acts between layers, so here it does nothing: put engine.Dropout({dropout}) behind the layer"
            warning = bad_input("dropout", "0, or num_layers >= 2", f"{dropout} with num_layers=1", mend)
            warnings.warn(OptionWarning(str(warning)), stacklevel=3)  # the line that builds an RNN, GRU or LSTM
        self._allocate()

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        rows, H = len(self.cell.gates) * self.hidden_size, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.num_directions * H
            for direction in range(self.num_directions):
                end = _suffix(layer, direction)
                shapes["weight_ih" + end] = (rows, width)
                shapes["weight_hh" + end] = (rows, H)
                if self.bias:
                    shapes["bias_ih" + end] = (rows,)
                    shapes["bias_hh" + end] = (rows,)
        return shapes

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        bound = 1.0 / math.sqrt(self.hidden_size)
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound, self.dtype)

    def _arguments(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "variational": self.variational,
            "bidirectional": self.bidirectional,
        }

    def _rebuilt(self, **given: Any) -> Any:
        dropout = {"dropout": 0.0} if self.num_layers == 1 else {}  # set below: the warning came when this was built
        copy = type(self)(**self._arguments() | dropout, **given)
        copy.dropout = self.dropout
        return copy

    # -- forward and backward ----------------------------------------------------------------------------------------

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, Any, RecurrentTape]:
        """Run all steps and keep what backward needs.

        Parameters
        ----------
        x : (T, B, D), or (B, T, D) with ``batch_first``; of the layer's dtype and backend.
        state : ``(h, c)`` for an LSTM, else ``h``; each (L*N, B, H), never batch-first.  None is zeros.
        lengths : (B,) host integers in 0..T, the valid steps of each row; None means T.
        training : whether dropout between layers is on.

        Returns
        -------
        y : (T, B, N*H), or (B, T, N*H); 0 past a row's end.
        state : the state after each row's last valid step, in the structure of the argument.
        tape : `RecurrentTape`.

        Raises
        ------
        InputError, InputTypeError
            for a wrong shape, dtype, library or length.
        """
        xp, kernels = self.backend.xp, self.backend.kernels
        x, timeline, h0, c0 = arguments.enter(self, x, state, lengths)
        call = self._next_call(training)
        layer_input = timeline.clean(x)
        tapes, masks, h_last, c_last = [], [], [], []
        for layer in range(self.num_layers):
            mask = self._mask(call, layer, timeline)
            if mask is not None:
                layer_input = apply_mask(xp, layer_input, mask)
            directions, outputs = [], []
            for direction in range(self.num_directions):
                weight_ih, weight_hh, bias_ih, bias_hh = self._weights(layer, direction)
                slot = layer * self.num_directions + direction  # the state is layer-major (rule 10)
                x_d = timeline.flip(layer_input) if direction else layer_input
                c0_d = None if c0 is None else c0[slot]
                if timeline.empty:
                    run, y_d = empty.run(self.backend, self.cell, timeline, h0[slot], c0_d)
                elif kernels.whole_layers:  # the same three lines in one call (`kernels.cpu.loops`)
                    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
                    run, y_d = kernels.forward_layer(self.cell, x_d, weights, h0[slot], c0_d, timeline.lengths)
                else:
                    pre = products.project_forward(kernels.matmul, x_d, weight_ih, bias_ih)
                    run = kernels.forward(self.cell, pre, weight_hh, bias_hh, h0[slot], c0_d, timeline.lengths)
                    y_d = timeline.clean(run.h[1:])  # y = h[1:], pads 0
                outputs.append(timeline.flip(y_d) if direction else y_d)
                directions.append(DirectionTape(self.cell, x_d, run))
                h_last.append(run.h[-1])
                if run.c is not None:
                    c_last.append(run.c[-1])
            layer_input = xp.concatenate(outputs, axis=2) if self.bidirectional else outputs[0]
            tapes.append(tuple(directions))
            masks.append(mask)
        h_n = xp.stack(h_last)
        last = (h_n, xp.stack(c_last)) if self.cell.has_c else h_n
        y = xp.ascontiguousarray(layer_input.swapaxes(0, 1)) if self.batch_first else layer_input
        return y, last, RecurrentTape(tuple(tapes), tuple(masks), timeline, self._stamp())

    def backward(self, tape: RecurrentTape, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """Backpropagate through time; adds to ``grads``.

        Parameters
        ----------
        tape : what `forward` returned; it is only read, so the same tape can be walked again.
        dy : gradient of y, in y's shape; None means zeros.  What stands at pads is not looked at.
        dstate : gradient of the final state, in its structure; None, also for a part of the pair, means zeros.

        Returns
        -------
        dx : gradient of x, exactly 0 at pads.
        dstate : gradient of the initial state, also where that was None (the gradient with respect to zeros).

        Raises
        ------
        StaleTapeError
            if the parameters have changed since the forward pass.
        """
        grads = self._grads.own
        with self._lock:  # two threads that add to one array would lose some of it
            trace = self._walk(tape, dy, dstate, keep=False)
            for name, value in trace.grads.items():
                grads[name] += value
        return trace.dx, trace.dstate

    def backward_trace(self, tape: RecurrentTape, dy: Any = None, dstate: Any = None) -> RecurrentTrace:
        """The same pass as `backward`, with dh, dc and the gate gradients of every step; adds nothing to ``grads``."""
        return self._walk(tape, dy, dstate, keep=True)

    def _walk(self, tape: RecurrentTape, dy: Any, dstate: Any, keep: bool) -> RecurrentTrace:
        """Reverse of `forward`, layer by layer from the top."""
        xp, kernels, H = self.backend.xp, self.backend.kernels, self.hidden_size
        self.check_tape(tape)
        timeline = tape.timeline
        dlayer = arguments.enter_dy(self, dy, timeline)
        dh_last, dc_last = arguments.enter_state(self, "dstate", dstate, timeline.batch, part_may_be_none=True)
        grads: dict[str, Any] = {}
        # whole-layer kernels add to where the gradients belong; the others return them
        targets = self._grads.own
        if keep and (kernels.whole_layers or timeline.empty):
            targets = grads = {name: xp.zeros_like(grad) for name, grad in targets.items()}
        traces: list[tuple[DirectionTrace, ...]] = []
        slots = self.num_layers * self.num_directions
        dh0: list[Any] = [None] * slots
        dc0: list[Any] = [None] * slots
        for layer in range(self.num_layers - 1, -1, -1):
            dx_layer: Any = None
            directions = []
            for direction in range(self.num_directions):
                weight_ih, weight_hh, bias_ih, _ = self._weights(layer, direction)
                slot = layer * self.num_directions + direction
                record = tape.layers[layer][direction]
                dy_d = None
                if dlayer is not None:
                    dy_d = dlayer[:, :, direction * H : (direction + 1) * H]  # layer_input = concatenate(outputs)
                    if direction:
                        dy_d = timeline.flip(dy_d)  # outputs = flip(y_d)
                end = _suffix(layer, direction)
                dlast = (dh_last, dc_last)
                if timeline.empty:
                    adjoints = empty.adjoints(self.backend, self.cell, record.run, timeline, dlast, slot)
                    dx_d = xp.zeros_like(record.x)
                elif kernels.whole_layers:
                    adjoints, dx_d = self._walk_compiled(record, slot, end, dy_d, dlast, targets, timeline, keep)
                else:
                    adjoints = kernels.backward(
                        self.cell,
                        record.run,
                        weight_hh,
                        dy_d,
                        None if dh_last is None else dh_last[slot],
                        None if dc_last is None else dc_last[slot],
                        timeline.lengths,
                        keep,
                    )
                    dx_d, grads["weight_ih" + end], dbias_ih = products.project_backward(
                        kernels.matmul, adjoints.da, record.x, weight_ih
                    )
                    grads["weight_hh" + end], dbias_hh = products.recurrent_weight_backward(
                        kernels.matmul, xp, self.cell, record.run, adjoints
                    )
                    if bias_ih is not None:
                        grads["bias_ih" + end], grads["bias_hh" + end] = dbias_ih, dbias_hh
                dx_d = timeline.flip(dx_d) if direction else dx_d  # x_d = flip(layer_input)
                dx_layer = dx_d if dx_layer is None else dx_layer + dx_d
                dh0[slot], dc0[slot] = adjoints.dh0, adjoints.dc0
                directions.append(DirectionTrace(self.cell, adjoints))
            mask = tape.masks[layer]
            # layer_input = apply_mask(layer_input, mask)
            dlayer = dx_layer if mask is None else apply_mask(xp, dx_layer, mask)
            traces.append(tuple(directions))
        dx = xp.ascontiguousarray(dlayer.swapaxes(0, 1)) if self.batch_first else dlayer
        dh_n = xp.stack(dh0)
        first = (dh_n, xp.stack(dc0)) if self.cell.has_c else dh_n
        return RecurrentTrace(tuple(reversed(traces)), dx, first, grads)

    def _walk_compiled(
        self,
        record: DirectionTape,
        slot: int,
        end: str,
        dy_d: Any,
        dstate: tuple[Any, Any],
        targets: dict[str, Any],
        timeline: Timeline,
        keep: bool,
    ) -> tuple[Any, Any]:
        """What `_walk` does for one layer and direction, in one call; the gradients are added to `targets`."""
        names = [name + end for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        features = self._params.own[names[0]].shape[1]
        record.check(timeline.steps, timeline.batch, features, self.hidden_size, self.dtype)
        dh_last, dc_last = (None if part is None else part[slot] for part in dstate)
        adjoints, dx = self.backend.kernels.backward_layer(
            self.cell,
            record.run,
            record.x,
            [self._params.own.get(name) for name in names],
            dy_d,
            dh_last,
            dc_last,
            [targets.get(name) for name in names],
            timeline.lengths,
            keep,
        )
        return adjoints, dx

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Run without dropout and without a tape; keeps no history beyond a chunk of steps.

        Parameters and returned output and state as in `forward`.
        """
        xp, kernels = self.backend.xp, self.backend.kernels
        x, timeline, h0, c0 = arguments.enter(self, x, state, lengths)
        # whole-layer kernels never look at a pad
        layer_input = x if kernels.whole_layers else timeline.clean(x)
        h_last, c_last = [], []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.num_directions):
                slot = layer * self.num_directions + direction
                x_d = timeline.flip(layer_input) if direction else layer_input
                y_d, h, c = self._predict_direction(
                    x_d, self._weights(layer, direction), h0[slot], None if c0 is None else c0[slot], timeline
                )
                outputs.append(timeline.flip(y_d) if direction else y_d)
                h_last.append(h)
                c_last.append(c)
            layer_input = xp.concatenate(outputs, axis=2) if self.bidirectional else outputs[0]
        h_n = xp.stack(h_last)
        last = (h_n, xp.stack(c_last)) if self.cell.has_c else h_n
        return (xp.ascontiguousarray(layer_input.swapaxes(0, 1)) if self.batch_first else layer_input), last

    def _predict_direction(self, x_d: Any, weights: Any, h: Any, c: Any, timeline: Timeline) -> tuple[Any, Any, Any]:
        """One layer and direction of `predict`: the output, pads 0, and the last state."""
        kernels = self.backend.kernels
        if timeline.empty or kernels.whole_layers:
            if timeline.empty:
                run, y_d = empty.run(self.backend, self.cell, timeline, h, c)
            else:
                run, y_d = kernels.forward_layer(self.cell, x_d, weights, h, c, timeline.lengths, keep=False)
            return y_d, run.h[-1], None if run.c is None else run.c[-1]
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        y_d = self.backend.xp.empty((timeline.steps, timeline.batch, self.hidden_size), dtype=self.dtype)
        for start in range(0, timeline.steps, PREDICT_CHUNK):
            stop = min(start + PREDICT_CHUNK, timeline.steps)
            pre = products.project_forward(kernels.matmul, x_d[start:stop], weight_ih, bias_ih)
            run = kernels.forward(self.cell, pre, weight_hh, bias_hh, h, c, timeline.chunk(start, stop))
            y_d[start:stop] = run.h[1:]
            h, c = run.h[-1], None if run.c is None else run.c[-1]
        return timeline.clean(y_d), h, c

    def window(self, tape: RecurrentTape, start: int, stop: int) -> RecurrentTape:
        """The part of a tape that holds the time steps ``start <= t < stop``, for truncated BPTT."""
        if self.bidirectional:
            raise bad_input(
                "layer",
                "one direction for truncated BPTT",
                "a bidirectional layer",
                "its reverse half needs the whole future",
            )
        self.check_kind(tape)
        steps, batch = tape.timeline.steps, tape.timeline.batch
        self.check_window((batch, steps) if self.batch_first else (steps, batch), start, stop)
        return RecurrentTape(
            tuple(tuple(d.window(start, stop) for d in layer) for layer in tape.layers),
            tuple(None if mask is None else mask[start:stop] for mask in tape.masks),
            tape.timeline.window(start, stop),
            tape.stamp,
        )

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _weights(self, layer: int, direction: int) -> tuple[Any, Any, Any, Any]:
        end = _suffix(layer, direction)
        p = self._params.own
        return p["weight_ih" + end], p["weight_hh" + end], p.get("bias_ih" + end), p.get("bias_hh" + end)

    def _next_call(self, training: bool) -> int | None:
        """The call number for this pass's dropout masks; None where no mask is drawn."""
        if not switch("training", training) or self.dropout == 0.0 or self.num_layers == 1:
            return None
        with self._lock:
            call = self.call_counter
            self.call_counter += 1
        return call

    def _mask(self, call: int | None, layer: int, timeline: Timeline) -> Any:
        """Dropout mask on the input of `layer`: between layers only, so never on the first nor after the last."""
        if call is None or layer == 0:
            return None
        steps = range(1) if self.variational else range(timeline.steps)
        rows = range(self.row_offset, self.row_offset + timeline.batch)
        units = self.num_directions * self.hidden_size
        mask = self.backend.dropout_mask(
            self.seed, self.path, f"dropout:{layer}", call, steps, rows, units, self.dropout, self.dtype
        )
        return self.backend.xp.broadcast_to(mask, (timeline.steps, *mask.shape[1:]))


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")
