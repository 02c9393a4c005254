"""`engine.fit` and `engine.evaluate`: what they compute, keep, resume and refuse."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import bptt
from refusals import refused

import engine
from engine.errors import CheckpointError, NonFiniteError, StorageError
from engine.layers.arrays import NamedArrays
from engine.losses import weighted_sum
from engine.optimizers.schedules import StepDecay
from engine.training.checkpoint import read_file

fit: Any = engine.fit
PLAIN: dict[str, Any] = {"backend": "numpy:reference"}
N, T, D, H, K = 20, 5, 3, 4, 3


def network(outputs: int = 1, dropout: float = 0.0, **options: Any) -> Any:
    given = {**PLAIN, **options}
    middle = [engine.Dropout(dropout, **given)] if dropout else []
    return engine.Sequential(engine.LSTM(D, H, **given), *middle, engine.Linear(H, outputs, **given), seed=2)


def data(outputs: int = 1, rows: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, T, D))
    return x, x.sum(axis=(1, 2))[:, None] * np.arange(1, outputs + 1) / 5


def weights_of(model: Any) -> dict[str, np.ndarray]:
    return {name: param.copy() for name, param in model.params.items()}


def equal(one: Any, other: Any) -> bool:
    return all((value == other[name]).all() for name, value in one.items())


# -- what it computes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_plain_loop(batch_first: bool) -> None:
    """Forward, loss at the last step, backward, clip, step: the same weights to the last bit."""
    x, y = data(2)
    one, two = network(2, batch_first=batch_first), network(2, batch_first=batch_first)
    history = fit(one, x, y, epochs=3, batch_size=8, shuffle=False, clip=0.5, quiet=True)
    adam, losses = engine.Adam(two, lr=1e-3), []
    for _ in range(3):
        total = 0.0
        for start in range(0, N, 8):
            rows = x[start : start + 8].astype(np.float32)
            targets = y[start : start + 8].astype(np.float32)
            out, _, tape = two.forward(rows if batch_first else np.ascontiguousarray(rows.swapaxes(0, 1)))
            last = out[:, -1] if batch_first else out[-1]
            loss, dlast = engine.mse(last, targets)
            dy = np.zeros_like(out)
            (dy[:, -1] if batch_first else dy[-1])[...] = dlast
            two.zero_grad()
            two.backward(tape, dy)
            engine.clip_grad_norm(adam, 0.5)
            adam.step(guard=loss)
            total += float(loss) * len(rows)
        losses.append(total / N)
    assert equal(one.params, two.params)
    assert history.loss == pytest.approx(losses, rel=1e-12)
    assert (history.epochs, history.ending, history.metrics, history.validation_loss) == (3, "complete", {}, [])


@pytest.mark.parametrize("shape", [(100, 1), (100, 10, 1)])
def test_the_example_of_keras(shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.random((100, 10, 10)), draw.random(shape)
    model = engine.Sequential(engine.LSTM(10, 50, **PLAIN), engine.Linear(50, 1, **PLAIN))
    history = fit(model, x, y, epochs=10, batch_size=10, stateful=True, quiet=True)
    assert len(history.loss) == 10
    assert history.loss[-1] < 0.8 * history.loss[0]


def test_it_learns_and_evaluate_measures_it() -> None:
    draw = np.random.default_rng(1)
    x = [draw.integers(0, 6, n) for n in draw.integers(3, 9, 160)]
    y = np.array([int(row[-1] > 2) for row in x])
    model = engine.Sequential(engine.Embedding(6, 6, **PLAIN), engine.GRU(6, 8, **PLAIN), engine.Linear(8, 2, **PLAIN))
    options: dict[str, Any] = {"loss": "cross_entropy", "metrics": ("accuracy", "loss")}
    before = engine.evaluate(model, x[120:], y[120:], **options)
    adam = engine.Adam(model, lr=0.02)
    history = fit(
        model,
        x[:120],
        y[:120],
        validation=(x[120:], y[120:]),
        optimizer=adam,
        epochs=6,
        buckets=2,
        quiet=True,
        **options,
    )
    after = engine.evaluate(model, x[120:], y[120:], **options)
    assert before["accuracy"] < 0.8 < 0.95 < after["accuracy"]
    assert history.metrics["accuracy"][-1] == after["accuracy"]
    assert history.validation_loss[-1] == history.metrics["loss"][-1] == after["loss"]
    assert list(after) == ["loss", "accuracy"]


def test_metrics_without_validation_are_of_the_training_rows() -> None:
    x, y = data()
    model = network()
    history = fit(model, x, y, metrics=["rmse"], epochs=2, quiet=True)
    assert history.metrics["rmse"][-1] == engine.evaluate(model, x, y, metrics=["rmse"])["rmse"]
    assert history.validation_loss == []
    assert history.best_epoch is None


def test_a_held_out_fraction() -> None:
    """Drawn by the seed; the last rows if their order counts; in whole batches if they are stateful."""
    x, y = data(rows=24)
    found = {}
    choices: dict[str, dict[str, Any]] = {
        "drawn": {},
        "again": {},
        "by another seed": {"seed": 5},
        "last": {"shuffle": False},
        "given": {"shuffle": False, "validation": (x[18:], y[18:]), "rows": 18},
    }
    for name, options in choices.items():
        rows = options.pop("rows", 24)
        options = {"validation": 0.25, "epochs": 2, **options}
        found[name] = fit(network(), x[:rows], y[:rows], quiet=True, **options).validation_loss
    assert found["drawn"] == found["again"] != found["by another seed"]
    assert found["last"] == pytest.approx(found["given"], rel=1e-12)
    stateful = fit(network(), x, y, validation=0.2, stateful=True, batch_size=6, epochs=1, quiet=True)
    held = fit(
        network(), x[:18], y[:18], validation=(x[18:], y[18:]), stateful=True, batch_size=6, epochs=1, quiet=True
    )
    assert stateful.validation_loss == held.validation_loss


def test_early_stop_puts_the_best_weights_back(tmp_path: Path) -> None:
    """In memory and from files alike."""
    x, y = data()
    noise = np.random.default_rng(9).normal(size=y.shape)
    found = []
    for out in (None, tmp_path / "run"):
        model = network()
        kept: list[Any] = []

        def keep(progress: Any, kept: list[Any] = kept) -> None:
            kept.append(weights_of(progress.model))

        adam = engine.Adam(model, lr=0.05)
        options: dict[str, Any] = {"validation": (x, noise), "patience": 2, "out": out, "callbacks": [keep]}
        history = fit(model, x, y, optimizer=adam, epochs=50, quiet=True, **options)
        assert history.ending == "stopped early"
        assert history.epochs == history.best_epoch + 2 < 50
        assert equal(model.params, kept[history.best_epoch - 1])
        assert not equal(model.params, kept[-1])
        found.append(history.loss)
    assert found[0] == found[1]


def test_schedule_and_rate() -> None:
    x, y = data()
    model = network()
    adam = engine.Adam(model, lr=0.01)
    history = fit(model, x, y, optimizer=adam, schedule="cosine", epochs=4, batch_size=5, quiet=True)
    assert history.lr == sorted(history.lr, reverse=True)
    assert history.lr[-1] < 0.002
    history = fit(model, x, y, optimizer=adam, schedule=StepDecay(0.01, 4, 0.5), epochs=3, batch_size=5, quiet=True)
    assert history.lr == [0.01, 0.005, 0.0025]
    adam.lr = 0.03

    def lower(progress: Any) -> None:
        progress.optimizer.lr /= 2

    assert fit(model, x, y, optimizer=adam, callbacks=[lower], epochs=3, quiet=True).lr == [0.03, 0.015, 0.0075]


def test_an_optimiser_that_has_made_steps_before() -> None:
    """Two calls with one optimiser are one longer call, where nothing depends on the number of the epoch."""
    x, y = data()
    one, two = network(), network()
    sgd = engine.SGD(one, lr=0.05, momentum=0.9, l2=0.01)
    for _ in range(2):
        fit(one, x, y, optimizer=sgd, epochs=2, shuffle=False, quiet=True)
    fit(two, x, y, optimizer=engine.SGD(two, lr=0.05, momentum=0.9, l2=0.01), epochs=4, shuffle=False, quiet=True)
    assert equal(one.params, two.params)
    assert int(sgd.steps) == 4


def test_a_part_of_the_model_may_be_trained() -> None:
    x, y = data()
    model = network()
    before = weights_of(model)
    fit(model, x, y, optimizer=engine.Adam(model.layers[1], lr=0.1), epochs=1, quiet=True)
    changed = {name for name, value in before.items() if (model.params[name] != value).any()}
    assert changed == {"1.weight", "1.bias"}


# -- sources of batches -----------------------------------------------------------------------------------------------


class Indexed:
    """Batches by their number."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Any:
        return self.batches[number]


