"""A pytest plugin: the fixture `gradcheck` with its two options.

Every pytest run loads this file wherever bptt-engine is installed, so it imports nothing of ours: the first check does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from bptt_engine import ours

if TYPE_CHECKING:
    from engine.checking.report.report import Report


class GradientChecks:
    """What the fixture `gradcheck` gives to a test: `engine.assert_gradients` with the options of this pytest run."""

    def __init__(self, seed: int, method: str | None) -> None:
        self._seed, self._method = seed, method

    def __call__(self, subject: Any, /, *arguments: Any, allow: Collection[str] = (), **options: Any) -> Report:
        """Fail the test unless every gradient is right; arguments as for `engine.assert_gradients`."""
        __tracebackhide__ = True
        if callable(subject) and arguments and callable(arguments[0]):
            return self.functions(subject, *arguments, allow=allow, **options)
        with ours.at_hand():
            from engine.checking import assertions
            from engine.layers.base import Layer

            chosen = assertions.check_for(subject, arguments)
            options = self._defaults(forward_mode=isinstance(subject, Layer)) | options
            return assertions.assert_passes(chosen, (subject, *arguments), allow, options)

    def functions(
        self,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[[Any, Any], Any],
        inputs: Sequence[Any],
        *,
        allow: Collection[str] = (),
        **options: Any,
    ) -> Report:
        """Fail the test unless a pair of functions is right; arguments as for `engine.assert_gradients`."""
        __tracebackhide__ = True
        pair = [ours.as_theirs(function) if callable(function) else function for function in (forward, backward)]
        with ours.at_hand():
            from engine.checking import assertions, check

            options = self._defaults(forward_mode=False) | options
            return assertions.assert_passes(check.check_gradients, (*pair, inputs), allow, options)

    def _defaults(self, forward_mode: bool) -> dict[str, Any]:
        from engine.checking.options import FORWARD_MODE

        asked = self._method is not None and (forward_mode or self._method not in FORWARD_MODE)
        return {"seed": self._seed} | ({"method": self._method} if asked else {})


# -- what pytest calls -------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the fixture `gradcheck`."""
    group = parser.getgroup("bptt-engine", "gradient checks (bptt-engine)")
    group.addoption(
        "--gradcheck-seed",
        type=_seed,
        default=0,
        metavar="N",
        help="seed of the random weights and directions of every check that names none (default: 0)",
    )
    group.addoption(
        "--gradcheck-method",
        metavar="METHOD",
        help="method of every check that names none, such as 'adjoint', in place of the usual one; where METHOD needs "
        "forward mode, which only engine's own layers have, functions and other layers keep the usual one",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what has to be given again to get the same checks."""
    given = [f"{name} {config.getoption(f'gradcheck_{name}')}" for name in ("seed", "method")]
    given = [words for words in given if words not in ("seed 0", "method None")]
    return f"gradcheck: {', '.join(given)}" if given else None


# For the whole run: hypothesis objects to a fixture that is made anew for each test but not for each example.
@pytest.fixture(scope="session")
def gradcheck(pytestconfig: pytest.Config) -> GradientChecks:
    """Fail the test, with a report, unless all gradients are right.

    ``gradcheck(layer, x, state=None, lengths=None, **options)`` checks a layer, and
    ``gradcheck.functions(forward, backward, inputs, **options)`` a pair of functions.
    """
    return GradientChecks(pytestconfig.getoption("gradcheck_seed"), pytestconfig.getoption("gradcheck_method"))


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected an integer >= 0, got {text!r}")
    return int(text)
