"""What a training adds to the plain step: penalties on activations, noise on gradients, averages of weights."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from engine.checks import describe, number
from engine.errors import bad_input, bad_type
from engine.layers import BatchNormLSTM, Dropout, Sequential
from engine.layers.base import Layer
from engine.layers.recurrent import Recurrent
from engine.losses.activity import activation_regularization, temporal_activation_regularization
from engine.optimizers.averaging import WeightAverage
from engine.optimizers.base import Optimizer
from engine.optimizers.gradient_noise import add_gradient_noise


class Penalties(NamedTuple):
    """Strengths of the penalties on the last recurrent layer's output (Merity et al. 2017); 0: off.

    Attributes
    ----------
    ar : of its size, after the dropout that follows the layer.
    tar : of its change from step to step, before that dropout.
    """

    ar: float = 0.0
    tar: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.ar or self.tar)

    def gradients(self, model: Sequential, outputs: Sequence[Any], lengths: Any) -> dict[int, Any]:
        """What the penalties add to the gradients of the layers' outputs, by the layer's place.

        Parameters
        ----------
        outputs : of each layer of the model.
        lengths : (B,) valid steps of each row, on the host, or None.
        """
        place, dropped = places_of(model)
        mask = None
        if lengths is not None:
            axis = 1 if model.batch_first else 0
            valid = np.arange(outputs[place].shape[axis])[:, None] < np.asarray(lengths)
            mask = np.ascontiguousarray(valid.T if model.batch_first else valid)
        found: dict[int, Any] = {}
        if self.tar:
            _, found[place] = temporal_activation_regularization(
                outputs[place], self.tar, mask, batch_first=model.batch_first
            )
        if self.ar:
            _, dy = activation_regularization(outputs[dropped], self.ar, mask)
            found[dropped] = found[dropped] + dy if dropped in found else dy
        return found


#: Off.
NO_PENALTIES = Penalties()


def places_of(model: Layer) -> tuple[int, int]:
    """The places of the last recurrent layer of a `Sequential`, and of what the next layer reads: its dropout, if any.

    Raises
    ------
    InputError
        if the model is no `Sequential` with a recurrent layer among its own.
    """
    layers = model.layers if isinstance(model, Sequential) else ()
    recurrent = [place for place, layer in enumerate(layers) if isinstance(layer, Recurrent | BatchNormLSTM)]
    if not recurrent:
        expected = "a Sequential with a recurrent layer, for penalties on its output"
        raise bad_input("model", expected, describe(model), "leave ar and tar out")
    place = recurrent[-1]
    behind = place + 1 < len(layers) and isinstance(layers[place + 1], Dropout)
    return place, place + behind


class Regularisers(NamedTuple):
    """All that a step does beside the plain one.

    Attributes
    ----------
    penalties : on the last recurrent layer's output.
    noise : variance of the noise on the gradients at the first step; 0: none.
    seed : of the noise.
    average : of the weights, or None.
    """

    penalties: Penalties = NO_PENALTIES
    noise: float = 0.0
    seed: int = 0
    average: WeightAverage | None = None

    def add_noise(self, optimizer: Optimizer, step: int) -> None:
        """Add the noise of a step to the gradients, if there is any."""
        if self.noise:
            add_gradient_noise(optimizer, step, self.noise, seed=self.seed)

    def update_average(self) -> None:
        """Take the weights after a step into their average, if there is one."""
        if self.average is not None:
            self.average.update()

    def averaged(self) -> AbstractContextManager[None]:
        """A block in which the model has the averages as its weights, if there are any."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def settings(self) -> dict[str, Any]:
        """What decides the result of a training, by name; nothing where all is off."""
        found: dict[str, Any] = {"ar": self.penalties.ar, "tar": self.penalties.tar, "gradient_noise": self.noise}
        found = {name: value for name, value in found.items() if value}
        if self.average is not None:
            found["average"] = {name: getattr(self.average, name) for name in ("decay", "start", "every")}
        return found


def read_regularisers(
    model: Layer, *, ar: Any, tar: Any, gradient_noise: Any, average: Any, seed: int, ranks: int
) -> Regularisers:
    """The regularisers, from the arguments of `engine.fit`, checked.

    Parameters
    ----------
    ranks : processes that train together.
    """
    penalties = Penalties(number("ar", ar), number("tar", tar))
    if penalties:
        places_of(model)
        if ranks > 1:  # a rank would need the number of valid steps of the whole batch
            name = "ar" if penalties.ar else "tar"
            raise bad_input(name, "0 in a training of several processes", describe(getattr(penalties, name)))
    if average is not None:
        if not isinstance(average, WeightAverage):
            hint = "build it: engine.WeightAverage(model, 0.999)"
            raise bad_type("average", "an engine.WeightAverage of this model", describe(average), hint)
        if average.model is not model:
            hint = "build it with this model: engine.WeightAverage(model, 0.999)"
            raise bad_input("average", "an average of this model", "one of another", hint)
    return Regularisers(penalties, number("gradient_noise", gradient_noise), seed, average)
