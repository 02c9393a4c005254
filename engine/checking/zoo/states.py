"""Bugs on the ways of the state: the gradient of the final state, which backward takes, and of the initial one."""

from __future__ import annotations

from engine.checking.zoo.bug import Bug
from engine.checking.zoo.cases import CELL, LAST, NO_GATE, blocks, only, parameters, recurrent
from engine.checking.zoo.rewriting import TIME_LOOP, WALK

_LSTM, _GRU = recurrent("lstm"), recurrent("gru")
_FINAL = "missing term from the final state"

BUGS = (
    # -- the gradient of the final state -------------------------------------------------------------------------------
    Bug(
        "final-h-dropped",
        "The gradient of the final h is not looked at.",
        _GRU,
        WALK.line("None if dh_last is None else dh_last[slot],", "None,"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
        cause=_FINAL,
    ),
    Bug(
        "lstm-final-h-dropped",
        "The gradient of the final h of an LSTM is not looked at; that of c is.",
        _LSTM,
        WALK.line("None if dh_last is None else dh_last[slot],", "None,"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
        cause=_FINAL,
    ),
    Bug(
        "lstm-final-c-dropped",
        "The gradient of the final c is not looked at.",
        _LSTM,
        WALK.line("None if dc_last is None else dc_last[slot],", "None,"),
        CELL | {"c0"},
        blocks("i", "f", "g"),
        LAST,
        cause=_FINAL,
    ),
    Bug(
        "lstm-final-h-and-c-exchanged",
        "The gradients of the final h and the final c change places.",
        _LSTM,
        WALK.lines(
            ("None if dh_last is None else dh_last[slot]", "None if dh_last is None else dc_last[slot]"),
            ("None if dc_last is None else dc_last[slot]", "None if dc_last is None else dh_last[slot]"),
        ),
        CELL | {"h0", "c0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "final-h-of-the-first-layer-for-all",
        "Every layer gets the final state's gradient that belongs to the first.",
        recurrent("gru", 2),
        WALK.line("dh_last[slot],", "dh_last[0],"),
        parameters("_l1") | {"h0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "lstm-final-c-twice",
        "The gradient of the final c is counted twice.",
        _LSTM,
        TIME_LOOP.line("dc = xp.zeros((B, H), dtype=gate.dtype) if dc_last is None else dc_last", "dc = 2 * dc_last"),
        CELL | {"c0"},
        blocks("i", "f", "g"),
        LAST,
        cause="factor 2",
    ),
    # -- the gradient of the initial state: the last thing that backward computes, so dx is right ----------------------
    Bug(
        "h0-missing",
        "The gradient of the initial h is left at zero.",
        _GRU,
        WALK.line("= adjoints.dh0, adjoints.dc0", "= 0 * adjoints.dh0, adjoints.dc0"),
        only("h0"),
        NO_GATE,
        None,
    ),
    Bug(
        "lstm-c0-missing",
        "The gradient of the initial c is left at zero.",
        _LSTM,
        WALK.line("= adjoints.dh0, adjoints.dc0", "= adjoints.dh0, 0 * adjoints.dc0"),
        only("c0"),
        NO_GATE,
        None,
    ),
    Bug(
        "lstm-h0-and-c0-exchanged",
        "The gradients of the initial h and the initial c change places.",
        _LSTM,
        WALK.line("= adjoints.dh0, adjoints.dc0", "= adjoints.dc0, adjoints.dh0"),
        only("h0", "c0"),
        NO_GATE,
        None,
    ),
    Bug(
        "h0-layers-reversed",
        "The layers' initial states get their gradients in reverse order.",
        recurrent("rnn_tanh", 2),
        WALK.line("dh_n = xp.stack(dh0)", "dh_n = xp.stack(dh0[::-1])"),
        only("h0"),
        NO_GATE,
        None,
    ),
    Bug(
        "h0-one-step-early",
        "The loop stops before the first step, so the gradient of h at t = 1 passes for that of the initial state.",
        _GRU,
        TIME_LOOP.line("dh = _select(xp, valid, dh_prev, dh)", "dh = _select(xp, valid, dh_prev if t else dh, dh)"),
        only("h0"),
        NO_GATE,
        None,
    ),
)
