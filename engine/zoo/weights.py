"""Bugs in the big products around the time loop: gradients of weights and biases, and dx.

The time loop has done its work by then, so each of these spoils one tensor, or one pair, and nothing else.
"""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import LAST, NO_GATE, Make, blocks, only, recurrent
from engine.zoo.rewriting import INPUT_PRODUCTS, LAYER, OPERAND, RECURRENT_PRODUCTS, Rewrite, recurrent_weight

_LSTM, _GRU, _RNN = recurrent("lstm"), recurrent("gru"), recurrent("rnn_tanh")
_DX = "dx = matmul(rows, weight_ih).reshape(steps, batch, features)"
_DWEIGHT = "dweight = matmul(rows.T, x.reshape(steps * batch, features))"
_DBIAS = "rows.sum(axis=0)}"
_PREVIOUS = 'slots[:-1] if place.kind == "prev" else slots[1:]'
_DBIAS_HH = "sums.append(rows.sum(axis=0))"
_ADD = "grad += value"


def _one(
    tensor: str,
    name: str,
    story: str,
    case: Make,
    plant: Rewrite,
    gates: frozenset[str | None] = NO_GATE,
    cause: str | None = None,
) -> Bug:
    """A bug that one tensor alone shows; of all these, only x has a time axis."""
    return Bug(name, story, case, plant, only(tensor), gates, LAST if tensor == "x" else None, cause=cause)


_RECURRENT = (
    _one(
        "weight_hh_l0",
        "weight-hh-with-h-after-the-step",
        "The recurrent weights are paired with the state after the step, h[1:], in place of the one before, h[:-1].",
        _LSTM,
        OPERAND.line(_PREVIOUS, "slots[1:]"),
        cause="h_t in place of h_{t-1}",
    ),
    _one(
        "weight_hh_l0",
        "gru-before-weight-hh-with-h-after-the-step",
        "The recurrent weights of the reset-before GRU are paired with the state after the step.",
        recurrent("gru_before"),
        OPERAND.lines((_PREVIOUS, "slots[1:]"), ("run.kept[place.name]", "run.gates[:, :, 0] * run.h[1:]")),
        cause="h_t in place of h_{t-1}",
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-without-h0",
        "The recurrent weights' gradient leaves out the first step, as if the initial state were zero.",
        _GRU,
        recurrent_weight("matmul(_rows(da[1:]).T, _rows(source[1:]))"),
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-without-the-last-step",
        "The recurrent weights' gradient leaves out the last step.",
        _RNN,
        recurrent_weight("matmul(_rows(da[:-1]).T, _rows(source[:-1]))"),
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-one-row-missing",
        "One row of the batch is left out of the recurrent weights' gradient.",
        _LSTM,
        recurrent_weight("matmul(_rows(da[:, 1:]).T, _rows(source[:, 1:]))"),
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-transposed",
        "The recurrent weights' gradient is transposed.",
        _RNN,
        recurrent_weight("matmul(_rows(source).T, rows)"),
        cause="transposed",
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-blocks-transposed",
        "The recurrent weights' gradient is transposed, gate block by gate block.",
        _LSTM,
        recurrent_weight(
            "xp.concatenate([matmul(_rows(source).T, _rows(da[:, :, block])) for block in range(len(cell.gates))])"
        ),
        cause="transposed",
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-one-block-transposed",
        "The recurrent weights' gradient is transposed in the block of the reset gate alone.",
        _GRU,
        recurrent_weight(
            "xp.concatenate([block if k else block.T for k, block in enumerate("
            "xp.split(matmul(rows.T, _rows(source)), len(cell.gates)))])"
        ),
        blocks("r"),
        "transposed",
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-blocks-exchanged",
        "The gradients of the update gate's and the candidate's recurrent weights change places.",
        _GRU,
        recurrent_weight("matmul(_rows(da[:, :, [0, 2, 1]]).T, _rows(source))"),
        blocks("z", "n"),
        "gates exchanged",
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-mean-over-the-batch",
        "The recurrent weights' gradient is divided by the batch size, for which the loss has already accounted.",
        _GRU,
        recurrent_weight("matmul(rows.T, _rows(source)) / da.shape[1]"),
    ),
    _one(
        "weight_hh_l0",
        "weight-hh-in-half-precision",
        "The recurrent weights' gradient is gathered in half precision: about three digits of it are right.",
        _LSTM,
        recurrent_weight('matmul(rows.T, _rows(source)).astype("float16").astype(rows.dtype)'),
    ),
    _one(
        "bias_hh_l0",
        "bias-hh-missing",
        "The second bias gets no gradient.",
        _LSTM,
        LAYER.line(_ADD, _ADD + ' * (name != "bias_hh")'),
    ),
    _one(
        "bias_hh_l0",
        "bias-hh-of-both",
        "The second bias gets the sum of both biases' gradients.",
        _RNN,
        LAYER.line(_ADD, _ADD + ' + (found["bias_ih"] if name == "bias_hh" else 0)'),
        cause="factor 2",
    ),
    _one(
        "bias_hh_l0",
        "bias-hh-only-the-last-step",
        "The second bias hears of the last step alone.",
        _GRU,
        RECURRENT_PRODUCTS.line(_DBIAS_HH, "sums.append(rows[-da.shape[1] :].sum(axis=0))"),
    ),
)

