"""The embedded Reber grammar, and digits that are read pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.studies.papers.common import Rows, Run, at_the_end, learn, network, outputs, over_seeds, percent
from benchmarks.studies.papers.sequences import rate
from engine.data.reber import ReberRows, reber_rows, reber_strings
from engine.data.synthetic import Sequences


def reber(
    cells: tuple[str, ...] = ("LSTM", "GRU", "RNN"),
    hidden: int = 16,
    strings: int = 256,
    most: int = 24_000,
    check: int = 5,
    batch: int = 8,
    lr: float = 0.01,
    seeds: int = 3,
    **options: Any,
) -> Rows:
    """Trials that get every string of the training and of the test set right, and after how many strings.

    Each trial has sets of its own.  It is judged every `check` epochs, and ends when all is right or `most` strings
    have been read.
    """

    def run(cell: str, seed: int) -> Run:
        drawn = reber_strings(strings, seed=2 * seed)
        train, test = reber_rows(drawn), reber_rows(reber_strings(strings, seed=2 * seed + 1, besides=drawn))
        model = network(cell, 7, hidden, 7, longest=20, seed=seed, **options)
        found: Run = {"seconds": 0.0, "sequences": 0.0}
        while found["sequences"] < most:
            data = Sequences(train.x, train.targets, train.lengths)
            more = learn(
                model, data, "cross_entropy", lr=rate(cell, lr), batch=batch, epochs=check, seed=int(found["sequences"])
            )
            found = {name: found[name] + more[name] for name in found}
            wrong = {name: count_wrong(model, part) for name, part in (("train", train), ("test", test))}
            if not any(wrong.values()):
                break
        return found | {"success": 100.0 * (not any(wrong.values())), "wrong": float(wrong["test"])}

    return {cell: over_seeds(seeds, lambda seed, cell=cell: run(cell, seed)) for cell in cells}


def count_wrong(model: Any, rows: ReberRows) -> int:
    """Strings with a step at which a symbol that may come next is less active than one that may not."""
    y = outputs(model, Sequences(rows.x, rows.targets, rows.lengths))
    least = np.where(rows.allowed, y, np.inf).min(axis=2)
    most = np.where(rows.allowed, -np.inf, y).max(axis=2)
    past = np.arange(y.shape[1]) >= rows.lengths[:, np.newaxis]
    return int((~((least > most) | past).all(axis=1)).sum())


def digits(
    cells: tuple[str, ...] = ("LSTM", "GRU", "RNN", "IRNN"),
    hidden: int = 64,
    epochs: int = 80,
    lr: float = 0.005,
    seeds: int = 1,
    images: int = 1797,
    **options: Any,
) -> Rows:
    """Accuracy on 359 of scikit-learn's 1797 digits of 8x8 pixels, read pixel by pixel."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(pixels))[:images]
    x = (pixels[chosen] / 16.0).astype(np.float32)[:, :, np.newaxis]
    every, held_out = Sequences(x, labels[chosen], np.full(len(x), 64)), len(x) // 5
    train, test = (Sequences(*(a[part] for a in every)) for part in (slice(held_out, None), slice(held_out)))

    def run(cell: str, seed: int) -> Run:
        model = network(cell, 1, hidden, 10, longest=64, seed=seed, **options)
        slower = lr / 10 if cell == "IRNN" else rate(cell, lr)
        found = learn(model, train, "cross_entropy", lr=slower, epochs=epochs, seed=seed)
        return found | {"accuracy": percent(at_the_end(outputs(model, test), test).argmax(axis=1) == test.targets)}

    rows = {cell: over_seeds(seeds, lambda seed, cell=cell: run(cell, seed)) for cell in cells}
    means = np.stack([train.x[train.targets == k].mean(axis=0) for k in range(10)])
    nearest = np.square(test.x[:, np.newaxis] - means).sum(axis=(2, 3)).argmin(axis=1)
    return rows | {"nearest mean image": [{"accuracy": percent(nearest == test.targets)}]}
