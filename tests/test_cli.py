"""The command line: exit codes, one-line errors, JSON that is JSON, and help that is quick."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, bptt, finish, refused, start, write_series, write_text

import engine
from engine.checking.catalogue import catalogue
from engine.training import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("blank_pictures")

COMMANDS = ("train", "sample", "evaluate", "predict", "gradcheck", "bench", "backends", "warmup", "notebooks")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "tides.txt")


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert bptt("train", text, "--out", out, "--steps", 30, *TINY, "--quiet") == 0
    return out


def answer(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> dict[str, Any]:
    """The one JSON object that a command prints with ``--json``; nothing else may be on standard output."""
    capsys.readouterr()
    assert bptt(*args, "--json") == code
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


# -- help and version -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt(*command, "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith(" ".join(("Usage: bptt", *command)))
    assert err == ""


def test_help_shows_the_real_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """The defaults in the help are typed by hand: they are those that are used."""
    from engine.training.config import make

    assert bptt("train", "--help") == 0
    words = " ".join(capsys.readouterr().out.split())
    language, series = make("language", {}), make("forecast", {"data": "x"})
    plain = ["layers", "embed", "dropout", "sequence", "optimizer", "schedule", "warmup", "clip", "seed", "dtype"]
    both = ["hidden", "batch", "lr", "validation", "report_every", "validate_every", "checkpoint_every"]
    for name in plain + both:
        ours, theirs = getattr(language, name), getattr(series, name)
        shown = f"{ours:g}" if isinstance(ours, float) else str(ours)
        other = f"{theirs:g}" if isinstance(theirs, float) else str(theirs)
        ending = f"[{shown}]" if ours == theirs else f"[{shown}; forecast: {other}]"
        after = words.partition(f" --{name.replace('_', '-')} ")[2]
        assert ending in after.partition(" --")[0], (name, ending, after[:80])
    assert f"[{language.steps}; forecast: by epochs]" in words
    assert f"[forecast: {series.epochs}]" in words


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("--version") == 0
    assert capsys.readouterr().out == f"bptt, version {engine.__version__}\n"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt() == 0
    assert capsys.readouterr().out.startswith("Usage: bptt")


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from engine.cli import run
code = run(["train", "--help"])
heavy = {"matplotlib", "numba", "scipy", "rich", "safetensors", "cupy", "torch"} & set(sys.modules)
sys.exit(code or f"loaded: {heavy}" if heavy else 0)
"""
    finish(start(code=code))


def test_the_module_is_what_the_console_script_calls() -> None:
    finish(start("--version"))


