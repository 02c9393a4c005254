"""|dh_t| of several cells over the spectral radius of their recurrent weights, the forget bias, T and k2.

Every curve is a run of the engine.  Inputs are small, so that a tanh stays where it is nearly straight and the simple
law |dh_t| = rho^(T-t) |dh_T| can be seen to hold, and to fail where the state grows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.explorer.pool import Pool
from engine.layers.recurrent import Recurrent
from kernels.cells import Cell

Json = dict[str, Any]

RADII = (0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.6)
FORGET = (-1.0, 0.0, 1.0, 2.0, 4.0)
LENGTHS = (10, 25, 50, 100)
REACHES = (1, 2, 5, 10, 25, 50, 100)
HIDDEN, INPUTS, SMALL = 16, 3, 1e-4
TINY = 1e-99  # what the page shows of a norm that is 0


def comparable(cell: Cell) -> bool:
    """Whether the cell has square recurrent weights, whose spectral radius can be set."""
    return bool(cell.recurrent) and cell.projected is None


def swept_layer(cell: Cell, radius: float, forget: float | None, seed: int = 0) -> Recurrent:
    """A layer whose recurrent blocks have that spectral radius.

    Parameters
    ----------
    cell : Cell
        One that is `comparable`.
    radius : float
        Largest absolute eigenvalue of each gate's recurrent block.
    forget : float or None
        The bias of the gate ``f``; None for a cell without one.
    seed : int
        Of the weights, which are the same for every radius but for the factor.

    Returns
    -------
    Recurrent
        In float64 on the plain kernels; all other biases are 0.
    """
    layer = Recurrent(cell, INPUTS, HIDDEN, backend="numpy:reference", dtype="float64", seed=seed)
    rng = np.random.default_rng([seed, 9])
    found: dict[str, np.ndarray] = {}
    for name, value in layer.params.items():
        first = cell.initial.get(name.partition("_l")[0])
        if name.startswith("bias") or first is not None:
            found[name] = np.full(value.shape, first or 0.0)
        else:
            found[name] = rng.normal(size=value.shape) / np.sqrt(HIDDEN)
    blocks = found["weight_hh_l0"].reshape(len(cell.recurrent), HIDDEN, HIDDEN)
    for block in blocks:
        block *= radius / np.abs(np.linalg.eigvals(block)).max()
    if forget is not None:
        first_unit = cell.gates.index("f") * HIDDEN
        found["bias_ih_l0"][first_unit : first_unit + HIDDEN] = forget
    layer.load_state_dict(found)
    return layer


def curve(layer: Recurrent, steps: int, seed: int = 0) -> tuple[np.ndarray, dict[int, float]]:
    """|dh_t| at every slot, and what truncation does to the gradient of the recurrent weights.

    Parameters
    ----------
    layer : Recurrent
        Of `swept_layer`.
    steps : int
        T.  The loss is the last output times a vector of length 1.
    seed : int
        Of the inputs and of that vector.

    Returns
    -------
    norms : ndarray
        (T+1,) |dh_t|.
    errors : dict of int to float
        For each reach k2 < T: |g(k2) - g| / |g| of the gradient g of weight_hh, where g(k2) is that of backward over
        the last k2 steps alone.
    """
    rng = np.random.default_rng([seed, 10])
    x = SMALL * rng.normal(size=(max(LENGTHS), 1, INPUTS))[:steps]
    dlast = rng.normal(size=layer.hidden_size)
    dy = np.zeros((steps, 1, layer.hidden_size))
    dy[-1, 0] = dlast / np.linalg.norm(dlast)
    tape = layer.forward(x)[2]
    trace = layer.backward_trace(tape, dy)
    whole, errors = trace.grads["weight_hh_l0"], {}
    for reach in (k2 for k2 in REACHES if k2 < steps):
        part = layer.backward_trace(layer.window(tape, steps - reach, steps), dy[steps - reach :])
        errors[reach] = float(np.linalg.norm(part.grads["weight_hh_l0"] - whole) / np.linalg.norm(whole))
    return np.linalg.norm(trace.layers[0][0].dh[:, 0], axis=1), errors


def sweep_data(cells: list[Cell], pool: Pool, seed: int = 0) -> Json:
    """The curves of every setting for the page.

    Parameters
    ----------
    cells : list of Cell
        Those that are not `comparable` are left out.
    pool : Pool
        Takes the numbers.
    seed : int
        Of weights and inputs.

    Returns
    -------
    dict
        The values of each slider, and for each cell its curves by ``"radius|forget|T"`` (indices of the values):
        log10 of the norms, as 32-bit floats end at 1e-38, and the errors of the reaches.
    """
    found = {}
    for cell in filter(comparable, cells):
        biased = cell.biased and "f" in cell.gates
        curves = {}
        for r, radius in enumerate(RADII):
            for f, forget in enumerate(FORGET if biased else (None,)):
                layer = swept_layer(cell, radius, forget, seed)
                for s, steps in enumerate(LENGTHS):
                    norms, errors = curve(layer, steps, seed)
                    losses = np.array(list(errors.values()))
                    logs = np.log10(np.maximum(norms, TINY))
                    curves[f"{r}|{f}|{s}"] = [pool.place(logs[:, None]), pool.place(losses[:, None])]
        found[cell.name] = {"title": cell.title, "forget": biased, "curves": curves}
    sliders = {"radii": RADII, "forget": FORGET, "lengths": LENGTHS, "reaches": REACHES, "hidden": HIDDEN}
    return {**sliders, "small": SMALL, "cells": found}
