"""Adding, temporal order, copying, parity: made-up sequences, of which each is seen once in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.studies.papers.common import (
    Rows,
    Run,
    at_the_end,
    learn,
    network,
    outputs,
    over_seeds,
    percent,
    softmax,
)
from engine.data.synthetic import Sequences, adding_problem, copy_memory, parity, temporal_order

TEST, OTHER = 2560, 10**6  # test sequences, and what their seeds are away from those of training


def adding(
    steps: tuple[int, ...] = (100, 200),
    cells: tuple[str, ...] = ("LSTM", "GRU", "RNN"),
    hidden: int = 32,
    sequences: int = 64_000,
    lr: float = 0.01,
    seeds: int = 1,
    **options: Any,
) -> Rows:
    """Wrong sums of 2560: off by more than 0.04."""
    rows: Rows = {}
    for length in steps:
        test = adding_problem(TEST, length, OTHER)

        def run(cell: str, seed: int, length: int = length, test: Sequences = test) -> Run:
            model = network(cell, 2, hidden, 1, longest=length, seed=seed, **options)
            found = learn(model, adding_problem(sequences, length, seed), "mse", lr=rate(cell, lr), seed=seed)
            return found | judge_sums(outputs(model, test), test)

        for cell in cells:
            rows[f"{cell}, T = {length}"] = [run(cell, seed) for seed in range(seeds)]
        rows[f"always 0.5, T = {length}"] = [judge_sums(np.full((*test.x.shape[:2], 1), 0.5), test)]
    return rows


def judge_sums(y: np.ndarray, test: Sequences) -> Run:
    """How many sums are off by more than 0.04, and the mean squared error."""
    error = np.abs(at_the_end(y, test) - test.targets)
    return {"wrong": float((error > 0.04).sum()), "mse": float(np.mean(error**2))}


def order(
    cells: tuple[str, ...] = ("LSTM", "GRU", "RNN"),
    hidden: int = 16,
    sequences: int = 16_000,
    lr: float = 0.01,
    seeds: int = 1,
    **options: Any,
) -> Rows:
    """Wrong classes of 2560: an output off by more than 0.3, or not the largest."""
    test = temporal_order(TEST, OTHER)

    def run(cell: str, seed: int) -> Run:
        model = network(cell, 8, hidden, 4, longest=100, seed=seed, **options)
        found = learn(model, temporal_order(sequences, seed), "cross_entropy", lr=rate(cell, lr), seed=seed)
        said = softmax(at_the_end(outputs(model, test), test))
        off = np.abs(said - np.eye(4)[test.targets]).max(axis=1)
        return found | {"wrong": float((off > 0.3).sum()), "accuracy": percent(said.argmax(axis=1) == test.targets)}

    return {cell: over_seeds(seeds, lambda seed, cell=cell: run(cell, seed)) for cell in cells}


def copy(
    delays: tuple[int, ...] = (30,),
    hidden: int = 64,
    sequences: int = 16_000,
    epochs: int = 12,
    batch: int = 32,
    lr: float = 0.005,
    seeds: int = 1,
    **options: Any,
) -> Rows:
    """Cross-entropy a step, and symbols that are repeated rightly."""
    rows: Rows = {}
    for delay in delays:
        test = copy_memory(500, delay, OTHER)

        def run(cell: str, longest: int, delay: int = delay, test: Sequences = test) -> list[Run]:
            def once(seed: int) -> Run:
                model = network(cell, 10, hidden, 9, longest=longest, seed=seed, **options)
                data = copy_memory(sequences, delay, seed)
                found = learn(model, data, "cross_entropy", lr=lr, batch=batch, epochs=epochs, seed=seed)
                return found | judge_copies(softmax(outputs(model, test)), test)

            return over_seeds(seeds, once)

        rows[f"LSTM, T = {delay}"] = run("LSTM", 0)
        rows[f"LSTM, chrono, T = {delay}"] = run("LSTM", 3 * delay // 2)
        rows[f"GRU, chrono, T = {delay}"] = run("GRU", 3 * delay // 2)
        blind = np.eye(9)[np.full((len(test.x), delay + 20), 8)]
        blind[:, -10:] = np.append(np.full(8, 1 / 8), 0.0)
        rows[f"no memory, T = {delay}"] = [judge_copies(blind, test)]
    return rows


def judge_copies(said: np.ndarray, test: Sequences) -> Run:
    """From probabilities (N, T, 9): the cross-entropy a step, and the symbols that are right, in percent."""
    every = np.take_along_axis(said, test.targets[:, :, np.newaxis], axis=2)
    right = said[:, -10:].argmax(axis=2) == test.targets[:, -10:]
    return {"cross_entropy": float(-np.log(np.maximum(every, 1e-30)).mean()), "symbols": percent(right)}


def parity_of_bits(
    cells: tuple[str, ...] = ("LSTM", "GRU", "RNN"),
    hidden: int = 16,
    longest: int = 20,
    sequences: int = 64_000,
    lr: float = 0.01,
    seeds: int = 1,
    **options: Any,
) -> Rows:
    """The parity of all bits, said after the last: of strings as long as in training, and of 500 bits."""
    tests = {f"{length} bits": parity(1000, length, length, OTHER) for length in (longest, 500)}

    def run(cell: str, every_step: bool, seed: int) -> Run:
        model = network(cell, 1, hidden, 2, seed=seed, **options)
        data = parity(sequences, 1, longest, seed)
        if not every_step:
            data = data._replace(targets=data.targets[np.arange(sequences), data.lengths - 1])
        found = learn(model, data, "cross_entropy", lr=rate(cell, lr), seed=seed)
        for name, test in tests.items():
            found[name] = percent(outputs(model, test)[:, -1].argmax(axis=1) == test.targets[:, -1])
        return found

    rows: Rows = {}
    for words, every_step in (("told after each bit", True), ("told after the last bit", False)):
        for cell in cells:
            rows[f"{cell}, {words}"] = over_seeds(seeds, lambda seed, c=cell, e=every_step: run(c, e, seed))
    return rows


def rate(cell: str, lr: float) -> float:
    """The learning rate: a plain RNN gets a third of the others', which it needs."""
    return lr / 3 if cell == "RNN" else lr
