"""Weights that overflow in the update itself (rule 16), models that are worse than none, and files with NaN in them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, metrics, refused, write_series, write_text

from engine.training import read_checkpoint, write_checkpoint
from engine.training.checkpoint import read_file
from engine.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = (
    "--backend numpy:reference --hidden 5 --embed 3 --batch 2 --sequence 7 --report-every 1 --validate-every 3 "
    "--checkpoint-every 1 --quiet"
).split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "tides.txt", 1200)


@pytest.fixture(scope="module")
def run(text: Path) -> Path:
    """A run that went well."""
    out = text.parent / "run"
    assert bptt("train", text, "--out", out, "--steps", 4, "--lr", 0.02, *SMALL) == 0
    return out


def weights(path: Path) -> dict[str, np.ndarray]:
    return {name: a for name, a in read_file(path).arrays.items() if name.startswith("model/")}


@pytest.mark.parametrize(
    "options",
    [
        ["--optimizer", "sgd", "--lr", 1e39],
        ["--optimizer", "sgd", "--l2", 1e39],
        ["--optimizer", "sgd", "--momentum", 0.9, "--lr", 1e300],
        ["--optimizer", "adam", "--lr", 1e39],
        ["--optimizer", "adam", "--l1", 1e39],
        ["--optimizer", "adamw", "--weight-decay", 1e45],
        ["--optimizer", "rmsprop", "--lr", 1e39],
        ["--optimizer", "adagrad", "--l2", 1e39],
        ["--optimizer", "sgd", "--lr", 1e299, "--clip", 1e299, "--dtype", "float64", "--l2", 1e300],
        ["--optimizer", "sgd", "--lr", 1e39, "--schedule", "constant", "--warmup", 2],
    ],
)
@pytest.mark.parametrize("every", [1, 1000])
def test_an_update_that_overflows_never_reaches_a_file(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[Any], every: int
) -> None:
    out = tmp_path / "run"
    rhythm = ["--report-every", every, "--validate-every", every, "--checkpoint-every", every]
    once = "--backend numpy:reference --hidden 5 --embed 3 --batch 2 --sequence 7 --quiet".split()
    err = refused(capsys, "train", text, "--out", out, "--steps", 6, *options, *rhythm, *once, code=1)
    assert re.search(
        r"^bptt: step \d: expected finite weights, got (infinity|NaN) in parameter '[\w.]+' at index \[\d+(, \d+)?\]; "
        r"loss and gradient were finite, the update itself overflowed: lower --lr.*every checkpoint is from before it$",
        err.strip(),
    ), err
    for path in out.glob("*.safetensors"):
        assert all(np.isfinite(a).all() for a in weights(path).values()), path


def test_a_weight_that_no_input_reaches(run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss does not see it: nothing but the look before a file is written does."""
    out = tmp_path / "run"
    shutil.copytree(run, out)
    real = Trainer._step

    def step(self: Trainer) -> None:
        real(self)
        if self.state.step == 7:
            self.task.model.params["0.weight"][4, 1] = np.inf

    monkeypatch.setattr(Trainer, "_step", step)
    rhythm = ["--resume", "--out", out, "--steps", 9, "--quiet"]
    assert bptt("train", *rhythm) == 1
    assert read_checkpoint(out / "last.safetensors").meta["trainer"]["step"] == 6
    assert max(record["step"] for record in metrics(out) if record["kind"] == "validation") == 6


# -- files with NaN in them -------------------------------------------------------------------------------------------


def poisoned(run: Path, target: Path, name: str, index: tuple[int, ...], value: float) -> Path:
    checkpoint = read_file(run / "last.safetensors")
    arrays = {**checkpoint.arrays, name: checkpoint.arrays[name].copy()}
    arrays[name][index] = value
    write_checkpoint(target, arrays, {k: v for k, v in checkpoint.meta.items() if k != "format_version"})
    return target


