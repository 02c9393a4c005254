"""`engine.load`: a model from a file or a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.backend import Backend, check_dtype, get_backend
from engine.checks import file_name
from engine.errors import EngineError
from engine.layers import from_config, sketch
from engine.layers.saving import leaves
from engine.training.checkpoint import checkpoint_in, match_arrays, problem, read_file
from engine.training.container import RESTORE, Entry
from engine.training.rules import choice, listed, named, record, record_fault, whole
from engine.training.schema import check_metadata, match_shapes, require_cell, stored_options

#: What the description of a saved model has; a checkpoint of ``bptt train`` names dtype and seed among its options.
_RULES = {
    "model": record(),
    "dtype": choice("float32", "float64"),
    "seeds": listed(whole(0)),
    "counters": named(whole(0)),
}


def load(path: str | os.PathLike[str], backend: str | Backend = "numpy", dtype: Any = None) -> Any:
    """Load a model: a file that ``model.save`` wrote, a checkpoint, or the folder of a run.

    The file holds numbers and a description in JSON.  Nothing in it can run code.

    Parameters
    ----------
    path : str or path
        A ``.safetensors`` file of ``model.save``, `engine.fit` or ``bptt train``; or the folder of a run, of which the
        best weights are taken, or the last ones where there was no validation.
    backend : str or Backend
        Where the model shall live; it need not be the backend that it was trained on.
    dtype : str or None
        ``"float32"`` or ``"float64"``; None keeps that of the file.

    Returns
    -------
    Layer
        The model with its weights.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, or it needs a cell of your own that is not declared; the message
        names it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Sequential(engine.GRU(3, 4), engine.Linear(4, 2), seed=1)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path)
    >>> again = engine.load(path)
    >>> x = np.ones((5, 1, 3), np.float32)
    >>> bool((again.predict(x)[0] == model.predict(x)[0]).all())
    True
    """
    backend = get_backend(backend)
    dtype = None if dtype is None else check_dtype(dtype)
    place = checkpoint_in(file_name("path", path))
    saved = read_file(place, check_description, hint="save one with model.save(path)")
    meta = _described(place, saved.meta)
    try:
        model = from_config(meta["model"], backend=backend, dtype=meta["dtype"] if dtype is None else dtype)
    except EngineError as error:
        raise problem(place, "the description of a model", f"'{error}'", RESTORE) from error
    for layer, seed in zip(leaves(model), meta["seeds"], strict=False):
        layer.seed = seed
    weights = saved.group("model")
    match_arrays(place, weights, model.state_dict())
    model.load_state_dict(weights)
    if set(meta["counters"]) == set(model.call_counters()):
        model.load_call_counters(meta["counters"])
    return model


def _described(path: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Description, dtype, seeds and counters, from a saved model or from a checkpoint of ``bptt train``."""
    if "config" not in meta:
        return {name: meta[name] for name in _RULES}
    options = stored_options(path, meta["config"])
    seeds = [options.seed] * sum(1 for _ in _parts(meta["model"]))
    return {"model": meta["model"], "dtype": options.dtype, "seeds": seeds, "counters": meta.get("counters", {})}


def check_description(path: Path, meta: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
    """Raise unless the description is that of a model whose parameters the file has."""
    if "config" in meta:
        check_metadata(path, meta, entries)
        return
    fault = record_fault(_RULES, meta)
    if fault is not None:
        raise problem(path, f"{fault[1]} as metadata {fault[0]!r}", fault[2], RESTORE)
    found = {name.removeprefix("model/"): entry.shape for name, entry in entries.items() if name.startswith("model/")}
    wanted: dict[str, tuple[int, ...]] = {}
    for prefix, part in _parts(meta["model"]):
        cell = part.get("args", {}).get("cell") if isinstance(part.get("args"), dict) else None
        require_cell(path, cell)
        try:
            (layer,) = sketch({"args": {"layers": [part]}})
        except (EngineError, KeyError, TypeError) as error:
            raise problem(path, "the description of a model", f"'{error}'", RESTORE) from error
        wanted |= {f"{prefix}{name}": shape for name, shape in layer._shapes().items()}
    match_shapes(path, {name: found[name] for name in found.keys() & wanted.keys()}, wanted)  # before any is made


def _parts(description: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The descriptions of the layers of a model, each with what its parameters' names begin with."""
    layers = description.get("args", {}).get("layers") if isinstance(description, dict) else None
    holds = isinstance(description, dict) and description.get("type") in ("Sequential", "Heads")
    if not holds or not isinstance(layers, list):
        yield prefix, description if isinstance(description, dict) else {}
        return
    names = description["args"].get("names", range(len(layers)))
    for name, part in zip(names, layers, strict=False):
        yield from _parts(part, f"{prefix}{name}.")
