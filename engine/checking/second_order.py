"""Check second derivatives that a user wrote by hand against differences of the first ones.

Both checks are `check_gradients` of another pair: its forward is the user's backward.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.check import check_gradients
from engine.checking.report.report import Report
from engine.checking.subjects.shapes.arguments import argument_names, as_arguments, convention_of
from engine.checking.subjects.trees import dtype_of, kind, leaves, refill
from engine.checks import describe, integer
from engine.errors import bad_type
from engine.plain_arrays import refuse_own_rules


def check_hessian(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    hvp: Callable[..., Any],
    inputs: Sequence[Any],
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    *,
    dout: Any = None,
    **options: Any,
) -> Report:
    """Check a Hessian-vector product against differences of backward.

    The Hessian is that of ``sum(dout * out)`` with dout fixed.  Backward itself is assumed to be right: check it first,
    with `check_gradients`, because with a wrong backward the two disagree as well.

    Parameters
    ----------
    forward : callable
        As for `check_gradients`.
    backward : callable
        As for `check_gradients`.
    hvp : callable
        ``hvp(dout, cache, directions) -> products``; directions come in a tuple, one for each gradient that backward
        gives, and products are returned as gradients are.
    inputs : sequence
        As for `check_gradients`.
    method : str
        As for `check_gradients`; ``"complex"`` needs a backward that takes complex arrays.
    seed : int
        Of the random weighting and directions.
    tol : float or None
        Largest error that passes, as for `check_gradients`.
    dout : array, nest of arrays or None
        The weights of the outputs, in their structure; None draws random numbers.
    **options : Any
        The others of `check_gradients`.

    Returns
    -------
    Report
        For the products, under the names of the inputs.

    Raises
    ------
    InputError, InputTypeError
        For arguments, or results of the functions, that are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> def forward(x):
    ...     return np.sin(x), x
    >>> def backward(dout, x):
    ...     return dout * np.cos(x)
    >>> def hvp(dout, x, directions):
    ...     return [-dout * np.sin(x) * directions[0]]
    >>> engine.check_hessian(forward, backward, hvp, [np.array([0.3, -1.2])]).verdict
    'ok'
    """
    require_functions(forward=forward, backward=backward, hvp=hvp)
    pair = _Pair(forward, backward, inputs, seed, dout)

    def gradients(*arguments: Any) -> tuple[Any, Any]:
        cache = pair.cache(arguments)
        return pair.gradients(pair.dout(), cache), cache

    def product(directions: Any, cache: Any) -> Any:
        return hvp(pair.dout(), cache, directions)  # the Hessian is symmetric

    options = {"names": pair.names} | options
    return check_gradients(gradients, product, pair.inputs, method, seed, tol, **options)


def gradgradcheck(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    double_backward: Callable[..., Any],
    inputs: Sequence[Any],
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    *,
    dout: Any = None,
    **options: Any,
) -> Report:
    """Check the backward of a backward: the gradients of its results by dout and by the inputs.

    Parameters
    ----------
    forward : callable
        As for `check_gradients`.
    backward : callable
        As for `check_gradients`.
    double_backward : callable
        ``double_backward(dgradients, dout, cache) -> (ddout, *dinputs)``.  It gets the gradient of a loss with respect
        to each result of backward, in order, and returns that with respect to dout and each input.
    inputs : sequence
        As for `check_gradients`.
    method : str
        As for `check_gradients`; ``"complex"`` needs a backward that takes complex arrays.
    seed : int
        Of the random weighting and directions.
    tol : float or None
        Largest error that passes, as for `check_gradients`.
    dout : array, nest of arrays or None
        The place at which backward is differentiated, in the structure of out; None draws random numbers.
    **options : Any
        The others of `check_gradients`.

    Returns
    -------
    Report
        For dout and for the inputs.

    Raises
    ------
    InputError, InputTypeError
        For arguments, or results of the functions, that are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> def forward(x):
    ...     return np.sin(x), x
    >>> def backward(dout, x):
    ...     return dout * np.cos(x)
    >>> def double_backward(dgradients, dout, x):
    ...     return dgradients[0] * np.cos(x), -dgradients[0] * dout * np.sin(x)
    >>> engine.gradgradcheck(forward, backward, double_backward, [np.array([0.3, -1.2])]).verdict
    'ok'
    """
    require_functions(forward=forward, backward=backward, double_backward=double_backward)
    pair = _Pair(forward, backward, inputs, seed, dout)

    def gradients(dout: Any, *arguments: Any) -> tuple[Any, Any]:
        cache = pair.cache(arguments)
        return pair.gradients(dout, cache), (dout, cache)

    def twice(dgradients: Any, kept: Any) -> Any:
        return double_backward(dgradients, *kept)

    options = {"names": [_other_than(pair.names, "dout"), *pair.names]} | options
    return check_gradients(gradients, twice, [pair.dout(), *pair.inputs], method, seed, tol, **options)


class _Pair:
    """A forward and its backward, called as `check_gradients` calls them, and the dout that is held."""

    def __init__(self, forward: Any, backward: Any, inputs: Any, seed: Any, dout: Any) -> None:
        self._forward, self.inputs, own = as_arguments(forward, inputs)
        self.names = own or argument_names(forward, len(self.inputs))
        self._backward = backward
        for leaf in leaves(list(self.inputs)):
            refuse_own_rules("inputs", leaf)
        found = self._forward(*copy.deepcopy(list(self.inputs)))
        self._convention = convention_of(backward, found)
        out = self._convention.split(found)[0]
        self._dout = _weights(out, integer("seed", seed, 0)) if dout is None else dout

    def dout(self) -> Any:
        """A copy of it, which the functions may spoil."""
        return copy.deepcopy(self._dout)

    def cache(self, arguments: Sequence[Any]) -> Any:
        """What forward keeps."""
        return self._convention.split(self._forward(*arguments))[1]

    def gradients(self, dout: Any, cache: Any) -> tuple[Any, ...]:
        """What backward gives, one for each input."""
        found = self._convention.call(self._backward, dout, cache)
        return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _weights(out: Any, seed: int) -> Any:
    """Random weights in the structure of what forward returned."""
    generator = np.random.default_rng([seed, 8])
    drawn = []
    for one in leaves(out):
        if kind(one) != "f" and not isinstance(one, float):
            raise bad_type("forward", "float arrays as out", describe(one), "give dout")
        drawn.append(generator.normal(size=np.shape(one)).astype(dtype_of(one) or np.float64))
    return refill(out, iter(drawn))


def _other_than(names: Sequence[str], name: str) -> str:
    while name in names:
        name += "_"
    return name


def require_functions(**functions: Any) -> None:
    """Raise unless each can be called."""
    for name, function in functions.items():
        if not callable(function) or isinstance(function, type):
            raise bad_type(name, "a function", describe(function))