@pytest.mark.parametrize(
    ("name", "index", "value", "words"),
    [
        ("model/1.weight_hh_l0", (3, 2), np.nan, "nan in parameter '1.weight_hh_l0' at index [3, 2]"),
        ("model/2.bias", (6,), -np.inf, "-inf in parameter '2.bias' at index [6]"),
    ],
)
@pytest.mark.parametrize("command", [["sample"], ["evaluate"], ["evaluate", "--json"]])
def test_bad_weights_in_a_file(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    name: str,
    index: tuple[int, ...],
    value: float,
    words: str,
) -> None:
    path = poisoned(run, tmp_path / "x.safetensors", name, index, value)
    err = refused(capsys, *command, path)
    assert err.startswith(f"bptt: {path}: expected finite numbers, got {words}; ")


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("optimizer/exp_avg.0.weight", np.inf, False),
        ("optimizer/exp_avg_sq.0.weight", np.nan, False),
        ("optimizer/exp_avg_sq.0.weight", np.inf, True),  # its square overflowed: that weight stands still (stepping)
        ("carried/1/1", np.nan, False),
    ],
)
def test_bad_numbers_in_a_state(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: float, good: bool
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    index = (0,) * read_file(run / "last.safetensors").arrays[name].ndim
    poisoned(run, out / "last.safetensors", name, index, value)
    if good:
        assert bptt("train", "--out", out, "--resume", "--steps", 6, "--quiet") == 0
    else:
        err = refused(capsys, "train", "--out", out, "--resume", "--steps", 6, "--quiet")
        assert f"last.safetensors: expected finite numbers, got {value} in '{name}' at index " in err


def test_weights_that_are_finite_and_too_large(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = read_file(run / "last.safetensors")
    large = {name: np.full_like(checkpoint.arrays[name], 3e38) for name in ("model/2.weight", "model/2.bias")}
    path = tmp_path / "x.safetensors"
    meta = {k: v for k, v in checkpoint.meta.items() if k != "format_version"}
    write_checkpoint(path, checkpoint.arrays | large, meta)
    assert "expected a finite loss, got " in refused(capsys, "evaluate", path, "--json", code=1)
    err = refused(capsys, "sample", path, "--json", code=1)
    assert "model: expected a finite output, got " in err


# -- worse than nothing -----------------------------------------------------------------------------------------------


def test_a_text_model_that_is_worse_than_guessing(
    text: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    bad = ["--optimizer", "sgd", "--clip", 0, "--lr", 30, "--steps", 3, *SMALL]
    assert bptt("train", text, "--out", out, *bad) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"Worse than guessing: [\d.e+]+ bits per character, where guessing among 29 characters takes 4.858", said
    )
    assert bptt("evaluate", out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["worse_than_guessing"] is True
    assert result["guessing"] == pytest.approx(np.log2(29))
    assert bptt("evaluate", out) == 0
    assert "Worse than guessing" in capsys.readouterr().out
    assert bptt("evaluate", run, "--json") == 0  # four good steps are better than that
    assert json.loads(capsys.readouterr().out)["worse_than_guessing"] is False


def test_a_run_that_ends_worse_than_it_was(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best state is good; the last one is not."""
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", 12, "--lr", 0.05, "--schedule", "constant", *SMALL) == 0
    assert "guessing" not in capsys.readouterr().out
    real = Trainer._validate

    def validate(self: Trainer) -> None:
        self.task.model.params["2.weight"][...] *= 300
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_validate", validate)
        assert bptt("train", "--out", out, "--resume", "--steps", 15, "--quiet") == 0
    assert "The run ended worse than guessing: " in capsys.readouterr().out


def test_a_forecaster_that_is_worse_than_persistence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, out = write_series(tmp_path / "level.csv", 120), tmp_path / "run"
    options = ["--task", "forecast", "--data", series, "--window", 8, "--hidden", 4, "--backend", "numpy:reference"]
    bad = ["--steps", 2, "--lr", 1e4, "--optimizer", "sgd", "--clip", 0, "--quiet"]
    assert bptt("train", *options, "--out", out, *bad, "--json") == 0
    assert json.loads(capsys.readouterr().out)["worse_than_persistence"] is True
    assert bptt("evaluate", out) == 0
    assert "Worse than persistence, which repeats the last value: RMSE " in capsys.readouterr().out


# -- a longer run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "more", "rises"),
    [
        ("cosine", ["--steps", 60], True),
        ("cosine", ["--epochs", 3], True),
        ("step", ["--steps", 60], True),
        ("constant", ["--steps", 24], False),
        ("cosine", ["--steps", 20], False),
    ],
)
def test_a_rate_that_rises_again_is_told(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], schedule: str, more: list[Any], rises: bool
) -> None:
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", 20, "--schedule", schedule, *SMALL) == 0
    capsys.readouterr()
    assert bptt("train", "--out", out, "--resume", *more, "--json", "--quiet") == 0
    warning = json.loads(capsys.readouterr().out)["warning"]
    if not rises:
        assert warning is None
        return
    rates = [r["lr"] for r in metrics(out) if r["kind"] == "train"]
    assert warning.startswith(
        f"the learning rate rises again from {rates[19]:.3g} to {rates[20]:.3g}, for the {schedule} "
    )


def test_fewer_steps_than_were_made(text: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    capsys.readouterr()
    assert bptt("train", "--out", out, "--resume", "--steps", 3, "--quiet") == 0
    assert "Note: the 4 steps made are more than the 3 asked for: nothing is trained." in capsys.readouterr().out
