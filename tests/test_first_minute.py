"""What a newcomer meets first: ``python -m engine``, the notebooks, and a machine without Numba."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import bptt, refused

import engine
from engine.cli import bptt as group
from engine.cli.notebooks import installed

ROOT = Path(__file__).resolve().parent.parent

#: The usual finders, which do not find Numba: what a platform without it looks like.
WITHOUT_NUMBA = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("numba", "llvmlite")
        return None if hidden else self.finder.find_spec(name, path, target)
    def invalidate_caches(self):
        pass

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def python(*words: str, code: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python on this tree, with `words` as its arguments or with `code`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *(words or ("-c", code))]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_python_m_engine_says_what_is_here_and_what_to_do_next() -> None:
    done = python("-m", "engine")
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == f"bptt-engine {engine.__version__}"
    rows = {line.split()[0]: line for line in lines if ":" in line.partition("  ")[2].partition(" ")[0]}
    assert rows["numpy:reference"].split() == ["numpy:reference", "CPU"]
    for name, reason in engine.available_backends().items():
        if reason is not None:
            assert f"{name}:reference" in rows
            assert f"no: {reason}" in rows[f"{name}:reference"]
    next_steps = [line.split() for line in lines if line.startswith("  bptt ")]
    assert len(next_steps) >= 4
    assert {words[1] for words in next_steps} - {"--help"} <= set(group.commands)


def test_python_m_engine_with_words_is_the_command() -> None:
    assert python("-m", "engine", "--version").stdout == f"bptt, version {engine.__version__}\n"
    wrong = python("-m", "engine", "gradcheck", "--seed", "-1")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)


def test_without_numba_everything_runs_on_the_plain_kernels(tmp_path: Path) -> None:
    code = (
        WITHOUT_NUMBA
        + """
import numpy as np
import engine
from engine.cli import run

model = engine.Sequential(engine.LSTM(3, 5), engine.Linear(5, 2))
assert model.backend.spec == "numpy:reference", model.backend.spec
optimizer = engine.Adam(model, lr=0.05)
x = np.random.default_rng(0).normal(size=(7, 4, 3)).astype("float32")
target = np.cumsum(x, axis=0)[..., :2].copy()
losses = []
for _ in range(30):
    model.zero_grad()
    y, state, tape = model.forward(x)
    loss, dy = engine.mse(y, target)
    model.backward(tape, dy)
    optimizer.step()
    losses.append(float(loss))
assert losses[-1] < 0.8 * losses[0], losses
assert engine.gradcheck(model, x, method="directional").passed
assert run(["train", "--steps", "2", "--hidden", "4", "--out", "run", "--quiet"]) == 0
assert run(["backends", "--json"]) == 0
assert run(["warmup"]) == 2
assert "numba" not in sys.modules
"""
    )
    done = python(code=code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["numpy"]
    assert found["usable"]
    assert found["kernels"]["reference"] is None
    assert "numba is not installed" in found["kernels"]["numba"]
    assert done.stderr.splitlines()[-1].startswith("bptt: kernels 'numba' cannot be used here: numba is not installed")


def test_notebooks_are_copied_out_and_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [path.name for path in installed()]
    assert names == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert names[0] == "01_bptt_by_hand.ipynb"
    folder = tmp_path / "new" / "folder"
    assert bptt("notebooks", folder) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == [str(folder / name) for name in names]
    assert f"jupyter lab {folder / names[0]}" in said[-1]
    assert (folder / names[0]).read_bytes() == installed()[0].read_bytes()
    (folder / names[0]).write_text("mine", encoding="utf-8")
    (folder / names[-1]).unlink()
    assert bptt("notebooks", folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"folder": str(folder), "copied": names[-1:], "kept": names[:-1]}
    assert (folder / names[0]).read_text(encoding="utf-8") == "mine"


def test_a_place_for_notebooks_that_will_not_do_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "DIR: expected a folder" in refused(capsys, "notebooks", tmp_path / "file")
    assert "expected to write the notebooks" in refused(capsys, "notebooks", tmp_path / "file" / "below", code=1)
    monkeypatch.setattr(sys.modules["engine.cli.notebooks"], "installed", list)
    assert "install bptt-engine anew" in refused(capsys, "notebooks", tmp_path / "new", code=1)
