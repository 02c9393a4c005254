"""A model with one method that computes the loss and the gradients, read as an object with forward and backward."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from engine.checking.subjects.shapes.arguments import is_number_alone
from engine.checking.subjects.trees import attribute
from engine.checks import describe
from engine.errors import bad_type

#: The attribute below which the model itself stands.
MODEL = "_model"
#: What people call that method.
LOSSES = ("loss", "loss_and_grad", "loss_and_grads", "loss_and_gradients", "compute_loss")


class LossMethod:
    """``model.loss(X, y)`` returns the loss, or the loss and its gradients: forward is the loss, backward the rest.

    Forward calls a copy of the model, and every backward starts from the same state, so all draw the same random
    numbers.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self._model: Any = method.__self__  # type: ignore[attr-defined]
        self.name: str = method.__name__
        self._again: Callable[[], Any] | None = None

    @property
    def method(self) -> Callable[..., Any]:
        """The method, of the model that stands here now."""
        found: Callable[..., Any] = getattr(self._model, self.name)
        return found

    def forward(self, *given: Any) -> Any:
        """The loss."""
        self._given, self._again = copy.deepcopy(given), None
        found = getattr(copy.deepcopy(self._model), self.name)(*given)
        loss = found[0] if isinstance(found, tuple) and len(found) > 1 else found
        if not is_number_alone(loss):
            expected = f"a method {self.name} that returns the loss, one number, or (loss, gradients)"
            hint = "labels belong to its arguments: check_object(model, (x, y))"
            raise bad_type("layer", expected, f"one that returns {describe(found)}", hint)
        return loss

    def backward(self) -> Any:
        """The gradients that the method returns; those that it leaves in the model are found there."""
        if self._again is None:
            before = copy.deepcopy(self._model)
            self._again = lambda: copy.deepcopy(before)  # a function, into which no search for parameters looks
        else:
            self._model = self._again()
        found = self.method(*copy.deepcopy(self._given))
        return found[1:] if isinstance(found, tuple) and len(found) > 1 else None


def with_loss(layer: Any, given: tuple[Any, ...], forward: bool, backward: bool) -> Any:
    """The layer, or a `LossMethod` if one of its methods computes the loss and the gradients.

    That is the case if a method itself is given, if the object has no backward, or if its forward does not take these
    arguments and its loss does.

    Parameters
    ----------
    forward, backward : whether the object has a method for either.
    """
    if inspect.ismethod(layer) and not isinstance(layer.__self__, type):
        return LossMethod(layer)
    if isinstance(layer, type):
        return layer
    found = next((one for one in (attribute(layer, name) for name in LOSSES) if inspect.ismethod(one)), None)
    if found is None or (forward and backward and (_takes(layer.forward, given) or not _takes(found, given))):
        return layer
    return layer if backward and not forward else LossMethod(found)


def _takes(method: Any, given: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(method).bind(*given)
    except (TypeError, ValueError):
        return False
    return True
