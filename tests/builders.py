"""Cells, options and random arguments that many tests share: asymmetric sizes, random weights, non-zero states."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.layers.rnn import FIVE_CELLS as FIVE_CELLS
from engine.layers.rnn import layer_of

KERNELS = ("reference", "numba")


def build(kind: str, D: int, H: int, layers: int = 1, **options: Any) -> Any:
    """A recurrent layer of that kind with random weights that move every gate and saturate none."""
    options = {"dtype": "float64", "backend": "numpy:reference", **options}
    if kind == "projected_lstm":
        options = {"proj_size": (H + 1) // 2, **options}
    layer: Any = layer_of(kind, D, H, layers, **options)
    rng = np.random.default_rng(sum(map(ord, kind)) + D + 10 * H + 100 * layers)
    layer.load_state_dict({name: rng.normal(scale=0.4, size=p.shape) for name, p in layer.params.items()})
    return layer


def random_arguments(layer: Any, T: int, B: int, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """x, state, dy and dstate with random numbers, none of them zero."""
    rng = np.random.default_rng(seed)
    lead = (B, T) if layer.batch_first else (T, B)
    slots = layer.num_layers * layer.num_directions

    def draw(*shape: int) -> Any:
        return rng.normal(size=shape).astype(layer.dtype)

    def states() -> Any:
        found = tuple(draw(slots, B, width) for width in layer.widths)
        return found if len(found) > 1 else found[0]

    x, state = draw(*lead, layer.input_size), states()
    return x, state, draw(*lead, layer.num_directions * layer.widths[0]), states()


def leaves(value: Any) -> list[Any]:
    """The arrays of a nest of tuples."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def passes(layer: Any, x: Any, state: Any, dy: Any, dstate: Any, lengths: Any = None) -> dict[str, Any]:
    """Everything that a forward and a backward pass give, by name."""
    layer.zero_grad()
    y, last, tape = layer.forward(x, state, lengths)
    dx, dfirst = layer.backward(tape, dy, dstate)
    found = {"y": y, "dx": dx}
    found |= {f"last{k}": part for k, part in enumerate(leaves(last))}
    found |= {f"dfirst{k}": part for k, part in enumerate(leaves(dfirst))}
    return found | {f"d{name}": layer.backend.xp.copy(grad) for name, grad in layer.grads.items()}


def distance(found: Any, wanted: Any) -> float:
    """Largest difference over largest value; NaN anywhere gives NaN."""
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    assert found.shape == wanted.shape
    scale = np.max(np.abs(wanted), initial=0.0)
    gap = np.max(np.abs(found - wanted), initial=0.0)
    return float(gap if scale == 0 else gap / scale)
