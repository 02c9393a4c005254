"""``python -m benchmarks.studies.articles [CLAIM ...]``: measure claims of articles, print the figures, keep them.

Without a name all claims are measured, one after the other; on a core of its own it takes about a quarter of an hour.
``--json FILE`` adds the figures to a file, a claim as soon as it is measured; the page `docs/articles_measured.md`
shows those of ``benchmarks/results/studies/articles.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import engine
from benchmarks.studies.articles.claims import CLAIMS, PLAIN, Claim
from benchmarks.studies.articles.common import Figure
from engine.measuring.machine import machine


def shown(figure: Figure) -> str:
    """A figure in three digits; of several runs the median, and the lowest and highest in brackets."""
    if isinstance(figure, dict):
        return f"{figure['median']:.3g}  ({figure['low']:.3g} to {figure['high']:.3g})"
    return f"{figure:.6g}" if float(figure).is_integer() else f"{figure:.3g}"


def record(name: str, claim: Claim, tiny: bool) -> dict[str, Any]:
    """Measure a claim; return what the file keeps of it."""
    start = time.perf_counter()
    given = {**PLAIN, **claim.tiny} if tiny else {}
    figures = claim.measure(**given)
    return {
        "command": f"python -m benchmarks.studies.articles {name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "seconds": round(time.perf_counter() - start, 1),
        "setting": {**claim.setting, **given},
        "figures": figures,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.articles", description="Measure claims.")
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"of: {', '.join(CLAIMS)} [all]")
    parser.add_argument("--tiny", action="store_true", help="sizes that take a second, whose figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the figures to this file")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.claims if name not in CLAIMS]
    if unknown:
        parser.error(f"no claim is called {unknown[0]!r}; there are {', '.join(CLAIMS)}")
    engine.set_num_threads(1)
    for name in options.claims or CLAIMS:
        found = record(name, CLAIMS[name], options.tiny)
        print(f"{name}: {CLAIMS[name].says}\n  {CLAIMS[name].verdict}; {found['seconds']} s")
        for label, figure in found["figures"].items():
            print(f"  {label:<60} {shown(figure)}", flush=True)
        if options.json:
            kept = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
            kept[name] = found
            text = json.dumps({name: kept[name] for name in CLAIMS if name in kept}, indent=1)
            options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
