"""The pytest plugin: in folders of its own, as a user would run it; and `assert_gradients` by itself."""

from __future__ import annotations

import configparser
import doctest
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import build, random_arguments
from refusals import refused

import engine
from bptt_engine.pytest_plugin import GradientChecks
from engine.checking import assertions
from engine.checking.assertions import assert_gradients

ROOT = Path(__file__).resolve().parent.parent

HEAD = """
import numpy as np
import engine

X = np.random.default_rng(0).normal(size=(4, 3, 2))

class WrongForgetGate(engine.LSTM):
    def backward(self, tape, dy=None, dstate=None):
        gate = self.grads["weight_hh_l0"][3:6]
        before = gate.copy()
        found = super().backward(tape, dy, dstate)
        gate += 0.01 * (gate - before)
        return found

def forward(x, w):
    return np.tanh(x @ w), (x, w)

def backward(dout, cache, factor=1.0):
    x, w = cache
    da = factor * dout * (1 - np.tanh(x @ w) ** 2)
    return da @ w.T, x.T @ da

INPUTS = [X[0], X[1].T]
"""


#: hypothesis and its plugin are a good part of what a small pytest run takes.
QUICK = ("-p", "no:hypothesispytest")


def run_pytest(folder: Path, test: str, *options: str, console: bool = False) -> subprocess.CompletedProcess[str]:
    """Run pytest on a folder, with the plugins that are installed; `test` is a further file in it.

    The metadata that an installation would write is made here: the one of this environment may be older.

    Parameters
    ----------
    console : as the command ``pytest``, which does not put the working directory on the import path.
    """
    if test:
        (folder / "test_it.py").write_text(HEAD + test, encoding="utf-8")
    site = folder / "site"
    metadata = site / "bptt_engine-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bptt-engine\nVersion: 0.1.0\n", encoding="utf-8")
    name, value = entry_point()
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{name} = {value}\n", encoding="utf-8")
    # What an installation puts on the path comes behind the standard library.
    place = "next(at for at, path in enumerate(sys.path) if 'site-packages' in path)"
    (site / "sitecustomize.py").write_text(f"import sys; sys.path.insert({place}, {str(ROOT)!r})\n", encoding="utf-8")
    start = "import pytest, sys; sys.path.remove(''); sys.exit(pytest.main())"
    command = [
        sys.executable,
        *(["-c", start] if console else ["-m", "pytest"]),
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"COLUMNS": "120", "PYTHONPATH": str(site)}
    return subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def entry_point() -> tuple[str, str]:
    """Name and value of the plugin's entry point."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    name, value = config["options.entry_points"]["pytest11"].strip().split(" = ")
    return name, value


def test_setup_cfg_names_the_plugin() -> None:
    name, value = entry_point()
    assert name == "bptt_engine"
    assert hasattr(importlib.metadata.EntryPoint(name, value, "pytest11").load(), "pytest_addoption")


# -- beside a project's own packages -----------------------------------------------------------------------------------

OWN_TESTS = """
import sys
import numpy as np
import engine

def forward(x):
    from engine import SPEED# found while a check runs, too
    return SPEED * x, None

def test_own():
    assert engine.SPEED == 88

def test_ours_is_not_there():
    assert not [name for name in sys.modules if name.startswith("engine.")]
    assert getattr(sys.modules.get("kernels"), "DISTRIBUTION", "") != "bptt-engine"
"""
OWN_CHECKS = """
class Scale:
    def __init__(self):
        self.params, self.grads = {"w": np.array([0.5, -2.0])}, {"w": np.zeros(2)}

    def forward(self, x, state=None, lengths=None):
        return x * self.params["w"], None, x

    def backward(self, tape, dy=None, dstate=None):
        self.grads["w"] += (tape * dy).sum(axis=(0, 1))
        return dy * self.params["w"], None

def test_functions(gradcheck):
    gradcheck.functions(forward, lambda dout, _: engine.SPEED * dout, [np.array([0.5, -3.0])])

def test_wrong_functions(gradcheck):
    gradcheck.functions(forward, lambda dout, _: dout, [np.array([0.5, -3.0])])

def test_layer(gradcheck):
    gradcheck(Scale(), np.random.default_rng(0).normal(size=(4, 3, 2)))

