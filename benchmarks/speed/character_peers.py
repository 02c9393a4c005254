"""A character model one step at a time: embedding, LSTM and linear layer, in the libraries of `step_peers`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.speed import step_peers as peers
from engine.measuring.steps import Library, NotApplicableError, Step, engine_layer
from engine.measuring.timed_step import TimedStep

CHARACTERS = 96


def _text_model(case: TimedStep) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """The table, weight and bias of the linear layer, and the ids (B,) of the steps."""
    if case.cell != "LSTM":
        raise NotApplicableError("the character model is an LSTM")
    rng, bound = np.random.default_rng(3), np.float32(case.H**-0.5)
    table = rng.standard_normal((CHARACTERS, case.D), dtype=np.float32)
    weight = (2 * rng.random((CHARACTERS, case.H), dtype=np.float32) - 1) * bound
    ids = [rng.integers(0, CHARACTERS, case.B) for _ in range(case.T)]
    return table, weight, weight[:, 0].copy(), ids


def bf16_characters(case: TimedStep, threads: int) -> Step:
    """The engine's stepper with the LSTM in bf16."""
    return engine_characters(case, threads, peers.bf16_layer)


def engine_characters(case: TimedStep, threads: int, layer_of: Callable[[TimedStep], Any] = engine_layer) -> Step:
    """The engine's stepper of a Sequential."""
    layers, (table, weight, bias, ids) = import_module("engine.layers"), _text_model(case)
    model = layers.Sequential(layers.Embedding(CHARACTERS, case.D), layer_of(case), layers.Linear(case.H, CHARACTERS))
    for name, value in {"0.weight": table, "2.weight": weight, "2.bias": bias}.items():
        model.params[name] = value
    return peers.stream(case, ids, lambda: model.stepper(case.B))


def torch_characters(case: TimedStep, threads: int) -> Step:
    """PyTorch's embedding, cell and linear layer."""
    torch, (table, weight, bias, ids) = import_module("torch"), _text_model(case)
    torch.set_num_threads(threads)
    embedding, linear = torch.nn.Embedding(CHARACTERS, case.D), torch.nn.Linear(case.H, CHARACTERS)
    cell = peers.torch_cell(case)
    embedding.load_state_dict({"weight": torch.from_numpy(table)})
    linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})

    def begin() -> Callable[[Any], Any]:
        step = peers.carried(torch, case, cell)
        return lambda x: linear(step(embedding(x)))

    return peers.in_inference_mode(torch, peers.stream(case, [torch.from_numpy(x) for x in ids], begin))


def onnxruntime_characters(case: TimedStep, threads: int) -> Step:
    """One session for all three."""
    table, weight, bias, ids = _text_model(case)
    session = peers.onnxruntime_session(peers.onnx_step(case, table, (weight, bias)), threads)
    return peers.stream(case, [x[None] for x in ids], lambda: peers.fed(case, session))


LIBRARIES = {
    "engine": Library("stepper", "engine.layers", engine_characters, "bptt-engine"),
    "bf16": Library("stepper in bf16", "engine.layers", bf16_characters, "bptt-engine"),
    "torch": Library("PyTorch's cell", "torch", torch_characters, "torch"),
    "onnxruntime": Library("ONNX Runtime", "onnxruntime", onnxruntime_characters, "onnxruntime"),
}
