"""`python -m benchmarks.gpucheck`, proven before a GPU sees it: on the CuPy look-alike, whose kernels are simulated."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from commands import ROOT
from fake_cupy import installed

import engine
from benchmarks.gpucheck import correctness, peers, result_page, sections, timings
from benchmarks.gpucheck.__main__ import main
from benchmarks.gpucheck.clock import Budget, Watchdog
from benchmarks.gpucheck.timings import Point, Side
from kernels.cuda.cuda_kernels import CudaKernels

pytestmark = pytest.mark.device

TINY: tuple[tuple[int, int, int, int], ...] = ((1, 1, 1, 1), (4, 3, 2, 5))
ONE = ((3, 2, 4, 5),)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with installed() as module:
        yield module
    correctness._stepwise.cache_clear()


def statuses(rows: Any) -> set[str]:
    return {row["status"] for row in rows}


def written(directory: Path) -> dict[str, Any]:
    return json.loads((directory / result_page.JSON).read_text())


# -- the whole command -------------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_so_in_one_line_and_fails(tmp_path: Path) -> None:
    """As a reader would call it, in a process of its own."""
    if engine.available_backends()["cupy"] is None:
        pytest.skip("there is a GPU here")
    command = [sys.executable, "-m", "benchmarks.gpucheck", "--out", str(tmp_path / "new")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("gpucheck: no GPU was checked: ")
    document = written(tmp_path / "new")
    assert document["reason"] in done.stderr
    assert "sections" not in document
    assert document["reason"] in (tmp_path / "new" / result_page.PAGE).read_text()


def test_all_of_it_on_the_look_alike(cupy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = [Point("LSTM", 2, 3, 4, "float32", "training"), Point("GRU", 2, 3, 4, "bfloat16", "forward")]
    assert main(["--out", str(tmp_path)], {"shapes": TINY, "repeats": 3, "points": points}) == 0
    document = written(tmp_path)
    assert list(document["sections"]) == ["correctness", "gradient checks", "repeats", "agreement", "timings"]
    found = document["sections"]["correctness"]
    assert [row["dtype"] for row in found if row["status"] == "not built"] == ["tf32", "bfloat16", "float16"]
    checked = [row for row in found if row["status"] == "ok"]
    assert len(checked) == len(found) - 3 == 2 * 3 * 5 * (2 + 4)  # dtypes, ways, cells, directions and lengths
    assert {row["path"] for row in checked if row["way"] == "planned"} == {"persistent, persistent"}
    assert {row["path"] for row in checked if row["way"] == "stepwise"} == {"stepwise, stepwise"}
    assert {row["path"] for row in checked if row["way"] == "plain"} == {"plain"}
    assert all(0 <= row["worst"] <= row["limit"] for row in checked)
    assert max(row["worst"] for row in checked if row["dtype"] == "float32") > 1e-9  # rounding is there to be seen
    assert statuses(document["sections"]["gradient checks"]) == statuses(document["sections"]["repeats"]) == {"ok"}
    assert [row["status"] for row in document["sections"]["timings"]] == ["ok", "not built"]
    assert document["device"]["device"] == "look-alike"
    assert document["versions"]["cupy"] == cupy.__version__
    page = (tmp_path / result_page.PAGE).read_text()
    assert page in capsys.readouterr().out
    for words in ("**everything that was checked is right**", "| stepwise | float64 | 30 | 30 ok |", "no bfloat16 yet"):
        assert words in page


def test_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["--out", str(tmp_path), "--minutes", "1"], ["--out", str(tmp_path), "--minutes", "nan"]):
        with pytest.raises(SystemExit) as caught:
            main(args)
        assert caught.value.code == 2


def test_what_is_there_is_written_when_the_device_gives_up(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: Any) -> Any:
        raise RuntimeError("the device has gone\nmore lines")

    monkeypatch.setattr(correctness, "gradchecks", give_up)
    assert main(["--out", str(tmp_path)], {"shapes": TINY[:1], "ways": ["plain"]}) == 1
    document = written(tmp_path)
    assert document["ended"] == "RuntimeError: the device has gone"
    document["sections"] = {}
    assert not result_page.passed(document)


# -- correctness -------------------------------------------------------------------------------------------------------


def test_the_cases_are_all_cells_directions_and_lengths() -> None:
    every = list(correctness.cases())
    assert len({str(case) for case in every}) == len(every) == 5 * 2 * (2 * 5 + 2)
    assert {case.kind for case in every} == set(correctness.FIVE_CELLS)
    lengths = [case.lengths() for case in every if case.mixed]
    assert all(length is not None and 0 in length and max(length) == case.shape[0]
               for length, case in zip(lengths, (case for case in every if case.mixed), strict=True))  # fmt: skip


def test_a_wrong_kernel_is_found_out(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = CudaKernels.backward

    def scaled(self: Any, *args: Any, **options: Any) -> Any:
        found = real(self, *args, **options)
        found.da[0] *= 1 + 1e-4  # one time step
        return found

    monkeypatch.setattr(CudaKernels, "backward", scaled)
    rows = [row for row in correctness.rows(ONE, ["planned"]) if row["status"] != "not built"]
    assert statuses(rows) == {"wrong"}
    assert all(row["at"].startswith(("dx", "d ")) for row in rows)
    assert statuses(correctness.gradchecks("central")) == {"wrong"}


def test_bits_that_change_are_found_out(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, rng = CudaKernels.forward, np.random.default_rng(0)

    def noisy(self: Any, *args: Any, **options: Any) -> Any:
        found = real(self, *args, **options)
        if rng.random() < 0.2:
            found.h[2] *= 1 + 1e-6
        return found

    monkeypatch.setattr(CudaKernels, "forward", noisy)
    assert statuses(correctness.repeats(12, ONE[0])) == {"wrong"}
    monkeypatch.setattr(CudaKernels, "forward", real)
    assert statuses(correctness.repeats(3, ONE[0])) == {"ok"}


@pytest.mark.filterwarnings("ignore:CUDA kernels:RuntimeWarning")  # the fall is announced
def test_what_raises_or_falls_back_is_no_proof(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Any:
        raise RuntimeError("libnvrtc.so.12: cannot open shared object file")

    monkeypatch.setattr("kernels.cuda.modules.load", missing)
    kernels = CudaKernels(cupy)
    monkeypatch.setattr(correctness, "backend_for", lambda way: with_kernels(kernels))
    fell = [row for row in correctness.rows(ONE, ["planned"]) if row["status"] != "not built"]
    assert statuses(fell) == {"fell back"}
    assert "NVRTC" in fell[0]["fallback"]
    monkeypatch.setattr(correctness, "backend_for", missing)
    for rows in (correctness.rows(ONE, ["planned"]), correctness.repeats(2, ONE[0]), correctness.gradchecks()):
        assert statuses(row for row in rows if row["status"] != "not built") == {"failed"}


def with_kernels(kernels: Any) -> Any:
    import dataclasses

    return dataclasses.replace(engine.get_backend("cupy:cuda"), kernels=kernels)


def test_cases_that_the_time_does_not_reach_have_a_row(cupy: Any) -> None:
    left = iter([1.0, 0.0] + [0.0] * 200)
    rows = list(correctness.rows(ONE, ["plain"], lambda: next(left)))
    assert [row["status"] for row in rows].count("not reached") == 20 - 1
    assert [row["status"] for row in rows].count("ok") == 2


# -- PyTorch's layers --------------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_agreement_with_pytorch_is_measured(torch: ModuleType, cupy: Any) -> None:
    """On PyTorch's CPU layers: the code is the same but for the device's name."""
    rows = list(peers.agreement(shapes=ONE, device="cpu"))
    assert len(rows) == 4 * 2 * 5
    for row in rows:
        if row["dtype"] in ("float64", "float32"):
            assert row["status"] == "ok"
            assert 0 < row["worst"] <= row["limit"]
        elif row["dtype"] in ("tf32", "bfloat16"):
            assert row["status"] == "not built"
            assert row["limit_of_ours"] == 2 * row["theirs_against_float64"] > 0
    worst = {dtype: max(row.get("theirs_against_float64", 0) for row in rows if row["dtype"] == dtype)
             for dtype in ("float64", "float32", "bfloat16")}  # fmt: skip
    assert worst["float64"] < 1e-14 < worst["float32"] < 1e-5 < worst["bfloat16"] < 0.2


@pytest.mark.oracle
def test_disagreement_with_pytorch_is_found_out(torch: ModuleType, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = CudaKernels.forward

    def scaled(self: Any, *args: Any, **options: Any) -> Any:
        found = real(self, *args, **options)
        found.h[1] *= 1.001
        return found

    monkeypatch.setattr(CudaKernels, "forward", scaled)
    rows = list(peers.agreement(shapes=ONE, device="cpu"))
    assert statuses(row for row in rows if row["dtype"] in ("float64", "float32")) == {"wrong"}


@pytest.mark.oracle
def test_tf32_is_pinned_and_given_back(torch: ModuleType) -> None:
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for tf32 in (True, False):
        with peers.pinned(torch, tf32):
            assert [switch.allow_tf32 for switch in switches] == [tf32] * 2
        assert [switch.allow_tf32 for switch in switches] == before


@pytest.mark.oracle
def test_pytorchs_side_runs(torch: ModuleType) -> None:
    """On the CPU; only CUDA's events have to wait for a GPU."""
    for dtype, mode in (("float32", "training"), ("tf32", "forward"), ("bfloat16", "training")):
        side = timings.their_side(Point("LSTM", 2, 3, 4, dtype, mode), torch, "cpu")
        side.run()
        side.run()
    assert peers.reason_missing("cpu") is None
    assert torch.cuda.is_available() or "finds no GPU" in str(peers.reason_missing())


