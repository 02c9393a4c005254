"""Every cell with every option, as small cases for a gradient check: what `bptt gradcheck` goes through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.checking.check import gradcheck
from engine.checking.report.report import Report
from engine.checks import integer
from engine.layers import GRU, LSTM, RNN, Dropout, Embedding, Linear, Sequential

#: Small enough to be quick, and no two sizes equal, so that swapped axes cannot pass.
STEPS, BATCH, INPUTS, HIDDEN, TOKENS = 6, 3, 4, 5, 7

#: Cells by family: title, class and its own arguments.
CELLS: dict[str, list[tuple[str, Any, dict[str, Any]]]] = {
    "rnn": [("RNN tanh", RNN, {"nonlinearity": "tanh"}), ("RNN relu", RNN, {"nonlinearity": "relu"})],
    "gru": [("GRU reset after", GRU, {"reset_after": True}), ("GRU reset before", GRU, {"reset_after": False})],
    "lstm": [("LSTM", LSTM, {})],
}

#: What is tried with each cell: title, the layer's arguments, and what else differs.
OPTIONS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("plain", {}, set()),
    ("no initial state", {}, {"no state"}),
    ("one time step", {}, {"one step"}),
    ("no bias", {"bias": False}, set()),
    ("batch first", {"batch_first": True}, set()),
    ("lengths", {}, {"lengths"}),
    ("bidirectional, lengths", {"bidirectional": True}, {"lengths"}),
    (
        "2 layers, dropout, bidirectional, lengths",
        {"num_layers": 2, "dropout": 0.3, "bidirectional": True},
        {"lengths"},
    ),
    (
        "3 layers, variational dropout, batch first",
        {"num_layers": 3, "dropout": 0.4, "variational": True, "batch_first": True},
        set(),
    ),
    ("truncated BPTT, k1 = 2, k2 = 3", {}, {"truncation"}),
    ("float32 backward", {}, {"float32"}),
]


@dataclass(frozen=True)
class Case:
    """A layer with random weights and random arguments.

    Attributes
    ----------
    family : ``"rnn"``, ``"gru"``, ``"lstm"`` or ``"others"``.
    title, options : in words.
    layer, x, state, lengths, truncation, dtype : for `engine.gradcheck`.
    """

    family: str
    title: str
    options: str
    layer: Any
    x: Any
    state: Any = None
    lengths: Any = None
    truncation: tuple[int, int] | None = None
    dtype: str = "float64"

    def check(self, method: str = "central", seed: int = 0) -> Report:
        """Its gradient check."""
        return gradcheck(
            self.layer, self.x, self.state, self.lengths, method, seed, dtype=self.dtype, truncation=self.truncation
        )


def catalogue(backend: Backend, seed: int = 0) -> Iterator[Case]:
    """All cases on one backend."""
    rng = np.random.Generator(np.random.PCG64(integer("seed", seed, 0)))
    for family, cells in CELLS.items():
        for title, kind, own in cells:
            for options, more, also in OPTIONS:
                dtype = "float32" if "float32" in also else "float64"
                layer = kind(INPUTS, HIDDEN, backend=backend, dtype=dtype, seed=seed, **own, **more)
                yield _recurrent(rng, family, title, options, layer, also)
    yield from _others(rng, backend, seed)


def _recurrent(rng: np.random.Generator, family: str, title: str, options: str, layer: Any, also: set[str]) -> Case:
    steps = 1 if "one step" in also else STEPS
    shape = (BATCH, steps, INPUTS) if layer.batch_first else (steps, BATCH, INPUTS)
    slots = layer.num_layers * layer.num_directions
    upload = layer.backend.asarray
    x = upload(rng.normal(size=shape), layer.dtype)
    state: Any = tuple(upload(rng.normal(size=(slots, BATCH, HIDDEN)), layer.dtype) for _ in range(2))
    state = None if "no state" in also else state if len(layer.cell.states) > 1 else state[0]
    lengths = [STEPS, 0, STEPS - 2] if "lengths" in also else None
    truncation = (2, 3) if "truncation" in also else None
    return Case(family, title, options, layer, x, state, lengths, truncation, layer.dtype.name)


def _others(rng: np.random.Generator, backend: Backend, seed: int) -> Iterator[Case]:
    common: dict[str, Any] = {"backend": backend, "dtype": "float64", "seed": seed}
    x = backend.asarray(rng.normal(size=(STEPS, BATCH, INPUTS)))
    ids = rng.integers(0, TOKENS, size=(STEPS, BATCH))
    ids[0, 0] = ids[1, 1]  # a token that comes twice: assigned and added gradients differ
    lengths = [STEPS, 0, STEPS - 2]
    yield Case("others", "Linear", "plain", Linear(INPUTS, HIDDEN, **common), x)
    yield Case("others", "Linear", "lengths", Linear(INPUTS, HIDDEN, **common), x, lengths=lengths)
    yield Case("others", "Embedding", "plain", Embedding(TOKENS, HIDDEN, **common), ids)
    yield Case("others", "Embedding", "lengths", Embedding(TOKENS, HIDDEN, **common), ids, lengths=lengths)
    yield Case("others", "Dropout", "per step", Dropout(0.4, **common), x)
    yield Case(
        "others", "Dropout", "variational, lengths", Dropout(0.4, variational=True, **common), x, lengths=lengths
    )
    model = Sequential(
        Embedding(TOKENS, INPUTS, **common),
        Dropout(0.3, **common),
        GRU(INPUTS, HIDDEN, **common),
        LSTM(HIDDEN, 2, bidirectional=True, **common),
        Linear(4, TOKENS, **common),
    )
    yield Case("others", "Sequential", "embedding, dropout, GRU, LSTM, linear, lengths", model, ids, lengths=lengths)
