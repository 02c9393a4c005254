"""A run that is killed and resumed ends with the very bytes of a run that was not."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, assert_same_run, bptt, finish, metrics, refused, start, tiny, write_series, write_text

from engine import atomic
from engine.atomic import storage_error
from engine.training.checkpoint import read_checkpoint
from engine.training.metrics import MetricsLog
from engine.training.trainer import Trainer

STEPS = 120

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
pytestmark = [posix, pytest.mark.usefixtures("blank_pictures")]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "tides.txt")


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `STEPS` steps that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert bptt("train", text, "--out", out, "--steps", STEPS, *TINY, "--quiet") == 0
    return out


def reported(out: Path) -> int:
    """How many whole lines of metrics there are: a cheap sign of progress."""
    try:
        return (out / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def kill_at_line(process: subprocess.Popen[str], out: Path, line: int, delay: float) -> None:
    """SIGKILL the run a little after it has reported so often."""
    deadline = time.monotonic() + 60
    while reported(out) < line:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL  # it was at work: the kill has met something


def killed_and_resumed(text: Path, out: Path, kills: int, seed: int) -> None:
    """Kill a run at random moments, resume it each time, and let it end."""
    draw = random.Random(seed)
    command = ["train", text, "--out", out, "--steps", STEPS, *TINY, "--quiet"]
    for _ in range(kills):
        # Lines that no session before has reached: each one trains for a while, some of it for the second time.
        line = reported(out) + draw.randrange(1, 5)
        kill_at_line(start(*command, "--resume"), out, line, draw.uniform(0.0, 0.004))
    assert bptt(*command, "--resume") == 0


def test_three_kills(text: Path, whole: Path, tmp_path: Path) -> None:
    killed_and_resumed(text, tmp_path / "run", 3, seed=1)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("seed", [2, 12, 22])
def test_sixty_kills_at_random_moments(text: Path, whole: Path, tmp_path: Path, seed: int) -> None:
    killed_and_resumed(text, tmp_path / "run", 20, seed)
    assert_same_run(tmp_path / "run", whole)
    assert len(metrics(whole)) == STEPS + STEPS // 10
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == sorted(e.name for e in whole.iterdir())


@pytest.mark.slow
def test_kills_while_it_starts_up(text: Path, whole: Path, tmp_path: Path) -> None:
    command = ["train", text, "--out", tmp_path / "run", "--steps", STEPS, *TINY, "--quiet", "--resume"]
    draw = random.Random(3)
    for _ in range(5):
        process = start(*command)
        time.sleep(draw.uniform(0.0, 0.6))
        process.kill()
        process.communicate()
    finish(start(*command))
    assert_same_run(tmp_path / "run", whole)


#: The process kills itself the second time it gets to a certain place.
CRASH = """
import os, signal, sys
import engine.atomic as atomic, engine.training.metrics as metrics
from engine.cli import main

place, seen = {place!r}, 0

def crash(*_):
    global seen
    seen += 1
    if seen == 2:
        os.kill(os.getpid(), signal.SIGKILL)

if place == "half a temporary file":
    real_open = open
    def opened(name, *args, **kwargs):
        file = real_open(name, *args, **kwargs)
        if str(name).endswith("last.safetensors." + str(os.getpid()) + ".bptt.tmp"):
            if seen:
                file.write(b"half"); file.flush()
            crash()
        return file
    atomic.open = opened
elif place == "before the rename":
    real = os.replace
    atomic.os.replace = lambda a, b: (crash() if "last" in str(a) else None, real(a, b))
elif place == "after the rename":
    real = os.replace
    atomic.os.replace = lambda a, b: (real(a, b), crash() if "last" in str(a) else None)
elif place == "best before last":
    real = os.replace
    atomic.os.replace = lambda a, b: (real(a, b), crash() if "best" in str(a) else None)
elif place == "half a line of metrics":
    real_write = metrics.MetricsLog.write
    def write(self, record):
        if record["step"] >= 15:
            self._file.write(b'{{"kind": "tra'); crash(); crash()
        real_write(self, record)
    metrics.MetricsLog.write = write
