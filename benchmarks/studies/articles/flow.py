"""Gradients through time: how fast they vanish, and what changes that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import engine
from benchmarks.studies.articles.common import (
    Figures,
    accuracy,
    classifier,
    gradients,
    learn_to_remember,
    norm,
    orthogonal,
    remember,
    spectral_radius,
    spread,
    updates_until,
)


def _hidden_ratio(layer: Any, steps: int, rows: int, seed: int) -> float:
    """|dh_0| / |dh_T| for random inputs and a random gradient at the final h alone."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, rows, layer.input_size)).astype(layer.dtype)
    _, state, tape = layer.forward(x)
    final = state[0] if isinstance(state, tuple) else state
    dh = rng.normal(size=final.shape).astype(layer.dtype)
    dstate = (dh, np.zeros_like(state[1])) if isinstance(state, tuple) else dh
    _, first = layer.backward(tape, dstate=dstate)
    return norm(first[0] if isinstance(first, tuple) else first) / norm(dh)


def batch_vanishing(
    hidden: int = 64,
    steps: int = 50,
    batches: Sequence[int] = (1, 8, 64, 512),
    seeds: int = 5,
    backend: str = "numpy:reference",
) -> Figures:
    """|dh_0| / |dh_T| at several batch sizes; the weights of a seed are the same at each."""
    figures: Figures = {}
    for name, kind in {"RNN": engine.RNN, "LSTM": engine.LSTM}.items():
        for rows in batches:
            figures[f"{name}, B = {rows}"] = spread(
                _hidden_ratio(kind(8, hidden, dtype="float64", seed=seed, backend=backend), steps, rows, seed)
                for seed in range(seeds)
            )
    return figures


def lstm_vanishing(
    hidden: int = 64,
    steps: int = 100,
    biases: Sequence[float] = (0.0, 1.0, 3.0, 5.0),
    seeds: int = 5,
    backend: str = "numpy:reference",
) -> Figures:
    """|dc_0| / |dc_T| of a fresh LSTM at several forget biases, and the mean forget gate."""
    figures: Figures = {}
    for bias in biases:
        ratios, gates = [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            layer = engine.LSTM(8, hidden, forget_bias=bias, dtype="float64", seed=seed, backend=backend)
            _, (h, c), tape = layer.forward(rng.normal(size=(steps, 16, 8)))
            dc = rng.normal(size=c.shape)
            _, (_, dc_0) = layer.backward(tape, dstate=(np.zeros_like(h), dc))
            ratios.append(norm(dc_0) / norm(dc))
            gates.append(float(tape.layers[0][0].gates["f"].mean()))
        figures[f"forget bias {bias:g}: ratio"] = spread(ratios)
        figures[f"forget bias {bias:g}: mean f"] = spread(gates)
    return figures


def forget_bias(
    hidden: int = 32,
    steps: int = 25,
    updates: int = 1000,
    biases: Sequence[float] = (0.0, 1.0, 3.0),
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """Updates until an LSTM remembers its first input (mean loss below 0.1), at several forget biases."""
    figures: Figures = {}
    for bias in biases:
        needed, right = [], []
        for seed in range(seeds):
            layer = engine.LSTM(8, hidden, forget_bias=bias, seed=seed, backend=backend)
            model, losses = learn_to_remember(layer, steps, updates, seed)
            needed.append(updates_until(losses, 0.1))
            right.append(accuracy(model, steps))
        figures[f"forget bias {bias:g}: updates"] = spread(needed)
        figures[f"forget bias {bias:g}: accuracy"] = spread(right)
    return figures


def _scaled_rnn(hidden: int, radius: float, seed: int, backend: str) -> Any:
    layer = engine.RNN(8, hidden, seed=seed, backend=backend)
    layer.params["weight_hh_l0"] = (radius * orthogonal(hidden, seed)).astype(np.float32)
    return layer


def _largest_gradient(layer: Any, steps: int, updates: int, seed: int, clip: float) -> tuple[float, float, float]:
    """Train with SGD: the largest norm of the gradient, the mean loss of the last tenth, and |dh_0| / |dh_T| then."""
    model, rng = classifier(layer, seed), np.random.default_rng(seed)
    optimizer, norms, losses = engine.SGD(model, lr=0.1), [], []
    for _ in range(updates):
        x, classes = remember(steps, 32, rng)
        model.zero_grad()
        losses.append(gradients(model, x, classes))
        norms.append(float(engine.clip_grad_norm(model, clip)))
        optimizer.step()
    return max(norms), float(np.mean(losses[-updates // 10 :])), _hidden_ratio(layer, steps, 16, seed)


def clipping(
    hidden: int = 32,
    steps: int = 40,
    updates: int = 300,
    radii: Sequence[float] = (0.5, 1.5),
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """Plain SGD on the memory task, with and without clipping at norm 1; two spectral radii."""
    figures: Figures = {}
    for radius in radii:
        for name, clip in {"no clipping": np.inf, "clipping": 1.0}.items():
            runs = [
                _largest_gradient(_scaled_rnn(hidden, radius, seed, backend), steps, updates, seed, clip)
                for seed in range(seeds)
            ]
            where = f"radius {radius:g}, {name}"
            figures[f"{where}: largest gradient"] = spread(run[0] for run in runs)
            figures[f"{where}: loss"] = spread(run[1] for run in runs)
            figures[f"{where}: |dh_0|/|dh_T|"] = spread(run[2] for run in runs)
    return figures


def initialisation(
    hidden: int = 64,
    steps: int = 100,
    updates: int = 1000,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """A tanh RNN whose recurrent weights start uniform, Glorot-normal or orthogonal."""
    figures: Figures = {}
    starts = {
        "uniform": lambda layer, seed: layer.params["weight_hh_l0"],
        "Glorot": lambda layer, seed: np.random.default_rng(seed).normal(size=(hidden, hidden)) / np.sqrt(hidden),
        "orthogonal": lambda layer, seed: orthogonal(hidden, seed),
    }
    for name, start in starts.items():
        radii, ratios, right = [], [], []
        for seed in range(seeds):
            layer = engine.RNN(8, hidden, seed=seed, backend=backend)
            layer.params["weight_hh_l0"] = start(layer, seed).astype(np.float32)
            radii.append(spectral_radius(layer.params["weight_hh_l0"]))
            x, _ = remember(steps, 16, np.random.default_rng(seed))
            _, _, tape = layer.forward(x)
            dh = np.random.default_rng(seed).normal(size=(1, 16, hidden)).astype(np.float32)
            _, first = layer.backward(tape, dstate=dh)
            ratios.append(norm(first) / norm(dh))
            layer.zero_grad()
            model, _ = learn_to_remember(layer, steps, updates, seed, lr=1e-3)
            right.append(accuracy(model, steps))
        figures[f"{name}: spectral radius"] = spread(radii)
        figures[f"{name}: |dh_0|/|dh_T|"] = spread(ratios)
        figures[f"{name}: accuracy"] = spread(right)
    return figures
