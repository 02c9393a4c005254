"""Losses as training uses them: by name or as a function, of the outputs that have a target.

A model gives an output for each step, (T, B, K), or one for each row, (B, K).  Where targets are one a row and outputs
one a step, the output at the last valid step of each row is compared, and all others get the gradient zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.losses import binary_cross_entropy, cross_entropy, ctc_loss, mse

#: What targets are: class numbers, numbers, a sequence of labels for each row, or what a function of the user's takes.
CLASSES, NUMBERS, LABELS, FREE = "classes", "numbers", "labels", "free"


@dataclass(frozen=True)
class Objective:
    """A loss.

    Attributes
    ----------
    name : for messages and tables.
    function : from outputs, targets and (only where there is one) a mask to the pair (loss, gradient by the outputs).
    kind : what targets are, one of `CLASSES`, `NUMBERS`, `LABELS`, `FREE`.
    argument : what messages call the function.
    """

    name: str
    function: Callable[..., tuple[Any, Any]]
    kind: str
    argument: str = "loss"

    def __call__(self, prediction: Any, targets: Any, mask: Any = None) -> tuple[Any, Any]:
        """Loss, and its gradient by the prediction."""
        pair = self.function(prediction, targets) if mask is None else self.function(prediction, targets, mask)
        if not isinstance(pair, tuple) or len(pair) != 2:
            hint = "return the value and the gradient by the model's output, as engine.mse does"
            raise bad_type(self.argument, "a function that returns the pair (loss, gradient)", describe(pair), hint)
        if self.kind == FREE and hasattr(prediction, "shape"):
            return _checked(self.argument, prediction, *pair)
        return pair


def _checked(argument: str, prediction: Any, loss: Any, gradient: Any) -> tuple[Any, Any]:
    """What a function of the user's returned: the loss as a 0-d array, and a gradient in the prediction's shape."""
    if isinstance(loss, Real) and not isinstance(loss, bool):
        host = np.asarray(loss, dtype=loss.dtype if isinstance(loss, np.floating) else np.float64)
        loss = backend_of(prediction, "output").asarray(host)
    elif getattr(loss, "shape", None) != () or isinstance(loss, np.generic):
        raise bad_type(argument, "a function whose first result is a number", describe(loss), "return the mean")
    shape = tuple(prediction.shape)
    if getattr(gradient, "shape", None) != shape:
        got = f"shape {gradient.shape}" if hasattr(gradient, "shape") else describe(gradient)
        hint = "return the derivative of the loss by each number of its first argument"
        raise bad_input(argument, f"a function whose second result has the outputs' shape {shape}", got, hint)
    return loss, gradient


def ctc(logits: Any, targets: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, Any]:
    """`engine.ctc_loss` of logits: their log-softmax is part of this loss.

    Parameters
    ----------
    logits : (T, B, K); class 0 is the blank.
    targets : labels (B, U) with pads, how many of each row are valid (B,), and the valid steps of each row (B,).
    """
    labels, counts, steps = targets
    xp = backend_of(logits, "output").xp
    shifted = logits - logits.max(axis=-1)[..., None]
    log_probs = shifted - xp.log(xp.exp(shifted).sum(axis=-1))[..., None]
    loss, gradient = ctc_loss(log_probs, labels, steps, counts)
    # log_probs = logits - log(sum(exp(logits)))  ->  dlogits = d - softmax * sum(d)
    return loss, gradient - xp.exp(log_probs) * gradient.sum(axis=-1)[..., None]


LOSSES = {
    "mse": Objective("mse", mse, NUMBERS),
    "cross_entropy": Objective("cross_entropy", cross_entropy, CLASSES),
    "ctc": Objective("ctc", ctc, LABELS),
    "binary_cross_entropy": Objective("binary_cross_entropy", binary_cross_entropy, NUMBERS),
}


def make_objective(loss: Any, argument: str = "loss") -> Objective:
    """The loss of that name, or of a function ``loss(outputs, targets) -> (value, gradient)``.

    Parameters
    ----------
    argument : what messages call it.
    """
    if isinstance(loss, Objective):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    known = {objective.function: objective for objective in LOSSES.values()}
    if callable(loss) and not isinstance(loss, type):
        return known.get(loss) or Objective(getattr(loss, "__name__", type(loss).__name__), loss, FREE, argument)
    raise bad_type(argument, f"one of {', '.join(map(repr, LOSSES))}, or a function", describe(loss))


class Last:
    """The output at the last valid step of each row, and the way back of its gradient.

    Parameters
    ----------
    y : (T, B, K), or (B, T, K) with `batch_first`.
    lengths : (B,) valid steps of each row, on the host; None: all.
    """

    def __init__(self, backend: Backend, y: Any, lengths: Any, batch_first: bool) -> None:
        self.xp, self.like = backend.xp, y
        rows = y.shape[0 if batch_first else 1]
        if lengths is None:
            self.place: Any = (slice(None), -1) if batch_first else -1
        else:
            pair = backend.asarray(np.arange(rows)), backend.asarray(np.asarray(lengths) - 1)
            self.place = pair if batch_first else pair[::-1]
        self.value = y[self.place]  # (B, K)

    def back(self, gradient: Any) -> Any:
        """The gradient of y from that of `value`."""
        dy = self.xp.zeros_like(self.like)
        dy[self.place] = gradient
        return dy
