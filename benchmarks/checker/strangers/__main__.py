"""Check strangers' codes, right and with every bug, and print one table.

    python -m benchmarks.checker.strangers
    python -m benchmarks.checker.strangers --seeds 3 --methods central,directional --show

A false alarm is a right code that does not pass; a bug is caught if its report does not pass, and placed if the report
names a tensor (and the gate) in which the spoilt line lies.  Exit code 1 if a bug passes, at a false alarm, or if less
than 90 % are placed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings

from benchmarks.checker.strangers.stranger import Bug, Stranger, strangers
from engine.checking.report.report import Report

#: What share of the reports must name the right place.
PLACED = 0.9


def is_placed(report: Report, bug: Bug) -> bool:
    """Whether the report sends its reader to the right tensor and gate."""
    return report.verdict == "wrong" and report.worst.name in bug.names and bug.gate in ("", report.worst.gate or "")


def score(one: Stranger, seeds: int, methods: list[str], show: bool) -> tuple[int, int, int, int, int]:
    """Right codes that pass and all of them; bugs caught, placed, and all."""
    passed = right = caught = placed = bugs = 0
    for seed in range(seeds):
        for method in methods:
            report = one.check(None, seed, method)
            right, passed = right + 1, passed + report.passed
            if not report.passed and show:
                print(f"{one.name}, right, {method}, seed {seed}:\n{report}\n")
            for bug in one.bugs:
                report = one.check(bug, seed, method)
                good = is_placed(report, bug)
                bugs, caught, placed = bugs + 1, caught + (not report.passed), placed + good
                if not good and show:
                    print(
                        f"{one.name}, {bug.right} ==> {bug.wrong}, {method}, seed {seed}: not {bug.names}\n{report}\n"
                    )
    return passed, right, caught, placed, bugs


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", default="central")
    parser.add_argument("--only", default="", help="codes whose name holds this")
    parser.add_argument("--show", action="store_true", help="print every report that is not as it should be")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    chosen = [one for one in strangers() if arguments.only in one.name]
    print(f"{'code':<26} {'right passes':>12} {'bugs caught':>12} {'placed':>8} {'glue':>5}  style")
    sums = [0] * 5
    for one in chosen:
        passed, right, caught, placed, bugs = score(one, arguments.seeds, arguments.methods.split(","), arguments.show)
        cells = f"{f'{passed}/{right}':>12} {f'{caught}/{bugs}':>12} {f'{placed}/{bugs}':>8} {one.glue_lines:>5}"
        print(f"{one.name:<26} {cells}  {one.style[:60]}", flush=True)
        sums = [a + b for a, b in zip(sums, (passed, right, caught, placed, bugs), strict=True)]
    passed, right, caught, placed, bugs = sums
    glue = statistics.median(one.glue_lines for one in chosen)
    cells = f"{f'{passed}/{right}':>12} {f'{caught}/{bugs}':>12} {f'{placed}/{bugs}':>8} {glue:>5g}"
    print(f"{'all ' + str(len(chosen)):<26} {cells}  false alarms: {right - passed}, placed {placed / bugs:.0%}")
    return int(passed < right or caught < bugs or placed < PLACED * bugs)


if __name__ == "__main__":
    sys.exit(main())
