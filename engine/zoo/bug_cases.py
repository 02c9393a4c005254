"""The cases that bugs show in: all sizes different, random weights without symmetry, states other than zero.

Sizes are T = 6 time steps, B = 3 rows, D = 2 features, H = 5 hidden units, unless a case says otherwise: where two of
them were equal, a transposed array could pass for the right one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.recurrent import Recurrent
from engine.layers.rnn import layer_of
from engine.layers.sequential import Sequential
from engine.zoo.bug import BugCase

T, B, D, H, V = 6, 3, 2, 5, 7
#: The last time step, the first that backward meets; and the next, where a wrong dh_prev or dc_prev first shows.
LAST, BEFORE_LAST = T - 1, T - 2
#: A short row, a full one, an empty one; and the last valid step of the short one.
LENGTHS, SHORT_LAST = (3, T, 0), 2
#: Steps of the long cases, at whose start something small goes wrong.
LONG = 50

Options = dict[str, Any]
Make = Callable[[int], BugCase]

_PLAIN: Options = {"dtype": "float64", "backend": "numpy:reference"}


def _fill(layer: Any, rng: np.random.Generator) -> None:
    """Weights that move every gate and saturate none."""
    layer.load_state_dict({name: rng.normal(scale=0.5, size=param.shape) for name, param in layer.params.items()})


def _cell(kind: str, inputs: int, layers: int, options: Options) -> Recurrent:
    return layer_of(kind, inputs, H, layers, **_PLAIN, **options)


def _state(layer: Recurrent, rng: np.random.Generator) -> Any:
    slots = layer.num_layers * layer.num_directions
    states = tuple(rng.normal(size=(slots, B, width)) for width in layer.widths)
    return states if len(states) > 1 else states[0]


def _recurrent(
    seed: int,
    kind: str,
    layers: int,
    steps: int,
    lengths: tuple[int, ...] | None,
    truncation: tuple[int, int] | None,
    options: tuple[tuple[str, Any], ...],
) -> BugCase:
    rng = np.random.default_rng([seed, 1])
    layer = _cell(kind, D, layers, {"seed": seed, **dict(options)})
    _fill(layer, rng)
    x = rng.normal(size=(B, steps, D) if layer.batch_first else (steps, B, D))
    return BugCase(layer, x, _state(layer, rng), None if lengths is None else list(lengths), truncation)


def recurrent(
    kind: str,
    layers: int = 1,
    *,
    steps: int = T,
    lengths: tuple[int, ...] | None = None,
    truncation: tuple[int, int] | None = None,
    **options: Any,
) -> Make:
    """Cases with a recurrent layer; `options` are those of the layer."""
    return functools.partial(
        _recurrent,
        kind=kind,
        layers=layers,
        steps=steps,
        lengths=lengths,
        truncation=truncation,
        options=tuple(options.items()),
    )


def linear(seed: int, lengths: tuple[int, ...] | None = None) -> BugCase:
    """A dense layer from D to V features."""
    rng = np.random.default_rng([seed, 2])
    layer = Linear(D, V, **_PLAIN)
    _fill(layer, rng)
    return BugCase(layer, rng.normal(size=(T, B, D)), None, None if lengths is None else list(lengths))


def embedding(seed: int, lengths: tuple[int, ...] | None = None) -> BugCase:
    """A table of V rows of D; with T * B tokens every row is read several times, at pads too."""
    rng = np.random.default_rng([seed, 3])
    layer = Embedding(V, D, **_PLAIN)
    _fill(layer, rng)
    ids = rng.permutation(np.arange(T * B) % V).reshape(T, B)
    return BugCase(layer, ids, None, None if lengths is None else list(lengths))


def dropout(seed: int, lengths: tuple[int, ...] | None = None) -> BugCase:
    """Dropout of half the units."""
    layer = Dropout(0.5, seed=seed, **_PLAIN)
    rng = np.random.default_rng([seed, 4])
    return BugCase(layer, rng.normal(size=(T, B, H)), None, None if lengths is None else list(lengths))


def model(seed: int) -> BugCase:
    """An LSTM under a GRU under a dense layer."""
    rng = np.random.default_rng([seed, 5])
    lower, upper = _cell("lstm", D, 1, {}), _cell("gru", H, 1, {})
    layer = Sequential(lower, upper, Linear(H, V, **_PLAIN))
    _fill(layer, rng)
    return BugCase(layer, rng.normal(size=(T, B, D)), (_state(lower, rng), _state(upper, rng), None))


def parameters(end: str = "_l0", prefix: str = "") -> frozenset[str]:
    """The weights and biases of one layer and direction."""
    return frozenset(prefix + name + end for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


#: Names and gates that many bugs share.
CELL = parameters()
NO_GATE: frozenset[str | None] = frozenset({None})
RECURRENT = frozenset({"h0", "weight_hh_l0"})


def only(*names: str) -> frozenset[str]:
    """The names themselves."""
    return frozenset(names)


def blocks(*gates: str) -> frozenset[str | None]:
    """Gate blocks that are wrong; where they are several, a diagnosis may also name none of them."""
    return frozenset(gates) if len(gates) == 1 else frozenset((*gates, None))
