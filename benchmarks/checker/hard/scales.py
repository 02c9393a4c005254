"""Numbers that are large, small, whole, or of few digits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard.case import HIDDEN, NOT_WRONG, Pair, case, pointwise, softmax, softmax_back


def product(x: np.ndarray, w: np.ndarray) -> Pair:
    return lambda x, w: (x @ w, (x, w)), lambda d, c: (d @ c[1].T, c[0].T @ d), [x, w]


@case()
def product_of_whole_numbers(rng: Generator) -> Pair:
    return product(rng.integers(-3, 4, size=(4, 3)).astype(float), rng.integers(-3, 4, size=(3, 5)).astype(float))


@case()
def product_of_large_numbers(rng: Generator) -> Pair:
    return product(1e6 * rng.normal(size=(3, 4)), 1e6 * rng.normal(size=(4, 2)))


@case()
def product_of_small_numbers(rng: Generator) -> Pair:
    return product(1e-6 * rng.normal(size=(3, 4)), 1e-6 * rng.normal(size=(4, 2)))


@case()
def product_of_large_and_small(rng: Generator) -> Pair:
    return product(1e8 * rng.normal(size=(3, 4)), 1e-8 * rng.normal(size=(4, 2)))


@case()
def columns_of_all_scales(rng: Generator) -> Pair:
    scale = 10.0 ** np.array([-4, -2, 0, 2, 4])
    return pointwise(
        lambda x: np.tanh(x / scale), lambda x: (1 - np.tanh(x / scale) ** 2) / scale, rng.normal(size=(3, 5)) * scale
    )


@case(HIDDEN)
def a_small_thing_on_a_large_offset(rng: Generator) -> Pair:
    return pointwise(lambda x: 1e8 + np.sin(x), np.cos, rng.normal(size=(3, 4)))


@case()
def exponential_of_twenty(rng: Generator) -> Pair:
    return pointwise(np.exp, np.exp, rng.uniform(-20, 20, size=(3, 4)))


@case()
def polynomial_far_out(rng: Generator) -> Pair:
    return pointwise(lambda x: x**3 - 5 * x, lambda x: 3 * x**2 - 5, rng.uniform(50, 200, size=(2, 4)))


@case()
def outputs_of_a_millionth(rng: Generator) -> Pair:
    return pointwise(lambda x: 1e-9 * np.tanh(x), lambda x: 1e-9 * (1 - np.tanh(x) ** 2), rng.normal(size=(3, 4)))


@case()
def many_terms(rng: Generator) -> Pair:
    x = rng.normal(size=500)
    return lambda x: (np.sum(x * x) / 500, x), lambda d, x: d * 2 * x / 500, [x]


@case(complex=NOT_WRONG)
def float32_inside(rng: Generator) -> Pair:
    def forward(x: Any) -> Any:
        out = np.tanh(x.astype(np.float32))
        return out, out

    return forward, lambda d, out: d * (1 - out * out), [rng.uniform(0.5, 1.5, size=(3, 4))]


@case(complex=NOT_WRONG, taylor=HIDDEN)
def float32_layer_inside(rng: Generator) -> Pair:
    def forward(x: Any, w: Any) -> Any:
        x, w = x.astype(np.float32), w.astype(np.float32)
        out = np.tanh(x @ w)
        return out.astype(np.float64), (x, w, out)

    def backward(d: Any, cache: Any) -> Any:
        x, w, out = cache
        da = d * (1 - out * out)
        return da @ w.T, x.T @ da

    return forward, backward, [rng.normal(size=(4, 3)), rng.normal(size=(3, 2))]


@case(complex=NOT_WRONG, taylor=HIDDEN)
def float32_inputs(rng: Generator) -> Pair:
    def backward(d: Any, y: Any) -> Any:
        return softmax_back(d, y)

    return lambda x: (softmax(x), softmax(x)), backward, [rng.normal(size=(3, 4)).astype(np.float32)]


@case()
def counts_as_floats(rng: Generator) -> Pair:
    x = rng.integers(1, 9, size=(3, 4)).astype(float)
    return lambda x: (x / x.sum(axis=1, keepdims=True), x), _shares_back, [x]


def _shares_back(d: Any, x: Any) -> Any:
    total = x.sum(axis=1, keepdims=True)
    return d / total - (d * x).sum(axis=1, keepdims=True) / total**2


@case()
def mean_of_whole_numbers(rng: Generator) -> Pair:
    x = rng.integers(-5, 6, size=(4, 4)).astype(float)
    return lambda x: (x.mean(axis=0), x), lambda d, x: np.tile(d / 4, (4, 1)), [x]
