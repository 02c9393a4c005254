"""Writing a model to a file, from which `engine.load` builds it again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.array_file import write_arrays
from engine.checks import file_name
from engine.errors import bad_input, bad_type

if TYPE_CHECKING:
    from engine.layers.base import Layer


def leaves(model: Layer) -> Iterator[Layer]:
    """The layers of a model in order, those of a Sequential within another too."""
    parts = getattr(model, "layers", None)
    if isinstance(parts, tuple):
        for part in parts:
            yield from leaves(part)
    else:
        yield model


def save(model: Layer, path: Any) -> None:
    """See `Layer.save`."""
    place = file_name("path", path)
    try:
        os.fsencode(place)
    except UnicodeEncodeError:
        raise bad_input("path", "a name that a file can have", "one that the file system cannot write") from None
    if not place.name or os.path.isdir(place):
        raise bad_input("path", "the name of a file", f"the folder {place}", "add the file's name")
    for layer in leaves(model):
        if not type(layer).__module__.startswith("engine."):
            hint = "save its state_dict(), build the layer yourself, and use load_state_dict"
            raise bad_type("model", "layers of engine, which engine.load can build", f"a {type(layer).__name__}", hint)
    arrays = {f"model/{name}": model.backend.to_host(array) for name, array in model.state_dict().items()}
    seeds = [layer.seed for layer in leaves(model)]
    meta = {"kind": "model", "model": model.config(), "dtype": str(model.dtype), "seeds": seeds}
    write_arrays(place, arrays, {**meta, "counters": model.call_counters()}, "path")
