"""Bugs against the protocol: gradients that are not added, and things written that backward should only read.

One walk over a fresh tape, from gradients that stand at zero, shows none of these.  Gradients that stand at something
else do, and so does a second walk with the same arguments.
"""

from __future__ import annotations

from engine.checking.zoo.bug import Bug
from engine.checking.zoo.cases import CELL, NO_GATE, Make, embedding, linear, model, only, parameters, recurrent
from engine.checking.zoo.rewriting import ADD_GRADIENTS, EMBEDDING, LINEAR, LSTM_STEP, TIME_LOOP, Rewrite

_LSTM, _GRU, _RNN = recurrent("lstm"), recurrent("gru"), recurrent("rnn_tanh")
_ADD = "grads[name] += value"
_SET = "grads[name][...] = value"


def _overwritten(name: str, story: str, case: Make, plant: Rewrite, names: frozenset[str]) -> Bug:
    return Bug(name, story, case, plant, names, NO_GATE, None, cause="overwritten, not added")


def _mutated(name: str, story: str, case: Make, plant: Rewrite, names: frozenset[str]) -> Bug:
    """Right the first time, so dx departs at no time step."""
    return Bug(name, story, case, plant, names, NO_GATE, None, frozenset({"input mutated"}))


BUGS = (
    _overwritten(
        "gradients-overwritten",
        "Backward overwrites the gradients, in place of adding to what stands there.",
        _LSTM,
        ADD_GRADIENTS.line(_ADD, _SET),
        CELL,
    ),
    _overwritten(
        "one-gradient-overwritten",
        "Backward overwrites the gradient of one parameter; the others are added.",
        _GRU,
        ADD_GRADIENTS.line(_ADD, 'grads[name] *= name != "bias_hh_l0"; grads[name] += value'),
        only("bias_hh_l0"),
    ),
    _overwritten(
        "gradients-of-a-direction-overwritten",
        "Backward adds the forward direction's gradients and overwrites those of the reverse direction.",
        recurrent("gru_before", bidirectional=True),
        ADD_GRADIENTS.line(_ADD, 'grads[name] *= not name.endswith("_reverse"); grads[name] += value'),
        parameters("_l0_reverse"),
    ),
    _overwritten(
        "linear-weight-overwritten",
        "The dense layer's weight gradient is overwritten, in place of being added to.",
        linear,
        LINEAR.line('grads["weight"] +=', 'grads["weight"][...] ='),
        only("weight"),
    ),
    _overwritten(
        "embedding-overwritten",
        "The table's gradient is overwritten where a token occurs, in place of being added to.",
        embedding,
        EMBEDDING.line("[backend.asarray(rows)] += sums", "[backend.asarray(rows)] = sums"),
        only("weight"),
    ),
    Bug(
        "gradients-in-new-arrays",
        "Backward puts new arrays in place of the old ones: whoever holds the old ones, as a chain does, sees nothing.",
        model,
        ADD_GRADIENTS.line(_ADD, "grads[name] = grads[name] + value"),
        parameters(prefix="0.") | parameters(prefix="1."),
        NO_GATE,
        None,
    ),
    _mutated(
        "tape-gates-overwritten",
        "The gates' gradients are written over the gates on the tape, to save memory.",
        _LSTM,
        TIME_LOOP.line("da = xp.empty((T, B, G, H), dtype=gate.dtype)", "da = gate"),
        CELL,
    ),
    _mutated(
        "tape-c-overwritten",
        "tanh(c) is written over c on the tape, to save memory.",
        _LSTM,
        LSTM_STEP.line("return tuple(da)", "c_now[...] = step.act.tanh(c_now); return tuple(da)"),
        CELL | {"c0"},
    ),
    _mutated(
        "dy-overwritten",
        "What comes back from later steps is added into the caller's dy.",
        _LSTM,
        TIME_LOOP.line("dh = dh + dy[t]", "dy[t] += dh; dh = dy[t]"),
        CELL,
    ),
    _mutated(
        "final-state-overwritten",
        "The last output's gradient is added into the caller's gradient of the final state.",
        _RNN,
        TIME_LOOP.line("dh = dh + dy[t]", "dh += dy[t]"),
        CELL | {"h0"},
    ),
)
