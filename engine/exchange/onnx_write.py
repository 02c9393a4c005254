"""`export_onnx`: a model as a graph of ONNX, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from engine.atomic import write_atomic
from engine.checks import file_name, switch
from engine.errors import bad_input
from engine.exchange.onnx_graph import IR_VERSION, OPSET, Flow, Graph
from engine.exchange.onnx_weights import OPERATORS, to_onnx
from engine.exchange.parts import RECURRENT, layers_of, optional, refuse_unknown
from engine.exchange.recurrent_weights import ends_of, without_a_place
from engine.layers import Layer

#: Protocol buffers, in which an ONNX file is written, end here.
MOST_BYTES = 2**31 - 1


def export_onnx(model: Layer, path: Any, lengths: bool = False) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and others run.

    The first input is ``x`` in the model's own layout, with batch and time of any size (ids are int64); the first
    output is ``y``.  States start at zero.  Dropout is written as nodes that do nothing when the file is run.  It needs
    the extra ``[onnx]``.

    Parameters
    ----------
    model : Layer
        A layer, or a `Sequential` of these: RNN, GRU, LSTM, the cell ``"peephole_lstm"``, Linear, Activation,
        Embedding, Dropout, LayerNorm, BatchNorm (with its running statistics), and Pool.  A float64 model is written as
        it is; ONNX Runtime runs recurrent layers in float32 alone.
    path : str or Path
        The file to write; one that is there is replaced, wholly or not at all.
    lengths : bool
        Add a second input ``lengths``, (B,) int32: the valid steps of each row.  y is 0 past them.

    Raises
    ------
    InputError
        For layers that are not written for ONNX, named in one message, and where the library onnx is not installed.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> import engine
    >>> model = engine.Sequential(engine.LSTM(3, 5, bidirectional=True), engine.Linear(10, 2))
    >>> engine.export_onnx(model, "model.onnx")  # doctest: +SKIP
    >>> engine.import_onnx("model.onnx")  # doctest: +SKIP
    Sequential(...)
    """
    layers, target = layers_of(model), file_name("path", path)
    with_lengths = switch("lengths", lengths)
    refuse_unknown("model", "layers with a form for ONNX here", _unknown(layers))
    if with_lengths:
        _refuse_pools(layers)
    size = sum(int(np.prod(param.shape)) * model.dtype.itemsize for param in model.params.values())
    if size > MOST_BYTES - 1_000_000:
        raise bad_input("model", "weights of less than 2 GiB, as one ONNX file holds", f"{size:,} bytes")
    onnx = optional("onnx", "onnx")
    write_atomic(target, _written(onnx, model, layers, with_lengths).SerializeToString(), "path")


def _unknown(layers: list[tuple[str, Any]]) -> list[str]:
    """The layers that ONNX does not have, by name."""
    names, directions = [], 0
    for path, layer in layers:
        kind, place = type(layer).__name__, f" (layer {path})" if path else ""
        if kind in RECURRENT:
            names += without_a_place(path, layer, tuple(OPERATORS))
        elif kind not in _WRITERS:
            names.append(f"{kind}{place}")
        elif kind == "Pool" and layer.kind == "last" and layer.directions not in (1, directions):
            names.append(f"Pool({layer.kind!r}, directions={layer.directions}){place}")
        directions = _directions(layer, directions)
    return names


def _directions(layer: Any, below: int) -> int:
    """The directions of the recurrent layer whose states flow out of `layer`; 0 for none."""
    kind = type(layer).__name__
    return layer.num_directions if kind in RECURRENT else below if kind == "Dropout" else 0


def _refuse_pools(layers: list[tuple[str, Any]]) -> None:
    """Raise for a last step of rows with lengths that is not the last state of a recurrent layer."""
    directions = 0
    for path, layer in layers:
        if type(layer).__name__ == "Pool" and layer.kind == "last" and layer.directions != directions:
            hint = "put it behind the recurrent layer, or export without lengths and give rows of one length"
            raise bad_input("lengths", f"False with the Pool of layer {path or 'model'}", "True", hint)
        directions = _directions(layer, directions)