main()
"""


@pytest.mark.parametrize(
    "place",
    ["half a temporary file", "before the rename", "after the rename", "best before last", "half a line of metrics"],
)
def test_a_kill_in_the_middle_of_a_write(text: Path, whole: Path, tmp_path: Path, place: str) -> None:
    out = tmp_path / "run"
    command = ["train", text, "--out", out, "--steps", STEPS, *TINY, "--quiet"]
    process = start(*command, code=CRASH.format(place=place))
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert bptt(*command, "--resume") == 0
    assert_same_run(out, whole)
    assert not list(out.glob("*.tmp")) + list(out.glob(".*"))


def test_a_kill_before_the_first_checkpoint(
    text: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    kill_at_line(start("train", text, "--out", out, "--steps", STEPS, *TINY, "--quiet"), out, 2, 0.0)
    assert not (out / "last.safetensors").exists()
    capsys.readouterr()
    assert bptt("train", "--out", out, "--resume") == 0  # the options are in the directory
    err = capsys.readouterr().err
    assert "holds no checkpoint yet: starting afresh" in err
    assert_same_run(out, whole)


@pytest.mark.parametrize("there", [False, True])
def test_resume_where_nothing_is(there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is mistyped must not start the built-in text."""
    out = tmp_path / "no_such_run"
    if there:
        out.mkdir()
        (out / "notes.txt").touch()
    err = refused(capsys, "train", "--resume", "--out", out, "--quiet")
    assert err.startswith(f"bptt: --resume: expected a run in {out}, got none; leave --resume out to start a run")
    assert out.exists() == there


def test_resume_where_nothing_is_with_its_data(
    text: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that always says --resume begins so; it is told, --quiet or not."""
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", STEPS, *TINY, "--resume", "--quiet") == 0
    assert capsys.readouterr().err == f"bptt: {out} holds no run yet: starting afresh\n"
    assert_same_run(out, whole)


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_ends(text: Path, whole: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "run"
    process = start("train", text, "--out", out, "--steps", STEPS, *TINY)
    while reported(out) < 20:
        time.sleep(0.0005)
    process.send_signal(number)
    stdout, _ = finish(process, code=0)
    assert "saved. Continue with: bptt train --resume --out" in stdout
    step = read_checkpoint(out / "last.safetensors").meta["trainer"]["step"]
    assert metrics(out)[-1]["step"] == step < STEPS  # at the end of the step in hand, whatever the cadence
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert bptt("train", "--out", out, "--resume", "--quiet") == 0
    assert_same_run(out, whole)


def test_a_second_ctrl_c_does_not_wait(text: Path, tmp_path: Path) -> None:
    """Where a step takes long, the second one ends it; the last checkpoint is there."""
    code = """
import os, signal
import engine.training.trainer as trainer
from engine.cli import main
real = trainer.Trainer._step
def step(self):
    real(self)
    if self.state.step == 9:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
trainer.Trainer._step = step
main()
"""
    out = tmp_path / "run"
    _, err = finish(start("train", text, "--out", out, "--steps", STEPS, *TINY, "--quiet", code=code), code=130)
    assert err.strip() == "bptt: interrupted"
    assert read_checkpoint(out / "last.safetensors").meta["trainer"]["step"] == 7


# -- a full disk ------------------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up(text: Path, whole: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: real writes by a real process fail half way."""
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", 30, *TINY, "--quiet") == 0
    before = {name: (out / name).read_bytes() for name in ("last.safetensors", "best.safetensors", "loss.png")}
    size = len(before["last.safetensors"])
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2},) * 2); "
    command = ["train", "--out", out, "--steps", STEPS, "--resume", "--quiet"]
    _, err = finish(start(*command, code=code + "from engine.cli import main; main()"), code=1)
    assert err.count("\n") == 1
    assert ": expected to write " in err
    assert "File too large" in err
    assert "what was saved before is untouched" in err
    assert {name: (out / name).read_bytes() for name in before} == before
    assert not list(out.glob(".*"))
    assert bptt(*command) == 0  # with room again
    assert read_checkpoint(out / "last.safetensors").meta["trainer"]["step"] == STEPS


#: What the picture asks of the disk, at the very end: the tests have blank ones.
PICTURE = 4


class FailingDisk:
    """Counts what a run asks of the disk, and refuses from one request on; a write that is refused is half made."""

    def __init__(self, at: int | None, number: int) -> None:
        self.at, self.number, self.requests = at, number, 0

    def refuses(self) -> bool:
        self.requests += 1
        return self.at is not None and self.requests > self.at

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        real_fsync, real_replace, real_open, real_write = os.fsync, os.replace, open, MetricsLog.write

        def fsync(handle: int) -> None:
            if self.refuses():
                raise self.error()
            real_fsync(handle)

        def replace(source: Path, target: Path) -> None:
            if self.refuses():
                raise self.error()
            real_replace(source, target)

        def opened(name: Path, mode: str) -> Any:
            file = real_open(name, mode)
            if self.refuses():
                file.write(b"half")
                file.close()
                raise self.error()
            return file

        def write(log: MetricsLog, record: dict[str, Any]) -> None:
            if self.refuses():
                log._file.write(b'{"kind": "tra')
                log._file.truncate(log._end)
                raise storage_error(log.path, "to append", self.error())
            real_write(log, record)

        patch.setattr(atomic.os, "fsync", fsync)
        patch.setattr(atomic.os, "replace", replace)
        patch.setattr(atomic, "open", opened, raising=False)
        patch.setattr(MetricsLog, "write", write)


