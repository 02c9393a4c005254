"""Bugs in what a cell may have beside gates: weights of a unit, a second phase, a projection, masks within a step."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import (
    BEFORE_LAST,
    CELL,
    LAST,
    LENGTHS,
    NO_GATE,
    RECURRENT,
    H,
    blocks,
    only,
    recurrent,
)
from engine.zoo.rewriting import (
    INDRNN,
    MASK,
    MGU_GATE,
    MGU_OUTPUT,
    OPERAND,
    PEEPHOLES,
    PROJECT,
    RECURRENT_PRODUCTS,
    TAPE,
    TIME_LOOP,
    WALK_DIRECTION,
    ZONEOUT,
    Rewrite,
)

_PEEPHOLES, _INDRNN, _MGU = recurrent("peephole_lstm"), recurrent("indrnn"), recurrent("mgu")
_PROJECTED = recurrent("projected_lstm", proj_size=H - 2)
_ZONEOUT = recurrent("lstm", zoneout=(0.3, 0.4))
_WEIGHT_MASK, _MASK = recurrent("lstm", weight_dropout=0.4), recurrent("gru", recurrent_dropout=0.4)
_ALL_PEEPHOLES = only("p_i_l0", "p_f_l0", "p_o_l0")
_ADD_OWN = "own[name] += _select(xp, valid, value, 0).sum(axis=0)"


def _peephole(name: str, story: str, plant: Rewrite, gate: str, cause: str | None = None) -> Bug:
    """A wrong gradient of one peephole: dx is right."""
    return Bug(name, story, _PEEPHOLES, plant, only(f"p_{gate}_l0"), blocks(gate), None, cause=cause)


_WEIGHTS = (
    _peephole(
        "peephole-forgotten",
        "The forget gate's peephole gets no gradient.",
        PEEPHOLES.line("dp_f = da_f * c_prev", "dp_f = da_f * 0"),
        "f",
    ),
    _peephole(
        "peephole-of-o-at-the-old-cell-state",
        "The output gate looks at the cell state after the step, but its peephole is paired with the one before.",
        PEEPHOLES.line("dp_o = da_o * c  #", "dp_o = da_o * c_prev  #"),
        "o",
    ),
    _peephole(
        "peephole-from-the-gate",
        "The input gate's peephole takes the gradient of the gate, where that of its pre-activation is meant.",
        PEEPHOLES.line("dp_i = da_i * c_prev", "dp_i = di * c_prev"),
        "i",
    ),
    Bug(
        "peephole-into-c-forgotten",
        "What the output gate's peephole sends to the cell state is forgotten.",
        _PEEPHOLES,
        PEEPHOLES.line("dc = dc + da_o * p_o", "dc = dc"),
        CELL | {"c0", "p_i_l0", "p_f_l0"},
        blocks("i", "f", "g"),
        LAST,
    ),
    Bug(
        "peephole-into-c-prev-forgotten",
        "What the input gate's peephole sends to the old cell state is forgotten.",
        _PEEPHOLES,
        PEEPHOLES.line("dc * f + da_i * p_i + da_f * p_f", "dc * f + da_f * p_f"),
        only("c0"),
        NO_GATE,
        BEFORE_LAST,
    ),
    Bug(
        "own-weights-of-one-step",
        "Each step overwrites the gradients of the units' weights, so that the first step alone is left.",
        _PEEPHOLES,
        TIME_LOOP.line(_ADD_OWN, _ADD_OWN.replace("own[name] +=", "own[name] =")),
        _ALL_PEEPHOLES,
        only("i", "f", "o"),
        None,
        cause="overwritten, not added",
    ),
    Bug(
        "own-weights-mean-over-the-rows",
        "The gradients of the units' weights are means over the rows, where they are sums.",
        _PEEPHOLES,
        TIME_LOOP.line(_ADD_OWN, _ADD_OWN.replace(".sum", ".mean")),
        _ALL_PEEPHOLES,
        only("i", "f", "o"),
        None,
    ),
    Bug(
        "own-weights-over-the-units",
        "The gradients of the units' weights are summed over the units too, and handed to each of them.",
        _INDRNN,
        TIME_LOOP.line(_ADD_OWN, _ADD_OWN.replace(".sum(axis=0)", ".sum()")),
        only("p_u_l0"),
        NO_GATE,
        None,
    ),
    Bug(
        "own-weights-at-pads",
        "Pads count for the weights of the units.",
        recurrent("indrnn", lengths=LENGTHS),
        TIME_LOOP.line(_ADD_OWN, "own[name] += value.sum(axis=0)"),
        only("p_u_l0"),
        NO_GATE,
        None,
        cause="mask forgotten",
    ),
    Bug(
        "indrnn-path-without-its-weight",
        "On the way to the step before, the unit's own weight is forgotten.",
        _INDRNN,
        INDRNN.line("dh_prev = da_h * p_u", "dh_prev = da_h"),
        only("h0"),
        NO_GATE,
        BEFORE_LAST,
    ),
)

_PHASES = (
    Bug(
        "mgu-gate-hears-of-the-update-alone",
        "The gate acts twice, but only what the update sends reaches it: its share as a reset gate is forgotten.",
        _MGU,
        MGU_GATE.line("df = df + dreset_h * h_prev", "df = df"),
        CELL,
        blocks("f"),
        LAST,
    ),
    Bug(
        "mgu-gate-overwritten",
        "What the reset sends to the gate overwrites what the update sent, in place of being added to it.",
        _MGU,
        MGU_GATE.line("df = df + dreset_h * h_prev", "df = dreset_h * h_prev"),
        CELL,
        blocks("f"),
        LAST,
    ),
    Bug(
        "mgu-update-sign",
        "The gate's gradient takes h_prev - n in place of n - h_prev.",
        _MGU,
        MGU_OUTPUT.line("df = dh * (n - h_prev)", "df = dh * (h_prev - n)"),
        CELL,
        blocks("f"),
        LAST,
    ),
    Bug(
        "second-product-with-the-operand-of-the-step-before",
        "The second phase's recurrent weights are paired with what they multiplied one step earlier.",
        _MGU,
        OPERAND.line("run.kept[place.name]", "run.kept[place.name][[0, *range(len(run.gates) - 1)]]"),
        only("weight_hh_l0"),
        blocks("n"),
        None,
    ),
)

_PROJECTION = (
    Bug(
        "projection-units-reversed",
        "On the way back through the projection the units of the hidden state change places.",
        _PROJECTED,
        PROJECT.line("self.project(found.projected,", "self.project(found.projected[:, ::-1],"),
        CELL | {"c0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "projection-weight-hears-of-the-outputs-alone",
        "The projection's weight gets what the outputs send, but nothing from later steps.",
        _PROJECTED,
        TIME_LOOP.line("_select(xp, valid, found.projected, 0)", "dy[t]"),
        only("weight_hr_l0"),
        NO_GATE,
        None,
    ),
    Bug(
        "projection-weight-with-the-value-of-the-step-before",
        "The projection's weight is paired with what was projected one step earlier.",
        _PROJECTED,
        RECURRENT_PRODUCTS.line(
            "_rows(operand(cell, run, cell.projected))",
            "_rows(operand(cell, run, cell.projected)[[0, *range(len(run.gates) - 1)]])",
        ),
        only("weight_hr_l0"),
        NO_GATE,
        None,
    ),
)

_MASKS = (
    Bug(
        "zoneout-old-state-forgotten",
        "Where zoneout kept the old state, nothing goes back to it.",
        _ZONEOUT,
        ZONEOUT.line("dS_prev = dS * k_zone_S", "dS_prev = dS * 0"),
        only("h0", "c0"),
        NO_GATE,
        BEFORE_LAST,
    ),
    Bug(
        "zoneout-mask-forgotten",
        "The new state gets all of the gradient, also where zoneout kept the old one.",
        _ZONEOUT,
        ZONEOUT.line("dS = dS * (one - k_zone_S)", "dS = dS"),
        CELL | {"c0"},
        NO_GATE,
        LAST,
        cause="mask forgotten",
    ),
    Bug(
        "zoneout-expectation-in-training",
        "Backward takes the rate of zoneout, where forward had drawn a mask.",
        _ZONEOUT,
        ZONEOUT.lines(("dS * k_zone_S", "dS * 0.35"), ("dS * (one - k_zone_S)", "dS * 0.65")),
        CELL | {"h0", "c0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "zoneout-mask-of-the-step-before",
        "Each step goes back through the mask of the step before.",
        _ZONEOUT,
        TAPE.line("at = self._fixed(t)", "at = self._fixed(max(t - 1, 0))"),
        CELL | {"h0", "c0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "weight-mask-not-on-the-gradient",
        "The recurrent weights that were dropped get a gradient all the same.",
        _WEIGHT_MASK,
        WALK_DIRECTION.line('targets["weight_hh"] * record.weight_mask', 'targets["weight_hh"]'),
        only("weight_hh_l0"),
        NO_GATE,
        None,
        cause="mask forgotten",
    ),
    Bug(
        "weight-mask-not-on-the-way-back",
        "The gradient goes back through all recurrent weights, also through those that were dropped.",
        _WEIGHT_MASK,
        WALK_DIRECTION.line('weights["weight_hh"] * record.weight_mask', 'weights["weight_hh"]'),
        RECURRENT,
        NO_GATE,
        BEFORE_LAST,
        cause="mask forgotten",
    ),
    Bug(
        "recurrent-mask-forgotten",
        "The mask on the recurrent input is not applied on the way back.",
        _MASK,
        MASK.line("dh_prev = dmasked_h * k_h", "dh_prev = dmasked_h"),
        only("h0"),
        NO_GATE,
        BEFORE_LAST,
        cause="mask forgotten",
    ),
    Bug(
        "recurrent-weight-with-the-whole-input",
        "The recurrent weights are paired with h_prev, where forward multiplied what the mask left of it.",
        _MASK,
        OPERAND.line("run.kept[place.name]", "run.h[:-1]"),
        only("weight_hh_l0"),
        NO_GATE,
        None,
        cause="mask forgotten",
    ),
)

BUGS = _WEIGHTS + _PHASES + _PROJECTION + _MASKS
