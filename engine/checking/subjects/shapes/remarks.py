"""Remarks on what someone's functions take and give, for the notes and causes of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.checking.subjects.shapes.inputs import Inputs
from engine.checking.subjects.shapes.insides import named_arrays
from engine.checking.subjects.subject import Part
from engine.checking.subjects.trees import dtype_of, kind, named_leaves


def on_whole_numbers(inputs: Inputs, gradients: Mapping[str, Any]) -> list[str]:
    """Say which whole numbers go unchecked although backward gives them a gradient."""
    arrays = [(name, array) for name, array in inputs.leaves() if kind(array) in ("i", "u")]
    whole = [name for name, _ in arrays if kind(gradients.get(name)) == "f"]
    if not whole:
        return []
    return [f"not checked, as it holds whole numbers: {', '.join(whole)}; {whole[0]}.astype(float) is checked"]


def on_lost_inputs(inputs: Inputs, parts: Sequence[Part]) -> list[str]:
    """Say which inputs are not finite from the start: then no function is to blame."""
    lost = [part.name for part in parts if not np.isfinite(inputs.backend.to_host(part.array)).all()]
    return [f"{', '.join(lost)} held NaN or infinity before anything was computed"] if lost else []


def on_the_order(parts: Sequence[Part], shape: Sequence[int], found: Mapping[str, Any]) -> str:
    """A hint where a gradient has the shape of another input, whose own gradient does not fit either."""
    for part in parts:
        if part.shape == tuple(shape) and getattr(found.get(part.name), "shape", None) != part.shape:
            return f", which is that of {part.name}: gradients in another order than the inputs?"
    return ""


def on_float32(backend: Backend, out: Any, gradients: Mapping[str, Any], cache: Any) -> list[str]:
    """Say where functions of float64 inputs have float32 numbers: in out, in the gradients, in the cache."""
    found = [name for name, array in named_leaves(out, "out") if dtype_of(array) == np.float32]
    found += [f"the gradient of {name}" for name, one in gradients.items() if dtype_of(one) == np.float32]
    for name, array in named_arrays(cache, "cache"):
        if dtype_of(array) == np.float32 and np.unique(backend.to_host(array)).size > 2:  # no mask
            found.append(name)
    if not found:
        return []
    shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
    return [f"inputs are float64, but float32 is at work inside ({shown}): checked to 1e-4 only"]
