"""What a terminal, a pipe or a notebook does to a command: signals, streams that fail, MPLBACKEND."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, TINY, assert_same_run, bptt, finish, metrics, start, write_series, write_text

import engine.drawing
from engine.training.interrupt import StopRequest
from engine.training.progress import PlainReporter, make_reporter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and shells")

RUN = "from bptt_engine.command import main; main()"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "tides.txt")


def shell(redirections: str, *args: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with its streams redirected by the shell."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    command = ["sh", "-c", f'"$@" {redirections}', "sh", sys.executable, "-c", RUN, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


# -- streams -----------------------------------------------------------------------------------------------------------

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
STREAMS = [
    ("2>&-", 0),
    pytest.param("2>/dev/full", 0, marks=needs_full),
    ("<&- >&- 2>&-", 1),
]


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert bptt("train", text, "--out", out, "--steps", 12, *TINY, "--quiet") == 0
    return out


@pytest.mark.parametrize(("redirections", "code"), STREAMS)
def test_training_ends_and_is_saved_whatever_its_streams_do(
    text: Path, whole: Path, tmp_path: Path, redirections: str, code: int
) -> None:
    done = shell(redirections, "train", text, "--out", tmp_path / "run", "--steps", 12, *TINY)
    assert (done.returncode, done.stderr) == (code, "")
    assert (tmp_path / "run" / "loss.png").stat().st_size > 10_000
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("redirections", [">&-", pytest.param(">/dev/full", marks=needs_full)])
def test_results_that_cannot_be_written_are_a_failure(redirections: str) -> None:
    done = shell(redirections, "gradcheck", "--bugs")
    assert done.returncode == 1
    assert done.stderr.startswith("bptt: standard output: expected to write the results, got '")
    assert done.stderr.count("\n") == 1


class Failing:
    """A stream that fails, as that of a terminal which was closed."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise BrokenPipeError


def test_progress_that_cannot_be_shown_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: Any = Failing()
    PlainReporter(stream=stream).note("words")
    monkeypatch.setattr(sys, "stderr", stream)
    live = make_reporter("characters", quiet=False)
    live.note("words")
    live.close()
    monkeypatch.setattr(sys, "stderr", None)
    make_reporter("characters", quiet=False).note("words")


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_picture_needs_no_sensible_backend(name: str, tmp_path: Path) -> None:
    code = f"""
from engine.drawing import load_matplotlib, new_figure
with load_matplotlib().rc_context({{"font.size": 8}}):
    figure = new_figure(figsize=(4, 3), layout="constrained")
    figure.subplots().plot([1, 3, 2])
    figure.savefig({str(tmp_path / "x.png")!r})
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": name}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("task", ["language", "forecast"])
def test_a_picture_that_cannot_be_drawn_takes_nothing_with_it(
    task: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**options: Any) -> Any:
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr("engine.training.plots.new_figure", broken)
    out = tmp_path / "run"
    series = write_series(tmp_path / "level.csv", 200)
    forecast = ["--task", "forecast", "--data", series, "--window", 8, "--backend", "numpy:reference"]
    command = ["train", text, *TINY] if task == "language" else ["train", *forecast]
    assert bptt(*command, "--out", out, "--steps", 12, "--quiet") == 0
    words, err = capsys.readouterr()
    picture = out / ("loss.png" if task == "language" else "forecast.png")
    assert err == f"bptt: {picture}: expected to draw the picture, got 'RuntimeError: no fonts'\n"
    assert words.startswith("Complete at step 12")
    assert "Pictures: none" in words
    assert (out / "last.safetensors").exists()
    assert ("persistence" in words) == (task == "forecast")


@pytest.mark.parametrize(
    ("args", "drawing"),
    [
        ("gradcheck --inject rnn-sign --plot {}", "engine.checking.report.picture.new_figure"),
        (
            "compare --backends numpy:reference --no-memory --seconds 0 --out {}",
            "engine.measuring.comparison_picture.new_figure",
        ),
    ],
)
def test_other_pictures_that_cannot_be_drawn(
    args: str, drawing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.png").mkdir()
    words = args.format(tmp_path / "folder.png").split()
    assert bptt(*words) == (2 if "gradcheck" in args else 1)
    out, err = capsys.readouterr()
    if "compare" in args:
        assert "numpy:reference" in out  # what was found is said before
        expected = f"{tmp_path / 'folder.png'}: expected to write the picture, got 'Is a directory'"
        assert err == f"bptt: {expected}\n"
    monkeypatch.setattr(drawing, lambda **options: 1 / 0)
    words = args.format(tmp_path / "x.png").split()
    assert bptt(*words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"bptt: {tmp_path / 'x.png'}: expected to draw the picture, got 'ZeroDivisionError: ")


def test_matplotlib_is_imported_once() -> None:
    import matplotlib

    assert engine.drawing.load_matplotlib() is matplotlib


# -- signals -----------------------------------------------------------------------------------------------------------

#: Says that the command has begun, and then takes its time over the first of its own imports.
SLOW_IMPORT = (
    """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            print("importing", flush=True)
            try:
                time.sleep(60)
            except BaseException:  # as an import may swallow it
                pass
