"""The big matrix products around a time loop.

With the weights stored as (G*H, D), as PyTorch does, forward multiplies by the transpose and backward by the weights
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kernels.cells import Adjoints, Cell, Run
from kernels.phases import Place

Array = Any  # of any array library
Product = Callable[[Array, Array], Array]


def project_forward(matmul: Product, x: Array, weight_ih: Array, bias_ih: Array) -> Array:
    """Input projection x W_ih' + b_ih of a whole sequence.

    Parameters
    ----------
    x : (T, B, D).
    weight_ih : (G*H, D).
    bias_ih : (G*H,) or None.

    Returns
    -------
    (T, B, G*H).
    """
    steps, batch, features = x.shape
    pre = matmul(x.reshape(steps * batch, features), weight_ih.T)
    if bias_ih is not None:
        pre += bias_ih
    return pre.reshape(steps, batch, len(weight_ih))


def project_backward(matmul: Product, da: Array, x: Array, weight_ih: Array) -> tuple[Array, dict[str, Array]]:
    """Reverse of `project_forward`.

    Parameters
    ----------
    da : (T, B, G, H) gradients of the pre-activations, input side.

    Returns
    -------
    dx (T, B, D), and the gradients of weight_ih (G*H, D) and bias_ih (G*H,) by name.
    """
    steps, batch, features = x.shape
    rows = da.reshape(steps * batch, len(weight_ih))
    dx = matmul(rows, weight_ih).reshape(steps, batch, features)  # pre = x W_ih' + b_ih
    dweight = matmul(rows.T, x.reshape(steps * batch, features))  # pre = x W_ih' + b_ih
    return dx, {"weight_ih": dweight, "bias_ih": rows.sum(axis=0)}  # pre = x W_ih' + b_ih


def recurrent_weight_backward(
    matmul: Product, project: Product, xp: Any, cell: Cell, run: Run, adjoints: Adjoints
) -> dict[str, Array]:
    """Gradients of weight_hh (R*H, P), bias_hh (R*H,), weight_hr (P, H) and every p_X (H,), summed over all steps.

    `matmul` is the product for weight_hh, `project` that for weight_hr.

    The product at step t is with the state *before* the step: h[:-1] of the T+1 slots (rule 6), unless a phase
    multiplies something else, such as r * h[:-1] (GRU, Cho et al. 2014).
    """
    da, found = adjoints.da_hidden, dict(adjoints.own)
    parts, sums = [], []
    for stage in cell.stages:
        if stage.source is not None:
            rows = _rows(da[:, :, stage.first : stage.last])
            parts.append(matmul(rows.T, _rows(operand(cell, run, stage.source))))  # a = U source + b
            sums.append(rows.sum(axis=0))
    if parts:
        found["weight_hh"] = parts[0] if len(parts) == 1 else xp.concatenate(parts)
        found["bias_hh"] = sums[0] if len(sums) == 1 else xp.concatenate(sums)
    if cell.projected is not None:  # h = W_hr m
        found["weight_hr"] = project(_rows(adjoints.dprojected).T, _rows(operand(cell, run, cell.projected)))
    return found


def operand(cell: Cell, run: Run, place: Place) -> Array:
    """What a recurrent product multiplies, of all steps: (T, B, width)."""
    if place.kind in ("prev", "new"):
        slots = run.states[cell.states.index(place.name)]
        return slots[:-1] if place.kind == "prev" else slots[1:]
    if place.kind == "gate":
        return run.gates[:, :, cell.gates.index(place.name)]
    return run.kept[place.name]


def _rows(values: Array) -> Array:
    """(T, B, ...) as (T*B, width)."""
    return values.reshape(values.shape[0] * values.shape[1], math.prod(values.shape[2:]))
