"""The libraries that the engine is timed beside, each with its step of a `TimedStep`.

The engine and PyTorch come from `engine.measuring.steps`; here are ``torch.compile``, JAX and ONNX Runtime.  Each
gets the case's own input, cotangent and parameters, and is written for speed, as its users would write it: in JAX the
product with the input stands before the ``lax.scan``, and everything is under one ``jit``; ONNX Runtime runs its own
LSTM, GRU and RNN operators with all graph optimisations.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from engine.measuring import steps
from engine.measuring.steps import Library, NotApplicableError, Step
from engine.measuring.timed_step import TimedStep

# -- torch.compile -----------------------------------------------------------------------------------------------------


def compiled_step(case: TimedStep, threads: int) -> Step:
    """``torch.compile`` on the layer: by default it stops at PyTorch's recurrent layers and runs them eagerly."""
    torch = import_module("torch")
    return steps.torch_step(case, threads, torch.compile)


def unrolled_step(case: TimedStep, threads: int) -> Step:
    """``torch.compile`` told to go into the layer.

    It then writes out all T time steps, and compiles for minutes where T is more than a few.
    """
    torch = import_module("torch")
    import_module("torch._dynamo").config.allow_rnn = True
    return steps.torch_step(case, threads, torch.compile)


# -- JAX ---------------------------------------------------------------------------------------------------------------


def jax_environment(threads: int) -> dict[str, str]:
    """XLA's own pool beside the affinity that holds the whole process."""
    eigen = "true" if threads > 1 else "false"
    flags = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def jax_step(case: TimedStep, threads: int) -> Step:
    """One jitted function: the layer, and in training its vector-Jacobian product."""
    if case.mixed:
        raise NotApplicableError("JAX has no packed sequences: rows of one length only")
    jax = import_module("jax")
    x = jax.device_put(case.x())
    params = {name: jax.device_put(value) for name, value in case.parameters().items()}

    def forward(params: Any, x: Any) -> Any:
        for layer in range(case.layers):
            outputs = []
            for direction in range(case.directions):
                end = f"_l{layer}" + "_reverse" * direction
                outputs.append(_jax_direction(jax, case, params, end, x, bool(direction)))
            x = outputs[0] if len(outputs) == 1 else jax.numpy.concatenate(outputs, axis=2)
        return x

    if not case.training:
        predict = jax.jit(forward)
        return Step(lambda: predict(params, x).block_until_ready(), lambda: {"y": np.asarray(predict(params, x))})
    dy = jax.device_put(case.dy())

    @jax.jit
    def pull(params: Any, x: Any, dy: Any) -> Any:
        y, back = jax.vjp(forward, params, x)
        return y, *back(dy)

    def values() -> dict[str, Any]:
        y, dparams, dx = pull(params, x, dy)
        return {"y": np.asarray(y), "dx": np.asarray(dx), **{name: np.asarray(v) for name, v in dparams.items()}}

    return Step(lambda: jax.block_until_ready(pull(params, x, dy)), values)


