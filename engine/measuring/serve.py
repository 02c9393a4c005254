"""The process of one library: reads a request a line, answers with a line; both are JSON objects.

``build`` makes the step of a case, drops the one before, and answers with a sample of its results; ``turn`` answers
with the median time of a step; ``memory`` with the most memory that a step took.  What fails is answered with
``error``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.measuring.steps import Library, NotApplicableError, Step
from engine.measuring.timed_step import TimedStep

#: How many entries of each result are sent for comparison.
SAMPLE = 64
#: Steps before the first that counts: the first loads or compiles code, the next ones find their memory.
WARM_STEPS, WARM_SECONDS = 5, 0.1
MIB = 2**20


def main() -> None:
    """Serve until the input ends: the arguments are a module with `LIBRARIES`, a name among them, and the threads."""
    module, name, threads = sys.argv[-3:]
    # What a library prints goes to standard error: standard output is for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server(importlib.import_module(module).LIBRARIES[name], int(threads))
    for request in itertools.chain([json.dumps({"do": "hello"})], sys.stdin):
        try:
            answer = server.answer(json.loads(request))
        except NotApplicableError as error:
            answer = {"error": str(error)}
        except Exception as error:  # whatever a library raises is that library's result
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        try:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        except BrokenPipeError:  # the process that asked has ended, by Ctrl-C for instance
            os._exit(0)


class Server:
    """One library and its step of the moment.

    Parameters
    ----------
    library, threads : what is timed, and on how many cores.
    """

    def __init__(self, library: Library, threads: int) -> None:
        self.library, self.threads = library, threads
        self.step: Step | None = None
        self.cores = pin(threads)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What one request asks for."""
        what = request.pop("do")
        answers: dict[str, Callable[..., dict[str, Any]]]
        answers = {"hello": self.hello, "build": self.build, "turn": self.turn, "memory": self.memory}
        return answers[what](**request)

    def hello(self) -> dict[str, Any]:
        """Import the library."""
        importlib.import_module(self.library.module)
        return {"version": self.library.version(), "cores": self.cores}

    def build(self, case: dict[str, Any]) -> dict[str, Any]:
        """Make the step of a case and warm it up; only one case's model is held at a time."""
        self.step = None
        gc.collect()
        step = self.library.build(TimedStep(**case), self.threads)
        values = {name: sample(value) for name, value in step.values().items()}
        start = time.perf_counter()
        for _ in range(WARM_STEPS):
            step.run()
            if time.perf_counter() - start > WARM_SECONDS:
                break
        self.step = step
        settle()
        return {"values": values, "flops": step.flops}

    def turn(self, seconds: float) -> dict[str, Any]:
        """As many steps as fill the time, at least one.

        A turn of several: the first finds another process's data in the caches.
        """
        if self.step is None:
            raise NotApplicableError("no case has been built")
        times: list[float] = []
        total, busy = 0.0, time.process_time()
        while total < seconds:
            start = time.perf_counter()
            self.step.run()
            times.append(time.perf_counter() - start)
            total += times[-1]
        busy = time.process_time() - busy
        settle()
        return {"seconds": statistics.median(times), "steps": len(times), "cores": busy / total}

    def memory(self, case: dict[str, Any], steps: int) -> dict[str, Any]:
        """Resident memory in MiB: after the import, at the baseline, with the model, and the most during the steps.

        The baseline is taken after one step of a very small model of the same kind, which loads compiled code.
        """
        after_import = resident()
        small = {**case, "T": 2, "B": 2, "D": 8, "H": 8}
        self.library.build(TimedStep(**small), self.threads).run()
        gc.collect()
        baseline = resident()
        step = self.library.build(TimedStep(**case), self.threads)
        gc.collect()
        built = resident()
        exact = forget_peak()
        for _ in range(steps):
            step.run()
        found = {"import": after_import, "baseline": baseline, "built": built, "peak": peak()}
        return {**{name: round(value / MIB, 2) for name, value in found.items()}, "exact": exact}


def sample(value: Any) -> dict[str, Any]:
    """Some entries of a result, evenly spread, and the largest size of all."""
    flat = np.asarray(value).reshape(-1)
    picked = np.linspace(0, flat.size - 1, min(SAMPLE, flat.size)).astype(np.int64)
    return {"scale": float(np.abs(flat).max()), "entries": [float(entry) for entry in flat[picked]]}


def pin(threads: int) -> list[int]:
    """Keep this process on `threads` cores; returns them, or nothing where the system cannot do it.

    The last ones: the first core of a machine often has the interrupts.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


def settle(limit: float = 0.5) -> None:
    """Wait until the other threads of this process sleep.

    Those of OpenMP and of BLAS go on spinning after their work, some for a tenth of a second, and would take the next
    library's cores.
    """
    end = time.perf_counter() + limit
    while others_run() and time.perf_counter() < end:
        time.sleep(0.001)


def others_run() -> bool:
    """Whether another thread of this process has a core or waits for one.

    The process's clock does not tell: the time of a thread on another core reaches it late.  Where the system does not
    list its threads, nothing is known, and nothing is waited for.
    """
    own = str(threading.get_native_id())
    for path in Path("/proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            # the state follows the name, which stands in brackets and may hold anything
            if path.parent.name != own and path.read_text(errors="replace").rpartition(")")[2].split()[0] == "R":
                return True
    return False


# -- memory ------------------------------------------------------------------------------------------------------------


def _status(key: str) -> int:
    """Bytes of an entry of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise NotApplicableError(f"this system does not tell a process its {key}")


def resident() -> int:
    """Bytes of this process in memory now."""
    try:
        return _status("VmRSS")
    except OSError:
        raise NotApplicableError("this system has no /proc/self/status") from None


def forget_peak() -> bool:
    """Let `peak` start anew; False where the system does not allow it, and `peak` is that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmHWM") <= resident() + MIB
    return False


def peak() -> int:
    """The most bytes that this process has had in memory."""
    return _status("VmHWM")


if __name__ == "__main__":
    main()
