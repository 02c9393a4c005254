"""Measure tables of papers, print and keep them.

    python -m benchmarks.studies.papers NAME... [--tiny] [--keep]
    python -m benchmarks.studies.papers --page

NAME is one of the tables; without one they are listed.  ``--keep`` writes each result to
benchmarks/results/studies/papers/NAME.json; ``--page`` writes docs/paper_tables.md from these files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from typing import Any

import engine
from benchmarks.studies.papers.page import RESULTS, rows_of, write_page
from benchmarks.studies.papers.tables import PLAIN, TABLES
from engine.measuring.machine import machine


def record(name: str, tiny: bool) -> dict[str, Any]:
    """Measure a table; return what its file keeps."""
    table, start = TABLES[name], time.process_time()
    given = {**PLAIN, **table.tiny} if tiny else {}
    rows = table.measure(**given)
    return {
        "command": f"python -m benchmarks.studies.papers {name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "seconds": round(time.process_time() - start, 1),
        "setting": {**table.setting, **given},
        "rows": rows,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, keep; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.papers", description="Measure tables of papers."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(TABLES)}")
    parser.add_argument("--tiny", action="store_true", help="sizes that take a second, whose figures mean nothing")
    parser.add_argument("--keep", action="store_true", help="write the result to benchmarks/results/studies/papers/")
    parser.add_argument("--page", action="store_true", help="write docs/paper_tables.md from the results that are kept")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in TABLES]
    if unknown:
        parser.error(f"no table is called {unknown[0]!r}; there are {', '.join(TABLES)}")
    if not options.names and not options.page:
        print("\n".join(f"{name:14} {table.title}" for name, table in TABLES.items()))
    engine.set_num_threads(1)
    for name in options.names:
        found = record(name, options.tiny)
        lines = rows_of(TABLES[name], found)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        print(f"{TABLES[name].title}: {TABLES[name].task}")
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)
        if options.keep:
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.page:
        write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
