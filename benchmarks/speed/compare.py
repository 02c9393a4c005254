"""The engine, PyTorch, torch.compile, JAX and ONNX Runtime side by side, each in a process of its own, in turns.

    python -m benchmarks.speed.compare [--cells LSTM,GRU,RNN] [--batch 1,32] [--steps 50] [--sizes 64,256]
        [--threads 1,2] [--peers torch,jax] [--mode training|inference|memory|packed] [--budget 2]
        [--json FILE [--resume]]

Printed are, for each case, the median times, the ratios of the peers' to ours with their intervals, and the share of
what a large sgemm reaches on the same cores in between; then geometric means, worst cases, and each case where a peer
is faster.  ``--json`` keeps every turn's time, row by row as they come; ``benchmarks.speed.performance_page`` makes the
page.

Modes: ``training`` is forward and backward with the gradients of the input and of all parameters; ``inference`` is
`layer.predict`; ``packed`` is training on rows of different length, PyTorch's as packed sequences; ``memory`` is the
most memory of training steps above what the imported library holds, each measured in a fresh process.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.store import Store, heading
from benchmarks.speed.tables import milliseconds, name_of, notes, table
from engine.measuring import figures
from engine.measuring.machine import cores
from engine.measuring.peers import LIBRARIES, PEERS
from engine.measuring.rounds import FEWEST, PATIENCE, WorkerError, Workers, measure_memory, time_case
from engine.measuring.timed_step import TIMED_CELLS, TimedStep

MODULE = "engine.measuring.peers"
MODES = ("training", "inference", "memory", "packed")
#: Asked for where nobody says otherwise.
USUAL = ("torch", "torch-compile", "jax", "onnxruntime")
#: GFLOP/s of a core in a step, and seconds of a process's start: for the estimate of how long a run takes, no more.
RATE, START = 60.0, 3.0


def cases_of(options: argparse.Namespace) -> list[TimedStep]:
    """The grid that the options span, small cases before large ones."""
    grid = itertools.product(options.cells, options.sizes, options.steps, options.batch)
    found = [
        TimedStep(
            cell,
            T,
            B,
            options.inputs or H,
            H,
            options.layers,
            options.bidirectional,
            options.mode == "packed",
            options.mode != "inference",
        )
        for cell, H, T, B in grid
    ]
    if options.mode == "memory":
        found = [case for case in found if case.activations() > 1e6 * options.activations]
    return found


def estimate(options: argparse.Namespace, cases: Sequence[TimedStep]) -> float:
    """About how many seconds a run takes."""
    total = 0.0
    for threads, case in itertools.product(options.threads, cases):
        libraries = 1 + len(options.peers)
        step = libraries * case.flops() / (1e9 * RATE * threads)
        if options.mode != "memory":  # results for comparison, at least one step to warm up, then the rounds
            total += 0.5 * libraries + 2 * step + max(options.budget, FEWEST * step)
        if options.mode == "memory" or options.memory:
            total += START * (libraries + 1) + 4 * step
    return total


def say(text: str) -> None:
    """A line of progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def word(row: dict[str, Any]) -> str:
    """A row in one line."""
    words = []
    if "seconds" in row:
        words.append(f"{milliseconds(figures.median(row, 'engine'))} ms")
        peers = [name for name in row["seconds"] if name != "engine"]
        words += [f"{LIBRARIES[peer].title} x {figures.ratio(row, peer):.2f}" for peer in peers]
    for name, found in row.get("memory", {}).items():
        words.append(f"{LIBRARIES[name].title} {found['peak'] - found['baseline']:.1f} MiB")
    words += [f"{LIBRARIES[name].title}: {reason}" for name, reason in row["failed"].items()]
    return f"{name_of(row)}: {', '.join(words)}"


def add_memory(row: dict[str, Any], threads: int, case: TimedStep, libraries: Sequence[str], patience: float) -> None:
    """Put each library's memory into a row."""
    # A first process fills the disk cache of compiled code, and is not counted: compiling takes memory of its own.
    measure_memory("engine", threads, case, 1, MODULE, patience)
    row["memory"] = {}
    for library in libraries:
        try:
            row["memory"][library] = measure_memory(library, threads, case, 3, MODULE, patience)
        except WorkerError as error:
            if library == "engine":
                raise
            row["failed"][library] = str(error)


def fill(options: argparse.Namespace, store: Store, workers: Workers, libraries: Sequence[str]) -> int:
    """Measure every case that the store does not have; returns how many the engine could not run."""
    cases, broken = cases_of(options), 0
    memory = options.mode == "memory" or options.memory
    for number, case in enumerate(cases, 1):
        threads = workers.threads
        label = f"[{number}/{len(cases)}]"
        if store.has((options.mode, case, threads), libraries, memory):
            say(f"{label} {case}: there already")
            continue
        try:
            if options.mode == "memory":
                row = {**case.as_dict(), "threads": threads, "failed": {}}
            else:
                row = time_case(workers, case, options.budget)
            if memory:
                add_memory(row, threads, case, libraries, options.patience)
        except WorkerError as error:
            broken += 1
            say(f"{label} {case}: the engine failed: {error}")
            continue
        row = {"mode": options.mode, **row}
        store.add(row)
        say(f"{label} {word(row)}")
    return broken


