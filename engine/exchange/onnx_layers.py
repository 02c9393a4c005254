"""The operators of ONNX that are layers here: dense, normalisation, and the recurrent ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine.exchange.onnx_rules import axis_of, rule
from engine.exchange.onnx_values import Signal, State, States, Tag, Unreadable, Value, constant, short, signal
from engine.exchange.onnx_weights import OPERATORS, Weights, from_onnx
from engine.exchange.parts import Part

#: The functions that each operator has unless its attribute says otherwise, in ONNX's order, in lower case.
_FUNCTIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
_INPUTS = {"LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")}
_OTHERS = ("X", "W", "R", "B", "sequence_lens", "initial_h")


# -- dense layers ------------------------------------------------------------------------------------------------------


def _dense(x: Signal, weight: np.ndarray, bias: np.ndarray | None) -> Signal:
    """x behind a Linear with this weight (V, D)."""
    if weight.ndim != 2 or x.axes[-1] != "F" or x.features not in (None, weight.shape[1]) or "N" in x.axes:
        raise Unreadable(f"a product with a weight of shape {weight.shape} for {x.features} features")
    args = {"in_features": weight.shape[1], "out_features": len(weight), "bias": bias is not None}
    arrays = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return x.then(Part("Linear", args, arrays), len(weight))


@rule("MatMul")
def product(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A Linear without a bias, which an Add may bring."""
    if isinstance(inputs[0], np.ndarray):
        raise Unreadable("a product with the weight on the left")
    return _dense(signal(inputs[0]), constant(inputs[1], "a weight").T, None)


