"""Every cell with every option, as small cases for a gradient check: what `bptt gradcheck` goes through."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend, get_backend
from engine.cell import cells
from engine.checking.check import gradcheck
from engine.checking.report.report import Report
from engine.checks import integer
from engine.layers import (
    CRF,
    GRU,
    LSTM,
    Activation,
    Attention,
    BatchNorm,
    Dropout,
    Embedding,
    Heads,
    LayerNorm,
    Linear,
    Pool,
    Sequential,
)  # fmt: skip
from engine.layers.rnn import layer_of

#: Small enough to be quick, and no two sizes equal, so that swapped axes cannot pass.
STEPS, BATCH, INPUTS, HIDDEN, TOKENS = 6, 3, 4, 5, 7

#: The cells that have a layer class of their own, by family.
FAMILIES = {"rnn": ("rnn_tanh", "rnn_relu"), "gru": ("gru", "gru_before"), "lstm": ("lstm",)}

_DROPPED = {"recurrent_dropout": 0.2, "weight_dropout": 0.2}
#: The variants of each cell that are checked: title, the layer's arguments, and other differences.
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
    ("zoneout, recurrent and weight dropout", {"zoneout": 0.3, **_DROPPED}, {"lengths"}),
]
#: The variants for a cell that shares all code with the others, except its gate functions.
FEW = ("plain", "2 layers, dropout, bidirectional, lengths", "zoneout, recurrent and weight dropout")


@dataclass(frozen=True)
class CheckedLayer:
    """A layer with random weights and random arguments.

    Attributes
    ----------
    family : ``"rnn"``, ``"gru"``, ``"lstm"``, ``"others"``, or the name of a cell of none of these.
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


def catalogue(backend: Backend, seed: int = 0, chosen: Sequence[str] = ()) -> Iterator[CheckedLayer]:
    """The cases on one backend.

    Parameters
    ----------
    chosen : families and names of cells.  Without any, all families, and on the plain kernels also every other cell,
        because nothing has to be compiled there.
    """
    backend, seed = get_backend(backend), integer("seed", seed, 0)
    family_of = {name: family for family, names in FAMILIES.items() for name in names}
    for name, cell in cells().items():
        family = family_of.get(name, name)
        wanted = (
            family in chosen or name in chosen if chosen else name in family_of or backend.kernels.name == "reference"
        )
        for options, more, also in OPTIONS if wanted else ():
            if name in family_of or options in FEW:
                dtype = "float32" if "float32" in also else "float64"
                own = {"proj_size": HIDDEN - 2} if cell.projected else {}
                more = {key: value for key, value in more.items() if key not in _DROPPED or cell.recurrent}
                layer = layer_of(name, INPUTS, HIDDEN, backend=backend, dtype=dtype, seed=seed, **own, **more)
                yield _recurrent(_numbers(seed, f"{name}, {options}"), family, cell.title, options, layer, also)
    if not chosen or "others" in chosen:
        yield from _others(_numbers(seed, "others"), backend, seed)


def _numbers(seed: int, case: str) -> np.random.Generator:
    """The random numbers of one case: they do not depend on which cases stand before it."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(case.encode())]))


def _recurrent(
    rng: np.random.Generator, family: str, title: str, options: str, layer: Any, also: set[str]
) -> CheckedLayer:
    steps = 1 if "one step" in also else STEPS
    shape = (BATCH, steps, INPUTS) if layer.batch_first else (steps, BATCH, INPUTS)
    slots = layer.num_layers * layer.num_directions
    upload = layer.backend.asarray
    x = upload(rng.normal(size=shape), layer.dtype)
    state: Any = tuple(upload(rng.normal(size=(slots, BATCH, width)), layer.dtype) for width in layer.widths)
    state = None if "no state" in also else state if len(state) > 1 else state[0]
    lengths = [STEPS, 0, STEPS - 2] if "lengths" in also else None
    truncation = (2, 3) if "truncation" in also else None
    return CheckedLayer(family, title, options, layer, x, state, lengths, truncation, layer.dtype.name)


def _others(rng: np.random.Generator, backend: Backend, seed: int) -> Iterator[CheckedLayer]:
    common: dict[str, Any] = {"backend": backend, "dtype": "float64", "seed": seed}
    x = backend.asarray(rng.normal(size=(STEPS, BATCH, INPUTS)))
    ids = rng.integers(0, TOKENS, size=(STEPS, BATCH))
    ids[0, 0] = ids[1, 1]  # a token that comes twice: assigned and added gradients differ
    lengths = [STEPS, 0, STEPS - 2]
    yield CheckedLayer("others", "Linear", "plain", Linear(INPUTS, HIDDEN, **common), x)
    yield CheckedLayer("others", "Linear", "lengths", Linear(INPUTS, HIDDEN, **common), x, lengths=lengths)
    yield CheckedLayer("others", "Embedding", "plain", Embedding(TOKENS, HIDDEN, **common), ids)
    yield CheckedLayer("others", "Embedding", "lengths", Embedding(TOKENS, HIDDEN, **common), ids, lengths=lengths)
    yield CheckedLayer("others", "Dropout", "per step", Dropout(0.4, **common), x)
    yield CheckedLayer(
        "others", "Dropout", "variational, lengths", Dropout(0.4, variational=True, **common), x, lengths=lengths
    )
    yield CheckedLayer("others", "LayerNorm", "lengths", LayerNorm(INPUTS, **common), x, lengths=lengths)
    yield CheckedLayer("others", "BatchNorm", "plain", BatchNorm(INPUTS, **common), x)
    yield CheckedLayer("others", "BatchNorm", "lengths", BatchNorm(INPUTS, **common), x, lengths=lengths)
    for kind in ("last", "mean", "max", "attention"):
        pool = Pool(kind, INPUTS, directions=2 if kind == "last" else 1, **common)
        yield CheckedLayer("others", "Pool", f"{kind}, lengths", pool, x, lengths=lengths)
    for kind in ("tanh", "relu", "sigmoid", "softmax"):
        yield CheckedLayer("others", "Activation", f"{kind}, lengths", Activation(kind, **common), x, lengths=lengths)
    memory = backend.asarray(rng.normal(size=(STEPS - 1, BATCH, INPUTS)))
    for kind in ("additive", "dot", "general"):
        attention = Attention(kind, INPUTS, **common)
        yield CheckedLayer("others", "Attention", f"{kind}, lengths", attention, x, memory, [STEPS - 1, 0, 2])
    yield CheckedLayer("others", "CRF", "lengths", CRF(INPUTS, **common), x, lengths=lengths)
    parts = {
        "topic": Sequential(Pool("mean", **common), Linear(INPUTS, 2, **common)),
        "tag": Linear(INPUTS, 3, **common),
    }
    yield CheckedLayer("others", "Heads", "a pool and a linear, lengths", Heads(parts), x, lengths=lengths)
    model = Sequential(
        Embedding(TOKENS, INPUTS, **common),
        Dropout(0.3, **common),
        GRU(INPUTS, HIDDEN, **common),
        LSTM(HIDDEN, 2, bidirectional=True, **common),
        Linear(4, TOKENS, **common),
    )
    yield CheckedLayer(
        "others", "Sequential", "embedding, dropout, GRU, LSTM, linear, lengths", model, ids, lengths=lengths
    )
