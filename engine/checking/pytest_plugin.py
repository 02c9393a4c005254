"""A pytest plugin: the fixture `gradcheck` with its two options, and `assert_gradients` for a test of any kind.

Every pytest run loads this file wherever bptt-engine is installed: what a check needs is imported by the first check.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

import pytest

if TYPE_CHECKING:
    from engine.checking.report import Report

#: Verdicts that a test may let through: those that find nothing wrong, only something that cannot be decided.
UNDECIDED = ("kink", "cannot tell")


class LayerLike(Protocol):
    """What tells a layer from a function; `engine.gradcheck` says what else a layer needs."""

    @property
    def forward(self) -> Callable[..., Any]:
        """``forward(x, state, lengths) -> (y, state, tape)``."""

    @property
    def backward(self) -> Callable[..., Any]:
        """``backward(tape, dy, dstate) -> (dx, dstate)``."""


@overload
def assert_gradients(
    layer: LayerLike, x: Any, state: Any = None, lengths: Any = None, /, *, allow: Collection[str] = (), **options: Any
) -> Report: ...
@overload
def assert_gradients(
    forward: Callable[..., tuple[Any, Any]],
    backward: Callable[[Any, Any], Any],
    inputs: Sequence[Any],
    /,
    *,
    allow: Collection[str] = (),
    **options: Any,
) -> Report: ...
def assert_gradients(subject: Any, /, *arguments: Any, allow: Collection[str] = (), **options: Any) -> Report:
    """Assert that every gradient of a layer, or of a hand-written pair of functions, is right.

    It is called in one of two ways: ``assert_gradients(layer, x, state=None, lengths=None, **options)`` or
    ``assert_gradients(forward, backward, inputs, **options)``.

    Parameters
    ----------
    layer, x, state, lengths : as for `engine.gradcheck`.
    forward, backward, inputs : as for `engine.check_gradients`.
    allow : verdicts that pass beside ``"ok"``: ``"kink"``, ``"cannot tell"``, or both.  None does by default, since a
        gradient that was not checked is not right.
    options : ``method``, ``seed``, ``tol`` and the others of the function that does the check.

    Returns
    -------
    Report
        what the check found, where it passes.

    Raises
    ------
    AssertionError
        where a gradient does not pass; the message holds the report.
    InputError, InputTypeError
        for arguments that make no check.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> x = np.random.default_rng(0).normal(size=(5, 3, 2))
    >>> assert_gradients(engine.GRU(2, 4), x, lengths=[5, 0, 3], method="adjoint").verdict
    'ok'
    >>> def forward(x, w):
    ...     return x @ w, (x, w)
    >>> def backward(dout, cache):
    ...     x, w = cache
    ...     return dout @ w.T, x.T @ dout
    >>> assert_gradients(forward, backward, [x[0], np.array([[1.0, -2.0], [0.5, 3.0]])]).verdict
    'ok'
    """
    __tracebackhide__ = True
    from engine.checking import check
    from engine.checks import describe
    from engine.errors import bad_type

    if hasattr(subject, "forward") and hasattr(subject, "backward"):
        return _assert(check.gradcheck, (subject, *arguments), allow, options)
    if not callable(subject):
        raise bad_type("layer", "a layer, or a function forward(*inputs)", describe(subject))
    return _assert(check.check_gradients, (subject, *arguments), allow, options)


class GradientChecks:
    """What the fixture `gradcheck` gives to a test: `assert_gradients` with the options of this pytest run."""

    def __init__(self, seed: int, method: str | None) -> None:
        self._seed, self._method = seed, method

    def __call__(
        self,
        layer: LayerLike,
        x: Any,
        state: Any = None,
        lengths: Any = None,
        *,
        allow: Collection[str] = (),
        **options: Any,
    ) -> Report:
        """Fail the test unless every gradient of a layer is right; arguments as for `assert_gradients`."""
        __tracebackhide__ = True
        from engine.checking import check
        from engine.layers.base import Layer

        defaults = self._defaults(forward_mode=isinstance(layer, Layer))
        return _assert(check.gradcheck, (layer, x, state, lengths), allow, defaults | options)

    def functions(
        self,
        forward: Callable[..., tuple[Any, Any]],
        backward: Callable[[Any, Any], Any],
        inputs: Sequence[Any],
        *,
        allow: Collection[str] = (),
        **options: Any,
    ) -> Report:
        """Fail the test unless a hand-written pair of functions is right; arguments as for `assert_gradients`."""
        __tracebackhide__ = True
        from engine.checking import check

        defaults = self._defaults(forward_mode=False)
        return _assert(check.check_gradients, (forward, backward, inputs), allow, defaults | options)

    def _defaults(self, forward_mode: bool) -> dict[str, Any]:
        from engine.checking.check import FORWARD_MODE

        asked = self._method is not None and (forward_mode or self._method not in FORWARD_MODE)
        return {"seed": self._seed} | ({"method": self._method} if asked else {})


def _assert(
    check: Callable[..., Report], arguments: tuple[Any, ...], allow: Collection[str], options: dict[str, Any]
) -> Report:
    __tracebackhide__ = True
    from engine.checks import describe
    from engine.errors import bad_input, bad_type

    expected = f"some of the verdicts {', '.join(map(repr, UNDECIDED))}"
    if isinstance(allow, str) or not isinstance(allow, Collection):
        raise bad_type("allow", expected, describe(allow), 'write allow=("cannot tell",)')
    for verdict in allow:
        if verdict not in UNDECIDED:
            raise bad_input("allow", expected, describe(verdict), "what is found to be wrong never passes")
    signature = inspect.signature(check)
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise bad_type("arguments", f"those of {check.__name__}({names})", f"{error}") from None
    if "backward" in bound.arguments and not callable(bound.arguments["backward"]):
        raise bad_type("backward", "a function backward(dout, cache)", describe(bound.arguments["backward"]))
    report = check(*bound.args, **bound.kwargs)
    # the report's own verdict is the gravest of its rows', and would hide a lesser one that is not allowed
    if {report.verdict, *(row.verdict for row in report.rows)} <= {"ok", *allow}:
        return report
    headline = f"gradient check: {report.verdict}"
    if report.verdict == "wrong":
        worst = report.worst
        headline += f": {worst.name}" + (f", gate {worst.gate}" if worst.gate else "")
    raise AssertionError(f"{headline}\n{report}")


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
