"""`import_keras`: a model of Keras as a row of layers, from JSON and arrays alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.checks import file_name, switch
from engine.errors import InputError, bad_input
from engine.exchange.keras_file import EXPECTED, HINT, KerasFile, layers_in, read_keras
from engine.exchange.keras_layers import NOTHING, RULES, Refused
from engine.exchange.parts import Part, assembled, refuse_unknown

_LENGTHS = "import_keras(path, lengths=True) leaves it out: give the lengths of the rows to predict instead"
_PLACES = {"SpatialDropout1D": {"noise_shape": [None, 1, None]}}


def import_keras(path: Any, *, lengths: bool = False) -> Any:
    """Read a model that Keras 3 or Keras 2 saved, a ``.keras`` or an ``.h5`` file.

    Keras itself is not needed.  Sequential models and Functional ones without branches are read, with SimpleRNN, GRU
    (both ``reset_after``), LSTM, Bidirectional, Dense, Activation, ReLU, Softmax, Embedding, Dropout,
    LayerNormalization, BatchNormalization, TimeDistributed(Dense) and global pooling.  A layer with
    ``return_sequences=False`` becomes a layer and a `Pool`, a Dense layer with a function one and an `Activation`.  It
    needs the extra ``[keras]``.

    Parameters
    ----------
    path : str or Path
        The file.
    lengths : bool
        Leave Masking and ``mask_zero`` out: you will give the lengths of the rows to ``predict`` instead, as zeros at
        the end of a row mean nothing here.

    Returns
    -------
    Layer
        A layer or a `Sequential` on the NumPy backend, batch-first as Keras is, in the dtype of the weights.

    Raises
    ------
    InputError
        For a damaged file, for layers and functions that the engine does not have, named in one message, and for a
        model that is no row of layers.

    Examples
    --------
    >>> import engine
    >>> model = engine.import_keras("model.keras")  # doctest: +SKIP
    >>> y, state = model.predict(x)  # doctest: +SKIP
    """
    target, masked = file_name("path", path), switch("lengths", lengths)
    file = read_keras(target)
    try:
        layers = _in_order(target, file.config)
        parts, time_major = _parts(file, layers, masked)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        got = f"one that does not fit together ({type(error).__name__}: {error})"
        raise bad_input(str(target), f"the description of {EXPECTED}", got, HINT) from None
    if not parts:
        raise bad_input(str(target), "a model with layers", "none", HINT)
    _check_widths(target, parts)
    wide = any(array.dtype == np.float64 for part in parts for array in part.arrays.values())
    return assembled(str(target), parts, not time_major, "float64" if wide else "float32")


def _parts(file: KerasFile, layers: list[dict[str, Any]], masked: bool) -> tuple[list[Part], bool]:
    """The parts of all layers, and whether x is time-major."""
    leave = ("Masking",) if masked else ()
    unknown = [_called(one) for one in layers if one["class_name"] not in (*RULES, *NOTHING, *leave)]
    masks = any(name.startswith("Masking") for name in unknown)
    refuse_unknown(str(file.path), f"layers that are here ({', '.join(RULES)})", unknown, _LENGTHS if masks else "")
    parts: list[Part] = []
    major = set()
    for layer in layers:
        kind, settings = layer["class_name"], layer["config"]
        if kind in (*NOTHING, *leave):
            continue
        name = str(settings.get("name"))
        inner = settings.get("layer", {}).get("config", {}) if kind == "Bidirectional" else settings
        if kind in ("SimpleRNN", "GRU", "LSTM", "Bidirectional"):
            major.add(bool(inner.get("time_major") or settings.get("time_major")))
        try:
            if settings.get("mask_zero") and not masked:
                raise Refused("mask_zero=False", "mask_zero=True", _LENGTHS)
            given = {**settings, "class_name": kind, **_PLACES.get(kind, {})}
            if kind == "Bidirectional":
                given["layer"] = {**settings["layer"], "config": {**inner, "scope": _scope(name)}}
            parts += RULES[kind](given | {"scope": _scope(name)}, file.arrays.get(name, []))
        except Refused as error:
            message = f"{_called(layer)} with {error.expected}"
            raise bad_input(str(file.path), message, error.got, error.hint) from None
    if len(major) > 1:
        raise bad_input(str(file.path), "time_major alike in all layers", "both")
    return parts, major == {True}


def _scope(name: str) -> str | None:
    """What the layers of one of our stacks share in their names: `export_keras` calls them ``lstm_l0``, ``lstm_l1``."""
    stem, ending, number = name.rpartition("_l")
    return stem if ending and number.isdecimal() else None


def _called(layer: dict[str, Any]) -> str:
    return f"{layer['class_name']} ({layer['config'].get('name', '?')})"


def _check_widths(path: Path, parts: list[Part]) -> None:
    """Raise where a layer takes another number of features than the one before it gives."""
    width: int | None = None
    for part in parts:
        args = part.args
        takes = args.get("input_size") or args.get("in_features") or args.get("num_features")
        if takes and width and takes != width:
            raise bad_input(str(path), f"a {part.kind} for {width} features, which the layer before gives", f"{takes}")
        directions = 2 if args.get("bidirectional") else 1
        gives = args.get("hidden_size", 0) * directions or args.get("out_features") or args.get("embedding_dim")
        width = gives or takes or width


# -- the order of the layers -------------------------------------------------------------------------------------------


def _in_order(path: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers from x to y: as they stand in a Sequential, along the connections of a Functional model."""
    layers = layers_in(config)
    if config.get("class_name") == "Sequential":
        return layers
    by_name = {one.get("name") or one["config"].get("name"): one for one in layers}
    outputs = _ends(config["config"].get("output_layers"))
    if len(outputs) != 1:
        raise bad_input(str(path), "a model with one output", f"{len(outputs)}", "save the part that you need")
    if outputs[0][1]:
        raise bad_input(str(path), "the output of a layer as the model's", f"a state of {outputs[0][0]!r}")
    known = [*RULES, *NOTHING, "Masking"]
    refuse_unknown(str(path), f"layers that are here ({', '.join(RULES)})",
                   [_called(one) for one in layers if one["class_name"] not in known])  # fmt: skip
    name, found = outputs[0][0], []
    while True:
        layer = by_name[name]
        if layer in found:
            raise bad_input(str(path), "a model without a circle", f"one through {name!r}", HINT)
        found.append(layer)
        before = _inputs(layer)
        if not before:
            return found[::-1]
        if len(before) > 1 or before[0][1] or len(layer.get("inbound_nodes", [])) != 1:
            got = "branches, states or a layer that is used twice"
            raise bad_input(str(path), f"a row of layers, each with one input, at {_called(layer)}", got)
        name = before[0][0]


def _ends(given: Any) -> list[tuple[str, int]]:
    """The tensors of ``output_layers``: one, or a list of them."""
    if isinstance(given, list) and given and isinstance(given[0], str):
        given = [given]
    return [(str(one[0]), int(one[2])) for one in given or []]


def _inputs(layer: dict[str, Any]) -> list[tuple[str, int]]:
    """The tensors that a layer is called with, as (layer, which output), in the form of Keras 3 or of 2."""
    found = []
    for node in layer.get("inbound_nodes") or []:
        if isinstance(node, dict):
            found += _tensors([node.get("args"), node.get("kwargs")])
        else:
            found += [(str(one[0]), int(one[2])) for one in (node if isinstance(node[0], list) else [node])]
    return found


def _tensors(value: Any) -> list[tuple[str, int]]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, _, which = value["config"]["keras_history"]
            return [(str(name), int(which))]
        value = list(value.values())
    return [one for item in value for one in _tensors(item)] if isinstance(value, list) else []
