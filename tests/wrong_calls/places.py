"""The files that the calls read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.training import run_training
from wrong_calls.calls import Place
from wrong_calls.catalogue.data import TEXT, series_values


def prepare(folder: Path, spec: str) -> Place:
    """Write a text, a series and a small trained run into the folder."""
    (folder / "scratch").mkdir(parents=True)
    (folder / "text.txt").write_text(TEXT)
    values = series_values()
    rows = [f"{a!r},{b!r}" for a, b in values.tolist()]
    (folder / "series.csv").write_text("\n".join(["level,other", *rows]) + "\n")
    np.save(folder / "series.npy", values)
    sizes: dict[str, Any] = {
        "hidden": 5,
        "embed": 4,
        "batch": 3,
        "sequence": 6,
        "steps": 2,
        "validation": 0.2,
        "seed": 1,
    }
    run_training(
        folder / "trained",
        quiet=True,
        files=(str(folder / "text.txt"),),
        backend="numpy:reference",
        cell="gru",
        **sizes,
    )
    return Place(spec, folder)
