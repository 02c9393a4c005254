"""Bugs in the equations of the Elman network, with tanh and with relu."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import BEFORE_LAST, CELL, LAST, NO_GATE, RECURRENT, only, recurrent
from engine.zoo.rewriting import NOTHING_SENT_BACK, RNN_GATES, STEP, TRANSPOSED, Rewrite

_TANH, _RELU = recurrent("rnn_tanh"), recurrent("rnn_relu")
_SLOPE = "dh * act_slope(h, one)"


def _cell(name: str, story: str, plant: Rewrite, cause: str | None = None) -> Bug:
    """A wrong gradient of the pre-activation, from the last step on; the cell has one block, so none to name."""
    return Bug(name, story, _RELU if "relu" in name else _TANH, plant, CELL, NO_GATE, LAST, cause=cause)


def _dh_prev(name: str, story: str, plant: Rewrite, names: frozenset[str] = RECURRENT, cause: str | None = None) -> Bug:
    """A wrong gradient on its way to the step before."""
    return Bug(name, story, _TANH, plant, names, NO_GATE, BEFORE_LAST, cause=cause)


BUGS = (
    _cell("rnn-tanh-slope-forgotten", "The slope of tanh is forgotten.", RNN_GATES.line(_SLOPE, "dh")),
    _cell(
        "rnn-tanh-slope-not-squared",
        "The slope of tanh is taken for 1 - h: the square is forgotten.",
        RNN_GATES.line(_SLOPE, "dh * (one - h)"),
    ),
    _cell(
        "rnn-tanh-slope-twice",
        "The slope of tanh is multiplied with twice.",
        RNN_GATES.line(_SLOPE, "dh * act_slope(h, one) ** 2"),
    ),
    _cell(
        "rnn-sign", "The sign of the pre-activation's gradient is wrong.", RNN_GATES.line(_SLOPE, "-" + _SLOPE), "sign"
    ),
    _cell(
        "rnn-factor-1.001",
        "The pre-activation's gradient is too large by one part in a thousand.",
        RNN_GATES.line(_SLOPE, "1.001 * " + _SLOPE),
    ),
    _cell(
        "rnn-relu-slope-one-everywhere",
        "relu is given slope 1 at negative inputs too.",
        RNN_GATES.line(_SLOPE, "dh"),
    ),
    _cell(
        "rnn-relu-slope-leaks",
        "relu is given a slope of 0.01 at negative inputs, where it is flat.",
        RNN_GATES.line(_SLOPE, "dh * (act_slope(h, one) + 0.01 * (h <= 0))"),
    ),
    _cell(
        "rnn-relu-slope-from-the-state-before",
        "relu's slope is read from the state that enters the step, in place of the one that leaves it.",
        STEP.line("else at[place]", 'else at[Place("prev", "h") if place.name == "h" else place]'),
    ),
    _cell(
        "rnn-relu-slope-from-the-gradient",
        "relu lets through where the gradient is positive, in place of where its output is.",
        RNN_GATES.line(_SLOPE, "dh * act_slope(dh, one)"),
    ),
    _dh_prev(
        "rnn-recurrent-weight-transposed",
        "The recurrent weights are transposed on the way back to the step before.",
        TRANSPOSED,
        cause="transposed",
    ),
    _dh_prev(
        "rnn-recurrent-path-missing",
        "Nothing goes back to the step before: every step is treated as if it were the first.",
        NOTHING_SENT_BACK,
    ),
    _dh_prev(
        "rnn-recurrent-path-without-slope",
        "The way back through the recurrent weights starts from dh in place of da.",
        STEP.line("self.multiply(side,", "self.multiply(dstates[0],"),
    ),
    _dh_prev(
        "rnn-residual-path",
        "dh also goes straight to the step before, as in a residual network; this one has no such way.",
        STEP.line("add_place(work.source, dsource)", "add_place(work.source, dsource + dstates[0])"),
        only("h0"),
    ),
)