def _written(onnx: Any, model: Layer, layers: list[tuple[str, Any]], lengths: bool) -> Any:
    """The file's content."""
    helper, types = onnx.helper, onnx.TensorProto
    number = types.FLOAT if model.dtype == np.float32 else types.DOUBLE
    batch_first = any(layer.batch_first for _, layer in layers)
    axes, names = ("BT", ["batch", "time"]) if batch_first else ("TB", ["time", "batch"])
    graph, flow = Graph(onnx, "lengths" if lengths else None), Flow("x", axes)
    for path, layer in layers:
        kind = type(layer).__name__
        scope = f"{path}/" if path else ""
        write = _recurrent if kind in RECURRENT else _WRITERS[kind]
        flow = write(graph, flow, scope, layer)
    flow = graph.without_pads(flow, "y_without_pads", model.dtype)
    flow = graph.laid_out(flow, axes, "y_in_layout")
    graph.add("Identity", [flow.name], "y")
    graph.keep_needed("y")
    ids = type(layers[0][1]).__name__ == "Embedding"
    width = None if ids else _width(layers)
    single = ids and layers[0][1].features == 1
    last = [layers[0][1].features] if ids else [width]
    x = helper.make_tensor_value_info("x", types.INT64 if ids else number, names if single else [*names, *last])
    inputs = [x, helper.make_tensor_value_info("lengths", types.INT32, ["batch"])] if lengths else [x]
    y_axes = names if len(flow.axes) == 2 else ["batch"]
    y = helper.make_tensor_value_info("y", number, [*y_axes, model.width_after(width)])
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_graph(graph.nodes, "model", inputs, [y], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="bptt-engine")


def _width(layers: list[tuple[str, Any]]) -> int | None:
    """The features of x: those of the first layer that knows."""
    for _, layer in layers:
        for name in ("input_size", "in_features", "num_features"):
            if getattr(layer, name, None) is not None:
                return int(getattr(layer, name))
    return None


# -- one function a layer ----------------------------------------------------------------------------------------------


