"""Training on one's own outputs: scheduled sampling (Bengio, Vinyals, Jaitly and Shazeer 2015).

A model that foretells its next input is trained on true inputs and used on its own outputs, and its small errors grow.
Here some of the inputs in training are the model's own outputs of the step before: each with a probability that rises
from 0 while training goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.checks import instance, integer, probability, switch
from engine.errors import bad_input
from engine.layers.base import Layer


@dataclass(frozen=True)
class SampledTape:
    """What `scheduled_sampling` keeps for its backward pass.

    Attributes
    ----------
    model : Layer
        Whose pass it was.
    tapes : tuple
        The model's tape of each step.
    own : array (T, B, 1)
        1 where an input was the model's own output, 0 where it was the true one; of the model's dtype.
    through : bool
        Whether the gradient goes through those inputs.
    """

    model: Layer
    tapes: tuple[Any, ...]
    own: Any
    through: bool

    def backward(self, dy: Any, dstate: Any = None) -> tuple[Any, Any]:
        """Backpropagate through time; adds to the model's ``grads``.

        Parameters
        ----------
        dy : array (T, B, D)
            Gradient of the outputs.
        dstate : tuple, array or None
            Gradient of the final state.

        Returns
        -------
        dx : array (T, B, D)
            Gradient of the true inputs; 0 where they were not read.
        dstate : tuple or array
            Gradient of the initial state.
        """
        backend = self.model.backend
        shape = (len(self.tapes), *self.own.shape[1:2], getattr(dy, "shape", (0,))[-1])
        backend.require("dy", dy, dtype=self.model.dtype, shape=shape, axes="(T, B, D)")
        dx, later = backend.xp.zeros_like(dy), None
        for t in range(len(self.tapes) - 1, -1, -1):
            dy_t = dy[t : t + 1] if later is None else dy[t : t + 1] + later  # y_t is also an input of step t + 1
            din, dstate = self.model.backward(self.tapes[t], dy_t, dstate)
            own = self.own[t : t + 1]
            dx[t : t + 1] = (1.0 - own) * din  # input = (1 - own) * x_t + own * y_{t-1}
            later = own * din if self.through else None  # input = (1 - own) * x_t + own * y_{t-1}
        return dx, dstate


def scheduled_sampling(
    model: Layer, x: Any, probability_of_own: float, *, state: Any = None, through: bool = False, draw: Any = 0
) -> tuple[Any, Any, SampledTape]:
    """Run a model over x, with some inputs replaced by its own outputs of the step before.

    Parameters
    ----------
    model : Layer
        Any time-major model with as many outputs as inputs that runs forward in time.
    x : array (T, B, D)
        The true inputs; ``x[0]`` is always read.
    probability_of_own : float
        How likely each later input of each row is the model's own output; 1 is a free run.
    state : tuple, array or None
        The state before x; None means zeros.
    through : bool
        False cuts the gradient at these inputs: they count as data, as in the paper.  True keeps it: the gradient is
        then exactly that of the loss, for the inputs that were drawn.
    draw : int or sequence of int
        The key of the draw, such as ``(seed, step)``: another one in each step of training.

    Returns
    -------
    y : array (T, B, D)
        The output at each step.
    state : tuple or array
        The state after the last step.
    tape : SampledTape
        ``tape.backward(dy)`` is the backward pass.

    Raises
    ------
    InputError, InputTypeError
        For a model of another width, layout or direction, or an x without steps.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> plain = engine.get_backend("numpy:reference")
    >>> model = engine.Sequential(engine.GRU(1, 8, backend=plain), engine.Linear(8, 1, backend=plain))
    >>> wave = np.sin(0.4 * np.arange(11, dtype=np.float32))[:, None, None]
    >>> optimizer = engine.Adam(model, lr=0.02)
    >>> for step in range(50):
    ...     y, state, tape = engine.scheduled_sampling(model, wave[:-1], step / 100, draw=(0, step))
    ...     loss, dy = engine.mse(y, wave[1:])
    ...     model.zero_grad()
    ...     dx, dstate = tape.backward(dy)
    ...     optimizer.step()
    >>> bool(loss < 0.2)
    True
    """
    instance("model", model, Layer, "a layer or model of engine")
    likely = probability("probability_of_own", probability_of_own)
    through = switch("through", through)
    keys = [integer("draw", key, 0) for key in (draw if isinstance(draw, list | tuple) else (draw,))]
    if model.batch_first:
        raise bad_input("model", "a time-major model", "one with batch_first", "build it with batch_first=False")
    if any(getattr(layer, "bidirectional", False) for layer in getattr(model, "layers", (model,))):
        raise bad_input("model", "one that runs forward in time", "a bidirectional one", "it would need the future")
    model.backend.require("x", x, dtype=model.dtype, shape=(None, None, None), axes="(T, B, D)")
    if not len(x):
        raise bad_input("x", "at least one step", f"shape {tuple(x.shape)}")
    drawn = np.random.default_rng(keys).random((*x.shape[:2], 1)) < likely
    drawn[0] = False
    own, outputs, tapes = model.backend.asarray(drawn, model.dtype), list[Any](), list[Any]()
    for t in range(len(x)):
        true, share = x[t : t + 1], own[t : t + 1]
        mixed = (1.0 - share) * true + share * outputs[-1] if t else true
        y, state, tape = model.forward(mixed, state)
        if tuple(y.shape) != tuple(true.shape):
            raise bad_input("model", "as many outputs as inputs", f"x {tuple(x.shape)}, output {tuple(y.shape)} a step")
        outputs.append(y)
        tapes.append(tape)
    return model.backend.xp.concatenate(outputs), state, SampledTape(model, tuple(tapes), own, through)
