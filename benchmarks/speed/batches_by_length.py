"""The time of an epoch of ``bptt train --task tag`` with and without batches by length, on a file of tagged words.

    python -m benchmarks.speed.batches_by_length english_pos_tags.tsv [--rounds 5]

The ways take turns, epoch by epoch; the median is shown.  It also sums the gradient of the loss over all words of an
epoch, in float64 and without dropout: it must not depend on the batches.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import engine
from engine.studies.buckets import seconds_of_an_epoch
from engine.training.config import make
from engine.training.session import make_task
from engine.training.task import forward

WAYS: dict[str, dict[str, Any]] = {
    "none": {"buckets": 0},
    "buckets": {"buckets": 1},
    "pools": {"buckets": 1, "bucket_pool": 100},
    "packed": {"buckets": 1, "batch_steps": 0},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tags")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    jobs, exact = ({name: job(given, way, dtype) for name, way in WAYS.items()} for dtype in ("float32", "float64"))
    optimizers = {name: engine.Adam(one.model, lr=5e-3) for name, one in jobs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(given.rounds + 1):  # the first turn compiles, and does not count
        for name, one in jobs.items():
            spent = seconds_of_an_epoch(one, optimizers[name], turn)
            seconds[name] += [spent] if turn else []
    wanted = gradient(exact["none"])
    print(f"{'batches':10}{'in an epoch':>12}{'wasted in %':>12}{'s an epoch':>12}{'times none':>12}{'gradient':>12}")
    for name, one in jobs.items():
        wasted, median = 100 * one.packing(0, one.batches).wasted, float(np.median(seconds[name]))
        apart = float(np.abs(gradient(exact[name]) - wanted).max() / np.abs(wanted).max())
        times = float(np.median(seconds["none"])) / median
        print(f"{name:10}{one.batches:12}{wasted:12.1f}{median:12.3f}{times:12.2f}{apart:12.1e}")


def job(given: argparse.Namespace, way: dict[str, Any], dtype: str) -> Any:
    """The task of a run with these options; in float64 with plain kernels and without dropout."""
    options: dict[str, Any] = {"data": given.tags, "batch": given.batch, "dtype": dtype, **way}
    if "batch_steps" in way:
        options["batch_steps"] = round(12.5 * given.batch)  # as many words as rows of mean length have
    if dtype == "float64":
        options |= {"backend": "numpy:reference", "dropout": 0.0}
    return make_task(make("tag", options))


def gradient(one: Any) -> np.ndarray:
    """The gradient of the loss summed over all words of an epoch."""
    total: Any = 0.0
    for step in range(one.batches):
        out = forward(one, step, None)
        one.model.zero_grad()
        one.model.backward(out.tape, out.dy)
        total = total + out.positions * np.concatenate([np.ravel(grad) for grad in one.model.grads.values()])
    found: np.ndarray = total
    return found


if __name__ == "__main__":
    main()
