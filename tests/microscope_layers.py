"""Layers of every cell, and of users' own cells, with the arguments of a pass, for the tests of the microscope."""

from __future__ import annotations

from typing import Any

import numpy as np
from builders import build, random_arguments
from odd_cells import EARLY, LOOSE, MANY, PLAIN, STAGED

import engine

T, B, D, H = 5, 3, 2, 4
ODD = (MANY, STAGED, EARLY, PLAIN, LOOSE)  # users' own cells
LENGTHS = [5, 2, 4]


def layer_of(cell: Any, **options: Any) -> Any:
    """A layer of that cell with random weights; a cell of the tests is in no registry."""
    if isinstance(cell, str):
        return build(cell, D, H, **options)
    projected = {"proj_size": 3} if cell.projected else {}
    options = {"dtype": "float64", "backend": "numpy:reference", **projected, **options}
    layer = engine.Recurrent(cell, D, H, **options)
    rng = np.random.default_rng(sum(map(ord, cell.name)))
    layer.load_state_dict({name: rng.normal(scale=0.5, size=p.shape) for name, p in layer.params.items()})
    return layer


def arguments(layer: Any, seed: int = 3) -> tuple[Any, Any, Any]:
    """x, state and dy; sLSTM's normaliser is a sum of exponentials."""
    x, state, dy, _ = random_arguments(layer, T, B, seed)
    if "n" in layer.cell.states:
        state[layer.cell.states.index("n")][...] = 0.5 + np.abs(state[layer.cell.states.index("n")])
    return x, state, dy


def to_h(flow: Any) -> Any:
    assert flow.jacobians is not None
    return flow.jacobians.to_h
