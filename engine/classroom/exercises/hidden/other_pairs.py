"""Embedding and attention: pairs of functions without a time loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.classroom.exercises.pair import Arrays, HiddenCase, Pair
from engine.layers.embedding import Embedding
from engine.zoo import BUGS
from engine.zoo.bug import Bug

# -- embedding ---------------------------------------------------------------------------------------------------------


def _draw_table(case: HiddenCase, rng: np.random.Generator) -> dict[str, Any]:
    T, B, V, E = (case.sizes[name] for name in "TBVE")
    ids = rng.permutation(np.arange(T * B) % (V - 1) + 1).reshape(T, B)  # word 0 does not occur, others repeat
    return {"weight": rng.normal(size=(V, E)), "ids": ids}


def _rows(arguments: dict[str, Any]) -> tuple[np.ndarray]:
    weight, ids = arguments["weight"], arguments["ids"]
    return (np.array([[weight[word] for word in row] for row in ids.tolist()]),)


def _embedding_mistakes(arguments: dict[str, Any], douts: tuple[np.ndarray, ...]) -> Iterator[tuple[str, Any]]:
    yield "", _table_gradient(arguments, douts[0])
    for bug in BUGS.values():
        if bug.name.startswith("embedding-"):
            yield bug.story.rstrip("."), _table_gradient(arguments, douts[0], bug)
    once = np.zeros_like(arguments["weight"])
    once[arguments["ids"]] += douts[0]  # on purpose: of an index that repeats one addition is kept
    yield (
        "a word that occurs several times gets one of its gradients only: dweight[ids] += dy does not add up",
        {"weight": once},
    )


def _table_gradient(arguments: dict[str, Any], dy: np.ndarray, bug: Bug | None = None) -> Arrays:
    V, E = arguments["weight"].shape
    layer = Embedding(V, E, dtype="float64", backend="numpy:reference")
    layer.load_state_dict({"weight": arguments["weight"]})

    def walk() -> Arrays:
        _, _, tape = layer.forward(arguments["ids"])
        layer.backward(tape, dy)
        return {"weight": np.array(layer.grads["weight"])}

    if bug is None:
        return walk()
    with bug.plant():
        return walk()


EMBEDDING = Pair(
    "embedding_forward",
    "embedding_backward",
    ("weight",),
    ("y",),
    _draw_table,
    _rows,
    (
        HiddenCase("an ordinary case", {"T": 4, "B": 3, "V": 5, "E": 2}),
        HiddenCase("one place", {"T": 1, "B": 1, "V": 4, "E": 3}),
    ),
    backward_suspects=_embedding_mistakes,
)


# -- attention ---------------------------------------------------------------------------------------------------------


def _draw_attention(case: HiddenCase, rng: np.random.Generator) -> dict[str, Any]:
    T, S, B, D, E = (case.sizes[name] for name in "TSBDE")
    shapes = {"query": (T, B, D), "keys": (S, B, D), "values": (S, B, E)}
    return {name: case.scale * rng.normal(size=shape) for name, shape in shapes.items()}


def _attend(arguments: dict[str, Any], factor: float | None = None, axis: int = 1) -> tuple[np.ndarray]:
    query, keys, values = arguments["query"], arguments["keys"], arguments["values"]
    score = np.einsum("tbd,sbd->tsb", query, keys) * (query.shape[-1] ** -0.5 if factor is None else factor)
    score -= score.max(axis=axis, keepdims=True)
    w = np.exp(score) / np.exp(score).sum(axis=axis, keepdims=True)
    return (np.einsum("tsb,sbe->tbe", w, values),)


def _attention_mistakes(arguments: dict[str, Any]) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    D, values = arguments["query"].shape[-1], arguments["values"]
    yield "the factor 1 / sqrt(D) is missing", _attend(arguments, 1.0)
    yield "the scores are divided by D in place of sqrt(D)", _attend(arguments, 1.0 / D)
    yield "softmax runs over the queries in place of the places s", _attend(arguments, axis=0)
    yield "softmax runs over the rows of the batch in place of the places s", _attend(arguments, axis=2)
    mean = np.broadcast_to(values.mean(axis=0), _attend(arguments)[0].shape)
    yield "every place has the same weight: softmax is missing", (mean,)


ATTENTION = Pair(
    "attention_forward",
    "attention_backward",
    ("query", "keys", "values"),
    ("out",),
    _draw_attention,
    _attend,
    (
        HiddenCase("an ordinary case", {"T": 3, "S": 4, "B": 2, "D": 5, "E": 3}),
        HiddenCase("one query, one row", {"T": 1, "S": 3, "B": 1, "D": 2, "E": 4}),
        HiddenCase("one place", {"T": 2, "S": 1, "B": 3, "D": 2, "E": 2}),
    ),
    forward_suspects=_attention_mistakes,
)
