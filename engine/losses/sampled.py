"""Sampled softmax: cross-entropy over a large vocabulary, from the right class and a few others drawn at random.

Bengio and Senecal (2003, 2008), Jean et al. (2015).  The costly part of the softmax is Z = sum of exp(z_k) over all V
classes.  With S classes k_1..k_S drawn from a proposal Q, the right class c apart,

    Z' = exp(z_c) + sum over s, k_s not c, of exp(z_{k_s}) / (S Q(k_s))

has the expectation Z.  So the loss log Z' - z_c is a cross-entropy in which each drawn logit is *corrected* by
-log(S Q(k)), and a draw that *hits* the right class is removed.  For S to infinity it becomes the full one; for any S
its mean lies below (Jensen), so compare models by `cross_entropy`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine.backend import Backend, backend_of, philox
from engine.backend.device_errors import explained
from engine.checks import describe, integer, one_of
from engine.errors import bad_input
from engine.losses.positions import float_dtype, on_host, positions, require_mask, summed
from engine.plain_arrays import first_place, host_integers, host_view
from kernels import segment_sum

LOG_UNIFORM = "log_uniform"


class SampledGradients(NamedTuple):
    """The gradients of `sampled_softmax`.  Only some classes have one: ``grads["weight"][rows] += weight``.

    Attributes
    ----------
    hidden : array (..., H)
        By the hidden states.
    rows : array of int (R,)
        The classes that were looked at, ascending, each once.
    weight : array (R, H)
        By their rows of the weight.
    bias : array (R,)
        By their biases.
    """

    hidden: Any
    rows: Any
    weight: Any
    bias: Any


@explained()
def sampled_softmax(
    hidden: Any,
    weight: Any,
    bias: Any,
    targets: Any,
    samples: int = 100,
    *,
    proposal: Any = LOG_UNIFORM,
    seed: int = 0,
    call: int = 0,
    mask: Any = None,
    normalizer: Any = None,
) -> tuple[Any, SampledGradients]:
    """Cross-entropy in nats over V classes from `samples` of them, the mean over valid positions, and its gradients.

    All positions share the drawn classes, so the work is one product (P, H) by (H, samples).

    Parameters
    ----------
    hidden : array (..., H)
        What the output layer would get.
    weight : array (V, H)
        The output layer's weight, as of `engine.Linear`.
    bias : array (V,) or None
        Its bias.
    targets : array of int (...), on the host
        Class indices in 0..V-1.
    samples : int
        S, how many classes are drawn, with replacement.
    proposal : str or array of float (V,)
        ``"log_uniform"``: Q(k) = log((k + 2) / (k + 1)) / log(V + 1), for classes sorted by falling frequency (Zipf).
        Or a weight > 0 for each class, on the host, such as its count.
    seed : int
        Of the draws: the same classes on every backend.
    call : int
        The number of the step: each draws anew.
    mask : array of bool, array of float or None
        The valid positions, or weights >= 0, as for `cross_entropy`.
    normalizer : float, array or None
        The divisor in place of the number (weight) of valid positions.

    Returns
    -------
    loss : array
        0-d, in the dtype of the hidden states.
    gradients : SampledGradients
        By the hidden states and by the rows of weight and bias that were looked at.

    Raises
    ------
    InputError
        For a wrong shape, a class out of range, or a proposal that is not positive.
    InputTypeError
        For a wrong dtype or another library's array.

    References
    ----------
    Jean, Cho, Memisevic and Bengio (2015), *On using very large target vocabulary*, equations 6 to 10.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> from engine.losses import sampled_softmax
    >>> head = engine.Linear(8, 5000, dtype="float64")
    >>> hidden, targets = np.random.default_rng(0).normal(size=(6, 2, 8)), np.full((6, 2), 17)
    >>> loss, found = sampled_softmax(hidden, head.params["weight"], head.params["bias"], targets, 500)
    >>> head.grads["weight"][found.rows] += found.weight
    >>> print(f"{loss:.2f} of {engine.cross_entropy(head.predict(hidden)[0], targets)[0]:.2f}")
    8.52 of 8.51
    """
    backend = backend_of(hidden, "hidden")
    xp, dtype = backend.xp, float_dtype(backend, "hidden", hidden)
    shape, H = tuple(hidden.shape[:-1]), int(hidden.shape[-1]) if hidden.ndim else 0
    backend.require("weight", weight, dtype=dtype, shape=(None, H), axes="(V, H)")
    V = int(weight.shape[0])
    if bias is not None:
        backend.require("bias", bias, dtype=dtype, shape=(V,), axes="(V,)")
    require_mask(backend, mask, dtype, shape, exact=True)
    classes = _classes(backend, targets, mask, shape, V)
    drawn, expected = draw(V, integer("samples", samples, 1), proposal, integer("seed", seed, 0), call)
    with np.errstate(all="ignore"):
        valid, scale = positions(backend, mask, normalizer, shape, dtype)
        h = hidden.reshape(-1, H)
        h = xp.copy(h) if valid is None else xp.where(valid[:, None], h, 0)
        ids = backend.asarray(np.concatenate([classes, drawn]))
        right, others = weight[ids[: len(classes)]], weight[ids[len(classes) :]]
        z_right, z = (h * right).sum(axis=1), backend.kernels.matmul(h, others.T)
        if bias is not None:
            z_right, z = z_right + bias[ids[: len(classes)]], z + bias[ids[len(classes) :]]
        z = z - backend.asarray(np.log(expected), dtype=dtype)
        z = xp.where(ids[: len(classes), None] == ids[len(classes) :], -math.inf, z)  # hits
        top = xp.maximum(z_right, xp.max(z, axis=1))
        e_right, e = xp.exp(z_right - top), xp.exp(z - top[:, None])
        total = e_right + e.sum(axis=1)
        # L = sum_i scale_i * (log Z'_i - z_right_i)
        loss = summed((xp.log(total) - (z_right - top)) * scale, xp, dtype)
        d_right = (e_right / total - 1) * scale  # L = scale * (log Z' - z_right)
        dz = e / total[:, None] * scale[:, None]  # log Z' = log(exp(z_right) + sum_s exp(z_s))
        dh = d_right[:, None] * right + backend.kernels.matmul(dz, others)  # z_right = h . right;  z = h others'
        of_rows = xp.concatenate([d_right[:, None] * h, backend.kernels.matmul(dz.T, h)])  # the same two
        of_bias = xp.concatenate([d_right, dz.sum(axis=0)])  # z = ... + bias
        rows, dweight, dbias = _by_class(backend, np.concatenate([classes, drawn]), of_rows, of_bias)
    return loss, SampledGradients(dh.reshape(hidden.shape), rows, dweight, dbias)


def draw(V: int, samples: int, proposal: Any, seed: int, call: int) -> tuple[np.ndarray, np.ndarray]:
    """The drawn classes (S,) and how often each was to be expected, S Q(k) (S,); on the host."""
    key = philox.stream_key(seed, "", f"sampled_softmax:{integer('call', call, 0)}")
    u = philox.uniform(key, (samples,), 0.0, 1.0)
    if isinstance(proposal, str):
        one_of("proposal", proposal, (LOG_UNIFORM,), "or give a weight for each class")
        drawn = np.minimum(
            np.exp(u * math.log(V + 1)).astype(np.int64) - 1, V - 1
        )  # P(k < n) = log(n + 1) / log(V + 1)
        return drawn, samples * np.log1p(1 / (drawn + 1)) / math.log(V + 1)
    host = host_view("proposal", proposal)
    if host is None or host.shape != (V,) or host.dtype.kind not in "fiu":
        got = describe(proposal) if host is None else f"{host.dtype} of shape {host.shape}"
        raise bad_input("proposal", f"'{LOG_UNIFORM}' or {V} numbers on the host, one for each class", got)
    wrong = ~((host > 0) & np.isfinite(host))
    if wrong.any():
        index = first_place(wrong)
        hint = "a class that is never drawn would be left out of every sum"
        raise bad_input("proposal", "finite numbers > 0", f"{host[index]} of class {index[0]}", hint)
    q = host / host.sum(dtype=np.float64)
    drawn = np.minimum(np.searchsorted(np.cumsum(q), u, side="right"), V - 1)
    return drawn, samples * q[drawn]


def _classes(backend: Backend, targets: Any, mask: Any, shape: tuple[int, ...], V: int) -> np.ndarray:
    """The targets (P,) on the host; 0 at masked positions."""
    host = host_integers("targets", targets, "class indices on the host", "they say which rows have a gradient")
    if host.shape != shape:
        raise bad_input("targets", f"shape {shape}, that of the hidden states without H", f"shape {host.shape}")
    counts = np.ones(shape, dtype=bool) if mask is None else on_host(backend, mask) != 0
    wrong = ((host < 0) | (host >= V)) & counts
    if wrong.any():
        index = first_place(wrong)
        raise bad_input("targets", f"class indices in 0..{V - 1}", f"{host[index]} at index {index}")
    return np.where(counts, host, 0).reshape(-1).astype(np.int64)


def _by_class(backend: Backend, ids: np.ndarray, of_rows: Any, of_bias: Any) -> tuple[Any, Any, Any]:
    """The sums over the places of each class, added in one order on every run."""
    unique, tables = segment_sum.plan(ids, np.argsort(ids, kind="stable"))
    uploaded, xp = segment_sum.upload(backend.asarray, tables), backend.xp
    sums = segment_sum.add_up(xp, of_rows, uploaded), segment_sum.add_up(xp, of_bias[:, None], uploaded)[:, 0]
    return backend.asarray(unique), *sums
