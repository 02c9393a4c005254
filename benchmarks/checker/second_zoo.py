"""A second, held-out zoo of bugs, written without reading the diagnosis code: how good is the diagnosis on new bugs?

    python benchmarks/checker/second_zoo.py [--method central] [--kind layer] [--seed 0] [--json]

It prints, for every method of the checks, how many of the bugs were caught, how much right code passed, and how often
tensor, gate and time step were named rightly; then every bug that was missed or misnamed.  "caught" is any verdict but
"ok" and "cannot tell".  "cannot tell" means that the method does not work for the code, and is counted apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from benchmarks.checker import second_zoo_functions, second_zoo_layers, second_zoo_methods
from benchmarks.checker.second_zoo_bug import SecondBug
from engine.checking.report.report import Report
from engine.errors import EngineError

BUGS: dict[str, SecondBug] = {
    bug.name: bug for family in (second_zoo_layers, second_zoo_functions, second_zoo_methods) for bug in family.BUGS
}
BUG_KINDS = ("layer", "pair", "method")
METHODS = ("central", "complex", "directional", "taylor")
COLUMNS = ("bugs", "caught", "cannot tell", "diagnosis", "time step", "right code", "passed", "undecided", "seconds")


def judge(bug: SecondBug, report: Report) -> dict[str, bool]:
    """What of a report is right, by name.

    Where backward writes into its arguments, or differs from call to call, its gradients are not looked at: there the
    verdict is the diagnosis.
    """
    undecided = report.verdict == "cannot tell"
    found = {"caught": not report.passed and not undecided, "cannot tell": undecided}
    if report.diagnosis is None:
        named = report.verdict in bug.verdicts - {"wrong"}
        return found | {"diagnosis": named, "time step": named}
    place = report.worst
    found["diagnosis"] = "wrong" in bug.verdicts and place.name in bug.names and place.gate in bug.gates
    found["time step"] = report.diagnosis.time_step == bug.time_step
    return found


def answer(bug: SecondBug, report: Report) -> str:
    """What a report says, and what is true, in one line."""
    if report.diagnosis is None:
        return f"{bug.name}: {report.verdict}; true: {', '.join(sorted(bug.names))}"
    said = f"{report.worst.name}, gate {report.worst.gate}, step {report.diagnosis.time_step}"
    gates = "/".join(sorted(map(str, bug.gates)))
    return f"{bug.name}: said {said}; true: {', '.join(sorted(bug.names))}, gate {gates}, step {bug.time_step}"


def alarms(bugs: Iterable[SecondBug], method: str, seed: int) -> tuple[Counter[str], list[str]]:
    """Verdicts on the right code that the bugs are mistakes of; and in words every one that is no "ok"."""
    verdicts, told = Counter[str](), []
    for report in {id(report): report for report in (bug.right(method, seed) for bug in bugs)}.values():
        verdicts[report.verdict] += 1
        if report.verdict not in ("ok", "cannot tell"):
            told.append(f"false alarm:\n{report}")
    return verdicts, told


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--method", action="append", choices=METHODS, help="may be given more than once [all]")
    parser.add_argument("--kind", action="append", choices=BUG_KINDS, help="of bug; may be given more than once [all]")
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and cotangents [0]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if options.seed < 0:
        parser.error("--seed: expected an integer >= 0")
    records = [
        _row(kind, method, options.seed) for kind in options.kind or BUG_KINDS for method in options.method or METHODS
    ]
    if options.json:
        print(json.dumps({"seed": options.seed, "rows": records}, indent=1))
    else:
        _show(records)
    return 0


def _row(kind: str, method: str, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    bugs = [bug for bug in BUGS.values() if bug.kind == kind]
    verdicts, notes = alarms(bugs, method, seed)
    count = Counter[str]()
    for bug in bugs:
        try:
            report = bug.check(method, seed)
        except EngineError as error:  # neither caught nor passed: it says nothing of gradients
            notes.append(f"raised: {bug.name}: {error}")
            continue
        found = judge(bug, report)
        count.update(name for name, right in found.items() if right)
        if not found["caught"] and not found["cannot tell"]:
            notes.append(f"missed: {bug.name}")
        elif found["caught"] and not (found["diagnosis"] and found["time step"]):
            notes.append(answer(bug, report))
    numbers: dict[str, Any] = {name: count[name] for name in ("caught", "cannot tell", "diagnosis", "time step")}
    numbers |= {"right code": verdicts.total(), "passed": verdicts["ok"], "undecided": verdicts["cannot tell"]}
    seconds = round(time.perf_counter() - start, 1)
    return {"kind": kind, "method": method, "bugs": len(bugs), **numbers, "seconds": seconds, "notes": notes}


def _show(records: list[dict[str, Any]]) -> None:
    print(f"{'kind':<8}{'method':<12}" + "".join(f"{name:>12}" for name in COLUMNS))
    for record in records:
        print(f"{record['kind']:<8}{record['method']:<12}" + "".join(f"{record[name]:>12}" for name in COLUMNS))
    for record in records:
        for note in record["notes"]:
            print(f"\n{record['method']}: {note}", end="")
    print()


if __name__ == "__main__":
    sys.exit(main())
