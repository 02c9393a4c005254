"""`assert_gradients`: a gradient check as an assertion, for a test of any kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, overload

from engine.checking import check
from engine.checking.objects import check_object
from engine.checking.report.report import Report
from engine.checking.subjects.shapes.loss_methods import LOSSES
from engine.checks import describe
from engine.errors import bad_input, bad_type

#: Verdicts that a test may allow: they find nothing wrong, only something that cannot be decided.
UNDECIDED = ("kink", "cannot tell")


class LayerLike(Protocol):
    """The methods that distinguish a layer from a function; `engine.gradcheck` says what else a layer needs."""

    @property
    def forward(self) -> Callable[..., Any]:
        """``forward(x, state, lengths) -> (y, state, tape)``."""

    @property
    def backward(self) -> Callable[..., Any]:
        """``backward(tape, dy, dstate) -> (dx, dstate)``."""


class LossLike(Protocol):
    """A model with a method that computes loss and gradients, or the method itself; see `engine.check_object`."""

    @property
    def loss(self) -> Callable[..., Any]:
        """``loss(x, y) -> (loss, gradients)``, or the loss alone."""


@overload
def assert_gradients(
    layer: LayerLike, x: Any, state: Any = None, lengths: Any = None, /, *, allow: Collection[str] = (), **options: Any
) -> Report: ...
@overload
def assert_gradients(
    model: LossLike | Callable[..., Any], x: Any, /, *, allow: Collection[str] = (), **options: Any
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
    """Assert that every gradient of a layer, of an object of your own, or of a pair of functions, is right.

    It is called in one of three ways: ``assert_gradients(layer, x, state=None, lengths=None, **options)``,
    ``assert_gradients(object, x, **options)`` or ``assert_gradients(forward, backward, inputs, **options)``.

    Parameters
    ----------
    subject : Layer, object or callable
        A layer as for `engine.gradcheck`; an object as for `engine.check_object`, with ``forward(x)`` and
        ``backward(dout)``, or a loss with its gradients; or the forward function of `engine.check_gradients`.
    *arguments : Any
        What that function takes next: x, state and lengths of a layer; x of an object; backward and inputs of
        functions.
    allow : collection of str
        Verdicts that pass beside ``"ok"``: ``"kink"``, ``"cannot tell"``, or both.  By default none passes, because an
        unchecked gradient may be wrong.  For functions also ``"mutation"``: they may write into their arguments.
    **options : Any
        ``method``, ``seed``, ``tol`` and the others of the function that does the check.

    Returns
    -------
    Report
        The result of the check, if it passes.

    Raises
    ------
    AssertionError
        If a gradient does not pass; the message holds the report.
    InputError, InputTypeError
        For arguments that cannot be checked.

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
    return assert_passes(check_for(subject, arguments), (subject, *arguments), allow, options)


def check_for(subject: Any, arguments: Sequence[Any]) -> Callable[..., Report]:
    """The function that checks a subject: a layer, an object that keeps its cache, or a pair of functions."""
    if isinstance(subject, type) and hasattr(subject, "forward"):
        raise bad_type("layer", "an object", f"the class {subject.__name__}", f"make one: {subject.__name__}(...)")
    if hasattr(subject, "forward") and hasattr(subject, "backward"):
        return check.gradcheck if _is_layer(subject) else check_object
    if inspect.ismethod(subject) and len(arguments) == 1:  # model.loss, (x, y)
        return check_object
    if not callable(subject) and not any(hasattr(subject, name) for name in LOSSES):
        raise bad_type("layer", "a layer, or a function forward(*inputs)", describe(subject))
    return check.check_gradients if callable(subject) else check_object


def _is_layer(subject: Any) -> bool:
    """Whether it takes the arguments of the engine's layers: ``forward(x, state)``, ``backward(tape, dy, dstate)``."""
    try:
        inspect.signature(subject.forward).bind("x", "state")
        inspect.signature(subject.backward).bind("tape", "dy", "dstate")
    except TypeError:
        return False
    except ValueError:  # without a signature
        return True
    return True


def assert_passes(
    check: Callable[..., Report], arguments: tuple[Any, ...], allow: Collection[str], options: dict[str, Any]
) -> Report:
    """Assert that `check` passes, or finds no more than is allowed; its arguments are checked first."""
    __tracebackhide__ = True
    expected = f"some of the verdicts {', '.join(map(repr, UNDECIDED))}"
    if isinstance(allow, str) or not isinstance(allow, Collection):
        raise bad_type("allow", expected, describe(allow), 'write allow=("cannot tell",)')
    signature = inspect.signature(check)
    mutation = [one for one in allow if isinstance(one, str) and one == "mutation"]
    if mutation and "allow" in signature.parameters:
        allow, options = [one for one in allow if one not in mutation], options | {"allow": tuple(mutation)}
    for verdict in allow:
        if not isinstance(verdict, str) or verdict not in UNDECIDED:
            raise bad_input("allow", expected, describe(verdict), "what is found to be wrong never passes")
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise bad_type("arguments", f"those of {check.__name__}({names})", f"{error}") from None
    if "backward" in bound.arguments and not callable(bound.arguments["backward"]):
        raise bad_type("backward", "a function backward(dout, cache)", describe(bound.arguments["backward"]))
    report = check(*bound.args, **bound.kwargs)
    # the report's own verdict is the most serious of its rows', and would hide a lesser one that is not allowed
    if {report.verdict, *(row.verdict for row in report.rows)} <= {"ok", *allow}:
        return report
    headline = f"gradient check: {report.verdict}"
    if report.verdict == "wrong":
        worst = report.worst
        headline += f": {worst.name}" + (f", gate {worst.gate}" if worst.gate else "")
    raise AssertionError(f"{headline}\n{report}")
