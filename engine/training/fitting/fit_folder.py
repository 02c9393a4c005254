"""The folder of a run of `engine.fit`: who may write there, and where a resumed run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.atomic import locked, remove_temporaries, write_atomic
from engine.checks import file_name
from engine.errors import bad_input
from engine.layers.saving import leaves
from engine.training.architecture import parameter_shapes
from engine.training.checkpoint import BEST, LAST, Checkpoint, problem, read_file
from engine.training.container import RESTORE, Entry
from engine.training.loading import check_description
from engine.training.rules import record, record_fault, text
from engine.training.run_files import read_json
from engine.training.rundir import FILES, OPTIONS
from engine.training.schema import POSITION, RESUMABLE, unsent

_EXPECTED, _OTHER = "a run of engine.fit", "choose another folder as out"


class FitFolder:
    """A folder that is locked for a run.

    Attributes
    ----------
    directory : the folder.
    settings : what decides the result beside the data, JSON-able.
    fingerprint : of the data.
    checkpoint : the state to go on from, or None.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], fingerprint: str, checkpoint: Checkpoint | None
    ) -> None:
        self.directory, self.settings, self.fingerprint, self.checkpoint = directory, settings, fingerprint, checkpoint

    def start(self) -> None:
        """Write ``run.json``: from here on the folder holds a run."""
        said = {"fit": self.settings, "data": self.fingerprint}
        write_atomic(self.directory / OPTIONS, (json.dumps(said, indent=1, sort_keys=True) + "\n").encode(), "out")

    def about(self, model: Any) -> dict[str, Any]:
        """The metadata of its checkpoints, beside the state."""
        common = {"dtype": str(model.dtype), "seeds": [layer.seed for layer in leaves(model)]}
        counters = model.call_counters()
        return {"fit": self.settings, "data": self.fingerprint, "task": {}, "counters": counters, **common}


@contextmanager
def open_fit(out: Any, resume: bool, settings: Mapping[str, Any], fingerprint: str) -> Iterator[FitFolder]:
    """Lock a folder, and find out where training starts.

    Raises
    ------
    InputError
        if there is a run already and `resume` is not asked for, or one of other settings or other data.
    CheckpointError
        if its files cannot be read.
    """
    directory = file_name("out", out)
    if os.path.exists(directory) and not directory.is_dir():
        raise bad_input("out", "a folder", f"the file {directory}", _OTHER)
    present = [name for name in FILES if os.path.exists(directory / name)]
    if present and not resume:
        hint = "continue it with resume=True, or choose another folder"
        raise bad_input("out", "a folder without a run", f"{directory}, which holds {', '.join(present)}", hint)
    with locked(directory):
        remove_temporaries(directory, FILES)
        checkpoint = _existing(directory, settings, fingerprint) if present else None
        yield FitFolder(directory, settings, fingerprint, checkpoint)


def _existing(directory: Path, settings: Mapping[str, Any], fingerprint: str) -> Checkpoint | None:
    path = directory / OPTIONS
    if not path.exists():
        raise bad_input("out", f"a folder with {OPTIONS}", f"{directory} without", _OTHER)
    said = read_json(path, _EXPECTED, _OTHER)
    fault = record_fault({"fit": record(), "data": text()}, said)
    if fault is not None:
        got = "a run of bptt train" if isinstance(said, dict) and "config" in said else "something else"
        raise problem(path, _EXPECTED, got, _OTHER)
    _require_same(said["fit"], settings)
    if said["data"] != fingerprint:
        hint = "give the rows, lengths, mask and weights that it was started on, or choose another folder"
        raise bad_input("resume", f"the data of the run in {directory} ({said['data']})", fingerprint, hint)
    last = directory / LAST
    if not last.exists():
        best = directory / BEST
        if best.exists() and read_file(best, check_fit).meta["trainer"]["step"] > settings["batches"]:
            raise problem(last, "the last state of the run", "no file", f"put it back from a copy, or {_OTHER}")
        return None
    checkpoint = read_file(last, check_fit)
    if checkpoint.meta["fit"] != said["fit"] or checkpoint.meta["data"] != said["data"]:
        hint = f"it is another run's: put back the one of this run, or {_OTHER}"
        raise problem(last, f"the state of the run that {OPTIONS} describes", "another", hint)
    return checkpoint


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise if a setting differs from that of the run that is resumed; it would change the result."""
    # The number of batches comes last: it follows from the others, and from the data.
    for name in sorted(before.keys() | now.keys(), key=lambda name: (name == "batches", name)):
        if before.get(name) != now.get(name):
            hint = f"give {name} as it was, or start a new run in another folder"
            was, got = (_short(said.get(name)) for said in (before, now))
            raise bad_input("resume", f"{name} {was}, as the run in out had it", got, hint)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def check_fit(path: Path, meta: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
    """Raise unless metadata and arrays are those of a checkpoint of `engine.fit`."""
    fault = record_fault({"fit": record(), "data": text(), "trainer": record()}, meta)
    fault = fault or record_fault(POSITION, meta["trainer"], closed=True)
    if fault is None and "optimizer" in meta:
        fault = record_fault(RESUMABLE, meta)
    if fault is not None:
        raise problem(path, f"{fault[1]} as metadata {fault[0]!r}", fault[2], RESTORE)
    check_description(path, meta, entries)
    if "optimizer" in meta:
        needed = {"optimizer/steps", "optimizer/nonfinite", "trainer/loss_sum", "trainer/norm_sum"}
        for name in sorted((needed | set(_names(meta.get("carried")))) - entries.keys()):
            raise problem(path, f"the array {name!r}", "none", RESTORE)
        if meta["fit"].get("compress") is not None:
            for name, shape in unsent(path, parameter_shapes(meta["model"]), entries).items():
                entry = entries.get(name)
                if entry is None or (str(entry.dtype), entry.shape) != (meta["dtype"], shape):
                    got = "none" if entry is None else f"{entry.dtype} of shape {entry.shape}"
                    raise problem(path, f"the array {name!r} as {meta['dtype']} of shape {shape}", got, RESTORE)


def _names(nest: Any) -> list[str]:
    """The names in a nest of lists, as the carried state is described."""
    if isinstance(nest, list):
        return [name for part in nest for name in _names(part)]
    return [] if nest is None else [str(nest)]
