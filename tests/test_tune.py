"""Searches: the space, trials as runs, what a killed search loses, and what is refused."""

from __future__ import annotations

import errno
import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, bptt, finish, metrics, refused, start, write_series, write_text

import engine
from engine.atomic import storage_error
from engine.search.options import space_of, values_of
from engine.search.search import found_in
from engine.search.space import Dimension, make_space
from engine.training.interrupt import StopRequest
from engine.training.keeping import RunFiles
from engine.training.kinds import kind_names, kind_of

optuna = pytest.importorskip("optuna", reason="needs Optuna: pip install 'bptt-engine[tune]'")
pytestmark = pytest.mark.usefixtures("blank_pictures")
SPACE = "--range lr=1e-3:1e-1:log --choice optimizer=adam,sgd --sampler random --pruner none --no-plots --quiet".split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "tides.txt")


def command(text: Path, out: Path, trials: int, *more: object) -> list[object]:
    return ["tune", text, "--out", out, "--trials", trials, "--steps", 25, *TINY, *SPACE, *more]


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of four trials that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "tune"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.training.session.draw_loss", lambda *_: None)
        assert bptt(*command(text, out, 4)) == 0
    return out


def study_in(out: Path, name: str = "language") -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name=name, storage=f"sqlite:///{out / 'study.db'}")


def complete(out: Path) -> list[tuple[Any, ...]]:
    """Values and figures of the trials that were trained to their end, in the order in which they were begun."""
    done = [trial for trial in study_in(out).trials if trial.state.name == "COMPLETE"]
    done.sort(key=lambda trial: trial.user_attrs.get("continues", trial.number))
    return [(trial.params, trial.value, trial.intermediate_values) for trial in done]


def assert_same_runs(one: Path, other: Path) -> None:
    """Both searches trained the same models, to the bit; the numbers of the trials may differ."""
    folders = [sorted(out.glob("language/trial-*")) for out in (one, other)]
    for twin, folder in zip(*folders, strict=True):
        assert metrics(twin) == metrics(folder)
        for name in ("best.safetensors", "last.safetensors"):
            assert (twin / name).read_bytes() == (folder / name).read_bytes(), (folder.name, name)


# -- the space --------------------------------------------------------------------------------------------------------


def test_a_range_is_written_in_two_ways() -> None:
    assert make_space({"a": "1e-4:0.1:log", "b": "2:8:int", "c": "0:1:0.25", "d": (2, 8), "e": (2.0, 8, "log")}) == [
        Dimension("a", (), 1e-4, 0.1, log=True),
        Dimension("b", (), 2, 8, whole=True),
        Dimension("c", (), 0.0, 1.0, step=0.25),
        Dimension("d", (), 2, 8, whole=True),
        Dimension("e", (), 2.0, 8.0, log=True),
    ]


def test_points_of_a_grid() -> None:
    points = [
        dimension.points(4) for dimension in make_space({"a": "1:1000:log", "b": (2, 4), "c": (0, 90), "d": ["x"]})
    ]
    assert points == [pytest.approx([1, 10, 100, 1000]), [2, 3, 4], [0, 30, 60, 90], ["x"]]
    assert make_space({"a": "0:1:0.25"})[0].points(2) == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "space: expected at least one value that varies, got none"),
        ({"a": []}, r"space\['a'\]: expected at least one choice, got none"),
        ({"a": [1, 1]}, r"space\['a'\]: expected choices that differ, got 1"),
        ({"a": (3, 3)}, "from a smaller to a larger number, got 3 to 3"),
        ({"a": (0.0, 1.0, "log")}, "a range above 0 on a logarithmic scale, got 0 to 1"),
        ({"a": (1.0, float("inf"))}, "finite limits, got 1 to inf"),
        ({"a": "1:2:3:4"}, "LOW:HIGH, with :log, :int or :STEP behind it, got '1:2:3:4'"),
        ({"a": "1:x"}, "LOW:HIGH, with :log, :int or :STEP behind it, got '1:x'"),
        ({"a": "1:2.5:int"}, "limits that are integers, as the values are, got 1 to 2.5"),
        ({"a": "1:4:9"}, "a step > 0 within the range"),
        ({"a": 3}, "a range such as"),
        ([("a", 1)], "space: expected a mapping from names to ranges and choices"),
    ],
)
def test_a_wrong_space_is_one_sentence(space: Any, words: str) -> None:
    with pytest.raises(engine.InputError, match=words):
        make_space(space)


