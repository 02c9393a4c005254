"""Recurrent nets: long, contracting, exploding, masked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard import nets
from benchmarks.checker.hard.case import HIDDEN, KINK, NOT_WRONG, Pair, case


@case()
def rnn_of_ten_steps(rng: Generator) -> Pair:
    return nets.rnn(rng, 10)


@case()
def rnn_of_one_step(rng: Generator) -> Pair:
    return nets.rnn(rng, 1)


@case(HIDDEN)
def rnn_last_of_twenty_five(rng: Generator) -> Pair:
    return nets.rnn(rng, 25, 0.6, last=True)


@case()
def rnn_with_gain(rng: Generator) -> Pair:
    return nets.rnn(rng, 12, 3.0)


@case()
def lstm_of_eight_steps(rng: Generator) -> Pair:
    return nets.lstm(rng, 8)


@case()
def lstm_with_zero_state(rng: Generator) -> Pair:
    return nets.lstm(rng, 4, zero_state=True)


@case(HIDDEN)
def lstm_last_of_thirty(rng: Generator) -> Pair:
    return nets.lstm(rng, 30, last=True)


@case()
def gru_of_eight_steps(rng: Generator) -> Pair:
    return nets.gru(rng, 8)


@case(HIDDEN)
def trained_lstm(rng: Generator) -> Pair:
    return nets.lstm(rng, 6, 6.0)


@case(HIDDEN)
def trained_gru(rng: Generator) -> Pair:
    return nets.gru(rng, 6, 6.0)


@case(NOT_WRONG)
def relu_rnn(rng: Generator) -> Pair:
    return nets.rnn(rng, 6, 0.8, slope=lambda h: h > 0)


@case(KINK, complex=NOT_WRONG)
def relu_rnn_from_zeros(rng: Generator) -> Pair:
    forward, backward, (x, h, w, u, b) = nets.rnn(rng, 3, slope=lambda h: h > 0)
    x[0] = 0.0
    return forward, backward, [x, 0 * h, w, u, 0 * b]


@case()
def leaky_sum(rng: Generator) -> Pair:
    decay = 0.9 ** np.arange(20)[::-1]
    return lambda x: (decay @ x, None), lambda d, _: decay[:, None] * d, [rng.normal(size=(20, 3))]


@case()
def linear_recurrence_that_grows(rng: Generator) -> Pair:
    powers = 1.5 ** np.arange(30)[::-1]
    return lambda x: (powers @ x, None), lambda d, _: powers[:, None] * d, [rng.normal(size=(30, 2))]


@case()
def running_products(rng: Generator) -> Pair:
    def backward(d: Any, cache: Any) -> Any:
        x, y = cache
        return np.cumsum((d * y)[::-1], axis=0)[::-1] / x

    return lambda x: (np.cumprod(x, axis=0), (x, np.cumprod(x, axis=0))), backward, [rng.uniform(0.5, 1.5, size=(6, 3))]


@case()
def running_sums_with_a_mask(rng: Generator) -> Pair:
    mask = np.arange(5)[:, None] < np.array([5, 2, 0])
    return (
        lambda x: (np.cumsum(np.sin(x) * mask, axis=0), x),
        lambda d, x: np.cumsum(d[::-1], axis=0)[::-1] * mask * np.cos(x),
        [rng.normal(size=(5, 3))],
    )
