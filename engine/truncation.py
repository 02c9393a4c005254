"""Truncated backpropagation through time (Williams and Peng 1990), plain: rule 12.

The parameters are held for the whole sequence, so the forward pass is one pass and does not depend on k1 or k2.
Every k1 steps the newest k1 losses go back through at most k2 steps, counted from the last step of their chunk; each
loss counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from engine.checks import describe, integer
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer


class TruncatedResult(NamedTuple):
    """What `truncated_bptt` returns.

    Attributes
    ----------
    loss : array
        The loss of the whole sequence, 0-d.
    state : array or tuple
        The final state.
    y : array
        The output, in the layer's layout.
    dx : array or None
        Gradient of x, summed over the truncated passes; None if x has none.
    dstate : array, tuple or None
        Gradient of the initial state, from the passes that reach it; None if none does or there is no state.
    """

    loss: Any
    state: Any
    y: Any
    dx: Any
    dstate: Any


def truncated_bptt(
    layer: Layer, x: Any, loss: Callable[[Any], tuple[Any, Any]], k1: int, k2: int, state: Any = None
) -> TruncatedResult:
    """Add the truncated gradient of a sequence's loss to ``layer.grads``.

    Every k1 steps the newest k1 losses go back through at most k2 steps (Williams and Peng 1990).

    Parameters
    ----------
    layer : Layer
        A layer or Sequential whose recurrent parts have one direction.
    x : array (T, B, D)
        Its input, or as the layer takes it.
    loss : callable
        From the output y of the whole sequence to the pair (loss, dy), as ``lambda y: engine.mse(y, target)``.
    k1 : int
        Steps between two backward passes.
    k2 : int
        The largest number of steps that a loss goes back, counted from its chunk's last step; at least k1.
    state : array, tuple or None
        The initial state; None is zeros.

    Returns
    -------
    TruncatedResult
        The loss, the final state, the output, and the gradients of x and of the initial state.

    Raises
    ------
    InputError
        If k2 < k1 (losses would be left out) or a layer is bidirectional.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> gru = engine.GRU(2, 3)
    >>> x = np.ones((6, 4, 2), np.float32)
    >>> result = engine.truncated_bptt(gru, x, lambda y: engine.mse(y, np.zeros_like(y)), k1=2, k2=4)
    >>> result.dx.shape, bool(gru.grads["weight_hh_l0"].any())
    ((6, 4, 2), True)
    """
    if not isinstance(layer, Layer):
        raise bad_type("layer", "a layer of engine", describe(layer))
    if not callable(loss):
        raise bad_type("loss", "a function that returns the pair (loss, dy)", describe(loss))
    k1, k2 = checked_steps(k1, k2)
    y, last_state, tape = layer.forward(x, state)
    pair = loss(y)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise bad_type("loss", "a function that returns the pair (loss, dy)", f"one that returns {describe(pair)}")
    value, dy = pair
    layer.backend.require("dy of the loss", dy, dtype=y.dtype, shape=tuple(y.shape), axes="that of y")
    axis = 1 if layer.batch_first else 0
    steps = y.shape[axis]
    xp = layer.backend.xp
    dx: Any = None
    dstate: Any = None
    for chunk_start in range(0, max(steps, 1), k1):  # of no steps there is one chunk, with nothing in it
        chunk_stop = min(chunk_start + k1, steps)
        start = max(0, chunk_stop - k2)
        window_dy = xp.zeros_like(_span(y, axis, start, chunk_stop))
        _span(window_dy, axis, chunk_start - start, chunk_stop - start)[...] = _span(dy, axis, chunk_start, chunk_stop)
        window_dx, window_dstate = layer.backward(layer.window(tape, start, chunk_stop), window_dy)
        if window_dx is not None:
            dx = xp.zeros((*x.shape[:2], *window_dx.shape[2:]), dtype=window_dx.dtype) if dx is None else dx
            _span(dx, axis, start, chunk_stop)[...] += window_dx
        if start == 0:
            dstate = window_dstate if dstate is None else _add(dstate, window_dstate)
    return TruncatedResult(value, last_state, y, dx, dstate)


def checked_steps(k1: Any, k2: Any) -> tuple[int, int]:
    """The two numbers of steps, k2 at least k1."""
    k1, k2 = integer("k1", k1, 1), integer("k2", k2, 1)
    if k2 < k1:
        hint = "fewer would leave the first losses of a chunk uncounted"
        raise bad_input("k2", f"at least k1 = {describe(k1)}", describe(k2), hint)
    return k1, k2


def _span(array: Any, axis: int, start: int, stop: int) -> Any:
    return array[:, start:stop] if axis == 1 else array[start:stop]


def _add(a: Any, b: Any) -> Any:
    """Sum of two states of the same structure."""
    if isinstance(a, tuple):
        return tuple(_add(x, y) for x, y in zip(a, b, strict=True))
    return None if a is None else a + b
