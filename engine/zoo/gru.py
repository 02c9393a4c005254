"""Bugs in the equations of the GRU whose reset gate acts after the product."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import BEFORE_LAST, CELL, LAST, NO_GATE, RECURRENT, blocks, only, recurrent
from engine.zoo.rewriting import (
    GRU_GATES,
    NOTHING_SENT_BACK,
    RECURRENT_PRODUCTS,
    TRANSPOSED,
    Rewrite,
    sent_back,
)

_CASE = recurrent("gru")
_line = GRU_GATES.line


def _gate(name: str, story: str, plant: Rewrite, *gates: str, cause: str | None = None) -> Bug:
    """A wrong gradient of one or more pre-activations, from the last step on."""
    return Bug(name, story, _CASE, plant, CELL, blocks(*gates), LAST, cause=cause)


def _dh_prev(
    name: str,
    story: str,
    plant: Rewrite,
    names: frozenset[str] = RECURRENT,
    gate: str | None = None,
    cause: str | None = None,
) -> Bug:
    """A wrong gradient on its way to the step before, where the gates first feel it."""
    gates = NO_GATE if gate is None else NO_GATE | {gate}
    return Bug(name, story, _CASE, plant, names, gates, BEFORE_LAST, cause=cause)


_H0 = only("h0")


BUGS = (
    # -- h = (1 - z) n + z h_prev --------------------------------------------------------------------------------------
    _gate(
        "gru-one-minus-z-forgotten",
        "The candidate takes all of dh, where its share is 1 - z.",
        _line("dn = dh * (one - z)", "dn = dh"),
        "r",
        "n",
    ),
    Bug(
        "gru-z-and-one-minus-z-exchanged",
        "The candidate takes the share z and the old state the share 1 - z: just the other way round.",
        _CASE,
        GRU_GATES.lines(("dn = dh * (one - z)", "dn = dh * z"), ("dh_prev = dh * z", "dh_prev = dh * (one - z)")),
        CELL | _H0,
        blocks("r", "n"),
        LAST,
    ),
    _gate(
        "gru-z-sign",
        "The update gate's gradient takes n - h_prev in place of h_prev - n.",
        _line("dz = dh * (h_prev - n)", "dz = dh * (n - h_prev)"),
        "z",
        cause="sign",
    ),
    _gate(
        "gru-z-without-n",
        "The update gate's gradient forgets that z also takes from the candidate.",
        _line("dz = dh * (h_prev - n)", "dz = dh * h_prev"),
        "z",
    ),
    _dh_prev(
        "gru-direct-path-missing",
        "The direct way back, z dh, is missing: only what goes through the gates reaches the step before.",
        _line("dh_prev = dh * z", "dh_prev = dh * 0"),
        _H0,
    ),
    _dh_prev(
        "gru-direct-path-without-z",
        "The direct way back carries all of dh, where its share is z.",
        _line("dh_prev = dh * z", "dh_prev = dh"),
        _H0,
    ),
    # -- n = tanh(x_n + r h_n) -----------------------------------------------------------------------------------------
    _gate(
        "gru-n-slope-forgotten",
        "The slope of the candidate's tanh is forgotten.",
        _line("dx_n = dn * (one - n * n)", "dx_n = dn"),
        "r",
        "n",
    ),
    _gate(
        "gru-reset-path-missing",
        "The reset gate gets no gradient at all.",
        _line("dr = dx_n * h_n", "dr = dx_n * 0"),
        "r",
    ),
    _gate(
        "gru-reset-without-n-slope",
        "The reset gate's gradient passes by the tanh of the candidate.",
        _line("dr = dx_n * h_n", "dr = dn * h_n"),
        "r",
    ),
    _gate(
        "gru-after-reset-inside",
        "The reset gate's gradient takes h_prev, as if the gate acted before the product; here it acts after it.",
        _line("dr = dx_n * h_n", "dr = dx_n * h_prev"),
        "r",
    ),
    Bug(
        "gru-after-hidden-side-merged",
        "The candidate's hidden side gets the gradient of its input side: r is forgotten.",
        _CASE,
        _line("dh_n = dx_n * r  #", "dh_n = dx_n  #"),
        RECURRENT | {"bias_hh_l0"},
        blocks("n") | NO_GATE,
        BEFORE_LAST,
        cause="bias merged inside r",
    ),
    Bug(
        "gru-after-input-side-times-r",
        "The candidate's input side gets the gradient of its hidden side, which has r in it.",
        _CASE,
        _line("return da_r, da_z, dx_n, dh_n", "return da_r, da_z, dh_n, dh_n"),
        only("weight_ih_l0", "bias_ih_l0"),
        blocks("n"),
        LAST,
    ),
    Bug(
        "gru-after-bias-merged",
        "bias_hh gets the gradient of bias_ih, as if both stood outside r.",
        _CASE,
        RECURRENT_PRODUCTS.line("sums.append(rows.sum(axis=0))", "sums.append(_rows(adjoints.da).sum(axis=0))"),
        only("bias_hh_l0"),
        blocks("n"),
        None,
        cause="bias merged inside r",
    ),
    Bug(
        "gru-after-products-merged",
        "weight_hh and bias_hh are computed from the input side's gradients, which lack r in the candidate.",
        _CASE,
        RECURRENT_PRODUCTS.line("da, found = adjoints.da_hidden,", "da, found = adjoints.da,"),
        only("weight_hh_l0", "bias_hh_l0"),
        blocks("n"),
        None,
        cause="bias merged inside r",
    ),
    _dh_prev(
        "gru-after-recurrent-path-without-r",
        "On the way back through the recurrent weights the candidate's gradient lacks r.",
        sent_back("found.input[gate] for gate in work.gates"),
        gate="n",
    ),
    # -- slopes, factors, order ----------------------------------------------------------------------------------------
    _gate(
        "gru-z-slope-forgotten",
        "The slope of the update gate's sigmoid is forgotten.",
        _line("da_z = dz * z * (one - z)", "da_z = dz"),
        "z",
    ),
    _gate(
        "gru-r-slope-halved",
        "The reset gate's sigmoid has slope r (1 - r); the factor 1 - r is forgotten.",
        _line("da_r = dr * r * (one - r)", "da_r = dr * r"),
        "r",
    ),
    _gate(
        "gru-z-factor-1.00001",
        "The update gate's gradient is too large by one part in a hundred thousand.",
        _line("da_z = dz *", "da_z = (1 + 1e-5) * dz *"),
        "z",
    ),
    _gate(
        "gru-r-z-exchanged",
        "The gradients stand in the order z, r, n of other libraries.",
        _line("return da_r, da_z,", "return da_z, da_r,"),
        "r",
        "z",
        cause="gates exchanged",
    ),
    # -- to the step before --------------------------------------------------------------------------------------------
    _dh_prev(
        "gru-after-recurrent-weight-transposed",
        "Each block of the recurrent weights is transposed on the way back to the step before.",
        TRANSPOSED,
        cause="transposed",
    ),
    _dh_prev(
        "gru-recurrent-path-missing",
        "Only the direct way back is there: nothing goes through the recurrent weights.",
        NOTHING_SENT_BACK,
    ),
)
