"""What a checkpoint must contain, declared in one place and checked before any array is read.

Each section of the metadata has rules for its values.  Then the sections are compared: the options, the metadata and
the arrays in the file must describe the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.array_file import DTYPES
from engine.cell import LONGEST, cells
from engine.errors import EngineError, bad_input
from engine.layers import sketch
from engine.layers.heads import fault_of_names
from engine.training.architecture import buffers, describe_model, parameter_shapes
from engine.training.config import TRAINABLE_CELLS, TrainConfig
from engine.training.container import RESTORE, Entry
from engine.training.rules import (
    Rule,
    choice,
    either,
    listed,
    named,
    real,
    record,
    record_fault,
    shown,
    switch,
    text,
    whole,
)
from engine.training.run_files import problem

Shape = tuple[int, ...]

#: Where a run stands (`engine.training.state.Position`).
POSITION = {
    "step": whole(0),
    "since": whole(0),
    "positions": whole(0),
    "validated": whole(-1),
    "best_loss": real(0).or_none(),
    "best_step": whole(0).or_none(),
    "strikes": whole(0),
    "planned": whole(0),
}
_SCALAR = either("a number, a string, true or false", real(), text(), switch())
#: The entries of every checkpoint.
_ALWAYS = {"config": record(), "data": text(), "model": record(), "task": record(), "trainer": record()}
#: The entries of a checkpoint from which a run can continue; a checkpoint with weights only lacks them.
RESUMABLE = {"optimizer": named(_SCALAR), "counters": named(whole(0)), "metrics_lines": whole(0)}

_LAYER = {"type": text(), "args": named(_SCALAR.or_none())}
_MODEL = {"type": text(), "args": record()}
_SEQUENTIAL = {"type": choice("Sequential"), "args": record()}
_LAYERS = {"layers": listed(record())}
_MOST_PARTS, _MOST_LAYERS = 8, 1000

_ANOTHER = "it is another model's checkpoint: use the one it was saved from"


def field(path: Path, meta: Mapping[str, Any], *keys: str) -> Any:
    """The metadata value at ``meta[key][key]...``; a `CheckpointError` that names the keys if it is not there."""
    value: Any = meta
    for depth, key in enumerate(keys, start=1):
        if not isinstance(value, Mapping) or key not in value:
            raise problem(path, f"metadata {'.'.join(keys[:depth])!r}", "none", RESTORE)
        value = value[key]
    return value


def check_metadata(path: Path, meta: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
    """Raise a `CheckpointError` unless the metadata and the arrays' names, dtypes and shapes are those of one model."""
    if "config" not in meta and ("fit" in meta or meta.get("kind") == "model"):
        hint = "use it in Python: engine.load(path)"
        raise problem(path, "a run of bptt train", "a model of engine.fit or model.save", hint)
    _keep_to(path, "", _ALWAYS, meta)
    _keep_to(path, "trainer", POSITION, meta["trainer"], closed=True)
    config = stored_options(path, meta["config"])
    resumable = "optimizer" in meta
    if resumable:
        _keep_to(path, "", RESUMABLE, meta)
    _check_position(path, meta["trainer"])
    shapes = _check_model(path, meta["model"], entries)
    _check_task(path, config, meta["task"], meta["model"])
    _check_arrays(path, config, meta, shapes, entries, resumable)


def stored_options(path: Path, said: Any) -> TrainConfig:
    """The options of a run, from a checkpoint or from ``run.json``."""
    if isinstance(said, Mapping) and said.get("cell") not in TRAINABLE_CELLS:
        require_cell(path, said.get("cell"))
    try:
        return TrainConfig.from_json(said)
    except EngineError as error:
        hint = "resume with the release that wrote it, or train anew with another --out"
        raise problem(path, "the options of a run", f"'{error}'", hint) from error


def require_cell(path: Path, name: Any) -> None:
    """Raise if it is the name of a cell that is not registered: functions are never taken from a file."""
    if isinstance(name, str) and name.isidentifier() and len(name) <= LONGEST and name not in cells():
        hint = "run the code that declares it, then load the model"
        raise problem(path, f"the cell {name!r} of the model, declared with engine.Cell", "none of that name", hint)


