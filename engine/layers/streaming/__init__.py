"""One time step at a time, and weights that stand still: what `stepper` and `freeze` of every layer return."""

from engine.layers.streaming.frozen import Frozen as Frozen
from engine.layers.streaming.stepper import Stepper as Stepper
