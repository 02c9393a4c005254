"""The tables of papers run, and their page shows the results that are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import engine
from benchmarks.studies.papers import page
from benchmarks.studies.papers.__main__ import main
from benchmarks.studies.papers.common import chrono, network
from benchmarks.studies.papers.sequences import judge_copies, judge_sums
from benchmarks.studies.papers.strings_and_images import count_wrong
from benchmarks.studies.papers.tables import TABLES
from engine.data.reber import reber_rows, reber_strings
from engine.data.synthetic import adding_problem, copy_memory

KEPT = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(page.RESULTS.glob("*.json"))}


def test_every_table_was_measured_with_the_sizes_of_the_code() -> None:
    assert set(KEPT) == set(TABLES)
    for name, kept in KEPT.items():
        assert kept["setting"] == json.loads(json.dumps(TABLES[name].setting)), name
        assert kept["command"] == f"python -m benchmarks.studies.papers {name}"


def test_the_page_is_what_the_script_writes(tmp_path: Any) -> None:
    page.write_page(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page.PAGE.read_text(encoding="utf-8")


def test_every_figure_of_a_paper_has_its_place() -> None:
    for table in TABLES.values():
        for row in table.papers:
            assert set(row.figures) <= {*table.figures, "sequences"}
            assert any(word in row.source for word in ("table", "section", "figure", "pages"))


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """The command takes one thread for its process, which here is that of all tests."""
    yield
    engine.set_num_threads(None)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "digits"])
def test_a_table_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--tiny"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(TABLES[name].title)
    for row in TABLES[name].papers:
        assert row.model in out


def test_the_digits_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn has the digits")
    assert main(["digits", "--tiny"]) == 0
    assert "nearest mean image" in capsys.readouterr().out


def test_an_unknown_table_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["chaoss"])
    assert ended.value.code == 2
    assert "no table is called 'chaoss'" in capsys.readouterr().err


def test_gates_start_out_to_remember() -> None:
    """With the input and the recurrent weights at 0, what an LSTM and a GRU keep of a state after `longest` steps."""
    import engine

    for kind in (engine.LSTM, engine.GRU):
        layer = kind(2, 50, backend="numpy:reference", dtype="float64")
        layer.load_state_dict({name: 0.0 * value for name, value in layer.state_dict().items()})
        chrono(layer, 40, seed=1)
        ones = np.ones((1, 1, 50))
        state = (0.0 * ones, ones) if kind is engine.LSTM else ones
        last = layer.predict(np.zeros((1, 1, 2)), state)[1]
        kept = (last[1] if kind is engine.LSTM else last)[0, 0]
        times = kept / (1.0 - kept)  # t / (t + 1)
        assert times.min() > 1.0
        assert 30.0 < times.max() < 39.0
        assert np.ptp(times) > 20.0


def test_an_irnn_repeats_its_state() -> None:
    model = network("IRNN", 2, 6, 1, backend="numpy:reference")
    h = np.abs(np.random.default_rng(0).normal(size=(1, 3, 6))).astype(np.float32)
    y, _ = model.layers[0].predict(np.zeros((4, 3, 2), np.float32), h)
    assert np.array_equal(y[-1], h[0])


def test_the_judges_know_right_answers_and_wrong_ones() -> None:
    sums = adding_problem(9, 30, seed=1)
    y = np.zeros((9, 33, 1))
    y[np.arange(9), sums.lengths - 1] = sums.targets
    assert judge_sums(y, sums) == {"wrong": 0.0, "mse": 0.0}
    y[2:5] += 0.05
    assert judge_sums(y, sums)["wrong"] == 3.0

    copies = copy_memory(6, 4, seed=2)
    right = np.eye(9)[copies.targets]
    assert judge_copies(right, copies) == {"cross_entropy": 0.0, "symbols": 100.0}
    blind = np.eye(9)[np.full((6, 24), 8)]
    blind[:, -10:] = np.append(np.full(8, 1 / 8), 0.0)
    assert judge_copies(blind, copies)["cross_entropy"] == pytest.approx(10 * np.log(8) / 24)


def test_a_string_is_wrong_by_one_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = reber_rows(reber_strings(8, seed=4))
    said = rows.allowed.astype(float)
    monkeypatch.setattr("benchmarks.studies.papers.strings_and_images.outputs", lambda model, data: said)
    assert count_wrong(None, rows) == 0
    said[3, rows.lengths[3] - 2] = np.roll(said[3, rows.lengths[3] - 2], 1)
    assert count_wrong(None, rows) == 1
