"""Each step's part dW_t of a weight's gradient, for every parameter of a recurrent layer."""

from __future__ import annotations

import numpy as np

from engine.microscope.passes import Flow, Record
from engine.microscope.result import WeightFlow
from kernels import products

#: Pairs (left (T, B, rows), right (T, B, columns)): dW_t is left[t]' right[t], stacked; without right the sum of rows.
Pairs = list[tuple[np.ndarray, np.ndarray | None]]


def weights(record: Record, flow: Flow) -> dict[str, WeightFlow]:
    """How the gradient of each parameter is made of the steps, in the names of the model's parameters."""
    return {record.prefix + name + record.end: _of(pairs) for name, pairs in _pairs(record, flow).items()}


def gradients(record: Record, flow: Flow) -> dict[str, np.ndarray]:
    """The gradient of each parameter: the sum of its steps' parts."""
    return {record.prefix + name + record.end: _total(pairs) for name, pairs in _pairs(record, flow).items()}


def _pairs(record: Record, flow: Flow) -> dict[str, Pairs]:
    """What the gradient of each parameter is the product of; `kernels.products` has the same sums over all steps."""
    cell, run = record.cell, record.run
    inputs = flow.da.reshape(*flow.da.shape[:2], -1)
    found: dict[str, Pairs] = {"weight_ih": [(inputs, record.x)], "bias_ih": [(inputs, None)]}
    recurrent: Pairs = []
    for stage in cell.stages:
        if stage.source is not None:
            left = flow.da_hidden[:, :, stage.first : stage.last]
            recurrent.append((left.reshape(*left.shape[:2], -1), products.operand(cell, run, stage.source)))
    if recurrent:
        found |= {"weight_hh": recurrent, "bias_hh": [(left, None) for left, _ in recurrent]}
    if cell.projected is not None and flow.dprojected is not None:
        found["weight_hr"] = [(flow.dprojected, products.operand(cell, run, cell.projected))]
    found |= {name: [(part[:, None], None)] for name, part in flow.own.items()}
    return {name: pairs for name, pairs in found.items() if name in record.weights}


def _part(pairs: Pairs, t: int) -> np.ndarray:
    """dW_t."""
    blocks = [left[t].sum(axis=0) if right is None else left[t].T @ right[t] for left, right in pairs]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _total(pairs: Pairs) -> np.ndarray:
    """dW, the parts of all steps one after another: so the shares sum to 1 to the last digits."""
    total = np.zeros_like(_part(pairs, 0))
    for t in range(len(pairs[0][0])):
        total += _part(pairs, t)
    return total


def _of(pairs: Pairs) -> WeightFlow:
    total = _total(pairs)
    parts = range(len(pairs[0][0]))
    largest = float(np.max(np.abs(total), initial=0.0))
    if not 0 < largest < np.inf:
        norm = np.array([np.linalg.norm(_part(pairs, t)) for t in parts])
        return WeightFlow(largest, np.full(len(norm), np.nan), norm)
    unit = total / largest  # the square of a vanished gradient would be 0
    along = np.array([np.vdot(_part(pairs, t) / largest, unit) for t in parts])
    norm = np.array([largest * np.linalg.norm(_part(pairs, t) / largest) for t in parts])
    size = float(np.vdot(unit, unit))
    return WeightFlow(largest * float(np.sqrt(size)), along / size, norm)
