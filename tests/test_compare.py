"""`bptt compare`: the differences it finds, what it says of backends that are missing or wrong, time, bytes, memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS
from commands import bptt, refused

import engine
from engine.backend import Backend
from engine.backend import choosing as backend_module
from engine.measuring import memory
from engine.measuring.comparing import FEWEST_ROUNDS, measure
from engine.measuring.comparison_picture import draw
from engine.measuring.experiment import Bench, Experiment
from engine.measuring.side_by_side import TOLERANCE, compare, relative
from kernels.reference import ReferenceKernels

SMALL = Experiment("lstm", T=6, B=4, D=3, H=5)
QUICK = "--steps 6 --batch 4 --inputs 3 --size 5 --seconds 0 --no-memory".split()


class Wrong(ReferenceKernels):
    """Plain kernels whose gate gradients of one time step are off by a share of themselves."""

    name = "wrong"
    share = 1e-6

    def backward(self, *arguments: Any, **options: Any) -> Any:
        found = super().backward(*arguments, **options)
        found.da[3] *= 1 + self.share
        return found


class NotFinite(Wrong):
    name = "not-finite"
    share = math.nan


@pytest.fixture
def wrong_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backends that compute something else."""
    for kernels in (Wrong(np), NotFinite(np)):
        added = Backend(kernels.name, np, kernels, "CPU")
        monkeypatch.setitem(backend_module._ADDED, kernels.name, added)
        monkeypatch.setitem(backend_module.KERNELS, kernels.name, (kernels.name,))


# -- differences -------------------------------------------------------------------------------------------------------


def test_a_relative_difference_is_one_by_hand() -> None:
    wanted = np.array([[1.0, -4.0], [2.0, 0.5]])
    assert relative(wanted + [[0.0, 0.0], [0.0, 0.1]], wanted) == pytest.approx(0.1 / 4)
    assert relative(wanted, wanted) == 0
    assert relative(np.zeros(3), np.zeros(3)) == 0
    infinite = np.full_like(wanted, np.inf)
    pairs = [
        (wanted, wanted * 0),
        (wanted * np.nan, wanted),
        (wanted, infinite),
        (infinite, infinite),
        (wanted[0], wanted),
    ]
    for found, other in pairs:
        assert relative(found, other) == math.inf


def test_a_small_step_is_not_lost_beside_a_large_one() -> None:
    wanted = {"h": np.array([[1e6, 2.0], [1e-6, 3e-6], [0.0, 0.0]])}
    found = {"h": np.array([[1e6, 2.0], [1e-6, 3.3e-6], [0.0, 0.0]])}
    differences = compare(found, found, wanted, wanted)
    assert differences.whole["h"] == pytest.approx(3e-13)
    np.testing.assert_allclose(differences.by_step["h"], [0, 0.1, np.nan])
    assert differences.worst == pytest.approx(0.1)
    assert differences.worst_at == "h at step 1"
    assert not differences.agree("float32")


@pytest.mark.parametrize("lengths", [None, (6, 0, 3, 1)], ids=["full", "lengths"])
@pytest.mark.parametrize("cell", FIVE_CELLS)
def test_everything_that_the_passes_compute_is_compared(cell: str, lengths: Any) -> None:
    """The values are those of the layer itself, and each tensor with a time axis has all its steps."""
    experiment = Experiment(cell, T=6, B=4, D=3, H=5, lengths=lengths, seed=2)
    bench = Bench(experiment, "numpy:reference")
    values, by_step = bench.values(), bench.by_step()
    layer, given = experiment.layer("numpy:reference"), bench.arguments
    y, last, tape = layer.forward(given["x"], given["state"], lengths)
    dx, dfirst = layer.backward(tape, given["dy"], given["dstate"])
    states = (last, dfirst) if cell != "lstm" else (*last, *dfirst)
    names = ["h_n", "dh_0"] if cell != "lstm" else ["h_n", "c_n", "dh_0", "dc_0"]
    wanted = {"y": y, "dx": dx, **dict(zip(names, states, strict=True)), **layer.grads}
    assert values.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)
        assert np.abs(array).max() > 0
    assert {"h", "dh", "dx"} < by_step.keys()
    assert {f"da_{gate}" for gate in layer.cell.gates} < by_step.keys()
    assert all(array.shape[:2] == (6, 4) for array in by_step.values())
    np.testing.assert_array_equal(by_step["dx"], dx)


