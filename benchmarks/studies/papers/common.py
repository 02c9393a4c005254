"""What the tables share: networks with a first guess of how long to remember, and their training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import engine
from engine.data.synthetic import Sequences
from engine.training.examples import Examples, ExamplesTask
from engine.training.examples.objectives import make_objective

#: A run: figures by name, among them "seconds" of training and "sequences" trained on.
Run = dict[str, float]
#: Runs by the words for their model.
Rows = dict[str, list[Run]]

CELLS = {"LSTM": engine.LSTM, "GRU": engine.GRU, "RNN": engine.RNN}


def network(
    cell: str, inputs: int, hidden: int, outputs: int, *, longest: int = 0, seed: int = 0, **options: Any
) -> engine.Sequential:
    """A recurrent layer and a linear layer.

    Parameters
    ----------
    cell : "LSTM", "GRU", "RNN", or "IRNN": ReLU units whose recurrent weights start at the identity (Le et al. 2015).
    longest : with a number, the gates start out to remember up to so many steps (`chrono`).
    options : such as the backend.
    """
    if cell == "IRNN":
        layer: Any = engine.RNN(inputs, hidden, nonlinearity="relu", seed=seed, **options)
        start = {"weight_hh_l0": np.eye(hidden), "bias_ih_l0": np.zeros(hidden), "bias_hh_l0": np.zeros(hidden)}
        layer.load_state_dict({**layer.state_dict(), **start})
    else:
        layer = CELLS[cell](inputs, hidden, seed=seed, **options)
        if longest and cell != "RNN":
            chrono(layer, longest, seed)
    return engine.Sequential(layer, engine.Linear(hidden, outputs, seed=seed, **options))


def chrono(layer: Any, longest: int, seed: int) -> None:
    """Let each unit of an LSTM or GRU start out to remember for a time of its own (Tallec and Ollivier 2018, eq. 16).

    A gate that keeps its state with the share t / (t + 1) forgets over about t steps; t is drawn from 1..longest - 1.
    The LSTM's input gate starts out as the opposite of its forget gate.
    """
    units = layer.hidden_size
    keep = np.log(np.random.default_rng(seed).uniform(1.0, longest - 1.0, size=units))
    zeros = np.zeros(units)
    lstm = isinstance(layer, engine.LSTM)
    bias = np.concatenate([-keep, keep, zeros, zeros] if lstm else [zeros, keep, zeros])  # i f g o; r z n
    layer.load_state_dict({**layer.state_dict(), "bias_ih_l0": bias, "bias_hh_l0": 0.0 * bias})


def learn(model: Any, data: Sequences, loss: str, *, lr: float, batch: int = 32, epochs: int = 1, seed: int = 0) -> Run:
    """Train with Adam, a cosine schedule and clipping at norm 1; with one epoch no sequence comes twice."""
    task = ExamplesTask(
        model,
        Examples(model, make_objective(loss), data.x, data.targets, lengths=data.lengths),
        loss=loss,
        batch_size=batch,
        seed=seed,
    )
    optimizer, updates, start = engine.Adam(model, lr=lr), epochs * task.batches, time.process_time()
    for update in range(updates):
        optimizer.lr = lr * (0.5 + 0.5 * math.cos(math.pi * update / updates))
        rows = task.batch(update)
        y, _, tape = model.forward(rows.x, lengths=rows.lengths)
        _, dy, _ = task.loss(y, rows)
        model.zero_grad()
        model.backward(tape, dy)
        engine.clip_grad_norm(model, 1.0)
        optimizer.step()
    return {"seconds": time.process_time() - start, "sequences": float(epochs * len(data.x))}


def outputs(model: Any, data: Sequences) -> np.ndarray:
    """The model's output at every step, rows first."""
    x = model.backend.asarray(np.ascontiguousarray(data.x.swapaxes(0, 1)))
    y, _ = model.predict(x, lengths=data.lengths)
    return model.backend.to_host(y).swapaxes(0, 1)


def at_the_end(y: np.ndarray, data: Sequences) -> np.ndarray:
    """Of outputs (N, T, K) those at the last valid step of each row, (N, K)."""
    return y[np.arange(len(y)), data.lengths - 1]


def softmax(y: np.ndarray) -> np.ndarray:
    """Probabilities from the last axis of logits."""
    shares = np.exp(y - y.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def over_seeds(seeds: int, run: Callable[[int], Run]) -> list[Run]:
    """The runs with the seeds 0, 1, ..."""
    return [run(seed) for seed in range(seeds)]


def percent(right: Sequence[Any] | np.ndarray) -> float:
    """How many of the truth values are true, in percent."""
    return 100.0 * float(np.mean(right))
