"""The echo task: a series goes on by itself, on the command line and in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt

import engine
from engine.data.synthetic import mackey_glass
from engine.tasks.echo import EchoState
from engine.training.checkpoint import read_checkpoint
from engine.training.config import make
from engine.training.task import load_model

COMMAND = (
    "--task echo --hidden 80 --window 60 --horizon 20 --density 0.2 --ridge 1e-9 --backend numpy:reference --quiet"
).split()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A series of two columns, and a run on it."""
    folder = tmp_path_factory.mktemp("echo")
    chaos = mackey_glass(1200, seed=3)
    columns = np.stack([50 + 10 * chaos, np.roll(chaos, 9)], axis=1)[20:]
    np.savetxt(folder / "chaos.csv", columns, header="level,late", delimiter=",", comments="")
    options = [*COMMAND, "--data", folder / "chaos.csv", "--column", "level", "--column", "late"]
    assert bptt("train", *options, "--out", folder / "run") == 0
    return folder / "chaos.csv", folder / "run"


def predicted(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert bptt(*words, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_is_better_than_every_baseline(run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    scores = predicted(capsys, "evaluate", run[1])["scores"]
    ours = scores.pop("echo state network")["rmse"]
    assert set(scores) == {"persistence", "linear autoregression"}
    assert ours < 0.3 * min(score["rmse"] for score in scores.values())
    assert (run[1] / "forecast.png").stat().st_size > 10_000


def test_a_reservoir_that_is_worse_than_persistence_is_told_its_own_options(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stiff = [
        {"20": "1", "1e-9": "1e9"}.get(word, word) for word in COMMAND
    ]  # a step ahead, and a penalty far too large
    assert bptt("train", *stiff, "--data", run[0], "--column", "level", "--out", tmp_path / "run") == 0
    verdict = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Worse than persistence"))
    assert "try another --radius, --leak or --input-scale" in verdict
    assert "--lr" not in verdict


@pytest.mark.usefixtures("blank_pictures")
def test_the_microscope_looks_at_the_reservoir_and_the_explorer_says_what_it_takes(
    run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flow = predicted(capsys, "trace", run[1])["layers"]["0.l0"]
    assert 0 < flow["states"]["h"][0] < flow["states"]["h"][-1]
    assert bptt("explore", run[1]) == 2
    said = "RUN: expected a run of the task 'language' or 'forecast', got one of the task 'echo'"
    assert said in capsys.readouterr().err


def test_what_comes_next_is_a_free_run_in_the_unit_of_the_series(
    run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Scaled by hand with the mean and the deviation of the training part's windows."""
    values = np.loadtxt(run[0], delimiter=",", skiprows=1)
    found = [point["value"] for point in predicted(capsys, "predict", run[1])["next"]]
    checkpoint = read_checkpoint(run[1] / "best.safetensors")
    model = load_model(checkpoint, engine.get_backend("numpy:reference"))
    said = {name: np.array(value) for name, value in checkpoint.meta["task"]["x"].items() if name != "kind"}
    scaled = (values[-60:] - said["offset"]) / said["scale"]
    ahead = engine.free_run(model, scaled[:, None, :].astype(model.dtype), steps=20)
    np.testing.assert_allclose(found, ahead[:, 0, 0] * said["scale"][0] + said["offset"][0], rtol=1e-9)


def test_the_reservoir_is_that_of_the_options_and_training_leaves_the_solution(run: tuple[Path, Path]) -> None:
    config = make("echo", {"data": str(run[0]), "column": ("level", "late"), "hidden": 30, "window": 40,
                           "radius": 0.6, "leak": 0.25, "backend": "numpy:reference"})  # fmt: skip
    job = EchoState(config, engine.get_backend(config.backend))
    weights = job.model.params
    assert np.abs(np.linalg.eigvals(weights["0.weight_hh_l0"])).max() == pytest.approx(0.6)
    assert (weights["0.p_leak_l0"] == 0.25).all()
    batch = job.batch(0)
    y, _, _ = job.model.forward(batch.x)
    loss, dy, rows = job.loss(y, batch)
    assert not dy.any()
    assert (rows, y.shape) == (32, (39, 32, 2))
    assert float(loss) == pytest.approx(np.mean((y[-1] - batch.targets) ** 2))
    assert float(loss) < 0.01
    np.testing.assert_array_equal(batch.x[5, 3], job.scaling.x.transform(job.series.values)[8])
    np.testing.assert_array_equal(batch.targets[3], job.scaling.x.transform(job.series.values)[42])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--leak 0", "--leak: expected a finite number > 0"),
        ("--window 1", "--window: expected at least 2, got 1"),
        ("--window 5000", "rows in the training part"),
        ("--cell gru", "--cell: expected"),
    ],
)
def test_bad_options_are_told_in_one_line(
    options: str, told: str, run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", run[0], "--column", "level", *options.split(), "--out", tmp_path / "other"]
    assert bptt("train", "--task", "echo", "--hidden", 20, "--quiet", *command) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "other").exists()