def _jax_direction(jax: Any, case: TimedStep, params: Any, end: str, x: Any, reverse: bool) -> Any:
    """One layer in one direction."""
    jnp, sigmoid, tanh = jax.numpy, jax.nn.sigmoid, jax.numpy.tanh
    weight_ih, weight_hh, bias_ih, bias_hh = (
        params[name + end] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    recurrent = weight_hh.T
    # The GRU's hidden bias stands within the reset gate's product; elsewhere both biases go with the input.
    pre = x @ weight_ih.T + (bias_ih if case.cell == "GRU" else bias_ih + bias_hh)
    h0 = jnp.zeros((case.B, case.H), dtype=x.dtype)

    def rnn(h: Any, a: Any) -> Any:
        h = tanh(a + h @ recurrent)
        return h, h

    def gru(h: Any, a: Any) -> Any:
        r, z, n = jnp.split(a, 3, axis=1)
        hidden_r, hidden_z, hidden_n = jnp.split(h @ recurrent + bias_hh, 3, axis=1)
        z = sigmoid(z + hidden_z)
        n = tanh(n + sigmoid(r + hidden_r) * hidden_n)
        h = (1 - z) * n + z * h
        return h, h

    def lstm(state: Any, a: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(a + h @ recurrent, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return (h, c), h

    cell, state = {"RNN": (rnn, h0), "GRU": (gru, h0), "LSTM": (lstm, (h0, h0))}[case.cell]
    return jax.lax.scan(cell, state, pre, reverse=reverse)[1]


# -- ONNX Runtime ------------------------------------------------------------------------------------------------------

#: PyTorch's gate blocks in ONNX's order: i, o, f, c of i, f, g, o; and z, r, h of r, z, n.
ONNX_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
#: The format and the operators that both ONNX and ONNX Runtime have had for years.
ONNX_IR, ONNX_OPSET = 8, 17


def onnx_model(case: TimedStep) -> bytes:
    """The layer as an ONNX model, from `x` and, for rows of different length, `lengths`, to `y`."""
    onnx = import_module("onnx")
    make, float32, int32 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    parameters, order = case.parameters(), ONNX_ORDER[case.cell]
    ends = ("", "_reverse")[: case.directions]
    nodes, constants, source = [], [], "x"

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def blocks(name: str) -> np.ndarray:
        return np.concatenate([np.split(parameters[name], len(order))[place] for place in order])

    for layer in range(case.layers):
        weights = [
            np.stack([np.concatenate([blocks(f"{name}_l{layer}{end}") for name in names]) for end in ends])
            for names in (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh"))
        ]
        inputs = [source, *(constant(f"{letter}{layer}", value) for letter, value in zip("WRB", weights, strict=True))]
        options: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "GRU" else {}
        options["direction"] = "bidirectional" if case.bidirectional else "forward"
        inputs += ["lengths"] * case.mixed
        nodes.append(make.make_node(case.cell, inputs, [f"Y{layer}"], hidden_size=case.H, **options))
        # (T, N, B, H) becomes (T, B, N*H)
        nodes.append(make.make_node("Transpose", [f"Y{layer}"], [f"Z{layer}"], perm=(0, 2, 1, 3)))
        shape = constant(f"shape{layer}", np.array([case.T, case.B, case.directions * case.H]))
        source = "y" if layer == case.layers - 1 else f"y{layer}"
        nodes.append(make.make_node("Reshape", [f"Z{layer}", shape], [source]))
    entries = [make.make_tensor_value_info("x", float32, (case.T, case.B, case.D))]
    entries += [make.make_tensor_value_info("lengths", int32, (case.B,))] * case.mixed
    exits = [make.make_tensor_value_info("y", float32, (case.T, case.B, case.directions * case.H))]
    graph = make.make_graph(nodes, "layer", entries, exits, constants)
    model = make.make_model(graph, ir_version=ONNX_IR, opset_imports=[make.make_opsetid("", ONNX_OPSET)])
    return bytes(model.SerializeToString())


def onnxruntime_step(case: TimedStep, threads: int) -> Step:
    """A run of an inference session."""
    if case.training:
        raise NotApplicableError("ONNX Runtime: inference only")
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(onnx_model(case), options, providers=["CPUExecutionProvider"])
    feeds = {"x": case.x()}
    lengths = case.lengths()
    if lengths is not None:
        feeds["lengths"] = lengths.astype(np.int32)
    return Step(lambda: session.run(["y"], feeds), lambda: {"y": session.run(["y"], feeds)[0]})


LIBRARIES = {
    **steps.LIBRARIES,
    "torch-compile": Library("torch.compile", "torch", compiled_step, "torch"),
    "torch-unrolled": Library("torch.compile, unrolled", "torch", unrolled_step, "torch"),
    "jax": Library("JAX", "jax", jax_step, "jax", jax_environment),
    "onnxruntime": Library("ONNX Runtime", "onnxruntime", onnxruntime_step, "onnxruntime"),
}
PEERS = tuple(name for name in LIBRARIES if name not in ("engine", "sgemm"))
