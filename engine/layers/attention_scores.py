"""What a query finds in a memory: scores, softmax and mean, for `Attention` and for its gradient check."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.layers.timeline import Timeline
from kernels.activations import activations, matmul

if TYPE_CHECKING:
    from engine.layers.attention import Attention

Array = Any  # of the layer's backend


def rows(values: Array) -> Array:
    """(..., H) as a matrix with H columns."""
    return values.reshape(-1, values.shape[-1])


def valid_of(layer: Attention, timeline: Timeline) -> Array | None:
    """(B, 1, S) which steps of the memory are valid; None: all."""
    if timeline.lengths is None:
        return None
    return (layer.backend.xp.arange(timeline.steps) < timeline.lengths[:, None])[:, None]


def attend(
    layer: Attention, params: Mapping[str, Array], q: Array, m: Array, valid: Array | None
) -> tuple[Array, Array, Array | None]:
    """What the queries find, their weights, and what backward needs of the scores.

    Parameters
    ----------
    params : by name; where q and m have axes in front, the copies of a gradient check, the parameters have them too.
    q, m : (..., B, T, Hq) and (..., B, S, Hm), the pads of m 0.
    valid : (B, 1, S) or None.

    Returns
    -------
    y (..., B, T, Hm), weights (..., B, T, S), inner: see `AttentionTape`.
    """
    xp, inner = layer.backend.xp, None
    product = functools.partial(matmul, xp)
    if layer.kind == "additive":
        from_query = _times(layer, q, params["weight_query"].swapaxes(-1, -2))[..., :, None, :]
        from_memory = _times(layer, m, params["weight_memory"].swapaxes(-1, -2))[..., None, :, :]
        inner = activations(xp)["tanh"](from_query + from_memory)  # act_ts = tanh(Wq q_t + Wm m_s)
        e = _times(layer, inner, params["weight_score"][..., None])[..., 0]  # e_ts = act_ts . v
    elif layer.kind == "general":
        inner = _times(layer, q, params["weight"])  # p_t = q_t W
        e = product(inner, m.swapaxes(-1, -2))  # e_ts = p_t . m_s
    else:
        e = product(q, m.swapaxes(-1, -2))  # e_ts = q_t . m_s
    a = _softmax(xp, e, valid)
    return product(a, m), a, inner  # y_t = sum_s a_ts m_s


def _times(layer: Attention, values: Array, weight: Array) -> Array:
    """values @ weight over the last axis: in one large product, or copy by copy where the weight has axes in front."""
    if weight.ndim == 2:
        found = layer.backend.kernels.matmul(rows(values), weight)
        return found.reshape(*values.shape[:-1], weight.shape[-1])
    between = (1,) * (values.ndim - weight.ndim)
    return matmul(layer.backend.xp, values, weight.reshape(*weight.shape[:-2], *between, *weight.shape[-2:]))


def _softmax(xp: Any, e: Array, valid: Array | None) -> Array:
    """Softmax over the valid steps, the last axis; zeros for a row without any."""
    if e.shape[-1] == 0:
        return e
    size = e.real if valid is None else xp.where(valid, e.real, -math.inf)
    top = xp.max(size, axis=-1)[..., None]
    grown = xp.exp(e - xp.where(xp.isfinite(top), top, xp.zeros_like(top)))  # no exponential overflows
    grown = grown if valid is None else xp.where(valid, grown, xp.zeros_like(grown))
    total = grown.sum(axis=-1)[..., None]
    return grown / (total + (total == 0))
