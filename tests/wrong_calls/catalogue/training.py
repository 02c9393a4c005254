"""Training: options, checkpoints, models, samples, and runs of one step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import engine
from engine import training
from engine.data import Vocabulary
from engine.training.checkpoint import read_file
from engine.training.config import make
from engine.training.container import DTYPES
from engine.training.progress import make_reporter
from engine.training.session import make_task
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import draw
from wrong_calls.domains import (
    Illegal,
    array,
    choice,
    dtype,
    exactly,
    flag,
    function,
    mapping,
    nothing,
    optional,
    real,
    text,
    whole,
)

count, positive, share = whole(1, 10**15), real(0, over=0), real(0, 1)
OPTIONS: dict[str, tuple[Any, Any]] = {
    "cell": ("gru", choice("lstm", "gru", "rnn")),
    "layers": (2, whole(1, 1000)),
    "hidden": (5, whole(1, 1000)),
    "embed": (4, whole(1, 1000)),
    "dropout": (0.2, share),
    "batch": (3, whole(1)),
    "sequence": (6, whole(1, 1000)),
    "optimizer": ("adam", choice("adam", "adamw", "sgd", "rmsprop", "adagrad")),
    "lr": (0.01, positive),
    "l1": (0.0, real(0)),
    "l2": (0.001, real(0)),
    "schedule": ("cosine", choice("cosine", "step", "constant")),
    "warmup": (0, whole(0)),
    "clip": (1.0, real(0)),
    "clip_value": (0.0, real(0)),
    "loss_scale": ("dynamic", choice("dynamic", "off", "2", "1e3")),
    "steps": (1, whole(1, 3)),
    "patience": (0, whole(0)),
    "report_every": (5, count),
    "validate_every": (5, count),
    "checkpoint_every": (5, count),
    "validation": (0.2, real(0, 1, over=0)),
    "seed": (1, whole(0)),
    "dtype": ("float32", choice("float32", "float64")),
}
SERIES: dict[str, tuple[Any, Any]] = {
    "column": ("level", choice("level", "other")),
    "missing": ("error", choice("error", "interpolate")),
    "horizon": (2, whole(1, 100)),
    "window": (5, whole(1, 100)),
    "season": (3, whole(0, 100)),
    "scaling": ("zscore", choice("zscore", "minmax", "none")),
    "test": (0.2, real(0, 1, over=0)),
}
TEXT_ONLY = ("embed", "sequence")


def _file(value: Any) -> Any:
    if not isinstance(value, str | os.PathLike) or not os.path.isfile(value):
        raise Illegal
    return str(value)


def _name(value: Any) -> str:
    """The name of a column or a file, which may be empty: whether there is one is known when the data is read."""
    if not isinstance(value, str) or "\0" in value:
        raise Illegal
    return str(value)


def _files(value: Any) -> Any:
    if type(value) not in (tuple, list):
        raise Illegal
    return tuple(_file(name) for name in value)


def _options(task: str, place: Place) -> dict[str, tuple[Any, Any]]:
    """Options of a task with its data."""
    if task == "language":
        return {**OPTIONS, "files": ((str(place.folder / "text.txt"),), _files)}
    kept = {name: pair for name, pair in OPTIONS.items() if name not in TEXT_ONLY}
    return {**kept, **SERIES, "data": (str(place.folder / "series.csv"), _file)}


def _options_entry(task: str) -> None:
    @entry(f"make {task}")
    def make_(place: Place) -> Call:
        options = {**_options(task, place), "steps": (1, count), "hidden": (5, count), "layers": (1, count)}
        options |= {name: (options[name][0], whole(0)) for name in ("season", "horizon", "window") if name in options}
        options |= {name: (options[name][0], _name) for name in ("column", "data") if name in options}

        def run(**given: Any) -> Any:
            return make(task, given).to_json()

        return call(run, **{name: (valid, optional(domain)) for name, (valid, domain) in options.items()})

    @entry(f"run_training {task}")
    def run_(place: Place) -> Call:
        options = _options(task, place)
        out = place.folder / f"run-{task}"
        shutil.rmtree(out, ignore_errors=True)

        def run(**given: Any) -> Any:
            shutil.rmtree(out, ignore_errors=True)
            result = training.run_training(out, task=task, quiet=True, backend=place.spec, **given)
            return {name: result[name] for name in ("ending", "step", "validation")}

        return call(run, lambda: out.exists(), **{name: (valid, domain) for name, (valid, domain) in options.items()})


_options_entry("language")
_options_entry("forecast")


@entry("run_training")
def _run_training(place: Place) -> Call:
    given = {name: valid for name, (valid, _) in _options("language", place).items()}
    out = place.folder / "run-out"

    def run(out: Any, task: Any, resume: Any, quiet: Any, backend: Any, label: Any) -> Any:
        if isinstance(out, str | Path) and Path(out).is_absolute() and place.folder not in Path(out).parents:
            raise engine.InputError("out: expected a folder of this test's own, got another")
        for left in place.folder.glob("[Rr][Uu][Nn]-*"):
            shutil.rmtree(left, ignore_errors=True)
        (place.folder / "elsewhere").mkdir(exist_ok=True)
        before = os.getcwd()
        os.chdir(place.folder / "elsewhere")
        try:
            result = training.run_training(
                out, task=task, resume=resume, quiet=quiet, backend=backend, label=label, **given
            )
        finally:
            os.chdir(before)
            shutil.rmtree(place.folder / "elsewhere")
        return result["ending"], result["validation"]

    def folder(value: Any) -> Any:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value) or "\ud800" in str(value):
            raise Illegal
        return str(value)

    return call(
        run,
        out=(str(out), folder),
        task=("language", optional(choice("language"))),
        resume=(False, flag),
        quiet=(True, flag),
        backend=(place.spec, choice("numpy", "numpy:reference", "numpy:numba")),
        label=(str, function),
    )


@entry("TrainConfig.from_json")
def _from_json(place: Place) -> Call:
    options = {**_options("language", place), "steps": (1, optional(count)), "hidden": (5, count), "layers": (1, count)}
    record = make("language", {name: pair[0] for name, pair in options.items()}).to_json()
    domains: dict[str, Any] = {name: exactly(value) for name, value in record.items()}
    domains |= {name: pair[1] for name, pair in {**options, **SERIES}.items()}
    domains |= {
        "files": _names,
        "backend": text,
        "data": optional(_name),
        "column": optional(_name),
        "momentum": share,
        "weight_decay": real(0),
        "epochs": optional(positive),
        "minutes": optional(positive),
        "season": whole(0),
        "horizon": count,
        "window": count,
        "embed": count,
        "batch": count,
        "sequence": count,
        "task": choice("language"),
    }
    domains |= {name: optional(_name) for name in ("time", "delimiter") if name in record}
    return call(training.TrainConfig.from_json, record=(record, mapping(domains)))


def _names(value: Any) -> Any:
    if type(value) not in (tuple, list):
        raise Illegal
    return [_name(name) for name in value]


# -- checkpoints and models --------------------------------------------------------------------------------------------


@entry("checkpoint_in")
def _checkpoint_in(place: Place) -> Call:
    def path(value: Any) -> Any:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
            raise Illegal
        return Path(value)

    def run(path: Any, which: Any) -> Any:
        return str(training.checkpoint_in(path, which))

    return call(run, path=(place.folder / "trained", path), which=("best", optional(choice("best", "last"))))


@entry("read_checkpoint")
def _read(place: Place) -> Call:
    name = place.folder / "trained" / "best.safetensors"
    extras = {
        "a text": lambda: place.folder / "text.txt",
        "a folder": lambda: place.folder,
        "a string": lambda: str(name),
    }
    return call(lambda path: training.read_checkpoint(path).arrays, path=(name, _file, extras))


@entry("write_checkpoint")
def _write(place: Place) -> Call:
    target = place.folder / "written.safetensors"
    target.unlink(missing_ok=True)

    def run(path: Any, arrays: Any, meta: Any) -> Any:
        training.write_checkpoint(path, arrays, meta)
        found = read_file(target)
        target.unlink(missing_ok=True)
        return found.arrays, found.meta

    def arrays(value: Any) -> Any:
        if not isinstance(value, dict | MappingProxyType):
            raise Illegal
        found = {
            key: array("fiub", dtype=_storable(item))(item)
            for key, item in value.items()
            if isinstance(key, str) or nothing(key)
        }
        if any(item.dtype.itemsize > 8 for item in found.values()):
            raise Illegal
        return found

    def meta(value: Any) -> Any:
        import json

        if not isinstance(value, dict | MappingProxyType):
            raise Illegal
        try:
            found = json.loads(json.dumps(dict(value), allow_nan=False))
        except Exception:
            raise Illegal from None
        return found

    def path(value: Any) -> Any:
        if not isinstance(value, str | Path) or Path(value) != target:
            raise Illegal
        return Path(value)

    return call(
        run,
        target.exists,
        path=(target, path),
        arrays=({"a": draw(2, 3), "b": np.arange(3)}, arrays),
        meta=({"x": [1, "a"]}, meta),
    )


def _storable(item: Any) -> Any:
    """The dtype of an array, which a checkpoint must have a name for."""
    return item.dtype if isinstance(item, np.ndarray) and item.dtype in DTYPES.values() else nothing(item)


def _checkpoint(place: Place) -> Any:
    return training.read_checkpoint(place.folder / "trained" / "best.safetensors")


@entry("load_model")
def _load_model(place: Place) -> Call:
    checkpoint, home = _checkpoint(place), engine.get_backend(place.spec)
    return call(
        training.load_model,
        checkpoint=(checkpoint, exactly(checkpoint)),
        backend=(home, _backends(home)),
    )


def _backends(home: Any) -> Any:
    def plain(value: Any) -> Any:
        return home if value is home else engine.get_backend(choice("numpy", home.spec)(value))

    return plain


@entry("load_model of changed metadata")
def _load_changed(place: Place) -> Call:
    import copy

    checkpoint = _checkpoint(place)
    home = engine.get_backend(place.spec)

    def run(model: Any, dtype: Any, seed: Any) -> Any:
        meta = copy.copy(checkpoint.meta)
        meta["model"], meta["config"] = model, {**meta["config"], "dtype": dtype, "seed": seed}
        return training.load_model(training.Checkpoint(checkpoint.path, checkpoint.arrays, meta), home)

    description = checkpoint.meta["model"]
    return call(
        run,
        model=(description, _equal(description)),
        dtype=("float32", dtype),
        seed=(1, optional(whole(0))),
    )


def _equal(wanted: Any) -> Any:
    """What JSON would not tell from the value that is there."""

    def plain(value: Any) -> Any:
        import json

        try:
            same = json.dumps(value, sort_keys=True, default=dict) == json.dumps(wanted, sort_keys=True)
        except Exception:
            raise Illegal from None
        return wanted if same else nothing(value)

    return plain


@entry("sample")
def _sample(place: Place) -> Call:
    checkpoint = _checkpoint(place)
    model = training.load_model(checkpoint, engine.get_backend(place.spec))
    vocabulary = Vocabulary.from_json(checkpoint.meta["task"]["vocabulary"])

    def prompt(value: Any) -> Any:
        if not isinstance(value, str) or not set(value) <= set(vocabulary.characters):
            raise Illegal
        return str(value)

    others: dict[str, Callable[[], Any]] = {
        "a layer": lambda: engine.LSTM(3, 4, backend=place.spec),
        "a regression": lambda: engine.Sequential(engine.LSTM(3, 4)),
        "another vocabulary": lambda: engine.Sequential(engine.Embedding(3, 2), engine.Linear(2, 3)),
    }
    words = {
        "a smaller one": lambda: Vocabulary("ab"),
        "a larger one": lambda: Vocabulary("".join(map(chr, range(32, 400)))),
    }
    return call(
        lambda **given: list(training.sample(**given)),
        model=(model, exactly(model), others),
        vocabulary=(vocabulary, exactly(vocabulary), words),
        length=(4, whole(1, 1000)),
        prompt=("the", prompt),
        temperature=(0.7, real(0)),
        top_k=(3, whole(0)),
        seed=(1, whole(0)),
    )


@entry("Trainer")
def _trainer(place: Place) -> Call:
    options = {name: pair[0] for name, pair in _options("language", place).items()}
    out = place.folder / "run-trainer"
    shutil.rmtree(out, ignore_errors=True)
    with training.open_run(out, "language", {**options, "backend": place.spec}, False) as opened:
        task, reporter = make_task(opened.config), make_reporter("characters", True)

    def stop() -> bool:
        return False

    def run(**given: Any) -> Any:
        return training.Trainer(**given).train().ending

    stops = {"takes an argument": lambda: lambda x: False}
    return call(
        run,
        run=(opened, exactly(opened)),
        task=(task, exactly(task)),
        reporter=(reporter, exactly(reporter)),
        stop=(stop, function, stops),
    )


@entry("open_run")
def _open_run(place: Place) -> Call:
    given = {name: valid for name, (valid, _) in _options("language", place).items()}
    out = place.folder / "run-opened"
    shutil.rmtree(out, ignore_errors=True)

    def run(**arguments: Any) -> Any:
        with training.open_run(**arguments) as opened:
            return opened.config.to_json()

    def folder(value: Any) -> Any:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value) or "\ud800" in str(value):
            raise Illegal
        return Path(value)

    return call(
        run,
        directory=(out, folder),
        task=("language", optional(choice("language"))),
        given=(given, mapping({name: domain for name, (_, domain) in _options("language", place).items()})),
        resume=(False, flag),
        label=(str, function),
    )
