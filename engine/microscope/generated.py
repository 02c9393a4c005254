"""A fresh layer with generated input to look at, and the two numbers of textbooks: spectral radius, forget bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.cell import known_cell
from engine.checks import describe, integer, number
from engine.errors import bad_input
from engine.layers import Recurrent
from engine.layers.cell_parameters import of_direction
from engine.layers.rnn import layer_of
from engine.layers.walk import every_direction

#: More numbers of an input than this are a slip.
MOST = 10**8


def fresh_layer(
    cell: str,
    inputs: int,
    hidden: int,
    layers: int,
    *,
    spectral_radius: float | None = None,
    forget_bias: float | None = None,
    **options: Any,
) -> Recurrent:
    """A recurrent layer with its first weights.

    Parameters
    ----------
    cell : str
        One of `engine.cells()`; for a cell with a projection h is half as wide as c.
    inputs, hidden, layers : int
        D, H and L.
    spectral_radius : float, optional
        Scale the recurrent weights of every gate to this spectral radius.
    forget_bias : float, optional
        The bias of the gate f; its second bias is set to 0.
    **options
        Of the layer: ``bias``, ``bidirectional``, ``backend``, ``dtype``, ``seed``.

    Returns
    -------
    Recurrent
        The layer.

    Raises
    ------
    InputError
        If the cell has no square recurrent weights to scale, or no gate f with a bias.
    """
    inputs, hidden, layers = integer("inputs", inputs, 1), integer("hidden", hidden, 1), integer("layers", layers, 1)
    if known_cell(cell).projected:
        options["proj_size"] = max(1, hidden // 2)
    layer = layer_of(cell, inputs, hidden, layers, **options)
    if spectral_radius is not None:
        _set_radius(layer, number("spectral_radius", spectral_radius))
    if forget_bias is not None:
        _set_forget_bias(layer, number("forget_bias", forget_bias, low=-np.inf))
    layer.touch()
    return layer


def generated_input(layer: Recurrent, steps: int, batch: int, scale: float, seed: int) -> Any:
    """Standard normal numbers (T, B, D) times `scale`, on the layer's backend."""
    T, B = integer("steps", steps, 1), integer("batch", batch, 1)
    shape = T, B, layer.input_size
    if T * B * layer.input_size * max(layer.hidden_size, 1) > MOST:
        raise bad_input("steps", f"steps * batch * inputs * hidden up to {MOST:,}", f"{T} * {B} * ...", "lower one")
    values = number("input_scale", scale) * np.random.default_rng(integer("seed", seed, 0)).normal(size=shape)
    return layer.backend.asarray(values, dtype=layer.dtype)


def _each(layer: Recurrent) -> list[dict[str, Any]]:
    """The parameters of each layer and direction, by name without the ending."""
    return [
        of_direction(layer.cell, direction, layer.params)
        for direction in every_direction(layer.num_layers, layer.num_directions)
    ]


def _set_radius(layer: Recurrent, radius: float) -> None:
    """Scale each gate's block (H, H) of the recurrent weights to this spectral radius.

    A cell whose units see their own past only (IndRNN) has a vector p_u in their place, a diagonal matrix.
    """
    backend = layer.backend
    for weights in _each(layer):
        if "weight_hh" in weights:
            whole = backend.to_host(weights["weight_hh"]).astype(np.float64)
            blocks = whole.reshape(len(layer.cell.recurrent), -1, whole.shape[1])
            if blocks.shape[1] != blocks.shape[2]:
                hint = "a matrix that is not square has no spectral radius"
                raise bad_input("spectral_radius", f"None for the cell {layer.cell.name}", f"{radius:g}", hint)
            for block in blocks:
                block *= radius / np.abs(np.linalg.eigvals(block)).max()
            weights["weight_hh"][...] = backend.asarray(whole, dtype=layer.dtype)
        elif "p_u" in weights:
            whole = backend.to_host(weights["p_u"]).astype(np.float64)
            weights["p_u"][...] = backend.asarray(whole * radius / np.abs(whole).max(), dtype=layer.dtype)
        else:
            raise bad_input("spectral_radius", "None for a cell without recurrent weights", f"{radius:g}")


def _set_forget_bias(layer: Recurrent, bias: float) -> None:
    """The bias of the gate f, in every layer and direction."""
    cell, H = layer.cell, layer.hidden_size
    for weights in _each(layer):
        own = weights.get("p_bias_f")
        if "f" not in cell.gates or (own is None and "bias_ih" not in weights):
            known = f"a cell with a gate f and biases, such as lstm; {cell.name} has the gates {', '.join(cell.gates)}"
            raise bad_input("forget_bias", "None, or " + known, describe(bias))
        if own is not None:
            own[...] = bias
            continue
        for name, value, names in (("bias_ih", bias, cell.gates), ("bias_hh", 0.0, cell.recurrent)):
            block = names.index("f") if "f" in names and name in weights else None
            if block is not None:
                weights[name][block * H : (block + 1) * H] = value
