"""Layer normalisation and batch normalisation over features; `kernels.gates.normalising` holds their equation.

Both compute  y = weight * n + bias  with  n = (x - mean(x)) / sqrt(var(x) + eps)  and differ in what the mean is over:
the H features of one position (t, b), or all valid positions of one feature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from engine.backend import Backend
from engine.checks import integer, number
from engine.errors import bad_input
from engine.layers import showing
from engine.layers.parameter_holder import Buffer
from engine.layers.pointwise import Pointwise, PointwiseTape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline, clean
from kernels.gates.normalising import EPS, inverse_root, normalise, normalise_backward

Array = Any  # of the layer's backend


class _Normalisation(Pointwise):
    """What the two share: H features, a gain and a bias for each."""

    shaping: ClassVar[tuple[str, ...]] = ("num_features", "eps", "batch_first")

    def __init__(
        self, num_features: int, eps: float, batch_first: bool | None, backend: str | Backend, dtype: Any, seed: Any
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.num_features = integer("num_features", num_features, 1)
        self.eps = _positive("eps", eps)
        self.batch_first = self._layout(batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.num_features,), "bias": (self.num_features,)}

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, 1.0 if name == "weight" else 0.0, self.dtype)

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return showing.shape_of(self, self.num_features)

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.num_features

    def _features(self) -> tuple[int, int]:
        return self.num_features, self.num_features

    def _require_features(self, x: Any, dims: tuple[int, ...] | None, axes: str) -> None:
        self.backend.require("x", x, dtype=self.dtype)
        if x.ndim < 1 or x.shape[-1] != self.num_features or (dims is not None and x.ndim not in dims):
            raise bad_input("x", f"{axes} with H = {self.num_features} features", f"shape {tuple(x.shape)}")

    def _scaled(self, n: Array, timeline: Timeline | None) -> Array:
        y = self._params.own["weight"] * n + self._params.own["bias"]
        return y if timeline is None else clean(self.backend.xp, y, timeline, self.batch_first)

    def _add_to_grads(self, dy: Array, n: Array) -> None:
        rows = dy.reshape(-1, self.num_features)
        with self._lock:
            self._grads.own["weight"] += (rows * n.reshape(-1, self.num_features)).sum(axis=0)  # y = weight * n + bias
            self._grads.own["bias"] += rows.sum(axis=0)  # y = weight * n + bias


class LayerNorm(_Normalisation):
    """Layer normalisation (Ba, Kiros and Hinton 2016): the H features of each position get mean 0 and variance 1.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with the mean and the biased variance of the H features of one
    position (t, b).  The names, first values and results are those of PyTorch's LayerNorm.

    Parameters
    ----------
    num_features : int
        H, the features of x.
    eps : float
        What is added to the variance, > 0.
    batch_first : bool or None
        Whether x is (B, T, H) instead of (T, B, H), where time matters: with lengths, and in truncated BPTT.
        None follows the layers around it in a `Sequential`.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Taken as by every layer; nothing is drawn here.

    Raises
    ------
    InputError, InputTypeError
        For a size or an eps that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> norm = engine.LayerNorm(4, dtype="float64")
    >>> y, state, tape = norm.forward(np.array([[[1.0, 2.0, 3.0, 6.0]]]))
    >>> y.round(3).tolist()
    [[[-1.069, -0.535, 0.0, 1.604]]]
    """

    def __init__(
        self,
        num_features: int,
        eps: float = EPS,
        *,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(num_features, eps, batch_first, backend, dtype, seed)

    def _step(self, batch: int, state: Any) -> steps.Step:
        return steps.without_state(steps.NormStep(self, batch, *self._features()), state)

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        self._require_features(x, None, "shape (..., H)")
        return self._enter_array(x, lengths)

    def _run(self, x: Array, timeline: Timeline | None, training: bool) -> tuple[Array, Array]:
        return self._scaled(normalise(x, eps=self.eps), timeline), x

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Add to the gradients of weight and bias; return dx and None."""
        dy = self._enter_dy(tape, dy, dstate)
        x = tape.kept
        if dy is None:
            return self.backend.xp.zeros_like(x), None
        dy = clean(self.backend.xp, dy, tape.timeline, self.batch_first)
        n = normalise(x, eps=self.eps)
        self._add_to_grads(dy, n)
        dn = dy * self._params.own["weight"]  # y = weight * n + bias
        return normalise_backward(dn, x, n, eps=self.eps), None  # n = normalise(x); at pads dn is 0, so dx is


