"""Bugs on the ways of the state: the gradient of the final state, which backward takes, and of the initial one."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import CELL, LAST, NO_GATE, blocks, only, parameters, recurrent
from engine.zoo.rewriting import TIME_LOOP, WALK, carried

_LSTM, _GRU = recurrent("lstm"), recurrent("gru")
_PART = "None if part is None else part[direction.slot] for part in dlast"
_FIRST = "dfirst[direction.slot] = adjoints.dstates"
_FINAL = "missing term from the final state"

BUGS = (
    # -- the gradient of the final state -------------------------------------------------------------------------------
    Bug(
        "final-h-dropped",
        "The gradient of the final h is not looked at.",
        _GRU,
        WALK.line(_PART, "None if part is dlast[0] else part[direction.slot] for part in dlast"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
        cause=_FINAL,
    ),
    Bug(
        "lstm-final-h-dropped",
        "The gradient of the final h of an LSTM is not looked at; that of c is.",
        _LSTM,
        WALK.line(_PART, "None if part is dlast[0] else part[direction.slot] for part in dlast"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
        cause=_FINAL,
    ),
    Bug(
        "lstm-final-c-dropped",
        "The gradient of the final c is not looked at.",
        _LSTM,
        WALK.line(_PART, "None if part is dlast[1] else part[direction.slot] for part in dlast"),
        CELL | {"c0"},
        blocks("i", "f", "g"),
        LAST,
        cause=_FINAL,
    ),
    Bug(
        "lstm-final-h-and-c-exchanged",
        "The gradients of the final h and the final c change places.",
        _LSTM,
        WALK.line(_PART, _PART + "[::-1]"),
        CELL | {"h0", "c0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "final-h-of-the-first-layer-for-all",
        "Every layer gets the final state's gradient that belongs to the first.",
        recurrent("gru", 2),
        WALK.line("part[direction.slot]", "part[0]"),
        parameters("_l1") | {"h0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "lstm-final-c-twice",
        "The gradient of the final c is counted twice.",
        _LSTM,
        TIME_LOOP.line("_or_zeros(xp, part, slots[0])", "part * (1 + (slots is not run.h))"),
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
        WALK.line(_FIRST, "dfirst[direction.slot] = (0 * adjoints.dstates[0],)"),
        only("h0"),
        NO_GATE,
        None,
    ),
    Bug(
        "lstm-c0-missing",
        "The gradient of the initial c is left at zero.",
        _LSTM,
        WALK.line(_FIRST, "dfirst[direction.slot] = (adjoints.dstates[0], 0 * adjoints.dstates[1])"),
        only("c0"),
        NO_GATE,
        None,
    ),
    Bug(
        "lstm-h0-and-c0-exchanged",
        "The gradients of the initial h and the initial c change places.",
        _LSTM,
        WALK.line(_FIRST, _FIRST + "[::-1]"),
        only("h0", "c0"),
        NO_GATE,
        None,
    ),
    Bug(
        "h0-layers-reversed",
        "The layers' initial states get their gradients in reverse order.",
        recurrent("rnn_tanh", 2),
        WALK.line("self._stacked(dfirst)", "self._stacked(dfirst[::-1])"),
        only("h0"),
        NO_GATE,
        None,
    ),
    Bug(
        "h0-one-step-early",
        "The loop stops before the first step, so the gradient of h at t = 1 passes for that of the initial state.",
        _GRU,
        carried("h", "previous if t else dstate"),
        only("h0"),
        NO_GATE,
        None,
    ),
)