# -- measuring ---------------------------------------------------------------------------------------------------------


def test_bytes_are_those_of_arguments_and_results() -> None:
    (row,) = measure(SMALL, ["numpy:reference"], 0, memory=False)
    arguments = 6 * 4 * (3 + 5) + 4 * 4 * 5  # x and dy; h, c and their gradients
    parameters = 20 * (3 + 5 + 1 + 1)
    assert row.bytes_to_device == 8 * arguments
    assert row.bytes_to_host == 8 * (arguments + parameters)  # y and dx are as large as dy and x
    assert row.inside == 0
    assert len(row.seconds) == FEWEST_ROUNDS
    assert row.median > 0
    assert row.differences is None


def test_backends_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = Bench.step

    def step(self: Bench) -> Any:
        order.append(self.backend.kernels.name)
        return real(self)

    monkeypatch.setattr(Bench, "step", step)
    rows = measure(SMALL, ["numpy:reference", "numpy:numba"], 0, memory=False)
    assert order[-2 * FEWEST_ROUNDS :] == ["reference", "numba"] * FEWEST_ROUNDS
    assert [len(row.seconds) for row in rows] == [FEWEST_ROUNDS] * 2


def test_peak_memory_is_what_the_sequence_takes() -> None:
    """Of a long sequence: the tape at least, (h, c and four gates), and no more than ten times that."""
    pytest.importorskip("resource", reason="this system does not tell a process its memory")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell a process its peak memory")
    experiment = Experiment("lstm", T=200, B=16, D=32, H=64)
    (row,) = measure(experiment, ["numpy:reference"], 0)
    tape = 8 * 200 * 16 * 64 * 6
    assert row.memory_unknown == ""
    assert row.memory is not None
    assert tape < row.memory < 10 * tape
    assert memory.device_peak(engine.get_backend("numpy:reference")) is None


# -- the command -------------------------------------------------------------------------------------------------------


