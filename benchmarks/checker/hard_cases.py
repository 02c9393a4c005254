"""Right code with hard properties: how often a gradient checker accuses it, or cannot tell.

    python -m benchmarks.checker.hard_cases
    python -m benchmarks.checker.hard_cases --seeds 2 --families kinks,zeros --peers torch,autograd,jax,chainer

Every case is checked with several seeds and by four methods; its right verdicts stand beside it, in `hard/`.
A *false alarm* is a verdict that accuses and is not expected; *undecided* is "cannot tell" (or a kink) where "ok" was
to be had.  Peers see the numeric cases in a process of their own; one that is not installed is a row with the reason.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from importlib import import_module

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402

import engine  # noqa: E402
from benchmarks.checker.hard.case import CASES, METHODS, HardCase  # noqa: E402

FAMILIES = ("kinks", "singular", "scales", "saturation", "zeros", "algebra", "recurrent", "caches")


def cases(families: tuple[str, ...] = FAMILIES) -> list[HardCase]:
    """All cases of some families, in the order in which they are written down."""
    for family in families:
        import_module(f"benchmarks.checker.hard.{family}")
    return [one for family in families for one in CASES if one.family == family]


def generator(case: HardCase, seed: int) -> np.random.Generator:
    """Random numbers of a case and a seed, of which no other case depends."""
    return np.random.default_rng([seed, *case.name.encode()])


def judge(case: HardCase, method: str, seed: int) -> tuple[str, str]:
    """What the engine says, and ``ok``, ``false alarm`` or ``undecided``."""
    forward, backward, inputs = case.make(generator(case, seed))
    with np.errstate(all="ignore"):
        verdict = engine.check_gradients(forward, backward, inputs, method, seed).verdict
    if verdict in case.expected[method]:
        return verdict, "ok"
    return verdict, "undecided" if verdict == "cannot tell" else "false alarm"


def main() -> int:
    """Run and print; exit code 1 on a false alarm, or where more than 2 % are undecided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--peers", default="", help="some of torch, torch-fast, autograd, jax, chainer")
    arguments = parser.parse_args()
    chosen = cases(tuple(arguments.families.split(",")))
    print(f"{len(chosen)} cases of right code, {arguments.seeds} seeds")
    print(
        f"{'checker':<24}{'checks':>8}{'as expected':>13}{'undecided':>11}{'false alarms':>14}{'ms each':>9}",
        flush=True,
    )
    failed = False
    for method in arguments.methods.split(","):
        count: Counter[str] = Counter()
        start = time.perf_counter()
        for case in chosen:
            for seed in range(arguments.seeds):
                verdict, outcome = judge(case, method, seed)
                count[outcome] += 1
                if outcome != "ok":
                    print(f"  {method}, {case.family}/{case.name}, seed {seed}: {verdict}", file=sys.stderr, flush=True)
        total = max(1, count.total())
        each = 1e3 * (time.perf_counter() - start) / total
        print(
            f"{'engine, ' + method:<24}{total:>8}{count['ok']:>13}{count['undecided']:>11}"
            f"{count['false alarm']:>14}{each:>9.1f}",
            flush=True,
        )
        failed |= count["false alarm"] > 0 or count["undecided"] > 0.02 * total
    for peer in filter(None, arguments.peers.split(",")):
        from benchmarks.checker import peer_checks

        print(peer_checks.row(peer, arguments.families, arguments.seeds), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
