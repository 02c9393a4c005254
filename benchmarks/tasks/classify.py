"""Cases of ``--task classify``: reviews to sentiment by words, surnames to language by characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.case import Case
from engine.tasks.class_answers import class_scores


def reviews(folder: Path, _: Path) -> dict[str, Any]:
    """Sentences of film reviews, with the parts that their authors made."""
    parts = folder / "movie_reviews"
    return {"data": str(parts / "train.tsv"), "validation_data": str(parts / "dev.tsv")}


def surnames(folder: Path, _: Path) -> dict[str, Any]:
    """Surnames in a file for each language; no name is in both parts."""
    return {"data": str(folder / "surnames")}


def majority(task: Any) -> tuple[str, float]:
    """The most frequent class of training as the answer to everything."""
    answers = np.full(len(task.targets), task.usual)
    return "majority", class_scores(answers, task.targets, len(task.labels))["accuracy"]


CASES = (
    Case(
        name="reviews",
        title="film reviews to sentiment, 2 classes",
        task="classify",
        options={"epochs": 3},
        data=reviews,
        figure="accuracy",
        baseline=majority,
        torch="benchmarks.tasks.classify_torch",
    ),
    Case(
        name="surnames",
        title="surnames to language, 18 classes",
        task="classify",
        options={
            "by": "characters",
            "validation": 0.1,
            "cell": "gru",
            "pool": "last",
            "epochs": 5,
            "batch": 64,
            "dropout": 0.2,
            "lr": 5e-3,
        },
        data=surnames,
        figure="accuracy",
        baseline=majority,
        torch="benchmarks.tasks.classify_torch",
    ),
)
