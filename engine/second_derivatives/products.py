"""Hessian-vector products of a model: `hvp`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import engine.second_derivatives.recurrent  # noqa: F401  (enters the recurrent layers)
from engine.backend.device_errors import explained
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.layers.container import Container
from engine.layers.embedding import Embedding
from engine.layers.pointwise import Pointwise
from engine.layers.pooling import Pool
from engine.layers.recurrent import Recurrent
from engine.second_derivatives.over_layers import Products, second
from kernels.duals import Dual

Array = Any  # of the model's backend
#: What may stand in a direction beside the names of parameters.
X, STATE = "x", "state"


def hvp(
    model: Any,
    tape: Any,
    dy: Any,
    direction: Mapping[str, Any],
    curvature: Callable[[Any], Any] | Any = None,
) -> dict[str, Any]:
    """Hessian-vector product through time: how the gradients move when the parameters move along a direction.

    With dy held, it is the Hessian of ``sum(dy * y)`` times the direction.  With the curvature of a loss, and with dy
    that loss's gradient, it is the Hessian of the loss times the direction.

    It is forward over backward (Pearlmutter 1994): the tangent of the forward pass, then the tangent of the backward
    pass, both from the cells' own equations.  Nothing is approximated, and no gradient is stored twice.
    ``model.grads`` and the tape stay as they are.  docs/second_derivatives.md explains what it is for.

    Parameters
    ----------
    model : Layer
        A layer, or a `Sequential` or `Heads` of them: recurrent layers of every cell, Linear, Activation, Embedding,
        Dropout, LayerNorm, BatchNorm, Pool.
    tape : Tape
        What its forward returned; masks of dropout are those of that pass.
    dy : array, or mapping of str to array
        The gradient of y, in its shape; for `Heads` one for each head.
    direction : mapping of str to array
        Names of parameters, each with the array along which it moves.  What is not named does not move.  The name
        ``"x"`` stands for the input, ``"state"`` for the initial state, in its structure.
    curvature : callable, array or None
        The second derivative of the loss with respect to y: a function from a change of y to the change of dy, or, for
        a loss that treats each number of y by itself, an array in the shape of y that multiplies the change.
        `engine.losses.curvature_of_mse` and `engine.losses.curvature_of_cross_entropy` make them.  None holds dy.

    Returns
    -------
    dict of str to array
        The product, under the names of the direction.

    Raises
    ------
    InputError, InputTypeError
        For a tape that is not the model's or is older than its parameters, a layer without second derivatives
        (`Attention`, `CRF`, `Translator`, one of your own), names that the model does not have, and arrays of another
        shape, dtype or library.

    Examples
    --------
    The Hessian of a loss along a random direction, beside the difference of two gradients:

    >>> import numpy as np
    >>> import engine
    >>> from engine.losses import curvature_of_mse
    >>> rng = np.random.default_rng(0)
    >>> gru = engine.GRU(2, 3, dtype="float64")
    >>> x, target = rng.normal(size=(5, 4, 2)), rng.normal(size=(5, 4, 3))
    >>> v = {"weight_hh_l0": rng.normal(size=(9, 3))}
    >>> y, state, tape = gru.forward(x)
    >>> loss, dy = engine.mse(y, target)
    >>> product = engine.hvp(gru, tape, dy, v, curvature_of_mse(y))
    >>> def gradient(step):
    ...     moved = gru.to()
    ...     moved.params["weight_hh_l0"] += step * v["weight_hh_l0"]
    ...     y, state, tape = moved.forward(x)
    ...     moved.backward(tape, engine.mse(y, target)[1])
    ...     return moved.grads["weight_hh_l0"]
    >>> bool(np.allclose(product["weight_hh_l0"], (gradient(1e-5) - gradient(-1e-5)) / 2e-5, atol=1e-9))
    True
    """
    return Hessian(model, tape, dy, curvature)(direction)


class Hessian:
    """The Hessian of `hvp` at one place, for products along many directions.

    What does not depend on the direction is made once, such as the gradients within the layers, so that a second
    product takes less time than the first.  Each product is that of `hvp`.

    Parameters
    ----------
    model : Layer
        As for `hvp`.
    tape : Tape
        What its forward returned.
    dy : array, or mapping of str to array
        The gradient of y; it is copied.
    curvature : callable, array or None
        As for `hvp`.

    Raises
    ------
    InputError, InputTypeError
        As `hvp`; a call refuses a direction, or parameters that have changed since.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> from engine.second_derivatives import Hessian
    >>> gru = engine.GRU(2, 3, dtype="float64")
    >>> y, state, tape = gru.forward(np.ones((5, 4, 2)))
    >>> hessian = Hessian(gru, tape, np.ones_like(y))
    >>> v = {"bias_ih_l0": np.ones(9)}
    >>> bool((hessian(v)["bias_ih_l0"] == engine.hvp(gru, tape, np.ones_like(y), v)["bias_ih_l0"]).all())
    True
    """

    def __init__(self, model: Any, tape: Any, dy: Any, curvature: Callable[[Any], Any] | Any = None) -> None:
        if not isinstance(model, Layer):
            raise bad_type("model", "a layer of engine", describe(model))
        model.check_tape(tape)
        self._model, self._tape, self._curvature, self._memory = model, tape, curvature, dict[Any, Any]()
        self._dy = {name: self._copied(part) for name, part in dy.items()} if isinstance(dy, Mapping) else dy
        self._dy = self._copied(self._dy)

    def _copied(self, value: Any) -> Any:
        backend = self._model.backend
        if not backend.is_array(value):
            return value
        copy = backend.empty(tuple(value.shape), backend.dtype_of(value))
        copy[...] = value
        return copy

    @explained()
    def __call__(self, direction: Mapping[str, Any]) -> dict[str, Any]:
        """The product with a direction, as `hvp` gives it."""
        model, tape = self._model, self._tape
        model.check_tape(tape)
        dots = _parameters(model, direction)
        x_dot = _input(model, tape, direction[X]) if X in direction else None
        products = Products(self._memory)
        with np.errstate(all="ignore"):
            walk = second(model, tape, dots, x_dot, direction.get(STATE), products)
            dx, dstate = walk.back(_gradient_of_y(model, walk.y, self._dy, self._curvature), None)
        if X in direction:
            products[X] = dx.dot
        if STATE in direction:
            products[STATE] = dstate
        return {name: products[name] for name in direction}


def _parameters(model: Layer, direction: Any) -> dict[str, Array]:
    """The tangents of the parameters that move."""
    if not isinstance(direction, Mapping):
        raise bad_type("direction", "a dict from names of parameters to arrays", describe(direction))
    if not direction:
        raise bad_input("direction", "at least one name", "an empty dict", "model.params has the names")
    found = {}
    for name, value in direction.items():
        if name in (X, STATE):
            continue
        if name not in model.params:
            hint = f"the model has {', '.join(list(model.params)[:6])}, ..." if model.params else "it has no parameters"
            raise bad_input("direction", "names of the model's parameters, 'x' or 'state'", describe(name), hint)
        shape = tuple(model.params[name].shape)
        title = f"direction[{name!r}]"
        model.backend.require(title, value, dtype=model.dtype, shape=shape, axes="that of the parameter")
        found[name] = value
    return found


def _input(model: Layer, tape: Any, value: Any) -> Array:
    """The tangent of x, checked against the input on the tape."""
    first, part = model, tape
    while isinstance(first, Container):
        first, part = first.layers[0], part.tapes[0]
    if isinstance(first, Embedding):
        raise bad_input("direction", "names of parameters", "'x' for a model of token ids", "ids cannot move")
    if isinstance(first, Recurrent):
        shape = tuple(part.layers[0][0].x.shape)
    elif isinstance(first, Pointwise | Pool):
        shape = tuple(part.shape)
    else:
        return value  # a layer without second derivatives, which `second` refuses
    if first.batch_first and not isinstance(first, Pointwise):  # its tape is time-major
        shape = (shape[1], shape[0], *shape[2:])
    model.backend.require("direction['x']", value, dtype=model.dtype, shape=shape, axes="that of x")
    return value


def _gradient_of_y(model: Layer, y_dot: Any, dy: Any, curvature: Any) -> Any:
    """The gradient of y as a dual number: its tangent is the loss's second derivative times the change of y."""
    if isinstance(y_dot, Mapping):
        return _of_heads(model, y_dot, dy, curvature)
    if y_dot is None:  # nothing that has moved is before it
        y_dot = model.backend.xp.zeros_like(dy) if model.backend.is_array(dy) else dy
    shape = tuple(getattr(y_dot, "shape", ()))
    model.backend.require("dy", dy, dtype=model.dtype, shape=shape, axes="that of y")
    if curvature is None:
        return Dual(dy, model.backend.xp.zeros_like(dy))
    if callable(curvature) and not isinstance(curvature, type):
        found = curvature(y_dot)
        model.backend.require("what curvature returned", found, dtype=model.dtype, shape=shape, axes="that of y")
        return Dual(dy, found)
    model.backend.require("curvature", curvature, dtype=model.dtype, shape=shape, axes="that of y")
    return Dual(dy, curvature * y_dot)


def _of_heads(model: Layer, y_dot: Mapping[str, Any], dy: Any, curvature: Any) -> dict[str, Any]:
    """The same for several heads: dy, and the curvature, have an entry for each."""
    for title, given in (("dy", dy), ("curvature", curvature)):
        if given is not None and (not isinstance(given, Mapping) or set(given) != set(y_dot)):
            got = describe(given) if not isinstance(given, Mapping) else f"one of {', '.join(map(repr, given))}"
            raise bad_type(title, f"a dict with the heads {', '.join(map(repr, y_dot))}", got)
    if dy is None:
        raise bad_type("dy", f"a dict with the heads {', '.join(map(repr, y_dot))}", "None")
    return {
        name: _gradient_of_y(model, part, dy[name], None if curvature is None else curvature[name])
        for name, part in y_dot.items()
    }
