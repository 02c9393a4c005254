"""A function on every step between two dense layers: tanh, relu, sigmoid, softmax."""

from __future__ import annotations

from typing import Any

from engine.backend import Backend
from engine.checks import one_of
from engine.errors import bad_input
from engine.layers.pointwise import Pointwise, PointwiseTape
from engine.layers.timeline import Timeline, clean
from kernels.activations import activations

Array = Any  # of the layer's backend
ACTIVATION_KINDS = ("tanh", "relu", "sigmoid", "softmax")


class Activation(Pointwise):
    """A function of its own layer, such as between two `Linear` layers; it has no parameters.

    ======= ====================================== ==================================
    kind    y                                      dx
    ======= ====================================== ==================================
    tanh    tanh(x)                                dy (1 - y^2)
    relu    max(x, 0)                              dy where y > 0, else 0
    sigmoid 1 / (1 + exp(-x))                      dy y (1 - y)
    softmax exp(x_k) / sum over j of exp(x_j)      y (dy - sum over j of dy_j y_j)
    ======= ====================================== ==================================

    Softmax is over the features.  `cross_entropy` takes logits and has its softmax within: put none before it.

    Parameters
    ----------
    kind : {"tanh", "relu", "sigmoid", "softmax"}
        The function.
    batch_first : bool or None
        Whether x is (B, T, F) instead of (T, B, F); None follows the layers around it in a `Sequential`.
        A 2-d x is (B, F).
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Taken as by every layer; nothing is drawn here.

    Raises
    ------
    InputError, InputTypeError
        For another kind.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> x = np.array([[[-1.0, 0.0, 2.0]]], dtype="float32")  # T = 1, B = 1, F = 3
    >>> for kind in ("relu", "softmax"):
    ...     print(kind, engine.Activation(kind).predict(x)[0].round(3).tolist())
    relu [[[0.0, 0.0, 2.0]]]
    softmax [[[0.041999999433755875, 0.11400000005960464, 0.843999981880188]]]
    """

    shaping = ("kind", "batch_first")
    always_shown = frozenset({"kind"})

    def __init__(
        self,
        kind: str,
        *,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.kind, self.batch_first = one_of("kind", kind, ACTIVATION_KINDS), self._layout(batch_first)

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        self.backend.require("x", x, dtype=self.dtype)
        if x.ndim not in (2, 3):
            raise bad_input("x", "shape (T, B, F) or (B, F)", f"shape {tuple(x.shape)}")
        return self._enter_array(x, lengths)

    def _run(self, x: Array, timeline: Timeline | None, training: bool) -> tuple[Array, Array]:
        xp = self.backend.xp
        y = clean(xp, activated(xp, self.kind, x), timeline, self.batch_first)
        return y, xp.copy(y)

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Return dx and None; there are no parameters."""
        dy = self._enter_dy(tape, dy, dstate)
        xp = self.backend.xp
        if dy is None:
            return xp.zeros(tape.shape, dtype=self.dtype), None
        dy = clean(xp, dy, tape.timeline, self.batch_first)
        return through(xp, self.kind, tape.kept, dy), None  # y = activated(x); at pads dy is 0, so dx is


def activated(xp: Any, kind: str, x: Array) -> Array:
    """The function of x, real or complex."""
    if kind != "softmax":
        return activations(xp)[kind](x)
    if not x.shape[-1]:
        return xp.copy(x)
    top = xp.max(x.real, axis=-1)[..., None]
    e = xp.exp(x - top)
    return e / e.sum(axis=-1)[..., None]


def through(xp: Any, kind: str, y: Array, d: Array) -> Array:
    """The product of d with the derivative of the function at y.

    The derivative is a symmetric matrix: it takes dy to dx, and a change of x to that of y.
    """
    if kind == "relu":
        return xp.where(y > 0, d, xp.zeros_like(d))
    if kind == "softmax":
        return y * (d - (y * d).sum(axis=-1)[..., None])
    return d * (y * (1 - y) if kind == "sigmoid" else 1 - y * y)
