"""``bptt trace``: the textbook facts by one command, the model of a run, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, bptt, refused, tiny, write_series, write_text
from test_docs import agree, blocks_of, shell_lines

import engine
from engine.microscope.generated import fresh_layer

SMALL = "--steps 6 --batch 2 --inputs 3 --hidden 4".split()


def trace(capsys: pytest.CaptureFixture[str], *args: object) -> Any:
    """What ``bptt trace --json`` prints."""
    capsys.readouterr()
    assert bptt("trace", *args, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


# -- the textbook facts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("radius", "verdict"), [(0.9, "vanishing"), (1.1, "exploding")])
def test_a_tanh_rnn_vanishes_and_explodes_at_the_predicted_rate(
    radius: float, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--cell rnn_tanh --no-bias --spectral-radius {radius} --input-scale 0.001".split()
    found = trace(capsys, *words)
    flow = found["layers"]["l0"]
    assert found["verdict"] == flow["verdict"] == verdict
    assert flow["rate"] == pytest.approx(radius, rel=0.01)
    dh = flow["states"]["h"]
    assert (dh[0] / dh[50]) ** (1 / 50) == pytest.approx(
        radius, rel=0.02
    )  # far from the end, where one direction is left


def test_a_forget_bias_lengthens_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    biases = (0, 1, 3)
    small = "--hidden 16 --steps 30 --rows 1".split()
    rates = [trace(capsys, "--forget-bias", bias, *small)["layers"]["l0"]["rate"] for bias in biases]
    assert rates == sorted(rates)
    for bias, rate in zip(biases, rates, strict=True):  # the road of the cell state: f at each step
        assert rate == pytest.approx(1 / (1 + np.exp(-bias)), rel=0.3)


def test_k2_is_how_far_the_gradient_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    found = trace(capsys, "--cell", "gru", "--steps", 20, "--k2", 6)
    dh = found["layers"]["l0"]["states"]["h"]
    assert dh[:14] == [0.0] * 14
    assert min(dh[14:]) > 0
    assert 0 < found["truncation"]["captured"]["weight_hh_l0"] < 2
    chunks = trace(capsys, "--cell", "gru", "--steps", 20, "--k2", 6, "--k1", 5, "--loss", "all")
    assert (chunks["truncation"]["k1"], chunks["truncation"]["k2"]) == (5, 6)
    assert min(chunks["layers"]["l0"]["states"]["h"][1:]) > 0


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "vanishing_gradients.md"
    command = shell_lines(page)[0]
    shown = next(block.text for block in blocks_of(page) if block.text.startswith("input: "))
    assert bptt(*command[1:]) == 0
    assert agree(capsys.readouterr().out, shown)


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", sorted(engine.cells()))
def test_every_cell_can_be_looked_at(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = trace(capsys, "--cell", cell, *SMALL, "--layers", 2, "--bidirectional", "--rows", 1)
    assert list(found["layers"]) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert found["layers"]["l1"]["cell"] == cell
    assert found["input"] == "normal noise"


def test_the_radius_and_the_bias_are_what_was_asked_for() -> None:
    sizes = 3, 5, 2
    gru = fresh_layer("gru", *sizes, bidirectional=True, spectral_radius=0.7, backend="numpy:reference")
    for name in [name for name in gru.params if "weight_hh" in name]:
        for block in np.split(gru.params[name].astype(np.float64), 3):
            assert np.abs(np.linalg.eigvals(block)).max() == pytest.approx(0.7, rel=1e-6)
    indrnn = fresh_layer("indrnn", *sizes, spectral_radius=0.7, backend="numpy:reference")
    assert np.abs(indrnn.params["p_u_l1"]).max() == pytest.approx(0.7, rel=1e-6)
    for cell, gate in (("lstm", 1), ("coupled_lstm", 0), ("mgu", 0)):
        layer = fresh_layer(cell, *sizes, forget_bias=2.5, backend="numpy:reference")
        f = slice(gate * 5, gate * 5 + 5)
        assert (layer.params["bias_ih_l1"][f] == 2.5).all()
        assert (layer.params["bias_hh_l1"][f] == 0).all()
        assert (layer.params["bias_ih_l1"] != 2.5).sum() == len(layer.params["bias_ih_l1"]) - 5
    normed = fresh_layer("layernorm_lstm", *sizes, forget_bias=2.5, backend="numpy:reference")
    assert (normed.params["p_bias_f_l0"] == 2.5).all()
    assert (normed.params["p_bias_i_l0"] == 0).all()


def test_it_prints_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "trace.png"
    assert bptt("trace", *SMALL, "--only", "l0", "--plot", picture) == 0
    words = capsys.readouterr().out
    assert words.startswith("input: normal noise\ngradients of the output at the last step times random weights = ")
    assert words.splitlines()[-1].endswith(": 1 layer and direction")
    assert picture.read_bytes().startswith(b"\x89PNG")


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("blank_pictures")
def test_the_model_of_a_run_reads_its_own_data_or_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, out = write_text(tmp_path / "tide.txt"), tmp_path / "run"
    assert bptt("train", text, "--out", out, "--quiet", "--steps", 12, *tiny()) == 0
    found = trace(capsys, out)
    assert list(found["layers"]) == ["1.l0", "1.l1"]
    flow = found["layers"]["1.l0"]
    assert (flow["steps"], flow["batch"], flow["units"]) == (8, 4, 6)
    assert found["objective"] == "the given loss"
    assert 0 < found["loss"] < 5
    assert found["run"] == str(out)
    other = trace(capsys, out, "--steps", 5, "--batch", 3, "--loss", "last", "--rows", 0)["layers"]["1.l1"]
    assert (other["steps"], other["batch"]) == (5, 3)
    assert other["verdict"] == "cannot tell"
    read = trace(capsys, out / "last.safetensors", "--text", "the tide", "--loss", "last", "--only", "1.l1")
    assert (read["layers"]["1.l1"]["steps"], read["layers"]["1.l1"]["batch"]) == (7, 1)
    assert trace(capsys, out, "--text", "the tide")["loss"] != read["loss"]
    assert "--text: expected only the" in refused(capsys, "trace", out, "--text", "Ω")
    assert "--text: expected at least two" in refused(capsys, "trace", out, "--text", "t")
    assert "--steps: expected no --text" in refused(capsys, "trace", out, "--text", "the", "--steps", 3)
    for option, value in (("--cell", "gru"), ("--hidden", 3), ("--spectral-radius", 1), ("--dtype", "float32")):
        assert f"{option}: expected no RUN beside it" in refused(capsys, "trace", out, option, value)


@pytest.mark.usefixtures("blank_pictures")
def test_a_forecaster_can_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series, out = write_series(tmp_path / "level.csv"), tmp_path / "run"
    words = "--task forecast --backend numpy:reference --quiet --steps 3 --hidden 5 --window 12 --batch 7".split()
    assert bptt("train", *words, "--data", series, "--column", "level", "--out", out) == 0
    flow = trace(capsys, out, "--steps", 9)["layers"]["0.l0"]
    assert (flow["steps"], flow["batch"]) == (9, 7)
    assert flow["states"]["h"][0] < flow["states"]["h"][-1]  # its loss is of the last step


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--only l7", "--only: expected some of l0, got 'l7'"),
        ("--k1 3", "--k1: expected --k2 beside it"),
        ("--k1 3 --k2 2", "--k2: expected at least k1 = 3, got 2"),
        ("--bidirectional --k2 2", "model: expected one direction for truncated BPTT"),
        ("--text hello", "--text: expected a RUN to go with it"),
        ("--checkpoint best", "--checkpoint: expected a RUN to go with it"),
        ("--spectral-radius 1 --cell projected_lstm", "--spectral-radius: expected None for the cell projected_lstm"),
        ("--spectral-radius -1", "--spectral-radius: expected a number >= 0"),
        ("--forget-bias 1 --cell gru", "--forget-bias: expected None, or a cell with a gate f"),
        ("--forget-bias 1 --no-bias", "--forget-bias: expected None, or a cell with a gate f"),
        ("--forget-bias nan", "--forget-bias: expected a finite number"),
        ("--steps 0", "--steps: expected an integer >= 1"),
        ("--steps 100000000", "--steps: expected steps * batch"),
        ("--batch 0", "--batch: expected an integer >= 1"),
        ("--hidden 0", "--hidden: expected an integer >= 1"),
        ("--rows -1", "--rows: expected an integer >= 0"),
        ("--seed -1", "--seed: expected an integer >= 0"),
        ("--plot trace.doc", "--plot: expected a file name that ends in"),
        ("--plot no/trace.png", "--plot: expected a file in a folder that exists"),
        ("--backend tensorflow", "backend"),
        ("nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, "trace", *words.split())
