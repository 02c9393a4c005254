"""The layer of a linear-chain conditional random field: scores of pairs of tags from scores of single ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import integer
from engine.errors import bad_input
from engine.layers import showing
from engine.layers.pointwise import Pointwise, PointwiseTape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline, check_lengths, timeline_of
from engine.losses.crf import crf_loss, viterbi

Array = Any  # of the layer's backend


class CRF(Pointwise):
    """Linear-chain conditional random field (Lafferty et al. 2001): tags that depend on their neighbours.

    The last layer of a model that labels each step: its x (T, B, K) are the scores of the K tags, which a `Linear`
    below gives.  It adds the scores of the tag before each tag:

        y[t, b, i, j] = transitions[i, j] + x[t, b, j]    (t >= 1)
        y[0, b, 0, j] = start[j] + x[0, b, j],            y[0, b, i, j] = 0 for i >= 1

    and end[j] at each row's last valid step.  `loss` is the negative log-likelihood of the right tags, `decode` gives
    the most likely ones.  docs/heads_and_losses.md derives the gradient.

    Parameters
    ----------
    num_tags : int
        K.
    batch_first : bool or None
        Whether x is (B, T, K) instead of (T, B, K).  None follows the layers around it in a `Sequential`.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights; None means 0.

    Raises
    ------
    InputError, InputTypeError
        For a number of tags that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Sequential(engine.GRU(2, 8), engine.Linear(8, 3), engine.CRF(3))
    >>> crf, adam = model.layers[-1], engine.Adam(model, lr=0.05)
    >>> x, tags = np.eye(2, dtype="float32")[[[0], [1], [1], [0]]], np.array([[0], [1], [2], [0]])
    >>> for step in range(50):
    ...     y, state, tape = model.forward(x)
    ...     loss, dy = crf.loss(y, tags)
    ...     model.zero_grad()
    ...     _ = model.backward(tape, dy)
    ...     adam.step()
    >>> crf.decode(model.predict(x)[0])[0][:, 0].tolist()
    [0, 1, 2, 0]
    """

    shaping = ("num_tags", "batch_first")

    def __init__(
        self,
        num_tags: int,
        *,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.num_tags = integer("num_tags", num_tags, 1)
        self.batch_first = self._layout(batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        K = self.num_tags
        return {"transitions": (K, K), "start": (K,), "end": (K,)}

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return philox.uniform(self._key(f"init:{name}"), shape, -0.1, 0.1, self.dtype)

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return showing.shape_of(self, self.num_tags)

    def output_shape(self, width: int | None, timed: bool) -> str:
        """See `Layer.output_shape`."""
        return showing.shape_of(self, self.num_tags)[:-1] + f", {self.num_tags})"

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.num_tags

    def _step(self, batch: int, state: Any) -> steps.Step:
        raise steps.refusal(self, "a row of tags is decided as a whole")

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline]:
        axes = "(B, T, K)" if self.batch_first else "(T, B, K)"
        self.backend.require("x", x, dtype=self.dtype, shape=(None, None, self.num_tags), axes=axes)
        timeline = timeline_of(self.backend, x.shape, 3, self.batch_first, lengths)
        x = timeline.clean(x.swapaxes(0, 1) if self.batch_first else x)
        return (x.swapaxes(0, 1) if self.batch_first else x), timeline

    def _shape_of_y(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.num_tags)

    def _run(self, x: Array, timeline: Timeline | None, training: bool) -> tuple[Array, None]:
        assert timeline is not None
        x = x.swapaxes(0, 1) if self.batch_first else x
        room = self.backend.empty(self._shape_of_y(x.shape), self.dtype)
        y = pair_scores(self.backend.xp, x, timeline, self._params.own, room)
        return (y.swapaxes(0, 1) if self.batch_first else y), None

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Add to the gradients of transitions, start and end; return dx and None."""
        dy = self._enter_dy(tape, dy, dstate)
        xp, timeline, grads = self.backend.xp, tape.timeline, self._grads.own
        if dy is None or timeline is None or timeline.empty:
            return xp.zeros(tape.shape, dtype=self.dtype), None
        dy = dy.swapaxes(0, 1) if self.batch_first else dy
        _, last, valid = places(xp, timeline)
        if timeline.lengths is not None:
            given, dy = dy, self.backend.empty(dy.shape, self.dtype)
            dy[...] = given
            dy[~valid[..., 0]] = 0
        dz = xp.matmul(xp.ones((1, self.num_tags), dtype=self.dtype), dy)[:, :, 0]  # y_t(i, j) = ... + z_t(j)
        dz[0] = dy[0, :, 0]  # y_0(0, j) = z_0(j), y_0(i, j) = 0 for i >= 1
        with self._lock:
            grads["transitions"] += dy[1:].sum(axis=0).sum(axis=0)  # y_t(i, j) = transitions(i, j) + z_t(j)
            grads["start"] += dz[0].sum(axis=0)  # z_0 = x_0 + start
            grads["end"] += xp.where(last, dz, xp.zeros_like(dz)).sum(axis=0).sum(axis=0)  # z_last = x_last + end
        return (dz.swapaxes(0, 1) if self.batch_first else dz), None  # z_t = x_t + ...

    def window(self, tape: PointwiseTape, start: int, stop: int) -> PointwiseTape:
        """Refused: the likelihood of a row of tags is of all its steps."""
        hint = "its rows of tags are wholes"
        raise bad_input("layer", "layers of single steps for truncated BPTT", "a CRF", hint)

    def loss(
        self, y: Any, targets: Any, mask: Any = None, normalizer: Any = None, *, lengths: Any = None
    ) -> tuple[Any, Any]:
        """`engine.crf_loss` in the layer's layout: the mean negative log-likelihood, and its gradient by y.

        Parameters
        ----------
        y : array (T, B, K, K)
            What the layer's forward or predict gave.
        targets, mask, normalizer : array, array and float
            As for `engine.crf_loss`.
        lengths : sequence of int or None
            (B,) the valid steps of each row, in place of a mask.

        Returns
        -------
        loss : array
            0-d.
        dy : array (T, B, K, K)
            Its gradient by y, for backward.
        """
        return crf_loss(y, targets, self._mask(y, mask, lengths), normalizer, batch_first=self.batch_first)

    def decode(self, y: Any, mask: Any = None, *, lengths: Any = None) -> tuple[Any, Any]:
        """`engine.losses.viterbi` in the layer's layout: the most likely tags of each row, and their score.

        Parameters
        ----------
        y : array (T, B, K, K)
            What the layer's forward or predict gave.
        mask : array of bool or None
            (T, B), the valid steps of each row, its first ones.
        lengths : sequence of int or None
            (B,) the valid steps of each row, in place of a mask.

        Returns
        -------
        tags : array of int (T, B)
            The tag of each step, -1 past a row's end.
        score : array (B,)
            The score of the row.
        """
        return viterbi(y, self._mask(y, mask, lengths), batch_first=self.batch_first)

    def _mask(self, y: Any, mask: Any, lengths: Any) -> Any:
        if lengths is None or getattr(y, "ndim", 0) != 4:
            return mask
        if mask is not None:
            raise bad_input("mask", "None beside lengths", "both", "they say the same")
        steps, batch = (y.shape[1], y.shape[0]) if self.batch_first else y.shape[:2]
        valid = np.arange(int(steps))[:, None] < check_lengths(lengths, int(steps), int(batch))
        return valid.T if self.batch_first else valid