sys.meta_path.insert(0, Slow())
"""
    + RUN
)


@pytest.mark.parametrize(
    ("module", "args"), [("engine", "train"), ("click", "bench"), ("numpy", "train"), ("engine.checking", "gradcheck")]
)
def test_an_interrupt_while_it_imports(module: str, args: str) -> None:
    process = start(*args.split(), code=SLOW_IMPORT.format(name=module))
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert finish(process, 130) == ("", "bptt: interrupted\n")


def reach(out: Path, line: int) -> None:
    """Wait until a run has written so many lines of metrics."""
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").read_bytes().count(b"\n") < line:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_terminal_that_is_closed_saves_and_ends(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("train", text, "--out", out, "--steps", 10**6, *TINY, "--quiet")
    reach(out, 3)
    process.send_signal(signal.SIGHUP)
    words, err = finish(process)
    assert err == ""
    step = metrics(out)[-1]["step"]
    assert words.startswith(f"Interrupted at step {step:,} (")
    assert bptt("train", "--out", out, "--resume", "--steps", step + 3, "--quiet") == 0


def test_nohup_is_left_alone(text: Path, tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); " + RUN
    out = tmp_path / "run"
    process = start("train", text, "--out", out, "--steps", 150, *TINY, "--quiet", code=code)
    reach(out, 3)
    process.send_signal(signal.SIGHUP)
    assert finish(process)[0].startswith("Complete at step 150")


def test_a_stop_before_the_first_step(text: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StopRequest, "requested", True)
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", 12, *TINY, "--quiet") == 0
    assert not metrics(out)
    monkeypatch.undo()
    assert bptt("train", "--out", out, "--resume", "--quiet") == 0
    assert_same_run(out, whole)


#: A first step that takes its time and swallows what is raised meanwhile, as callbacks of LLVM's do.
SLOW_STEP = (
    """
import time
from engine.training.trainer import Trainer
def step(self):
    print("compiling", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
Trainer._step = step
"""
    + RUN
)


def test_a_second_interrupt_while_something_swallows_it(text: Path, tmp_path: Path) -> None:
    process = start("train", text, "--out", tmp_path / "run", "--steps", 5, *TINY, "--quiet", code=SLOW_STEP)
    assert process.stdout is not None
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # the first is a request
    process.send_signal(signal.SIGINT)
    assert finish(process, 130) == ("", "bptt: interrupted\n")


def test_in_a_notebook_a_second_interrupt_is_a_keyboard_interrupt() -> None:
    def interrupt(swallowed: bool, then: Exception | None = None) -> None:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.requested
            with contextlib.suppress(KeyboardInterrupt) if swallowed else contextlib.nullcontext():
                signal.raise_signal(signal.SIGINT)
            if then is not None:
                raise then
            assert not stop.requested  # never reached: this look raises what was lost

    for swallowed, then in ((False, None), (True, None), (True, RuntimeError("what Numba makes of it"))):
        with pytest.raises(KeyboardInterrupt):
            interrupt(swallowed, then)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.requested
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
