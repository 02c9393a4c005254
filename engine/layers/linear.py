"""A dense layer, applied at every time step alike: y = x W' + b."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import integer, switch
from engine.errors import bad_input
from engine.layers import showing
from engine.layers.pointwise import Pointwise, PointwiseTape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline, clean


class Linear(Pointwise):
    """Dense layer y = x W' + b over the last axis, with PyTorch's names, shapes and first values.

    x is (..., D) and y (..., V); where lengths are given, x is (T, B, D).

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

    shaping = ("in_features", "out_features", "bias", "batch_first")

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

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return showing.shape_of(self, self.in_features)

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.out_features

    def _step(self, batch: int, state: Any) -> steps.Step:
        return steps.without_state(steps.LinearStep(self, batch, self.in_features, self.out_features), state)

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        self.backend.require("x", x, dtype=self.dtype)
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise bad_input("x", f"a last axis of {self.in_features} features", f"shape {tuple(x.shape)}")
        return self._enter_array(x, lengths)

    def _shape_of_y(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.out_features)

    def _run(self, x: Any, timeline: Timeline | None, training: bool) -> tuple[Any, Any]:
        y = self.backend.kernels.matmul(x.reshape(-1, self.in_features), self._params.own["weight"].T)
        if self.bias:
            y += self._params.own["bias"]
        y = y.reshape(self._shape_of_y(x.shape))
        return (y if timeline is None else clean(self.backend.xp, y, timeline, self.batch_first)), x

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Add to the gradients of weight and bias; return dx and None."""
        dy = self._enter_dy(tape, dy, dstate)
        x, matmul, grads = tape.kept, self.backend.kernels.matmul, self._grads.own
        if dy is None:
            return self.backend.xp.zeros_like(x), None
        dy = clean(self.backend.xp, dy, tape.timeline, self.batch_first)
        rows = dy.reshape(-1, self.out_features)
        with self._lock:
            grads["weight"] += matmul(rows.T, x.reshape(-1, self.in_features))  # y = x W' + b
            if self.bias:
                grads["bias"] += rows.sum(axis=0)  # y = x W' + b
        return matmul(rows, self._params.own["weight"]).reshape(x.shape), None  # y = x W' + b
