"""Weights in and out: files of ONNX and of Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from engine.layers.base import Layer
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.domains import Illegal, anything, choice, flag, optional, path


def _model(value: Any) -> Any:
    if not isinstance(value, Layer):
        raise Illegal
    return value


def _keras_name(value: Any) -> str:
    name = path(value)
    if not name.lower().endswith((".keras", ".h5", ".hdf5")):
        raise Illegal
    return name


def _file(value: Any) -> str:
    if not isinstance(value, str | os.PathLike) or not os.path.isfile(value):
        raise Illegal
    return str(value)


def _gru(place: Place) -> Any:
    return engine.GRU(3, 4, batch_first=True, backend=place.spec)


@entry("export_onnx")
def _export_onnx(place: Place) -> Call:
    target = str(place.folder / "scratch" / "out.onnx")
    return call(engine.export_onnx, model=(_gru(place), _model), path=(target, path), lengths=(True, flag))


@entry("export_keras")
def _export_keras(place: Place) -> Call:
    target = str(place.folder / "scratch" / "out.keras")
    return call(engine.export_keras, model=(_gru(place), _model), path=(target, _keras_name))


def _import(write: Callable[[Any, Any], None], read: Callable[..., Any], ending: str, **more: Any) -> Any:
    def build(place: Place) -> Call:
        there = place.folder / f"model{ending}"
        if not there.exists():
            write(_gru(place), there)
        return call(read, path=(str(there), _file), **more)

    return build


entry("import_onnx")(_import(engine.export_onnx, engine.import_onnx, ".onnx"))
entry("import_keras")(_import(engine.export_keras, engine.import_keras, ".keras", lengths=(False, flag)))


@entry("asarray")
def _asarray(place: Place) -> Call:
    x = np.arange(6.0).reshape(2, 3)
    names = choice("numpy", "numpy:reference", "numpy:numba")

    def numbers(value: Any) -> Any:
        try:
            found = np.dtype(value)
        except Exception:
            raise Illegal from None
        if value is None or found.kind not in "fiubc":
            raise Illegal
        return found

    return call(
        engine.asarray,
        x=(x, anything),
        backend=("numpy", names),
        dtype=("float32", optional(numbers)),
        copy=(True, optional(flag)),
    )
