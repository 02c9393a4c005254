"""``python -m benchmarks.pretrain NAME``: train a model that comes with the package, and write its file.

``characters`` reads Python's manual; ``reviews`` reads the Stanford Sentiment Treebank in two classes, from the folder
in the variable ``BPTT_TEST_DATA``.  A run from which the file is to be made can be named in place of training anew.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import engine.pretrained
from engine.training import checkpoint_in, read_checkpoint, run_training, write_checkpoint


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; `data` is its file below the folder of real data."""

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    data: str | None = None


RECIPES = {
    "characters": Recipe(
        "language",
        {
            "cell": "gru",
            "hidden": 224,
            "embed": 48,
            "dropout": 0.3,
            "sequence": 96,
            "steps": 1500,
            "lr": 0.004,
            "validate_every": 250,
        },
    ),
    "reviews": Recipe("classify", {"vocabulary": 3000, "embed": 32, "hidden": 32}, "movie_reviews/train.tsv"),
}


def trained(recipe: Recipe, run: Path) -> Path:
    """Train in the folder `run`."""
    options = dict(recipe.options)
    if recipe.data is not None:
        options["data"] = str(Path(os.environ["BPTT_TEST_DATA"]) / recipe.data)
    run_training(run, task=recipe.task, **options)
    return run


def main(arguments: list[str] | None = None) -> None:
    """Train, and write the file without the name of the machine's folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pretrain", description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run that was trained so before")
    given = parser.parse_args(arguments)
    recipe = RECIPES[given.name]
    with tempfile.TemporaryDirectory() as scratch:
        run = given.run or trained(recipe, Path(scratch) / given.name)
        best = read_checkpoint(checkpoint_in(run))
    stored = best.meta["config"]
    for name, value in recipe.options.items():
        assert {**stored, **stored.get("own", {})}[name] == value, f"{name} of the run is not that of the recipe"
    meta = {**best.meta, "config": {**stored, "data": recipe.data}}
    target = Path(engine.pretrained.__file__).parent / f"{given.name}.safetensors"
    write_checkpoint(target, best.arrays, meta)
    print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