test_again_own, test_again_not_there = test_own, test_ours_is_not_there
"""


@pytest.mark.parametrize(
    ("own", "console", "asked"),
    [
        ("engine/__init__.py", False, False),
        ("engine.py", True, True),
        ("kernels", False, True),
    ],
)
def test_a_project_keeps_its_own_engine_and_kernels(tmp_path: Path, own: str, console: bool, asked: bool) -> None:
    (tmp_path / "conftest.py").touch()
    if own == "kernels":  # both, and tests in a folder of their own
        (tmp_path / "kernels").mkdir()
        (tmp_path / "kernels" / "__init__.py").write_text("from kernels.fast import SPEED\n", encoding="utf-8")
        (tmp_path / "kernels" / "fast.py").write_text("SPEED = 88\n", encoding="utf-8")
        (tmp_path / "engine.py").write_text("from kernels import SPEED\n", encoding="utf-8")
    else:
        (tmp_path / own).parent.mkdir(exist_ok=True)
        (tmp_path / own).write_text("SPEED = 88\n", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_own.py").write_text(OWN_TESTS + OWN_CHECKS * asked, encoding="utf-8")
    options = ("-n", "1") if own == "kernels" else ()
    done = run_pytest(tmp_path, "", *QUICK, *options, "tests", console=console)
    assert done.returncode == asked, done.stdout + done.stderr
    assert ("1 failed, 6 passed" if asked else "2 passed") in done.stdout, done.stdout
    if asked:
        assert "FAILED tests/test_own.py::test_wrong_functions - AssertionError: gradient check: wrong:" in done.stdout


def test_loading_the_plugin_brings_in_nothing(tmp_path: Path) -> None:
    test = """
import sys

def test_nothing():
    names = {name.partition(".")[0] for name in sys.modules}
    assert not names & {"engine", "kernels", "numpy", "numba", "hypothesis.extra"}
"""
    (tmp_path / "test_nothing.py").write_text(test, encoding="utf-8")
    done = run_pytest(tmp_path, "", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr


# -- what the fixture does ---------------------------------------------------------------------------------------------


def test_a_check_that_passes_and_one_that_does_not(tmp_path: Path) -> None:
    test = """
from hypothesis import given, settings, strategies as st

def test_right_layer(gradcheck):
    assert gradcheck(engine.LSTM(2, 3, backend="numpy:reference"), X, lengths=[4, 0, 2]).passed

def test_wrong_layer(gradcheck):
    gradcheck(WrongForgetGate(2, 3, backend="numpy:reference"), X)

def test_right_functions(gradcheck):
    assert len(gradcheck.functions(forward, backward, INPUTS).rows) == 2

def test_wrong_functions(gradcheck):
    gradcheck.functions(forward, lambda dout, cache: backward(dout, cache, 2.0), INPUTS)

@settings(max_examples=3, deadline=None, database=None)
@given(seed=st.integers(0, 9))
def test_many_seeds(gradcheck, seed):
    gradcheck.functions(forward, backward, INPUTS, seed=seed)
"""
    done = run_pytest(tmp_path, test)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 3 passed" in done.stdout
    failed = "FAILED test_it.py::test_wrong_layer - AssertionError: gradient check: wrong: weight_hh_l0, gate f"
    assert failed in done.stdout
    # the report is there whole, and the frame shown is the test's own
    table = [line for line in done.stdout.splitlines() if line.startswith("E   ")]
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "h0", "c0", "x", "w"):
        assert any(name in line for line in table), (name, done.stdout)
    assert "test_it.py:3" in done.stdout
    assert "pytest_plugin.py" not in done.stdout
    assert "gradcheck: " not in done.stdout  # nothing was asked for, so nothing has to be given again


def test_the_options_reach_every_check_that_does_not_choose_for_itself(tmp_path: Path) -> None:
    test = """
from engine import assert_gradients

def test_layer(gradcheck):
    layer = engine.GRU(2, 3, backend="numpy:reference")
    found = str(gradcheck(layer, X))
    assert found == str(assert_gradients(layer, X, seed=3, method="adjoint"))
    assert found != str(assert_gradients(layer, X, seed=0, method="adjoint"))
    assert str(gradcheck(layer, X, seed=0, method="taylor")) == str(assert_gradients(layer, X, method="taylor"))

class Own:  # a layer of one's own has no forward mode
    def __init__(self):
        self.params, self.grads = {"w": np.array([0.5, -2.0])}, {"w": np.zeros(2)}

    def forward(self, x, state=None, lengths=None):
        return x * self.params["w"], None, x

    def backward(self, tape, dy=None, dstate=None):
        self.grads["w"] += (tape * dy).sum(axis=(0, 1))
        return dy * self.params["w"], None

def test_own_layer(gradcheck):
    assert str(gradcheck(Own(), X)) == str(assert_gradients(Own(), X, seed=3))

def test_functions(gradcheck):
    found = str(gradcheck.functions(forward, backward, INPUTS))
    assert found == str(assert_gradients(forward, backward, INPUTS, seed=3))
