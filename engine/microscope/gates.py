"""What the gates do at each step: mean and spread of their activations, how many are near a bound, their adjoints."""

from __future__ import annotations

import ast

import numpy as np

from engine.microscope.passes import Flow, Record, norm
from engine.microscope.result import GateFlow
from kernels.cells import Cell

#: The range of each function that a gate can be the value of.
BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, np.inf)}
#: An activation is near a bound within this part of the range (Karpathy, Johnson and Li 2015: below 0.1, above 0.9).
NEAR = 0.1


def activation(cell: Cell, gate: str) -> str | None:
    """The function whose value the gate is, read from the cell's forward function; None for any other formula."""
    for work in cell.works:
        if gate not in work.gates:
            continue
        values = [
            line.value
            for line in work.forward.tree.body
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == gate
        ]
        match values[-1:]:
            case [ast.Call(func=ast.Name(id=name))]:
                name = cell.act if name == "act" else name
                return name if name in BOUNDS else None
    return None


def measure(record: Record, flow: Flow) -> dict[str, GateFlow]:
    """Every gate of a layer and direction."""
    return {gate: _gate(record, flow, block, gate) for block, gate in enumerate(record.cell.gates)}


def _gate(record: Record, flow: Flow, block: int, gate: str) -> GateFlow:
    function = activation(record.cell, gate)
    bounds = None if function is None else BOUNDS[function]
    rows = [record.run.gates[t, record.lengths > t, block] for t in range(len(record.run.gates))]
    low, high = [np.nan] * len(rows), [np.nan] * len(rows)
    if bounds is not None:
        margin = NEAR * (bounds[1] - bounds[0]) if np.isfinite(bounds[1]) else 0.0
        low = [_mean(values <= bounds[0] + margin) for values in rows]
        high = [_mean(values >= bounds[1] - margin) for values in rows]
    return GateFlow(
        function,
        bounds,
        np.array([_mean(values) for values in rows]),
        np.array([np.std(values) if values.size else np.nan for values in rows]),
        np.array(low),
        np.array(high),
        norm(flow.da[:, :, block], 1, 2),
        norm(flow.da_hidden[:, :, block], 1, 2),
    )


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else np.nan