# -- bad usage and bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ("fly", ["No such command 'fly'"]),
        ("train --tempo 3", ["No such option", "--tempo", "bptt train --help"]),
        ("train --steps many", ["--steps", "'many' is not a valid integer"]),
        ("train --steps", ["--steps", "requires an argument"]),
        ("train --steps 0", ["--steps: expected an integer >= 1, got 0"]),
        (
            "train --steps 5 --epochs 1",
            ["expected one of --steps, --epochs, --minutes, got --steps and --epochs; keep"],
        ),
        ("train --minutes nan", ["--minutes: expected a finite number > 0, got nan"]),
        ("train --cell tree", ["--cell", "'tree' is not one of 'lstm', 'gru', 'rnn'"]),
        ("train --lr -1", ["--lr: expected a finite number > 0, got -1.0"]),
        ("train --lr 1 --hidden 3 --lr=1", ["bptt train: --lr is given 2 times; give it once"]),
        ("evaluate . --backend numpy --backend cupy", ["bptt evaluate: --backend is given 2 times; give it once"]),
        ("train --dropout 1", ["--dropout: expected a finite number >= 0 and < 1, got 1.0"]),
        ("train --hidden 0", ["--hidden: expected an integer >= 1, got 0"]),
        ("train --seed -3", ["--seed: expected an integer >= 0, got -3"]),
        ("train --validation 1.5", ["--validation: expected a finite number > 0 and < 1, got 1.5"]),
        (
            "train --weight-decay 0.1",
            ["--weight-decay: expected an optimiser that has one (adamw)", "--optimizer adamw"],
        ),
        ("train --backend abacus", ["bptt: --backend: expected one of 'numpy', 'cupy', 'torch', got 'abacus'"]),
        ("train --backend numpy:cuda", ["bptt: --backend: expected one of 'numba', 'reference' for numpy, got 'cuda'"]),
        ("train --horizon 3", ["--horizon: expected no such option for the task 'language', got one; leave it out or"]),
        ("train --task forecast", ["--data: expected a CSV or NPY file with the series, got none; give --data FILE"]),
        ("train --task forecast --data x --embed 3", ["--embed: expected no such option for the task 'forecast'"]),
        (
            "train --task forecast --data x --test 0.6 --validation 0.5",
            ["--test: expected --validation + --test below 1"],
        ),
        (
            "train --task forecast --data none.csv",
            ["none.csv: expected a CSV file", "got no such file; check the name"],
        ),
        ("train none.txt", ["none.txt: expected a UTF-8 text file, got no such file"]),
        ("train .", [": expected a UTF-8 text file, got a directory"]),
        ("train empty.txt", ["empty.txt: expected a UTF-8 text file, got an empty file"]),
        ("train binary.txt", ["binary.txt: expected a UTF-8 text file, got a binary file"]),
        ("train latin.txt", ["latin.txt: expected a UTF-8 text file, got the byte 0xe4"]),
        (
            "train short.txt",
            ["short.txt: expected at least 2,049 characters to train on", "got 82 and 9; give more text, or"],
        ),
        ("train short.txt --out short.txt", ["--out: expected a directory, got the file short.txt"]),
        (
            "train --task forecast --data words.csv",
            ["words.csv: expected numbers, got 'many' in line 3, column 'level'"],
        ),
        (
            "train --task forecast --data gaps.csv",
            ["gaps.csv: expected a number in every cell, got 1 missing cell", "line 3"],
        ),
        (
            "train --task forecast --data two.csv",
            ["two.csv: expected a column named among 'a', 'b', got none", "--column"],
        ),
        ("train --task forecast --data two.csv --column c", ["two.csv: expected a column among 'a', 'b', got 'c'"]),
        (
            "train --task forecast --data few.csv",
            ["few.csv: expected at least --window + --horizon = 65 rows in the train", "got 22"],
        ),
        (
            "train --steps 5 --minutes 1 --epochs 2",
            ["bptt: --steps: expected one of --steps, --epochs, --minutes, got "],
        ),
        ("train tiny.txt --validation 0.01", ["tiny.txt: expected enough text that both parts of a split at 0.01 get"]),
        ("train --validation 0.00000001", ["bptt: the built-in text: expected enough text that both parts of a split"]),
        (
            "train --task forecast --data brief.csv --window 1",
            ["brief.csv: expected at least one row in each of training, validation and test part, got 2, 0 and 0 of 2"],
        ),
        (
            "train --task forecast --data large.csv",
            ["large.csv: expected numbers whose squares are finite, up to 1e150"],
        ),
        (
            "train --task forecast --data long.csv --season 290 --window 5",
            ["bptt: --season: expected at most the 255 rows before the held-out part, got 290"],
        ),
        ("train --task forecast --data two.csv --column a --column a", ["bptt: --column: expected each column once"]),
        ("compare --backends numpy:abacus", ["bptt: --backends: expected one of 'numba', 'reference' for numpy"]),
        ("sample nowhere", ["nowhere: expected a checkpoint file, got 'No such file or directory'"]),
        (
            "sample .",
            ["RUN: expected a directory with best.safetensors or last.safetensors, got . without; train it first"],
        ),
        ("sample short.txt", ["short.txt: expected a safetensors checkpoint, got a file of another kind"]),
        ("evaluate nowhere", ["nowhere: expected a checkpoint file"]),
        ("sample nowhere --length many", ["--length", "'many' is not a valid integer"]),
        ("gradcheck --cell tree", ["--cell", "'tree' is not one of"]),
        ("gradcheck --seed -1", ["--seed: expected an integer >= 0, got -1"]),
        ("gradcheck --backend abacus", ["bptt: --backend: expected one of 'numpy', 'cupy', 'torch', got 'abacus'"]),
        ("backends --fast", ["No such option", "--fast"]),
    ],
)
def test_bad_input_is_one_line(
    args: str, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("binary.txt").write_bytes(b"PK\x03\x04\0\0\0")
    Path("latin.txt").write_bytes("Käse\n".encode("latin-1") * 1000)
    Path("short.txt").write_text("all too short" * 7)
    Path("words.csv").write_text("level\n1\nmany\n3\n")
    Path("gaps.csv").write_text("level\n1\n\n3\n")
    Path("two.csv").write_text("a,b\n1,2\n3,4\n")
    Path("few.csv").write_text("level\n" + "1\n2\n3\n" * 10)
    Path("tiny.txt").write_text("a little")
    Path("brief.csv").write_text("level\n1\n2\n")
    Path("large.csv").write_text("level\n" + "1e200\n2e200\n" * 150)
    Path("long.csv").write_text("level\n" + "1\n2\n4\n" * 100)
    before = sorted(tmp_path.rglob("*"))
    err = refused(capsys, *args.split())
    for part in parts:
        assert part in err
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert not [path for path in left if path.is_file()]  # nothing was begun


@pytest.mark.skipif(engine.available_backends()["cupy"] is None, reason="CuPy is usable here")
def test_a_backend_that_cannot_be_used_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    reason = engine.available_backends()["cupy"]
    assert f"backend 'cupy' cannot be used here: {reason}" in refused(capsys, "train", "--backend", "cupy")


def test_a_directory_that_cannot_be_written_to(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    err = refused(capsys, "train", text, "--out", tmp_path / "file" / "run", "--steps", 2, *TINY)
    assert (
        f"bptt: --out: expected a directory, got {tmp_path / 'file' / 'run'}, where a file is in the way; choose an"
        in err
    )


def test_numbers_that_blow_up_are_a_failure(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--lr", "3e38", "--optimizer", "sgd", "--momentum", 0.9, "--clip", 0, "--quiet"]
    err = refused(capsys, "train", text, "--out", tmp_path / "run", "--steps", 50, *TINY, *options, code=1)
    assert ": expected finite numbers, got " in err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--length", 0), ("--top-k", -1), ("--seed", -4), ("--temperature", "inf"), ("--backend", "x")],
)
def test_sampling_calls_an_argument_as_its_option(
    run: Path, capsys: pytest.CaptureFixture[str], option: str, value: object
) -> None:
    assert refused(capsys, "sample", run, option, value).startswith(f"bptt: {option}: expected ")


def test_a_file_called_as_an_argument_stays_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("out", "data"):
        Path(name).mkdir()
    err = refused(capsys, "train", "--task", "forecast", "--data", "data")
    assert err.startswith(f"bptt: {tmp_path / 'data'}: expected ")
    assert refused(capsys, "evaluate", "out").startswith("bptt: RUN: expected a directory with ")


def test_a_file_that_cannot_be_read_is_not_one_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(*args: object) -> None:
        raise PermissionError(13, "Permission denied", "runs/text/x")

    monkeypatch.setattr("engine.training.checkpoint_in", unreadable)
    err = refused(capsys, "sample", code=1)
    assert err == "bptt: runs/text/x: expected a file that can be read, got 'Permission denied'\n"


def test_too_little_memory(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--hidden", 10**8, "--backend", "numpy:reference", "--batch", 2, "--sequence", 4]
    assert "bptt: --hidden: expected enough memory for the model" in refused(
        capsys, "train", text, "--out", tmp_path / "run", *sizes
    )


# -- checkpoints that cannot be used ----------------------------------------------------------------------------------


def change(run: Path, target: Path, **updates: Any) -> Path:
    """A copy of a run's best checkpoint with other metadata."""
    checkpoint = read_checkpoint(run / "best.safetensors")
    meta = {key: value for key, value in checkpoint.meta.items() if key not in ("format_version", "crc32")}
    write_checkpoint(target, checkpoint.arrays, {key: v for key, v in {**meta, **updates}.items() if v is not None})
    return target


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_checkpoints_of_another_kind(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "x.safetensors"
    data = (run / "best.safetensors").read_bytes()
    path.write_bytes(data[:-50])
    assert "cut short" in refused(capsys, command, path)
    other = json.loads(json.dumps(read_checkpoint(run / "best.safetensors").meta["model"]))
    other["args"]["layers"][1]["args"]["hidden_size"] = 7
    err = refused(capsys, command, change(run, path, model=other))
    assert f"{path}: expected parameter '1.bias_hh_l0' of shape (28,), got shape (24,); it is another model's" in err
    other["args"]["layers"][1]["type"] = "Tree"
    assert f"{path}: expected the description of a model, got " in refused(
        capsys, command, change(run, path, model=other)
    )
    assert f"{path}: expected metadata 'model', got none" in refused(capsys, command, change(run, path, model=None))
    assert f"{path}: expected metadata 'config', got none" in refused(capsys, command, change(run, path, config=None))
    assert "expected a record" in refused(capsys, command, change(run, path, task={"vocabulary": [1]}))


def test_a_last_checkpoint_that_is_damaged_is_not_trained_over(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for entry in run.iterdir():
        (out / entry.name).write_bytes(entry.read_bytes())
    data = (out / "last.safetensors").read_bytes()
    (out / "last.safetensors").write_bytes(data[: len(data) // 2])
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}
    assert "last.safetensors: expected " in refused(capsys, "train", "--out", out, "--resume", "--quiet")
    (out / "last.safetensors").write_bytes((out / "best.safetensors").read_bytes())  # weights alone
    assert "expected metadata 'optimizer', got none" in refused(capsys, "train", "--out", out, "--resume", "--quiet")
    (out / "last.safetensors").write_bytes(data[: len(data) // 2])
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before


def test_a_forecaster_does_not_write_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = write_series(tmp_path / "level.csv")
    options = ["--task", "forecast", "--data", series, "--epochs", 1, "--window", 8, "--backend", "numpy:reference"]
    assert bptt("train", *options, "--out", tmp_path / "run", "--quiet") == 0
    assert "expected a language model, got one of the task 'forecast'" in refused(capsys, "sample", tmp_path / "run")


# -- train, sample, evaluate ------------------------------------------------------------------------------------------


def test_train_reports_what_it_did(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    result = answer(capsys, "train", text, "--out", out, "--steps", 12, *TINY)
    assert (result["ending"], result["step"], result["task"]) == ("complete", 12, "language")
    for key in ("checkpoint", "best", "picture"):
        assert Path(result[key]).is_file()
    assert bptt("train", "--out", out, "--resume", "--steps", 15) == 0
    words = capsys.readouterr().out
    assert words.startswith("Complete at step 15 (")
    assert f"bptt sample {out}" in words


def test_evaluate_says_what_training_said(run: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "evaluate", run, "--backend", "numpy:reference")
    best = read_checkpoint(run / "best.safetensors").meta["trainer"]["best_loss"]
    assert result["loss"] == best
    assert result["bpc"] == pytest.approx(best / math.log(2))
    assert result["perplexity"] == pytest.approx(math.exp(best))
    assert result["characters"] == round(len(text.read_text()) * 0.1) - 1
    assert bptt("evaluate", run, "--backend", "numpy:reference") == 0
    assert f"{result['bpc']:.4f} bits per character" in capsys.readouterr().out


def test_evaluate_on_other_text(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the boats come in")
    result = answer(capsys, "evaluate", run, other, "--backend", "numpy:reference")
    assert result["characters"] == 16
    other.write_text("a")
    assert "expected at least 2 characters, got 1" in refused(capsys, "evaluate", run, other)
    other.write_text("the boats ÷")
    assert "expected only the " in refused(capsys, "evaluate", run, other)


def test_evaluate_needs_the_text_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_text(tmp_path / "text.txt")
    assert bptt("train", text, "--out", tmp_path / "run", "--steps", 2, *TINY, "--quiet") == 0
    text.write_text(text.read_text() + "more")
    assert "expected the text that " in refused(capsys, "evaluate", tmp_path / "run")


def test_sample(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--length", 40, "--prompt", "the tide", "--backend", "numpy:reference"]
    result = answer(capsys, "sample", run, *options, "--seed", 4)
    assert len(result["text"]) == 40
    assert bptt("sample", run, *options, "--seed", 4) == 0
    assert capsys.readouterr().out == "the tide" + result["text"] + "\n"
    assert answer(capsys, "sample", run, *options, "--seed", 5)["text"] != result["text"]
    last = answer(capsys, "sample", run / "last.safetensors", *options)
    assert last == answer(capsys, "sample", run, "--checkpoint", "last", *options)
    assert "--prompt: expected only the " in refused(capsys, "sample", run, "--prompt", "ä")
    assert "--temperature: expected a number >= 0, got -1.0" in refused(capsys, "sample", run, "--temperature", -1)


@pytest.mark.slow
def test_a_checkpoint_moves_between_kernels(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = answer(capsys, "evaluate", run, "--backend", "numpy:reference")
    other = answer(capsys, "evaluate", run, "--backend", "numpy:numba")
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_a_reader_who_leaves(run: Path) -> None:
    """``bptt sample | head`` ends without a word."""
    process = start("sample", run, "--length", 20000, "--backend", "numpy:reference")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(5)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


# -- gradcheck and backends -------------------------------------------------------------------------------------------


def test_gradcheck_passes(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "gradcheck", "--backend", "numpy:reference", "--cell", "rnn")
    assert result["passed"] is True
    assert {check["cell"] for check in result["checks"]} == {"RNN (tanh)", "RNN (relu)"}
    assert len(result["checks"]) == 24
    assert all(check["verdict"] == "ok" for check in result["checks"])
    exact = [check for check in result["checks"] if check["options"] != "float32 backward"]
    assert all(check["error"] < 1e-7 for check in exact)


@pytest.mark.slow
def test_gradcheck_fails_on_a_wrong_gradient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted bug: the gradient of the input of a Linear layer is a tenth of a percent too large."""
    right = engine.Linear.backward

    def wrong(self: engine.Linear, *arguments: Any) -> Any:
        dx, dstate = right(self, *arguments)
        return dx * 1.001, dstate

    monkeypatch.setattr(engine.Linear, "backward", wrong)
    assert bptt("gradcheck", "--backend", "numpy:reference", "--cell", "others") == 1
    out = capsys.readouterr().out
    count = len(list(catalogue(engine.get_backend("numpy:reference"), chosen=["others"])))
    assert re.search(rf"^[1-9]\d* of {count} gradient checks FAILED", out, re.MULTILINE)


def test_gradcheck_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("gradcheck", "--backend", "numpy:reference", "--cell", "others", "--seed", 3) == 0
    out = capsys.readouterr().out
    count = len(list(catalogue(engine.get_backend("numpy:reference"), chosen=["others"])))
    assert f"all {count} gradient checks passed (central differences)" in out
    assert "Embedding" in out


def test_gradcheck_shows_every_backend_and_says_why_one_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "gradcheck", "--cell", "others", "--method", "complex")
    seen = {check["backend"]: check for check in result["checks"]}
    assert {"numpy:reference", "cupy:reference"} <= set(seen)
    reason = engine.available_backends()["cupy"]
    assert reason is None or reason in seen["cupy:reference"]["reason"]


def test_gradcheck_plants_a_bug_and_finds_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "found.png"
    assert bptt("gradcheck", "--inject", "lstm-o-sign", "--json", "--plot", picture) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["checks"][0]["diagnosis"]["gate"] == "o"
    assert result["checks"][0]["diagnosis"]["cause"] == "sign"
    wrong = {one["name"]: one for one in result["checks"][0]["tensors"]}
    assert wrong["weight_ih_l0"]["verdict"] == "wrong"
    assert wrong["weight_ih_l0"]["extent"]
    assert picture.stat().st_size > 10_000
    assert bptt("gradcheck", "--inject", "lstm-o-sing") == 2
    assert "near it: lstm-o-sign" in capsys.readouterr().err
    assert bptt("gradcheck", "--bugs") == 0
    assert "lstm-o-sign" in capsys.readouterr().out
    assert bptt("gradcheck", "--plot", tmp_path / "nowhere" / "x.png") == 2
    capsys.readouterr()
    assert bptt("gradcheck", "--plot", tmp_path / "x.xyz") == 2  # before anything is checked
    assert "--plot: expected a file name that ends in" in capsys.readouterr().err


def test_backends(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "backends")
    assert {name: entry["reason"] for name, entry in result.items()} == engine.available_backends()
    assert result["numpy"]["kernels"]["reference"] is None
    assert bptt("backends") == 0
    out = capsys.readouterr().out
    assert "numpy:reference" in out
    for reason in filter(None, engine.available_backends().values()):
        assert reason in out  # brackets and all


def test_the_default_text_is_built_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "--hidden 4 --embed 3 --batch 2 --sequence 4 --steps 2 --backend numpy:reference --quiet".split()
    result = answer(capsys, "train", "--out", tmp_path / "run", *small)
    assert result["step"] == 2
    vocabulary = read_checkpoint(tmp_path / "run" / "best.safetensors").meta["task"]["vocabulary"]
    assert len(vocabulary["characters"]) > 60


def test_one_blas_thread_unless_asked_for() -> None:
    code = "import os; from engine.cli import run; run(['--version']); print(os.environ['OPENBLAS_NUM_THREADS'])"
    for given, expected in ((None, "1"), ("2", "2")):
        import os

        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        environment["PYTHONPATH"] = str(Path(engine.__file__).parent.parent)
        if given:
            environment["OPENBLAS_NUM_THREADS"] = given
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == expected


def test_numbers_do_not_depend_on_where_it_is_run_from(
    run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are kept absolute: a run is resumed and measured from any directory."""
    out = tmp_path / "run"
    monkeypatch.chdir(text.parent)
    assert bptt("train", text.name, "--out", out, "--steps", 10, *TINY, "--quiet") == 0
    monkeypatch.chdir(tmp_path)
    assert bptt("train", "--out", out, "--resume", "--steps", 30, "--quiet") == 0
    assert bptt("evaluate", out, "--backend", "numpy:reference") == 0
    np.testing.assert_equal(
        read_checkpoint(out / "last.safetensors").meta["config"]["files"],
        read_checkpoint(run / "last.safetensors").meta["config"]["files"],
    )