class Iterated:
    """Batches one after another."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


@pytest.mark.parametrize("kind", [list, Indexed, Iterated])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_source_of_batches(kind: Any, shuffle: bool) -> None:
    x, y = data()
    lengths = np.random.default_rng(4).integers(1, T + 1, N)
    batches = [(x[k : k + 8], y[k : k + 8], lengths[k : k + 8]) for k in range(0, N, 8)]
    model = network()
    history = fit(model, kind(batches), shuffle=shuffle, epochs=3, metrics=["mae"], quiet=True)
    assert history.loss[-1] < history.loss[0]
    other = network()
    plain = fit(other, x, y, lengths=lengths, shuffle=False, batch_size=8, epochs=3, metrics=["mae"], quiet=True)
    assert (equal(model.params, other.params), history.loss == plain.loss) == ((not shuffle,) * 2)
    assert engine.evaluate(model, kind(batches))["loss"] == pytest.approx(
        engine.evaluate(model, x, y, lengths=lengths)["loss"]
    )


def test_lanes_of_a_text() -> None:
    """The batches of `engine.data`, with the state carried from one to the next."""
    ids = np.random.default_rng(0).integers(0, 5, 200)
    lanes = engine.data.contiguous_batches(ids, 4, 10)
    model = engine.Sequential(engine.Embedding(5, 4, **PLAIN), engine.RNN(4, 6, **PLAIN), engine.Linear(6, 5, **PLAIN))
    assert fit(model, lanes, loss="cross_entropy", stateful=True, epochs=2, quiet=True).epochs == 2
    found = engine.evaluate(model, lanes, loss="cross_entropy", stateful=True)["loss"]
    whole = engine.data.contiguous_batches(ids, 4, 49).batch(0)
    assert found == pytest.approx(
        float(engine.cross_entropy(model.predict(whole.inputs)[0], whole.targets)[0]), rel=1e-5
    )


# -- folders, resuming ------------------------------------------------------------------------------------------------

FIT: dict[str, Any] = {"validation": 0.25, "metrics": ["rmse"], "batch_size": 4, "quiet": True}


def test_without_out_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(network(), *data(), patience=1, epochs=2, **FIT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stateful", [False, True])
def test_resumed_to_the_last_bit(stateful: bool, tmp_path: Path) -> None:
    """Weights, files, history: as without the break; dropout, orders and the optimiser's buffers go on."""

    def run(out: str, epochs: int, resume: bool) -> tuple[Any, Any]:
        model = network(dropout=0.3)
        rms = engine.RMSprop(model, lr=0.01, momentum=0.5)
        given = {**FIT, "out": tmp_path / out, "resume": resume, "optimizer": rms, "stateful": stateful}
        return model, fit(model, *data(), epochs=epochs, **given)

    one, whole = run("whole", 5, False)
    run("parts", 2, False)
    run("parts", 3, True)
    two, parts = run("parts", 5, True)
    assert equal(one.params, two.params)
    for name in ("loss", "validation_loss", "metrics", "lr", "best_epoch"):
        assert getattr(parts, name) == getattr(whole, name)
    for name in ("last.safetensors", "best.safetensors", "run.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    again, history = run("parts", 5, True)  # nothing is left to do
    assert equal(again.params, one.params)
    assert history.loss == whole.loss
    best = engine.load(tmp_path / "whole", **PLAIN)
    x, y = data()
    assert np.isfinite(engine.evaluate(best, x, y)["loss"])
    assert whole.out == str(tmp_path / "whole")


KILLED = """
import sys, numpy as np, engine, os, signal
sys.path.insert(0, {tests!r})
from test_fit import FIT, data, network
def die(progress):
    if progress.step == {step}:
        os.kill(os.getpid(), signal.{how})
class Die(engine.Callback):
    def on_step(self, progress): die(progress)
engine.fit(network(dropout=0.3), *data(), epochs=5, out={out!r}, callbacks=[Die()], checkpoint_every={every}, **FIT)
"""


@pytest.mark.parametrize(
    ("how", "every", "kept"), [("SIGKILL", 0, 8), ("SIGKILL", 3, 9), ("SIGINT", 0, 10)], ids=lambda value: str(value)
)
def test_killed_and_interrupted(how: str, every: int, kept: int, tmp_path: Path) -> None:
    """After a kill training goes on from the last checkpoint, within an epoch too; after Ctrl-C from where it was."""
    out = tmp_path / "run"
    script = KILLED.format(tests=str(Path(__file__).parent), step=10, how=how, every=every, out=str(out))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode in ((1, -signal.SIGINT) if how == "SIGINT" else (-signal.SIGKILL,)), done.stderr
    assert ("KeyboardInterrupt" in done.stderr) == (how == "SIGINT")
    assert read_file(out / "last.safetensors").meta["trainer"]["step"] == kept
    models = network(dropout=0.3), network(dropout=0.3)
    resumed = fit(models[0], *data(), epochs=5, out=out, resume=True, **FIT)
    whole = fit(models[1], *data(), epochs=5, out=tmp_path / "whole", **FIT)
    assert equal(models[0].params, models[1].params)
    assert (resumed.loss, resumed.metrics) == (whole.loss, whole.metrics)
    assert (out / "last.safetensors").read_bytes() == (tmp_path / "whole" / "last.safetensors").read_bytes()


def test_another_run_is_not_resumed(tmp_path: Path) -> None:
    out, x, y = tmp_path / "run", *data()
    fit(network(), x, y, epochs=1, out=out, **FIT)
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    adam = network()
    for change, words in (
        ({"resume": False}, "out: expected a folder without a run"),
        ({"batch_size": 5}, "resume: expected batch_size 4, as the run in out had it, got 5; "),
        ({"clip": None}, "resume: expected clip 1.0"),
        ({"loss": engine.ctc_loss}, "resume: expected"),
        ({"seed": 3}, "resume: expected seed 0"),
        ({"model": network(), "optimizer": True}, "resume: expected optimizer Adam(lr=0.001"),
        ({"x": x + 1}, "resume: expected the data of the run"),
        ({"model": network(dropout=0.1)}, "resume: expected model"),
    ):
        given = {"model": network(), "x": x, "y": y, "epochs": 3, "out": out, "resume": True, **FIT, **change}
        if "loss" in change:
            given["loss"] = lambda output, target: engine.mse(output, target)
        if given.get("optimizer") is True:
            given["optimizer"] = engine.Adam(given["model"], lr=0.5)
        with refused(engine.InputError, words):
            fit(given.pop("model"), given.pop("x"), given.pop("y"), **given)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    assert adam is not None


def test_folders_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither command takes the other's run; each says so."""
    out = tmp_path / "fit"
    fit(network(), *data(), epochs=1, out=out, **FIT)
    assert bptt("evaluate", out) == 2
    assert "expected a run of bptt train, got a model of engine.fit" in capsys.readouterr().err
    text = tmp_path / "text.txt"
    text.write_text("one two three four five six " * 20)
    options = ("--out", tmp_path / "cli", "--steps", 2, "--hidden", 4, "--embed", 4, "--batch", 2, "--sequence", 5)
    assert bptt("train", text, *options, "--backend", "numpy:reference", "--quiet") == 0
    with refused(CheckpointError, "expected a run of engine.fit, got a run of bptt train"):
        fit(network(), *data(), epochs=1, out=tmp_path / "cli", resume=True, **FIT)
    (out / "last.safetensors").write_bytes((out / "last.safetensors").read_bytes()[:-3])
    with refused(CheckpointError, "cut short"):
        fit(network(), *data(), epochs=2, out=out, resume=True, **FIT)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    fit(network(), *data(), epochs=1, out=out, **FIT)
    before = (out / "last.safetensors").read_bytes()
    monkeypatch.setattr("engine.atomic.os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(StorageError, match="No space left"):
        fit(network(), *data(), epochs=2, out=out, resume=True, **FIT)
    assert (out / "last.safetensors").read_bytes() == before


# -- callbacks, progress, history -------------------------------------------------------------------------------------


def test_callbacks_see_each_epoch_and_can_stop() -> None:
    seen: list[Any] = []

    class Watch(engine.Callback):
        def on_start(self, progress: Any) -> None:
            seen.append(("start", progress.epoch, progress.epochs, progress.steps))

        def on_step(self, progress: Any) -> None:
            seen.append(progress.step)

        def on_epoch(self, progress: Any) -> None:
            seen.append((progress.epoch, progress.loss, progress.validation_loss, progress.figures))
            if progress.epoch == 2:
                progress.stop()

        def on_end(self, progress: Any) -> None:
            seen.append("end")

    history = fit(network(), *data(), callbacks=[Watch()], epochs=9, **FIT)
    assert (history.epochs, history.ending) == (2, "stopped")
    figures = [
        (n + 1, history.loss[n], history.validation_loss[n], {"rmse": history.metrics["rmse"][n]}) for n in (0, 1)
    ]
    assert seen == [("start", 0, 9, 36), 1, 2, 3, 4, figures[0], 5, 6, 7, 8, figures[1], "end"]


def test_progress_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    fit(network(), *data(), epochs=1, **{**FIT, "quiet": False})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch 1/1  loss ")
    assert "rows/s" in err
    fit(network(), *data(), epochs=40, **{**FIT, "quiet": False})
    assert "\nepoch 40/40  loss " in capsys.readouterr().err  # however quick it was
    fit(network(), *data(), epochs=1, **FIT)
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One output, redrawn in place; its last state shows the last epoch."""
    pages: list[str] = []
    handle = SimpleNamespace(update=pages.append)
    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    display = SimpleNamespace(HTML=str, display=lambda page, display_id: handle)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    history = fit(network(), *data(), epochs=3, **{**FIT, "quiet": False})
    assert capsys.readouterr() == ("", "")
    assert 'value="1.0000"' in pages[-1]
    assert f"epoch 3/3  loss {history.loss[-1]:.4f}" in pages[-1]
    assert f"epoch 2/3  validation loss {history.validation_loss[1]:.4f}" in pages[-1]


def test_history_as_table_picture_and_frame(tmp_path: Path) -> None:
    history = fit(network(), *data(), epochs=3, **{**FIT, "metrics": ("rmse", "loss")})
    columns = ["epoch", "loss", "validation_loss", "rmse", "metric_loss", "lr", "seconds"]
    assert list(history.columns()) == columns
    assert "3 epochs" in repr(history)
    assert f"{history.loss[0]:.5g}" in history._repr_html_()
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert list(lines["training"]) == history.loss
    assert list(lines["validation"]) == history.validation_loss
    with refused(engine.InputError, "path: expected a file name that ends in png, svg, pdf"):
        history.plot("picture.doc")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = history.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["rmse"].tolist() == history.metrics["rmse"]
    assert frame.index.tolist() == [1, 2, 3]


def test_the_lines_of_its_metrics(tmp_path: Path) -> None:
    fit(network(), *data(), epochs=2, out=tmp_path / "run", **FIT)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"], line["epoch"]) for line in lines] == [
        ("train", 4, 1.0), ("validation", 4, 1.0), ("train", 8, 2.0), ("validation", 8, 2.0)]  # fmt: skip
    assert "rmse" in lines[1]


# -- what is refused --------------------------------------------------------------------------------------------------

X, Y = data()
BAD = X.copy()
BAD[3, 1, 2] = np.nan

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: fit("model", X, Y), "model: expected a layer or Sequential of engine, got 'model'"),
    (
        lambda: fit(network(), X, Y, parallel=4),
        "parallel: expected True, False or an engine.parallel.Communicator, got 4",
    ),
    (
        lambda: fit(network(), BAD, Y),
        "x: expected finite numbers that float32 holds, got nan at index [3, 1, 2]",
    ),
    (lambda: fit(network(), X, Y, validation=(BAD, Y)), "x of validation: expected finite numbers"),
    (lambda: fit(network(), X, Y, validation=1.5), "validation: expected a fraction"),
    (lambda: fit(network(), X, Y, validation=0.99), "validation: expected a fraction that leaves rows"),
    (lambda: fit(network(), X, Y, validation="last"), "validation: expected a fraction, (x, y)"),
    (lambda: fit(network(), X, Y, patience=2), "patience: expected 0 without validation, got 2"),
    (lambda: fit(network(), X, Y, epochs=0), "epochs: expected an integer >= 1, got 0"),
    (lambda: fit(network(), X, Y, batch_size=0), "batch_size: expected an integer >= 1, got 0"),
    (lambda: fit(network(), X, Y, clip=-1), "clip: expected a number >= 0, got -1"),
    (lambda: fit(network(), X, Y, clip=np.ones(2)), "clip: expected a number"),
    (lambda: fit(network(), X, Y, shuffle=1), "shuffle: expected True or False, got 1"),
    (
        lambda: fit(network(), X, Y, stateful=True, batch_size=6),
        "x: expected a multiple of batch_size 6 as rows",
    ),
    (
        lambda: fit(network(), X, Y, optimizer="adam"),
        "optimizer: expected an optimiser of this model, got 'adam'",
    ),
    (lambda: fit(network(), X, Y, optimizer=engine.Adam), "optimizer: expected an optimiser of this model"),
    (
        lambda: fit(network(), X, Y, optimizer=engine.Adam(network())),
        "optimizer: expected an optimiser of this model's parameters, got one of other parameters",
    ),
    (lambda: fit(network(), X, Y, schedule="linear"), "schedule: expected 'cosine', 'step', 'constant', or a"),
    (lambda: fit(network(), X, Y, callbacks=print), "callbacks: expected a list of callbacks"),
    (lambda: fit(network(), X, Y, callbacks=[engine.Callback]), "callbacks[0]: expected an engine.Callback"),
    (lambda: fit(network(), X, Y, resume=True), "resume: expected False without out, got True"),
    (lambda: fit(network(), X, Y, checkpoint_every=5), "checkpoint_every: expected 0 without out, got 5; give the f"),
    (lambda: fit(network(), ((X, Y) for _ in range(3))), "x: expected a source of batches that has a length"),
    (lambda: fit(network(), Indexed([X, X])), "x: expected batches (x, y), (x, y, lengths)"),
    (lambda: fit(network(), [(X, Y)], weights=[1.0]), "weights: expected None with a source of batches"),
    (lambda: fit(network(), [(X, Y), (X, Y[:3])]), "y of batch 1: expected as many targets as the 20 rows of x"),
    (lambda: fit(network(), [(X, Y)], validation=0.1), "validation: expected data or a source beside a source"),
    (
        lambda: fit(network(), X, Y, loss=lambda y, t: ("low", y)),
        "loss: expected a function whose first result is a num",
    ),
    (
        lambda: fit(network(), X, Y, loss=lambda y, t: (1.0, y[:1])),
        "loss: expected a function whose second result has the outputs' shape (20, 1), got shape (1, 1)",
    ),
    (lambda: fit(network(), X, Y, metrics=[lambda y, t: y]), "metrics: expected a number from the function '<lambda>'"),
    (
        lambda: fit(network(), X, Y, metrics=["edit_distance"], epochs=10**12),  # told before training
        "metrics: expected classes as targets for 'edit_distance'",
    ),
    (
        lambda: fit(network(K), X, np.zeros(N, int), loss="cross_entropy", weights={K: 2.0}),
        "weights: expected classes in 0..2, the outputs of the model, got 3",
    ),
    (lambda: fit(network(), X), "y: expected targets, one a row or one a step, got None"),
    (lambda: engine.evaluate(network(), X, Y, metrics=["auc"]), "metrics: expected some of 'loss', 'accuracy'"),
    (lambda: engine.evaluate(network(), X[:7], Y[:7], stateful=True, batch_size=4), "x: expected a multiple"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_refused(call: Callable[[], Any], words: str) -> None:
    with refused(engine.InputError, words):
        call()


def test_several_heads_with_one_loss_of_the_users_own() -> None:
    """It takes their targets out of the columns of one array; tests/test_fit_heads.py has targets by head."""
    x, _ = data()
    draw = np.random.default_rng(4)
    y = np.c_[draw.integers(0, K, N), draw.normal(size=N)]
    heads = {"kind": engine.Linear(H, K, **PLAIN), "size": engine.Linear(H, 1, **PLAIN)}
    trunk = engine.GRU(D, H, **PLAIN), engine.Pool("mean", **PLAIN)
    model = engine.Sequential(*trunk, engine.Heads(heads), seed=3)
    both = weighted_sum({"kind": (engine.cross_entropy, 1.0), "size": (engine.mse, 0.5)})

    def loss(outputs: Any, targets: Any) -> Any:
        return both(outputs, {"kind": targets[:, 0].astype(int), "size": targets[:, 1:]})

    history = fit(model, x, y, loss=loss, epochs=4, quiet=True)
    assert history.loss[-1] < history.loss[0]


def test_numbers_that_are_not_finite() -> None:
    """The step is named, and the weights are those from before it."""
    x, y = data()
    model = network()
    with refused(
        NonFiniteError, "expected finite numbers, got ", "; the update was not made: lower the optimiser's lr"
    ):
        fit(model, x, y, optimizer=engine.SGD(model, lr=3e38, momentum=0.9), clip=None, epochs=20, quiet=True)
    for nothing in (math.nan, np.float32("inf")):  # a loss of the user's, as Python or NumPy gives it
        with refused(NonFiniteError, "step 1 (epoch 1, batch 1 of 1): expected finite numbers", "in the loss"):
            fit(model, x, y, loss=lambda outputs, targets, loss=nothing: (loss, outputs), quiet=True)
    lone = engine.RNN(D, 1, nonlinearity="relu", **PLAIN)
    lone.params["weight_ih_l0"][...] = 10.0
    lone.touch()
    x[4, 1] = 3e38
    with refused(NonFiniteError, "step 1 (epoch 1, batch 1 of 1): expected finite numbers", "RNN (the model), layer 0"):
        fit(lone, x, y, epochs=1, quiet=True)
    lone.params["bias_ih_l0"][0] = np.nan
    with refused(engine.InputError, "model: expected finite weights, got NaN or infinity in 'bias_ih_l0'; "):
        fit(lone, *data(), epochs=1, quiet=True)


def test_a_step_reads_the_weights_of_a_layer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the stamp of its tape, which the backward pass of the same step need not compare."""
    read, plain = [0], NamedArrays.fingerprint

    def counted(self: NamedArrays) -> Any:
        read[0] += 1
        return plain(self)

    monkeypatch.setattr(NamedArrays, "fingerprint", counted)
    model = engine.Sequential(engine.GRU(3, 4, **PLAIN), engine.Dropout(0.1, **PLAIN), engine.Linear(4, 1, **PLAIN))
    counts = []
    for epochs in (1, 2):
        read[0] = 0
        x = np.random.default_rng(0).normal(size=(12, 5, 3))
        fit(model, x, x.sum(-1, keepdims=True), epochs=epochs, batch_size=4, quiet=True)
        counts.append(read[0])
    layers, steps = 3, 3
    assert counts[1] - counts[0] == layers * steps
