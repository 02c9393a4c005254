"""Layers of Keras as the bytes of a file: the archive ``.keras`` of Keras 3, and ``.h5``, which Keras 2 reads too."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from engine.exchange.keras_file import as_text, snake
from engine.exchange.parts import Host

#: What a file says of the Keras that wrote it; this form is that of the first Keras 3.
_VERSION = "3.0.0"
#: The names of a layer's arrays in an ``.h5`` file, in Keras's order.
_NAMES = {
    "Dense": ("kernel", "bias"),
    "Embedding": ("embeddings",),
    "LayerNormalization": ("gamma", "beta"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
_RECURRENT_NAMES = ("kernel", "recurrent_kernel", "bias")
_RECURRENT = ("SimpleRNN", "GRU", "LSTM")


class Written(NamedTuple):
    """A layer of Keras.

    Attributes
    ----------
    kind : the name of its class.
    settings : its arguments.
    arrays : its arrays in Keras's order: one group, or that of the forward layer within and that of the backward one.
    name : of the layer.
    """

    kind: str
    settings: dict[str, Any]
    arrays: tuple[list[Host], ...] = ()
    name: str | None = None


def archive(h5py: Any, layers: list[Written], shape: list[int | None], dtype: str) -> bytes:
    """The bytes of a ``.keras`` file; the same model gives the same bytes.

    Parameters
    ----------
    h5py : the module.
    shape : of x, batch-first; None where it is open.
    dtype : of the weights.
    """
    weights, count = io.BytesIO(), Counter[str]()
    with h5py.File(weights, "w") as file:
        file.create_group("vars")
        for one in layers:
            key = snake(one.kind)
            group = file.create_group(f"layers/{key}_{count[key]}" if count[key] else f"layers/{key}")
            count[key] += 1
            group.create_group("vars").attrs["name"] = one.name
            for place, arrays in zip(_places(one), one.arrays, strict=False):
                for number, array in enumerate(arrays):
                    group[f"{place}/{number}"] = array
    content = {
        "metadata.json": as_text({"keras_version": _VERSION, "date_saved": ""}).encode(),
        "config.json": as_text(_config(layers, shape, dtype)).encode(),
        "model.weights.h5": weights.getvalue(),
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as packed:
        for name, data in content.items():
            packed.writestr(zipfile.ZipInfo(name), data)  # without the time of day
    return whole.getvalue()


def single_file(h5py: Any, layers: list[Written], shape: list[int | None], dtype: str) -> bytes:
    """The bytes of an ``.h5`` file; see `archive`."""
    whole = io.BytesIO()
    with h5py.File(whole, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = _VERSION, "numpy"
        file.attrs["model_config"] = as_text(_config(layers, shape, dtype))
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [str(one.name) for one in layers]
        for one in layers:
            group = top.create_group(str(one.name))
            names = []
            for place, arrays in zip(("forward", "backward"), one.arrays, strict=False):
                within = f"{one.name}/{place}" if len(one.arrays) > 1 else f"{one.name}"
                for name, array in zip(_NAMES.get(one.kind, _RECURRENT_NAMES), arrays, strict=False):
                    names.append(f"{within}/{name}")
                    group[names[-1]] = array
            group.attrs["weight_names"] = names if names else np.zeros(0)
    return whole.getvalue()


def serialised(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The description of a layer."""
    return {"module": "keras.layers", "class_name": kind, "config": settings, "registered_name": None}


def _config(layers: list[Written], shape: list[int | None], dtype: str) -> dict[str, Any]:
    """The description of the model."""
    first = {"batch_shape": shape, "dtype": "int64" if len(shape) == 2 else dtype, "name": "x"}
    parts = [serialised("InputLayer", first)]
    parts += [serialised(one.kind, _with_dtype({**one.settings, "name": one.name}, dtype)) for one in layers]
    inner = {"name": "model", "trainable": True, "dtype": dtype, "layers": parts, "build_input_shape": shape}
    return {"module": "keras", "class_name": "Sequential", "config": inner, "registered_name": None}


def _with_dtype(settings: dict[str, Any], dtype: str) -> dict[str, Any]:
    if "layer" in settings:
        inner = settings["layer"]
        settings = {**settings, "layer": {**inner, "config": _with_dtype(inner["config"], dtype)}}
    return {**settings, "dtype": dtype}


def _places(one: Written) -> list[str]:
    """Where the arrays of each group lie within the layer's own group."""
    if one.kind == "Bidirectional":
        return ["forward_layer/cell/vars", "backward_layer/cell/vars"]
    return ["cell/vars" if one.kind in _RECURRENT else "vars"]
