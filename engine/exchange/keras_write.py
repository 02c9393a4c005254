"""`export_keras`: a model as a Sequential of Keras 3, in a ``.keras`` or an ``.h5`` file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.atomic import write_atomic
from engine.checks import file_name
from engine.errors import bad_input
from engine.exchange.keras_store import Written, archive, serialised, single_file
from engine.exchange.keras_weights import CLASSES, to_keras
from engine.exchange.parts import RECURRENT, Host, layers_of, optional, refuse_unknown
from engine.exchange.recurrent_weights import ends_of, without_a_place
from engine.layers import Layer

_ENDINGS = (".keras", ".h5", ".hdf5")


def export_keras(model: Layer, path: Any) -> None:
    """Write a model as a Keras file, which ``keras.saving.load_model`` reads.

    Keras itself is not needed.  Keras is batch-first: a time-major model takes x as (B, T, ...) there.  The two biases
    of a cell become one where Keras has one.  It needs the extra ``[keras]``.

    Parameters
    ----------
    model : Layer
        A layer, or a `Sequential` of layers that Keras has: RNN, GRU, LSTM, Linear, Activation, Embedding, Dropout,
        LayerNorm, BatchNorm, and Pool with "last" (behind a recurrent layer), "mean" or "max".
    path : str or Path
        The file to write, ``.keras`` or ``.h5``; one that is there is replaced, wholly or not at all.

    Raises
    ------
    InputError
        For layers that Keras does not have, named in one message, for another ending, and where h5py is not installed.
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> import engine
    >>> model = engine.Sequential(engine.LSTM(3, 5, batch_first=True), engine.Pool(), engine.Linear(5, 2))
    >>> engine.export_keras(model, "model.keras")  # doctest: +SKIP
    >>> engine.import_keras("model.keras")  # doctest: +SKIP
    Sequential(...)
    """
    layers, target = layers_of(model), file_name("path", path)
    if target.suffix.lower() not in _ENDINGS:
        raise bad_input("path", f"a name that ends with {', '.join(_ENDINGS)}", target.name)
    refuse_unknown("model", "layers that Keras has", _unknown(layers))
    h5py = optional("h5py", "keras")
    written = _ending_in_last([one for place, (_, layer) in enumerate(layers) for one in _written(place, layer)])
    named = [one._replace(name=one.name or f"{one.kind.lower()}_{place}") for place, one in enumerate(written)]
    write = archive if target.suffix.lower() == ".keras" else single_file
    write_atomic(target, write(h5py, named, _input(layers), model.dtype.name), "path")


def _unknown(layers: list[tuple[str, Layer]]) -> list[str]:
    """The layers that Keras does not have, by name."""
    names, directions = [], 0
    for path, layer in layers:
        one: Any = layer
        kind, place = type(layer).__name__, f" (layer {path})" if path else ""
        if kind in RECURRENT:
            names += without_a_place(path, layer, tuple(CLASSES))
        elif kind not in _WRITERS or getattr(layer, "features", 1) > 1:
            names.append(f"{kind}{place}")
        elif kind == "Pool" and (one.kind == "attention" or (one.kind == "last" and one.directions != directions)):
            names.append(f"Pool({one.kind!r}, directions={one.directions}){place}")
        directions = one.num_directions if kind in RECURRENT else directions if kind == "Dropout" else 0
    return names


def _input(layers: list[tuple[str, Layer]]) -> list[int | None]:
    """The shape of x, batch-first."""
    if type(layers[0][1]).__name__ == "Embedding":
        return [None, None]
    for _, layer in layers:
        for name in ("input_size", "in_features", "num_features"):
            if getattr(layer, name, None) is not None:
                return [None, None, int(getattr(layer, name))]
    hint = "Keras builds its arrays from it: put a layer that knows its features behind"
    raise bad_input("model", "a layer that says how many features x has", "none", hint)


# -- one function a layer ----------------------------------------------------------------------------------------------


def _written(place: int, layer: Any) -> list[Written]:
    """The layers of Keras for one of ours."""
    kind = type(layer).__name__
    return _recurrent(place, layer) if kind in RECURRENT else _WRITERS[kind](layer)


def _recurrent(place: int, layer: Any) -> list[Written]:
    kind, _, own = CLASSES[layer.cell.name]
    settings = {**own, "units": layer.hidden_size, "use_bias": layer.bias, "return_sequences": True}
    settings |= {"recurrent_dropout": layer.recurrent_dropout} if layer.recurrent_dropout else {}
    found = []
    for level, ends in enumerate(ends_of(layer)):
        if level and layer.dropout:
            found.append(Written("SpatialDropout1D" if layer.variational else "Dropout", {"rate": layer.dropout}))
        arrays = [to_keras(layer, end) for end in ends]
        name = f"{kind.lower()}_{place}_l{level}" if layer.num_layers > 1 else None
        if layer.bidirectional:
            found.append(Written("Bidirectional", _both_ways(kind, settings), tuple(arrays), name))
        else:
            found.append(Written(kind, settings, tuple(arrays), name))
    return found


def _both_ways(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"merge_mode": "concat", "layer": serialised(kind, {**settings, "name": f"forward_{kind.lower()}"})}


def _ending_in_last(written: list[Written]) -> list[Written]:
    """The layers with each choice of the last step told to the recurrent layer before it, as Keras does."""
    found: list[Written] = []
    for one in written:
        if one.kind == "last":
            at = max(place for place, other in enumerate(found) if other.arrays and "Dropout" not in other.kind)
            found[at] = found[at]._replace(settings=_last(found[at].settings))
        else:
            found.append(one)
    return found


def _last(settings: dict[str, Any]) -> dict[str, Any]:
    if "layer" not in settings:
        return {**settings, "return_sequences": False}
    inner = settings["layer"]
    return {**settings, "layer": {**inner, "config": _last(inner["config"])}}


def _linear(layer: Any) -> list[Written]:
    arrays = [_host(layer, "weight").T] + ([_host(layer, "bias")] if layer.bias else [])
    settings = {"units": layer.out_features, "activation": "linear", "use_bias": layer.bias}
    return [Written("Dense", settings, (arrays,))]


def _activation(layer: Any) -> list[Written]:
    return [Written("Activation", {"activation": layer.kind})]


def _embedding(layer: Any) -> list[Written]:
    settings = {"input_dim": layer.num_embeddings, "output_dim": layer.embedding_dim}
    return [Written("Embedding", settings, ([_host(layer, "weight")],))]


def _dropout(layer: Any) -> list[Written]:
    return [Written("SpatialDropout1D" if layer.variational else "Dropout", {"rate": layer.p})]


def _layer_norm(layer: Any) -> list[Written]:
    return [Written("LayerNormalization", {"axis": -1, "epsilon": layer.eps}, (_gain_and_bias(layer),))]


def _batch_norm(layer: Any) -> list[Written]:
    momentum = 0.99 if layer.momentum is None else 1.0 - layer.momentum
    moving = [layer.backend.to_host(layer.buffers[name]) for name in ("running_mean", "running_var")]
    settings = {"axis": -1, "epsilon": layer.eps, "momentum": momentum}
    return [Written("BatchNormalization", settings, ([*_gain_and_bias(layer), *moving],))]


def _gain_and_bias(layer: Any) -> list[Host]:
    return [_host(layer, "weight"), _host(layer, "bias")]


def _pool(layer: Any) -> list[Written]:
    kinds = {"last": "last", "mean": "GlobalAveragePooling1D", "max": "GlobalMaxPooling1D"}
    return [Written(kinds[layer.kind], {})]


def _host(layer: Any, name: str) -> Host:
    array: Host = layer.backend.to_host(layer.params[name])
    return array


_WRITERS: dict[str, Callable[[Any], list[Written]]] = {
    "Linear": _linear,
    "Activation": _activation,
    "Embedding": _embedding,
    "Dropout": _dropout,
    "LayerNorm": _layer_norm,
    "BatchNorm": _batch_norm,
    "Pool": _pool,
}
