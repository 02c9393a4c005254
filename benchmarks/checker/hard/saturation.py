"""Where next to nothing of a gradient is left."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard import nets
from benchmarks.checker.hard.case import HIDDEN, Pair, case, pointwise, sigmoid, softmax, softmax_back


def sharp_softmax(rng: Generator, gap: float) -> Pair:
    x = rng.normal(size=(3, 4))
    x[np.arange(3), rng.integers(4, size=3)] += gap
    return lambda x: (softmax(x), softmax(x)), softmax_back, [x]


@case()
def softmax_five_apart(rng: Generator) -> Pair:
    return sharp_softmax(rng, 5.0)


@case(HIDDEN)
def softmax_twenty_apart(rng: Generator) -> Pair:
    return sharp_softmax(rng, 20.0)


@case(HIDDEN)
def softmax_thirty_five_apart(rng: Generator) -> Pair:
    return sharp_softmax(rng, 35.0)


@case(HIDDEN)
def softmax_sixty_apart(rng: Generator) -> Pair:
    return sharp_softmax(rng, 60.0)


@case(HIDDEN)
def softmax_four_hundred_apart(rng: Generator) -> Pair:
    return sharp_softmax(rng, 400.0)


@case(HIDDEN)
def log_softmax_fifty_apart(rng: Generator) -> Pair:
    x = rng.normal(size=(3, 4))
    x[:, 1] += 50.0

    def forward(x: Any) -> Any:
        shifted = x - x.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), softmax(x)

    return forward, lambda d, p: d - p * d.sum(axis=1, keepdims=True), [x]


@case(HIDDEN)
def sigmoid_of_twenty(rng: Generator) -> Pair:
    return pointwise(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), 20.0 + rng.normal(size=(2, 4)))


@case(HIDDEN)
def sigmoid_of_forty(rng: Generator) -> Pair:
    return pointwise(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), 40.0 + rng.normal(size=(2, 4)))


@case(HIDDEN)
def sigmoid_of_minus_forty(rng: Generator) -> Pair:
    return pointwise(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), -40.0 + rng.normal(size=(2, 4)))


@case(HIDDEN)
def tanh_of_eighteen_computed_anew(rng: Generator) -> Pair:
    return pointwise(np.tanh, lambda x: 1 - np.tanh(x) ** 2, 18.0 + rng.normal(size=(2, 4)))


@case(HIDDEN)
def tanh_of_all_sizes(rng: Generator) -> Pair:
    return pointwise(
        np.tanh, lambda x: 1 - np.tanh(x) ** 2, rng.normal(size=(3, 4)) * 10.0 ** rng.uniform(0, 1.5, size=(3, 4))
    )


@case(HIDDEN)
def loss_of_sure_logits(rng: Generator) -> Pair:
    x, t = rng.choice([-40.0, -5.0, 0.5, 30.0], size=(3, 3)) + rng.normal(size=(3, 3)), rng.integers(0, 2, size=(3, 3))
    return (
        lambda x: (np.logaddexp(0.0, x) - t * x if x.dtype.kind == "f" else np.log(1 + np.exp(x)) - t * x, x),
        lambda d, x: d * (sigmoid(x) - t),
        [x],
    )


@case(HIDDEN)
def softplus_far_out(rng: Generator) -> Pair:
    x = rng.choice([-30.0, -3.0, 2.0, 25.0], size=(2, 5)) + rng.normal(size=(2, 5))
    return pointwise(lambda x: np.log1p(np.exp(x)), sigmoid, x)


@case(HIDDEN)
def attention_with_sharp_scores(rng: Generator) -> Pair:
    return nets.attention(*(30.0 * rng.normal(size=(3, 2)) for _ in range(2)), rng.normal(size=(3, 2)))


@case(HIDDEN)
def rnn_times_five(rng: Generator) -> Pair:
    return nets.rnn(rng, 4, 5.0)


@case(HIDDEN)
def rnn_times_thirty(rng: Generator) -> Pair:
    return nets.rnn(rng, 4, 30.0)


@case(HIDDEN)
def lstm_times_ten(rng: Generator) -> Pair:
    return nets.lstm(rng, 4, 10.0)


@case(HIDDEN)
def lstm_times_thirty(rng: Generator) -> Pair:
    return nets.lstm(rng, 4, 30.0)


@case(HIDDEN)
def lstm_times_sixty(rng: Generator) -> Pair:
    return nets.lstm(rng, 3, 60.0)


@case(HIDDEN)
def gru_times_thirty(rng: Generator) -> Pair:
    return nets.gru(rng, 4, 30.0)


@case(HIDDEN)
def gru_times_ten(rng: Generator) -> Pair:
    return nets.gru(rng, 4, 10.0)
