"""Data-parallel training over MPI: the same curve on 1, 2 and 4 processes, and how a run ends when one of them does."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, bptt, tiny, write_text

from engine.training import read_checkpoint

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
pytestmark = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="no MPI: pip install 'bptt-engine[mpi]' brings mpi4py and mpiexec",
)

HUNDRED_STEPS = """
import json, sys
import numpy as np
from mpi4py import MPI
import engine
from engine.parallel import MPICommunicator
from test_parallel import steps_of_rows

world = MPI.COMM_WORLD
losses = {}
for size in (1, 2, 4):
    group = world.Split(world.rank < size, world.rank)
    if world.rank < size:
        model, given = steps_of_rows()
        seen = []
        class Each(engine.Callback):
            def on_step(self, progress):
                seen.append(float(sum(np.abs(param).sum() for param in model.params.values())))
        given |= {"epochs": 34, "batch_size": 6, "patience": 0, "callbacks": [Each()], "quiet": True}
        history = engine.fit(model, parallel=MPICommunicator(group), **given)
        losses[size] = [history.loss, history.validation_loss, seen]
if world.rank == 0:
    print(json.dumps(losses))
"""


def command(ranks: int, *words: str) -> dict[str, Any]:
    """A program of Python on so many ranks, as `subprocess` takes it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return {"args": [str(MPIEXEC), "-n", str(ranks), sys.executable, *words], "env": environment, "text": True}


def mpiexec(ranks: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python on so many ranks."""
    return subprocess.run(**command(ranks, *words), capture_output=True, timeout=120)


@pytest.mark.proof
def test_one_two_and_four_ranks_have_one_curve_over_a_hundred_steps() -> None:
    done = mpiexec(4, "-c", HUNDRED_STEPS)
    assert (done.returncode, done.stderr) == (0, "")
    losses = json.loads(done.stdout)
    assert len(losses["1"][2]) >= 100
    for size in ("2", "4"):
        for found, wanted in zip(losses[size], losses["1"], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


BPTT = "from bptt_engine.command import main; main()"


@pytest.mark.proof
def test_the_command_writes_as_one_process_and_resumes_with_another_number(tmp_path: Path) -> None:
    text, three = write_text(tmp_path / "text.txt"), tmp_path / "three"
    options = [str(text), *tiny(dtype="float64", batch=5), "--schedule", "constant", "--quiet"]
    assert bptt("train", *options, "--steps", 20, "--out", tmp_path / "one") == 0
    done = mpiexec(3, "-c", BPTT, "train", *options, "--steps", "11", "--out", str(three))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Complete at step 11") == 1
    done = mpiexec(2, "-c", BPTT, "train", "--resume", "--steps", "20", "--quiet", "--out", str(three))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "three")
    ]
    of_one, of_three = ({(line["kind"], line["step"]): line["loss"] for line in found} for found in lines)
    assert len(of_one) == 22
    for key, loss in of_one.items():
        assert abs(of_three[key] - loss) < 1e-12


def test_bad_input_is_one_line_of_one_rank(tmp_path: Path) -> None:
    done = mpiexec(2, "-c", BPTT, "train", str(tmp_path / "none.txt"), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"bptt: {tmp_path / 'none.txt'}: expected a UTF-8 text file")


def endless(tmp_path: Path) -> list[str]:
    """A training that does not end by itself."""
    text = write_text(tmp_path / "text.txt")
    return [str(text), *tiny(checkpoint_every=5, steps=100_000), "--out", str(tmp_path / "run"), "--quiet"]


def started(ranks: int, last: Path, *words: str) -> subprocess.Popen[str]:
    """A training that has written a checkpoint."""
    running = subprocess.Popen(**command(ranks, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(1200):
        if last.exists():
            return running
        time.sleep(0.1)
    running.kill()
    raise AssertionError(f"no checkpoint within two minutes: {running.communicate()}")


#: Begins a program that does something in one rank as soon as a file is there: the file is its last argument.
WHEN_THERE = """
import os, pathlib, resource, sys, threading, time
path = pathlib.Path(sys.argv.pop())
def watch():
    while not path.exists():
        time.sleep(0.05)
    act()
def when_there(rank):
    if os.environ["PMI_RANK"] == rank:
        threading.Thread(target=watch, daemon=True).start()
"""
KILLED = f"""{WHEN_THERE}
act = lambda: os.kill(os.getpid(), 9)
when_there("1")
{BPTT}"""


def test_a_killed_rank_ends_all_and_nothing_saved_is_lost(tmp_path: Path) -> None:
    last = tmp_path / "run" / "last.safetensors"
    done = mpiexec(2, "-c", KILLED, "train", *endless(tmp_path), str(last))
    assert done.returncode == 9
    step = read_checkpoint(last).meta["trainer"]["step"]
    assert step > 0
    assert step % 5 == 0
    assert bptt("train", "--resume", "--out", tmp_path / "run", "--steps", step + 2, "--quiet") == 0


@pytest.mark.proof
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_all(tmp_path: Path, number: signal.Signals) -> None:
    last = tmp_path / "run" / "last.safetensors"
    running = started(3, last, "-c", BPTT, "train", *endless(tmp_path))
    running.send_signal(number)
    out, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    assert out.count("Interrupted at step") == 1
    step = read_checkpoint(last).meta["trainer"]["step"]
    assert f"Interrupted at step {step:,} " in out


FULL = f"""{WHEN_THERE}
act = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
when_there("0")
{BPTT}"""


@pytest.mark.proof
def test_a_full_disk_of_the_first_rank_is_one_error(tmp_path: Path) -> None:
    last = tmp_path / "run" / "last.safetensors"
    done = mpiexec(2, "-c", FULL, "train", *endless(tmp_path), str(last))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "expected to write" in done.stderr
    assert read_checkpoint(last).meta["trainer"]["step"] % 5 == 0


FAILS = """
import numpy as np
from mpi4py import MPI
import engine
rank = MPI.COMM_WORLD.rank
def loss(prediction, target):
    if rank == 1:
        raise ArithmeticError("no more")
    return engine.mse(prediction, target)
x = np.ones((4, 3, 2), np.float32)
model = engine.Sequential(engine.GRU(2, 3, backend="numpy:reference"), engine.Linear(3, 2, backend="numpy:reference"))
engine.fit(model, x, x, loss=loss, parallel=True, quiet=True)
"""


@pytest.mark.proof
def test_a_rank_that_raises_ends_all_with_its_error() -> None:
    done = mpiexec(3, "-c", FAILS)
    assert done.returncode == 1
    assert "bptt: rank 1: ArithmeticError: no more" in done.stderr.splitlines()
