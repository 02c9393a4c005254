"""`bptt warmup` compiles what a first training step would otherwise wait for, and says what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import JIT_OFF

MAIN = "from engine.cli import main; main()"
STEP = """
import numpy as np, engine
layer = engine.RNN(5, 7, 2, bidirectional=True)
x = np.ones((3, 2, 5), np.float32)
y, _, tape = layer.forward(x, lengths=[3, 1])
layer.backward(tape, y)
layer.predict(x)
"""


def run(*command: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.skipif(JIT_OFF, reason="nothing is compiled (NUMBA_DISABLE_JIT)")
def test_warmup_leaves_nothing_to_compile(tmp_path: Path) -> None:
    warmup = ("-c", MAIN, "warmup", "--cell", "rnn_tanh", "--dtype", "float32", "--json")
    first = run(*warmup, cache=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("compiling") == first.stderr.count("compiling the kernels for float32, about ") == 1
    report = json.loads(first.stdout)
    assert report["compiled"] == 1
    assert report["kernels"][0]["cell"] == "rnn_tanh"

    again = run(*warmup, cache=tmp_path)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["compiled"] == 0
    assert "compiling" not in again.stderr

    step = run("-c", STEP, cache=tmp_path)  # lengths, layers and directions have the same types
    assert step.returncode == 0, step.stderr
    assert "compiling" not in step.stderr

    for n, path in enumerate(sorted(tmp_path.rglob("*.nbc"))):  # one bit of each, somewhere else in every file
        content = bytearray(path.read_bytes())
        content[len(content) * (n + 1) // 40] ^= 1 << n % 8
        path.write_bytes(content)
    mended = run("-c", STEP, cache=tmp_path)
    assert mended.returncode == 0, mended.stderr
    assert mended.stderr.count("compiling") == mended.stderr.count("compiling the kernels for float32, about ") == 1


def test_a_cell_that_does_not_exist_is_bad_usage(tmp_path: Path) -> None:
    found = run("-c", MAIN, "warmup", "--cell", "perceptron", cache=tmp_path)
    assert found.returncode == 2
    assert "perceptron" in found.stderr
    assert "Traceback" not in found.stderr
