"""One stranger's code: read, spoilt, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.checking.report.report import Report

CODES = Path(__file__).parent / "codes"


@dataclass(frozen=True)
class Bug:
    """A line of the code that is spoilt.

    Attributes
    ----------
    right, wrong : the text, and what stands there in its place.
    names : tensors in which to look; a report that names another sends its reader astray.
    gate : the gate to look at, or nothing.
    """

    right: str
    wrong: str
    names: tuple[str, ...]
    gate: str = ""


@dataclass(frozen=True)
class Stranger:
    """A pair of functions or an object in someone's style."""

    name: str
    style: str
    code: str
    data: str
    glue: str
    bugs: tuple[Bug, ...]

    @property
    def glue_lines(self) -> int:
        """How many lines one writes to have it checked."""
        return len([line for line in self.glue.splitlines() if line.strip()])

    def check(self, bug: Bug | None = None, seed: int = 0, method: str = "central") -> Report:
        """The report on the right code, or on a spoilt one."""
        code = self.code
        if bug is not None:
            if code.count(bug.right) != 1:
                raise ValueError(f"{self.name}: {bug.right!r} stands {code.count(bug.right)} times in the code")
            code = code.replace(bug.right, bug.wrong)
        glue = _by_keyword(self.glue, method)
        space: dict[str, Any] = {"__name__": self.name, "engine": engine, "rng": np.random.default_rng([seed, 41])}
        exec(compile("\n".join((code, self.data, glue)), f"{self.name}.py", "exec"), space)
        found = space["report"]
        assert isinstance(found, Report)
        return found


def _by_keyword(glue: str, method: str) -> str:
    """The glue with a method in its last call."""
    head, _, tail = glue.rstrip().rpartition(")")
    return f'{head}, method="{method}"){tail}' if method != "central" else glue


def strangers() -> list[Stranger]:
    """All of them, by name."""
    return [read(path) for path in sorted(CODES.glob("*.py"))]


def read(path: Path) -> Stranger:
    """One file."""
    text = path.read_text(encoding="utf-8")
    code, rest = text.split("# --- data\n")
    data, rest = rest.split("# --- check\n")
    glue, rest = rest.split("# --- bugs\n")
    bugs = [_bug(line.removeprefix("#|")) for line in rest.splitlines() if line.startswith("#|")]
    return Stranger(path.stem, text.splitlines()[0].strip('"'), code, data, glue, tuple(bugs))


def _bug(line: str) -> Bug:
    change, _, place = line.rpartition(" ## ")
    right, _, wrong = change.partition(" ==>")
    names, _, gate = place.partition(" @ ")
    return Bug(right.strip(), wrong.strip(), tuple(name.strip() for name in names.split(",")), gate.strip())
