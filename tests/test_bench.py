"""The timing of libraries side by side: who runs when, what is kept, and what is said of those that cannot run."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import bptt, refused

import engine
from benchmarks.speed import compare, performance_page, performance_picture, store, tables
from benchmarks.speed import gather as gathering
from engine.measuring import figures, machine, rounds, serve
from engine.measuring.rounds import Worker, WorkerError, Workers, difference, measure_memory, time_case
from engine.measuring.timed_step import TIMED_CELLS, TimedStep

FAKES = "fake_libraries"
SMALL = TimedStep("LSTM", 4, 2, 3, 3)


# -- cases and figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", TIMED_CELLS)
def test_a_case_has_the_parameters_of_the_layer(cell: str) -> None:
    case = TimedStep(cell, 5, 3, 4, 6, layers=2, bidirectional=True)
    layer = getattr(engine, cell)(4, 6, 2, bidirectional=True, backend="numpy:reference")
    assert case.shapes() == {name: value.shape for name, value in layer.params.items()}
    assert {name: value.shape for name, value in case.parameters().items()} == case.shapes()
    assert all(value.dtype == np.float32 for value in (*case.parameters().values(), case.x(), case.dy()))
    assert (case.x().shape, case.dy().shape) == ((5, 3, 4), (5, 3, 12))
    assert TimedStep(**case.as_dict()) == case


def test_operations_of_a_step_counted_by_hand() -> None:
    # forward: 4 gates of 3 units, each from 2 inputs and 3 units, a product and a sum each, for 7 * 5 positions
    assert TimedStep("LSTM", 7, 5, 2, 3, training=False).flops() == 4 * 3 * (2 + 3) * 2 * 7 * 5
    assert TimedStep("LSTM", 7, 5, 2, 3).flops() == 3 * 4 * 3 * (2 + 3) * 2 * 7 * 5
    mixed = TimedStep("RNN", 8, 3, 2, 3, mixed=True, training=False)
    lengths = mixed.lengths()
    assert lengths is not None
    assert lengths.tolist() == [8, 5, 2]
    assert mixed.flops() == 3 * (2 + 3) * 2 * (8 + 5 + 2)


def row(case: TimedStep = SMALL, threads: int = 1, **seconds: list[float]) -> dict[str, Any]:
    """A row as `time_case` makes it."""
    return {"mode": "training", **case.as_dict(), "threads": threads, "seconds": seconds, "failed": {}}


def test_ratio_interval_and_mean() -> None:
    one = row(engine=[1.0, 2.0, 9.0], torch=[3.0, 4.0, 5.0])
    assert figures.ratio(one, "torch") == 2.0
    low, high = figures.interval(one, "torch")
    assert 5 / 9 <= low < 2 < high <= 3
    steady = row(engine=[1.0] * 9, torch=[1.5] * 9)
    assert figures.interval(steady, "torch") == (1.5, 1.5)
    drift = row(engine=[1.0, 2.0, 4.0], torch=[2.0, 4.0, 8.0])  # the machine became slower, for both alike
    assert figures.interval(drift, "torch") == (2.0, 2.0)
    assert figures.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert figures.fraction(one) is None
    share = figures.fraction({**one, "sgemm": [1e-6, SMALL.flops() / 1e9]})
    assert share == pytest.approx(0.5)  # two seconds a step


def test_the_machine_is_described() -> None:
    found = machine.machine()
    assert found["cpu"]
    assert found["cores"] == machine.cores() >= 1
    json.dumps(found)


# -- processes and rounds ----------------------------------------------------------------------------------------------


def test_libraries_take_turns_and_the_order_moves_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("BPTT_TEST_LOG", str(log))
    with Workers(("engine", "torch", "sgemm"), 1, FAKES) as workers:
        found = time_case(workers, SMALL, budget=0, turn=1e-9)
    names = [line for line in log.read_text().splitlines() if "builds" not in line]
    turns = ["engine", "torch", "sgemm", "torch", "engine", "sgemm", "engine", "torch"]  # sgemm leaves one out
    assert names[-len(turns) :] == turns
    assert {library: len(values) for library, values in found["seconds"].items()} == {"engine": 3, "torch": 3}
    assert found["steps"] == {"engine": 3, "torch": 3}
    assert len(found["sgemm"]) == 2
    assert min(found["seconds"]["torch"]) >= 0.002
    assert found["difference"] == {"torch": 0.0}
    assert found["failed"] == {}
    assert {**SMALL.as_dict(), "threads": 1}.items() <= found.items()
    json.dumps(found, allow_nan=False)


def test_a_turn_fills_its_time_and_rounds_fill_the_budget() -> None:
    with Workers(("engine", "torch"), 1, FAKES) as workers:
        found = time_case(workers, SMALL, budget=0.3, turn=0.01)
    rounds = len(found["seconds"]["engine"])
    assert rounds > 3
    assert rounds < found["steps"]["engine"] <= 10 * rounds


def test_each_process_has_the_threads_and_cores_it_was_given() -> None:
    with Worker("told", 1, FAKES) as worker:
        if hasattr(os, "sched_getaffinity"):
            assert len(worker.cores) == 1
            assert os.sched_getaffinity(worker.process.pid) == set(worker.cores)
        told = worker.ask("build", case=SMALL.as_dict())["values"]["y"]["entries"]
    assert told == [1, 1, 1, 1, 1, 1, 1.5]
    assert not worker.alive


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list a process's threads")
def test_a_turn_ends_when_its_threads_sleep() -> None:
    end = threading.Event()

    def spin() -> None:
        while not end.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin)
    thread.start()
    assert serve.others_run()
    timer = threading.Timer(0.1, end.set)
    timer.start()
    serve.settle(limit=30)
    assert end.is_set()
    thread.join()
    timer.join()
    assert not serve.others_run()


def test_what_cannot_be_timed_is_named_and_the_others_are_timed() -> None:
    names = ("engine", "raising", "dying", "dying-later", "hanging", "torch-compile", "jax", "torch")
    with Workers(names, 1, FAKES, patience=2) as workers:
        assert list(workers.absent) == ["jax"]
        assert "a_module_that_nobody_has" in workers.absent["jax"]
        assert "jax" not in workers.libraries
        found = time_case(workers, SMALL, budget=0, turn=0.02)
        assert found["failed"] == {
            "raising": "ValueError: no such size",
            "dying": "its process ended with exit code 7",
            "dying-later": "its process ended with exit code 9",
            "hanging": "no answer within 2 s",
            "torch-compile": "nothing of that kind",
        }
        assert set(found["seconds"]) == {"engine", "torch"}
        # a process that has died is there again for the next case
        again = time_case(workers, TimedStep("RNN", 4, 2, 3, 3), budget=0, turn=0.001)
        assert "dying" in again["seconds"]


def test_without_the_first_library_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(WorkerError, match="a_module_that_nobody_has"):
        Workers(("jax", "torch"), 1, FAKES)
    with Workers(("raising", "torch"), 1, FAKES) as workers, pytest.raises(WorkerError, match="no such size"):
        time_case(workers, SMALL, budget=0)


def test_results_that_differ_are_seen() -> None:
    with Workers(("engine", "onnxruntime"), 1, FAKES) as workers:
        found = time_case(workers, SMALL, budget=0, turn=0.001)
    assert found["difference"]["onnxruntime"] == pytest.approx(0.1)
    one = {"y": {"scale": 2.0, "entries": [1.0, 2.0]}}
    assert difference(one, {"y": {"scale": 2.0, "entries": [1.0, 1.0]}}) == 0.5
    assert difference(one, {"y": {"scale": 2.0, "entries": [1.0]}}) == np.inf
    assert difference(one, {"y": {"scale": 2.0, "entries": [1.0, np.nan]}}) == np.inf
    assert difference(one, {}) == 0


@pytest.mark.parametrize("peer", ["torch", "jax", "onnxruntime"])
def test_every_library_computes_what_the_engine_computes(peer: str) -> None:
    for module in {"onnxruntime": ("onnxruntime", "onnx")}.get(peer, (peer,)):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} absent: `make bench` installs it")
    sizes = {"layers": 2, "bidirectional": True, "mixed": peer != "jax"}
    with Workers(("engine", peer), 1, compare.MODULE) as workers:
        for cell in TIMED_CELLS:
            for training in (True, False):
                if peer == "onnxruntime" and training:
                    continue
                for options in ({}, sizes):
                    case = TimedStep(cell, 7, 3, 4, 5, training=training, **options)  # type: ignore[arg-type]
                    found = time_case(workers, case, budget=0, turn=0.001)
                    assert found["failed"] == {}
                    assert found["difference"][peer] <= 1e-5, case


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_of_a_step_is_at_least_what_it_keeps() -> None:
    case = TimedStep("RNN", 60, 64, 512, 512)
    found = measure_memory("engine", 1, case, 2)
    assert found["import"] <= found["baseline"] <= found["built"] <= found["peak"]
    assert case.activations() / 2**20 <= found["peak"] - found["baseline"] <= 300


# -- the script --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The script runs on fake libraries; returns the log of their steps."""
    monkeypatch.setattr(compare, "MODULE", FAKES)
    monkeypatch.setenv("BPTT_TEST_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


TINY = ["--cells", "LSTM", "--batch", "1,2", "--steps", "3", "--sizes", "4", "--budget", "0"]


def test_the_script_prints_and_keeps_every_row(fakes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "folder" / "found.json"
    assert compare.main([*TINY, "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "JAX is absent: ModuleNotFoundError: No module named 'a_module_that_nobody_has'" in out
    assert "torch.compile not measured (all cases): nothing of that kind" in out
    assert "ONNX Runtime COMPUTES SOMETHING ELSE, and is left out: LSTM B=1 T=3 H=4, 1 thread" in out
    assert "ONNX Runtime / ours" not in out
    assert "PyTorch / ours: geometric mean" in out
    assert "below 1.0: 0 of 2" in out
    document = json.loads(path.read_text())
    assert set(document) == {"command", "date", "commit", "machine", "versions", "absent", "rows"}
    assert document["command"].startswith("python -m benchmarks.speed.compare --cells LSTM --batch 1,2")
    assert set(document["machine"]) == {"cpu", "cores", "isa", "system", "python"}
    assert set(document["absent"]) == {"jax"}
    assert document["versions"]["torch"] == np.__version__
    assert [found["B"] for found in document["rows"]] == [1, 2]
    for found in document["rows"]:
        assert found["mode"] == "training"
        assert set(found["seconds"]) == {"engine", "torch", "onnxruntime"}
        assert all(len(times) == 3 for times in found["seconds"].values())
        assert found["failed"] == {"torch-compile": "nothing of that kind"}


def test_resuming_measures_what_is_missing_and_no_more(
    fakes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    arguments = [*TINY, "--peers", "torch,jax", "--json", str(path)]
    assert compare.main(arguments) == 0
    first = json.loads(path.read_text())
    fakes.unlink()
    arguments[3] = "1,2,8"
    assert compare.main([*arguments, "--resume"]) == 0
    second = json.loads(path.read_text())
    assert second["rows"][:2] == first["rows"]
    assert [found["B"] for found in second["rows"]] == [1, 2, 8]
    assert (second["command"], len(second["resumed"])) == (first["command"], 1)
    built = [line for line in fakes.read_text().splitlines() if "builds" in line]
    assert {line.partition(" builds ")[2] for line in built} == {"LSTM B=8 T=3 H=4"}
    assert capsys.readouterr().err.count("there already") == 2
    # a peer that a row has not met is missing from it
    arguments[arguments.index("torch,jax")] = "torch,onnxruntime"
    assert compare.main([*arguments, "--resume"]) == 0
    third = json.loads(path.read_text())
    assert len(third["rows"]) == 3
    assert all("onnxruntime" in found["seconds"] for found in third["rows"])


def test_rows_are_on_disk_as_they_come(tmp_path: Path) -> None:
    header = {"command": "x", "date": "d", "commit": None, "machine": {}, "versions": {"engine": "1"}, "absent": {}}
    path = tmp_path / "found.json"
    kept = store.Store(path, header)
    for count, case in enumerate((SMALL, TimedStep("GRU", 4, 2, 3, 3)), 1):
        kept.add(row(case, engine=[1.0, 1.0, 1.0]))
        assert len(json.loads(path.read_text())["rows"]) == count
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text().count("\n") < 25  # a line for each row
    again = store.Store(path, header)
    assert again.has(("training", SMALL, 1), ["engine"], False)
    assert not again.has(("training", SMALL, 2), ["engine"], False)
    assert not again.has(("training", SMALL, 1), ["engine", "torch"], False)
    assert not again.has(("training", SMALL, 1), ["engine"], True)


def test_results_of_another_machine_or_version_are_not_added_to(tmp_path: Path) -> None:
    header = {"command": "x", "date": "d", "commit": None, "machine": {}, "versions": {"engine": "1"}, "absent": {}}
    path = tmp_path / "found.json"
    store.Store(path, header).add(row(engine=[1.0]))
    with pytest.raises(ValueError, match="another machine"):
        store.Store(path, {**header, "machine": {"cores": 3}})
    with pytest.raises(ValueError, match="another version of engine"):
        store.Store(path, {**header, "versions": {"engine": "2"}})
    path.write_text("[]")
    with pytest.raises(ValueError, match="no results of this script"):
        store.Store(path, header)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--cells TREE", "--cells: expected some of LSTM,GRU,RNN, got 'TREE'"),
        ("--peers keras", "--peers: expected some of torch,"),
        ("--batch 0", "--batch: invalid"),
        ("--threads 9999", "--threads: expected at most"),
        ("--resume", "--resume: expected --json"),
        (f"--json {__file__}", "is there already; add --resume"),
        ("--mode inference --memory", "--memory: is of training steps"),
    ],
)
def test_bad_options_are_refused(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        compare.main(arguments.split())
    assert raised.value.code == 2
    assert words in capsys.readouterr().err


def test_the_script_runs_on_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside PyTorch if there is one; else its line says why not."""
    path = tmp_path / "found.json"
    sizes = ["--cells", "RNN", "--batch", "2", "--steps", "3", "--sizes", "4", "--budget", "0.05"]
    assert compare.main([*sizes, "--peers", "torch", "--json", str(path)]) == 0
    (found,) = json.loads(path.read_text())["rows"]
    if importlib.util.find_spec("torch") is None:
        assert "PyTorch is absent: ModuleNotFoundError" in capsys.readouterr().out
    else:
        assert figures.ratio(found, "torch") > 0
    assert min(found["sgemm"]) > 0


def test_the_script_measures_memory(fakes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--mode", "memory", *TINY, "--activations", "0", "--peers", ","]) == 0
    assert "bptt-engine" in capsys.readouterr().out


# -- bptt bench --------------------------------------------------------------------------------------------------------

BENCH = ("bench", "--pass", "training", "--cell", "rnn", "--batch", 2, "--steps", 3, "--size", 4, "--seconds", 0.05)


def test_bptt_bench_prints_one_json_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rounds, "Workers", functools.partial(Workers, module=FAKES))
    assert bptt(*BENCH, "--size", 5, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    answer = json.loads(out)
    assert set(answer) == {"machine", "versions", "absent", "rows"}
    assert [found["H"] for found in answer["rows"]] == [4, 5]
    for found in answer["rows"]:
        assert found["threads"] == 1
        assert found["median"]["engine"] == figures.median(found, "engine") > 0
        assert 0 < found["of_sgemm"] < 1
        assert found["ratio"] == figures.ratio(found, "torch") == found["ratios"]["torch"]["ratio"]
        assert set(found["ratios"]) == {"torch", "onnxruntime"}  # no JAX here


def test_bptt_bench_prints_both_passes_beside_every_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rounds, "Workers", functools.partial(Workers, module=FAKES))
    assert bptt("bench", *BENCH[3:]) == 0
    out = capsys.readouterr().out
    assert "JAX: not here, so not timed (ModuleNotFoundError: No module named 'a_module_that_nobody_has')" in out
    assert "training" in out.partition("of sgemm")[2]
    assert "predict" in out.partition("of sgemm")[2]
    assert "PyTorch / ours, predict: mean" in out
    assert "ONNX Runtime computes something else than ours, RNN B=2 T=3 H=4" in out


def test_bptt_bench_says_that_pytorch_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('broken on purpose')\n")
    monkeypatch.syspath_prepend(tmp_path)  # the processes that run a library look where this one looks
    assert bptt(*BENCH, "--beside", "torch") == 0
    out = capsys.readouterr().out
    assert "PyTorch: not here, so not timed (ImportError: broken on purpose)" in out
    assert "RNN" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--batch 0", "--batch: expected an integer >= 1, got 0"),
        ("--size x", "'x' is not a valid integer"),
        ("--cell tree", "'tree' is not one of"),
        ("--beside keras", "'keras' is not one of"),
        ("--threads 9999", "--threads: expected at most"),
        ("--seconds nan", "--seconds: expected a finite number >= 0, got nan"),
    ],
)
def test_bptt_bench_refuses_bad_usage(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, "bench", *arguments.split())


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    """Results of one machine, of every mode."""
    rows = []
    for cell in TIMED_CELLS:
        for H in (256, 512):
            case = TimedStep(cell, 200, 32, H, H)
            rows.append({**row(case, engine=[0.5, 0.5, 0.5], torch=[1.0, 1.0, 1.0]), "sgemm": [1000.0]})
    rows.append(row(TimedStep("GRU", 50, 1, 64, 64), engine=[0.5, 0.5, 0.5], torch=[0.25, 0.25, 0.25]))
    rows.append(row(TimedStep("GRU", 5000, 32, 256, 256), engine=[12.5] * 3, torch=[50.0] * 3))
    inference = row(TimedStep("RNN", 50, 1, 64, 64, training=False), engine=[1.0], onnxruntime=[3.0])
    packed = row(TimedStep("RNN", 50, 8, 64, 64, 2, True, True), engine=[1.0], torch=[7.0])
    rows += [{**inference, "mode": "inference"}, {**packed, "mode": "packed"}]
    memory = {"engine": {"baseline": 100.0, "peak": 160.0}, "torch": {"baseline": 300.0, "peak": 400.0}}
    case = TimedStep("RNN", 200, 64, 1024, 1024)
    rows.append({"mode": "memory", **case.as_dict(), "threads": 1, "failed": {}, "memory": memory})
    where = {"cpu": "a processor", "cores": 2, "isa": ["x86_64"], "system": "Linux", "python": "3.11"}
    head = {"file": "a.json", "command": "the command", "date": "2020-01-02T", "commit": "abc", "machine": where}
    return [{**head, "versions": {"engine": "1", "torch": "2"}, "absent": {"jax": "no reason"}, "rows": rows}]


def test_the_page_shows_what_was_measured(documents: list[dict[str, Any]]) -> None:
    empty = f"before\n\n{performance_page.BEGIN}\n{performance_page.END}\nafter\n"
    text = performance_page.page(empty, documents)
    assert performance_page.page(text, documents) == text
    assert performance_page.page(text, []) == empty
    for words in (
        "a processor, 2 cores (x86_64), Linux, Python 3.11.",
        "JAX was absent from `a.json`: no reason",
        "| `a.json` | 2020-01-02 | abc | bptt-engine 1, torch 2 | `the command` |",
        "PyTorch is faster than ours in 1 of 7 cases:",
        "| GRU B=1 T=50 H=64, 1 thread | 500 | 250 | 0.50 | 0.50 to 0.50 |",
        "| PyTorch | LSTM | 1 | 2 | 2.00 | 2.00 (2.00 to 2.00) |",
        "| RNN | 2 layers, two directions, mixed lengths, packed | 1 | 8 | 50 | 64 | 1000 | 7000 | 7.00 (",
        "| ONNX Runtime | RNN | 1 | 1 | 3.00 |",
        "| RNN B=64 T=200 H=1024, 1 thread | 50 | 60 | 100 | 0.60 |",
        "| GRU | 1 | 32 | 256 | 5000 / 200 | 2500 / 2500 = 1.00 | 10000 / 5000 = 2.00 |",
        f"](images/{performance_picture.PICTURE})",
    ):
        assert words in text, words
    assert "T=5000" not in text.partition("## Long sequences")[0]


def test_the_summary_names_the_worst_case(documents: list[dict[str, Any]]) -> None:
    found = tables.summary(performance_page.training(gathering.rows_of(documents)), "torch")
    assert found is not None
    assert (found.count, len(found.below), found.worst["H"]) == (7, 1, 64)
    assert found.mean == pytest.approx((2**6 * 0.5) ** (1 / 7))
    assert "worst 0.50 (0.50 to 0.50), GRU B=1 T=50 H=64, 1 thread" in found.sentence()
    assert tables.summary([], "torch") is None


def test_no_ratio_stands_where_results_differ(documents: list[dict[str, Any]]) -> None:
    documents[0]["rows"][6]["difference"] = {"torch": 0.5}
    documents[0]["rows"][5]["difference"] = {"torch": None}
    text = performance_page.tables(documents)
    assert "PyTorch computes something else, and is left out: GRU B=1 T=50 H=64, 1 thread; RNN" in text
    assert "PyTorch is faster" not in text


def test_the_picture_has_a_panel_for_each_cell(documents: list[dict[str, Any]]) -> None:
    import matplotlib.pyplot as plt

    figure = performance_picture.picture(documents)
    assert [axis.get_title() for axis in figure.axes] == list(TIMED_CELLS)
    plt.close(figure)
    assert not performance_picture.has_picture([])


def test_the_page_in_the_docs_is_that_of_the_kept_results() -> None:
    text = performance_page.PAGE.read_text(encoding="utf-8")
    assert text == performance_page.page(text, gathering.load()), "run python -m benchmarks.speed.performance_page"