def numbers(text: str) -> list[int]:
    """Numbers between commas."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError
    return found


def names(text: str) -> list[str]:
    """Names between commas."""
    return [part for part in text.split(",") if part]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; bad ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cells", type=names, default=list(TIMED_CELLS), metavar="NAMES", help="of LSTM,GRU,RNN")
    add("--batch", type=numbers, default=[1, 32], metavar="NUMBERS", help="rows")
    add("--steps", type=numbers, default=[50], metavar="NUMBERS", help="time steps")
    add("--sizes", type=numbers, default=[64, 256], metavar="NUMBERS", help="hidden units")
    add("--inputs", type=int, metavar="NUMBER", help="input features; as many as hidden units by default")
    add("--layers", type=int, default=1, metavar="NUMBER")
    add("--bidirectional", action="store_true")
    add("--threads", type=numbers, default=[1], metavar="NUMBERS")
    add("--peers", type=names, default=list(USUAL), metavar="NAMES", help=f"of {','.join(PEERS)}")
    add("--mode", choices=MODES, default="training")
    add("--budget", type=float, default=2.0, metavar="SECONDS", help="of a case's rounds; there are at least 3")
    add("--memory", action="store_true", help="training: measure the memory, too")
    add("--activations", type=float, default=50.0, metavar="MB", help="memory: only cases that keep more than this")
    add("--patience", type=float, default=PATIENCE, metavar="SECONDS", help="a library that takes longer has failed")
    add("--json", type=Path, metavar="FILE", help="write every row to this file as it comes")
    add("--resume", action="store_true", help="skip the rows that the file has")
    add("--estimate", action="store_true", help="say how many cases there are and about how long they take, no more")
    options = parser.parse_args(arguments)
    for what, found, known in (("--cells", options.cells, TIMED_CELLS), ("--peers", options.peers, PEERS)):
        for name in found:
            if name not in known:
                parser.error(f"{what}: expected some of {','.join(known)}, got {name!r}")
    if not options.cells:
        parser.error("--cells: expected at least one, got none")
    if max(options.threads) > cores():
        parser.error(f"--threads: expected at most the {cores()} cores that can be used, got {max(options.threads)}")
    if options.layers < 1 or (options.inputs is not None and options.inputs < 1):
        parser.error("--layers, --inputs: expected an integer >= 1")
    if not 0 <= options.budget < float("inf") or not options.patience > 0:
        parser.error("--budget, --patience: expected a number of seconds")
    if options.json is not None and options.json.exists() and not options.resume:
        parser.error(f"--json: {options.json} is there already; add --resume, or give another name")
    if options.resume and options.json is None:
        parser.error("--resume: expected --json with the file to go on with")
    if options.memory and options.mode not in ("training", "packed"):
        parser.error("--memory: is of training steps; for these alone there is --mode memory")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = parse(arguments)
    cases = cases_of(options)
    if options.estimate:
        total = len(cases) * len(options.threads)
        print(f"{total} cases, about {estimate(options, cases) / 60:.0f} minutes")
        return 0
    given = sys.argv[1:] if arguments is None else arguments
    header = heading("benchmarks.speed.compare", given)
    store: Store | None = None
    broken, code = 0, 0
    asked = ["engine", *options.peers] + ["sgemm"] * (options.mode != "memory")
    try:
        for threads in options.threads:
            with Workers(asked, threads, MODULE, options.patience) as workers:
                if store is None:
                    header |= {"versions": workers.versions, "absent": workers.absent}
                    store = Store(options.json, header)
                    announce(header)
                libraries = [name for name in workers.libraries if name != "sgemm"]
                say(f"-- {threads} thread{'s' * (threads > 1)}")
                broken += fill(options, store, workers, libraries)
    except WorkerError as error:
        print(f"the engine failed: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("interrupted; the rows so far are kept")
        code = 130
    if store is not None:
        show(store.rows, ["engine", *(name for name in options.peers if name not in header["absent"])])
    return code or int(broken > 0)


def announce(header: dict[str, Any]) -> None:
    """Say what is measured where, and which libraries are not here and why."""
    where = header["machine"]
    print(f"$ {header['command']}")
    print(f"{where['cpu']}, {where['cores']} cores, {' '.join(where['isa'])}; load {os.getloadavg()[0]:.1f}")
    packages = {LIBRARIES[name].package: version for name, version in header["versions"].items()}
    print(", ".join(f"{package} {version}" for package, version in packages.items()))
    for name, reason in header["absent"].items():
        print(f"{LIBRARIES[name].title} is absent: {reason}")
    sys.stdout.flush()


def show(rows: Sequence[dict[str, Any]], libraries: Sequence[str]) -> None:
    """Print the table and what belongs under it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns, cells = table(rows, libraries)
    printed = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        printed.add_column(column, justify="left" if place < 2 else "right", no_wrap=True)
    for row in cells:
        printed.add_row(*row)
    Console(width=max(200, 14 * len(columns))).print(printed)
    for line in notes(rows, libraries):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
