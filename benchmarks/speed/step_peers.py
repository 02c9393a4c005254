"""One time step a call, as a stream has it: the engine's stepper, PyTorch's cells and ONNX Runtime.

A run is a stream of T steps of a `TimedStep`, each of which waits for the one before, as inputs arrive one by one.  The
state is carried from step to step, and every library keeps it in the form that it takes itself.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from engine.measuring.peers import ONNX_IR, ONNX_OPSET, ONNX_ORDER
from engine.measuring.steps import Library, Step, engine_layer
from engine.measuring.timed_step import TimedStep


def stream(case: TimedStep, inputs: list[Any], begin: Callable[[], Callable[[Any], Any]]) -> Step:
    """A run over the inputs; `begin` starts a new stream and returns what takes a step and gives an array."""
    step = begin()

    def run() -> None:
        for x in inputs:
            step(x)

    def values() -> dict[str, Any]:
        fresh = begin()
        outputs = []
        for x in inputs:
            y = fresh(x)
            outputs.append((y.numpy() if hasattr(y, "numpy") else y).copy())
        return {"y": np.stack(outputs)}

    return Step(run, values)


def rows_of(case: TimedStep) -> list[np.ndarray]:
    """The inputs (B, D) of the steps, each an array of its own."""
    return [x.copy() for x in case.x()]


def engine_stream(case: TimedStep, threads: int) -> Step:
    """The engine's stepper."""
    layer = engine_layer(case)
    return stream(case, rows_of(case), lambda: layer.stepper(case.B))


def bf16_layer(case: TimedStep) -> Any:
    """The engine's layer whose products are rounded to bfloat16."""
    layer = getattr(import_module("engine.layers"), case.cell)(case.D, case.H, precision="bf16")
    layer.load_state_dict(case.parameters())
    return layer


def bf16_stream(case: TimedStep, threads: int) -> Step:
    """The engine's stepper in bf16: half of the bytes."""
    layer = bf16_layer(case)
    return stream(case, rows_of(case), lambda: layer.stepper(case.B))


def torch_cell(case: TimedStep) -> Any:
    """PyTorch's cell with the case's parameters."""
    torch = import_module("torch")
    cell = getattr(torch.nn, f"{case.cell}Cell")(case.D, case.H)
    cell.load_state_dict({name[:-3]: torch.from_numpy(value) for name, value in case.parameters().items()})
    return cell


def carried(torch: Any, case: TimedStep, cell: Any) -> Callable[[Any], Any]:
    """A step of a cell that keeps its state."""
    h = torch.zeros(case.B, case.H)
    state: Any = (h, torch.zeros_like(h)) if case.cell == "LSTM" else h

    def step(x: Any) -> Any:
        nonlocal state
        state = cell(x, state)
        return state[0] if case.cell == "LSTM" else state

    return step


def in_inference_mode(torch: Any, step: Step) -> Step:
    """The step without what autograd needs; entered once a run, not once a step."""

    def run() -> None:
        with torch.inference_mode():
            step.run()

    def values() -> dict[str, Any]:
        with torch.inference_mode():
            return step.values()

    return Step(run, values)


def torch_stream(case: TimedStep, threads: int) -> Step:
    """``LSTMCell``, ``GRUCell`` or ``RNNCell``."""
    torch = import_module("torch")
    torch.set_num_threads(threads)
    cell, inputs = torch_cell(case), [torch.from_numpy(x) for x in rows_of(case)]
    return in_inference_mode(torch, stream(case, inputs, lambda: carried(torch, case, cell)))


def onnx_step(
    case: TimedStep, table: np.ndarray | None = None, head: tuple[np.ndarray, np.ndarray] | None = None
) -> bytes:
    """An ONNX model of one step: from x and the states to y and the states.

    Parameters
    ----------
    table : of an embedding before the layer, whose ids x are then; head : weight and bias of a linear layer behind it.
    """
    onnx = import_module("onnx")
    make, float32, parameters = onnx.helper, onnx.TensorProto.FLOAT, case.parameters()
    order, constants, nodes = ONNX_ORDER[case.cell], [], []
    states = ["h", "c"] if case.cell == "LSTM" else ["h"]

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def blocks(name: str) -> np.ndarray:
        return np.concatenate([np.split(parameters[name], len(order))[place] for place in order])

    if table is not None:
        nodes.append(make.make_node("Gather", [constant("table", table), "x"], ["e"]))
    weights = [
        constant(letter, np.concatenate([blocks(name) for name in names])[None])
        for letter, names in zip("WRb", (["weight_ih_l0"], ["weight_hh_l0"], ["bias_ih_l0", "bias_hh_l0"]), strict=True)
    ]
    options: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "GRU" else {}
    inputs = ["x" if table is None else "e", *weights, "", *states]
    outputs = ["", *(f"{state}_next" for state in states)]
    nodes.append(make.make_node(case.cell, inputs, outputs, hidden_size=case.H, **options))
    shape, width = (1, case.B, case.H), case.H
    nodes.append(make.make_node("Squeeze", ["h_next", constant("first", np.array([0]))], ["h_row"]))
    if head is None:
        nodes.append(make.make_node("Identity", ["h_row"], ["y"]))
    else:
        width = len(head[1])
        nodes.append(make.make_node("Gemm", ["h_row", constant("V", head[0].T), constant("v", head[1])], ["y"]))
    kind, given = (float32, (1, case.B, case.D)) if table is None else (onnx.TensorProto.INT64, (1, case.B))
    entries = [make.make_tensor_value_info("x", kind, given)]
    entries += [make.make_tensor_value_info(state, float32, shape) for state in states]
    exits = [make.make_tensor_value_info("y", float32, (case.B, width))]
    exits += [make.make_tensor_value_info(f"{state}_next", float32, shape) for state in states]
    graph = make.make_graph(nodes, "step", entries, exits, constants)
    model = make.make_model(graph, ir_version=ONNX_IR, opset_imports=[make.make_opsetid("", ONNX_OPSET)])
    return bytes(model.SerializeToString())


def onnxruntime_session(model: bytes, threads: int) -> Any:
    """A session on so many threads."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def fed(case: TimedStep, session: Any) -> Callable[[Any], Any]:
    """A step of a session that keeps its state."""
    states = ["h", "c"] if case.cell == "LSTM" else ["h"]
    feeds = {state: np.zeros((1, case.B, case.H), np.float32) for state in states}
    names = ["y", *(f"{state}_next" for state in states)]

    def step(x: Any) -> Any:
        feeds["x"] = x
        y, *after = session.run(names, feeds)
        feeds.update(zip(states, after, strict=True))
        return y

    return step


def onnxruntime_stream(case: TimedStep, threads: int) -> Step:
    """Its own operator for one step, the states going in and coming out."""
    session = onnxruntime_session(onnx_step(case), threads)
    return stream(case, [x[None] for x in rows_of(case)], lambda: fed(case, session))


LIBRARIES = {
    "engine": Library("stepper", "engine.layers", engine_stream, "bptt-engine"),
    "bf16": Library("stepper in bf16", "engine.layers", bf16_stream, "bptt-engine"),
    "torch": Library("PyTorch's cell", "torch", torch_stream, "torch"),
    "onnxruntime": Library("ONNX Runtime", "onnxruntime", onnxruntime_stream, "onnxruntime"),
}