_INPUT = (
    _one(
        "weight_ih_l0",
        "weight-ih-with-x-one-step-early",
        "The input weights are paired with the input of the step before.",
        _LSTM,
        INPUT_PRODUCTS.line(_DWEIGHT, "dweight = matmul(rows.T, x[[0, *range(steps - 1)]].reshape(-1, features))"),
    ),
    _one(
        "weight_ih_l0",
        "weight-ih-rows-of-the-batch-mixed",
        "The input weights are paired with another row of the batch.",
        _GRU,
        INPUT_PRODUCTS.line(_DWEIGHT, "dweight = matmul(rows.T, x[:, ::-1].reshape(-1, features))"),
    ),
    _one(
        "weight_ih_l0",
        "weight-ih-one-unit",
        "One hidden unit's input weights get nothing for the forget gate; all others are right.",
        _LSTM,
        INPUT_PRODUCTS.line(_DWEIGHT, _DWEIGHT + "; dweight[da.shape[-1] + 1] = 0"),
        blocks("f"),
    ),
    _one(
        "weight_ih_l0",
        "weight-ih-factor-1.00001",
        "The input weights' gradient is too large by one part in a hundred thousand.",
        _RNN,
        INPUT_PRODUCTS.line(_DWEIGHT, _DWEIGHT + " * (1 + 1e-5)"),
    ),
    _one(
        "bias_ih_l0",
        "bias-ih-only-the-last-step",
        "The first bias hears of the last step alone.",
        _LSTM,
        INPUT_PRODUCTS.line(_DBIAS, "rows[-batch:].sum(axis=0)}"),
    ),
    _one(
        "bias_ih_l0",
        "bias-ih-mean",
        "The first bias gets the mean over all steps and rows, where it is their sum.",
        _GRU,
        INPUT_PRODUCTS.line(_DBIAS, "rows.mean(axis=0)}"),
    ),
    _one(
        "bias_ih_l0",
        "bias-ih-over-the-wrong-axis",
        "The first bias's gradient is summed over the hidden units too, and handed to each of them.",
        _GRU,
        INPUT_PRODUCTS.line(_DBIAS, "da.sum(axis=(0, 1, 3)).repeat(da.shape[3])}"),
    ),
    _one(
        "bias_ih_l0",
        "bias-ih-interleaved",
        "The first bias's gradient goes gate after gate for each unit, where the gates are contiguous blocks.",
        _LSTM,
        INPUT_PRODUCTS.line(_DBIAS, "da.sum(axis=(0, 1)).T.reshape(-1)}"),
    ),
    _one(
        "bias_ih_l0",
        "bias-ih-one-row-missing",
        "One row of the batch is left out of the first bias's gradient.",
        _RNN,
        INPUT_PRODUCTS.line(_DBIAS, "da[:, 1:].sum(axis=(0, 1)).reshape(-1)}"),
    ),
    _one(
        "x",
        "dx-without-one-gate",
        "dx leaves out what goes back through the last gate.",
        _LSTM,
        INPUT_PRODUCTS.line(
            _DX,
            "dx = matmul(rows[:, : -da.shape[3]], weight_ih[: -da.shape[3]]).reshape(steps, batch, features)",
        ),
    ),
    _one(
        "x",
        "dx-gates-exchanged",
        "On the way to dx, the gradients of r and z meet each other's input weights.",
        _GRU,
        INPUT_PRODUCTS.line(_DX, "dx = matmul(da[:, :, [1, 0, 2]].reshape(rows.shape), weight_ih).reshape(x.shape)"),
        cause="gates exchanged",
    ),
    _one(
        "x",
        "dx-one-row-missing",
        "dx is zero for one row of the batch.",
        _RNN,
        INPUT_PRODUCTS.line(_DX, _DX + "; dx[:, 1] = 0"),
    ),
    _one(
        "x",
        "dx-factor-1.00001",
        "dx is too large by one part in a hundred thousand.",
        _GRU,
        INPUT_PRODUCTS.line(_DX, _DX + " * (1 + 1e-5)"),
    ),
)

BUGS = _RECURRENT + _INPUT