def places(xp: Any, timeline: Timeline) -> tuple[Array, Array, Array]:
    """Which steps are the first, the last of their row, and valid: bool (T, 1, 1), (T, B, 1), (T, B, 1)."""
    t = xp.arange(timeline.steps)[:, None, None]
    if timeline.lengths is None:
        ends = xp.full((timeline.batch, 1), timeline.steps, dtype=np.int64)
    else:
        ends = timeline.lengths[:, None]
    return t == 0, t == ends - 1, t < ends


def pair_scores(xp: Any, x: Array, timeline: Timeline, params: Any, room: Array | None = None) -> Array:
    """The scores (..., T, B, K, K) of pairs of tags from x (..., T, B, K), its pads 0; zeros at pads.

    It is linear in x and the parameters, so that their tangents give its tangent.  `room` is where they are written.
    """
    first, last, valid = places(xp, timeline)
    transitions, start, end = (params[name] for name in ("transitions", "start", "end"))
    start, end = (one.reshape(*one.shape[:-1], 1, 1, one.shape[-1]) for one in (start, end))
    z = x + xp.where(first, start, xp.zeros_like(start)) + xp.where(last, end, xp.zeros_like(end))
    z = z[..., None, :]
    K = transitions.shape[-1]
    transitions = transitions.reshape(*transitions.shape[:-2], 1, 1, K, K)
    y = z + transitions if room is None else xp.add(z, transitions, out=room)
    if timeline.empty:
        return y
    y[..., 0, :, 1:, :] = 0
    y[..., 0, :, 0, :] = z[..., 0, :, 0, :]
    if timeline.lengths is not None:
        y[..., ~valid[..., 0], :, :] = 0
    return y
