"""Bugs in truncated backpropagation through time.

T = 7 steps; every k1 steps the newest k1 losses go back through k2 steps.  With k1 = 2 and k2 = 4 the windows are
[0, 2), [0, 4), [2, 6), [3, 7); the last is short of new losses, and two of them reach the initial state.
"""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import CELL, NO_GATE, only, parameters, recurrent
from engine.zoo.rewriting import DIRECTION_WINDOW, LAYER, LAYER_WINDOW, TRUNCATION

_STEPS, _K = 7, (2, 4)
_LSTM = recurrent("lstm", steps=_STEPS, truncation=_K)
_GRU = recurrent("gru", steps=_STEPS, truncation=_K)
_RNN = recurrent("rnn_tanh", steps=_STEPS, truncation=_K)
_START = "start = max(0, chunk_stop - k2)"
_NEW_LOSSES = (
    "_span(window_dy, axis, chunk_start - start, chunk_stop - start)[...] = _span(dy, axis, chunk_start, chunk_stop)"
)
_ADD_DSTATE = "dstate = window_dstate if dstate is None else _add(dstate, window_dstate)"
_OFF_BY_ONE = "off by one in truncation"

# Where a window has the wrong start the equations are right: every weight gets a step too many or too few, and so does
# the initial state, unless the windows that reach it are the same.
BUGS = (
    Bug(
        "truncation-overlap-counted-twice",
        "Where two windows overlap, the losses in the overlap go back in both.",
        _GRU,
        TRUNCATION.line(_NEW_LOSSES, "window_dy[...] = _span(dy, axis, start, chunk_stop)"),
        CELL,
        NO_GATE,
        5,
    ),
    Bug(
        "truncation-one-step-short",
        "The losses go back through k2 - 1 steps.",
        _LSTM,
        TRUNCATION.line(_START, "start = max(0, chunk_stop - k2 + 1)"),
        CELL | {"h0", "c0"},
        NO_GATE,
        3,
        cause=_OFF_BY_ONE,
    ),
    Bug(
        "truncation-one-step-long",
        "The losses go back through k2 + 1 steps.",
        _RNN,
        TRUNCATION.line(_START, "start = max(0, chunk_stop - k2 - 1)"),
        CELL,
        NO_GATE,
        2,
        cause=_OFF_BY_ONE,
    ),
    Bug(
        "truncation-from-the-chunks-start",
        "The k2 steps are counted from a chunk's first step, in place of its last.",
        _GRU,
        TRUNCATION.line(_START, "start = max(0, chunk_start - k2)"),
        CELL | {"h0"},
        NO_GATE,
        2,
    ),
    Bug(
        "truncation-at-k1",
        "Each chunk's losses stay within the chunk: k2 is not looked at.",
        _LSTM,
        TRUNCATION.line(_START, "start = chunk_start"),
        CELL | {"h0", "c0"},
        NO_GATE,
        5,
    ),
    Bug(
        "truncation-last-losses-left-out",
        "Where T is no multiple of k1, the last losses never go back.",
        _LSTM,
        TRUNCATION.line("in range(0, max(steps, 1), k1)", "in range(0, steps - k1 + 1, k1)"),
        CELL,
        NO_GATE,
        6,
    ),
    Bug(
        "truncation-losses-at-the-windows-start",
        "A chunk's losses are laid at the start of its window, in place of its end.",
        _RNN,
        TRUNCATION.line("axis, chunk_start - start, chunk_stop - start)", "axis, 0, chunk_stop - chunk_start)"),
        CELL,
        NO_GATE,
        6,
    ),
    Bug(
        "truncation-dx-overwritten",
        "Where two windows overlap, the later one's dx overwrites that of the earlier one.",
        _GRU,
        TRUNCATION.line("[...] += window_dx", "[...] = window_dx"),
        only("x"),
        NO_GATE,
        5,
        cause="overwritten, not added",
    ),
    Bug(
        "truncation-h0-overwritten",
        "The initial state keeps the gradient of the last window that reaches it, in place of their sum.",
        _GRU,
        TRUNCATION.line(_ADD_DSTATE, "dstate = window_dstate"),
        only("h0"),
        NO_GATE,
        None,
        cause="overwritten, not added",
    ),
    Bug(
        "truncation-h0-from-every-window",
        "Every window's first state passes for the initial state.",
        _LSTM,
        TRUNCATION.line("if start == 0:", "if True:"),
        only("h0", "c0"),
        NO_GATE,
        None,
    ),
    Bug(
        "truncation-input-of-the-first-window",
        "Every window pairs the input weights with the input from the sequence's start.",
        _LSTM,
        DIRECTION_WINDOW.line("self.x[start:stop]", "self.x[: stop - start]"),
        only("weight_ih_l0"),
        NO_GATE,
        None,
    ),
    Bug(
        "truncation-cell-states-of-the-first-window",
        "Every window takes its cell states from the sequence's start.",
        _LSTM,
        DIRECTION_WINDOW.line(
            "slots[start : stop + 1]", "slots[start : stop + 1] if slots is self.run.h else slots[: stop - start + 1]"
        ),
        CELL,
        NO_GATE,
        6,
    ),
    Bug(
        "truncation-masks-of-the-first-window",
        "Every window takes the dropout masks from the sequence's start.",
        recurrent("gru", 2, steps=_STEPS, truncation=_K, dropout=0.5),
        LAYER_WINDOW.line("mask[start:stop]", "mask[: stop - start]"),
        parameters(),
        NO_GATE,
        6,
    ),
    Bug(
        "truncation-gradients-overwritten",
        "Each window overwrites the gradients of the window before it, in place of adding to them.",
        _RNN,
        LAYER.line("grad += value", "grad[...] = value"),
        CELL,
        NO_GATE,
        None,
        cause="overwritten, not added",
    ),
)
