"""How often right code of saturated and trained nets is accused: cells times weight scales times methods.

    python -m benchmarks.checker.saturated_nets --seeds 1000

Each seed draws a cell (the engine's RNN, LSTM, GRU; plain functions of the same), sizes, a factor of 1 to 60 for its
weights, inputs up to ten times the usual, and one method.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402

import engine  # noqa: E402
from benchmarks.checker.hard import nets  # noqa: E402

METHODS = ("central", "complex", "directional", "taylor", "adjoint")
LAYERS = {
    "RNN": lambda D, H, seed: engine.RNN(D, H, seed=seed, dtype="float64", backend="numpy:reference"),
    "LSTM": lambda D, H, seed: engine.LSTM(D, H, seed=seed, dtype="float64", backend="numpy:reference"),
    "GRU": lambda D, H, seed: engine.GRU(D, H, seed=seed, dtype="float64", backend="numpy:reference"),
    "GRU, reset before": lambda D, H, seed: engine.GRU(
        D, H, seed=seed, dtype="float64", reset_after=False, backend="numpy:reference"
    ),
}
PAIRS = {"rnn pair": nets.rnn, "lstm pair": nets.lstm, "gru pair": nets.gru}


def check(seed: int) -> tuple[str, str, float, Any]:
    """The cell, method and factor of a seed, and the report."""
    rng = np.random.default_rng([seed, 60])
    cell, factor = str(rng.choice([*LAYERS, *PAIRS])), float(rng.choice([1, 3, 5, 10, 20, 30, 60]))
    method = str(rng.choice(METHODS if cell in LAYERS else METHODS[:4]))
    steps, scale = int(rng.integers(1, 7)), float(rng.choice([1.0, 1.0, 3.0, 10.0]))
    if cell in PAIRS:
        forward, backward, inputs = PAIRS[cell](rng, steps, factor)
        inputs[0] *= scale
        with np.errstate(over="ignore"):
            return cell, method, factor, engine.check_gradients(forward, backward, inputs, method, seed, time_axis=0)
    D, H = (int(k) for k in rng.permutation([2, 3, 4])[:2])
    layer = LAYERS[cell](D, H, seed)
    for param in layer.params.values():
        param *= factor
    x = scale * rng.normal(size=(steps, 2, D))
    return cell, method, factor, engine.gradcheck(layer, x, method=method, seed=seed)


def main() -> int:
    """Run and print; exit code 1 on any false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    arguments = parser.parse_args()
    counts: dict[str, Counter[str]] = {method: Counter() for method in METHODS}
    alarms = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        cell, method, factor, report = check(seed)
        counts[method][report.verdict] += 1
        if report.verdict not in ("ok", "cannot tell"):
            alarms += 1
            print(f"seed {seed}, {cell} times {factor:g}, {method}:\n{report}\n", file=sys.stderr, flush=True)
    print(f"{'method':<14}{'ok':>8}{'cannot tell':>14}{'false alarms':>14}")
    for method, count in counts.items():
        told = count["ok"], count["cannot tell"]
        print(f"{method:<14}{told[0]:>8}{told[1]:>14}{count.total() - sum(told):>14}")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
