"""Functions, normalisation, pooling, heads, the CRF in a gradient check: copies (`batched`) and `forward_mode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.checking.subjects import batched, forward_mode
from engine.layers.activation import Activation, activated, through
from engine.layers.crf import CRF, pair_scores
from engine.layers.heads import Heads
from engine.layers.normalisation import BatchNorm, LayerNorm
from engine.layers.pooling import Pool, at_steps, counts, last_steps, pooled
from engine.layers.timeline import clean
from kernels.duals import Dual
from kernels.gates.normalising import normalise

Array = Any  # of the layer's backend

# -- copies: every array has an axis of copies in front ----------------------------------------------------------------


@batched.run.register
def _activation(
    layer: Activation, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, None]:
    return batched.clean_layout(layer, tape, activated(layer.backend.xp, layer.kind, x)), None


@batched.run.register
def _layer_norm(
    layer: LayerNorm, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, None]:
    n = normalise(batched.clean_layout(layer, tape, x), eps=layer.eps)
    return batched.clean_layout(layer, tape, _scaled(params, n)), None


@batched.run.register
def _batch_norm(
    layer: BatchNorm, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, None]:
    x = batched.clean_layout(layer, tape, x)
    n = normalise(x, _mean(layer, tape, x.ndim), layer.eps)
    return batched.clean_layout(layer, tape, _scaled(params, n)), None


@batched.run.register
def _pool(
    layer: Pool, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, None]:
    xp, valid = layer.backend.xp, tape.timeline.valid
    x = x.swapaxes(1, 2) if layer.batch_first else x
    x = x if valid is None else xp.where(valid, x, xp.zeros_like(x))
    return pooled(layer, x, tape.timeline, params)[0], None


@batched.run.register
def _crf(
    layer: CRF, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[Any, None]:
    x = batched.clean_layout(layer, tape, x)
    y = pair_scores(layer.backend.xp, x.swapaxes(1, 2) if layer.batch_first else x, tape.timeline, params)
    return (y.swapaxes(1, 2) if layer.batch_first else y), None


@batched.run.register
def _heads(
    layer: Heads, tape: Any, params: Mapping[str, Any], x: Any, state: Any, span: slice = batched.ALL_STEPS
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    outputs, states = {}, []
    for name, part, part_tape, part_state in zip(layer.names, layer.layers, tape.tapes, state, strict=True):
        outputs[name], last = batched.run(part, part_tape, _own(params, name), x, part_state, span)
        states.append(last)
    return outputs, tuple(states)


def _own(values: Mapping[str, Array], name: str) -> dict[str, Array]:
    """The entries of one of several layers, by their own names."""
    return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}


def _scaled(params: Mapping[str, Array], n: Array) -> Array:
    """weight * n + bias, each with as many axes as n."""
    weight, bias = (params[name].reshape(-1, *(1,) * (n.ndim - 2), n.shape[-1]) for name in ("weight", "bias"))
    return weight * n + bias


def _mean(layer: BatchNorm, tape: Any, ndim: int) -> Callable[[Array], Array]:
    """The mean of each copy and feature over all valid positions; real and imaginary part apart."""
    xp, timeline = layer.backend.xp, tape.timeline
    valid = None if timeline is None else timeline.valid
    if valid is None:
        count, weight = max(_positions(tape.shape), 1), 1.0
    else:
        count, weight = max(int(timeline.host_lengths.sum()), 1), valid.swapaxes(0, 1) if layer.batch_first else valid

    def mean(values: Array) -> Array:
        if xp.iscomplexobj(values):
            return mean(values.real) + 1j * mean(values.imag)
        values = values * weight
        rows = values.reshape(len(values), -1, values.shape[-1])
        return rows.sum(axis=1).reshape(len(values), *(1,) * (ndim - 2), values.shape[-1]) / count

    return mean


def _positions(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape[:-1]:
        found *= int(size)
    return found


# -- forward mode ------------------------------------------------------------------------------------------------------


@forward_mode.jvp.register
def _activation_jvp(
    layer: Activation, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, None]:
    xp = layer.backend.xp
    return clean(xp, through(xp, layer.kind, tape.kept, x_dot), tape.timeline, layer.batch_first), None


@forward_mode.jvp.register
def _layer_norm_jvp(
    layer: LayerNorm, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, None]:
    x_dot = clean(layer.backend.xp, x_dot, tape.timeline, layer.batch_first)
    return _scaled_dot(layer, tape, params_dot, normalise(Dual(tape.kept, x_dot), eps=layer.eps)), None


@forward_mode.jvp.register
def _batch_norm_jvp(
    layer: BatchNorm, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[Any, None]:
    x, running_mean, scale = tape.kept
    x = Dual(x, clean(layer.backend.xp, x_dot, tape.timeline, layer.batch_first))
    if scale is not None:
        return _scaled_dot(layer, tape, params_dot, (x - running_mean) * scale), None
    plain = _mean(layer, tape, x.value.ndim + 1)

    def mean(values: Dual) -> Dual:
        return Dual(plain(values.value[None])[0], plain(values.dot[None])[0])

    return _scaled_dot(layer, tape, params_dot, normalise(x, mean, layer.eps)), None


def _scaled_dot(layer: Any, tape: Any, params_dot: Mapping[str, Any], n: Dual) -> Array:
    weight, weight_dot = layer.params["weight"], params_dot["weight"]
    y_dot = weight_dot * n.value + weight * n.dot + params_dot["bias"]  # y = weight * n + bias
    return clean(layer.backend.xp, y_dot, tape.timeline, layer.batch_first)


@forward_mode.jvp.register
def _pool_jvp(layer: Pool, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, None]:
    xp, timeline, (_, B, H) = layer.backend.xp, tape.timeline, tape.shape
    if timeline.empty:
        return xp.zeros((B, H), dtype=layer.dtype), None
    x_dot = timeline.clean(x_dot.swapaxes(0, 1) if layer.batch_first else x_dot)
    if layer.kind == "last":
        half = H // layer.directions
        last = x_dot[last_steps(xp, timeline), xp.arange(B)]
        return xp.concatenate([last[:, :half], x_dot[0, :, half:]], axis=1), None
    if layer.kind == "mean":
        return x_dot.sum(axis=0) / counts(xp, timeline, layer.dtype)[:, None], None
    if layer.kind == "max":
        return at_steps(xp, x_dot, tape.chosen), None
    x, a = tape.x, tape.weights
    s_dot = x_dot @ layer.params["weight"] + x @ params_dot["weight"]  # s_t = x_t . w
    a_dot = a * (s_dot - (a * s_dot).sum(axis=0))  # a = softmax(s) over t
    return (a_dot[:, :, None] * x + a[:, :, None] * x_dot).sum(axis=0), None  # y = sum_t a_t x_t


@forward_mode.jvp.register
def _crf_jvp(layer: CRF, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any) -> tuple[Any, None]:
    xp, timeline = layer.backend.xp, tape.timeline
    x_dot = timeline.clean(x_dot.swapaxes(0, 1) if layer.batch_first else x_dot)
    y_dot = pair_scores(xp, x_dot, timeline, params_dot)  # y is linear in x and in the parameters together
    return (y_dot.swapaxes(0, 1) if layer.batch_first else y_dot), None


@forward_mode.jvp.register
def _heads_jvp(
    layer: Heads, tape: Any, params_dot: Mapping[str, Any], x_dot: Any, state_dot: Any
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    outputs, states = {}, []
    given = (None,) * len(layer.layers) if state_dot is None else state_dot
    for name, part, part_tape, part_dot in zip(layer.names, layer.layers, tape.tapes, given, strict=True):
        outputs[name], last = forward_mode.jvp(part, part_tape, _own(params_dot, name), x_dot, part_dot)
        states.append(last)
    return outputs, tuple(states)
