"""How often the gradient checker finds a planted bug, and names the right tensor, gate and time step.

    python benchmarks/checker/diagnosis.py [--method central] [--seed 0] [--mutants 1] [--json]

Three sets of bugs: the first zoo, which the diagnosis was written with; a second zoo, written after it was frozen by
somebody who had not read it; and mutants, made by a program from every line of the cells' backward equations.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # run as a file, or as a module

import numpy as np  # noqa: E402

import engine  # noqa: E402
from benchmarks.checker import second_zoo  # noqa: E402
from benchmarks.checker.mutants import generate  # noqa: E402
from benchmarks.checker.mutation_checks import case_of  # noqa: E402
from engine.zoo import BUGS  # noqa: E402

COLUMNS = ("bugs", "caught", "cannot tell", "diagnosed", "place right", "steps asked", "step right")


def first_zoo(method: str, seed: int) -> tuple[Counter[str], list[str]]:
    """Scores on the zoo that the diagnosis was written with."""
    count, misses = Counter[str](), []
    for bug in BUGS.values():
        case = bug.case(seed)
        with bug.plant():
            report = engine.gradcheck(
                case.layer, case.x, case.state, case.lengths, method, seed, truncation=case.truncation
            )
        count["bugs"] += 1
        count["caught"] += report.verdict in bug.verdicts
        count["cannot tell"] += report.verdict == "cannot tell"
        if report.verdict not in bug.verdicts:
            misses.append(f"{bug.name}: {report.verdict}")
        if report.diagnosis is None:
            continue
        count["diagnosed"] += 1
        right = report.worst.name in bug.names and report.worst.gate in bug.gates
        count["place right"] += right
        if not right:
            misses.append(f"{bug.name}: said {report.diagnosis}")
        if bug.time_step is not None:
            count["steps asked"] += 1
            count["step right"] += report.diagnosis.time_step == bug.time_step
    return count, misses


def other_zoo(method: str, seed: int) -> tuple[Counter[str], list[str]]:
    """Scores on the second zoo."""
    count, misses = Counter[str](), []
    for bug in second_zoo.BUGS.values():
        report = bug.check(method, seed)
        found = second_zoo.judge(bug, report)
        count["bugs"] += 1
        count["caught"] += found["caught"]
        count["cannot tell"] += found["cannot tell"]
        if not found["caught"]:
            misses.append(f"{bug.name}: {report.verdict}")
            continue
        count["diagnosed"] += 1
        count["place right"] += found["diagnosis"]
        if not found["diagnosis"]:
            misses.append(second_zoo.answer(bug, report))
        if bug.time_step is not None:
            count["steps asked"] += 1
            count["step right"] += found["time step"]
    return count, misses


def mutants(method: str, every: int) -> tuple[Counter[str], list[str]]:
    """Scores on generated mutants of the gate equations and steps; what raises or changes nothing is left out."""
    count, misses = Counter[str](), []
    for mutant in [mutant for mutant in generate() if mutant.gates][::every]:
        layer, x, state = case_of(mutant.settings[0])
        with mutant.plant(), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                report = engine.gradcheck(layer, x, state, method=method)
            except Exception:  # nobody can take that for a gradient
                continue
        if report.verdict == "ok":
            continue  # found by another case, or by none: that is the mutation test's affair
        count["bugs"] += 1
        count["caught"] += report.verdict != "cannot tell"
        count["cannot tell"] += report.verdict == "cannot tell"
        if report.diagnosis is None:
            continue
        count["diagnosed"] += 1
        count["place right"] += report.worst.gate in mutant.gates
        if report.worst.gate not in mutant.gates:
            misses.append(f"{mutant}: said {report.diagnosis}")
    return count, misses


def main() -> int:
    """Print the three scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="central", choices=["central", "complex", "directional", "taylor"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=int, default=1, metavar="N", help="take every N-th mutant")
    parser.add_argument("--verbose", action="store_true", help="also print what was missed or misnamed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    scores = {
        "first zoo": first_zoo(options.method, options.seed),
        "second zoo": other_zoo(options.method, options.seed),
        "mutants": mutants(options.method, options.mutants),
    }
    if options.json:
        print(json.dumps({name: count for name, (count, _) in scores.items()}))
        return 0
    print(f"{'':<12}" + "".join(f"{column:>13}" for column in COLUMNS))
    for name, (count, _) in scores.items():
        print(f"{name:<12}" + "".join(f"{count[column]:>13}" for column in COLUMNS))
    if options.verbose:
        print(*(miss for _, misses in scores.values() for miss in misses), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
