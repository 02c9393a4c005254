"""Sequences of unequal length, long ones, and ones read from both ends: padding, masks, truncation, streaming."""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import engine
from benchmarks.studies.articles.common import Figures, Text, classifier, gradients, norm, remember, spread
from engine.data import Vocabulary, bucket_by_length, builtin_text, pad_sequences, shuffled_order

# -- bucketing ---------------------------------------------------------------------------------------------------------


def paragraphs(longest: int) -> list[str]:
    """The paragraphs of the built-in text that have at least 20 and at most `longest` characters."""
    found = (paragraph.strip() for paragraph in builtin_text().split("\n\n"))
    return [paragraph for paragraph in found if 20 <= len(paragraph) <= longest]


def _epoch(layer: Any, lengths: np.ndarray, batches: list[np.ndarray], counted: bool) -> float:
    """CPU seconds of forward and backward over all batches; `counted` hands the lengths to the layer."""
    rng, start = np.random.default_rng(0), time.process_time()
    for rows in batches:
        own = lengths[rows]
        x = rng.normal(size=(int(own.max()), len(rows), layer.input_size)).astype(np.float32)
        y, _, tape = layer.forward(x, lengths=own if counted else None)
        layer.backward(tape, y)
    return time.process_time() - start


def bucketing(
    longest: int = 400, rows: int = 32, hidden: int = 64, rounds: int = 5, seeds: int = 5, backend: str = "numpy"
) -> Figures:
    """The share of padded steps and the time of an epoch, in random batches and in batches of similar length."""
    lengths = np.array([len(paragraph) for paragraph in paragraphs(longest)])
    layer = engine.LSTM(16, hidden, backend=backend)
    figures: Figures = {"sequences": len(lengths), "mean length": float(lengths.mean())}
    ways: dict[str, Callable[[int], list[np.ndarray]]] = {
        "random": lambda seed: np.array_split(shuffled_order(len(lengths), seed, 0), math.ceil(len(lengths) / rows)),
        "buckets": lambda seed: bucket_by_length(lengths, rows, bucket_width=8, seed=seed),
    }
    for name, way in ways.items():
        shares = []
        for seed in range(seeds):
            steps = sum(len(batch) * int(lengths[batch].max()) for batch in way(seed))
            shares.append(100.0 * (1.0 - lengths.sum() / steps))
        figures[f"{name}: padded steps in %"] = spread(shares)
    times: dict[str, list[float]] = {}
    _epoch(layer, lengths, ways["buckets"](0)[:2], True)  # compiles
    for turn in range(rounds):
        for name, way in ways.items():
            for counted in (False, True):
                key = f"{name}, lengths {'given' if counted else 'not given'}"
                times.setdefault(key, []).append(_epoch(layer, lengths, way(turn), counted))
    for key, found in times.items():
        figures[f"{key}: time beside buckets"] = min(found) / min(times["buckets, lengths given"])
    return figures


# -- truncation --------------------------------------------------------------------------------------------------------


