"""Students' files for the tests of the exercises: where the solutions lie, and judging one that was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.classroom.exercises.checking_in import Result, check_in

ROOT = Path(__file__).resolve().parent.parent
SOLUTIONS = ROOT / "docs" / "class" / "solutions"


def judged(folder: Path, name: str, text: str, seconds: float = 60.0) -> Result:
    """A file with that text, judged."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return check_in(path, seconds)


def said(result: Result) -> str:
    return "\n".join(outcome.words for outcome in result.outcomes)


def sampled(names: Any, quick: set[str]) -> list[Any]:
    """Parameters of which `make test` takes a few, and `make test-proof` the others."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.proof) for name in names]
