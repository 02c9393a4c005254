"""The model that a run's options describe; its memory is counted before it is built."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.checks import machine_memory
from engine.errors import bad_input
from engine.layers import Layer, Sequential, from_config, sketch
from engine.training.config import TrainConfig

#: Cells with a layer class of their own; all others are a `Recurrent`.
_CLASSES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
#: Arrays of a parameter's size that each optimiser keeps.
_BUFFERS = {"adam": 2, "adamw": 2, "rmsprop": 1, "adagrad": 1, "sgd": 0}


def describe_model(config: TrainConfig, inputs: int, outputs: int) -> dict[str, Any]:
    """The model in the form of `Layer.config`.

    Parameters
    ----------
    inputs, outputs : how many numbers go in and out at each time step; for a text both are its vocabulary's size.
    """
    parts: list[tuple[str, dict[str, Any]]] = []
    if config.kind().reads_ids:
        parts.append(("Embedding", {"num_embeddings": inputs, "embedding_dim": config.embed}))
        inputs = config.embed
    parts.append(recurrent_part(config, inputs))
    if config.dropout:
        parts.append(("Dropout", {"p": config.dropout}))
    parts.append(("Linear", {"in_features": config.hidden, "out_features": outputs}))
    return sequential(parts)


def recurrent_part(config: TrainConfig, inputs: int, **more: Any) -> tuple[str, dict[str, Any]]:
    """Type and arguments of the recurrent layers; `more` are further arguments, such as ``bidirectional``."""
    # With one layer there is no "between layers"; the dropout before the output layer is what is left.
    between = config.dropout if config.layers > 1 else 0.0
    sizes = {"input_size": inputs, "hidden_size": config.hidden, "num_layers": config.layers}
    rounded = {} if config.precision == "float32" else {"precision": config.precision}  # as older runs describe it
    return recurrent_of(config.cell, **sizes, dropout=between, **rounded, **more)


def recurrent_of(cell: str, **args: Any) -> tuple[str, dict[str, Any]]:
    """Type and arguments of recurrent layers with a cell of that name."""
    kind: dict[str, Any] = {} if cell in _CLASSES else {"cell": cell}
    return _CLASSES.get(cell, "Recurrent"), {**kind, **args}


def sequential(parts: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """A `Sequential` of these layers, types and arguments, in the form of `Layer.config`."""
    return {"type": "Sequential", "args": {"layers": [{"type": kind, "args": args} for kind, args in parts]}}


def build_model(config: TrainConfig, backend: Backend, inputs: int, outputs: int, positions: int = 1) -> Sequential:
    """The model with its first weights.

    Parameters
    ----------
    inputs, outputs : as for `describe_model`.
    positions : time steps times rows of a batch.

    Raises
    ------
    InputError
        if training it would need more memory than this machine has; nothing has been built then.
    """
    model = build_described(config, backend, describe_model(config, inputs, outputs), outputs, positions)
    assert isinstance(model, Sequential)
    return model


def build_described(
    config: TrainConfig, backend: Backend, description: Mapping[str, Any], outputs: int, positions: int = 1
) -> Layer:
    """The model of a `description` in the form of `Layer.config`, with its first weights; see `build_model`."""
    shapes = parameter_shapes(description)
    _require_memory(config, shapes, outputs, positions)
    return from_config(description, backend=backend, dtype=config.dtype, seed=config.seed)


def parameter_shapes(description: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters by name; makes none of them."""
    return {prefix + name: shape for prefix, layer in _sketched(description) for name, shape in layer._shapes().items()}


def buffers(description: Mapping[str, Any], dtype: np.dtype) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Dtype and shape of all buffers by name, in a model of this dtype; makes none of them."""
    return {
        prefix + name: (buffer.dtype_in(dtype), buffer.shape)
        for prefix, layer in _sketched(description)
        for name, buffer in layer._buffers_by_name().items()
    }


def _sketched(description: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer without its arrays, with what stands in front of the names of its parameters."""
    if description["type"] in ("Sequential", "Heads"):
        layers = description["args"]["layers"]
        names = range(len(layers)) if description["type"] == "Sequential" else description["args"]["names"]
        for name, part in zip(names, layers, strict=True):
            yield from _sketched(part, f"{prefix}{name}.")
        return
    (layer,) = sketch({"type": "Sequential", "args": {"layers": [dict(description)]}})
    yield prefix, layer


def _require_memory(config: TrainConfig, shapes: Mapping[str, tuple[int, ...]], outputs: int, positions: int) -> None:
    """Raise if the arrays that a step certainly holds at one time need more memory than the machine has."""
    parameters = sum(map(math.prod, shapes.values()))
    kept = 2 + _BUFFERS[config.optimizer]  # weights, gradients and what the optimiser keeps
    activations = positions * (2 * config.layers * config.hidden + 2 * outputs)  # states and one gate; logits twice
    need = (kept * parameters + activations) * np.dtype(config.dtype).itemsize
    have = machine_memory()
    if need > have:
        got = f"{parameters:,} parameters, which need at least {need / 1e9:,.0f} GB to train"
        hint = "lower --hidden, --layers, --embed, --batch or the steps that are read at a time"
        raise bad_input("hidden", f"enough memory for the model (this machine has {have / 1e9:,.1f} GB)", got, hint)
