"""Mackey-Glass: a chaotic series, foretold 84 steps ahead by a free run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import engine
from benchmarks.studies.papers.common import Rows, Run, learn, network, over_seeds
from engine.data.synthetic import Sequences, mackey_glass

AHEAD, KNOWN, PLACES = 84, 1000, 50


def chaos(
    units: tuple[int, ...] = (400, 1000),
    steps: int = 3000,
    washout: int = 1000,
    ridge: float = 1e-15,
    cells: tuple[str, ...] = ("LSTM", "GRU"),
    hidden: int = 32,
    window: int = 100,
    epochs: int = 400,
    lr: float = 0.01,
    seeds: int = 5,
    trainings: int = 1,
    places: int = PLACES,
    **options: Any,
) -> Rows:
    """NRMSE at 84 steps (Jaeger 2001, equation 25): echo state networks, and cells that are trained through time.

    Every model learns to say the next value of the same `steps` values, squashed by tanh(y - 1) as in the paper.  It is
    judged from `places` pieces of another series: it reads 1000 values, runs freely for 84, and the last one counts.
    """
    series = np.tanh(mackey_glass(steps + 1, seed=1) - 1.0)
    test = mackey_glass(places * (KNOWN + AHEAD), seed=2).reshape(places, KNOWN + AHEAD).T

    def reservoir(size: int, seed: int) -> Run:
        wide: dict[str, Any] = {"dtype": "float64", "seed": seed, **options}
        start = time.process_time()
        layer = engine.reservoir(
            1, size, spectral_radius=0.8, leak=0.5, density=0.03, input_scale=0.5, bias_scale=0.3, **wide
        )
        model = engine.Sequential(layer, engine.Linear(size, 1, **wide))
        x = series[:, np.newaxis, np.newaxis]
        engine.fit_readout(model, x[:-1], x[1:], ridge=ridge, washout=washout)
        return {"seconds": time.process_time() - start, "nrmse": nrmse(model, test)}

    def trained(cell: str, seed: int) -> Run:
        model = network(cell, 1, hidden, 1, longest=window, seed=seed, dtype="float64", **options)
        found = learn(model, pieces(series, window), "mse", lr=lr, epochs=epochs, batch=8, seed=seed)
        return {"seconds": found["seconds"], "nrmse": nrmse(model, test)}

    rows: Rows = {
        f"echo state network, {n} units": over_seeds(seeds, lambda seed, n=n: reservoir(n, seed)) for n in units
    }
    rows |= {
        f"{cell}, {hidden} units": over_seeds(trainings, lambda seed, cell=cell: trained(cell, seed)) for cell in cells
    }
    stays = np.sqrt(np.mean((test[KNOWN - 1] - test[-1]) ** 2) / test.var())
    return rows | {"the last value stays": [{"nrmse": float(stays)}]}


def pieces(series: np.ndarray, window: int) -> Sequences:
    """Overlapping pieces (N, window, 1) of the series, and of the same moved by one step."""
    starts = np.arange(0, len(series) - window, window // 4)
    x = np.stack([series[s : s + window + 1] for s in starts if s + window < len(series)])[:, :, np.newaxis]
    return Sequences(x[:, :-1], x[:, 1:], np.full(len(x), window))


def nrmse(model: Any, test: np.ndarray) -> float:
    """Of values (1084, places) in the series' own unit: the error at the last one, by the series' deviation."""
    known = np.ascontiguousarray(np.tanh(test[:KNOWN] - 1.0)[:, :, np.newaxis])
    future = model.backend.to_host(engine.free_run(model, model.backend.asarray(known), steps=AHEAD))
    said = np.arctanh(np.clip(future[-1, :, 0], -0.999, 0.999)) + 1.0
    return float(np.sqrt(np.mean((said - test[-1]) ** 2) / test.var()))
