"""Libraries for the timing tests, under the names of real ones: quick, slow to answer, mistaken, failing, missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.measuring.machine import THREAD_VARIABLES
from engine.measuring.steps import Library, NotApplicableError, Step
from engine.measuring.timed_step import TimedStep

#: A file to which every step adds its library's name.
LOG = "BPTT_TEST_LOG"


def note(name: str) -> None:
    if LOG in os.environ:
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as file:
            file.write(name + "\n")


def values(case: TimedStep) -> dict[str, Any]:
    return {"y": np.arange(5.0) * case.H, "dx": np.ones((2, 3))}


def quick(name: str, seconds: float = 0.001) -> Callable[[TimedStep, int], Step]:
    def build(case: TimedStep, threads: int) -> Step:
        print("a library may talk")
        note(f"{name} builds {case}")

        def run() -> None:
            note(name)
            time.sleep(seconds)

        return Step(run, lambda: values(case), 2e6 if name == "sgemm" else None)

    return build


def mistaken(case: TimedStep, threads: int) -> Step:
    found = values(case)
    found["dx"][1, 1] = 1.1
    return Step(lambda: None, lambda: found)


def told(case: TimedStep, threads: int) -> Step:
    """Its results are what its process was told about threads."""
    numbers = [int(os.environ[name]) for name in THREAD_VARIABLES]
    return Step(lambda: None, lambda: {"y": np.array([threads, *numbers, float(os.environ["MINE"])])})


def inapplicable(case: TimedStep, threads: int) -> Step:
    raise NotApplicableError("nothing of that kind")


def raising(case: TimedStep, threads: int) -> Step:
    raise ValueError("no such\nsize")


def dying(case: TimedStep, threads: int) -> Step:
    if case.cell == "RNN":
        return quick("dying")(case, threads)
    os._exit(7)


def dying_later(case: TimedStep, threads: int) -> Step:
    steps = iter(range(20))
    return Step(lambda: os._exit(9) if next(steps) > 7 else None, lambda: values(case))


def hanging(case: TimedStep, threads: int) -> Step:
    if case.cell == "RNN":
        return quick("hanging")(case, threads)
    time.sleep(60)
    raise AssertionError


def fake(build: Callable[[TimedStep, int], Step], module: str = "numpy") -> Library:
    return Library("a library", module, build, "numpy", lambda threads: {"MINE": f"{threads}.5"})


LIBRARIES = {
    "engine": fake(quick("engine")),
    "torch": fake(quick("torch", 0.002)),
    "torch-compile": fake(inapplicable),
    "jax": fake(quick("jax"), "a_module_that_nobody_has"),
    "onnxruntime": fake(mistaken),
    "sgemm": fake(quick("sgemm")),
    "told": fake(told),
    "raising": fake(raising),
    "dying": fake(dying),
    "dying-later": fake(dying_later),
    "hanging": fake(hanging),
}