"""
    done = run_pytest(tmp_path, test, *QUICK, "--gradcheck-seed=3", "--gradcheck-method", "adjoint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gradcheck: seed 3, method adjoint\n" in done.stdout


def test_a_bad_seed_is_refused_before_any_test_runs(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "", *QUICK, "--gradcheck-seed=-1")
    assert done.returncode == 4
    assert "--gradcheck-seed: expected an integer >= 0, got '-1'" in done.stderr


# -- assert_gradients --------------------------------------------------------------------------------------------------


def square(x: Any) -> tuple[Any, Any]:
    return x**2, x


def square_backward(dout: Any, x: Any) -> Any:
    return 2 * x * dout


def test_the_examples_in_the_docstring_run() -> None:
    found = doctest.testmod(assertions)
    assert found.failed == 0
    assert found.attempted >= 6


def test_it_returns_the_report_that_passes() -> None:
    layer = build("lstm", 2, 3)
    x, state, _, _ = random_arguments(layer, 4, 2)
    report = assert_gradients(layer, x, state, [4, 2], method="adjoint")
    assert report.passed
    assert str(report) == str(engine.gradcheck(layer, x, state, [4, 2], method="adjoint"))
    assert assert_gradients(square, square_backward, [x]).verdict == "ok"


def test_it_raises_with_the_report_that_does_not() -> None:
    def halved(dout: Any, x: Any) -> Any:
        return x * dout

    inputs = [np.array([1.0, 2.0])]
    with pytest.raises(AssertionError) as caught:
        assert_gradients(square, halved, inputs)
    headline, _, table = str(caught.value).partition("\n")
    assert headline == "gradient check: wrong: x"
    assert table == str(engine.check_gradients(square, halved, inputs))


def real_part_only(x: Any) -> tuple[Any, Any]:
    buffer = np.empty(x.shape)
    buffer[...] = np.real(x)
    return buffer**2, buffer


def test_undecided_passes_only_where_it_is_allowed() -> None:
    arguments = (real_part_only, square_backward, [np.ones(3)])
    for allow in ((), ("kink",)):
        with pytest.raises(AssertionError, match="gradient check: cannot tell\n"):
            assert_gradients(*arguments, method="complex", allow=allow)
    report = assert_gradients(*arguments, method="complex", allow=("cannot tell",))
    assert report.verdict == "cannot tell"
    gradcheck = GradientChecks(seed=0, method="complex")
    assert gradcheck.functions(*arguments, allow={"cannot tell"}).verdict == "cannot tell"


def test_what_is_allowed_does_not_hide_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SimpleNamespace(verdict=verdict) for verdict in ("ok", "kink", "cannot tell")]
    report: Any = SimpleNamespace(verdict="kink", rows=rows, worst=None)
    monkeypatch.setattr("engine.checking.check.check_gradients", lambda forward, backward, inputs: report)
    with pytest.raises(AssertionError):
        assert_gradients(square, square_backward, [], allow=["kink"])
    assert assert_gradients(square, square_backward, [], allow=["kink", "cannot tell"]) is report


def test_bad_arguments_are_named() -> None:
    x: Any = np.ones((4, 3, 2))
    layer, check = engine.GRU(2, 3), GradientChecks(seed=0, method=None)
    expected = "allow: expected some of the verdicts 'kink', 'cannot tell', got"
    with refused(engine.InputTypeError, f"{expected} 'kink'", "write allow=("):
        assert_gradients(square, square_backward, [x], allow="kink")
    with refused(engine.InputError, f"{expected} 'wrong'", "never passes"):
        assert_gradients(square, square_backward, [x], allow=["wrong"])
    with refused(engine.InputTypeError, "layer: expected a layer, or a function forward(*inputs), got a "):
        assert_gradients(x, x)
    with refused(
        engine.InputTypeError, "arguments: expected those of check_gradients(forward, backward, inputs", "'inputs'"
    ):
        assert_gradients(square, [x])
    with refused(engine.InputTypeError, "arguments: expected those of gradcheck(layer, x", "'metod'"):
        check(layer, x, metod="central")
    with refused(engine.InputTypeError, "backward: expected a function backward(dout, cache), got a list"):
        assert_gradients(square, [x], square_backward)  # type: ignore[call-overload]
    with refused(engine.InputTypeError, "arguments: expected those of check_gradients(forward, backward, inputs"):
        check(square, x)
    with refused(engine.InputError, "method: expected one of", "got 'magic'"):
        GradientChecks(seed=0, method="magic")(layer, x)
