"""Caches, buffers and results of every shape that right code may have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard.case import NOT_WRONG, Pair, case


def numbers(rng: Generator) -> list[Any]:
    return [rng.normal(size=(3, 4))]


@case()
def cache_in_a_dict(rng: Generator) -> Pair:
    return lambda x: (np.sin(x), {"x": x, "name": "sine"}), lambda d, c: d * np.cos(c["x"]), numbers(rng)


@case()
def cache_good_for_one_use(rng: Generator) -> Pair:
    return lambda x: (np.sin(x), [x]), lambda d, c: d * np.cos(c.pop()), numbers(rng)


@case()
def cache_in_an_object(rng: Generator) -> Pair:
    class Kept:
        def __init__(self, x: Any) -> None:
            self.x = x

    return lambda x: (np.sin(x), Kept(x)), lambda d, c: d * np.cos(c.x), numbers(rng)


@case()
def cache_that_refuses_to_be_copied(rng: Generator) -> Pair:
    class Kept:
        def __init__(self, x: Any) -> None:
            self.x = x

        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("not to be copied")

    return lambda x: (np.sin(x), Kept(x)), lambda d, c: d * np.cos(c.x), numbers(rng)


@case()
def cache_that_is_a_function(rng: Generator) -> Pair:
    return lambda x: (np.sin(x), lambda d: d * np.cos(x)), lambda d, c: c(d), numbers(rng)


@case()
def no_cache(rng: Generator) -> Pair:
    return lambda x: (3.0 * x, None), lambda d, c: 3.0 * d, numbers(rng)


@case()
def masks_and_places(rng: Generator) -> Pair:
    keep, order = rng.random((3, 4)) < 0.6, rng.permutation(3)

    def backward(d: Any, cache: Any) -> Any:
        x, keep, order = cache
        dx = np.zeros(x.shape)
        dx[order] = d * keep
        return dx

    return lambda x: (x[order] * keep, (x, keep, order)), backward, numbers(rng)


@case(complex=NOT_WRONG)
def output_buffer_that_is_used_again(rng: Generator) -> Pair:
    buffer = np.zeros((3, 4))

    def forward(x: Any) -> Any:
        np.sin(x.real, out=buffer)
        return buffer, x

    return forward, lambda d, x: d * np.cos(x), numbers(rng)


@case()
def gradient_buffer_that_is_used_again(rng: Generator) -> Pair:
    buffer = np.zeros((3, 4))

    def backward(d: Any, x: Any) -> Any:
        np.multiply(d, np.cos(x), out=buffer)
        return buffer

    return lambda x: (np.sin(x), x), backward, numbers(rng)


@case()
def dout_is_handed_on(rng: Generator) -> Pair:
    return lambda x, y: (x + y, None), lambda d, c: (d, d), [rng.normal(size=(2, 3)), rng.normal(size=(2, 3))]


@case()
def out_is_the_input(rng: Generator) -> Pair:
    return lambda x: (x, None), lambda d, c: d, numbers(rng)


@case()
def out_is_a_view(rng: Generator) -> Pair:
    return lambda x: (x.T[::2], x.shape), lambda d, shape: _spread(d, shape), numbers(rng)


def _spread(d: Any, shape: Any) -> Any:
    dx = np.zeros(shape)
    dx.T[::2] = d
    return dx


@case()
def inputs_with_gaps(rng: Generator) -> Pair:
    return lambda x: (np.sin(x), x), lambda d, x: d * np.cos(x), [rng.normal(size=(6, 8))[::2, ::-2]]


@case()
def nests_in_and_out(rng: Generator) -> Pair:
    def forward(p: Any, x: Any) -> Any:
        return {"y": x * p["a"], "z": (np.sin(p["b"]),)}, (p, x)

    def backward(d: Any, cache: Any) -> Any:
        p, x = cache
        return {"a": (d["y"] * x).sum(axis=0), "b": d["z"][0] * np.cos(p["b"])}, d["y"] * p["a"]

    return forward, backward, [{"a": rng.normal(size=4), "b": rng.normal(size=2)}, rng.normal(size=(3, 4))]


@case()
def gradients_in_a_list(rng: Generator) -> Pair:
    return lambda x, y: (x * y, (x, y)), lambda d, c: [d * c[1], d * c[0]], [rng.normal(size=3), rng.normal(size=3)]


@case()
def labels_beside_numbers(rng: Generator) -> Pair:
    def backward(d: Any, cache: Any) -> Any:
        x, t = cache
        dx = np.zeros(x.shape)
        dx[np.arange(len(t)), t] = 2 * d * x[np.arange(len(t)), t]
        return dx, None

    return (
        lambda x, t: (x[np.arange(len(t)), t] ** 2, (x, t)),
        backward,
        [rng.normal(size=(4, 3)), rng.integers(3, size=4)],
    )
