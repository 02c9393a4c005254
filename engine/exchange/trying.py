"""A written file run by the library that it is for, beside the model that it came from."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import one_line
from engine.exchange.parts import Host, layers_of

T, B = 6, 3
#: Libraries that Keras can stand on, as it calls them.
_BENEATH_KERAS = ("torch", "jax", "tensorflow")


class Tried(NamedTuple):
    """What came of it.

    Attributes
    ----------
    by : the library, with its version; "" where none is installed.
    difference : the largest one of y, as a share of the largest value of y; None where it did not run.
    reason : why it did not.
    """

    by: str
    difference: float | None
    reason: str = ""


def random_x(model: Any) -> Host:
    """An input of T steps and B rows in the model's layout: ids, or numbers of its dtype."""
    layers, rng = layers_of(model), np.random.default_rng(0)
    lead = (B, T) if any(layer.batch_first for _, layer in layers) else (T, B)
    first = layers[0][1]
    if type(first).__name__ == "Embedding":
        several = (first.features,) if first.features > 1 else ()
        return rng.integers(0, first.num_embeddings, (*lead, *several))
    names = ("input_size", "in_features", "num_features")
    width = next((getattr(layer, name) for _, layer in layers for name in names if getattr(layer, name, None)), 1)
    return rng.normal(size=(*lead, width)).astype(model.dtype)


def try_file(path: Path, model: Any, lengths: bool = False) -> Tried:
    """Run the file with what is installed for its kind: ONNX Runtime, or Keras.

    Parameters
    ----------
    model : what was written to it.
    lengths : whether it was written with them.
    """
    x = random_x(model)
    lens = [T, 1, T - 2] if lengths else None
    y = model.backend.to_host(model.predict(_on(model, x), lengths=lens)[0])
    run, name = (_onnx_runtime, "onnxruntime") if path.suffix == ".onnx" else (_keras, "keras")
    if importlib.util.find_spec(name) is None:
        return Tried("", None, f"{name} is not installed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            by, found = run(path, model, x, lens)
    except Exception as error:  # a library of others may raise anything
        return Tried(name, None, one_line(f"{type(error).__name__}: {error}", 200))
    size = float(np.abs(y).max()) or 1.0
    return Tried(by, float(np.abs(found - y).max()) / size if found.shape == y.shape else float("inf"))


def _on(model: Any, x: Host) -> Any:
    return x if x.dtype.kind == "i" else model.backend.asarray(x)


def _onnx_runtime(path: Path, model: Any, x: Host, lens: list[int] | None) -> tuple[str, Host]:
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    given = {"x": x} | ({} if lens is None else {"lengths": np.array(lens, np.int32)})
    return f"ONNX Runtime {runtime.__version__}", session.run(None, given)[0]


def _keras(path: Path, model: Any, x: Host, lens: list[int] | None) -> tuple[str, Host]:
    beneath = next((name for name in _BENEATH_KERAS if importlib.util.find_spec(name) is not None), "")
    os.environ.setdefault("KERAS_BACKEND", beneath)  # Keras chooses TensorFlow otherwise, which may not be here
    keras = importlib.import_module("keras")
    first = x if any(layer.batch_first for _, layer in layers_of(model)) else x.swapaxes(0, 1)
    y = np.asarray(keras.saving.load_model(path, compile=False).predict(first, verbose=0))
    back = y.ndim == 3 and first is not x
    return f"Keras {keras.__version__}", y.swapaxes(0, 1) if back else y
