"""One time step a call: the engine's stepper, PyTorch's cells and ONNX Runtime, each in a process of its own, in turns.

    python -m benchmarks.speed.steps [--cells LSTM,GRU,RNN] [--sizes 64,256] [--batch 1] [--threads 1] [--budget 2]
        [--json FILE]

Printed are, for each case, the median time of a step in microseconds and the ratio of each peer's to ours.  A case is a
stream of 20 steps of a cell with D = H, and the character model (96 characters, 64 features, LSTM of H units).
``--json`` keeps every turn's time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.compare import numbers
from benchmarks.speed.step_peers import LIBRARIES
from benchmarks.speed.store import dumps, heading
from engine.measuring import figures
from engine.measuring.rounds import TOLERANCE, WorkerError, Workers, time_case
from engine.measuring.timed_step import TIMED_CELLS, TimedStep

CELLS, CHARACTERS = "benchmarks.speed.step_peers", "benchmarks.speed.character_peers"
#: Steps of a run: one alone would be measured with the clock.
STEPS = 20


def cases_of(options: argparse.Namespace) -> list[tuple[str, TimedStep]]:
    """What is timed, with where it is described."""
    found = [
        (CELLS, TimedStep(cell, STEPS, B, H, H, training=False))
        for cell in options.cells
        for H in options.sizes
        for B in options.batch
    ]
    return [*found, *((CHARACTERS, TimedStep("LSTM", STEPS, B, 64, H, training=False)) for H in options.sizes
                      for B in options.batch if "LSTM" in options.cells)]  # fmt: skip


def microseconds(row: dict[str, Any], library: str) -> float:
    """The median time of one step."""
    return 1e6 * figures.median(row, library) / row["T"]


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    name = f"{row['model']} H={row['H']} B={row['B']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
    words = [f"{name:<38} ours {microseconds(row, 'engine'):8.2f} us"]
    for peer in row["seconds"]:
        if peer != "engine":
            apart = row["difference"][peer]
            agrees = "" if apart is not None and apart <= TOLERANCE else " (another result!)"
            title, ratio = LIBRARIES[peer].title, figures.ratio(row, peer)
            words.append(f"{title} {microseconds(row, peer):8.2f} us, x {ratio:.2f}{agrees}")
    words += [f"{LIBRARIES[name].title}: {reason}" for name, reason in row["failed"].items()]
    return "; ".join(words)


def measure(options: argparse.Namespace, document: dict[str, Any]) -> int:
    """Fill in the rows; returns how many cases the engine could not run."""
    broken = 0
    for threads in options.threads:
        for module in (CELLS, CHARACTERS):
            with Workers(("engine", *options.peers), threads, module) as workers:
                document["versions"] |= workers.versions
                document["absent"] |= workers.absent
                for where, case in cases_of(options):
                    if where != module:
                        continue
                    try:
                        row = time_case(workers, case, options.budget)
                    except WorkerError as error:
                        broken += 1
                        print(f"{case}: the engine failed: {error}", file=sys.stderr)
                        continue
                    row = {"model": case.cell if module == CELLS else "characters", **row}
                    document["rows"].append(row)
                    print(line(row), flush=True)
    return broken


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; bad ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.steps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    peers = [name for name in LIBRARIES if name != "engine"]
    parser.add_argument("--cells", type=lambda text: text.split(","), default=list(TIMED_CELLS), metavar="NAMES")
    parser.add_argument("--sizes", type=numbers, default=[64, 256], metavar="H,...")
    parser.add_argument("--batch", type=numbers, default=[1], metavar="B,...")
    parser.add_argument("--threads", type=numbers, default=[1], metavar="N,...")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=peers, metavar="NAMES")
    parser.add_argument("--budget", type=float, default=2.0, metavar="SECONDS", help="of the rounds of a case")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    for name, known, given in (("--cells", list(TIMED_CELLS), options.cells), ("--peers", peers, options.peers)):
        strange = [word for word in given if word not in known]
        if strange:
            parser.error(f"{name}: expected some of {', '.join(known)}, got {strange[0]!r}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep; returns the exit code."""
    options = parse(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    document = {**heading("benchmarks.speed.steps", given), "versions": {}, "absent": {}, "rows": []}
    print(f"$ {document['command']}\n{document['machine']['cpu']}, {document['machine']['cores']} cores")
    broken = measure(options, document)
    for name, reason in document["absent"].items():
        print(f"{LIBRARIES[name].title} is absent: {reason}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(dumps(json.loads(json.dumps(document))), encoding="utf-8")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
