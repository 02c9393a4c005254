"""What of a recurrent layer goes into a file: the weights of each direction, and what a file has no place for."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.exchange.parts import GATES, Host
from engine.layers.walk import directions


def ends_of(layer: Any) -> list[list[str]]:
    """The endings of the names of parameters: for each layer of a stack, one for each direction."""
    return [[one.end for one in directions(level, layer.num_directions)] for level in range(layer.num_layers)]


def of_direction(layer: Any, end: str) -> dict[str, Host]:
    """The parameters of one direction of one layer on the host, by name without the ending; biases 0 if it has none."""
    host = layer.backend.to_host
    found = {name.removesuffix(end): host(param) for name, param in layer.params.items() if name.endswith(end)}
    zero = np.zeros(len(found["weight_ih"]), layer.dtype)
    return {"bias_ih": zero, "bias_hh": zero, **found}


def without_a_place(path: str, layer: Any, cells: tuple[str, ...]) -> list[str]:
    """Why a layer does not go into a file whose format has these cells: its name, where there is a reason."""
    name = f"{layer.cell.name} (layer {path})" if path else layer.cell.name
    if layer.cell.name not in cells or layer.cell.name not in GATES:
        return [name]
    return [f"zoneout of {name}"] if layer.zoned else []
