"""A dense layer, applied at every time step alike: y = x W' + b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import integer, switch
from engine.errors import bad_input
from engine.layers import showing
from engine.layers.base import Layer
from engine.layers.building import check_no_state
from engine.layers.showing import Tape
from engine.layers.timeline import Timeline, clean, timeline_of


@dataclass(frozen=True, repr=False)
class LinearTape(Tape):
    """What `Linear` keeps for its backward pass.

    Attributes
    ----------
    x : array (..., D)
        A copy of the input with pads 0, for the gradient of the weight.
    timeline : Timeline or None
        The valid steps, if there were lengths.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    x: Any
    timeline: Timeline | None
    stamp: tuple[int, int]


class Linear(Layer):
    """Dense layer y = x W' + b over the last axis, with PyTorch's names, shapes and first values.

    Parameters
    ----------
    in_features : int
        D, the features of x.
    out_features : int
        V, the features of y.
    bias : bool
        Whether there is a bias.
    batch_first : bool or None
        Whether x is (B, T, D) instead of (T, B, D), where time matters: with lengths, and in truncated BPTT.
        None follows the layers around it in a `Sequential`.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights and dropout masks; None means 0.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> linear = engine.Linear(3, 2)
    >>> y, state, tape = linear.forward(np.ones((7, 4, 3), np.float32))
    >>> dx, _ = linear.backward(tape, np.ones_like(y))
    >>> y.shape, state, dx.shape, linear.grads["bias"].tolist()
    ((7, 4, 2), None, (7, 4, 3), [28.0, 28.0])
    """

    tape_type = LinearTape
    fixed = Layer.fixed | {"in_features", "out_features", "bias"}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.in_features = integer("in_features", in_features, 1)
        self.out_features = integer("out_features", out_features, 1)
        self.bias, self.batch_first = switch("bias", bias), self._layout(batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        return shapes

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        bound = 1.0 / math.sqrt(self.in_features)
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound, self.dtype)

    def _arguments(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
            "batch_first": self.batch_first,
        }

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return showing.shape_of(self, self.in_features)

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.out_features

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, LinearTape]:
        """Multiply by the weight: y (..., V) from x (..., D).

        Where lengths are given, x is (T, B, D) and the pads of y are 0.
        """
        check_no_state(state)
        switch("training", training)
        x, timeline = self._enter("x", x, self.in_features, lengths)
        return self._product(x, timeline), None, LinearTape(x, timeline, self._stamp())

    def backward(self, tape: LinearTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Add to the gradients of weight and bias; return dx and None."""
        check_no_state(None, dstate)
        self.check_tape(tape)
        if dy is None:
            return self.backend.xp.zeros_like(tape.x), None
        self.backend.require(
            "dy", dy, dtype=self.dtype, shape=(*tape.x.shape[:-1], self.out_features), axes="that of y"
        )
        dy = clean(self.backend.xp, dy, tape.timeline, self.batch_first)
        rows = dy.reshape(-1, self.out_features)
        matmul = self.backend.kernels.matmul
        grads = self._grads.own
        with self._lock:
            grads["weight"] += matmul(rows.T, tape.x.reshape(-1, self.in_features))  # y = x W' + b
            if self.bias:
                grads["bias"] += rows.sum(axis=0)  # y = x W' + b
        return matmul(rows, self._params.own["weight"]).reshape(tape.x.shape), None  # y = x W' + b

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """The output of `forward`, without a tape."""
        check_no_state(state)
        x, timeline = self._enter("x", x, self.in_features, lengths)
        return self._product(x, timeline), None

    def window(self, tape: LinearTape, start: int, stop: int) -> LinearTape:
        """The time steps ``start <= t < stop`` of a tape."""
        self.check_kind(tape)
        self.check_window(tape.x.shape, start, stop)
        part = (slice(None), slice(start, stop)) if self.batch_first else slice(start, stop)
        timeline = None if tape.timeline is None else tape.timeline.window(start, stop)
        return LinearTape(tape.x[part], timeline, tape.stamp)

    def _product(self, x: Any, timeline: Timeline | None) -> Any:
        y = self.backend.kernels.matmul(x.reshape(-1, self.in_features), self._params.own["weight"].T)
        if self.bias:
            y += self._params.own["bias"]
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if timeline is None else clean(self.backend.xp, y, timeline, self.batch_first)

    def _enter(self, name: str, x: Any, features: int, lengths: Any) -> tuple[Any, Timeline | None]:
        self.backend.require(name, x, dtype=self.dtype)
        if x.ndim < 1 or x.shape[-1] != features:
            raise bad_input(name, f"a last axis of {features} features", f"shape {tuple(x.shape)}")
        timeline = None
        if lengths is not None:
            timeline = timeline_of(self.backend, name, x.shape, 3, self.batch_first, lengths)
        return clean(self.backend.xp, x, timeline, self.batch_first), timeline