class Normalised(NamedTuple):
    """What batch normalisation keeps for backward.

    Attributes
    ----------
    x : array (T, B, H) or (B, H)
        The input, pads 0.
    mean, scale : array (H,) or None
        The running mean, and one over the root of the running variance, where they were used; None in training.
    """

    x: Array
    mean: Array | None
    scale: Array | None


class BatchNorm(_Normalisation):
    """Batch normalisation (Ioffe and Szegedy 2015) over all valid positions: each feature gets mean 0 and variance 1.

    In training, y = weight * (x - mean) / sqrt(var + eps) + bias with the mean and the biased variance of a feature
    over all valid positions (t, b) of the batch; padded positions do not count.  Each such pass moves the running
    statistics, running = (1 - momentum) * running + momentum * this, where this variance is the unbiased one.
    `predict`, and `forward` with ``training=False``, use the running statistics in place of the batch's.

    The names, first values and results are those of PyTorch's BatchNorm1d; `load_state_dict` takes its state dict.
    The running statistics are ``layer.buffers``, saved with the parameters.

    Parameters
    ----------
    num_features : int
        H, the features of x, (T, B, H) or (B, H).
    eps : float
        What is added to the variance, > 0.
    momentum : float or None
        The share of a batch in the running statistics, 0 to 1; None takes the mean of all batches so far.
    batch_first : bool or None
        Whether x is (B, T, H) instead of (T, B, H).  None follows the layers around it in a `Sequential`.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Taken as by every layer; nothing is drawn here.

    Raises
    ------
    InputError, InputTypeError
        For a size, an eps or a momentum that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> norm = engine.BatchNorm(2, dtype="float64")
    >>> x = np.array([[[1.0, 10.0], [3.0, 10.0]], [[5.0, 40.0], [0.0, 0.0]]])  # T = 2, B = 2
    >>> y, state, tape = norm.forward(x, lengths=[2, 1])  # the last position of row 1 is a pad
    >>> y[:, 0].round(3).tolist(), norm.buffers["running_mean"].tolist()
    ([[-1.225, -0.707], [1.225, 1.414]], [0.30000000000000004, 2.0])
    """

    shaping = ("num_features", "eps", "momentum", "batch_first")
    mixes_rows = True

    def __init__(
        self,
        num_features: int,
        eps: float = EPS,
        momentum: float | None = 0.1,
        *,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.momentum = None if momentum is None else _share("momentum", momentum)
        super().__init__(num_features, eps, batch_first, backend, dtype, seed)

    def _buffers_by_name(self) -> dict[str, Buffer]:
        return {
            "running_mean": Buffer((self.num_features,), 0.0),
            "running_var": Buffer((self.num_features,), 1.0),
            "num_batches_tracked": Buffer((), 0, counts=True),
        }

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        self._require_features(x, (2, 3), "shape (T, B, H) or (B, H)")
        return self._enter_array(x, lengths)

    def _run(self, x: Array, timeline: Timeline | None, training: bool) -> tuple[Array, Normalised]:
        if training:
            n = self._of_batch(x, timeline)
            return self._scaled(n, timeline), Normalised(x, None, None)
        mean = self.backend.xp.copy(self._buffers.own["running_mean"])
        scale = inverse_root(self._buffers.own["running_var"], self.eps)
        return self._scaled((x - mean) * scale, timeline), Normalised(x, mean, scale)

    def _of_batch(self, x: Array, timeline: Timeline | None) -> Array:
        """Normalise by the batch's own statistics, and move the running ones."""
        count = _positions(x.shape, timeline)
        if count == 1:
            hint = "the mean of one value is that value: take more rows or steps, or training=False"
            raise bad_input("x", "more than one valid position in training", "one", hint)
        mean_of = self._mean_of(x.shape, timeline)
        if count:
            mean = mean_of(x)
            centred = x - mean
            var = mean_of(centred * centred) * (count / (count - 1))
            self._move(mean.reshape(-1), var.reshape(-1))
        return normalise(x, mean_of, self.eps)

    def _move(self, mean: Array, var: Array) -> None:
        buffers = self._buffers.own
        with self._lock:
            buffers["num_batches_tracked"] += 1
            share: Any = self.momentum
            if share is None:
                share = self.backend.xp.asarray(1 / buffers["num_batches_tracked"], dtype=self.dtype)
            for name, value in (("running_mean", mean), ("running_var", var)):
                buffers[name] += share * (value - buffers[name])

    def _mean_of(self, shape: tuple[int, ...], timeline: Timeline | None) -> Callable[[Array], Array]:
        """What takes the mean over the valid positions of x, or of an array like it."""
        valid = None if timeline is None or timeline.valid is None else timeline.valid
        if valid is not None and self.batch_first:
            valid = valid.swapaxes(0, 1)
        return mean_over(self.backend.xp, self.backend.kernels.matmul, valid, _positions(shape, timeline), self.dtype)

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Add to the gradients of weight and bias; return dx and None.

        In training the statistics depend on x, and dx takes that into account; the running statistics are constants.
        """
        dy = self._enter_dy(tape, dy, dstate)
        x, mean, scale = tape.kept
        xp = self.backend.xp
        if dy is None:
            return xp.zeros_like(x), None
        dy = clean(xp, dy, tape.timeline, self.batch_first)
        dn = dy * self._params.own["weight"]  # y = weight * n + bias
        if scale is not None:
            n = (x - mean) * scale
            self._add_to_grads(dy, n)
            return dn * scale, None  # n = (x - running_mean) * scale
        mean_of = self._mean_of(x.shape, tape.timeline)
        n = clean(xp, normalise(x, mean_of, self.eps), tape.timeline, self.batch_first)
        self._add_to_grads(dy, n)
        dx = normalise_backward(dn, x, n, mean_of, self.eps)  # n = normalise(x)
        return clean(xp, dx, tape.timeline, self.batch_first), None  # x = clean(x)

    def window(self, tape: PointwiseTape, start: int, stop: int) -> PointwiseTape:
        """Refused: the statistics of a batch are over all its steps, so no part of a pass stands alone."""
        hint = "use LayerNorm, or whole sequences"
        raise bad_input("layer", "layers of single steps for truncated BPTT", "a BatchNorm", hint)


def mean_over(
    xp: Any, matmul: Callable[[Array, Array], Array], valid: Array | None, count: int, dtype: Any
) -> Callable[[Array], Array]:
    """The function that takes the mean of (..., H) over the axes in front, and keeps these with length 1.

    Parameters
    ----------
    matmul : the product of two matrices.
    valid : bool (T, B, 1), which positions count; None for all.
    count : how many that are; of none, the mean is 0.
    """

    def mean(values: Array) -> Array:
        if valid is not None:
            values = xp.where(valid, values, 0)
        rows = values.reshape(-1, values.shape[-1])
        shares = xp.full((1, len(rows)), 1 / max(count, 1), dtype=dtype)
        return matmul(shares, rows).reshape(*(1,) * (values.ndim - 1), -1)  # a product adds up in blocks: less rounding

    return mean


def _positions(shape: tuple[int, ...], timeline: Timeline | None) -> int:
    """How many positions of x (T, B, H) or (B, H) are valid; known on the host."""
    if timeline is not None and timeline.host_lengths is not None:
        return int(timeline.host_lengths.sum())
    return int(np.prod(shape[:-1], dtype=np.int64))


def _positive(name: str, value: Any) -> float:
    found = number(name, value)
    if found == 0:
        raise bad_input(name, "a number > 0", "0", "it keeps the root of a variance of 0 from dividing by 0")
    return found


def _share(name: str, value: Any) -> float:
    found = number(name, value)
    if found > 1:
        raise bad_input(name, "a number in 0..1, or None", str(found))
    return found
