"""Updates until an accuracy is reached, with and without recurrent batch normalisation.

    python -m benchmarks.studies.recurrent_norm

scikit-learn's 8 x 8 digits, read row by row: 8 steps of 8 numbers, the class at the end.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import engine

UNITS, ROWS, UPDATES, EVERY = 32, 64, 600, 10
GOALS = (0.8, 0.9, 0.95)


def main() -> None:
    """Print the table."""
    found = load_digits()
    x = (found.images.reshape(len(found.images), 8, 8) / 8 - 1).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], found.target[order]
    print(f"| layer | rate | {' | '.join(f'updates to {goal:.0%}' for goal in GOALS)} | best accuracy | ms an update |")
    print("|---" * (4 + len(GOALS)) + "|")
    for name in ("LSTM", "BatchNormLSTM"):
        for rate in (3e-3, 1e-2):
            accuracies, per_update = train(name, rate, x, y)
            reached = [next((n for n, value in accuracies if value >= goal), None) for goal in GOALS]
            cells = " | ".join("not" if n is None else str(n) for n in reached)
            best = max(value for _, value in accuracies)
            print(f"| {name} | {rate:g} | {cells} | {best:.3f} | {1e3 * per_update:.1f} |", flush=True)


def train(name: str, rate: float, x: Any, y: Any) -> tuple[list[tuple[int, float]], float]:
    """Updates and accuracies on the 297 digits that are held out, and seconds an update."""
    layer = engine.LSTM(8, UNITS) if name == "LSTM" else engine.BatchNormLSTM(8, UNITS, max_steps=8)
    model = engine.Sequential(layer, engine.Pool("last"), engine.Linear(UNITS, 10), seed=1)
    optimizer = engine.Adam(model, lr=rate)
    held_out = np.ascontiguousarray(x[1500:].swapaxes(0, 1))
    accuracies, spent = [], 0.0
    for update in range(UPDATES):
        rows = np.random.default_rng(update).choice(1500, ROWS, replace=False)
        inputs = np.ascontiguousarray(x[rows].swapaxes(0, 1))
        started = time.perf_counter()
        logits, _, tape = model.forward(inputs)
        _, dlogits = engine.cross_entropy(logits, y[rows])
        model.zero_grad()
        model.backward(tape, dlogits)
        engine.clip_grad_norm(optimizer, 1.0)
        optimizer.step()
        spent += time.perf_counter() - started
        if (update + 1) % EVERY == 0:
            accuracies.append((update + 1, float((model.predict(held_out)[0].argmax(axis=1) == y[1500:]).mean())))
    return accuracies, spent / UPDATES


if __name__ == "__main__":
    main()
