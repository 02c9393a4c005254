"""The explorer's page as a file: its mystery bugs, what stands in it, its size, and the command that writes it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, refused, write_series
from explorer_reading import Page

import engine
from engine import explorer, zoo
from engine.classroom.puzzle.gate_errors import analytic, cotangents
from engine.explorer import bugs, runs, sweeps, trained
from engine.explorer.page import built_in
from engine.explorer.pool import Pool
from engine.zoo.rewriting import GRU_GATES, LSTM_GATES
from kernels.cells import Cell, Phase

ROOT = Path(__file__).resolve().parent.parent


# -- bugs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm-f-slope-halved", "dh-cut-in-the-middle", "weight-hh-with-h-after-the-step"])
def test_a_mystery_shows_no_name_and_its_solution_can_be_chosen(name: str) -> None:
    found = bugs.bug_data(name, Pool())
    solution = json.loads(base64.b64decode(found["sealed"]))
    open_text = json.dumps({key: value for key, value in found.items() if key != "sealed"})
    bug = zoo.find(name)
    assert name not in open_text
    assert bug.story not in open_text
    assert solution["story"] == bug.story
    assert solution["line"] in [*found["lines"], *found["outside"]]
    assert set(solution["gates"]) <= {*found["gates"], "none"}
    assert solution["step"] is None or 0 <= solution["step"] < found["steps"]
    assert {line[0] for line in solution["diff"].splitlines()} == {"-", "+", " "}
    assert found["verdict"] == "wrong"


def test_every_chosen_bug_is_there_once() -> None:
    assert len(set(bugs.CHOSEN)) == len(bugs.CHOSEN) >= 12
    for name in bugs.CHOSEN:
        bug = zoo.find(name)
        right, wrong, title = bugs.texts_of(bug)
        lines = bugs.backward_lines(bug.case(0).layer.cell)
        assert bugs._place_of(lines, right, wrong, title) in [*lines, *bugs.OUTSIDE.values()]


def test_a_twin_of_the_changed_line_gives_the_same_numbers() -> None:
    edits = {
        "lstm-o-sign": LSTM_GATES.line("do = dh * tanh_c", "do = -dh * tanh_c"),
        "gru-z-sign": GRU_GATES.line("da_z = dz", "da_z = -dz"),
        "gru-reset-path-missing": GRU_GATES.line("da_r = dr", "da_r = 0 * dr"),
    }
    assert set(edits) == set(bugs.TWINS)
    for name, plant in edits.items():
        case = zoo.find(name).case(3)
        dy, dlast = cotangents(case, 3)
        with zoo.find(name).plant():
            planted = analytic(case, dy, dlast)
        with plant():
            twin = analytic(case, dy, dlast)
        for gate, values in planted.items():
            np.testing.assert_allclose(twin[gate], values, rtol=1e-12, atol=1e-15)
        solution = json.loads(base64.b64decode(bugs.bug_data(name, Pool())["sealed"]))
        assert [line.split(" = ")[0] for line in solution["twins"]] == list(bugs.TWINS[name])
        assert solution["line"] not in solution["twins"]


# -- the page ---------------------------------------------------------------------------------------------------------


def own_forward(a_q: Any, h_prev: Any, tanh: Any) -> Any:
    q = tanh(a_q)
    h = 0.5 * h_prev + q
    return q, h


def own_backward(dh: Any, q: Any, one: Any) -> Any:
    da_q = dh * (one - q * q)  # q = tanh(a_q)
    dh_prev = 0.5 * dh
    return da_q, dh_prev


@pytest.fixture
def own_cell() -> Any:
    from kernels import cells as registry

    yield Cell("explored", Phase("q", own_forward, own_backward), title="</script><b>own</b>")
    registry._CELLS.pop("explored")


@pytest.fixture
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "RADII", (0.9,))
    monkeypatch.setattr(sweeps, "FORGET", (1.0,))
    monkeypatch.setattr(sweeps, "LENGTHS", (10, 25))


@pytest.mark.usefixtures("quick_sweeps")
def test_a_page_is_one_file_that_asks_nobody(own_cell: Cell) -> None:
    page = Page(explorer.explorer_page(["gru", own_cell], mysteries=False))
    program = page.text.replace(page.text.split('id="numbers">')[1].split("</script>")[0], "")
    assert re.search(r"http|@import|url\(|src=|fetch\(|XMLHttp|sendBeacon|import\(", program) is None
    assert page.text.count("</script>") == 3
    assert [cell["title"] for cell in page.data["cells"]] == ["GRU", "</script><b>own</b>"]
    assert "<b>own" not in page.text
    own = page.data["cells"][1]
    assert own["functions"][0]["file"] == Path(__file__).name
    assert str(ROOT) not in page.text


@pytest.mark.proof
def test_the_whole_page_stays_below_its_limit() -> None:
    page = explorer.explorer_page()
    assert len(page.encode()) < 500 * 1024
    assert len(Page(page).data["cells"]) == len(built_in()) >= 13


@pytest.mark.usefixtures("quick_sweeps")
def test_too_many_cells_for_a_page_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.explorer.page.LIMIT", 60_000)
    with pytest.raises(engine.InputError, match="name fewer cells"):
        explorer.explorer_page(["gru"], mysteries=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cells": 5}, "cells: expected a list of cells"),
        ({"cells": []}, "cells: expected at least one cell"),
        ({"cells": ["lstn"]}, "cell: expected one of"),
        ({"cells": ["gru"], "seed": -1}, "seed: expected"),
        ({"cells": ["gru"], "mysteries": 2}, "mysteries: expected"),
    ],
)
def test_a_wrong_call_is_one_sentence(given: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises((engine.InputError, engine.InputTypeError), match=says):
        explorer.write(tmp_path / "page.html", **given)
    assert list(tmp_path.iterdir()) == []


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_sweeps")
def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    assert bptt("explore", "--cell", "rnn_tanh", "--no-bugs", "--seed", 4, "--out", file) == 0
    assert "KiB" in capsys.readouterr().out
    page = Page(file.read_text(encoding="utf-8"))
    run = runs.small_run(engine.cells()["rnn_tanh"], seed=4)
    cell = page.data["cells"][0]
    np.testing.assert_allclose(page.read(cell["slots"]["h"], 17), run.tape.h[:, 0], rtol=1e-6)
    assert page.data["bugs"] == []


@pytest.mark.usefixtures("quick_sweeps")
def test_a_trained_model_is_shown_on_a_text_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = ROOT / "tests" / "data" / "version1" / "language", tmp_path / "page.html"
    assert bptt("explore", run, "--text", "the tide", "--cell", "rnn_tanh", "--no-bugs", "--out", file) == 0
    cells = Page(file.read_text(encoding="utf-8")).data["cells"]
    assert [cell["title"] for cell in cells] == ["LSTM: layer 1 of 2", "LSTM: layer 2 of 2", "RNN (tanh)"]
    assert cells[0]["labels"] == list("the␣tid")
    assert cells[0]["steps"] == 7
    for text, says in (("abc", "at least 4 characters"), ("the tide ©", "--text")):
        assert says in refused(capsys, "explore", run, "--text", text, "--out", tmp_path / "other.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_forecaster_is_shown_on_the_end_of_its_series(tmp_path: Path) -> None:
    series, run = write_series(tmp_path / "level.csv", 90), tmp_path / "run"
    options = "--task forecast --horizon 2 --window 12 --hidden 5 --steps 2 --backend numpy:reference --quiet"
    assert bptt("train", *options.split(), "--data", series, "--out", run) == 0
    (found,) = trained.trained_runs(run)
    assert found.steps == 12
    assert found.labels == ()
    assert np.any(found.trace.dh[-1])
    with pytest.raises(engine.InputError, match="no text for a forecaster"):
        trained.trained_runs(run, text="some text")


@pytest.mark.usefixtures("quick_sweeps")
@pytest.mark.parametrize("starts", [True, False])
def test_without_a_file_a_browser_is_opened(
    starts: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[str] = []

    def open_page(url: str) -> bool:
        asked.append(url)
        return starts

    monkeypatch.setattr("webbrowser.open", open_page)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(tmp_path))
    assert bptt("explore", "--cell", "rnn_relu", "--no-bugs") == 0
    assert asked == [(tmp_path / "explorer.html").as_uri()]
    assert ("No browser could be started" in capsys.readouterr().out) is not starts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cell", "lst"], "--cell: expected one of"),
        (["--seed", "-1"], "--seed"),
        (["--out", "nowhere/page.html"], "--out: expected a file in a folder that exists"),
        (["--text", "abcd"], "--text"),
        (["no-such-run", "--out", "page.html"], "no-such-run"),
    ],
)
def test_bad_input_of_the_command_is_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused(capsys, "explore", *words)
    assert list(tmp_path.iterdir()) == []