def _recurrent(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    operator, _ = OPERATORS[layer.cell.name]
    flow = graph.laid_out(flow, "TB", f"{scope}time_first")
    own: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if operator == "GRU":
        own["linear_before_reset"] = int(layer.cell.name == "gru")
    if layer.cell.name == "rnn_relu":
        own["activations"] = ["Relu"] * layer.num_directions
    if layer.bidirectional:
        own["direction"] = "bidirectional"
    name = last = flow.name
    for level, ends in enumerate(ends_of(layer)):
        node = f"{scope}{operator}_l{level}"
        if level and layer.dropout:
            name = graph.drop(name, f"{scope}Dropout_l{level}", layer.dropout)
        weights = to_onnx(layer, ends)._asdict()
        w, r, b, p = (
            "" if array is None else graph.constant(f"{node}.{letter}", array) for letter, array in weights.items()
        )
        inputs = [name, w, r, b, graph.lengths or "", "", "", p]
        while not inputs[-1]:
            inputs.pop()
        y, last = graph.add(operator, inputs, node, (".Y", ".Y_h"), **own), f"{node}.Y_h"
        if layer.bidirectional:
            y = graph.add("Transpose", [y], f"{node}.TBNH", perm=[0, 2, 1, 3])
            name = graph.add("Reshape", [y, graph.numbers(0, 0, -1)], f"{node}.y")
        else:
            name = graph.add("Squeeze", [y, graph.numbers(1)], f"{node}.y")
    return Flow(name, "TB", last, layer.num_directions, clean=True)


def _dropout(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    if not layer.p:
        return flow
    node = f"{scope}Dropout"
    return replace(flow, name=graph.drop(flow.name, node, layer.p), drops=(*flow.drops, (f"{node}_of_last", layer.p)))


def _linear(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    host = layer.backend.to_host
    weight = graph.constant(f"{scope}weight", host(layer.params["weight"]).T)
    name = graph.add("MatMul", [flow.name, weight], f"{scope}MatMul")
    if layer.bias:
        name = graph.add("Add", [name, graph.constant(f"{scope}bias", host(layer.params["bias"]))], f"{scope}Add")
    return Flow(name, flow.axes)


def _activation(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    operator = layer.kind.capitalize()
    own: dict[str, Any] = {"axis": -1} if operator == "Softmax" else {}
    return Flow(graph.add(operator, [flow.name], f"{scope}{operator}", **own), flow.axes)


def _embedding(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    table = graph.constant(f"{scope}weight", layer.backend.to_host(layer.params["weight"]))
    name = graph.add("Gather", [table, flow.name], f"{scope}Gather", axis=0)
    if layer.features > 1:  # the vectors of a step side by side
        name = graph.add("Reshape", [name, graph.numbers(0, 0, -1)], f"{scope}side_by_side")
    return Flow(name, flow.axes)


def _layer_norm(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    host = layer.backend.to_host
    own = [graph.constant(f"{scope}{name}", host(layer.params[name])) for name in ("weight", "bias")]
    node = f"{scope}LayerNormalization"
    name = graph.add("LayerNormalization", [flow.name, *own], node, axis=-1, epsilon=layer.eps)
    return Flow(name, flow.axes)


def _batch_norm(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    host, values = layer.backend.to_host, {**layer.params, **layer.buffers}
    names = ("weight", "bias", "running_mean", "running_var")
    own = [graph.constant(f"{scope}{name}", host(values[name])) for name in names]
    momentum = 0.9 if layer.momentum is None else 1.0 - layer.momentum
    name, timed = flow.name, len(flow.axes) == 2
    if timed:
        name = graph.add("Transpose", [name], f"{scope}features_second", perm=[0, 2, 1])
    node = f"{scope}BatchNormalization"
    name = graph.add("BatchNormalization", [name, *own], node, epsilon=layer.eps, momentum=momentum)
    if timed:
        name = graph.add("Transpose", [name], f"{scope}features_last", perm=[0, 2, 1])
    return Flow(name, flow.axes)


def _pool(graph: Graph, flow: Flow, scope: str, layer: Any) -> Flow:
    if layer.kind != "last":
        return Flow(_POOLS[layer.kind](graph, flow, scope, layer), "B")
    if flow.last is None or flow.directions != layer.directions:
        place = graph.constant("last", np.int64(-1))
        return Flow(graph.add("Gather", [flow.name, place], f"{scope}last", axis=flow.axes.index("T")), "B")
    if layer.directions == 1:
        name = graph.add("Squeeze", [flow.last, graph.numbers(0)], f"{scope}last")
    else:
        name = graph.add("Transpose", [flow.last], f"{scope}BNH", perm=[1, 0, 2])
        name = graph.add("Reshape", [name, graph.numbers(0, -1)], f"{scope}last")
    for node, p in flow.drops:
        name = graph.drop(name, node, p)
    return Flow(name, "B")


def _mean(graph: Graph, flow: Flow, scope: str, layer: Any) -> str:
    time = flow.axes.index("T")
    if graph.lengths is None:
        return graph.add("ReduceMean", [flow.name], f"{scope}ReduceMean", axes=[time], keepdims=0)
    total = _sum(graph, graph.without_pads(flow, f"{scope}without_pads", layer.dtype), scope)
    count = graph.add("Max", [graph.lengths, graph.constant("least", np.int32(1))], f"{scope}count")
    number = graph.onnx.helper.np_dtype_to_tensor_dtype(layer.dtype)
    count = graph.add("Cast", [count], f"{scope}count_as_number", to=number)
    count = graph.add("Unsqueeze", [count, graph.numbers(1)], f"{scope}count_2d")
    return graph.add("Div", [total, count], f"{scope}mean")


def _max(graph: Graph, flow: Flow, scope: str, layer: Any) -> str:
    name, time = flow.name, flow.axes.index("T")
    if graph.lengths is not None:
        name = _low(graph, graph.valid(flow, f"{scope}steps"), name, scope, layer)
    name = graph.add("ReduceMax", [name], f"{scope}ReduceMax", axes=[time], keepdims=0)
    if graph.lengths is None:
        return name
    some = graph.add("Less", [graph.constant("none", np.int32(0)), graph.lengths], f"{scope}some")
    some = graph.add("Unsqueeze", [some, graph.numbers(1)], f"{scope}some_2d")  # of a row without steps it is -inf
    return graph.add("Where", [some, name, graph.constant("pad", np.zeros((), layer.dtype))], f"{scope}max")


def _attention(graph: Graph, flow: Flow, scope: str, layer: Any) -> str:
    vector = graph.constant(f"{scope}weight", layer.backend.to_host(layer.params["weight"])[:, None])
    name = graph.add("MatMul", [flow.name, vector], f"{scope}scores")
    time, valid = flow.axes.index("T"), None
    if graph.lengths is not None:
        valid = graph.valid(flow, f"{scope}steps")
        name = _low(graph, valid, name, scope, layer)
    name = graph.add("Softmax", [name], f"{scope}Softmax", axis=time)
    if valid is not None:  # of a row without steps it is NaN
        name = graph.add("Where", [valid, name, graph.constant("pad", np.zeros((), layer.dtype))], f"{scope}shares")
    flow = graph.without_pads(flow, f"{scope}without_pads", layer.dtype)
    return _sum(graph, replace(flow, name=graph.add("Mul", [name, flow.name], f"{scope}weighted")), scope)


def _low(graph: Graph, valid: str, name: str, scope: str, layer: Any) -> str:
    """The tensor with -inf past each row's end."""
    low = graph.constant("low", np.asarray(-np.inf, layer.dtype))
    return graph.add("Where", [valid, name, low], f"{scope}low")


def _sum(graph: Graph, flow: Flow, scope: str) -> str:
    """The sum over the steps."""
    return graph.add("ReduceSum", [flow.name, graph.numbers(flow.axes.index("T"))], f"{scope}ReduceSum", keepdims=0)


_POOLS: dict[str, Callable[[Graph, Flow, str, Any], str]] = {"mean": _mean, "max": _max, "attention": _attention}
_WRITERS: dict[str, Callable[[Graph, Flow, str, Any], Flow]] = {
    "Linear": _linear,
    "Activation": _activation,
    "Embedding": _embedding,
    "Dropout": _dropout,
    "LayerNorm": _layer_norm,
    "BatchNorm": _batch_norm,
    "Pool": _pool,
}
