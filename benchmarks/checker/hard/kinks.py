"""On kinks and beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard.case import KINK, NEAR_KINK, NOT_WRONG, OK, Pair, case, pointwise


def with_zeros(rng: Generator, *shape: int) -> np.ndarray:
    x = rng.normal(size=shape)
    x[rng.random(shape) < 0.3] = 0.0
    x.flat[0] = 0.0
    return x


@case(KINK, complex=NOT_WRONG)
def relu_on_zeros(rng: Generator) -> Pair:
    return pointwise(lambda x: np.maximum(x, 0.0), lambda x: x > 0, with_zeros(rng, 3, 4))


@case(KINK, complex=NOT_WRONG)
def relu_that_counts_zero_in(rng: Generator) -> Pair:
    return pointwise(lambda x: np.maximum(x, 0.0), lambda x: x >= 0, with_zeros(rng, 3, 4))


@case(KINK, complex=NOT_WRONG)
def relu_of_whole_numbers(rng: Generator) -> Pair:
    x = rng.integers(-2, 3, size=(4, 5)).astype(float)
    x.flat[0] = 0.0
    return pointwise(lambda x: np.maximum(x, 0.0), lambda x: x > 0, x)


@case(KINK, complex=NOT_WRONG)
def leaky_relu_on_zeros(rng: Generator) -> Pair:
    return pointwise(lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1.0, 0.1), with_zeros(rng, 2, 5))


@case(NEAR_KINK, complex=NOT_WRONG)  # the claim is the middle of both slopes
def absolute_values_of_zeros(rng: Generator) -> Pair:
    return pointwise(np.abs, np.sign, with_zeros(rng, 4, 3))


@case(KINK, complex=NOT_WRONG)
def hard_sigmoid_on_its_corners(rng: Generator) -> Pair:
    x = rng.choice([-2.5, 2.5, 0.3, -1.0, 4.0], size=(3, 4))
    x.flat[0] = 2.5
    return pointwise(lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0), lambda x: 0.2 * (np.abs(x) < 2.5), x)


@case(KINK, complex=NOT_WRONG)
def hard_tanh_on_its_corners(rng: Generator) -> Pair:
    x = rng.choice([-1.0, 1.0, 0.5, 3.0], size=(3, 4))
    x.flat[0] = 1.0
    return pointwise(lambda x: np.clip(x, -1.0, 1.0), lambda x: np.abs(x) < 1.0, x)


@case(KINK, complex=NOT_WRONG)
def clip_of_whole_numbers(rng: Generator) -> Pair:
    x = rng.integers(-4, 5, size=(4, 4)).astype(float)
    x.flat[0] = 2.0
    return pointwise(lambda x: np.clip(x, -2.0, 2.0), lambda x: np.abs(x) <= 2.0, x)


@case(KINK, complex=NOT_WRONG)
def maximum_with_ties(rng: Generator) -> Pair:
    x = rng.integers(0, 3, size=(4, 5)).astype(float)
    x[0, :2] = 5.0

    def backward(dout: Any, c: Any) -> Any:
        dx = np.zeros_like(c)
        dx[np.arange(len(c)), c.argmax(axis=1)] = dout
        return dx

    return lambda x: (x.max(axis=1), x), backward, [x]


@case(KINK, complex=NOT_WRONG)
def pooling_with_ties(rng: Generator) -> Pair:
    x = rng.normal(size=(2, 3, 4))
    x[:, :, 1] = x[:, :, 0]

    def forward(x: Any) -> Any:
        windows = x.reshape(2, 3, 2, 2)
        return windows.max(axis=3), (windows, windows.argmax(axis=3))

    def backward(dout: Any, cache: Any) -> Any:
        windows, place = cache
        dx = np.zeros(windows.shape)
        np.put_along_axis(dx, place[..., None], dout[..., None], axis=3)
        return dx.reshape(2, 3, 4)

    return forward, backward, [x]


@case(KINK, complex=NOT_WRONG)
def the_smaller_of_two_equals(rng: Generator) -> Pair:
    a = rng.normal(size=(3, 4))
    b = np.where(rng.random((3, 4)) < 0.5, a, rng.normal(size=(3, 4)))
    b.flat[0] = a.flat[0]
    return (
        lambda a, b: (np.minimum(a, b), a <= b),
        lambda dout, first: (dout * first, dout * ~first),
        [a, b],
    )


@case(NEAR_KINK, complex=NOT_WRONG)  # the claim is the middle of both slopes
def absolute_error_of_equal_numbers(rng: Generator) -> Pair:
    target = rng.normal(size=(3, 4))
    x = target + with_zeros(rng, 3, 4)
    return lambda x: (np.abs(x - target).mean(), x), lambda d, x: d * np.sign(x - target) / x.size, [x]


@case(KINK, complex=NOT_WRONG)
def hinge_at_its_margin(rng: Generator) -> Pair:
    label = rng.choice([-1.0, 1.0], size=6)
    x = label * (1.0 + with_zeros(rng, 6))
    return (
        lambda x: (np.maximum(1.0 - label * x, 0.0), x),
        lambda d, x: np.where(1.0 - label * x > 0, -label * d, 0.0),
        [x],
    )


@case(KINK, complex=NOT_WRONG)
def shrinkage_on_its_corners(rng: Generator) -> Pair:
    x = rng.choice([-0.5, 0.5, 0.2, 1.7, -2.0], size=(2, 6))
    x.flat[0] = 0.5
    return pointwise(
        lambda x: np.where(x > 0.5, x - 0.5, np.where(x < -0.5, x + 0.5, 0.0 * x)), lambda x: np.abs(x) > 0.5, x
    )


@case(KINK, complex=NOT_WRONG)
def relu_layer_of_zero_rows(rng: Generator) -> Pair:
    x, w, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), np.zeros(5)
    x[1] = 0.0

    def backward(d: Any, cache: Any) -> Any:
        x, w, a = cache
        da = d * (a > 0)
        return da @ w.T, x.T @ da, da.sum(axis=0)

    return lambda x, w, b: (np.maximum(x @ w + b, 0.0), (x, w, x @ w + b)), backward, [x, w, b]


@case(KINK, complex=NOT_WRONG, taylor=("kink", "cannot tell"))
def two_relu_layers_of_zero_rows(rng: Generator) -> Pair:
    x, w, v = rng.normal(size=(3, 3)), rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    x[0] = 0.0

    def forward(x: Any, w: Any, v: Any) -> Any:
        a = x @ w
        return np.maximum(a, 0.0) @ v, (x, w, v, a)

    def backward(d: Any, cache: Any) -> Any:
        x, w, v, a = cache
        da = (d @ v.T) * (a > 0)
        return da @ w.T, x.T @ da, np.maximum(a, 0.0).T @ d

    return forward, backward, [x, w, v]


@case(NEAR_KINK)
def relu_very_close_to_zero(rng: Generator) -> Pair:
    x = rng.choice([-1.0, 1.0], size=(3, 4)) * 10.0 ** rng.uniform(-12, -1, size=(3, 4))
    return pointwise(lambda x: np.maximum(x, 0.0), lambda x: x > 0, x)


@case(OK)
def relu_close_to_zero(rng: Generator) -> Pair:
    x = rng.choice([-1.0, 1.0], size=(3, 4)) * 10.0 ** rng.uniform(-5, -1, size=(3, 4))
    return pointwise(lambda x: np.maximum(x, 0.0), lambda x: x > 0, x)


@case(OK, complex=NOT_WRONG)
def huber_on_its_corners(rng: Generator) -> Pair:
    """Only the second derivative jumps there."""
    x = rng.choice([-1.0, 1.0, 0.4, 2.3], size=(3, 4))
    return pointwise(
        lambda x: np.where(np.abs(x) <= 1.0, 0.5 * x * x, np.abs(x) - 0.5), lambda x: np.clip(x, -1.0, 1.0), x
    )


@case(OK, complex=NOT_WRONG)
def squares_of_a_relu_on_zeros(rng: Generator) -> Pair:
    return pointwise(lambda x: np.maximum(x, 0.0) ** 2, lambda x: 2 * np.maximum(x, 0.0), with_zeros(rng, 3, 3))
