"""Public docstrings: in NumPy's form, each public name in the reference, each with an example that runs."""

from __future__ import annotations

import doctest
import importlib.util
import io
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import engine

ROOT = Path(__file__).resolve().parent.parent


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_docstrings", ROOT / "docs" / "check_docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = loaded()


def test_every_public_name_stands_in_the_reference_once() -> None:
    names = checker.names()
    assert len(names) == len(set(names))
    missing = {f"engine.{name}" for name in engine.__all__} - set(names)
    assert missing == set(), "a public name: give it a line in docs/reference.rst"


def test_public_docstrings_have_numpys_form() -> None:
    with redirect_stdout(io.StringIO()) as printed:
        code = checker.main()
    assert code == 0, printed.getvalue()


def good(x: Any) -> None:
    """Do a thing.

    Parameters
    ----------
    x : int
        What is done.
    """


def bad(x: Any, y: Any) -> None:
    """Do a thing.

    Parameters
    ----------
    x : what is done.
    """


class Result:
    """What came.

    Attributes
    ----------
    loss : the loss of it.
    """


def test_the_check_finds_prose_in_the_place_of_a_type() -> None:
    rules = {"PR01", "PR05", "PR07"}
    assert checker.faults(f"{__name__}.good", rules, of_a_class=False) == []
    found = [fault.split()[1] for fault in checker.faults(f"{__name__}.bad", rules, of_a_class=False)]
    assert sorted(found) == ["PR01", "PR05", "PR07"]
    assert checker.faults(f"{__name__}.Result", rules, of_a_class=False)


@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize("name", engine.__all__)
def test_the_example_of_a_public_name_runs(name: str) -> None:
    value = getattr(engine, name)
    tests = doctest.DocTestFinder(recurse=False).find(value, name, module=False, globs={name: value})
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    with redirect_stdout(io.StringIO()) as printed:
        for test in tests:
            runner.run(test)
    assert runner.failures == 0, printed.getvalue()
    assert runner.tries > 0
