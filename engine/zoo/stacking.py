"""Bugs between the parts of a recurrent layer: two directions, several layers, dropout between them, axis order."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import CELL, LAST, LENGTHS, NO_GATE, only, parameters, recurrent
from engine.zoo.rewriting import ENTER_DY, STACK, WALK, WALK_DIRECTION

_BOTH = recurrent("lstm", bidirectional=True)
_BOTH_SHORT = recurrent("gru", lengths=LENGTHS, bidirectional=True)
_TWO = recurrent("gru_before", 2)
_DROPPING = recurrent("lstm", 2, dropout=0.5)
_FORWARD, _REVERSE = parameters(), parameters("_l0_reverse")
_HALF = "dy[:, :, d * width : (d + 1) * width]"
_TO_DX, _TO_DY = "dx_d = flip(dx_d) if direction.reverse else dx_d", "part = flip(part)"
_ADD = "dx = dx_d if dx is None else dx + dx_d"
_DOWN = "dy = leave(layer, dx)"
_MASKED = "apply_mask(self.backend.xp, values, mask)"
_LAST = "part[direction.slot]"

# The reverse direction walks x's time axis the other way: what goes wrong in it alone is met first at t = 0, and what
# that spoils lies at larger t.  No single time step says both, so none is given.
_DIRECTIONS = (
    Bug(
        "reverse-dx-off-by-one",
        "The reverse direction's share of dx is turned back into time order one step off.",
        _BOTH,
        STACK.line(_TO_DX, "dx_d = flip(dx_d)[[-1, *range(len(dx_d) - 1)]] if direction.reverse else dx_d"),
        only("x"),
        NO_GATE,
        LAST,
    ),
    Bug(
        "reverse-dx-not-turned",
        "The reverse direction's share of dx is left in processing order.",
        _BOTH,
        STACK.line(_TO_DX, "dx_d = dx_d"),
        only("x"),
        NO_GATE,
        LAST,
    ),
    Bug(
        "reverse-dx-over-the-full-length",
        "The reverse direction's share of dx is turned over all T steps in place of each row's own length.",
        _BOTH_SHORT,
        STACK.line(_TO_DX, "dx_d = dx_d[::-1] if direction.reverse else dx_d"),
        only("x"),
        NO_GATE,
        LAST,
    ),
    Bug(
        "reverse-dy-off-by-one",
        "The reverse direction gets the output's gradient of the neighbouring step.",
        _BOTH,
        STACK.line(_TO_DY, "part = flip(part)[[-1, *range(len(part) - 1)]]"),
        _REVERSE,
        NO_GATE,
        None,
    ),
    Bug(
        "reverse-dy-not-turned",
        "The reverse direction gets the output's gradient in time order, not in processing order.",
        _BOTH,
        STACK.line(_TO_DY, "part = part"),
        _REVERSE,
        NO_GATE,
        None,
    ),
    Bug(
        "reverse-dy-over-the-full-length",
        "The output's gradient is turned over all T steps in place of each row's own length.",
        _BOTH_SHORT,
        STACK.line(_TO_DY, "part = part[::-1]"),
        _REVERSE,
        NO_GATE,
        None,
    ),
    Bug(
        "directions-exchanged",
        "Each direction gets the half of the output's gradient that belongs to the other.",
        _BOTH,
        STACK.line(_HALF, "dy[:, :, (1 - d) * width : (2 - d) * width]"),
        _FORWARD | _REVERSE,
        NO_GATE,
        LAST,
    ),
    Bug(
        "reverse-gets-the-forward-half",
        "Both directions get the first half of the output's gradient.",
        _BOTH,
        STACK.line(_HALF, "dy[:, :, :width]"),
        _REVERSE,
        NO_GATE,
        None,
    ),
    Bug(
        "dx-of-the-reverse-direction-only",
        "The reverse direction's share of dx overwrites that of the forward direction.",
        _BOTH,
        STACK.line(_ADD, "dx = dx_d"),
        only("x"),
        NO_GATE,
        LAST,
        cause="overwritten, not added",
    ),
    Bug(
        "dx-of-the-forward-direction-only",
        "The reverse direction's share of dx is never added.",
        _BOTH,
        STACK.line(_ADD, "dx = dx_d if dx is None else dx"),
        only("x"),
        NO_GATE,
        LAST,
    ),
    Bug(
        "reverse-input-not-turned",
        "The reverse direction's input weights are paired with the input in time order.",
        _BOTH,
        WALK_DIRECTION.line(
            "record.run, record.x,", "record.run, timeline.flip(record.x) if direction.reverse else record.x,"
        ),
        only("weight_ih_l0_reverse"),
        NO_GATE,
        None,
    ),
    Bug(
        "reverse-final-state-of-the-forward-direction",
        "The reverse direction gets the final state's gradient of the forward direction.",
        recurrent("rnn_tanh", bidirectional=True),
        WALK.line(_LAST, "part[direction.layer * self.num_directions]"),
        _REVERSE | {"h0"},
        NO_GATE,
        None,
    ),
    Bug(
        "final-states-direction-major",
        "The final states' gradients are read with the directions outside the layers, in place of inside.",
        recurrent("gru", 2, bidirectional=True),
        WALK.line(_LAST, "part[direction.reverse * self.num_layers + direction.layer]"),
        parameters("_l0_reverse") | parameters("_l1") | {"h0"},
        NO_GATE,
        LAST,
    ),
)

_LAYERS = (
    Bug(
        "layers-exchanged",
        "The recurrent weights of the two layers get each other's gradient.",
        _TWO,
        WALK_DIRECTION.line(
            "targets = own\n",
            'targets = own = own | {"weight_hh": grads[f"weight_hh_l{self.num_layers - 1 - direction.layer}"]}\n',
        ),
        only("weight_hh_l0", "weight_hh_l1"),
        NO_GATE,
        None,
    ),
    Bug(
        "first-layer-gets-the-second-layers-dy",
        "The gradient of the top output is handed to every layer, not that of the layer's own output.",
        _TWO,
        STACK.line(_DOWN, "dy = leave(layer, dx) if layer == 0 else dy"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "nothing-below-the-top-layer",
        "The gradient does not go down from the top layer: the first hears only of its final state.",
        _TWO,
        STACK.line(_DOWN, "dy = leave(layer, dx) if layer == 0 else None"),
        CELL,
        NO_GATE,
        LAST,
    ),
)

_DROPOUT = (
    Bug(
        "dropout-between-layers-forgotten",
        "The dropout mask between the layers is not applied on the way back.",
        _DROPPING,
        WALK.line(_MASKED, "values"),
        CELL,
        NO_GATE,
        LAST,
        cause="mask forgotten",
    ),
    Bug(
        "dropout-between-layers-without-scale",
        "On the way back the units that were dropped get 0, but the others are not scaled with 1/(1-p).",
        _DROPPING,
        WALK.line(_MASKED, "apply_mask(self.backend.xp, values, mask != 0)"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "dropout-between-layers-redrawn",
        "Backward draws a dropout mask of its own.",
        _DROPPING,
        WALK.line(
            "mask = tape.masks[layer]",
            "mask = self._noise(self._next_call(True), timeline).between_layers(layer, values.shape[2])",
        ),
        CELL,
        NO_GATE,
        LAST,
        verdicts=frozenset({"wrong", "non-deterministic"}),
    ),
    Bug(
        "dropout-taken-for-variational",
        "Backward uses the mask of the first step at all steps, where forward had drawn a fresh one at each.",
        _DROPPING,
        WALK.line(_MASKED, "apply_mask(self.backend.xp, values, mask[:1])"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "variational-mask-of-another-row",
        "Each row of the batch gets the variational mask of its neighbour.",
        recurrent("gru", 2, dropout=0.5, variational=True),
        WALK.line(_MASKED, "apply_mask(self.backend.xp, values, self.backend.xp.roll(mask, 1, axis=1))"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "dropout-masks-of-two-layers-exchanged",
        "The masks under the second and the third layer change places.",
        recurrent("rnn_tanh", 3, dropout=0.5),
        WALK.line("mask = tape.masks[layer]", "mask = tape.masks[layer and self.num_layers - layer]"),
        parameters() | parameters("_l1"),
        NO_GATE,
        LAST,
    ),
)

_AXES = (
    Bug(
        "batch-first-dy-reshaped",
        "The output's gradient is reshaped to time-major order in place of having its axes swapped.",
        recurrent("gru", batch_first=True),
        ENTER_DY.line("dy = dy.swapaxes(0, 1) if", "dy = dy.reshape(steps, batch, width) if"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "batch-first-dx-reshaped",
        "dx is reshaped to batch-first order in place of having its axes swapped.",
        recurrent("lstm", batch_first=True),
        WALK.line("self._laid_out(dx)", "dx.reshape(timeline.batch, timeline.steps, -1)"),
        only("x"),
        NO_GATE,
        LAST,
    ),
)

BUGS = _DIRECTIONS + _LAYERS + _DROPOUT + _AXES
