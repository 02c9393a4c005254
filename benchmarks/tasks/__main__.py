"""Train a task on real data beside a PyTorch script of the same model, and write both figures and times down.

    python -m benchmarks.tasks NAME... [--seeds 3] [--threads 1] [--json FILE]
    python -m benchmarks.tasks --page

NAME is a case, or a task: all of its cases.  Without one the cases are listed.  The real data lies in the folder that
the variable BPTT_TEST_DATA names.  Each training runs in a process of its own that is pinned to as many cores as it has
threads; the two sides take turns, seed by seed.  ``--json`` is for a single case; without it, each result is
benchmarks/results/tasks/NAME.json.  It has the wall-clock time and the processor's time; the latter is shown for one
thread, since other work on the machine does not count in it.  ``--page`` writes the table of docs/tasks.md from these
files.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.speed.store import heading
from benchmarks.tasks.case import Case, CaseError, all_cases, real_data
from benchmarks.tasks.page import RESULTS, ROOT, line_of, write_page
from engine.measuring.machine import THREAD_VARIABLES, cores

SIDES = ("ours", "torch")


def train_apart(case: Case, side: str, seed: int, threads: int) -> dict[str, Any]:
    """The result of one training, in a process of its own on `threads` cores.

    Raises
    ------
    CaseError
        The process failed.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    first = os.getpid() % max(1, len(allowed))  # two commands at a time need not share a core
    allowed = (allowed[first:] + allowed[:first])[:threads]
    pin = f"import os; os.sched_setaffinity(0, {allowed!r}); " if allowed else ""
    code = f"{pin}import sys; from benchmarks.tasks.job import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, case.name, side, str(seed)],
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise CaseError(f"{case.name}, {side}, seed {seed}: {reason}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(case: Case, seeds: int, threads: int, command: Sequence[str]) -> dict[str, Any]:
    """All trainings of a case, JSON-able."""
    rows = []
    for seed in range(seeds):
        row: dict[str, Any] = {"seed": seed}
        sides = SIDES if case.torch else SIDES[:1]
        for side in sides if seed % 2 == 0 else sides[::-1]:  # neither always goes first
            row[side] = train_apart(case, side, seed, threads)
            figure, clock = f"{row[side]['figure'] * case.scale:.2f} {case.unit}", row[side]["cpu_seconds"]
            words = f"{case.name}, seed {seed}, {side}: {case.figure} {figure}, {clock:.1f} s of the processor"
            print(words, file=sys.stderr, flush=True)
        rows.append(row)
    return {
        **heading("benchmarks.tasks", command),
        "versions": {name: metadata.version(name) for name in ("numpy", "numba", "torch")},
        "case": case.name,
        "title": case.title,
        "task": case.task,
        "options": dict(case.options),
        "threads": threads,
        "figure": case.figure,
        "scale": case.scale,
        "unit": case.unit,
        "higher": case.higher,
        "rows": rows,
    }


def chosen(names: Sequence[str]) -> list[Case]:
    """The cases of these names, or of the tasks of these names.

    Raises
    ------
    CaseError
        There is none of such a name.
    """
    known = all_cases()
    found = []
    for name in names:
        cases = [known[name]] if name in known else [case for case in known.values() if case.task == name]
        if not cases:
            raise CaseError(f"NAME: expected one of {', '.join(known)}, or a task, got {name!r}")
        found += cases
    return found


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; bad ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tasks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each side [3]")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each training [1]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes, of a single case")
    parser.add_argument("--page", action="store_true", help="write the table of docs/tasks.md, no more")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or not 1 <= options.threads <= cores():
        parser.error(f"--seeds, --threads: expected at least 1, and at most the {cores()} cores that can be used")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, print, and return the exit code."""
    options = parse(arguments)
    if options.page:
        write_page()
        return 0
    try:
        cases = chosen(options.names)
        if not cases:
            for case in all_cases().values():
                print(f"{case.name:16} {case.title} (--task {case.task})")
            return 0
        if options.json and len(cases) > 1:
            raise CaseError(f"--json: expected one case, got {len(cases)}")
        real_data()
    except CaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command, code = (sys.argv[1:] if arguments is None else arguments), 0
    for case in cases:
        try:
            document = measure(case, options.seeds, options.threads, command)
        except CaseError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
            continue
        path = options.json or RESULTS / f"{case.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        print(" | ".join(line_of(document)))
    return code


if __name__ == "__main__":
    sys.exit(main())
