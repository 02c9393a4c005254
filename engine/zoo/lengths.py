"""Bugs with rows of different lengths: a short row, a full one and an empty one."""

from __future__ import annotations

import functools

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import (
    CELL,
    LAST,
    LENGTHS,
    NO_GATE,
    SHORT_LAST,
    blocks,
    dropout,
    embedding,
    linear,
    only,
    recurrent,
)
from engine.zoo.rewriting import DROPOUT, EMBEDDING, ENTER_DY, LINEAR, TIME_LOOP, WALK_DIRECTION, carried

_LSTM = recurrent("lstm", lengths=LENGTHS)
_GRU = recurrent("gru", lengths=LENGTHS)
_RNN = recurrent("rnn_tanh", lengths=LENGTHS)
_FORGOTTEN = "mask forgotten"
_CLEAN = "dy = clean(self.backend.xp, dy, tape.timeline, self.batch_first)"

BUGS = (
    Bug(
        "mask-forgotten",
        "Backward walks through the pads as if they were steps.",
        _GRU,
        WALK_DIRECTION.line("timeline.lengths,", "None,"),
        CELL | {"h0"},
        blocks("n") | NO_GATE,
        LAST,
        cause=_FORGOTTEN,
    ),
    Bug(
        "lstm-mask-forgotten",
        "Backward walks through the pads of an LSTM, whose gates stand at 0 there: the final state's gradient is lost.",
        _LSTM,
        WALK_DIRECTION.line("timeline.lengths,", "None,"),
        CELL | {"h0", "c0"},
        NO_GATE,
        SHORT_LAST,
        cause=_FORGOTTEN,
    ),
    # The input at pads is 0, so its weights do not notice.
    Bug(
        "mask-not-on-the-gates",
        "The gates' gradients at pads are not set to 0: pads count for the weights and for dx.",
        _RNN,
        TIME_LOOP.line("= _select(xp, valid, found.input[gate], 0)", "= found.input[gate]"),
        CELL - {"weight_ih_l0"},
        NO_GATE,
        LAST,
        cause=_FORGOTTEN,
    ),
    Bug(
        "mask-not-on-dh",
        "At a pad h goes back through the cell, where forward had carried it over unchanged.",
        _GRU,
        carried("h", "previous", "previous"),
        CELL | {"h0"},
        NO_GATE,
        SHORT_LAST,
        cause=_FORGOTTEN,
    ),
    Bug(
        "mask-not-on-dc",
        "At a pad c goes back through the forget gate, where forward had carried it over unchanged.",
        _LSTM,
        carried("c", "previous", "previous"),
        CELL | {"c0"},
        blocks("i", "f", "g"),
        SHORT_LAST,
        cause=_FORGOTTEN,
    ),
    Bug(
        "mask-multiplied-into-dh",
        "The state's gradient is multiplied with the mask: at a pad it is lost, where it should be carried.",
        _RNN,
        carried("h", "previous", "0"),
        CELL | {"h0"},
        NO_GATE,
        SHORT_LAST,
    ),
    Bug(
        "mask-on-the-wrong-tensor",
        "The branches of the mask are exchanged: valid steps carry dh over, pads send it through the cell.",
        _GRU,
        carried("h", "dstate", "previous"),
        CELL | {"h0"},
        NO_GATE,
        LAST - 1,
    ),
    Bug(
        "mask-of-c-on-h",
        "What is carried over at a pad is the gradient of c, for h as well.",
        _LSTM,
        carried("h", "previous", "dstates[1]"),
        CELL | {"h0"},
        NO_GATE,
        SHORT_LAST,
    ),
    Bug(
        "mask-one-step-short",
        "The mask ends one step too early: each row's last valid step is taken for a pad.",
        _LSTM,
        TIME_LOOP.line("(lengths > t)", "(lengths > t + 1)"),
        CELL | {"h0", "c0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "mask-one-step-long",
        "The mask ends one step too late: the first pad of a row is taken for a step.",
        _RNN,
        TIME_LOOP.line("(lengths > t)", "(lengths >= t)"),
        CELL | {"h0"},
        NO_GATE,
        SHORT_LAST + 1,
    ),
    Bug(
        "mask-of-another-row",
        "Each row is masked with the length of its neighbour.",
        _GRU,
        TIME_LOOP.line("(lengths > t)", "(xp.roll(lengths, 1) > t)"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
    ),
    Bug(
        "dy-at-pads",
        "The output's gradient at pads is not set to 0, although the output there is.",
        _LSTM,
        ENTER_DY.line("else timeline.clean(dy)", "else dy"),
        CELL | {"h0"},
        NO_GATE,
        SHORT_LAST,
        cause=_FORGOTTEN,
    ),
    # -- the layers around ---------------------------------------------------------------------------------------------
    Bug(
        "linear-dy-at-pads",
        "A dense layer lets the output's gradient at pads into its bias and into dx.",
        functools.partial(linear, lengths=LENGTHS),
        LINEAR.line(_CLEAN, "dy = dy"),
        only("bias", "x"),
        NO_GATE,
        LAST,
        cause=_FORGOTTEN,
    ),
    Bug(
        "dropout-dy-at-pads",
        "Dropout lets the output's gradient at pads into dx.",
        functools.partial(dropout, lengths=LENGTHS),
        DROPOUT.line(_CLEAN, "dy = dy"),
        only("x"),
        NO_GATE,
        LAST,
        cause=_FORGOTTEN,
    ),
    Bug(
        "embedding-at-pads",
        "The table's gradient also collects what stands at pads.",
        functools.partial(embedding, lengths=LENGTHS),
        EMBEDDING.line("np.flatnonzero(ids >= 0)", "np.arange(ids.size)"),
        only("weight"),
        NO_GATE,
        None,
        cause=_FORGOTTEN,
    ),
)
