"""A file of Keras as two things: the description of its layers in JSON, and arrays by the name of their layer.

``.keras`` is a zip archive of ``config.json`` and ``model.weights.h5``; ``.h5`` holds both in one HDF5 file, as Keras 2
and Keras 3 write it.  Only JSON and arrays are read: classes and functions that a file names are never loaded.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import InputError, bad_input, one_line
from engine.exchange.parts import Host, optional
from engine.training.run_files import MOST_BYTES, opened, parse_json

HINT = "save it again in Keras: model.save('model.keras')"
EXPECTED = "a model saved by Keras (.keras or .h5)"
#: No file of weights shrinks so much when it is packed: a larger claim is a trap or damage.
MOST_SHRINKING = 200


class KerasFile(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    path : for messages.
    config : the model's description, ``{"class_name": ..., "config": ...}``.
    arrays : the arrays of each layer in Keras's order, by the layer's name.
    """

    path: Path
    config: dict[str, Any]
    arrays: dict[str, list[Host]]


def read_keras(path: Path) -> KerasFile:
    """Read the file, whichever of the two forms it has.

    Raises
    ------
    InputError
        for a file that is damaged or of another kind; the message names the file.
    """
    with opened(path, EXPECTED, HINT) as (file, _):
        data = file.read()
    try:
        if data[:4] == b"PK\x03\x04":
            return _from_zip(path, data)
        if data[:8] == b"\x89HDF\r\n\x1a\n":
            return _from_hdf5(path, data)
    except InputError:
        raise
    except Exception as error:  # of zipfile, json and h5py, each with its own kinds
        raise bad_input(str(path), EXPECTED, f"{type(error).__name__}: {one_line(error, 150)}", HINT) from None
    raise bad_input(str(path), EXPECTED, "a file of another kind" if data else "an empty file", HINT)


# -- .keras ------------------------------------------------------------------------------------------------------------


def _from_zip(path: Path, data: bytes) -> KerasFile:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        there = {info.filename: info for info in archive.infolist()}
        for name in ("config.json", "model.weights.h5"):
            if name not in there:
                raise bad_input(str(path), f"{name!r} in the archive", ", ".join(sorted(there)[:5]) or "nothing", HINT)
            size, packed = there[name].file_size, there[name].compress_size
            if size > MOST_SHRINKING * packed + MOST_BYTES or (name == "config.json" and size > MOST_BYTES):
                raise bad_input(str(path), f"{name!r} of a size that a model has", f"{size:,} bytes", HINT)
        config = parse_json(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    with optional("h5py", "keras").File(io.BytesIO(weights), "r") as file:
        return KerasFile(path, _checked_config(path, config), _by_layer(path, file, config))


def _by_layer(path: Path, file: Any, config: Any) -> dict[str, list[Host]]:
    """The arrays of Keras 3's own layout: a group for each layer, named by its class; its name is an attribute."""
    top = file.get("layers") or file.get("_layer_checkpoint_dependencies")
    if top is None:
        raise bad_input(str(path), "the group 'layers' in model.weights.h5", "none", HINT)
    by_place = _places(config)
    found = {}
    for key in top:
        group = _inside(path, top, key)
        held = group.get("vars")
        name = None if held is None else held.attrs.get("name")
        name = name.decode() if isinstance(name, bytes) else name
        found[name or by_place.get(key, key)] = [_array(path, dataset) for dataset in _datasets(path, group)]
    return found


def _places(config: Any) -> dict[str, str]:
    """The names of layers by the key of their group: the class in small letters, numbered from the second on."""
    count: Counter[str] = Counter()
    found = {}
    for layer in layers_in(config):
        key = snake(layer["class_name"])
        found[f"{key}_{count[key]}" if count[key] else key] = layer["config"].get("name")
        count[key] += 1
    return found


def _datasets(path: Path, group: Any) -> Iterator[Any]:
    """The datasets of a layer in Keras's order: its own, then those of its cell or of the layers within."""
    held = group.get("vars")
    if held is not None:
        for key in sorted(held, key=lambda key: int(key) if key.isdecimal() else -1):
            yield _inside(path, held, key)
    for name in ("cell", "forward_layer", "backward_layer", "layer"):
        if name in group:
            yield from _datasets(path, _inside(path, group, name))


# -- .h5 ---------------------------------------------------------------------------------------------------------------


def _from_hdf5(path: Path, data: bytes) -> KerasFile:
    with optional("h5py", "keras").File(io.BytesIO(data), "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            hint = "save the whole model, not its weights alone: model.save('model.keras')"
            raise bad_input(str(path), "the description 'model_config' beside the weights", "none", hint)
        config = parse_json(text)
        top = _inside(path, file, "model_weights") if "model_weights" in file else {}
        found = {}
        for layer in layers_in(config):
            name = layer["config"].get("name")
            group = _inside(path, top, name) if name in top else None
            names = [] if group is None else [_text(one) for one in group.attrs.get("weight_names", [])]
            found[name] = [_array(path, _inside(path, group, one)) for one in names]
        return KerasFile(path, _checked_config(path, config), found)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# -- both --------------------------------------------------------------------------------------------------------------


def layers_in(config: Any) -> list[dict[str, Any]]:
    """The descriptions of the layers; Keras 2.2 wrote those of a Sequential as a bare list."""
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    if not isinstance(layers, list) or not all(isinstance(one, dict) and _is_layer(one) for one in layers):
        raise ValueError("a description without a list of layers")
    return layers


def _is_layer(layer: dict[str, Any]) -> bool:
    return isinstance(layer.get("class_name"), str) and isinstance(layer.get("config"), dict)


def _checked_config(path: Path, config: Any) -> dict[str, Any]:
    if not layers_in(config):
        raise bad_input(str(path), "a model with layers", "none", HINT)
    found: dict[str, Any] = config
    return found


def _inside(path: Path, group: Any, name: str) -> Any:
    """What lies in a group under this name, in this file: links to other files are not followed."""
    h5py = optional("h5py", "keras")
    here = group
    for part in [part for part in name.split("/") if part]:
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) and part in here else None
        if not isinstance(link, h5py.HardLink):
            got = "none" if link is None else "a link to somewhere else"
            raise bad_input(str(path), f"the array or group {name!r}", got, HINT)
        here = here[part]
    return here


def _array(path: Path, dataset: Any) -> Host:
    """The numbers of a dataset, which must lie in this file."""
    h5py = optional("h5py", "keras")
    name = one_line(getattr(dataset, "name", "?"), 100)
    if not isinstance(dataset, h5py.Dataset):
        raise bad_input(str(path), f"an array as {name!r}", "a group", HINT)
    stored = dataset.id.get_storage_size()
    if dataset.is_virtual or dataset.external or dataset.nbytes > MOST_SHRINKING * stored:
        got = f"a claim of {dataset.nbytes:,} bytes with {stored:,} stored"
        raise bad_input(str(path), f"the numbers of {name!r} in the file", got, HINT)
    if dataset.dtype.kind not in "fiu":
        raise bad_input(str(path), f"real numbers as {name!r}", f"dtype {dataset.dtype}", HINT)
    return np.asarray(dataset[()])


def as_text(value: Any) -> str:
    """A description as JSON."""
    return json.dumps(value, separators=(",", ":"))


def snake(kind: str) -> str:
    """The name of a class as the key of its group: LayerNormalization is layer_normalization."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub(r"(?<=.)(?=[A-Z][a-z]+)", "_", kind)).lower()