def failed_and_resumed(text: Path, out: Path, whole: Path, at: int, number: int) -> None:
    """Let the disk fail from one request on, and go on when it is well again."""
    command = ["train", text, "--out", out, "--steps", 25, *TINY, "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        FailingDisk(at, number).install(patch)
        assert bptt(*command) == 1
    assert not list(out.glob(".*"))
    assert bptt(*command, "--resume") == 0
    assert_same_run(out, whole)


@pytest.fixture(scope="module")
def short(text: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run of 25 steps, and how often it asks something of the disk.  After `whole`: Matplotlib has its fonts then."""
    out, disk = tmp_path_factory.mktemp("short") / "run", FailingDisk(None, 0)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch)
        assert bptt("train", text, "--out", out, "--steps", 25, *TINY, "--quiet") == 0
    return out, disk.requests - PICTURE


@pytest.mark.parametrize(
    "share", [0.1, 0.6, *(pytest.param(n / 40, marks=pytest.mark.proof, id=f"{n} of 40") for n in range(40))]
)
def test_a_write_that_fails(
    text: Path, short: tuple[Path, int], tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, requests = short
    at = round(share * (requests - 1))
    failed_and_resumed(text, tmp_path / "run", whole, at, [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT][at % 4])
    err = capsys.readouterr().err.splitlines()
    assert " expected to " in err[0]
    assert "what was saved before is untouched" in err[0]
    assert err[1:] in ([], [f"bptt: {tmp_path / 'run'} holds no run yet: starting afresh"])


# -- other options, other data ----------------------------------------------------------------------------------------


@pytest.fixture
def begun(text: Path, tmp_path: Path) -> Path:
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", 20, *TINY, "--quiet") == 0
    return out


def test_a_directory_that_holds_a_run(begun: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {entry.name: entry.read_bytes() for entry in begun.iterdir()}
    err = refused(capsys, "train", text, "--out", begun, "--steps", 9)
    assert "--out: expected a directory without a run, got " in err
    assert "continue it with --resume, or choose another --out" in err
    assert {entry.name: entry.read_bytes() for entry in begun.iterdir()} == before


def test_options_that_would_change_the_result(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {entry.name: entry.read_bytes() for entry in begun.iterdir()}
    err = refused(capsys, "train", "--out", begun, "--resume", "--lr", 0.5, "--hidden", 6, "--cell", "gru")
    assert f"--resume: expected the options of the run in {begun}, got " in err
    assert "--lr 0.5 (was 0.003)" in err
    assert "--cell gru (was lstm)" in err
    assert "--hidden" not in err  # the same as before
    err = refused(capsys, "train", "--out", begun, "--resume", "--task", "forecast", "--data", "x.csv")
    assert "--task forecast (was language)" in err
    err = refused(capsys, "train", "--out", begun, "--resume", "--backend", "numpy:numba")
    assert "--backend numpy:numba (was numpy:reference)" in err
    assert {entry.name: entry.read_bytes() for entry in begun.iterdir()} == before


def test_other_data(begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_text(tmp_path / "other.txt", 2000)
    assert "bptt: FILE: expected the data of the run in" in refused(capsys, "train", other, "--out", begun, "--resume")


def test_the_same_data_under_another_name(begun: Path, text: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text.read_bytes())
    assert bptt("train", copy, "--out", begun, "--resume", "--steps", 25, "--quiet") == 0


def test_more_steps(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bptt("train", "--out", begun, "--resume", "--quiet") == 0  # it is complete: nothing to do
    assert len(metrics(begun)) == 22
    assert bptt("train", "--out", begun, "--resume", "--steps", 30, "--quiet") == 0
    assert [r["step"] for r in metrics(begun) if r["kind"] == "train"] == list(range(1, 31))
    assert bptt("train", "--out", begun, "--resume", "--epochs", 0.5, "--quiet") == 0
    assert metrics(begun)[-1]["step"] > 30


def test_with_a_constant_rate_more_steps_are_as_if_asked_for_at_once(text: Path, tmp_path: Path) -> None:
    options = [*TINY, "--schedule", "constant", "--quiet", "--out"]
    assert bptt("train", text, "--steps", 40, *options, tmp_path / "once") == 0
    assert bptt("train", text, "--steps", 20, *options, tmp_path / "twice") == 0
    assert bptt("train", "--steps", 40, "--quiet", "--resume", "--out", tmp_path / "twice") == 0
    one, other = (read_checkpoint(tmp_path / name / "last.safetensors") for name in ("once", "twice"))
    assert {n: a.tobytes() for n, a in one.arrays.items()} == {n: a.tobytes() for n, a in other.arrays.items()}


class Killed(BaseException):
    """Ends a run at once, like a kill, but in this process."""


@pytest.mark.parametrize(
    ("cell", "optimizer"),
    [("lstm", "adam"), ("gru", "adamw"), ("rnn", "sgd"), ("gru", "rmsprop"), ("lstm", "adagrad")],
)
def test_every_cell_and_optimizer_resumes(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, optimizer: str
) -> None:
    # With a report every 5 steps, the checkpoint at step 14 lies between two reports.
    options = [
        *tiny(cell=cell, report_every=5),
        "--optimizer",
        optimizer,
        "--quiet",
        "--warmup",
        3,
        "--schedule",
        "step",
    ]
    options += ["--l1", 1e-4, "--l2", 1e-4, "--clip-value", 0.1]
    options += ["--momentum", 0.9] if optimizer in ("sgd", "rmsprop") else []
    assert bptt("train", text, "--steps", 24, *options, "--out", tmp_path / "whole") == 0
    real = Trainer._step

    def step(self: Trainer) -> None:
        real(self)
        if self.state.step == 17:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Killed):
            bptt("train", text, "--steps", 24, *options, "--out", tmp_path / "two")
    assert bptt("train", "--resume", "--quiet", "--out", tmp_path / "two") == 0
    assert_same_run(tmp_path / "two", tmp_path / "whole")


def test_a_forecaster_resumes(tmp_path: Path) -> None:
    series = write_series(tmp_path / "level.csv")
    options = (
        "--task forecast --backend numpy:reference --hidden 5 --horizon 3 --season 12 --batch 16 --report-every 1 "
    )
    options += "--validate-every 10 --checkpoint-every 7 --epochs 3 --quiet"
    command = ["train", *options.split(), "--data", series, "--out"]
    assert bptt(*command, tmp_path / "whole") == 0
    out = tmp_path / "run"
    for line in (12, 30):
        kill_at_line(start(*command, out, "--resume"), out, line, 0.001)
    assert bptt(*command, out, "--resume") == 0
    assert_same_run(out, tmp_path / "whole")


def test_a_resumed_run_counts_the_time_before(begun: Path) -> None:
    before = [json.loads(line)["timing"]["elapsed_s"] for line in (begun / "metrics.jsonl").read_text().splitlines()]
    assert bptt("train", "--out", begun, "--resume", "--steps", 30, "--quiet") == 0
    after = [json.loads(line)["timing"]["elapsed_s"] for line in (begun / "metrics.jsonl").read_text().splitlines()]
    assert after[: len(before)] == before
    assert after == sorted(after)  # it goes on from where the session before had come to


def test_no_clock_in_the_checkpoint(begun: Path, text: Path, tmp_path: Path) -> None:
    assert bptt("train", text, "--out", tmp_path / "again", "--steps", 20, *TINY, "--quiet") == 0
    assert_same_run(begun, tmp_path / "again")
    assert os.path.getmtime(begun / "last.safetensors") != os.path.getmtime(tmp_path / "again" / "last.safetensors")


def test_another_runs_checkpoint_is_refused_and_nothing_is_overwritten(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for out, cell in ((one, "lstm"), (other, "gru")):
        assert bptt("train", text, "--out", out, "--steps", 20, *tiny(cell=cell), "--quiet") == 0
    (one / "last.safetensors").write_bytes((other / "last.safetensors").read_bytes())
    before = {path.name: path.read_bytes() for path in one.iterdir()}
    err = refused(capsys, "train", "--out", one, "--resume", "--steps", 40)
    assert (
        "last.safetensors: expected the state of the run that run.json describes, got one that differs in cell; " in err
    )
    assert {path.name: path.read_bytes() for path in one.iterdir()} == before


def test_a_lost_last_state_does_not_cost_the_best_one(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, "--steps", 60, *tiny(checkpoint_every=5), "--quiet") == 0
    (out / "last.safetensors").unlink()
    before = (out / "best.safetensors").read_bytes()
    err = refused(capsys, "train", "--out", out, "--resume")
    assert "last.safetensors: expected the last state of a run that reached step " in err
    assert (out / "best.safetensors").read_bytes() == before
