"""The ways of a layer into inference: a stepper for one time step at a time, and a frozen copy."""

from __future__ import annotations

import copy
from typing import Any

from engine.layers.arrays import NamedArrays
from engine.layers.streaming import steps
from engine.layers.streaming.frozen import Frozen
from engine.layers.streaming.stepper import Stepper
from engine.layers.tape_owner import TapeOwner


class Stepping(TapeOwner):
    """The part of a `Layer` that makes steppers and frozen copies."""

    def stepper(self, batch: int = 1, state: Any = None) -> Stepper:
        """Make a stepper: it takes one time step a call and carries the state, for inputs that arrive one by one.

        It takes a copy of the weights as they are now.  What it gives are the outputs of `predict` over the whole
        sequence.  docs/streaming.md shows it at work.

        Parameters
        ----------
        batch : int
            B, the streams that run side by side; each is a row.
        state : array, tuple or None
            The state before the first step, in the structure of `predict`'s; None means zeros.

        Returns
        -------
        Stepper
            ``y = stepper(x_t)`` with x_t (B, D), or ids (B,); ``stepper.state``; ``stepper.reset(rows)``.

        Raises
        ------
        InputError, InputTypeError
            For a layer of two directions and one that needs the whole sequence (`Attention`, `CRF`, `Translator`, and
            a `Pool` that is not "last"), for a batch that is none, and for a state that does not fit.
        """
        return Stepper(self._still(), batch, state)

    def freeze(self) -> Frozen:
        """Make a frozen copy, for inference: it predicts with the weights as they are now, whatever happens to these.

        Returns
        -------
        Frozen
            ``y, state = frozen.predict(x, state, lengths)``; ``frozen.stepper(batch)``.
        """
        return Frozen(self._still())

    def _still(self) -> Any:
        """A copy with weights of its own, without gradients, that nobody outside holds."""
        twin = copy.copy(self)
        vars(twin).update(
            _params=self._params.copied(),
            _buffers=self._buffers.copied(),
            _grads=NamedArrays("grads", self.backend),
            _checked=set(),
        )
        return twin

    def _step(self, batch: int, state: Any) -> steps.Step:
        """What a stepper does at this layer, whose weights nobody changes; a class of the user's own is asked for one
        step of its `predict`.
        """
        return steps.PredictStep(self, batch, state)  # type: ignore[arg-type]