# -- timings -----------------------------------------------------------------------------------------------------------


def test_the_grid_is_whole_and_what_is_asked_first_comes_first() -> None:
    points = timings.grid()
    assert len(set(points)) == len(points) == 3 * 4 * 5 * 3 * 4 * 2
    first = points[:100]
    assert all((point.dtype, point.T) == ("float32", 50) for point in first)
    assert points[0].floor is not None
    assert (points[0].cell, points[-1].dtype, points[-1].T) == ("LSTM", "float16", 1000)


@pytest.mark.parametrize(
    ("cell", "B", "H", "dtype", "floor"),
    [
        ("LSTM", 64, 256, "float32", 1.0),
        ("LSTM", 1, 1024, "tf32", 1.0),
        ("LSTM", 16, 512, "bfloat16", 1.0),
        ("LSTM", 16, 512, "float16", None),
        ("LSTM", 128, 512, "float32", None),
        ("LSTM", 16, 128, "float32", None),
        ("GRU", 128, 256, "float32", 0.8),
        ("GRU", 16, 128, "float32", None),
        ("GRU", 16, 2048, "tf32", 1.2),
        ("LSTM", 128, 2048, "float32", 1.2),
    ],
)
def test_the_floors_are_those_that_were_set(cell: str, B: int, H: int, dtype: str, floor: float | None) -> None:
    assert Point(cell, B, H, 50, dtype, "training").floor == floor