def _peak(work: Callable[[], Any]) -> float:
    """The most megabytes that Python and NumPy held at one time during the call, beyond what they held before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def truncation(
    steps: int = 1000, k: int = 50, rows: int = 8, hidden: int = 64, seeds: int = 5, backend: str = "numpy:reference"
) -> Figures:
    """Peak memory, time and direction of the gradient: all at once, one tape walked in parts, the state carried on."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        layer = engine.LSTM(16, hidden, seed=seed, backend=backend)
        x = rng.normal(size=(steps, rows, 16)).astype(np.float32)
        target = np.cumsum(x, axis=0)[:, :, :1].repeat(hidden, axis=2) / math.sqrt(steps)

        def loss(y: Any, target: Any = target) -> Any:
            return engine.mse(y, target)

        def whole(layer: Any = layer, x: Any = x, loss: Any = loss) -> None:
            y, _, tape = layer.forward(x)
            layer.backward(tape, loss(y)[1])

        def one_tape(layer: Any = layer, x: Any = x, loss: Any = loss) -> None:
            engine.truncated_bptt(layer, x, loss, k, k)

        def carried(layer: Any = layer, x: Any = x, target: Any = target) -> None:
            state = None
            for start in range(0, steps, k):
                part = slice(start, start + k)
                y, state, tape = layer.forward(x[part], state)
                layer.backward(tape, engine.mse(y, target[part], normalizer=float(steps * rows))[1])

        gradients = {}
        for name, work in {"whole": whole, "one tape": one_tape, "carried": carried}.items():
            layer.zero_grad()
            work()
            gradients[name] = np.concatenate([grad.ravel() for grad in layer.grads.values()]).astype(np.float64)
            start = time.process_time()
            work()
            seconds = time.process_time() - start
            kept = found.setdefault(name, {"MB": [], "seconds": [], "cosine": []})
            kept["MB"].append(_peak(work))
            kept["seconds"].append(seconds)
            kept["cosine"].append(_cosine(gradients[name], gradients["whole"]))
    return {f"{name}: {what}": spread(values) for name, kinds in found.items() for what, values in kinds.items()}


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / (norm(a) * norm(b))


# -- padding and masks -------------------------------------------------------------------------------------------------


