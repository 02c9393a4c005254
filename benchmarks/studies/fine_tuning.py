"""``python -m benchmarks.studies.fine_tuning``: a tenth of the steps, from a trained model.

The text is the documentation of NumPy's functions, as the installed package has it.  One character model learns it from
first weights; another one of the same size starts from the model of Python's manual that comes with the package
(``--from characters``) and makes a tenth of the steps.  Both are validated on the same last tenth of the text.
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.measuring.machine import machine
from engine.training import read_checkpoint, run_training

STEPS, MOST = 300, 60_000
RESULTS = Path(__file__).resolve().parents[1] / "results" / "studies" / "fine_tuning.json"


def documentation() -> str:
    """The texts of NumPy's functions and classes, one after the other by name; each once."""
    texts = (inspect.getdoc(getattr(np, name)) for name in sorted(dir(np)) if not name.startswith("_"))
    return "\n\n".join(dict.fromkeys(text for text in texts if text))[:MOST] + "\n"


def measured(text: str, folder: Path, steps: int, **options: Any) -> dict[str, Any]:
    """Bits per character on the validation part after so many steps, and the seconds of training."""
    file = folder / "numpy.txt"
    file.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    run = folder / f"run{steps}{'from' if 'from_run' in options else ''}"
    result = run_training(
        run, files=(str(file),), steps=steps, validate_every=max(1, steps // 10), quiet=True, **options
    )
    return {"steps": steps, "bpc": result["validation"]["bpc"], "seconds": round(time.perf_counter() - began, 1)}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.fine_tuning", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"from first weights [{STEPS}]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures in this file")
    given = parser.parse_args(arguments)
    engine.set_num_threads(1)
    text = documentation()
    start = engine.pretrained.pretrained_file("characters")
    assert start is not None
    stored = read_checkpoint(start).meta["config"]
    size = {name: stored[name] for name in ("cell", "hidden", "embed", "layers", "dropout", "batch", "sequence")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scratch = measured(text, folder, given.steps, lr=0.004, **size)
        tuned = measured(text, folder, given.steps // 10, lr=0.004, from_run="characters", batch=size["batch"])
    found = {
        "command": "python -m benchmarks.studies.fine_tuning",
        "machine": machine(),
        "characters": len(text),
        "from first weights": scratch,
        "from the trained model": tuned,
    }
    print(json.dumps(found, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
