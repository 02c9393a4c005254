"""A dense layer, applied at every time step alike: y = x W' + b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine import philox
from engine.backend import Backend
from engine.errors import bad_input
from engine.layers.base import Layer, check_no_state, check_size
from engine.layers.timeline import Timeline


@dataclass(frozen=True)
class LinearTape:
    """x (..., D), a copy with pads 0, for the gradient of the weight; the timeline where lengths were given."""

    x: Any
    timeline: Timeline | None
    stamp: tuple[int, int, int | None]


class Linear(Layer):
    """Dense layer y = x W' + b over the last axis, with PyTorch's names, shapes and first values.

    Parameters
    ----------
    in_features, out_features : D and V.
    bias : whether there is a bias.
    batch_first : only matters with lengths: x is (B, T, D) then instead of (T, B, D).
    backend, dtype, seed : see `engine.layers.base.Layer`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.in_features = check_size("in_features", in_features)
        self.out_features = check_size("out_features", out_features)
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        return shapes

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        bound = 1.0 / math.sqrt(self.in_features)
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound)

    def _arguments(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
            "batch_first": self.batch_first,
        }

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, LinearTape]:
        """y (..., V) from x (..., D); pads of y are 0 where lengths are given (x is (T, B, D) then)."""
        check_no_state(state)
        x, timeline = self._enter("x", x, self.in_features, lengths)
        return self._product(x, timeline), None, LinearTape(x, timeline, self._stamp())

    def backward(self, tape: LinearTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Adds to the gradients of weight and bias; returns dx."""
        check_no_state(None, dstate)
        self._check_stamp(tape, LinearTape)
        if dy is None:
            return self.backend.xp.zeros_like(tape.x), None
        self.backend.require(
            "dy", dy, dtype=self.dtype, shape=(*tape.x.shape[:-1], self.out_features), axes="that of y"
        )
        dy = self._clean(dy, tape.timeline)
        rows = dy.reshape(-1, self.out_features)
        matmul = self.backend.kernels.matmul
        self.grads["weight"] += matmul(rows.T, tape.x.reshape(-1, self.in_features))  # y = x W' + b
        if self.bias:
            self.grads["bias"] += rows.sum(axis=0)  # y = x W' + b
        return matmul(rows, self.params["weight"]).reshape(tape.x.shape), None  # y = x W' + b

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """The output of `forward`, without a tape."""
        check_no_state(state)
        x, timeline = self._enter("x", x, self.in_features, lengths)
        return self._product(x, timeline), None

    def window(self, tape: LinearTape, start: int, stop: int) -> LinearTape:
        """The time steps ``start <= t < stop`` of a tape."""
        part = (slice(None), slice(start, stop)) if self.batch_first else slice(start, stop)
        timeline = None if tape.timeline is None else tape.timeline.window(start, stop)
        return LinearTape(tape.x[part], timeline, tape.stamp)

    def _product(self, x: Any, timeline: Timeline | None) -> Any:
        y = self.backend.kernels.matmul(x.reshape(-1, self.in_features), self.params["weight"].T)
        if self.bias:
            y += self.params["bias"]
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if timeline is None else self._clean(y, timeline)

    def _enter(self, name: str, x: Any, features: int, lengths: Any) -> tuple[Any, Timeline | None]:
        self.backend.require(name, x, dtype=self.dtype)
        if x.ndim < 1 or x.shape[-1] != features:
            raise bad_input(name, f"a last axis of {features} features", f"shape {tuple(x.shape)}")
        timeline = None
        if lengths is not None:
            timeline = time_axes(self.backend, name, x.shape, 3, self.batch_first, lengths)
        return self._clean(x, timeline), timeline

    def _clean(self, values: Any, timeline: Timeline | None) -> Any:
        """A copy with pads 0."""
        if timeline is None:
            return values.copy()
        if self.batch_first:
            return timeline.clean(values.swapaxes(0, 1)).swapaxes(0, 1)
        return timeline.clean(values)


def time_axes(
    backend: Backend, name: str, shape: tuple[int, ...], ndim: int, batch_first: bool, lengths: Any
) -> Timeline:
    """The timeline of an array whose first two axes are time and batch."""
    if len(shape) != ndim:
        raise bad_input(name, f"{ndim} axes, time and batch first, where lengths are given", f"shape {tuple(shape)}")
    steps, batch = (shape[1], shape[0]) if batch_first else shape[:2]
    return Timeline(backend, steps, batch, lengths)
