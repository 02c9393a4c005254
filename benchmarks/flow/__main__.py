"""Times and memory of a training step over batch size and time steps, and of truncated BPTT over k1 and k2.

    python -m benchmarks.flow [--seconds 1]

One thread, compiled kernels, LSTM, float32.  A time is processor time, the smallest of several runs: other programs on
the machine lengthen a run, none shortens it.  docs/batch_size_and_time_steps.md and docs/truncated_bptt.md show the
tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import engine
from engine.measuring.experiment import Bench, Experiment
from engine.measuring.machine import machine

SPEC = "numpy:numba"
D, H = 64, 128
SIZES = ((1, 50), (8, 50), (64, 50), (512, 50), (64, 10), (64, 200), (64, 800))  # (B, T)
T, B, TRUNCATIONS = 200, 32, ((200, 200), (50, 50), (20, 20), (10, 10), (5, 10), (10, 20), (5, 20), (1, 10), (1, 20))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each time")
    seconds = parser.parse_args().seconds
    engine.set_num_threads(1)
    where = machine()
    print(f"{where['cpu']}, 1 thread; LSTM, D = {D}, H = {H}, float32, {SPEC}\n")
    print(f"{'B':>5} {'T':>5} {'ms a step':>10} {'us a token':>11} {'MiB':>8}")
    for rows, steps in SIZES:
        case = Experiment("lstm", T=steps, B=rows, D=D, H=H, dtype="float32")
        took = least(Bench(case, SPEC).step, seconds)
        memory = peak_of(case) / 2**20
        print(f"{rows:>5} {steps:>5} {1e3 * took:>10.2f} {1e6 * took / rows / steps:>11.3f} {memory:>8.1f}")
    print(f"\n{'k1':>5} {'k2':>5} {'steps walked':>13} {'ms':>8} {'of full':>8}")
    rows_of_truncation = list(truncated(seconds))
    for k1, k2, walked, took in rows_of_truncation:
        print(f"{k1:>5} {k2:>5} {walked:>13} {1e3 * took:>8.1f} {took / rows_of_truncation[0][3]:>8.2f}")


def least(work: Callable[[], Any], seconds: float) -> float:
    """The smallest processor time of the work, in runs of `seconds` together."""
    work()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def peak_of(case: Experiment) -> int:
    """Bytes that a step takes at most, measured in a process of its own."""
    command = [sys.executable, "-m", "engine.measuring.memory", SPEC, json.dumps(case.as_dict())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout)["bytes"])


def truncated(seconds: float) -> Iterator[tuple[int, int, int, float]]:
    """k1, k2, the steps that backward walks, and the time of forward and backward."""
    case = Experiment("lstm", T=T, B=B, D=D, H=H, dtype="float32")
    bench = Bench(case, SPEC)
    x, dy = bench.arguments["x"], bench.arguments["dy"]

    def work(k1: int, k2: int) -> Callable[[], Any]:
        return lambda: engine.truncated_bptt(bench.layer, x, lambda y: (0.0, dy), k1, k2)

    for k1, k2 in TRUNCATIONS:
        stops = np.minimum(np.arange(0, T, k1) + k1, T)
        walked = int((stops - np.maximum(0, stops - k2)).sum())
        yield k1, k2, walked, least(work(k1, k2), seconds)


if __name__ == "__main__":
    main()
