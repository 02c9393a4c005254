"""How often the gradient checker accuses right code: random cells, options and weights, long and saturated ones too.

    python benchmarks/checker/false_alarms.py --seeds 1000
    python benchmarks/checker/false_alarms.py --seeds 1000 --dtype float32

A false alarm is a verdict that accuses ("wrong", "non-finite", "non-deterministic", "input mutated"; and "kink" where
the cell has none).  "cannot tell" is none, nor is "kink" for a relu, which may stand on one by chance, in float32
within its rounding; both are counted: a checker that never can tell is of no use either.

With all five methods most seeds take less than a second and those of 200 time steps about ten; the first ones wait for
kernels to be compiled, once.  How far it is goes to stderr; ``--longest 25`` is for a quick look.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402

import engine  # noqa: E402
from engine.layers.rnn import FIVE_CELLS, layer_of  # noqa: E402
from engine.zoo import BugCase  # noqa: E402

RELU = 1
METHODS = ("central", "complex", "adjoint", "directional", "taylor")
#: Seconds between two lines of progress.
BETWEEN = 5.0
#: Standard deviations of the recurrent weights, from contracting to saturated.
GAINS = (0.1, 0.4, 1.0, 3.0)


def right_case(seed: int, longest: int = 200) -> BugCase:
    """A layer of the engine with random sizes, options, weights and arguments; every seed another."""
    rng = np.random.default_rng([seed, 7])
    kind = FIVE_CELLS[seed % len(FIVE_CELLS)]
    D, H, B = (int(k) for k in rng.permutation([1, 2, 3, 4, 5])[:3])
    T = int(rng.choice([3, 6, 7, 11, 25, 50, longest], p=[0.15, 0.2, 0.2, 0.15, 0.1, 0.1, 0.1]))
    options: dict[str, Any] = {
        "bidirectional": bool(rng.random() < 0.3),
        "batch_first": bool(rng.random() < 0.3),
        "bias": bool(rng.random() < 0.8),
        "dropout": float(rng.choice([0.0, 0.3])),
        "variational": bool(rng.random() < 0.3),
    }
    layers = 1 if T > 50 else int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    if layers == 1:
        options["dropout"] = 0.0  # it acts between layers
    common: dict[str, Any] = {
        "dtype": "float64",
        "seed": seed,
        "backend": str(rng.choice(["numpy", "numpy:reference"])),
    }
    layer: Any = layer_of(kind, D, H, layers, **options, **common)
    gain = float(rng.choice(GAINS))
    if kind == "rnn_relu":  # has no ceiling: a gain above 1 would overflow in long sequences
        gain = min(gain, 0.4)
    layer.load_state_dict(
        {
            name: rng.normal(scale=gain / (np.sqrt(H) if gain > 1 else 1), size=p.shape)
            for name, p in layer.params.items()
        }
    )
    x = rng.normal(size=(B, T, D) if options["batch_first"] else (T, B, D))
    slots = layers * layer.num_directions
    state: Any = tuple(rng.normal(size=(slots, B, H)) for _ in range(2))
    state = state if kind == "lstm" else state[0]
    lengths = rng.integers(0, T + 1, size=B).tolist() if rng.random() < 0.4 else None
    return BugCase(layer, x, None if rng.random() < 0.2 else state, lengths)


class Progress:
    """Lines on stderr, now and then: which seed is at work, and how long one takes.

    Parameters
    ----------
    total : how many seeds there are.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.started = time.perf_counter()
        self.next = self.started

    def begins(self, seed: int) -> None:
        """The next seed begins; all before it are done."""
        now = time.perf_counter()
        if now >= self.next:
            self.next = now + BETWEEN
            words = f"{self.done} of {self.total} seeds done, now seed {seed}"
            if self.done:
                each = (now - self.started) / self.done
                words += f"; {each:.2f} s a seed, about {each * (self.total - self.done):.0f} s left"
            print(words, file=sys.stderr, flush=True)
        self.done += 1


def main() -> int:
    """Run and print; exit code 1 on any false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--longest", type=int, default=200, help="the most time steps")
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    counts: dict[str, Counter[str]] = {method: Counter() for method in methods}
    seconds = dict.fromkeys(methods, 0.0)
    alarms = []
    progress = Progress(arguments.seeds)
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        progress.begins(seed)
        case = right_case(seed, arguments.longest)
        for method in methods:
            start = time.perf_counter()
            report = engine.gradcheck(case.layer, case.x, case.state, case.lengths, method, seed, dtype=arguments.dtype)
            seconds[method] += time.perf_counter() - start
            counts[method][report.verdict] += 1
            if report.verdict not in ("ok", "cannot tell") and (report.verdict, seed % 5) != ("kink", RELU):
                alarms.append((seed, method, report.verdict))
                if not arguments.json:
                    print(f"seed {seed}, {method}: {report}\n", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"counts": counts, "seconds": seconds, "alarms": alarms}))
    else:
        print(f"{arguments.seeds} cases of right code, {arguments.dtype}, up to {arguments.longest} time steps")
        heads = ("ok", "cannot tell", "kink", "false alarms", "seconds each")
        print(f"{'method':<12}" + "".join(f"{head:>14}" for head in heads))
        for method in methods:
            count = counts[method]
            false = sum(alarm[1] == method for alarm in alarms)
            each = seconds[method] / max(1, arguments.seeds)
            numbers = (count["ok"], count["cannot tell"], count["kink"], false)
            print(f"{method:<12}" + "".join(f"{number:>14}" for number in numbers) + f"{each:>14.3f}")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