@pytest.mark.parametrize("name", kind_names())
def test_every_task_has_something_to_vary(name: str) -> None:
    """Both ends of it are legal; what is fixed does not vary."""
    kind = kind_of(name)
    found = [dimension.name for dimension in space_of(kind, (), (), {}, str)]
    assert len(found) >= 2
    assert [one.name for one in space_of(kind, (), (), {found[0]: 1}, str)] == found[1:]


def test_momentum_is_drawn_for_an_optimizer_that_has_it() -> None:
    space = space_of(kind_of("language"), ["momentum=0:0.9"], ["optimizer=adam,sgd"], {}, str)
    drawn = [values_of(space, {}, lambda one: one.ends()[0]), values_of(space, {}, lambda one: one.ends()[1])]
    assert drawn == [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9}]


# -- trials as runs ---------------------------------------------------------------------------------------------------


def test_trials_are_runs_and_the_best_one_is_linked(
    text: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every figure in the result is the one in its run's folder; the same command again trains nothing."""
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    assert bptt(*command(text, whole, 4), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    assert [trial["state"] for trial in said["trials"]] == ["complete"] * 4
    for trial in said["trials"]:
        found = [record["bpc"] for record in metrics(Path(trial["folder"])) if record["kind"] == "validation"]
        assert (trial["figure"], trial["evaluations"]) == (min(found), len(found))
        options = json.loads((Path(trial["folder"]) / "run.json").read_text())["config"]
        assert {name: options[name] for name in trial["values"]} == trial["values"]
    assert said["best"] == min(said["trials"], key=lambda trial: trial["figure"])
    assert Path(said["best_folder"]).resolve() == Path(said["best"]["folder"]).resolve()
    assert sum(said["importances"].values()) == pytest.approx(1)
    assert bptt("evaluate", said["best_folder"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["bpc"] == pytest.approx(said["best"]["figure"])
    assert bptt("sample", said["best_folder"], "--length", 5) == 0
    capsys.readouterr()
    assert bptt(*command(text, whole, 4)) == 0
    table = capsys.readouterr().out
    assert "4 trials (4 complete); lower bpc is better" in table
    assert f"Best: trial {said['best']['number']}" in table


def test_a_study_is_joined_with_the_same_options_alone(
    text: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [str(word) for word in command(text, whole, 9)]
    changed[changed.index("--layers") + 1] = "1"
    words = refused(capsys, *changed)
    assert words.startswith("bptt: --layers: expected 2, as the study 'language' has it, got 1; leave the change out")
    assert "what varies" in refused(capsys, *command(text, whole, 9), "--range", "l2=1e-6:1e-2:log")
    other = [word if word != text else write_text(whole / "other.txt", 2000) for word in command(text, whole, 9)]
    assert "FILE: expected" in refused(capsys, *other)
    lost = command(text, whole, 9, "--storage", whole / "lost.db")
    assert "has no trials, got trials of an earlier one" in refused(capsys, *lost)
    assert len(study_in(whole).trials) == 4


def test_a_search_in_two_parts_is_the_search_in_one(text: Path, whole: Path, tmp_path: Path) -> None:
    """Random values depend on the seed and the trial's number alone; a journal serves as well as a database."""
    storage = f"journal:{tmp_path / 'journal'}"
    assert bptt(*command(text, tmp_path / "tune", 2, "--storage", storage)) == 0
    assert bptt(*command(text, tmp_path / "tune", 4, "--storage", storage)) == 0
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    study = optuna.load_study(study_name="language", storage=optuna.storages.journal.JournalStorage(backend))
    assert [(t.params, t.value) for t in study.trials] == [(t.params, t.value) for t in study_in(whole).trials]
    assert_same_runs(tmp_path / "tune", whole)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_killed_search_goes_on_where_it_was(text: Path, whole: Path, tmp_path: Path) -> None:
    """SIGKILL within the second trial: it goes on from its checkpoint, and all ends as if nothing had been."""
    out = tmp_path / "tune"
    process = start(*command(text, out, 4))
    lines = out / "language" / "trial-0001" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not lines.exists() or lines.read_bytes().count(b"\n") < 10:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [trial.state.name for trial in study_in(out).trials] == ["COMPLETE", "RUNNING"]
    finish(start(*command(text, out, 4)))
    assert [trial.state.name for trial in study_in(out).trials] == [
        "COMPLETE",
        "FAIL",
        "COMPLETE",
        "COMPLETE",
        "COMPLETE",
    ]
    assert study_in(out).trials[2].user_attrs["continues"] == 1
    assert complete(out) == complete(whole)
    assert_same_runs(out, whole)
    assert not (out / "language" / "workers").exists()


@pytest.mark.proof
def test_an_interrupted_search_ends_with_130_and_goes_on(
    text: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = itertools.count()
    monkeypatch.setattr(StopRequest, "requested", property(lambda self: next(asked) == 40))
    assert bptt(*command(text, tmp_path, 4)) == 130
    assert "Give the same command again" in capsys.readouterr().out
    assert bptt(*command(text, tmp_path, 4)) == 0
    assert "5 trials (4 complete, 1 interrupted)" in capsys.readouterr().out
    assert complete(tmp_path) == complete(whole)
    assert_same_runs(tmp_path, whole)


def test_a_full_disk_ends_the_search_with_1_and_loses_nothing(
    text: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third state that the second trial would save does not find room."""
    saved, calls = RunFiles.keep_state, itertools.count()

    def full(self: RunFiles, live: Any) -> None:
        if self.directory.name == "trial-0001" and next(calls) == 2:
            raise storage_error(self.directory, "to write", OSError(errno.ENOSPC, "No space left on device"))
        saved(self, live)

    monkeypatch.setattr(RunFiles, "keep_state", full)
    assert "No space left on device" in refused(capsys, *command(text, tmp_path, 4), code=1)
    assert bptt(*command(text, tmp_path, 4)) == 0
    assert complete(tmp_path) == complete(whole)
    assert_same_runs(tmp_path, whole)


@pytest.mark.proof
def test_two_processes_share_a_study(text: Path, tmp_path: Path) -> None:
    whole_of_twelve = command(text, tmp_path / "alone", 12)
    assert bptt(*whole_of_twelve) == 0
    both = [start(*command(text, tmp_path, 12)) for _ in range(2)]
    for process in both:
        finish(process)
    trials = study_in(tmp_path).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len(trials) in (12, 13)  # both may begin a last one at the same moment
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    assert complete(tmp_path)[:12] == complete(tmp_path / "alone")


def test_bad_trials_are_ended_early_and_can_be_gone_on_with(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pruner sees the n-th validation of each trial."""
    monkeypatch.setattr("engine.search.runs.make_pruner", lambda *_: optuna.pruners.ThresholdPruner(upper=4.5))
    tiny = [word if word != "10" else "5" for word in TINY]
    lines = "tune", text, "--out", tmp_path, "--steps", 30, *tiny, "--sampler", "grid", "--points", 2, "--no-plots"
    assert bptt(*lines, "--choice", "lr=0.03,1e-5", "--json") == 0
    out, err = capsys.readouterr()
    assert err.count("\n") == 2
    found = {trial["values"]["lr"]: trial for trial in json.loads(out)["trials"]}
    assert [found[lr]["state"] for lr in (0.03, 1e-5)] == ["complete", "pruned"]
    assert (found[0.03]["evaluations"], found[1e-5]["evaluations"]) == (6, 1)
    folder = Path(found[1e-5]["folder"])
    assert len([record for record in metrics(folder) if record["kind"] == "validation"]) == 1
    assert bptt("train", "--resume", "--out", folder, "--quiet") == 0
    assert len([record for record in metrics(folder) if record["kind"] == "validation"]) == 6


def test_a_figure_of_the_task_that_is_better_the_higher_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{'good' if k % 3 else 'bad'} film number {k % 7},{'yes' if k % 3 else 'no'}" for k in range(60)]
    data = tmp_path / "films.csv"
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    lines = "tune", "--task", "classify", data, "--out", tmp_path, "--figure", "accuracy", "--trials", 2, "--steps", 12
    small = "--backend", "numpy:reference", "--hidden", 5, "--embed", 4, "--batch", 8, "--validate-every", 6
    assert bptt(*lines, *small, "--range", "lr=1e-4:1e-1:log", "--sampler", "grid", "--points", 2, "--no-plots",
                "--json") == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert said["higher"]
    assert said["best"]["figure"] == max(trial["figure"] for trial in said["trials"])
    assert said["best"]["values"]["lr"] == pytest.approx(0.1)


def test_an_echo_state_network_is_tuned_without_a_gradient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = write_series(tmp_path / "series.csv")
    lines = "tune", "--task", "echo", series, "--hidden", 12, "--window", 20, "--out", tmp_path, "--trials", 3, "--json"
    assert bptt(*lines, "--no-plots", "--quiet", "--backend", "numpy:reference") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["figure"], sorted(said["best"]["values"])) == ("rmse", ["input_scale", "leak", "radius", "ridge"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--range hiden=1:9", "--range: expected an option of bptt train, got 'hiden'; did you mean 'hidden'?"),
        ("--range horizon=1:3", "--range: expected an option that may differ from trial to trial, got 'horizon'"),
        ("--range cell=1:3", "--range cell: expected an option that is a number, got one that is not"),
        ("--range lr=0:1:log", "--range lr: expected a range above 0 on a logarithmic scale, got 0 to 1"),
        ("--range lr=2:1", "--range lr: expected a range from a smaller to a larger number, got 2 to 1"),
        ("--range lr", "--range: expected NAME=LOW:HIGH, got 'lr'"),
        ("--range dropout=0:1", "--range dropout: expected a finite number >= 0 and < 1, got 1.0"),
        ("--choice cell=lstm,elman", "--choice cell: expected one of lstm,"),
        ("--choice hidden=8,big", "--choice hidden: expected whole numbers with a comma between them, got 'big'"),
        ("--choice lr=0.1,0.1", "--choice lr: expected choices that differ, got 0.1"),
        ("--range lr=1e-3:1 --choice lr=1,2", "--choice lr: expected each option once, got it twice"),
        ("--range lr=1e-3:1 --lr 0.1", "--lr: expected an option that does not vary, got one that does too"),
        ("--trials 0", "--trials: expected an integer >= 1, got 0"),
        ("--sampler grid --points 1", "--points: expected an integer >= 2, got 1"),
        ("--study a/b", "--study: expected a name of letters, digits, dots, dashes and underscores"),
        ("--storage nothing://here", "--storage: expected a storage that can be opened, got nothing://here"),
        ("--storage postgresql://me:secret@nowhere/x", "--storage: expected a storage that can be opened"),
        ("--storage .", "--storage: expected a storage that can be opened"),
        ("--sampler bayes", "'bayes' is not one of 'tpe', 'random', 'grid'"),
        ("--figure accuracy --steps 2", "--figure: expected one of those that a validation has (loss, bpc)"),
    ],
)
def test_what_is_refused_on_the_command_line(
    given: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = write_text(tmp_path / "text.txt", 1200)
    small = "--backend", "numpy:reference", "--hidden", 4, "--sequence", 4, "--batch", 2
    said = refused(capsys, "tune", text, *(() if "hidden=" in given else small), *given.split())
    assert words in said
    assert "secret" not in said


def test_without_optuna_the_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    words = refused(capsys, "tune", write_text(tmp_path / "text.txt"), "--out", tmp_path)
    assert words == "bptt: bptt tune: expected Optuna, got no such package; pip install 'bptt-engine[tune]'\n"
    with pytest.raises(engine.InputError, match="tune: expected Optuna"):
        engine.tune(lambda values: values["a"], {"a": (0.0, 1.0)})


# -- engine.tune ------------------------------------------------------------------------------------------------------


def rows() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    x = draw.standard_normal((60, 5, 2)).astype("float32")
    return x, (x[:, 1, :1] - 0.5 * x[:, 4, 1:]).astype("float32")


def build(values: dict[str, Any]) -> Any:
    parts = (
        engine.GRU(2, values["hidden"], backend="numpy:reference"),
        engine.Linear(values["hidden"], 1, backend="numpy:reference"),
    )
    model = engine.Sequential(*parts, seed=4)
    return model, {"optimizer": engine.Adam(model, lr=values["lr"])}


TUNED: dict[str, Any] = {"epochs": 4, "validation": 0.25, "quiet": True}


def test_a_grid_is_tried_once_and_whole() -> None:
    found = engine.tune(
        lambda v: (v["a"] - 3) ** 2 + v["b"], {"a": (2, 4), "b": [0, 1]}, trials=99, sampler="grid", quiet=True
    )
    assert sorted(tuple(one.values.values()) for one in found.trials) == [(a, b) for a in (2, 3, 4) for b in (0, 1)]
    assert found.best is not None
    assert (found.best.values, found.best.figure) == ({"a": 3, "b": 0}, 0.0)


def test_a_trial_that_failed_is_not_counted_but_on_a_grid_it_is_tried_once(tmp_path: Path) -> None:
    tried: list[int] = []

    def failing(values: dict[str, Any]) -> float:
        tried.append(values["a"])
        if len(tried) in (2, 4):
            raise engine.InputError("a: expected another one")
        return float(values["a"])

    given: dict[str, Any] = {"space": {"a": [1, 2, 3, 4]}, "seed": 1, "quiet": True}
    found = engine.tune(failing, sampler="random", trials=4, **given)
    states = [one.state for one in found.trials]
    assert states == ["complete", "failed", "complete", "failed", "complete", "complete"]
    tried.clear()
    for _ in range(2):
        engine.tune(failing, sampler="grid", out=tmp_path, **given)
        assert sorted(tried) == [1, 2, 3, 4]


def test_tpe_comes_closer_than_chance() -> None:
    """To the lowest place of a bowl, with the same number of trials, for three seeds."""

    def bowl(values: dict[str, Any]) -> float:
        return (np.log10(values["lr"]) + 3) ** 2 + (values["x"] - 0.7) ** 2

    reached = {}
    for sampler in ("tpe", "random"):
        found = [
            engine.tune(
                bowl, {"lr": (1e-6, 1.0, "log"), "x": (0.0, 1.0)}, trials=40, sampler=sampler, seed=s, quiet=True
            )
            for s in range(3)
        ]
        reached[sampler] = np.mean([one.best.figure for one in found if one.best])
    assert reached["tpe"] < 0.5 * reached["random"], reached


def test_trials_of_fit_keep_their_models(tmp_path: Path) -> None:
    x, y = rows()
    space = {"hidden": [3, 9], "lr": (1e-4, 1e-1, "log")}
    found = engine.tune(build, space, x, y, trials=3, metrics=["mae"], out=tmp_path, **TUNED)
    assert found.best is not None
    assert [one.evaluations for one in found.trials] == [4, 4, 4]
    model = engine.load(tmp_path / "study" / "best", backend="numpy:reference")
    assert (tmp_path / "study" / "best").resolve() == Path(found.best.folder or "").resolve()
    assert model.config() == build(found.best.values)[0].config()
    twin, options = build(found.best.values)
    history = engine.fit(twin, x, y, **{**TUNED, **options})
    assert found.best.figure == min(history.validation_loss)
    more = engine.tune(build, space, x, y, trials=5, metrics=["mae"], out=tmp_path, **TUNED)
    assert [one.values for one in more.trials[:3]] == [one.values for one in found.trials]
    assert len(more.trials) == 5


def test_a_trial_of_fit_is_ended_early() -> None:
    x, y = rows()
    pruner = optuna.pruners.ThresholdPruner(upper=1e-9, n_warmup_steps=2)
    found = engine.tune(build, {"hidden": [3, 4], "lr": [0.01]}, x, y, trials=2, pruner=pruner, **TUNED)
    assert [(one.state, one.evaluations) for one in found.trials] == [("pruned", 2)] * 2
    assert found.best is None


def test_an_error_in_the_function_ends_the_search() -> None:
    def wrong(values: dict[str, Any]) -> Any:
        return {}[values["a"]]

    with pytest.raises(KeyError):
        engine.tune(wrong, {"a": [1, 2]}, quiet=True)


def test_a_trial_that_diverges_is_no_end_of_the_search() -> None:
    x, y = rows()

    def steep(values: dict[str, Any]) -> Any:
        model = build({"hidden": 3, "lr": 0.01})[0]
        return model, {"optimizer": engine.SGD(model, lr=values["lr"]), "clip": None}

    found = engine.tune(steep, {"lr": [1e30, 0.01]}, x, y, trials=2, sampler="grid", **TUNED)
    states = {one.values["lr"]: one.state for one in found.trials}
    assert states == {1e30: "pruned", 0.01: "complete"}
    assert next(one.note for one in found.trials if one.state == "pruned").startswith("step ")


def test_three_failures_one_after_another_end_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    calls = itertools.count()

    def failing(values: dict[str, Any]) -> float:
        if next(calls) not in (0, 2):
            raise engine.InputError("a: expected less")
        return float(values["a"])

    with pytest.raises(engine.InputError, match="a: expected less"):
        engine.tune(failing, {"a": [1, 2, 3, 4, 5, 6, 7, 8, 9]}, sampler="grid", seed=3)
    told = capsys.readouterr().err.splitlines()
    assert ["failed" in line for line in told] == [False, True, False, True, True]
    assert "(a: expected less)" in told[1]
    assert next(calls) == 6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"build": 3}, "build: expected a function"),
        ({"build": lambda values: "model"}, "build: expected a model"),
        ({"trials": 0}, "trials: expected an integer >= 1, got 0"),
        (
            {"figure": "accuracy"},
            "figure: expected one of 'loss', got a str|figure: expected one of 'loss', got 'accuracy'",
        ),
        ({"sampler": "bayes"}, "sampler: expected one of 'tpe', 'random', 'grid'"),
        ({"pruner": "worst"}, "pruner: expected one of 'median', 'hyperband', 'none'"),
        ({"validation": None}, "validation: expected rows to compare the trials by, got None"),
        ({"epoch": 3}, "options: expected options of engine.fit, got 'epoch'"),
        ({"resume": True}, "options: expected options of engine.fit, got 'resume', which tune sets by itself"),
        ({"storage": 3}, "storage: expected a URL, the name of a file, or a storage of Optuna"),
    ],
)
def test_wrong_arguments_are_one_sentence(given: dict[str, Any], words: str) -> None:
    x, y = rows()
    arguments = {
        "build": build,
        "space": {"hidden": [3, 4], "lr": [0.01]},
        "x": x,
        "y": y,
        "trials": 1,
        **TUNED,
        **given,
    }
    with pytest.raises(engine.InputError, match=words):
        engine.tune(**arguments)


@pytest.mark.proof
def test_pictures_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shows something, and the user's own settings of matplotlib stay."""
    import matplotlib
    from matplotlib import pyplot
    from PIL import Image

    study = optuna.create_study()
    for a, b in ((0.1, 2), (0.5, 4), (0.9, 3), (0.3, 5)):
        trial = optuna.create_trial(
            params={"lr": a, "hidden": b},
            distributions={
                "lr": optuna.distributions.FloatDistribution(0.01, 1, log=True),
                "hidden": optuna.distributions.IntDistribution(1, 9),
            },
            value=a + b / 10,
            intermediate_values={1: a + b, 2: a + b / 10},
        )
        study.add_trial(trial)
    before, backend = dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)
    drawn = found_in(study, "loss", False).plots(tmp_path)
    assert sorted(drawn) == ["contour", "curves", "history", "importances", "parallel", "slices", "timeline"]
    for path in drawn.values():
        pixels = np.asarray(Image.open(path).convert("L"), dtype=float)
        assert pixels.std() > 5, path
    assert (dict(matplotlib.rcParams), pyplot.get_fignums()) == (before, [])
    assert matplotlib.get_backend(auto_select=False) == backend
