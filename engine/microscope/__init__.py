"""The microscope: how the gradient flows through the steps of a model, from one forward and one backward pass.

`tracing` holds the public function, `result` what it returns.  Nothing of this is imported by the training path.
"""

from __future__ import annotations

from engine.microscope.result import DirectionFlow, GateFlow, Jacobians, Trace, Truncation, WeightFlow
from engine.microscope.tracing import trace
from engine.microscope.underflowing import Counts, Underflow, underflow

__all__ = [
    "Counts",
    "DirectionFlow",
    "GateFlow",
    "Jacobians",
    "Trace",
    "Truncation",
    "Underflow",
    "WeightFlow",
    "trace",
    "underflow",
]