def match_shapes(path: Path, found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
    """Check that the parameters found are those wanted: the same names, each of the same shape."""
    for name in sorted(wanted.keys() - found.keys()):
        raise problem(path, f"parameter {name!r} of shape {wanted[name]}", "no such parameter", _ANOTHER)
    for name in sorted(found.keys() - wanted.keys()):
        raise problem(path, "only the model's own parameters", f"{name!r} of shape {found[name]}", _ANOTHER)
    for name in sorted(wanted):
        if found[name] != wanted[name]:
            expected = f"parameter {name!r} of shape {wanted[name]}"
            raise problem(path, expected, f"shape {found[name]}", _ANOTHER)


def _keep_to(path: Path, section: str, rules: Mapping[str, Rule], said: Any, closed: bool = False) -> None:
    fault = record_fault(rules, said, closed=closed)
    if fault is None:
        return
    place = ".".join(part for part in (section, fault[0]) if part)
    if fault[2] == "nothing":
        raise problem(path, f"metadata {place!r}", "none", RESTORE)
    raise problem(path, f"{fault[1]} as metadata {place!r}", fault[2], RESTORE)


def _check_position(path: Path, trainer: Mapping[str, Any]) -> None:
    """Raise if the numbers, each valid by itself, contradict each other."""
    step, since, best, loss = (trainer[name] for name in ("step", "since", "best_step", "best_loss"))
    together = {
        "'since' and 'positions' of 'trainer' to be 0 together": (since == 0) == (trainer["positions"] == 0),
        "'best_loss' and 'best_step' of 'trainer' to be none together": (best is None) == (loss is None),
        "no step of 'trainer' behind its 'step'": max(since, trainer["validated"], best or 0) <= step,
    }
    for expected, good in together.items():
        if not good:
            raise problem(path, expected, "others", RESTORE)


def _check_model(path: Path, description: Any, entries: Mapping[str, Entry]) -> dict[str, Shape]:
    """The shapes of the model's parameters, after a check that the file has just these."""
    _keep_to(path, "model", _MODEL, description)
    _check_parts(path, "model", description)
    try:
        shapes = parameter_shapes(description)
    except EngineError as error:
        raise problem(path, "the description of a model", f"'{error}'", RESTORE) from error
    saved = shapes | {name: shape for name, (_, shape) in buffers(description, np.dtype(np.float32)).items()}
    match_shapes(path, {name[6:]: e.shape for name, e in entries.items() if name.startswith("model/")}, saved)
    return shapes


def _check_parts(path: Path, place: str, description: Mapping[str, Any]) -> None:
    """Raise unless the layers of a Sequential, and those of one inside it, can be looked at without harm."""
    if description["type"] not in ("Sequential", "Heads"):
        count = description["args"].get("num_layers", 1)
        if not isinstance(count, int) or count > _MOST_LAYERS:
            raise problem(path, f"at most {_MOST_LAYERS} as 'num_layers' in '{place}'", shown(count), RESTORE)
        return
    _keep_to(path, f"{place}.args", _LAYERS, description["args"])
    layers = description["args"]["layers"]
    if description["type"] == "Heads" and fault_of_names(description["args"].get("names"), len(layers)):
        raise problem(path, f"a name for each head as metadata '{place}.args.names'", "others", RESTORE)
    if not 1 <= len(layers) <= _MOST_PARTS:
        raise problem(path, f"1 to {_MOST_PARTS} layers as metadata '{place}.args.layers'", str(len(layers)), RESTORE)
    for index, layer in enumerate(layers):
        inside = f"{place}.args.layers.{index}"
        _keep_to(path, inside, _MODEL, layer, closed=True)
        if layer["type"] not in ("Sequential", "Heads"):
            _keep_to(path, inside, _LAYER, layer, closed=True)
        _check_parts(path, inside, layer)


def same_model(config: TrainConfig, description: Mapping[str, Any]) -> int:
    """The outputs of the model described, after a check that it is the one that `describe_model` makes of the options.

    Raises
    ------
    InputError
        for another model.
    """
    if description["type"] != "Sequential":
        raise bad_input("model", "a Sequential", shown(description["type"]))
    layers = description["args"]["layers"]
    for layer in layers:
        count = layer["args"].get("num_layers", config.layers)
        if count != config.layers:
            raise bad_input("model", f"the {config.layers} layers that its options name", shown(count))
    found = [layer.config() for layer in sketch(dict(description))]
    inputs = next(iter(found[0]["args"].values()))
    outputs = found[-1]["args"].get("out_features")
    wanted = [layer.config() for layer in sketch(describe_model(config, inputs, outputs))] if outputs else []
    if found != wanted:
        got = f"a {found[0]['type']}, ... that differs" if len(found) == len(wanted) else f"{len(found)} layers"
        raise bad_input("model", "the model that its options describe", got)
    return int(outputs)


def _check_task(path: Path, config: TrainConfig, task: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """What belongs to the weights: a vocabulary, scalings."""
    kind = config.kind()
    try:
        if kind.standard:
            same_model(config, model)
        kind.check_described(config, task, model)
    except EngineError as error:
        raise problem(path, "a model and what goes with its weights", f"'{error}'", RESTORE) from error


def _check_arrays(
    path: Path,
    config: TrainConfig,
    meta: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    entries: Mapping[str, Entry],
    resumable: bool,
) -> None:
    """Dtype and shape of every array; raises for an array that has no use."""
    floats = np.dtype(config.dtype)
    known: dict[str, tuple[np.dtype[Any], Shape]] = {f"model/{name}": (floats, shape) for name, shape in shapes.items()}
    known |= {f"model/{name}": entry for name, entry in buffers(meta["model"], floats).items()}
    if resumable:
        known |= {
            "optimizer/steps": (DTYPES["I64"], ()),
            "optimizer/nonfinite": (DTYPES["BOOL"], ()),
            "trainer/loss_sum": (DTYPES["F64"], ()),
            "trainer/norm_sum": (DTYPES["F64"], ()),
        }
        if config.average != "none":
            known |= {f"average/{name[6:]}": entry for name, entry in known.items() if name.startswith("model/")}
        if config.compress is not None:
            known |= {name: (floats, shape) for name, shape in unsent(path, shapes, entries).items()}
        split = (name.removeprefix("optimizer/").partition(".") for name in entries if name.startswith("optimizer/"))
        slots = {slot for slot, _, parameter in split if parameter in shapes}
        known |= {f"optimizer/{slot}.{name}": (floats, shape) for slot in slots for name, shape in shapes.items()}
        carried = field(path, meta, "carried")
        states = _carried if config.kind().standard else _carried_by_any
        known |= {name: (floats, shape) for name, shape in states(path, config, carried, entries).items()}
    for name in sorted(known.keys() - entries.keys()):
        raise problem(path, f"the array {name!r}", "none", RESTORE)
    for name, entry in sorted(entries.items()):
        if name not in known:
            raise problem(path, "only arrays that a run saves", f"{name!r}", RESTORE)
        dtype, shape = known[name]
        if (entry.dtype, entry.shape) != (dtype, shape):
            got = f"{entry.dtype} of shape {entry.shape}"
            raise problem(path, f"the array {name!r} as {dtype} of shape {shape}", got, RESTORE)


def unsent(path: Path, shapes: Mapping[str, Shape], entries: Mapping[str, Entry]) -> dict[str, Shape]:
    """Names and shapes of what the ranks of a compressed training have not sent, after a check that it is there."""
    ranks = {entry.shape[:1] for name, entry in entries.items() if name.startswith("unsent/")}
    if len(ranks) != 1 or not all(count > 1 for count in (*ranks,)[0]):
        raise problem(path, "arrays 'unsent/...' of one number of ranks", f"{len(ranks)} numbers", RESTORE)
    (count,) = ranks
    return {f"unsent/{name}": (*count, *shape) for name, shape in shapes.items()}


def _carried_by_any(path: Path, config: TrainConfig, nest: Any, entries: Mapping[str, Entry]) -> dict[str, Shape]:
    """Names and shapes of the state that a model of any kind carries: a nest of lists with the arrays' names."""
    found: dict[str, Shape] = {}
    waiting = [("carried", nest)]
    while waiting:
        place, said = waiting.pop()
        if isinstance(said, list) and place.count("/") < _MOST_PARTS:
            waiting += [(f"{place}/{index}", part) for index, part in enumerate(said)]
        elif said == place and place in entries:
            found[place] = entries[place].shape
        elif said is not None:
            raise problem(path, f"the state carried as metadata {place!r}", shown(said), RESTORE)
    return found


def _carried(path: Path, config: TrainConfig, nest: Any, entries: Mapping[str, Entry]) -> dict[str, Shape]:
    """Names and shapes of the carried state: for each layer None, an array, or several."""
    if nest is None:
        return {}
    text = config.kind().reads_ids  # its batches are full, the last one of windows is not
    at = 1 if text else 0  # the recurrent layers' place, behind the embedding
    parts = 2 + at + bool(config.dropout)
    count = len(cells()["rnn_tanh" if config.cell == "rnn" else config.cell].states)
    names = [f"carried/{at}/{number}" for number in range(count)] if count > 1 else f"carried/{at}"
    if nest != [names if index == at else None for index in range(parts)]:
        expected = f"the states of {config.layers} layers of {config.cell} as metadata 'carried'"
        raise problem(path, expected, "others", RESTORE)
    first = names if isinstance(names, str) else names[0]
    shape = entries[first].shape if first in entries else ()
    rows = config.batch if text or len(shape) != 3 else min(shape[1], config.batch)
    return dict.fromkeys([names] if isinstance(names, str) else names, (config.layers, rows, config.hidden))
