"""Proof with a GPU: is everything right there, and how fast is it beside cuDNN?

    python -m benchmarks.gpucheck --out DIR [--minutes 10]

Checked are every cell, direction and dtype in odd shapes against float64 NumPy, on each path of the kernels; the
gradient check on the device; 200 repeats for the same bits; PyTorch's CUDA layers beside ours.  Timed are training
steps and forward passes by CUDA events, ours and PyTorch's, as far as the time reaches.  DIR gets gpucheck.json and
gpucheck.md, which grow while it runs.  It ends after the minutes that it was given, whatever happens.

Exit code 0 if all that was checked is right; 1 if something is wrong, hangs, or there is no GPU, with the reason; 2 for
bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from benchmarks.gpucheck import result_page, sections
from benchmarks.gpucheck.clock import Budget, Watchdog
from benchmarks.gpucheck.correctness import first_line
from benchmarks.speed.store import heading

#: Kept back from the minutes given, for writing and for a last case that takes longer than it should.
MARGIN = 20.0
#: Seconds without a row after which something hangs; compiling all kernels of a dtype comes first and is slow.
PATIENCE = 120.0


def main(arguments: Sequence[str] | None = None, size: dict[str, Any] | None = None) -> int:
    """Check, write, and return the exit code; `size` as in `sections.run`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpucheck",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results are written")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="in all; 10 by default, more than 1")
    options = parser.parse_args(arguments)
    if not 1 < options.minutes < float("inf"):
        parser.error("--minutes: expected a number above 1")
    given = sys.argv[1:] if arguments is None else arguments
    document = heading("benchmarks.gpucheck", given)

    def save() -> None:
        result_page.write(options.out, document)

    reason = engine.available_backends()["cupy"]
    if reason is not None:
        document["reason"] = reason
        save()
        print(f"gpucheck: {result_page.verdict(document)}", file=sys.stderr)
        return 1

    def last_words(what: str) -> None:
        document["ended"] = f"nothing for {PATIENCE:g} s during {what[:300]}"
        save()
        print(f"gpucheck: {result_page.verdict(document)}", file=sys.stderr, flush=True)

    watchdog = Watchdog(min(PATIENCE, 20.0 * options.minutes), last_words)
    try:
        document["device"], document["versions"] = sections.device_facts()
        sections.run(document, Budget(60.0 * options.minutes - MARGIN), watchdog.tell, save, size)
    except KeyboardInterrupt:
        document["ended"] = "interrupted"
    except Exception as error:  # whatever a device raises between two rows: what is there is written all the same
        document["ended"] = first_line(error)
    finally:
        watchdog.stop()
        save()
    print(result_page.page(document))
    return 0 if result_page.passed(document) else 1


if __name__ == "__main__":
    sys.exit(main())
