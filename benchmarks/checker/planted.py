"""Whether small errors are found: one gradient of eight codes times 1 + e, for e from 1e-2 down to 3e-6.

python -m benchmarks.checker.planted
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402
from numpy.random import Generator  # noqa: E402

import engine  # noqa: E402
from benchmarks.checker.hard import algebra, nets, singular, zeros  # noqa: E402
from benchmarks.checker.hard.case import METHODS, Pair  # noqa: E402

ERRORS = (1e-2, 1e-3, 1e-4, 1e-5, 3e-6)
CODES: dict[str, Callable[[Generator], Pair]] = {
    "rnn": lambda rng: nets.rnn(rng, 5),
    "lstm": lambda rng: nets.lstm(rng, 4),
    "gru": lambda rng: nets.gru(rng, 4),
    "attention": lambda rng: nets.attention(*(rng.normal(size=(4, 3)) for _ in range(3)), causal=True),
    "layer norm": singular.layer_norm_plain,
    "batch norm": lambda rng: zeros.batch_norm_layer(rng, 6, 3),
    "solve": algebra.solution_of_equations,
    "convolution": algebra.convolution,
}


def planted(code: str, error: float, seed: int) -> Iterator[tuple[str, Pair]]:
    """The code with an error in each of its gradients in turn; not in one that is zero by structure."""
    count = len(CODES[code](np.random.default_rng(seed))[2])
    for number in range(count - (code == "batch norm")):
        forward, backward, inputs = CODES[code](np.random.default_rng(seed))

        def wrong(dout: Any, cache: Any, backward: Any = backward, number: int = number) -> tuple[Any, ...]:
            found = list(backward(dout, cache))
            found[number] = found[number] * (1.0 + error)
            return tuple(found)

        yield f"{code}, gradient {number}", (forward, wrong, inputs)


def main() -> int:
    """Run and print; exit code 1 if an error is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    missed = 0
    print(f"{'method':<14}" + "".join(f"{error:>12.0e}" for error in ERRORS))
    for method in METHODS:
        cells = []
        for error in ERRORS:
            tried = found = 0
            for code in CODES:
                for seed in range(arguments.seeds):
                    for name, (forward, backward, inputs) in planted(code, error, seed):
                        report = engine.check_gradients(forward, backward, inputs, method, seed)
                        tried, found = tried + 1, found + (report.verdict == "wrong")
                        if report.verdict != "wrong":
                            print(f"  {method}, {name}, {error:g}, seed {seed}: {report.verdict}", file=sys.stderr)
            missed += tried - found
            cells.append(f"{found}/{tried}")
        print(f"{method:<14}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
