"""Gradients that are zero by structure or at this place, of which rounding leaves 1e-17 on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard import nets
from benchmarks.checker.hard.case import HIDDEN, NOT_WRONG, Pair, case, softmax


def batch_norm_layer(rng: Generator, size: int, width: int, eps: float = 1e-5) -> Pair:
    def forward(x: Any, w: Any, b: Any) -> Any:
        a = x @ w + b
        m = a - a.mean(axis=0)
        s = np.sqrt((m * m).mean(axis=0) + eps)
        return m / s, (x, w, m / s, s)

    def backward(d: Any, cache: Any) -> Any:
        x, w, y, s = cache
        da = (d - d.mean(axis=0) - y * (d * y).mean(axis=0)) / s
        return da @ w.T, x.T @ da, da.sum(axis=0)

    return forward, backward, [rng.normal(size=(size, 3)), rng.normal(size=(3, width)), rng.normal(size=width)]


@case()
def bias_before_batch_norm(rng: Generator) -> Pair:
    return batch_norm_layer(rng, 6, 3)


@case()
def bias_before_a_wide_batch_norm(rng: Generator) -> Pair:
    return batch_norm_layer(rng, 11, 8)


@case()
def shift_before_layer_norm(rng: Generator) -> Pair:
    def forward(x: Any, shift: Any) -> Any:
        a = x + shift
        m = a - a.mean(axis=1, keepdims=True)
        s = np.sqrt((m * m).mean(axis=1, keepdims=True) + 1e-5)
        return m / s, (m / s, s)

    def backward(d: Any, cache: Any) -> Any:
        y, s = cache
        da = (d - d.mean(axis=1, keepdims=True) - y * (d * y).mean(axis=1, keepdims=True)) / s
        return da, da.sum(axis=1, keepdims=True)

    return forward, backward, [rng.normal(size=(4, 5)), rng.normal(size=(4, 1))]


@case()
def shift_of_all_logits(rng: Generator) -> Pair:
    def forward(z: Any, shift: Any) -> Any:
        p = softmax(z + shift)
        return -np.log(p[:, 0]).mean(), p

    def backward(d: Any, p: Any) -> Any:
        q = p.copy()
        q[:, 0] -= 1
        q *= d / len(p)
        return q, np.array(q.sum())

    return forward, backward, [rng.normal(size=(5, 4)), np.array(0.3)]


@case()
def shift_of_each_row_of_logits(rng: Generator) -> Pair:
    def backward(d: Any, p: Any) -> Any:
        q = p * (d - (d * p).sum(axis=1, keepdims=True))
        return q, q.sum(axis=1, keepdims=True)

    return lambda z, s: (softmax(z + s), softmax(z + s)), backward, [rng.normal(size=(4, 3)), rng.normal(size=(4, 1))]


@case()
def bias_of_keys(rng: Generator) -> Pair:
    attend, attend_back, (q, k, v) = nets.attention(*(rng.normal(size=(4, 3)) for _ in range(3)))

    def backward(d: Any, cache: Any) -> Any:
        dq, dk, dv = attend_back(d, cache)
        return dq, dk, dv, dk.sum(axis=0)

    return lambda q, k, v, b: attend(q, k + b, v), backward, [q, k, v, rng.normal(size=3)]


@case()
def first_query_under_a_causal_mask(rng: Generator) -> Pair:
    return nets.attention(*(rng.normal(size=(4, 2)) for _ in range(3)), causal=True)


@case()
def one_query_one_key(rng: Generator) -> Pair:
    return nets.attention(*(rng.normal(size=(1, 3)) for _ in range(3)))


@case()
def sum_of_probabilities(rng: Generator) -> Pair:
    def backward(d: Any, cache: Any) -> Any:
        x, p = cache
        dp = np.stack([np.broadcast_to(d[0][:, None], p.shape), d[1][:, None] * x]).sum(axis=0)
        return d[1][:, None] * p + p * (dp - (dp * p).sum(axis=1, keepdims=True))

    def forward(x: Any) -> Any:
        p = softmax(x)
        return np.stack([p.sum(axis=1), (p * x).sum(axis=1)]), (x, p)

    return forward, backward, [rng.normal(size=(3, 4))]


@case()
def sum_of_centred_numbers(rng: Generator) -> Pair:
    def forward(x: Any, b: Any) -> Any:
        a = x * x + b
        return (a - a.mean()) * 3.0, x

    def backward(d: Any, x: Any) -> Any:
        da = 3.0 * (d - d.mean())
        return da * 2 * x, np.array(da.sum())

    return forward, backward, [rng.normal(size=(3, 4)), np.array(0.7)]


@case(HIDDEN)
def difference_of_equal_terms(rng: Generator) -> Pair:
    def backward(d: Any, cache: Any) -> Any:
        return d, (d * 3.7).sum(axis=0) + (d * -3.7).sum(axis=0)

    return lambda x, b: (x + 3.7 * b - 3.7 * b, None), backward, [rng.normal(size=(3, 2)), rng.normal(size=2)]


@case(HIDDEN)
def length_of_a_unit_vector(rng: Generator) -> Pair:
    """A factor before normalisation changes nothing."""

    def forward(x: Any, s: Any) -> Any:
        a = s * x
        n = np.sqrt((a * a).sum(axis=1, keepdims=True))
        return a / n, (x, s, a / n, n)

    def backward(d: Any, cache: Any) -> Any:
        x, s, y, n = cache
        da = (d - y * (d * y).sum(axis=1, keepdims=True)) / n
        return s * da, np.array((da * x).sum())

    return forward, backward, [rng.normal(size=(3, 4)), np.array(1.7)]


@case()
def an_input_that_is_not_used(rng: Generator) -> Pair:
    return lambda x, y: (np.sin(x), (x, y)), lambda d, c: (d * np.cos(c[0]), 0.0 * c[1]), [rng.normal(size=3)] * 2


@case(complex=NOT_WRONG)
def units_that_are_off(rng: Generator) -> Pair:
    x, w, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), np.array([-50.0, 0.3, -40.0, 0.1, -0.2])

    def backward(d: Any, cache: Any) -> Any:
        x, w, a = cache
        da = d * (a > 0)
        return da @ w.T, x.T @ da, da.sum(axis=0)

    return lambda x, w, b: (np.maximum(x @ w + b, 0.0), (x, w, x @ w + b)), backward, [x, w, b]


@case()
def columns_that_a_mask_drops(rng: Generator) -> Pair:
    mask = np.array([1.0, 0.0, 2.0, 0.0])
    return lambda x: (np.sin(x) * mask, x), lambda d, x: d * mask * np.cos(x), [rng.normal(size=(3, 4))]


# -- gradients that pass through zero at this place ------------------------------------------------------------------


@case()
def squares_at_their_minimum(rng: Generator) -> Pair:
    offset = rng.normal(size=(2, 3))
    return lambda x: ((x - offset) ** 2 + 0.7, x), lambda d, x: 2.0 * d * (x - offset), [offset.copy()]


@case()
def a_sine_at_its_top(rng: Generator) -> Pair:
    x = np.pi * (rng.integers(-2, 3, size=(2, 3)) + 0.5)
    return lambda x: (np.sin(x), x), lambda d, x: d * np.cos(x), [x]


@case()
def the_mean_square_of_a_perfect_fit(rng: Generator) -> Pair:
    x, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 2))
    target = x @ w

    def forward(x: Any, w: Any) -> Any:
        return ((x @ w - target) ** 2).mean(), (x, w)

    def backward(d: Any, cache: Any) -> Any:
        x, w = cache
        dy = 2.0 * d * (x @ w - target) / target.size
        return dy @ w.T, x.T @ dy

    return forward, backward, [x, w]


@case()
def the_cross_entropy_of_a_perfect_fit(rng: Generator) -> Pair:
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 5))
    target = softmax(x @ w)

    def forward(x: Any, w: Any) -> Any:
        p = softmax(x @ w)
        return -(target * np.log(p)).sum() / len(x), (x, w, p)

    def backward(d: Any, cache: Any) -> Any:
        x, w, p = cache
        dz = d * (p - target) / len(x)
        return dz @ w.T, x.T @ dz

    return forward, backward, [x, w]


@case()
def the_cosine_of_a_vector_and_its_double(rng: Generator) -> Pair:
    def forward(a: Any, b: Any) -> Any:
        lengths = np.sqrt((a * a).sum()), np.sqrt((b * b).sum())
        return (a * b).sum() / (lengths[0] * lengths[1]), (a, b, *lengths)

    def backward(d: Any, cache: Any) -> Any:
        a, b, na, nb = cache
        cosine = (a * b).sum() / (na * nb)
        return d * (b / (na * nb) - cosine * a / na**2), d * (a / (na * nb) - cosine * b / nb**2)

    a = rng.normal(size=5)
    return forward, backward, [a, 2.0 * a]
