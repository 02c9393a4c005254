"""Bugs in the layers around the recurrent ones: dense layer, embedding, dropout, and their chain."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import LAST, NO_GATE, dropout, embedding, linear, model, only, parameters
from engine.zoo.rewriting import DROPOUT, EMBEDDING, LINEAR, SEQUENTIAL, Rewrite

_WEIGHT = "matmul(rows.T, x.reshape(-1, self.in_features))"
_BIAS = 'grads["bias"] += rows.sum(axis=0)'
_DX = 'matmul(rows, self._params.own["weight"])'
_ADD_ROWS = 'grads["weight"][backend.asarray(rows)] += sums'
_MASKED = "dy if mask is None else apply_mask(self.backend.xp, dy, mask)"


def _linear(tensor: str, name: str, story: str, plant: Rewrite, cause: str | None = None) -> Bug:
    return Bug(name, story, linear, plant, only(tensor), NO_GATE, LAST if tensor == "x" else None, cause=cause)


def _embedding(name: str, story: str, plant: Rewrite, cause: str | None = None) -> Bug:
    """Token ids have no gradient, so there is no dx."""
    return Bug(name, story, embedding, plant, only("weight"), NO_GATE, None, cause=cause)


def _dropout(name: str, story: str, becomes: str, cause: str | None = None) -> Bug:
    return Bug(name, story, dropout, DROPOUT.line(_MASKED, becomes), only("x"), NO_GATE, LAST, cause=cause)


_LINEAR = (
    _linear(
        "weight",
        "linear-weight-one-position-missing",
        "The weight's gradient leaves out the first position: one row of the first step.",
        LINEAR.line(_WEIGHT, "matmul(rows[1:].T, x.reshape(-1, self.in_features)[1:])"),
    ),
    _linear(
        "weight",
        "linear-weight-only-the-last-step",
        "The weight hears of the last step alone.",
        LINEAR.line(_WEIGHT, "matmul(dy[-1].T, x[-1])"),
    ),
    _linear(
        "bias",
        "linear-bias-mean",
        "The bias gets the mean over all positions, where it is their sum.",
        LINEAR.line(_BIAS, 'grads["bias"] += rows.mean(axis=0)'),
    ),
    _linear(
        "bias",
        "linear-bias-over-the-wrong-axis",
        "The bias's gradient is summed over the outputs too, and handed to each of them.",
        LINEAR.line(_BIAS, 'grads["bias"] += rows.sum()'),
    ),
    _linear("x", "linear-dx-sign", "dx has the wrong sign.", LINEAR.line(_DX, "-" + _DX), "sign"),
    _linear(
        "x",
        "linear-dx-without-one-output",
        "dx leaves out what goes back from one of the outputs.",
        LINEAR.line(_DX, 'matmul(rows[:, 1:], self._params.own["weight"][1:])'),
    ),
    _linear(
        "x",
        "linear-dx-factor-1.001",
        "dx is too large by one part in a thousand.",
        LINEAR.line(_DX, "1.001 * " + _DX),
    ),
)

_EMBEDDING = (
    _embedding(
        "embedding-rows-assigned",
        "Where a token repeats, only one of its places counts: the rows are assigned, not added up.",
        EMBEDDING.line(_ADD_ROWS, 'grads["weight"][ids[places]] += dy.reshape(ids.size, -1)[places]'),
        "overwritten, not added",
    ),
    _embedding(
        "embedding-rows-off-by-one",
        "Each token's gradient lands in the row before its own.",
        EMBEDDING.line(_ADD_ROWS, 'grads["weight"][backend.asarray(rows) - 1] += sums'),
    ),
    _embedding(
        "embedding-not-sorted",
        "The places are summed in runs without having been sorted by row.",
        EMBEDDING.line('order = places[np.argsort(ids[places], kind="stable")]', "order = places"),
    ),
    _embedding(
        "embedding-mean",
        "A token that occurs several times gets the mean over its places, where it is their sum.",
        EMBEDDING.line(_ADD_ROWS, 'grads["weight"][rows] += sums / np.bincount(ids[places])[rows][:, None]'),
    ),
    _embedding(
        "embedding-first-token-left-out",
        "The row of token 0 gets nothing, as if it were padding.",
        EMBEDDING.line(_ADD_ROWS, 'grads["weight"][rows[rows > 0]] += sums[rows > 0]'),
    ),
)

_DROPOUT = (
    _dropout("dropout-forgotten", "Dropout's mask is not applied on the way back.", "dy", "mask forgotten"),
    _dropout(
        "dropout-without-scale",
        "The units that were dropped get 0, but the others are not scaled with 1/(1-p).",
        "apply_mask(self.backend.xp, dy, mask != 0)",
    ),
    Bug(
        "dropout-redrawn",
        "Dropout draws a mask of its own on the way back.",
        dropout,
        DROPOUT.line(_MASKED, "apply_mask(self.backend.xp, dy, self._mask(dy.shape, self._take_call()))"),
        only("x"),
        NO_GATE,
        LAST,
        verdicts=frozenset({"wrong", "non-deterministic"}),
    ),
    _dropout(
        "dropout-inverted",
        "The units that were dropped get the gradient, and those that were kept get none.",
        "apply_mask(self.backend.xp, dy, mask.max() - mask)",
    ),
)

_CHAIN = (
    Bug(
        "sequential-final-states-dropped",
        "The chain does not hand the final states' gradients to its layers.",
        model,
        SEQUENTIAL.line("layer.backward(layer_tape, dy, layer_dstate)", "layer.backward(layer_tape, dy, None)"),
        parameters(prefix="0.") | parameters(prefix="1.") | {"0.h0", "0.c0", "1.h0"},
        NO_GATE,
        LAST,
        cause="missing term from the final state",
    ),
    Bug(
        "sequential-layer-skipped",
        "One of the layers is passed by: the one below it gets the gradient of an output that is not its own.",
        model,
        SEQUENTIAL.lines(
            (
                "dy, layer_dstate = layer.backward(layer_tape, dy, layer_dstate)",
                "below, layer_dstate = layer.backward(layer_tape, dy, layer_dstate); "
                "dy = dy if layer is self.layers[1] else below",
            ),
        ),
        parameters(prefix="0."),
        NO_GATE,
        LAST,
    ),
    Bug(
        "linear-dx-missing",
        "The dense layer on top sends nothing down: the layers below hear only of their final states.",
        model,
        LINEAR.line(_DX, "0 * " + _DX),
        parameters(prefix="1."),
        NO_GATE,
        LAST,
    ),
)

BUGS = _LINEAR + _EMBEDDING + _DROPOUT + _CHAIN