@rule("Gemm")
def gemm(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A Linear."""
    weight, bias = constant(inputs[1], "a weight"), inputs[2] if len(inputs) > 2 else None
    if attributes.get("transA") or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise Unreadable("a product with transA, alpha or beta")
    weight = weight if attributes.get("transB") else weight.T
    return _dense(signal(inputs[0]), weight, None if bias is None else _row(bias, len(weight)))


def _row(value: Value, features: int) -> np.ndarray:
    """A bias (V,) of a constant that broadcasts to it."""
    found = constant(value, "a bias")
    if found.size != features or found.shape[-1:] != (features,):
        raise Unreadable(f"a bias of shape {found.shape} for {features} features")
    return found.reshape(features)


@rule("Add")
def add(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """The bias of the Linear before it."""
    x, bias = inputs if isinstance(inputs[1], np.ndarray) else inputs[::-1]
    x = signal(x)
    last = x.parts[-1] if x.parts else None
    if last is None or last.kind != "Linear" or last.args["bias"]:
        raise Unreadable("a sum that is no bias of a dense layer")
    row = _row(bias, len(last.arrays["weight"]))
    joined = replace(last, args={**last.args, "bias": True}, arrays={**last.arrays, "bias": row})
    return replace(x, parts=(*x.parts[:-1], joined))


@rule("Tanh", "Relu", "Sigmoid")
def activation(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A function of every step."""
    x = signal(inputs[0])
    return x.then(Part("Activation", {"kind": attributes["operator"].lower()}), x.features)


@rule("LayerNormalization")
def layer_norm(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Layer normalisation over the features."""
    x, weight = signal(inputs[0]), constant(inputs[1], "a scale")
    if axis_of(x, attributes.get("axis", -1)) != "F" or weight.ndim != 1 or "N" in x.axes:
        raise Unreadable("layer normalisation over more than the features")
    bias = np.zeros_like(weight) if len(inputs) < 3 or inputs[2] is None else _row(inputs[2], len(weight))
    args = {"num_features": len(weight), "eps": short(attributes.get("epsilon", 1e-5))}
    return x.then(Part("LayerNorm", args, {"weight": weight, "bias": bias}), x.features)


@rule("BatchNormalization")
def batch_norm(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Batch normalisation over the features, with the running statistics."""
    x, arrays = signal(inputs[0]), [constant(one, "a statistic") for one in inputs[1:5]]
    if len(x.axes) < 2 or x.axes[1] != "F" or "N" in x.axes or attributes.get("training_mode"):
        raise Unreadable("batch normalisation that is not over the features, or not with running statistics")
    size = arrays[0].size
    names = ("weight", "bias", "running_mean", "running_var")
    named = {name: _row(array, size) for name, array in zip(names, arrays, strict=True)}
    momentum = short(1.0 - short(attributes.get("momentum", 0.9)))
    args = {"num_features": size, "eps": short(attributes.get("epsilon", 1e-5)), "momentum": momentum}
    return x.then(Part("BatchNorm", args, {**named, "num_batches_tracked": np.zeros((), np.int64)}), x.features)


# -- recurrent layers --------------------------------------------------------------------------------------------------


@rule("LSTM", "GRU", "RNN")
def recurrent(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A recurrent layer: its outputs Y, Y_h and Y_c."""
    operator = attributes["operator"]
    given = dict(zip(_INPUTS.get(operator, _OTHERS), inputs, strict=False))
    x = _sequence(context, signal(given["X"]), attributes)
    weights = _weights(operator, given)
    _check_rest(operator, attributes, given, len(weights.W))
    cell = _cell(operator, attributes, weights)
    weights = weights if cell == "peephole_lstm" else weights._replace(P=None)
    units, directions = weights.R.shape[2], len(weights.W)
    if x.features not in (None, weights.W.shape[2]):
        raise Unreadable(f"W for {weights.W.shape[2]} features where x has {x.features}")
    lens = given.get("sequence_lens")
    if lens is not None and lens != Tag("all", context.time):
        if not (isinstance(lens, Tag) and lens.meaning == "lengths"):
            raise Unreadable("sequence_lens that are no input of the graph")
        context.with_lengths = True
    kind, own = _kind(cell)
    sizes = {"input_size": weights.W.shape[2], "hidden_size": units, "num_layers": 1}
    args = {**own, **sizes, "bias": weights.B is not None, "bidirectional": directions == 2}
    parts = (*x.parts, Part(kind, args, from_onnx(cell, weights), context.scope(attributes["name"])))
    a, b = x.axes[:2]
    batch_leads = bool(attributes.get("layout"))
    y = Signal(parts, (a, b, "N", "F") if batch_leads else (a, "N", b, "F"), units, directions)
    items = tuple(State(parts, d, directions) for d in range(directions))
    last = States(items, ("B", "S", "F") if batch_leads else ("S", "B", "F"), units)
    return (y, last, Tag("cells")) if operator == "LSTM" else (y, last)


def _sequence(context: Any, x: Signal, attributes: dict[str, Any]) -> Signal:
    """x with time and batch told apart."""
    if len(x.axes) != 3 or x.axes[2] != "F" or sorted(x.axes[:2]) != ["0", "1"]:
        raise Unreadable("an input that is not (time, batch, features)")
    time = x.axes[1 if attributes.get("layout") else 0]
    if context.time not in (None, time):
        raise Unreadable("a layer that runs over the axis that is the batch of the others")
    context.time = time
    return x


def _weights(operator: str, given: dict[str, Value]) -> Weights:
    """W, R, B and P, of shapes that fit each other."""
    w, r = constant(given["W"], "W"), constant(given["R"], "R")
    b, p = (None if given.get(name) is None else constant(given[name], name) for name in ("B", "P"))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    if w.ndim != 3 or r.ndim != 3 or len(w) not in (1, 2):
        raise Unreadable(f"W of shape {w.shape} and R of shape {r.shape}")
    directions, units = len(w), r.shape[2]
    wanted: dict[str, tuple[int, ...]] = {"W": (directions, gates * units, w.shape[2])}
    wanted |= {"R": (directions, gates * units, units)}
    wanted |= {"B": (directions, 2 * gates * units), "P": (directions, 3 * units)}
    for name, array in (("W", w), ("R", r), ("B", b), ("P", p)):
        if array is not None and array.shape != wanted[name]:
            raise Unreadable(f"{name} of shape {array.shape} where its place asks for {wanted[name]}")
    return Weights(w, r, b, p)


def _check_rest(operator: str, attributes: dict[str, Any], given: dict[str, Value], directions: int) -> None:
    """Raise for what would change the results and that no layer here does."""
    direction = attributes.get("direction", "forward")
    if direction == "reverse":
        raise Unreadable("direction='reverse' alone: layers here run forward, or both ways")
    if directions != (2 if direction == "bidirectional" else 1) or direction not in ("forward", "bidirectional"):
        raise Unreadable(f"direction={direction!r} with weights of {directions} direction(s)")
    for name in ("clip", "input_forget", "activation_alpha", "activation_beta"):
        if attributes.get(name):
            raise Unreadable(f"the attribute {name}={attributes[name]}")
    for name in ("initial_h", "initial_c"):
        first = given.get(name)
        zero = first is None or (isinstance(first, Tag) and first.meaning in ("zeros", "given"))
        if not zero and not (isinstance(first, np.ndarray) and not np.any(first)):
            raise Unreadable(f"{name} that is not zero: first states here are zero, or given to predict")


def _cell(operator: str, attributes: dict[str, Any], weights: Weights) -> str:
    """The name of our cell."""
    count, wanted = len(weights.W), _FUNCTIONS[operator]
    functions = [str(name).lower() for name in attributes.get("activations", wanted * count)]
    if operator == "RNN" and functions == ["relu"] * count:
        return "rnn_relu"
    if functions != wanted * count:
        raise Unreadable(f"activations={', '.join(attributes['activations'])}")
    if operator == "GRU":
        return "gru" if attributes.get("linear_before_reset") else "gru_before"
    if operator == "LSTM":
        return "lstm" if weights.P is None or not np.any(weights.P) else "peephole_lstm"
    return "rnn_tanh"


def _kind(cell: str) -> tuple[str, dict[str, Any]]:
    """The class of layer with this cell, and its own arguments."""
    operator = OPERATORS[cell][0]
    if cell == "peephole_lstm":
        return "Recurrent", {"cell": cell}
    own: dict[str, dict[str, Any]] = {
        "RNN": {"nonlinearity": cell.removeprefix("rnn_")},
        "GRU": {"reset_after": cell == "gru"},
    }
    return operator, own.get(operator, {})
