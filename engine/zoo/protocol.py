"""Bugs against the protocol: gradients that are not added, and things written that backward should only read.

One walk over a fresh tape, from gradients that stand at zero, shows none of these.  Gradients that stand at something
else do, and so does a second walk with the same arguments.
"""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import CELL, NO_GATE, Make, embedding, linear, model, only, parameters, recurrent
from engine.zoo.rewriting import (
    BACKWARD,
    EMBEDDING,
    LAYER,
    LINEAR,
    LSTM_GATES,
    TIME_LOOP,
    WALK_DIRECTION,
    Rewrite,
)

_LSTM, _GRU, _RNN = recurrent("lstm"), recurrent("gru"), recurrent("rnn_tanh")
_ADD = "grad += value"
_SET = "grad[...] = value"


def _overwritten(name: str, story: str, case: Make, plant: Rewrite, names: frozenset[str]) -> Bug:
    return Bug(name, story, case, plant, names, NO_GATE, None, cause="overwritten, not added")


def _mutated(name: str, story: str, case: Make, plant: Rewrite, names: frozenset[str]) -> Bug:
    """Right the first time, so dx departs at no time step."""
    return Bug(name, story, case, plant, names, NO_GATE, None, frozenset({"input mutated", "wrong"}))


BUGS = (
    _overwritten(
        "gradients-overwritten",
        "Backward overwrites the gradients, in place of adding to what stands there.",
        _LSTM,
        LAYER.line(_ADD, _SET),
        CELL,
    ),
    _overwritten(
        "one-gradient-overwritten",
        "Backward overwrites the gradient of one parameter; the others are added.",
        _GRU,
        LAYER.line(_ADD, 'grad *= name != "bias_hh"; grad += value'),
        only("bias_hh_l0"),
    ),
    _overwritten(
        "gradients-of-a-direction-overwritten",
        "Backward adds the forward direction's gradients and overwrites those of the reverse direction.",
        recurrent("gru_before", bidirectional=True),
        WALK_DIRECTION.line(
            "targets = own\n", "targets = own; [grad.fill(0) for grad in own.values() if direction.reverse]\n"
        ),
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
        BACKWARD.line(
            "return self._walk",
            "self._params.memo.clear(); "
            "self._grads.own.update({name: grad.copy() for name, grad in self._grads.own.items()}); return self._walk",
        ),
        parameters(prefix="0.") | parameters(prefix="1."),
        NO_GATE,
        None,
    ),
    _mutated(
        "tape-gates-overwritten",
        "The gates' gradients are written over the gates on the tape, to save memory.",
        _LSTM,
        TIME_LOOP.line("da = xp.empty(gates.shape, dtype=gates.dtype)\n", "da = gates\n"),
        CELL,
    ),
    _mutated(
        "tape-c-overwritten",
        "tanh(c) is written over c on the tape, to save memory.",
        _LSTM,
        LSTM_GATES.line("tanh_c = tanh(c)", "c[...] = tanh(c); tanh_c = c.copy()"),
        CELL | {"c0"},
    ),
    _mutated(
        "dy-overwritten",
        "What comes back from later steps is added into the caller's dy.",
        _LSTM,
        TIME_LOOP.line("dstates = (dstates[0] + dy[t],", "dy[t] += dstates[0]; dstates = (dy[t],"),
        CELL,
    ),
    _mutated(
        "final-state-overwritten",
        "The last output's gradient is added into the caller's gradient of the final state.",
        _RNN,
        TIME_LOOP.line("dstates = (dstates[0] + dy[t],", "dstates[0][...] += dy[t]; dstates = (dstates[0],"),
        CELL | {"h0"},
    ),
)
