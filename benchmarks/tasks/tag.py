"""Cases of ``--task tag``: words to parts of speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.tasks.case import Case


def parts_of_speech(folder: Path, _: Path) -> dict[str, Any]:
    """English sentences with universal parts of speech."""
    return {"data": str(folder / "english_pos_tags.tsv")}


def most_frequent(task: Any) -> tuple[str, float]:
    """The most frequent tag of each word in training, for new words that of all."""
    pairs = zip(task.held_out.words, task.held_out.tags, strict=True)
    right = [a == b for words, tags in pairs for a, b in zip(task.baseline.predict(words), tags, strict=True)]
    return "most frequent tag of the word", sum(right) / len(right)


#: The published figures were measured with buckets of this width, which was the default then.
CASES = (
    Case(
        name="tags",
        title="English words to parts of speech, 17 tags",
        task="tag",
        options={"epochs": 8, "buckets": 4},
        data=parts_of_speech,
        figure="accuracy",
        baseline=most_frequent,
        torch="benchmarks.tasks.tag_torch",
    ),
    Case(
        name="tags-crf",
        title="English words to parts of speech by a conditional random field, 17 tags",
        task="tag",
        options={"epochs": 8, "buckets": 4, "crf": True},
        data=parts_of_speech,
        figure="accuracy",
        baseline=most_frequent,
        torch="benchmarks.tasks.tag_torch",
    ),
)
