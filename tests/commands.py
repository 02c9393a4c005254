"""Running the command line in tests: in this process, or in one that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.cli import run

ROOT = Path(__file__).resolve().parent.parent

#: A run that takes a second: plain kernels, which need no compiling, and sizes at which a step takes a millisecond.
TINY = (
    "--backend numpy:reference --cell lstm --layers 2 --hidden 6 --embed 5 --batch 4 --sequence 8 --dropout 0.2 "
    "--report-every 1 --validate-every 10 --checkpoint-every 7"
).split()


def tiny(**changed: object) -> list[str]:
    """`TINY` with other values; an option is given once."""
    pairs = dict(zip(TINY[::2], TINY[1::2], strict=True))
    pairs |= {"--" + name.replace("_", "-"): str(value) for name, value in changed.items()}
    return [word for pair in pairs.items() for word in pair]


def write_text(path: Path, characters: int = 3000) -> Path:
    """A text with something to learn and no library's words in it."""
    line = "the tide comes in and the tide goes out, and {} boats lie on the sand.\n"
    text = "".join(line.format(number) for number in range(characters // 60))
    path.write_text(text[:characters])
    return path


def write_series(path: Path, rows: int = 400, column: str = "level") -> Path:
    """A trend with a season of 12 and a little deterministic noise, as CSV."""
    import numpy as np

    t = np.arange(rows)
    values = 0.05 * t + 3 * np.sin(2 * np.pi * t / 12) + 0.3 * np.sin(1.7 * t * t)
    path.write_text(f"{column}\n" + "\n".join(map(repr, values.tolist())) + "\n")
    return path


def bptt(*args: object) -> int:
    """The exit code of a command, run in this process."""
    return run([str(arg) for arg in args])


def refused(capsys: pytest.CaptureFixture[str], *args: object, code: int = 2) -> str:
    """The one line on standard error of a command that has to fail with `code`, nothing on standard output."""
    capsys.readouterr()
    assert bptt(*args) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


def start(*args: object, code: str = "from bptt_engine.command import main; main()") -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Wait for a command that has to end with `code`; returns what it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def metrics(directory: Path) -> list[dict[str, Any]]:
    """The metrics of a run without what depends on the clock."""
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        assert set(record.pop("timing")) <= {"elapsed_s", "positions_per_s"}
    return records


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs ended with the same bytes in their checkpoints, and with the same metrics, timing apart."""
    for name in ("last.safetensors", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics(one) == metrics(other)
