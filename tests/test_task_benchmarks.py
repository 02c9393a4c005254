"""Tasks beside PyTorch: what both sides get, what is written down, and the table that is made of it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import distance
from commands import write_series

import engine
from benchmarks.tasks import __main__ as command
from benchmarks.tasks import page
from benchmarks.tasks.case import VARIABLE, Case, all_cases
from benchmarks.tasks.job import run
from engine.losses import quantile

SMALL = Case(
    name="small",
    title="a season of 12",
    task="forecast",
    options={
        **{"column": ("level",), "horizon": 3, "season": 12, "window": 9, "steps": 60},
        **{"hidden": 6, "batch": 16, "backend": "numpy:reference"},
    },
    data=lambda _, scratch: {"data": str(write_series(scratch / "series.csv"))},
    figure="rmse",
    baseline=lambda task: ("nothing", float(task.batches)),
    torch="benchmarks.tasks.forecast_torch",
    scale=1.0,
    unit="",
    higher=False,
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))


def test_our_side_learns_and_is_the_same_again() -> None:
    first, again, other = run(SMALL, "ours", 0), run(SMALL, "ours", 0), run(SMALL, "ours", 1)
    assert first["figure"] == again["figure"] != other["figure"]
    assert first["steps"] == 60
    assert first["seconds"] > 0
    untrained = run(Case(**{**vars(SMALL), "options": {**SMALL.options, "lr": 1e-30}}), "ours", 0)
    assert first["figure"] < 0.8 * untrained["figure"]


@pytest.mark.oracle
def test_pytorch_gets_the_same_data_and_is_about_as_good() -> None:
    case = Case(**{**vars(SMALL), "options": {**SMALL.options, "steps": 150}})
    ours, theirs = run(case, "ours", 0), run(case, "torch", 0)
    assert ours["steps"] == theirs["steps"]
    assert ours["baseline"] == theirs["baseline"]
    assert theirs["figure"] == pytest.approx(ours["figure"], rel=0.5)


@pytest.mark.oracle
def test_the_field_of_pytorch_is_ours() -> None:
    """The same parameters give the same loss and the same scores of pairs."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    field = importlib.import_module("benchmarks.tasks.tag_crf_torch").Field(3).double()
    crf, lengths, rng = (
        engine.CRF(3, dtype="float64", backend="numpy:reference"),
        [5, 2, 4, 1],
        np.random.default_rng(3),
    )
    crf.load_state_dict({name: 3.0 * value.detach().numpy() for name, value in field.named_parameters()})
    with torch.no_grad():
        for value in field.parameters():
            value *= 3.0
    x, tags = rng.normal(size=(5, 4, 3)), rng.integers(0, 3, (5, 4))
    y = crf.predict(x, lengths=lengths)[0]
    given = torch.from_numpy(x), torch.from_numpy(tags), torch.tensor(lengths)
    assert distance(field.loss(*given).item(), crf.loss(y, tags, lengths=lengths)[0]) <= 1e-14
    valid = np.arange(5)[:, None] < lengths
    assert distance(field.pairs(given[0], given[2]).detach().numpy()[valid], y[valid]) <= 1e-15


@pytest.mark.oracle
def test_the_quantile_loss_of_pytorch_is_ours() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    loss, rng, levels = (
        importlib.import_module("benchmarks.tasks.series_torch").quantile_loss,
        np.random.default_rng(3),
        (0.1, 0.5, 0.8),
    )
    said, wanted, known = rng.normal(size=(4, 5, 6)), rng.normal(size=(4, 5, 2)), rng.random((4, 5, 2)) < 0.7
    theirs = loss(*map(torch.from_numpy, (said, wanted, known)), torch.tensor(levels, dtype=torch.float64))
    assert distance(theirs.item(), quantile(said, wanted, levels, known)[0]) <= 1e-14


def test_every_case_names_a_task_and_a_script_that_are_there() -> None:
    for name, case in all_cases().items():
        assert name == case.name
        assert not case.torch or importlib.util.find_spec(case.torch)
    assert [case.task for case in command.chosen(["forecast"])] == ["forecast"]
    with pytest.raises(command.CaseError, match=r"NAME: expected one of .*co2.*, got 'nothing'"):
        command.chosen(["nothing"])


def test_what_cannot_be_run_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.main(["nothing"]) == 2
    monkeypatch.setenv(VARIABLE, "/no/such/folder")
    assert command.main(["co2"]) == 2
    assert "expected the folder with real data" in capsys.readouterr().err
    assert command.main([]) == 0
    assert "co2" in capsys.readouterr().out


def trained(figure: float, seconds: float) -> dict[str, Any]:
    row = {"figure": figure, "seconds": 9 * seconds, "cpu_seconds": seconds, "steps": 1234}
    return {**row, "baseline": {"name": "majority", "figure": 0.5}}


def test_the_table_of_the_page(tmp_path: Path) -> None:
    document = {
        **{"command": "python -m benchmarks.tasks x", "date": "2026-01-02T03:04:05", "case": "x", "title": "a to b"},
        **{"machine": {"cpu": "chip", "cores": 2, "python": "3.13"}, "versions": {"numpy": "2.0", "torch": "2.13"}},
        **{"threads": 1, "figure": "accuracy", "scale": 100.0, "unit": "%", "higher": True},
        "rows": [
            {"seed": 0, "ours": trained(0.91, 2.0), "torch": trained(0.9, 3.0)},
            {"seed": 1, "ours": trained(0.93, 4.0), "torch": trained(0.9, 6.0)},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    written = tmp_path / "tasks.md"
    written.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write_page(written, tmp_path)
    text = written.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{page.END}\nafter\n")
    assert "old" not in text
    row = (
        "| `x`: a to b | accuracy, % | majority: 50.00 | 92.00 (91.00 to 93.00) | 90.00 (90.00 to 90.00) | 3.0 | 4.5 |"
    )
    assert f"{row} 1.50 |" in text
    assert "`python -m benchmarks.tasks x`: 2 seeds, 1,234 steps each, on 1 of 2 cores, chip" in text
    page.write_page(written, tmp_path)
    assert written.read_text() == text


def test_the_page_of_the_project_is_that_of_its_results(tmp_path: Path) -> None:
    copy = tmp_path / "tasks.md"
    copy.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    page.write_page(copy)
    assert copy.read_text(encoding="utf-8") == page.PAGE.read_text(encoding="utf-8")
