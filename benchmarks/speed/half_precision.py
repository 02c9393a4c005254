"""The engine in bf16, fp16 and float32, and PyTorch: the time of a training step, its error, the memory it takes.

    python -m benchmarks.speed.half_precision [--cells LSTM,GRU,RNN] [--batch 32] [--steps 50] [--sizes 128,256,512]
        [--threads 1] [--budget 2] [--memory] [--json FILE]

Each of the five runs in a process of its own, in turns (`engine.measuring.rounds`).  PyTorch's layer has its weights,
its input and its cotangent in bf16 (``torch.nn.LSTM(...).bfloat16()``).  An error is that of y and of all gradients
against the engine in float64, relative to each tensor's largest value; the largest of a layer is printed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.compare import names, numbers
from benchmarks.speed.store import Store, heading
from engine.measuring import figures, steps
from engine.measuring.rounds import PATIENCE, WorkerError, Workers, measure_memory, time_case
from engine.measuring.steps import Library
from engine.measuring.timed_step import TIMED_CELLS, TimedStep

MODULE = "benchmarks.speed.half_precision"
LIBRARIES = {
    "engine-bf16": Library(
        "engine, bf16", "engine.layers", functools.partial(steps.engine_step, precision="bf16"), "bptt-engine"
    ),
    "engine-fp16": Library(
        "engine, fp16", "engine.layers", functools.partial(steps.engine_step, precision="fp16"), "bptt-engine"
    ),
    "engine": steps.LIBRARIES["engine"],
    "torch-bf16": Library("PyTorch, bf16", "torch", functools.partial(steps.torch_step, dtype="bfloat16"), "torch"),
    "torch": steps.LIBRARIES["torch"],
}
OTHERS = ("engine-fp16", "engine", "torch-bf16", "torch")
HEADS = (
    *("step", "engine bf16", "engine fp16", "engine float32", "PyTorch bf16", "PyTorch float32"),
    *("error bf16", "error fp16", "PyTorch's error in bf16"),
)


def errors(case: TimedStep) -> dict[str, float]:
    """The largest error of each half precision, and of the engine's float32, against the engine in float64."""
    layer = steps.engine_layer(case, dtype="float64")
    y, _, tape = layer.forward(case.x().astype(np.float64), None, case.lengths())
    dx, _ = layer.backward(tape, case.dy().astype(np.float64))
    wanted = {"y": y, "dx": dx, **layer.grads}
    found = {}
    for name in ("engine-bf16", "engine-fp16", "torch-bf16", "engine"):
        values = LIBRARIES[name].build(case, 1).values()
        apart = {key: np.abs(values[key] - value).max() / np.abs(value).max() for key, value in wanted.items()}
        found[name] = float(f"{max(apart.values()):.3g}")
    return found


def memory(case: TimedStep, threads: int) -> dict[str, Any]:
    """The most memory of training steps of the engine, each precision in a fresh process, in MiB."""
    found = {}
    for name in ("engine-bf16", "engine-fp16", "engine"):
        measure_memory(name, threads, case, 1, MODULE)  # fills the disk cache of compiled code
        taken = measure_memory(name, threads, case, 3, MODULE)
        found[name] = float(f"{taken['peak'] - taken['baseline']:.4g}")
    return found


def line(row: dict[str, Any]) -> list[str]:
    """A row of the printed table: our time, how many times as long the others take, and the errors."""
    words = [str(figures.case_of(row)), f"{1e3 * figures.median(row, 'engine-bf16'):.2f} ms"]
    for other in OTHERS:
        there = other in row["seconds"]
        words.append(f"x {figures.median(row, other) / figures.median(row, 'engine-bf16'):.2f}" if there else "-")
    return [*words, *(f"{row['errors'][name]:.1e}" for name in ("engine-bf16", "engine-fp16", "torch-bf16"))]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; bad ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cells", type=names, default=list(TIMED_CELLS), metavar="NAMES", help="of LSTM,GRU,RNN")
    add("--batch", type=numbers, default=[32], metavar="NUMBERS", help="rows")
    add("--steps", type=numbers, default=[50], metavar="NUMBERS", help="time steps")
    add("--sizes", type=numbers, default=[128, 256, 512], metavar="NUMBERS", help="hidden units, and input features")
    add("--threads", type=int, default=1, metavar="NUMBER")
    add("--budget", type=float, default=2.0, metavar="SECONDS", help="of a case's rounds; there are at least 3")
    add("--memory", action="store_true", help="measure the memory, too")
    add("--json", type=Path, metavar="FILE", help="write every row to this file as it comes")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = parse(arguments)
    header = heading(MODULE, sys.argv[1:] if arguments is None else arguments)
    try:
        with Workers(LIBRARIES, options.threads, MODULE, PATIENCE) as workers:
            store = Store(options.json, header | {"versions": workers.versions, "absent": workers.absent})
            print(f"$ {header['command']}\n{header['machine']['cpu']}, {' '.join(header['machine']['isa'])}")
            print(" | ".join(HEADS))
            for cell, H, T, B in itertools.product(options.cells, options.sizes, options.steps, options.batch):
                case = TimedStep(cell, T, B, H, H)
                row = {"mode": "training", **time_case(workers, case, options.budget), "errors": errors(case)}
                row |= {"memory": memory(case, options.threads)} if options.memory else {}
                store.add(row)
                print(" | ".join(line(row)), flush=True)
    except (WorkerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
