"""What is being checked: a function whose inputs can be moved one entry at a time, and its claimed gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.layers.base import Layer
from engine.layers.recurrent import Recurrent
from engine.layers.sequential import Sequential

COMPLEX = np.dtype(np.complex128)


@dataclass(frozen=True)
class Part:
    """One tensor whose gradient is checked.

    Attributes
    ----------
    name : parameter, ``x``, part of the state, or ``input k``.
    array : its float64 values, in place of which `Subject.evaluate` reads others.
    analytic : the claimed gradient, float64 on the host.
    gates : names of the blocks along the first axis, if it has blocks.
    time_axis : the axis that counts time steps, if there is one.
    """

    name: str
    array: Any
    analytic: np.ndarray
    gates: tuple[str, ...] = ()
    time_axis: int | None = None


@dataclass
class Subject:
    """A function of several tensors, weighted by fixed random cotangents into one number.

    Attributes
    ----------
    backend : where the arrays live.
    parts : the tensors.
    cotangents : float64 weights, one for each output.
    evaluate : runs the function with some tensors replaced, ``evaluate({name: array})``, and returns its outputs.
    trouble : a finding about the function as a whole, or nothing; goes into the report.
    tangent : the outputs' tangents along ``{name: direction}``, where forward mode is known, else None.
    """

    backend: Backend
    parts: list[Part] = field(default_factory=list)
    cotangents: list[Any] = field(default_factory=list)
    evaluate: Callable[[dict[str, Any]], list[Any]] = lambda replaced: []
    tangent: Callable[[dict[str, Any]], list[Any]] | None = None
    trouble: str = ""

    def weigh(self, outputs: Sequence[Any]) -> Any:
        """Sum of cotangent * output over all outputs, 0-d."""
        return sum((out * weight).sum() for out, weight in zip(outputs, self.cotangents, strict=True))

    def weigh_change(self, after: Sequence[Any], before: Sequence[Any]) -> float:
        """Weighted sum of the outputs' changes, taken output by output: less cancellation than between two sums."""
        return float(self.weigh([one - other for one, other in zip(after, before, strict=True)]))


def complex_twin(layer: Layer) -> Layer:
    """A copy of a layer with complex parameters on the plain kernels, for the complex step."""
    twin: Layer = layer.to(backend=f"{layer.backend.name}:reference", dtype="float64")
    _complexify(twin)
    return twin


def _complexify(layer: Layer) -> None:
    layer.dtype = COMPLEX
    if isinstance(layer, Sequential):
        for index, part in enumerate(layer.layers):
            _complexify(part)
            layer.params.update({f"{index}.{name}": param for name, param in part.params.items()})
    else:
        layer.params = {name: param.astype(COMPLEX) for name, param in layer.params.items()}


def gates_of(layer: Layer, name: str) -> tuple[str, ...]:
    """The gate blocks along the first axis of a parameter."""
    while isinstance(layer, Sequential):
        position, _, name = name.partition(".")
        layer = layer.layers[int(position)]
    return layer.cell.gates if isinstance(layer, Recurrent) and len(layer.cell.gates) > 1 else ()


def state_names(layer: Layer, state: Any, prefix: str = "") -> list[str]:
    """``h0``, ``c0`` for a recurrent layer's state; with the layer's place in front inside a Sequential."""
    if state is None:
        return []
    if isinstance(layer, Sequential):
        pairs = enumerate(zip(layer.layers, state, strict=True))
        return [name for k, (part, own) in pairs for name in state_names(part, own, f"{prefix}{k}.")]
    return [prefix + name for name in (("h0", "c0") if isinstance(state, (tuple, list)) else ("h0",))]


def leaves(value: Any) -> list[Any]:
    """The arrays of a nest of tuples, in order."""
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def transform(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply to every array of a nest of tuples; None stays None."""
    if isinstance(value, (tuple, list)):
        return tuple(transform(function, part) for part in value)
    return None if value is None else function(value)
