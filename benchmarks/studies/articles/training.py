"""Cells, normalisation, dropout and batch sizes: what training gains by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import engine
from benchmarks.studies.articles.common import Figures, Text, accuracy, classifier, gradients, norm, remember, spread


def _parameters(model: Any) -> int:
    return sum(value.size for value in model.params.values())


def _milliseconds(makes: dict[str, Callable[[int], Any]], rows: int, steps: int, rounds: int) -> dict[str, float]:
    """The shortest CPU time of a forward and a backward pass of each layer, in rounds that take turns."""
    rng = np.random.default_rng(0)
    layers = {name: make(0) for name, make in makes.items()}
    times: dict[str, list[float]] = {name: [] for name in makes}
    for turn in range(rounds + 1):
        for name, layer in layers.items():
            x = rng.normal(size=(steps, rows, layer.input_size)).astype(np.float32)
            start = time.process_time()
            y, _, tape = layer.forward(x)
            layer.backward(tape, y)
            if turn:  # the first round compiles
                times[name].append(1e3 * (time.process_time() - start))
    return {name: min(found) for name, found in times.items()}


def _bits_on_the_way(text: Text, layer: Any, seed: int, rows: int, steps: int, marks: Sequence[int]) -> list[float]:
    """Bits per character after each of these numbers of updates with Adam."""
    model, found, done = text.model(layer, seed), [], 0
    optimizer = engine.Adam(model, lr=5e-3)
    for mark in marks:
        text.train_on(model, rows, steps, mark - done, optimizer)
        found.append(text.bits(model))
        done = mark
    return found


def _race(
    text: Text, makes: dict[str, Callable[[int], Any]], rows: int, steps: int, marks: Sequence[int], seeds: int
) -> Figures:
    """Bits per character of several layers after equally many updates."""
    figures: Figures = {}
    for name, make in makes.items():
        runs = [_bits_on_the_way(text, make(seed), seed, rows, steps, marks) for seed in range(seeds)]
        for mark, bits in zip(marks, zip(*runs, strict=True), strict=True):
            figures[f"{name}: bits after {mark} updates"] = spread(bits)
    return figures


def gru_and_lstm(
    hidden: int = 64,
    same_parameters: int = 76,
    rows: int = 32,
    steps: int = 32,
    updates: Sequence[int] = (300, 1000),
    characters: int = 200_000,
    rounds: int = 60,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """Time of a pass, and bits per character after equally many updates; a GRU of equal width, and of equal size."""
    makes: dict[str, Callable[[int], Any]] = {
        "LSTM": lambda seed: engine.LSTM(24, hidden, seed=seed, backend=backend),
        "GRU": lambda seed: engine.GRU(24, hidden, seed=seed, backend=backend),
        "wider GRU": lambda seed: engine.GRU(24, same_parameters, seed=seed, backend=backend),
    }
    figures = _race(Text(characters), makes, rows, steps, updates, seeds)
    times = _milliseconds(makes, rows, steps, rounds)
    for name, make in makes.items():
        figures[f"{name}: parameters of the layer"] = _parameters(make(0))
        figures[f"{name}: time beside the LSTM"] = times[name] / times["LSTM"]
    return figures


def layer_normalisation(
    hidden: int = 64,
    rows: int = 32,
    steps: int = 32,
    updates: Sequence[int] = (100, 400),
    characters: int = 200_000,
    rounds: int = 20,
    seeds: int = 5,
    backend: str = "numpy:reference",
) -> Figures:
    """Bits per character of an LSTM with and without layer normalisation, early and late, and the time of a pass."""
    makes: dict[str, Callable[[int], Any]] = {
        "LSTM": lambda seed: engine.LSTM(24, hidden, seed=seed, backend=backend),
        "layer-normalised": lambda seed: engine.Recurrent("layernorm_lstm", 24, hidden, seed=seed, backend=backend),
    }
    figures = _race(Text(characters), makes, rows, steps, updates, seeds)
    times = _milliseconds(makes, rows, steps, rounds)
    figures["layer-normalised: time beside the LSTM"] = times["layer-normalised"] / times["LSTM"]
    return figures


# -- dropout on the recurrent path -------------------------------------------------------------------------------------


def _stepwise_update(model: Any, x: np.ndarray, classes: np.ndarray, where: str, rate: float, rng: Any) -> None:
    """Gradients of one update, with a fresh dropout mask at each step on h or on c, between the step and the next."""
    lstm, linear = model.layers
    steps = len(x)
    state, tapes, masks = None, [], []
    for t in range(steps):
        y, (h, c), tape = lstm.forward(x[t : t + 1], state)
        mask = ((rng.random(h.shape) >= rate) / (1 - rate)).astype(np.float32)
        state = (h * mask, c) if where == "h" else (h, c * mask)
        tapes.append(tape)
        masks.append(mask)
    logits, _, top = linear.forward(y)
    _, dlogits = engine.cross_entropy(logits[0], classes)
    dy, _ = linear.backward(top, dlogits[None])
    dstate = None
    for t in reversed(range(steps)):
        _, (dh, dc) = lstm.backward(tapes[t], dy if t == steps - 1 else None, dstate)
        if t:  # the mask between step t - 1 and step t
            mask = masks[t - 1]
            dstate = (dh * mask, dc) if where == "h" else (dh, dc * mask)


def recurrent_dropout(
    hidden: int = 32,
    steps: int = 20,
    updates: int = 400,
    rate: float = 0.3,
    seeds: int = 5,
    backend: str = "numpy:reference",
) -> Figures:
    """Accuracy on the memory task of an LSTM whose recurrent path is dropped in four ways."""
    figures: Figures = {}
    ways = ("none", "one mask a sequence, on h", "a mask a step, on h", "a mask a step, on c")
    for way in ways:
        right = []
        for seed in range(seeds):
            fixed = rate if way == "one mask a sequence, on h" else 0.0
            layer = engine.LSTM(8, hidden, forget_bias=2.0, recurrent_dropout=fixed, seed=seed, backend=backend)
            model, rng = classifier(layer, seed), np.random.default_rng(seed)
            optimizer = engine.Adam(model, lr=5e-3)
            for _ in range(updates):
                x, classes = remember(steps, 32, rng)
                model.zero_grad()
                if way.startswith("a mask a step"):
                    _stepwise_update(model, x, classes, way[-1], rate, rng)
                else:
                    gradients(model, x, classes)
                engine.clip_grad_norm(model, 1.0)
                optimizer.step()
            right.append(accuracy(model, steps))
        figures[f"{way}: accuracy"] = spread(right)
    return figures


# -- batch size and learning rate --------------------------------------------------------------------------------------


def _one_epoch(text: Text, rows: int, steps: int, lr: float, hidden: int, seed: int, backend: str, kind: str) -> float:
    model = text.model(engine.LSTM(24, hidden, seed=seed, backend=backend), seed)
    optimizer = engine.SGD(model, lr=lr) if kind == "SGD" else engine.Adam(model, lr=lr)
    updates = (len(text.train) - 1) // rows // steps
    text.train_on(model, rows, steps, updates, optimizer)
    return text.bits(model)


def larger_batch(
    hidden: int = 48,
    steps: int = 32,
    batches: Sequence[int] = (8, 32, 128),
    lr: float = 2e-3,
    characters: int = 200_000,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """One epoch with Adam at one learning rate: updates, CPU seconds and bits per character at several batch sizes."""
    text, figures = Text(characters), Figures()
    for rows in batches:
        bits, seconds = [], []
        for seed in range(seeds):
            start = time.process_time()
            bits.append(_one_epoch(text, rows, steps, lr, hidden, seed, backend, "Adam"))
            seconds.append(time.process_time() - start)
        figures[f"B = {rows}: updates"] = (len(text.train) - 1) // rows // steps
        figures[f"B = {rows}: seconds"] = spread(seconds)
        figures[f"B = {rows}: bits"] = spread(bits)
    return figures


def learning_rate_scaling(
    hidden: int = 48,
    steps: int = 32,
    small: int = 8,
    large: int = 128,
    rates: Sequence[tuple[str, float]] = (("Adam", 2e-3), ("SGD", 0.5)),
    characters: int = 200_000,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """One epoch with a small batch, and with a large one: its rate unchanged, times the root, times the quotient."""
    text, figures = Text(characters), Figures()
    quotient = large / small
    for kind, lr in rates:
        tries = {
            f"{kind}, B = {small}": (small, lr),
            f"{kind}, B = {large}, the same rate": (large, lr),
            f"{kind}, B = {large}, rate times root": (large, lr * quotient**0.5),
            f"{kind}, B = {large}, rate times quotient": (large, lr * quotient),
        }
        for name, (rows, rate) in tries.items():
            runs = [_one_epoch(text, rows, steps, rate, hidden, seed, backend, kind) for seed in range(seeds)]
            figures[f"{name}: bits"] = spread(runs)
    return figures


# -- the scale of the loss ---------------------------------------------------------------------------------------------


def loss_scale(
    hidden: int = 48,
    lengths: Sequence[int] = (10, 100),
    rows: int = 16,
    tokens: int = 100_000,
    rates: Sequence[tuple[str, float]] = (("SGD", 1.0), ("Adam", 2e-3)),
    characters: int = 200_000,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """A loss that is summed over time steps beside their mean: norms of the gradient, and what training makes of it."""
    text, figures = Text(characters), Figures()
    for steps in lengths:
        found = [_gradient_of_sum(text, rows, steps, hidden, seed, backend) for seed in range(seeds)]
        figures[f"T = {steps}: norm of the summed loss's gradient"] = spread(found)
    for kind, lr in rates:
        for steps in lengths:
            for how in ("mean", "sum"):
                bits = []
                for seed in range(seeds):
                    model = text.model(engine.LSTM(24, hidden, seed=seed, backend=backend), seed)
                    optimizer = engine.SGD(model, lr=lr) if kind == "SGD" else engine.Adam(model, lr=lr)
                    updates = tokens // rows // steps
                    text.train_on(model, rows, steps, updates, optimizer, clip=np.inf, summed=how == "sum")
                    bits.append(text.bits(model))
                figures[f"{kind}, T = {steps}, {how}: bits"] = spread(bits)
    return figures


def _gradient_of_sum(text: Text, rows: int, steps: int, hidden: int, seed: int, backend: str) -> float:
    model = text.model(engine.LSTM(24, hidden, seed=seed, backend=backend), seed)
    batch = engine.data.contiguous_batches(text.train, rows, steps).batch(seed)
    y, _, tape = model.forward(batch.inputs)
    _, dy = engine.cross_entropy(y, batch.targets, normalizer=float(rows))
    model.backward(tape, dy)
    return norm(np.concatenate([grad.ravel() for grad in model.grads.values()]))
