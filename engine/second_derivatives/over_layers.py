"""Forward over backward through layers: the tangent of what a layer gives, and of what its backward gives.

`second` walks a layer forward and returns the function that walks it back.  Each layer's two walks stand side by side:
the second line of a pair is the derivative of the first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from engine.errors import bad_type
from engine.layers.activation import Activation, through
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.heads import Heads
from engine.layers.linear import Linear
from engine.layers.masks import apply_mask
from engine.layers.normalisation import BatchNorm, LayerNorm
from engine.layers.pooling import Pool, at_steps, pooled
from engine.layers.sequential import Sequential
from engine.layers.timeline import clean
from kernels import segment_sum
from kernels.duals import Dual, dual
from kernels.gates.normalising import normalise, normalise_backward

Array = Any  # of the layer's backend


class Products(dict[str, Any]):
    """The products by name, and what a layer keeps from one direction for the next, by layer."""

    def __init__(self, memory: dict[Any, Any]) -> None:
        super().__init__()
        self.memory = memory


#: From the gradient of y, and of the last state (None: zeros), to those of x and of the first state.
Back = Callable[[Any, Any], tuple[Any, Any]]


class Second(NamedTuple):
    """A layer's forward walk along a direction.

    Attributes
    ----------
    y : the tangent of the output; None if nothing before it moves.
    state : the tangent of the last state; None of a layer without state.
    back : takes the gradient of y as a dual number, and that of the last state; gives those of x (None if x does not
        move) and of the first state, and writes the tangent of the gradient of each parameter that moves.
    """

    y: Any
    state: Any
    back: Back


def second(
    layer: Any, tape: Any, dots: Mapping[str, Array], x_dot: Array, state_dot: Any, products: Products
) -> Second:
    """Walk a layer along a direction.

    Parameters
    ----------
    layer : any layer of the engine whose backward has a derivative here.
    tape : of the forward pass at which to differentiate.
    dots : tangent of every parameter by name; one that is left out does not move.
    x_dot : tangent of the input, in its shape; None if it does not move.
    state_dot : tangent of the initial state, in its structure; None if it does not move.
    products : takes the tangent of the gradient of each parameter that moves, by name.
    """
    if x_dot is None and state_dot is None and not dots and not isinstance(layer, Heads):
        return Second(None, None, lambda dy, dstate: (None, None))
    found = of_layer(layer, tape, dots, x_dot, state_dot, products)
    if x_dot is not None:
        return found
    return found._replace(back=lambda dy, dstate: (None, found.back(dy, dstate)[1]))


@functools.singledispatch
def of_layer(
    layer: Any, tape: Any, dots: Mapping[str, Array], x_dot: Array, state_dot: Any, products: Products
) -> Second:
    """See `second`; something moves."""
    known = "Recurrent, RNN, GRU, LSTM, Linear, Activation, Embedding, Dropout, LayerNorm, BatchNorm, Pool"
    raise bad_type(
        "model", f"layers with second derivatives ({known}, Sequential or Heads)", f"a {type(layer).__name__}"
    )


@of_layer.register
def _linear(layer: Linear, tape: Any, dots: Mapping[str, Array], x_dot: Array, state_dot: Any, products: Any) -> Second:
    xp, multiply, D, V = layer.backend.xp, layer.backend.kernels.matmul, layer.in_features, layer.out_features
    x, weight, moved = tape.kept.reshape(-1, D), layer.params["weight"], dots.get("weight")
    x_dot = None if x_dot is None else clean(xp, x_dot, tape.timeline, layer.batch_first).reshape(-1, D)
    y_dot = xp.zeros((len(x), V), dtype=layer.dtype)  # y = x W' + b
    y_dot = y_dot if x_dot is None else y_dot + multiply(x_dot, weight.T)
    y_dot = y_dot if moved is None else y_dot + multiply(x, moved.T)
    y_dot = y_dot if "bias" not in dots else y_dot + dots["bias"]
    y_dot = y_dot.reshape(*tape.shape[:-1], V)

    def back(dy: Dual, dstate: Any) -> tuple[Dual | None, None]:
        dy = dy.each(lambda part: clean(xp, part, tape.timeline, layer.batch_first).reshape(-1, V))
        rows, rows_dot = dy.value, dy.dot
        if "weight" in dots:
            dweight_dot = multiply(rows_dot.T, x)  # dW = dy' x
            products["weight"] = dweight_dot if x_dot is None else dweight_dot + multiply(rows.T, x_dot)
        if "bias" in dots:
            products["bias"] = rows_dot.sum(axis=0)  # db = sum of dy
        if x_dot is None:
            return None, None
        dx_dot = multiply(rows_dot, weight)  # dx = dy W
        dx_dot = dx_dot if moved is None else dx_dot + multiply(rows, moved)
        return Dual(multiply(rows, weight).reshape(tape.shape), dx_dot.reshape(tape.shape)), None

    return Second(clean(xp, y_dot, tape.timeline, layer.batch_first), None, back)


@of_layer.register
def _activation(layer: Activation, tape: Any, dots: Any, x_dot: Array, state_dot: Any, products: Any) -> Second:
    xp, kind, y = layer.backend.xp, layer.kind, tape.kept
    x_dot = clean(xp, x_dot, tape.timeline, layer.batch_first)
    y_dot = through(xp, kind, y, x_dot)

    def back(dy: Dual, dstate: Any) -> tuple[Dual, None]:
        dy = dy.each(lambda part: clean(xp, part, tape.timeline, layer.batch_first))
        d, dx_dot = dy.value, through(xp, kind, y, dy.dot)
        if kind == "softmax":  # dx = y (dy - sum of dy y)
            dx_dot = dx_dot + y_dot * (d - (y * d).sum(axis=-1)[..., None]) - y * (y_dot * d).sum(axis=-1)[..., None]
        elif kind != "relu":  # dx = dy y (1 - y), or dy (1 - y^2)
            dx_dot = dx_dot + d * y_dot * (1 - 2 * y if kind == "sigmoid" else -2 * y)
        return Dual(through(xp, kind, y, d), dx_dot), None

    return Second(y_dot, None, back)


@of_layer.register
def _embedding(
    layer: Embedding, tape: Any, dots: Mapping[str, Array], x_dot: Array, state_dot: Any, products: Any
) -> Second:
    backend, ids = layer.backend, tape.kept.reshape(-1)
    shape = (*tape.kept.shape, layer.embedding_dim)
    if "weight" in dots:  # y = weight[ids]
        y_dot = dots["weight"][backend.asarray(tape.kept)].reshape(layer.joined_shape(shape))
    else:
        y_dot = backend.xp.zeros(layer.joined_shape(shape), dtype=layer.dtype)

    def back(dy: Dual, dstate: Any) -> tuple[None, None]:
        gradient, places = backend.xp.zeros_like(layer.params["weight"]), (ids >= 0).nonzero()[0]
        if places.size:  # each place adds to the row that it was read from, in backward's own order
            order = places[ids[places].argsort(kind="stable")]
            rows, tables = segment_sum.plan(ids, order)
            read = segment_sum.upload(backend.asarray, tables)
            gradient[backend.asarray(rows)] += segment_sum.add_up(backend.xp, dy.dot.reshape(ids.size, -1), read)
        products["weight"] = gradient
        return None, None

    return Second(clean(backend.xp, y_dot, tape.timeline, layer.batch_first), None, back)


@of_layer.register
def _dropout(layer: Dropout, tape: Any, dots: Any, x_dot: Array, state_dot: Any, products: Any) -> Second:
    xp, mask = layer.backend.xp, tape.kept

    def masked(values: Array) -> Array:  # y = x * mask, so dx = dy * mask
        values = clean(xp, values, tape.timeline, layer.batch_first)
        return values if mask is None else apply_mask(xp, values, mask)

    y_dot = None if x_dot is None else masked(x_dot)
    return Second(y_dot, None, lambda dy, dstate: (dy.each(masked), None))


@of_layer.register(LayerNorm)
@of_layer.register(BatchNorm)
def _normalisation(layer: Any, tape: Any, dots: Any, x_dot: Array, state_dot: Any, products: Any) -> Second:
    xp, H = layer.backend.xp, layer.num_features

    def cleaned(values: Dual) -> Dual:
        return values.each(lambda part: clean(xp, part, tape.timeline, layer.batch_first))

    kept = (tape.kept, None, None) if isinstance(layer, LayerNorm) else tape.kept
    x = cleaned(Dual(kept[0], xp.zeros_like(kept[0]) if x_dot is None else x_dot))
    weight = Dual(layer.params["weight"], dots["weight"]) if "weight" in dots else dual(layer.params["weight"])
    bias = Dual(layer.params["bias"], dots["bias"]) if "bias" in dots else dual(layer.params["bias"])
    if kept[2] is not None:
        n = (x - kept[1]) * kept[2]  # the running statistics do not move

        def reverse(dn: Dual) -> Dual:
            return dn * kept[2]
    else:
        options = {} if isinstance(layer, LayerNorm) else {"mean": _mean_of_duals(layer, tape)}
        n = cleaned(normalise(x, eps=layer.eps, **options))

        def reverse(dn: Dual) -> Dual:
            return normalise_backward(dn, x, n, eps=layer.eps, **options)

    def back(dy: Dual, dstate: Any) -> tuple[Dual, None]:
        dy = cleaned(dy)
        products["weight"] = (dy * n).dot.reshape(-1, H).sum(axis=0)  # y = weight * n + bias
        products["bias"] = dy.dot.reshape(-1, H).sum(axis=0)  # y = weight * n + bias
        return cleaned(reverse(dy * weight)), None  # y = weight * n + bias; n = normalise(x); x = clean(x)

    return Second(cleaned(weight * n + bias).dot, None, back)


def _mean_of_duals(layer: BatchNorm, tape: Any) -> Callable[[Dual], Dual]:
    """The mean over all valid positions, of values and of tangents."""
    mean = layer._mean_of(tape.kept.x.shape, tape.timeline)
    return lambda values: Dual(mean(values.value), mean(values.dot))


@of_layer.register
def _pool(layer: Pool, tape: Any, dots: Any, x_dot: Array, state_dot: Any, products: Any) -> Second:
    xp, timeline, (T, B, H) = layer.backend.xp, tape.timeline, tape.shape
    time_major = x_dot is not None and layer.batch_first
    x_dot = xp.zeros((T, B, H), dtype=layer.dtype) if x_dot is None else x_dot
    x_dot = timeline.clean(x_dot.swapaxes(0, 1) if time_major else x_dot)
    if layer.kind == "attention" and not timeline.empty:
        return _attention_pool(layer, tape, dots, x_dot, products)
    if layer.kind == "max" and not timeline.empty:
        y_dot = at_steps(xp, x_dot, tape.chosen)
    else:
        y_dot = pooled(layer, x_dot, timeline, layer.params)[0]

    def back(dy: Dual, dstate: Any) -> tuple[Dual, None]:
        if layer.params:
            products["weight"] = xp.zeros_like(layer.params["weight"])
        return dy.each(lambda part: layer.backward(tape, part)[0]), None  # backward is linear in dy

    return Second(y_dot, None, back)


def _attention_pool(layer: Pool, tape: Any, dots: Any, x_dot: Array, products: Any) -> Second:
    x, a, w = Dual(tape.x, x_dot), tape.weights, dual(layer.params["weight"])
    w = Dual(w.value, dots["weight"]) if "weight" in dots else w
    s_dot = (x * w).dot.sum(axis=2)  # s_t = x_t . w
    a = Dual(a, a * (s_dot - (a * s_dot).sum(axis=0)))  # a = softmax(s) over t

    def back(dy: Dual, dstate: Any) -> tuple[Dual, None]:
        da = (dy * x).sum(axis=2)  # y = sum_t a_t x_t
        ds = a * (da - (a * da).sum(axis=0))  # a = softmax(s) over t
        products["weight"] = (ds[:, :, None] * x).dot.sum(axis=(0, 1))  # s_t = x_t . w
        dx = a[:, :, None] * dy + ds[:, :, None] * w  # y = sum_t a_t x_t; s_t = x_t . w
        return dx.each(lambda part: layer._leave(tape.timeline.clean(part))), None  # x = clean(x)

    return Second((a[:, :, None] * x).dot.sum(axis=0), None, back)


@of_layer.register
def _sequential(
    layer: Sequential, tape: Any, dots: Mapping[str, Array], x_dot: Any, state_dot: Any, products: Any
) -> Second:
    walks, states, inside, found = [], [], _parts(layer, tape, dots, state_dot), _inside(layer, products)
    for (part, part_tape, own, part_dot), into in zip(inside, found, strict=True):
        walk = second(part, part_tape, own, x_dot, part_dot, into)
        x_dot = walk.y
        walks.append(walk)
        states.append(walk.state)

    def back(dy: Any, dstate: Any) -> tuple[Any, tuple[Any, ...]]:
        dstates: list[Any] = []
        for walk in reversed(walks):
            dy, part = (None, None) if dy is None else walk.back(dy, None)  # below, nothing moves
            dstates.insert(0, part)
        _gather(layer, found, products)
        return dy, tuple(dstates)

    return Second(x_dot, tuple(states), back)


@of_layer.register
def _heads(layer: Heads, tape: Any, dots: Mapping[str, Array], x_dot: Any, state_dot: Any, products: Any) -> Second:
    inside, found = _parts(layer, tape, dots, state_dot), _inside(layer, products)
    walks = [
        second(part, part_tape, own, x_dot, part_dot, into)
        for (part, part_tape, own, part_dot), into in zip(inside, found, strict=True)
    ]

    def back(dy: Mapping[str, Dual], dstate: Any) -> tuple[Any, tuple[Any, ...]]:
        pairs = [walk.back(dy[name], None) for name, walk in zip(layer.names, walks, strict=True)]
        _gather(layer, found, products)
        parts = [dx for dx, _ in pairs if dx is not None]  # y_1 = head_1(x), y_2 = head_2(x), ...
        return (sum(parts[1:], parts[0]) if parts else None), tuple(part for _, part in pairs)

    y = {name: walk.y for name, walk in zip(layer.names, walks, strict=True)}
    return Second(y, tuple(walk.state for walk in walks), back)


def _parts(layer: Any, tape: Any, dots: Mapping[str, Array], state_dot: Any) -> list[tuple[Any, ...]]:
    """For each layer that this one holds: the layer, its tape, its part of `dots` and of the state."""
    given = layer._split("direction['state']", state_dot)
    found = []
    for (name, part), part_tape, part_dot in zip(layer.named_parts(), tape.tapes, given, strict=True):
        prefix = f"{name}."
        own = {full[len(prefix) :]: dot for full, dot in dots.items() if full.startswith(prefix)}
        found.append((part, part_tape, own, part_dot))
    return found


def _inside(layer: Any, products: Products) -> list[Products]:
    """For each layer that this one holds, what takes its products."""
    return [Products(products.memory.setdefault(name, {})) for name, _ in layer.named_parts()]


def _gather(layer: Any, found: list[Products], products: Products) -> None:
    for (name, _), part in zip(layer.named_parts(), found, strict=True):
        products |= {f"{name}.{own}": value for own, value in part.items()}
