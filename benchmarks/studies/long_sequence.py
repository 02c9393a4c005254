"""Train on one sequence of 100,000 steps, in a process of its own: the loss, the time and the largest resident set.

``python -m benchmarks.studies.long_sequence --steps 100000 --memory 256MiB``: an LSTM of 256 units reads 8 features of
8 rows in float32 from a memory map.  Full storage of its tape alone would take 5.7 GiB.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import engine

D, H, B = 8, 256, 8


def main() -> None:
    """Make the data in pieces, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="T (default: %(default)s)")
    parser.add_argument("--memory", default="256MiB", help="budget of a pass (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=3, help="optimiser steps (default: %(default)s)")
    given = parser.parse_args()
    model = engine.Sequential(engine.LSTM(D, H), engine.Linear(H, 1))
    optimizer = engine.Adam(model, lr=1e-3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as folder:
        x, target = _data(Path(folder), given.steps)

        def loss(y: Any, start: int, stop: int) -> tuple[Any, Any]:
            return engine.mse(y, np.array(target[start:stop]), normalizer=given.steps * B)

        for update in range(given.updates + 1):
            begun = time.monotonic()
            model.zero_grad()
            found = engine.segmented_bptt(model, x, loss, memory=given.memory)
            if update < given.updates:
                engine.clip_grad_norm(model, 1.0)
                optimizer.step()
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"update {update}: loss {float(found.loss):.6f}, {time.monotonic() - begun:.1f} s, "
                f"{found.segments} segments, predicted {found.predicted / 2**20:.0f} MiB, "
                f"resident at most {most:.0f} MiB ({before:.0f} before the data)",
                flush=True,
            )


def _data(folder: Path, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """x (T, B, D), and the running mean of its first feature (T, B, 1), as memory maps."""
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (steps, B, D))
    target = np.lib.format.open_memmap(folder / "target.npy", "w+", np.float32, (steps, B, 1))
    rng, mean = np.random.default_rng(0), np.zeros(B, np.float32)
    for start in range(0, steps, 1000):
        part = rng.normal(size=(min(1000, steps - start), B, D)).astype(np.float32)
        x[start : start + len(part)] = part
        for t, row in enumerate(part[:, :, 0], start):
            mean = np.float32(0.9) * mean + row
            target[t, :, 0] = mean
    return x, target


if __name__ == "__main__":
    main()
