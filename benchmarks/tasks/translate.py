"""Cases of ``--task translate``: short English sentences to Chinese."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.tasks.case import Case
from engine.tasks.translation_scores import TranslationMemory, text_scores


def english_chinese(folder: Path, _: Path) -> dict[str, Any]:
    """English sentences with Chinese translations."""
    return {"data": str(folder / "english_chinese.tsv")}


def memory(task: Any) -> tuple[str, float]:
    """The translation of the training sentence that shares most words."""
    found = TranslationMemory([task.cut(source) for source in task.train.sources], task.train.targets)
    references = task.held_out.references()
    answers = [found.translate(task.cut(source)) for source in references]
    return "most similar sentence of training", text_scores(answers, list(references.values()))["BLEU"]


CASES = (
    Case(
        name="english-chinese",
        title="English sentences to Chinese",
        task="translate",
        options={"epochs": 4, "bleu": True},
        data=english_chinese,
        figure="BLEU",
        baseline=memory,
        torch="benchmarks.tasks.translate_torch",
        scale=1.0,
        unit="",
    ),
)
