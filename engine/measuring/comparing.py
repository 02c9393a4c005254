"""The same experiment on several backends: answers, time, bytes moved, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.checks import describe, number
from engine.errors import BackendUnavailableError, bad_type
from engine.ledgers import ledger
from engine.measuring.experiment import Bench, Experiment
from engine.measuring.side_by_side import Differences, compare

#: Steps of each backend before the first that is timed: the first loads or compiles code, the next find their memory.
WARM_STEPS = 3
#: Rounds in which each backend takes one step, at least; how long a process may take to measure its memory, in seconds.
FEWEST_ROUNDS, PATIENCE = 5, 120.0


@dataclass
class BackendRow:
    """What is known of one backend.

    Attributes
    ----------
    spec : its name, as it was asked for.
    reason : why it could not be run; None if it was.
    device : what it computes on.
    differences : from the first backend that was run; None for that one itself.
    seconds : of each timed step.
    bytes_to_device, bytes_to_host : moved for one whole step: its input there, every output and gradient back.
    inside : copies between forward's first line and backward's last; they cost time at every step.
    memory : the most bytes that a few steps took beyond those of the program and its code; None if unknown.
    memory_unknown : why.
    """

    spec: str
    reason: str | None = None
    device: str = ""
    differences: Differences | None = None
    seconds: list[float] = field(default_factory=list)
    bytes_to_device: int = 0
    bytes_to_host: int = 0
    inside: int = 0
    memory: int | None = None
    memory_unknown: str = ""

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return float(np.median(self.seconds))


def measure(experiment: Experiment, specs: Sequence[str], seconds: float, memory: bool = True) -> list[BackendRow]:
    """Run the experiment on every backend.

    Parameters
    ----------
    specs : names of backends, such as ``"numpy:reference"``; the first that can be used is what others are compared
        with.
    seconds : how long to go on timing, all backends together; there are `FEWEST_ROUNDS` in any case.
    memory : whether to measure memory too, which starts a process for each backend.

    Raises
    ------
    InputError
        for a name that no backend has; a backend that is only missing is a row with the reason.
    """
    if isinstance(specs, str) or not isinstance(specs, Sequence) or not specs:
        raise bad_type("specs", "a list of backends' names", describe(specs), 'write ["numpy"] for a single one')
    number("seconds", seconds)
    rows, benches = [], []
    for spec in specs:
        row = BackendRow(spec)
        rows.append(row)
        try:
            benches.append((row, Bench(experiment, spec)))
        except BackendUnavailableError as error:
            row.reason = str(error).partition("cannot be used here: ")[2] or str(error)
    _compare(benches)
    for row, bench in benches:
        row.device = bench.backend.device
        _count(row, bench)
    _time(benches, seconds)
    for row, _ in benches if memory else ():
        _measure_memory(row, experiment)
    return rows


def _compare(benches: Sequence[tuple[BackendRow, Bench]]) -> None:
    """Compare all results of the other backends with those of the first one."""
    wanted: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None = None
    for row, bench in benches:
        found = bench.values(), bench.by_step()
        if wanted is None:
            wanted = found
        else:
            row.differences = compare(*found, *wanted)


def _count(row: BackendRow, bench: Bench) -> None:
    """Bytes that one step moves: what goes in, what is moved between, what comes out."""
    with ledger() as entering:
        bench.upload()
    with ledger() as inside:
        bench.step()
    with ledger() as stepping_and_leaving:
        bench.values()
    row.bytes_to_device = entering.bytes_to_device + inside.bytes_to_device
    row.bytes_to_host = stepping_and_leaving.bytes_to_host
    row.inside = inside.copies_to_device + inside.copies_to_host


def _time(benches: Sequence[tuple[BackendRow, Bench]], seconds: float) -> None:
    """One step of each backend in turn, so that a disturbance of the machine slows all of them."""
    for _, bench in benches:
        for _ in range(WARM_STEPS):
            bench.step()
        bench.wait()
    end = time.perf_counter() + seconds
    while benches and (len(benches[-1][0].seconds) < FEWEST_ROUNDS or time.perf_counter() < end):
        for row, bench in benches:
            start = time.perf_counter()
            bench.step()
            bench.wait()
            row.seconds.append(time.perf_counter() - start)


def _measure_memory(row: BackendRow, experiment: Experiment) -> None:
    """The most memory of a few steps, in a process that does nothing else."""
    command = [sys.executable, "-m", "engine.measuring.memory", row.spec, json.dumps(experiment.as_dict())]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=True)
        row.memory = int(json.loads(done.stdout)["bytes"])
    except subprocess.TimeoutExpired:
        row.memory_unknown = f"its process took longer than {PATIENCE:g} s"
    except (subprocess.CalledProcessError, ValueError) as error:
        said = getattr(error, "stderr", None) or str(error)
        row.memory_unknown = said.strip().splitlines()[-1]
