"""Data: text, series, windows, batches, scaling, baselines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from engine import data
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import draw
from wrong_calls.domains import (
    Illegal,
    array,
    choice,
    dtype,
    either,
    exactly,
    flag,
    instance,
    integers,
    many,
    mapping,
    nothing,
    optional,
    real,
    sequence,
    text,
    whole,
)

TEXT = "the tide comes in and the tide goes out\n" * 8
fraction = real(0, 1, over=0)
share = real(0, 1)


def series_values() -> np.ndarray:
    """A series of two columns (40, 2)."""
    t = np.arange(40.0)
    return np.stack([t + np.sin(t), np.cos(t)], axis=1)


def _existing_file(value: Any) -> Any:
    if not isinstance(value, str | os.PathLike) or not os.path.isfile(value):
        raise Illegal
    return str(value)


# -- text --------------------------------------------------------------------------------------------------------------


@entry("load_text")
def _load_text(place: Place) -> Call:
    name = str(place.folder / "text.txt")

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind == "U":
            value = value.reshape(-1).tolist()
        return (
            [_existing_file(value)]
            if isinstance(value, str | os.PathLike)
            else many(_existing_file, least=1, kinds=(tuple, list, set, dict))(value)
        )

    extras = {
        "a list with a number": lambda: [name, 3],
        "a list with bytes": lambda: [name.encode()],
        "bytes": lambda: name.encode(),
        "a list with a folder": lambda: [name, str(place.folder)],
    }
    return call(data.load_text, paths=(name, plain, extras))


@entry("prepare_tokens")
def _prepare(place: Place) -> Call:
    files = place.folder / "corpora"
    files.mkdir(exist_ok=True)
    name = files / "tide.txt"
    name.write_text(TEXT)

    def run(**given: Any) -> Any:
        out = files / "corpus"
        shutil.rmtree(out, ignore_errors=True)
        found = engine.prepare_tokens(out=out, **given)
        return found[1:]

    def plain(value: Any) -> Any:
        return (
            [_existing_file(value)]
            if isinstance(value, str | os.PathLike)
            else many(_existing_file, least=1, kinds=(tuple, list))(value)
        )

    return call(
        run,
        sources=(name, plain),
        level=("words", choice("characters", "bytes", "words")),
        minimum_count=(2, whole(1)),
        vocabulary=(9, whole(2)),
    )


@entry("open_tokens")
def _open(place: Place) -> Call:
    folder = place.folder / "opened"
    if not folder.exists():
        folder.mkdir()
        (folder / "tide.txt").write_text(TEXT)
        engine.prepare_tokens(folder / "tide.txt", folder / "corpus")

    def corpus(value: Any) -> Any:
        if not isinstance(value, str | os.PathLike) or not os.path.exists(os.path.join(value, "index.json")):
            raise Illegal
        return str(value)

    return call(lambda path: len(engine.open_tokens(path)), path=(str(folder / "corpus"), corpus))


@entry("Vocabulary")
def _vocabulary(place: Place) -> Call:
    return call(data.Vocabulary, characters=("cab", text), unknown=(False, flag))


@entry("Vocabulary.from_text")
def _from_text(place: Place) -> Call:
    return call(data.Vocabulary.from_text, text=(TEXT, text), unknown=(True, flag))


@entry("Vocabulary.encode")
def _encode(place: Place) -> Call:
    def known(value: Any) -> Any:
        if not isinstance(value, str) or not set(value) <= set(TEXT):
            raise Illegal
        return str(value)

    return call(data.Vocabulary(TEXT).encode, text=("the tide", known))


@entry("Vocabulary.decode")
def _decode(place: Place) -> Call:
    return call(data.Vocabulary("abcd").decode, ids=(np.array([0, 2, 1]), integers(0, 3, None)))


@entry("Vocabulary.from_json")
def _vocabulary_json(place: Place) -> Call:
    def characters(value: Any) -> Any:
        if not isinstance(value, str) or not value or "".join(sorted(set(value))) != value:
            raise Illegal
        return str(value)

    record = data.Vocabulary("abc").to_json()
    plain = _loose(mapping({"characters": characters, "unknown": flag}), ("characters", "unknown"))
    return call(data.Vocabulary.from_json, record=(record, plain))


def _loose(domain: Any, keys: tuple[str, ...]) -> Any:
    """A mapping that may hold other keys as well."""

    def plain(value: Any) -> Any:
        if not hasattr(value, "keys") or not set(keys) <= set(value):
            raise Illegal
        return domain({key: value[key] for key in keys})

    return plain


@entry("split")
def _split(place: Place) -> Call:
    def stream(value: Any) -> Any:
        if isinstance(value, str):
            return str(value)
        return array("iufbOSUcVMm")(value) if isinstance(value, np.ndarray) and value.ndim == 1 else nothing(value)

    return call(data.split, ids=(np.arange(20), stream), validation_fraction=(0.25, share))


# -- batches -----------------------------------------------------------------------------------------------------------

ids = integers(-(2**31), 2**31 - 1, None)


@entry("contiguous_batches")
def _contiguous(place: Place) -> Call:
    return call(
        lambda **given: list(data.contiguous_batches(**given)),
        ids=(np.arange(50), ids),
        batch_size=(3, whole(1)),
        steps=(4, whole(1)),
        allow_short=(False, flag),
    )


@entry("ContiguousBatches.batch")
def _contiguous_batch(place: Place) -> Call:
    return call(data.ContiguousBatches(np.arange(50), 3, 4).batch, index=(1, whole(0)))


@entry("shuffled_order")
def _order(place: Place) -> Call:
    return call(
        data.shuffled_order, count=(7, whole(0)), seed=(1, whole(0)), epoch=(2, whole(0)), purpose=(0, whole(0))
    )


@entry("bucket_by_length")
def _buckets(place: Place) -> Call:
    return call(
        data.bucket_by_length,
        lengths=([3, 1, 2, 5], integers(0, 2**63 - 1, None)),
        batch_size=(2, whole(1)),
        bucket_width=(2, whole(1)),
        seed=(None, optional(whole(0))),
        epoch=(0, whole(0)),
    )


@entry("Buckets")
def _bucket_options(place: Place) -> Call:
    def made(**given: Any) -> tuple[Any, ...]:
        found = data.Buckets(**given)
        return found.width, found.pool, found.steps

    return call(made, width=(3, whole(1)), pool=(0, whole(0)), steps=(0, whole(0)))


@entry("BatchSampler")
def _sampler(place: Place) -> Call:
    def made(**given: Any) -> Any:
        sampler = data.BatchSampler(**given)
        return len(sampler), sampler.epoch(1), sampler.packing(0)

    kinds = either(optional(whole(0)), instance(data.Buckets))
    return call(
        made,
        lengths=([3, 1, 2, 5], integers(0, 2**31 - 1, None)),
        batch_size=(2, whole(1)),
        buckets=(data.Buckets(pool=1), kinds),
        seed=(0, whole(0)),
        shuffle=(True, flag),
    )


@entry("BatchSampler.epoch")
def _sampler_epoch(place: Place) -> Call:
    return call(data.BatchSampler([3, 1, 2], 2, 1).epoch, epoch=(1, whole(0)))


@entry("BatchSampler.rows")
def _sampler_rows(place: Place) -> Call:
    return call(data.BatchSampler([3, 1, 2], 2, 1).rows, step=(3, whole(0)))


@entry("BatchSampler.packing")
def _sampler_packing(place: Place) -> Call:
    packing = data.BatchSampler([3, 1, 2], 2, 1).packing
    return call(lambda start: packing(start), start=(1, whole(0)))


@entry("BatchSampler.packing up to a step")
def _sampler_packing_to(place: Place) -> Call:
    packing = data.BatchSampler([3, 1, 2], 2, 1).packing
    return call(lambda stop: packing(1, stop), stop=(None, optional(whole(1, 10**5 + 1))))


@entry("pad_sequences")
def _pad(place: Place) -> Call:
    rows = [draw(3, 2), draw(1, 2), draw(0, 2)]

    def plain(value: Any) -> Any:
        found = many(array("fiu"), least=1)(value)
        if any(
            one.ndim not in (1, 2) or one.shape[1:] != found[0].shape[1:] or one.dtype != found[0].dtype
            for one in found
        ):
            raise Illegal
        return found

    def value(number: Any) -> Any:
        if isinstance(number, float | np.floating) and not np.isfinite(number):
            return float(number)
        found = real()(number)
        return nothing(number) if abs(found) > 3e38 else found

    return call(data.pad_sequences, sequences=(rows, plain), batch_first=(True, flag), value=(0.0, value))


@entry("pad_sequences of ids")
def _pad_ids(place: Place) -> Call:
    rows = [np.array([1, 2, 3], np.int32), np.array([4], np.int32)]

    def plain(value: Any) -> Any:
        found = many(array("fiu", None), least=1)(value)
        return nothing(value) if any(one.dtype != found[0].dtype for one in found) else found

    def value(number: Any) -> Any:
        found = real(-(2**31), 2**31)(number)
        return int(found) if found == int(found) else nothing(number)

    return call(data.pad_sequences, sequences=(rows, plain), batch_first=(False, flag), value=(-1, value))


# -- series ------------------------------------------------------------------------------------------------------------


@entry("load_series")
def _load_series(place: Place) -> Call:
    names = choice("level", "other")

    def column(value: Any) -> Any:
        found = [names(value)] if isinstance(value, str) else many(names, least=1)(value)
        return found if len(set(found)) == len(found) else nothing(value)

    return call(
        data.load_series,
        path=(str(place.folder / "series.csv"), _existing_file),
        column=("level", column),
        missing=("error", choice("error", "interpolate")),
        time=("none", optional(choice("none", "level", "other"))),
        sort=(False, flag),
        regular=(False, flag),
    )


@entry("load_series of an array")
def _load_array(place: Place) -> Call:
    names = choice("0", "1")

    def column(value: Any) -> Any:
        found = [names(value)] if isinstance(value, str) else many(names, least=1)(value)
        return found if len(set(found)) == len(found) else nothing(value)

    return call(
        data.load_series, path=(str(place.folder / "series.npy"), _existing_file), column=(["1", "0"], optional(column))
    )


@entry("chronological_split")
def _chronological(place: Place) -> Call:
    return call(
        data.chronological_split,
        rows=(100, whole(3)),
        validation_fraction=(0.1, fraction),
        test_fraction=(0.2, fraction),
    )


table = either(array("f", None, finite=True), array("f", None, None, finite=True))


def _part(value: Any) -> Any:
    if type(value) is not range or value.step != 1 or not 0 <= value.start <= value.stop <= 40:
        raise Illegal
    return value


@entry("windows")
def _windows(place: Place) -> Call:
    return call(
        data.windows,
        values=(series_values(), table),
        steps=(6, whole(1)),
        horizon=(2, whole(1)),
        stride=(3, whole(1)),
        target=(1, whole(0)),
        part=(range(5, 30), optional(_part)),
        filled=(np.zeros((40, 2), dtype=bool), optional(array("b", 40, None))),
    )


@entry("split_windows")
def _split_windows(place: Place) -> Call:
    parts = data.chronological_split(40, 0.2, 0.3)
    three = sequence(_part, _part, _part)
    return call(
        data.split_windows,
        values=(series_values(), table),
        parts=(parts, three),
        steps=(4, whole(1)),
        horizon=(2, whole(1)),
        stride=(1, whole(1)),
        target=(0, whole(0)),
    )


def _cut(stop: int = 40) -> Any:
    return data.windows(series_values()[:stop], 5, 2)


def _windows_of_other_kinds() -> dict[str, Callable[[], Any]]:
    return {
        "the class": lambda: data.Windows,
        "an array": series_values,
        "batches": lambda: data.WindowBatches(_cut(), 3),
        "three parts": lambda: data.split_windows(series_values(), data.chronological_split(40, 0.2, 0.3), 4),
    }


def _source() -> tuple[Any, Any, Any]:
    source = _cut()
    return source, exactly(source), _windows_of_other_kinds()


@entry("WindowBatches")
def _window_batches(place: Place) -> Call:
    return call(
        lambda **given: list(data.WindowBatches(**given).iterate(1)),
        source=_source(),
        batch_size=(4, whole(1)),
        seed=(1, whole(0)),
        shuffle=(True, flag),
        dtype=("float32", dtype),
    )


@entry("WindowBatches.batch")
def _window_batch(place: Place) -> Call:
    return call(data.WindowBatches(_cut(), 4).batch, index=(1, whole(0)), epoch=(2, whole(0)))


@entry("WindowBatches.order")
def _window_order(place: Place) -> Call:
    return call(data.WindowBatches(_cut(), 4).order, epoch=(2, whole(0)))


@entry("WindowBatches.iterate")
def _iterate(place: Place) -> Call:
    return call(
        lambda **given: list(data.WindowBatches(_cut(), 4).iterate(**given)), epoch=(2, whole(0)), start=(1, whole(0))
    )


# -- scaling and baselines ---------------------------------------------------------------------------------------------

wide = either(array("f", None, 2), array("f", None, None, 2), array("f", 2))


def _scaler(name: str, kind: Any) -> None:
    @entry(f"{name}.fit")
    def fit(place: Place) -> Call:
        scaler = kind()
        return call(lambda values: scaler.fit(values).to_json(), lambda: repr(scaler), values=(series_values(), table))

    for method in ("transform", "inverse"):

        @entry(f"{name}.{method}")
        def apply(place: Place, method: str = method) -> Call:
            return call(getattr(kind().fit(series_values()), method), values=(series_values() + 1, wide))

    @entry(f"{name}.inverse_column")
    def inverse_column(place: Place) -> Call:
        return call(
            kind().fit(series_values()).inverse_column, values=(draw(3, 2), array("f")), column=(1, whole(0, 1))
        )


for _name in ("MinMaxScaler", "ZScoreScaler", "Identity"):
    _scaler(_name, getattr(data, _name))


@entry("scaler_from_json")
def _scaler_json(place: Place) -> Call:
    record = data.ZScoreScaler().fit(series_values()).to_json()
    domain = mapping(
        {
            "type": choice("ZScoreScaler", "MinMaxScaler", "Identity"),
            "offset": _number_list(None),
            "scale": _number_list(0.0),
        }
    )
    return call(data.scaler_from_json, record=(record, _loose(domain, ("type", "offset", "scale"))))


def _number_list(over: float | None) -> Any:
    def plain(value: Any) -> Any:
        if is_numeric_array(value):
            value = value.tolist()
        found = many(real() if over is None else real(0, over=0.0), least=2)(value)
        return found if len(found) == 2 else nothing(value)

    return plain


def is_numeric_array(value: Any) -> bool:
    """Whether it is a 1-d array of numbers."""
    return type(value) is np.ndarray and value.ndim == 1 and value.dtype.kind in "fiu"


@entry("score")
def _score(place: Place) -> Call:
    forecast, targets = draw(6, 2, dtype="float64"), draw(6, 2, dtype="float64") + 1
    numbers = either(array("fiu", 6, 2), _matrix_list)
    known = np.arange(12).reshape(6, 2) % 3 > 0
    return call(
        data.score, forecast=(forecast, numbers), targets=(targets, numbers), known=(known, optional(array("b", 6, 2)))
    )


def _matrix_list(value: Any) -> Any:
    rows = many(many(real()), least=6)(value)
    found = np.array(rows)
    return found if found.shape == (6, 2) else nothing(value)


@entry("persistence")
def _persistence(place: Place) -> Call:
    return call(data.persistence, source=_source())


@entry("seasonal_naive")
def _seasonal(place: Place) -> Call:
    return call(data.seasonal_naive, source=_source(), season=(3, whole(1)))


@entry("LinearAutoregression.fit")
def _fit(place: Place) -> Call:
    source = _source()
    return call(lambda train: data.LinearAutoregression().fit(train).predict(source[0]), train=source)


@entry("LinearAutoregression.predict")
def _predict(place: Place) -> Call:
    source, other = _source(), data.windows(series_values(), 4, 2)
    model = data.LinearAutoregression().fit(source[0])
    return call(model.predict, source=(*source[:2], {**source[2], "another shape": lambda: other}))


@entry("baseline_forecasts")
def _baselines(place: Place) -> Call:
    return call(data.baseline_forecasts, train=_source(), held_out=_source(), season=(3, whole(1)))


@entry("read_table")
def _read_table(place: Place) -> Call:
    def sign(*signs: str) -> Any:
        return optional(choice(*signs))

    def encoding(value: Any) -> Any:
        return str(value) if isinstance(value, str) else nothing(value)

    def run(**given: Any) -> Any:
        table = data.read_table(**given)
        return [table.numbers(name) for name in table.names]

    return call(
        run,
        source=(str(place.folder / "series.csv"), _existing_file),
        decimal=(".", sign(".", ",")),
        delimiter=(",", sign(",", ";", "\t", "|", " ", "comma", "semicolon", "tab", "pipe", "blank")),
        encoding=("utf-8", optional(encoding)),
        skip=(0, whole(0)),
    )
