"""A process of its own that takes a few steps on one backend and says how much memory they took at most.

    python -m engine.measuring.memory SPEC EXPERIMENT

EXPERIMENT is JSON; the answer is ``{"bytes": ...}`` on standard output.  On a CPU that is the process's peak beyond
what it had after a tiny step, which loads the library and compiled code; on a GPU, the most that the library's own pool
held.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import replace

from engine.backend import Backend
from engine.measuring.experiment import Bench, Experiment
from engine.measuring.serve import forget_peak, peak, resident

STEPS = 3


def main(arguments: list[str]) -> None:
    """Measure and print."""
    spec, fields = arguments
    given = json.loads(fields)
    lengths = given["lengths"]
    experiment = Experiment(**given | {"lengths": None if lengths is None else tuple(lengths)})
    print(json.dumps({"bytes": peak_bytes(experiment, spec)}))


def peak_bytes(experiment: Experiment, spec: str) -> int:
    """Bytes that the experiment takes at most: model, arguments, tape, gradients and what is used in passing."""
    tiny = Bench(replace(experiment, T=2, B=2, D=3, H=4, lengths=None), spec)
    tiny.step()
    tiny.wait()
    backend = tiny.backend
    del tiny
    gc.collect()
    before = resident()
    forget_peak()
    bench = Bench(experiment, backend)
    for _ in range(STEPS):
        bench.step()
    bench.wait()
    on_device = device_peak(backend)
    return max(0, peak() - before) if on_device is None else on_device


def device_peak(backend: Backend) -> int | None:
    """The most bytes that the library's pool on the GPU has held; None on a CPU."""
    if backend.name == "cupy":
        return int(backend.xp.get_default_memory_pool().total_bytes())
    if backend.name == "torch" and backend.device != "CPU":
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