def masks(
    longest: int = 200,
    rows: int = 32,
    hidden: int = 64,
    updates: int = 200,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """A character model on padded paragraphs, trained with and without a mask: the loss reported, and the true one."""
    rows_of_text = paragraphs(longest)
    vocabulary = Vocabulary.from_text("".join(rows_of_text))
    ids = [vocabulary.encode(row) + 1 for row in rows_of_text]  # 0 is the pad
    held_out, train = ids[::10], [row for index, row in enumerate(ids) if index % 10]
    padded, lengths = pad_sequences(held_out)
    figures: Figures = {"padded steps in %": 100.0 * (1 - lengths.sum() / padded.size)}
    for masked in (True, False):
        reported, true = [], []
        for seed in range(seeds):
            common: dict[str, Any] = {"backend": backend, "seed": seed}
            size = len(vocabulary) + 1
            lstm = engine.LSTM(24, hidden, **common)
            model = engine.Sequential(engine.Embedding(size, 24, **common), lstm, engine.Linear(hidden, size, **common))
            optimizer, rng = engine.Adam(model, lr=5e-3), np.random.default_rng(seed)
            for _ in range(updates):
                x, own = pad_sequences([train[row] for row in rng.integers(len(train), size=rows)])
                mask = np.arange(len(x) - 1)[:, None] < own - 1
                model.zero_grad()
                y, _, tape = model.forward(x[:-1])
                model.backward(tape, engine.cross_entropy(y, x[1:], mask if masked else None)[1])
                engine.clip_grad_norm(model, 1.0)
                optimizer.step()
            y, _ = model.predict(padded[:-1])
            mask = np.arange(len(padded) - 1)[:, None] < lengths - 1
            reported.append(float(engine.cross_entropy(y, padded[1:], mask if masked else None)[0]) / math.log(2))
            true.append(float(engine.cross_entropy(y, padded[1:], mask)[0]) / math.log(2))
        name = "with a mask" if masked else "without a mask"
        figures[f"{name}: bits reported"] = spread(reported)
        figures[f"{name}: bits on real characters"] = spread(true)
    return figures


def _placed(x: np.ndarray, lengths: np.ndarray, where: str) -> np.ndarray:
    """Rows cut to their lengths and padded with zeros at the end, or at the front."""
    placed = np.zeros_like(x)
    for row, length in enumerate(lengths):
        start = 0 if where == "end" else len(x) - length
        placed[start : start + length, row] = x[:length, row]
    return placed


def padding_side(
    shortest: int = 5, longest: int = 60, hidden: int = 32, updates: int = 600, seeds: int = 5, backend: str = "numpy"
) -> Figures:
    """Accuracy of a classifier that reads its last output: pads in front, pads at the end, and lengths given."""
    figures: Figures = {}
    ways = {
        "front, lengths not given": ("front", False),
        "end, lengths not given": ("end", False),
        "end, lengths given": ("end", True),
    }
    for name, (where, given) in ways.items():
        right = []
        for seed in range(seeds):
            layer, rng = engine.LSTM(8, hidden, seed=seed, backend=backend), np.random.default_rng(seed)
            model = classifier(layer, seed)
            optimizer = engine.Adam(model, lr=5e-3)
            for _ in range(updates):
                x, lengths, classes = _rows_of_many_lengths(shortest, longest, 32, rng)
                last = lengths - 1 if given else np.full(len(lengths), longest - 1)
                model.zero_grad()
                gradients(model, _placed(x, lengths, where), classes, last, lengths if given else None)
                engine.clip_grad_norm(model, 1.0)
                optimizer.step()
            x, lengths, classes = _rows_of_many_lengths(shortest, longest, 500, np.random.default_rng(10**6))
            last = lengths - 1 if given else np.full(len(lengths), longest - 1)
            y, _ = model.predict(_placed(x, lengths, where), lengths=lengths if given else None)
            right.append(100.0 * float((y[last, np.arange(len(last))].argmax(axis=-1) == classes).mean()))
        figures[f"{name}: accuracy"] = spread(right)
    return figures


def _rows_of_many_lengths(shortest: int, longest: int, rows: int, rng: Any) -> tuple[Any, Any, Any]:
    x, classes = remember(longest, rows, rng)
    return x, rng.integers(shortest, longest + 1, size=rows), classes


# -- both directions ---------------------------------------------------------------------------------------------------


def streaming(
    hidden: int = 48,
    steps: int = 64,
    updates: int = 300,
    ahead: Sequence[int] = (0, 2, 8, 32),
    characters: int = 200_000,
    seeds: int = 5,
    backend: str = "numpy",
) -> Figures:
    """A bidirectional LSTM that fills in a hidden character, and what it says if it has seen only some steps ahead."""
    text = Text(characters)
    hidden_id = text.size  # one more id: "this character is hidden"
    right: dict[int, list[float]] = {count: [] for count in ahead}
    differ: dict[int, list[float]] = {count: [] for count in ahead}
    for seed in range(seeds):
        common: dict[str, Any] = {"backend": backend, "seed": seed}
        model = engine.Sequential(
            engine.Embedding(text.size + 1, 24, **common),
            engine.LSTM(24, hidden, bidirectional=True, **common),
            engine.Linear(2 * hidden, text.size, **common),
        )
        optimizer, rng = engine.Adam(model, lr=5e-3), np.random.default_rng(seed)
        for _ in range(updates):
            x, target = _with_a_hole(text.train, steps, 32, hidden_id, rng)
            model.zero_grad()
            y, _, tape = model.forward(x)
            middle = steps // 2
            _, dmiddle = engine.cross_entropy(y[middle], target)
            dy = np.zeros_like(y)
            dy[middle] = dmiddle
            model.backward(tape, dy)
            engine.clip_grad_norm(model, 1.0)
            optimizer.step()
        x, target = _with_a_hole(text.held_out, steps, 1000, hidden_id, np.random.default_rng(10**6))
        whole = model.predict(x)[0][steps // 2].argmax(axis=-1)
        for count in ahead:
            seen = model.predict(x[: steps // 2 + 1 + count])[0][steps // 2].argmax(axis=-1)
            right[count].append(100.0 * float((seen == target).mean()))
            differ[count].append(100.0 * float((seen != whole).mean()))
    figures: Figures = {f"{count} steps ahead: accuracy": spread(found) for count, found in right.items()}
    return figures | {f"{count} steps ahead: answers that change": spread(found) for count, found in differ.items()}


def _with_a_hole(ids: np.ndarray, steps: int, rows: int, hidden_id: int, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    starts = rng.integers(len(ids) - steps, size=rows)
    x = ids[starts[None, :] + np.arange(steps)[:, None]].copy()
    target = x[steps // 2].copy()
    x[steps // 2] = hidden_id
    return x, target
