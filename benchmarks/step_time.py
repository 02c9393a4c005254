"""Training-step time (forward, backward, all gradients) beside PyTorch: a first idea of speed.

    python benchmarks/step_time.py [--threads 1] [--repeats 15] [--sizes small|all]

Each library runs in a process of its own, as two thread pools in one process disturb each other; the two take turns,
so that a drift of the machine meets both.  Printed is the median time of a step and the ratio PyTorch / ours: above 1,
ours is faster.  Where PyTorch is not installed, ours is printed alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

SIZES = {
    "small": [(1, 50, 32), (32, 50, 32), (32, 50, 128), (32, 50, 256)],
    "all": [(b, t, h) for b in (1, 8, 32, 64) for t in (50, 200) for h in (32, 64, 128, 256, 512)],
}
CELLS = ("RNN", "GRU", "LSTM")


def ours(cell: str, B: int, T: int, H: int) -> Any:
    """A function that runs one training step of the engine."""
    import numpy as np

    import engine

    layer = getattr(engine, cell)(H, H)
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(T, B, H)).astype(np.float32) for _ in range(2))

    def step() -> None:
        layer.zero_grad()
        _, _, tape = layer.forward(x)
        layer.backward(tape, dy)

    return step


def theirs(cell: str, B: int, T: int, H: int) -> Any:
    """The same step in PyTorch."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layer = getattr(torch.nn, cell)(H, H)
    x, dy = torch.randn(T, B, H, requires_grad=True), torch.randn(T, B, H)

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        y, _ = layer(x)
        y.backward(dy)

    return step


def serve(library: str) -> None:
    """Worker: read one job a line, answer with one time a line."""
    steps: dict[str, Any] = {}
    for line in sys.stdin:
        if line not in steps:
            steps = {line: (ours if library == "engine" else theirs)(*json.loads(line))}
            for _ in range(3):
                steps[line]()
        times = []
        while sum(times) < 0.02:  # a turn of several steps: the first finds the other process's data in the caches
            start = time.perf_counter()
            steps[line]()
            times.append(time.perf_counter() - start)
        print(statistics.median(times), flush=True)


class Worker:
    """A process that times steps of one library."""

    def __init__(self, library: str, threads: int) -> None:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(names, str(threads))},
        )

    def time(self, job: tuple[Any, ...]) -> float:
        """Seconds of one step."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sizes", choices=SIZES, default="small")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options.worker)
        return
    libraries = ["engine"] + ["torch"] * (importlib.util.find_spec("torch") is not None)
    workers = {library: Worker(library, options.threads) for library in libraries}
    print(f"$ python {' '.join(sys.argv)}")
    print(f"training step, float32, D = H, median of {options.repeats}, {options.threads} thread(s)")
    print(f"{'cell':<6}{'B':>4}{'T':>5}{'H':>5}{'engine ms':>12}{'PyTorch ms':>12}{'ratio':>8}")
    for cell in CELLS:
        for B, T, H in SIZES[options.sizes]:
            times: dict[str, list[float]] = {library: [] for library in libraries}
            for _ in range(options.repeats):
                for library in libraries:
                    times[library].append(workers[library].time((cell, B, T, H)))
            median = {library: 1e3 * statistics.median(values) for library, values in times.items()}
            row = f"{cell:<6}{B:>4}{T:>5}{H:>5}{median['engine']:>12.2f}"
            if "torch" in median:
                row += f"{median['torch']:>12.2f}{median['torch'] / median['engine']:>8.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