class Event:
    """A mark in a stream whose clock is a counter of the steps run."""

    steps = 0.0

    def __init__(self) -> None:
        self.at = Event.steps
        self.reached = False

    def synchronize(self) -> None:
        self.reached = True


def fake_side(milliseconds: float) -> Side:
    def run() -> None:
        Event.steps += milliseconds

    def between(start: Event, stop: Event) -> float:
        assert stop.reached
        return stop.at - start.at

    return Side(run, Event, between)


@pytest.mark.oracle
def test_a_ratio_is_our_time_over_theirs(torch: ModuleType, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, steps = fake_side(3.0).median(0.0)
    assert seconds == pytest.approx(0.003)
    assert steps == timings.FEWEST
    monkeypatch.setattr(timings, "our_side", lambda point: fake_side(3.0))
    monkeypatch.setattr(timings, "their_side", lambda point, torch: fake_side(4.0))
    monkeypatch.setattr(timings, "kernel_names", lambda torch, run: ["a_kernel"])
    row = timings.time_point(Point("LSTM", 16, 256, 50, "float32", "training"), torch, 0.0, names=True)
    assert (row["ratio"], row["floor"], row["reached"], row["status"]) == (pytest.approx(0.75), 1.0, True, "ok")
    assert row["ours_kernels"] == row["theirs_kernels"] == ["a_kernel"]
    row = timings.time_point(Point("GRU", 16, 2048, 50, "bfloat16", "training"), torch, 0.0)
    assert row["status"] == "not built"
    assert "ratio" not in row
    assert row["theirs"] == pytest.approx(0.004)

    def out_of_memory(point: Point) -> Side:
        raise MemoryError("out of memory allocating 9 bytes")

    monkeypatch.setattr(timings, "our_side", out_of_memory)
    row = timings.time_point(Point("LSTM", 16, 256, 50, "float32", "training"), torch, 0.0)
    assert (row["status"], row["ours_error"]) == ("failed", "MemoryError: out of memory allocating 9 bytes")


def test_places_that_the_time_does_not_reach_have_a_row(cupy: Any) -> None:
    left = iter([1.0] + [0.0] * 10)
    points = [Point("RNN", 2, 3, steps, "float32", "training") for steps in (3, 4, 5)]
    rows = list(timings.rows(points, lambda: next(left), "no PyTorch", seconds=0.0))
    assert [row["status"] for row in rows] == ["ok", "not reached", "not reached"]
    assert "1 of 3 places were measured" in "\n".join(result_page._times(rows))


# -- the clock, the page -----------------------------------------------------------------------------------------------


def test_a_share_of_the_budget_ends_before_the_whole() -> None:
    budget = Budget(50.0)
    with budget.share(20.0):
        assert 19.0 < budget.left <= 20.0
        with budget.share(90.0):
            assert budget.left <= 20.0
    assert 49.0 < budget.left <= 50.0
    with budget.share(-1.0):
        assert budget.left < 0


def test_a_part_that_runs_out_says_so() -> None:
    def endless() -> Iterator[dict[str, Any]]:
        while True:
            yield {"case": "one", "dtype": "float32", "status": "ok"}

    into: list[dict[str, Any]] = []
    saved: list[int] = []
    sections._collect("repeats", endless(), into, Budget(0.0), lambda what: None, lambda: saved.append(len(into)))
    assert [row["status"] for row in into] == ["ok", "not reached"]
    assert saved == [2]


def test_the_watchdog_ends_what_hangs_and_nothing_else() -> None:
    heard: list[Any] = []
    ended = threading.Event()

    def end(code: int) -> None:
        heard.append(code)
        ended.set()

    patient = Watchdog(5.0, heard.append, end)
    watchdog = Watchdog(0.3, heard.append, end)
    for _ in range(4):
        time.sleep(0.1)
        watchdog.tell("a barrier")
    assert heard == []
    assert ended.wait(5.0)
    assert heard == ["a barrier", 1]
    patient.stop()
    watchdog.stop()
    assert heard == ["a barrier", 1]


def test_the_page_tells_what_is_wrong_and_what_was_missed() -> None:
    bad = {"case": "lstm T=3", "way": "planned", "dtype": "float32", "status": "wrong", "worst": np.inf, "limit": 1e-5}
    point = {"cell": "LSTM", "mode": "training", "dtype": "float32", "B": 16, "H": 512, "T": 50, "floor": 1.0}
    late = {**point, "ours": 0.006, "theirs": 0.004, "ratio": 1.5, "reached": False, "status": "ok"}
    document = {
        "command": "x", "date": "y", "device": {"device": "one"}, "versions": {"cupy": "14"},
        "sections": {"correctness": [bad], "timings": [{**late, "ours_kernels": ["k"]}]},
    }  # fmt: skip
    page = result_page.page(document)
    for words in ("correctness: 1 wrong", "- wrong: case lstm T=3", "| 6 | 4 | 1.50 | 1 | **missed** |", "ours: `k`"):
        assert words in page
    assert not result_page.passed(document)
    assert (
        json.loads(json.dumps(result_page._plain(document), allow_nan=False))["sections"]["correctness"][0]["worst"]
        == "inf"
    )
    good = {name: [{"dtype": "float32", "status": "ok"}] for name in result_page.NEEDED}
    assert result_page.passed({"sections": good | {"timings": [late]}})
    assert not result_page.passed({"sections": good | {"repeats": []}})
    assert not result_page.passed({"sections": good | {"repeats": [{"status": "not reached"}]}})
    assert not result_page.passed({"sections": good, "ended": "a barrier"})