def records(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert bptt("compare", *args, "--json") == code
    return json.loads(capsys.readouterr().out)


def test_two_kernel_sets_agree(capsys: pytest.CaptureFixture[str]) -> None:
    found = records(capsys, "--backends", "numpy:reference,numpy:numba", "--lengths", "6,0,3,1", *QUICK)
    first, second = found["rows"]
    assert found["agree"] is True
    assert found["experiment"] == {
        "cell": "lstm", "T": 6, "B": 4, "D": 3, "H": 5, "lengths": [6, 0, 3, 1], "dtype": "float64", "seed": 0
    }  # fmt: skip
    assert (first["agrees"], second["agrees"]) == (None, True)
    assert 0 < second["worst"] < 1e-13
    assert len(second["differences"]) == 10
    assert len(second["by_step"]["h"]) == 6
    assert second["device"] == "CPU"
    assert second["peak_memory"] is None


def test_a_missing_backend_is_a_row_with_its_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_reason", lambda name: None if name == "numpy" else f"no {name} today")
    found = records(capsys, "--backends", "cupy:reference,numpy:reference,torch:reference", *QUICK)
    assert found["agree"] is True
    reasons = [row["reason"] for row in found["rows"]]
    assert reasons == ["no cupy today", None, "no torch today"]
    assert bptt("compare", "--backends", "cupy:reference,numpy:reference", *QUICK) == 0
    out = capsys.readouterr().out
    assert "not run: no cupy today" in out
    assert "the first" in out
    assert bptt("compare", "--backends", "cupy:reference", *QUICK) == 1
    assert "nothing was compared" in capsys.readouterr().out


def test_backends_that_differ_are_found_out(capsys: pytest.CaptureFixture[str], wrong_backends: None) -> None:
    found = records(capsys, "--backends", "numpy:reference,wrong,not-finite", *QUICK, code=1)
    assert found["agree"] is False
    _, wrong, not_finite = found["rows"]
    assert wrong["agrees"] is False
    assert wrong["worst"] == pytest.approx(1e-6, rel=1e-6)
    assert wrong["worst_at"].endswith("at step 3")
    assert wrong["by_step"]["da_i"][3] == pytest.approx(1e-6, rel=1e-6)
    assert all(value == 0 for t, value in enumerate(wrong["by_step"]["da_i"]) if t != 3)
    assert wrong["differences"]["y"] == 0
    assert (not_finite["agrees"], not_finite["worst"]) == (False, None)
    assert bptt("compare", "--backends", "numpy:reference,wrong", *QUICK) == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert bptt("compare", "--backends", "numpy:reference,wrong", "--dtype", "float32", *QUICK) == 0  # within rounding
    assert TOLERANCE["float32"] > 1e-6


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_picture_shows_every_tensor_and_backend(
    cell: str, tmp_path: Path, wrong_backends: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = tmp_path / "compare.png"
    texts: list[str] = []
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    real = Figure.savefig

    def savefig(self: Any, *args: Any, **kwargs: Any) -> None:
        texts.extend(text.get_text() for text in self.findobj(Text))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    backends = "numpy:reference,wrong,not-finite,cupy:reference"
    assert bptt("compare", "--cell", cell, "--backends", backends, "--out", drawn, *QUICK) == 1
    assert drawn.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    said = "\n".join(texts)
    gates = "ifgo" if cell == "lstm" else "rzn"
    for words in ["h: hidden", "dh: gradient", "dx: gradient", "wrong", "not-finite", "numpy:reference", "not run: "]:
        assert words in said
    assert all(f"da_{gate}: " in said for gate in gates)
    assert ("c: cell state" in said) == (cell == "lstm")


def test_a_picture_of_one_backend_alone_has_its_costs(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    draw(path, SMALL, measure(SMALL, ["numpy:reference"], 0, memory=False))
    assert path.stat().st_size > 5000


def test_bad_usage_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cases = [
        (["--backends", "numpy:cuda"], "--backends: expected one of"),
        (["--backends", "nothing"], "--backends: expected one of 'numpy'"),
        (["--backends", ","], "--backends: expected names between commas"),
        (["--backends", "numpy,numpy"], "--backends: expected names between commas, each once"),
        (["--size", "0"], "--size: expected an integer >= 1"),
        (["--lengths", "1,2"], "--lengths: expected 'mixed', or 8 numbers in 0..20"),
        (["--lengths", "1,2,3,4,5,6,7,21"], "--lengths: expected"),
        (["--lengths", "a"], "--lengths: expected"),
        (["--seconds", "-1"], "--seconds: expected"),
        (["--cell", "elman"], "Invalid value for '--cell'"),
        (["--out", str(tmp_path / "picture.svg")], "--out: expected a PNG file"),
        (["--out", str(tmp_path / "nowhere" / "picture.png")], "--out: expected a PNG file"),
    ]
    for args, message in cases:
        assert message in refused(capsys, "compare", *args)


@pytest.mark.oracle
@pytest.mark.parametrize("cell", FIVE_CELLS)
def test_pytorch_agrees(torch: Any, capsys: pytest.CaptureFixture[str], cell: str) -> None:
    for dtype in ("float64", "float32"):
        args = ["--backends", "numpy:reference,torch:reference", "--cell", cell, "--dtype", dtype, "--lengths", "mixed"]
        found = records(capsys, *args, *QUICK)
        assert found["agree"] is True
        assert 0 < found["rows"][1]["worst"] < (1e-13 if dtype == "float64" else 1e-5)
        assert found["rows"][1]["copies_inside_a_step"] == found["rows"][0]["copies_inside_a_step"] > 0  # the lengths
