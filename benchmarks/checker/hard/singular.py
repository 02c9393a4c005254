"""Small values, poles, and points at which derivatives of all orders are 0 or without bound."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard.case import HIDDEN, NOT_WRONG, OK, Pair, case, pointwise, sigmoid


def small(rng: Generator, low: float, high: float, *shape: int) -> np.ndarray:
    return 10.0 ** rng.uniform(low, high, size=shape)


@case()
def logarithm_near_zero(rng: Generator) -> Pair:
    return pointwise(np.log, lambda x: 1 / x, small(rng, -8, 0, 3, 4))


@case()
def logarithm_of_a_few_tiny_numbers(rng: Generator) -> Pair:
    return pointwise(np.log, lambda x: 1 / x, small(rng, -14, -10, 5))


@case()
def square_root_near_zero(rng: Generator) -> Pair:
    return pointwise(np.sqrt, lambda x: 0.5 / np.sqrt(x), small(rng, -10, 0, 3, 4))


@case()
def reciprocal_near_zero(rng: Generator) -> Pair:
    return pointwise(lambda x: 1 / x, lambda x: -1 / x**2, small(rng, -6, 0, 2, 5) * rng.choice([-1, 1], size=(2, 5)))


@case()
def power_of_three_halves(rng: Generator) -> Pair:
    return pointwise(lambda x: x**1.5, lambda x: 1.5 * np.sqrt(x), small(rng, -6, 0, 6))


@case()
def entropy_terms(rng: Generator) -> Pair:
    return pointwise(lambda p: -p * np.log(p), lambda p: -np.log(p) - 1, small(rng, -9, -0.5, 3, 3))


@case()
def squares_at_zero(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 3))
    x[0] = 0.0
    return pointwise(lambda x: x * x, lambda x: 2 * x, x)


@case()
def cubes_at_zero(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 3))
    x[0] = 0.0
    return pointwise(lambda x: x**3, lambda x: 3 * x**2, x)


@case(HIDDEN)
def fourth_powers_at_zero(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 3))
    x[0] = 0.0
    return pointwise(lambda x: x**4, lambda x: 4 * x**3, x)


@case(complex=NOT_WRONG)
def norm_of_a_short_vector(rng: Generator) -> Pair:
    x = 1e-6 * rng.normal(size=(3, 4))
    return (
        lambda x: (np.sqrt((x * x).sum(axis=1)), x),
        lambda d, x: d[:, None] * x / np.sqrt((x * x).sum(axis=1, keepdims=True)),
        [x],
    )


@case()
def smooth_absolute_value_at_zero(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 3))
    x[1] = 0.0
    return pointwise(lambda x: np.sqrt(x * x + 1e-12), lambda x: x / np.sqrt(x * x + 1e-12), x)


def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> Pair:
    """y = gain (x - mean) / sqrt(var + eps) + bias."""

    def forward(x: Any, gain: Any, bias: Any) -> Any:
        m = x - x.mean(axis=-1, keepdims=True)
        s = np.sqrt((m * m).mean(axis=-1, keepdims=True) + eps)
        return gain * (m / s) + bias, (m / s, s, gain)

    def backward(d: Any, cache: Any) -> Any:
        n, s, gain = cache
        dn = d * gain
        dx = (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True)) / s
        return dx, (d * n).sum(axis=0), d.sum(axis=0)

    return forward, backward, [x, gain, bias]


@case()
def layer_norm_plain(rng: Generator) -> Pair:
    return layer_norm(rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=5), 1e-5)


@case(taylor=HIDDEN)
def layer_norm_of_a_zero_row(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 5))
    x[1] = 0.0
    return layer_norm(x, rng.normal(size=5), rng.normal(size=5), 1e-12)


@case(taylor=HIDDEN)
def layer_norm_of_a_constant_row(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 4))
    x[2] = 0.75
    return layer_norm(x, rng.normal(size=4), rng.normal(size=4), 1e-5)


@case()
def layer_norm_of_small_rows(rng: Generator) -> Pair:
    return layer_norm(1e-4 * rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4), 1e-12)


@case()
def arcsine_near_one(rng: Generator) -> Pair:
    return pointwise(np.arcsin, lambda x: 1 / np.sqrt(1 - x * x), 1.0 - small(rng, -5, -1, 6))


@case()
def inverse_tanh_near_one(rng: Generator) -> Pair:
    return pointwise(np.arctanh, lambda x: 1 / (1 - x * x), 1.0 - small(rng, -5, -1, 6))


@case()
def tangent_near_its_pole(rng: Generator) -> Pair:
    return pointwise(np.tan, lambda x: 1 / np.cos(x) ** 2, np.pi / 2 - small(rng, -4, -0.5, 6))


@case()
def logit_near_its_ends(rng: Generator) -> Pair:
    p = np.concatenate([small(rng, -8, -1, 4), 1 - small(rng, -5, -1, 4)])
    return pointwise(lambda p: np.log(p) - np.log1p(-p), lambda p: 1 / (p * (1 - p)), p)


@case()
def cross_entropy_of_small_probabilities(rng: Generator) -> Pair:
    p, t = small(rng, -7, -0.3, 3, 4), rng.random((3, 4))
    return lambda p: (-(t * np.log(p)).sum(axis=1), p), lambda d, p: -d[:, None] * t / p, [p]


@case()
def swish_and_its_flat_point(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 3)) * 3
    x[0, 0] = -1.2784645427610738  # the slope is 0 there
    return pointwise(lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))), x)


@case(OK)
def cosine_at_its_top(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 3))
    x[:, 1] = 0.0
    return pointwise(np.cos, lambda x: -np.sin(x), x)
