"""From a sequence to one vector: pooling over the valid time steps of each row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import describe, integer, one_of, switch
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.building import check_no_state
from engine.layers.showing import Tape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline
from kernels.activations import matmul

Array = Any  # of the layer's backend
POOL_KINDS = ("last", "mean", "max", "attention")


@dataclass(frozen=True, repr=False)
class PoolTape(Tape):
    """What `Pool` keeps for its backward pass; time-major also where the layer is batch-first.

    Attributes
    ----------
    x : array (T, B, H) or None
        The input, pads 0; only attention needs it.
    weights : array (T, B) or None
        The weight of each step in its row's vector, of attention; it is 0 at pads.
    chosen : array of int (B, H) or None
        The step that each value was taken from, of "max".
    shape : tuple of int
        That of x, time-major.
    timeline : Timeline
        The valid steps.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    x: Array
    weights: Array
    chosen: Array
    shape: tuple[int, ...]
    timeline: Timeline
    stamp: tuple[int, int]


class Pool(Layer):
    """One vector for each row, from the valid steps of its sequence: (T, B, H) -> (B, H).

    ========== ====================================================================================
    kind       the vector of a row
    ========== ====================================================================================
    last       that of the last valid step; of two directions, the reverse half of the first step
    mean       the mean of the valid steps
    max        the largest value of each feature
    attention  sum over t of a_t x_t, with a = softmax over the valid t of (x_t . weight), learned
    ========== ====================================================================================

    A row without valid steps gives zeros.  What follows in a `Sequential` gets (B, H) and no lengths.

    Parameters
    ----------
    kind : {"last", "mean", "max", "attention"}
        How the steps become one vector.
    input_size : int or None
        H, the features of x; attention needs it for its weight, the others take any.
    directions : int
        1, or 2 where x comes from a bidirectional layer: its reverse half ends at the first step.  Only "last" asks.
    batch_first : bool or None
        Whether x is (B, T, H) instead of (T, B, H).  None follows the layers around it in a `Sequential`.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for the first weight of attention; None means 0.

    Raises
    ------
    InputError, InputTypeError
        For another kind, attention without an input size, or a number of directions that is neither 1 nor 2.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> x = np.arange(6.0, dtype="float32").reshape(3, 2, 1)  # T = 3, B = 2, H = 1
    >>> for kind in ("last", "mean", "max"):
    ...     y, _, tape = engine.Pool(kind).forward(x, lengths=[3, 2])
    ...     print(kind, y.tolist())
    last [[4.0], [3.0]]
    mean [[2.0], [2.0]]
    max [[4.0], [3.0]]
    >>> model = engine.Sequential(engine.GRU(1, 8, bidirectional=True), engine.Pool(directions=2), engine.Linear(16, 3))
    >>> model.predict(x, lengths=[3, 2])[0].shape
    (2, 3)
    """

    shaping = ("kind", "input_size", "directions", "batch_first")
    always_shown = frozenset({"kind"})
    tape_type = PoolTape
    keeps_time = False

    def __init__(
        self,
        kind: str = "last",
        input_size: int | None = None,
        *,
        directions: int = 1,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.kind = one_of("kind", kind, POOL_KINDS)
        if input_size is None and kind == "attention":
            raise bad_input("input_size", "H, the features of x, for attention", "None", "its weight has H numbers")
        self.input_size = None if input_size is None else integer("input_size", input_size, 1)
        self.directions = integer("directions", directions, 1)
        if self.directions > 2 or (self.directions == 2 and (self.input_size or 2) % 2):
            hint = "each direction has half of the features"
            wanted = "1 or 2" if self.directions > 2 else f"1 for {input_size} features"
            raise bad_input("directions", wanted, describe(directions), hint)
        self.batch_first = self._layout(batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.input_size,)} if self.kind == "attention" else {}  # type: ignore[dict-item]

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        bound = 1.0 / math.sqrt(shape[0])
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound, self.dtype)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, PoolTape]:
        """Make one vector of each row.

        Parameters
        ----------
        x : array (T, B, H)
            The sequences, or (B, T, H) with ``batch_first``.
        state : None
            The layer carries no state.
        lengths : sequence of int or None
            (B,) valid steps of each row, on the host; None means T for all.
        training : bool
            Makes no difference here.

        Returns
        -------
        y : array (B, H)
            The vectors; zeros for a row without valid steps.
        state : None
            The layer carries no state.
        tape : PoolTape
            What backward needs.

        Raises
        ------
        InputError, InputTypeError
            For a wrong shape, dtype, library or length, and for a state.
        """
        switch("training", training)
        x, timeline = self._enter(x, state, lengths)
        y, weights, chosen = pooled(self, x, timeline, self._params.own)
        kept = x if self.kind == "attention" else None
        return y, None, PoolTape(kept, weights, chosen, tuple(x.shape), timeline, self._stamp())

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """Make one vector of each row, without a tape."""
        x, timeline = self._enter(x, state, lengths)
        return pooled(self, x, timeline, self._params.own)[0], None

    def _step(self, batch: int, state: Any) -> steps.Step:
        if self.kind != "last" or self.directions > 1:
            what = f"Pool({self.kind!r})" if self.directions == 1 else "Pool of two directions"
            raise steps.refusal(self, 'only Pool("last") can tell at each step what it is so far', what)
        return steps.without_state(steps.Step(self, batch, self.input_size, self.input_size), state)

    def _enter(self, x: Any, state: Any, lengths: Any) -> tuple[Array, Timeline]:
        """x as a time-major copy with pads 0."""
        check_no_state(state)
        axes = "(B, T, H)" if self.batch_first else "(T, B, H)"
        self.backend.require("x", x, dtype=self.dtype, shape=(None, None, self.input_size), axes=axes)
        if x.shape[2] % self.directions:
            raise bad_input("x", "an even number of features, half for each direction", f"{x.shape[2]}")
        x = x.swapaxes(0, 1) if self.batch_first else x
        timeline = Timeline(self.backend, int(x.shape[0]), int(x.shape[1]), lengths)
        return timeline.clean(x), timeline

    def backward(self, tape: PoolTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Send the gradient of each row's vector back to its steps; with attention, add to that of the weight."""
        check_no_state(None, dstate)
        self.check_tape(tape)
        xp, (T, B, H), timeline = self.backend.xp, tape.shape, tape.timeline
        if dy is None or timeline.empty:
            if dy is not None:
                self.backend.require("dy", dy, dtype=self.dtype, shape=(B, H), axes="that of y")
            return self._leave(xp.zeros((T, B, H), dtype=self.dtype)), None
        self.backend.require("dy", dy, dtype=self.dtype, shape=(B, H), axes="that of y")
        if self.kind == "last":
            dx, forward = xp.zeros((T, B, H), dtype=self.dtype), H // self.directions
            dx[last_steps(xp, timeline), xp.arange(B), :forward] = dy[:, :forward]  # y = x[last], of the forward half
            dx[0, :, forward:] = dy[:, forward:]  # y = x[0], of the reverse half
        elif self.kind == "mean":
            dx = xp.broadcast_to(dy / counts(xp, timeline, self.dtype)[:, None], (T, B, H))  # y = sum_t x_t / n
        elif self.kind == "max":
            dx = xp.where(xp.arange(T)[:, None, None] == tape.chosen, dy, xp.zeros_like(dy))  # y = x[chosen]
        else:
            dx = self._attention_backward(tape, dy)
        return self._leave(timeline.clean(dx)), None  # x = clean(x)

    def _attention_backward(self, tape: PoolTape, dy: Array) -> Array:
        x, a, w = tape.x, tape.weights, self._params.own["weight"]
        da = (dy * x).sum(axis=2)  # y = sum_t a_t x_t
        ds = a * (da - (a * da).sum(axis=0))  # a = softmax(s) over t
        dw = self.backend.kernels.matmul(ds.reshape(1, -1), x.reshape(-1, x.shape[2]))[0]  # s_t = x_t . w
        with self._lock:
            self._grads.own["weight"] += dw
        return a[:, :, None] * dy + ds[:, :, None] * w  # y = sum_t a_t x_t; s_t = x_t . w

    def _leave(self, dx: Array) -> Array:
        """dx, time-major, in the layer's layout."""
        return dx.swapaxes(0, 1) if self.batch_first else dx

    def window(self, tape: PoolTape, start: int, stop: int) -> PoolTape:
        """Refused: y belongs to the whole sequence, so no part of a pass stands alone."""
        hint = "pooling has one output for all steps"
        raise bad_input("layer", "layers of single steps for truncated BPTT", "a Pool", hint)


def pooled(layer: Pool, x: Array, timeline: Timeline, params: Any) -> tuple[Array, Array, Array]:
    """The vectors (..., B, H) of x (..., T, B, H), its pads 0; with attention's weights and the steps of "max".

    Parameters
    ----------
    params : by name; weight is (..., H), with as many axes in front as x has.
    """
    xp, H = layer.backend.xp, x.shape[-1]
    if timeline.empty:
        return xp.zeros((*x.shape[:-3], timeline.batch, H), dtype=x.dtype), None, None
    if layer.kind == "last":
        forward = H // layer.directions
        y = x[..., last_steps(xp, timeline), xp.arange(timeline.batch), :forward]
        return (y if forward == H else xp.concatenate([y, x[..., 0, :, forward:]], axis=-1)), None, None
    if layer.kind == "mean":
        return x.sum(axis=-3) / counts(xp, timeline, layer.dtype)[:, None], None, None
    if layer.kind == "max":
        size = x.real if timeline.valid is None else xp.where(timeline.valid, x.real, -math.inf)
        chosen = xp.argmax(size, axis=-3)
        return at_steps(xp, x, chosen), None, chosen
    w = params["weight"]
    s = matmul(xp, x, w.reshape(*w.shape[:-1], *(1,) * (x.ndim - w.ndim - 1), H, 1))[..., 0]  # s_t = x_t . w
    a = softmax_over_time(xp, s, timeline.valid)
    return (a[..., None] * x).sum(axis=-3), a, None


def at_steps(xp: Any, x: Array, chosen: Array) -> Array:
    """The value of each feature at its chosen step: (..., T, B, H) and (..., B, H) -> (..., B, H)."""
    here = xp.arange(x.shape[-3])[:, None, None] == chosen[..., None, :, :]
    return xp.where(here, x, xp.zeros_like(x)).sum(axis=-3)  # by selection: an infinity elsewhere stays there


def softmax_over_time(xp: Any, s: Array, valid: Array) -> Array:
    """Softmax over the valid steps of scores (..., T, B); zeros for a row without any."""
    size = s.real if valid is None else xp.where(valid[..., 0], s.real, -math.inf)
    top = xp.max(size, axis=-2)[..., None, :]
    e = xp.exp(s - xp.where(xp.isfinite(top), top, xp.zeros_like(top)))
    e = e if valid is None else xp.where(valid[..., 0], e, xp.zeros_like(e))
    total = e.sum(axis=-2)[..., None, :]
    return e / (total + (total == 0))


def last_steps(xp: Any, timeline: Timeline) -> Array:
    """(B,) the last valid step of each row; 0 where there is none."""
    if timeline.lengths is None:
        return xp.full((timeline.batch,), timeline.steps - 1, dtype=np.int64)
    return xp.clip(timeline.lengths - 1, 0, timeline.steps - 1)


def counts(xp: Any, timeline: Timeline, dtype: Any) -> Array:
    """(B,) the number of valid steps of each row; 1 where there is none, whose sum is 0."""
    if timeline.lengths is None:
        return xp.full((timeline.batch,), timeline.steps, dtype=dtype)
    return xp.asarray(xp.clip(timeline.lengths, 1, None), dtype=dtype)
