"""One process for each check: it reads a job a line, and answers with a verdict a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

from benchmarks.checker.against_torch.answers import NOT_ASKED, OURS, Answer, first_line, ours, theirs
from benchmarks.checker.against_torch.jobs import Job, find, right_case
from engine.zoo import BUGS

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Results = dict[Job, Answer]


def run(checks: list[str], jobs: list[Job], kernels: str) -> dict[str, Results]:
    """Every check's answer to every job."""
    found: dict[str, Results] = {name: {} for name in checks}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, kernels)) for name in checks}
        for count, job in enumerate(jobs):
            for name, worker in workers.items():
                found[name][job] = worker.ask(job)
            if (count + 1) % 100 == 0:
                print(f"{count + 1} of {len(jobs)} cases", file=sys.stderr, flush=True)
    return found


class Worker:
    """A process that runs one check."""

    def __init__(self, name: str, kernels: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.checker.against_torch.workers", name, kernels],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],  # `benchmarks` is found there
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def ask(self, job: Job) -> Answer:
        """What the check says of a job."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: Answer = json.loads(self.process.stdout.readline())
        return answer


def serve(name: str, kernels: str) -> None:
    """Worker: read one job a line, answer with one verdict a line."""
    check = ours(name) if name in OURS else theirs(name)
    warnings.simplefilter("ignore")  # both libraries warn of what is wrong beside saying so
    check(BUGS["linear-bias-mean"].case(0))  # the first time is slow
    for seed in range(5):  # of each cell
        case = right_case(seed, kernels)
        _, _, tape = case.layer.forward(case.x, case.state, case.lengths)
        case.layer.backward(tape)
    for line in sys.stdin:
        case, planted = find(tuple(json.loads(line)), kernels)
        if case.truncation and name not in ("central", "complex"):
            print(json.dumps({"verdict": NOT_ASKED}), flush=True)
            continue
        with planted:
            started = time.process_time()
            try:
                answer = check(case)
            except Exception as error:
                answer = {"verdict": "raised", "reason": f"{type(error).__name__}: {first_line(error)}"}
            print(json.dumps({"seconds": time.process_time() - started} | answer), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
