"""Names for the tensors of a layer: gate blocks of its parameters, parts of its state."""

from __future__ import annotations

from typing import Any

from engine.checking.subjects.trees import leaves
from engine.layers.attention import Attention
from engine.layers.base import Layer
from engine.layers.container import Container
from engine.layers.recurrent import Recurrent
from kernels.cells import Cell

#: Gate blocks of a user's layer, by the number of rows of its recurrent weight for each of its columns.
GUESSED_GATES = {4: ("i", "f", "g", "o"), 3: ("r", "z", "n")}


def gates_of(layer: Any, name: str) -> tuple[str, ...]:
    """The gate blocks along the first axis of a parameter."""
    while isinstance(layer, Container):
        part, _, name = name.partition(".")
        layer = layer.layers[layer.names.index(part)]
    if isinstance(layer, Layer):
        return _gates_of_cell(layer.cell, name) if isinstance(layer, Recurrent) else ()
    shape = layer.params[name].shape
    recurrent = sorted(  # the recurrent weight is (G*H, H); weight_ih may happen to look like one of another cell
        (key for key, param in layer.params.items() if param.ndim == 2), key=lambda key: "hh" not in key
    )
    for key in recurrent:
        rows, columns = layer.params[key].shape
        blocks, rest = divmod(rows, columns)
        if rest == 0 and blocks in GUESSED_GATES and shape and shape[0] == rows:
            return GUESSED_GATES[blocks]
    return ()


def _gates_of_cell(cell: Cell, name: str) -> tuple[str, ...]:
    """The gate blocks of a parameter such as ``weight_hh_l0``; p_X has that of the gate it ends in."""
    kind = name.rpartition("_l")[0]
    if kind in cell.own:
        return tuple(gate for gate in cell.gates if kind.endswith(f"_{gate}"))
    gates = {"weight_ih": cell.gates, "bias_ih": cell.gates, "weight_hh": cell.recurrent, "bias_hh": cell.recurrent}
    return gates.get(kind, ()) if len(cell.gates) > 1 else ()


def state_names(layer: Any, state: Any, prefix: str = "") -> list[str]:
    """``h0``, ``c0`` for a recurrent layer's state; with the layer's place in front inside a Sequential."""
    if state is None:
        return []
    if isinstance(layer, Container):
        parts = zip(layer.names, layer.layers, state, strict=True)
        return [name for place, part, own in parts for name in state_names(part, own, f"{prefix}{place}.")]
    found = leaves(state)
    if isinstance(layer, Recurrent):
        return [f"{prefix}{name}0" for name in layer.cell.states]
    if isinstance(layer, Attention):
        return [f"{prefix}memory"]
    if len(found) <= 2:
        return [prefix + name for name in ("h0", "c0")[: len(found)]]
    return [f"{prefix}state{k}" for k in range(len(found))]


def spread(nest: Any, like: Any) -> list[Any]:
    """The arrays of a state's gradient in the order of the state's arrays; None for each that is left out."""
    if isinstance(like, (tuple, list)):
        parts = nest if isinstance(nest, (tuple, list)) and len(nest) == len(like) else (None,) * len(like)
        return [leaf for part, own in zip(parts, like, strict=True) for leaf in spread(part, own)]
    return [] if like is None else [nest]
