"""One loss of several: the weighted sum of the losses of a model's heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.backend import backend_of
from engine.checks import describe, number
from engine.errors import bad_input, bad_type

#: From output, targets and (only where there is one) a mask to the pair (loss, gradient by the output).
Loss = Callable[..., tuple[Any, Any]]


class WeightedSum:
    """What `weighted_sum` returns; called, it gives the pair (loss, gradients by name).

    Parameters
    ----------
    losses : dict of str to pair
        The function and the weight of each head.
    """

    def __init__(self, losses: dict[str, tuple[Loss, float]]) -> None:
        self.losses = losses

    def __call__(self, outputs: Any, targets: Any, masks: Any = None) -> tuple[Any, dict[str, Any]]:
        """The weighted sum, and its gradient by each output.

        Parameters
        ----------
        outputs : mapping of str to array
            What `engine.Heads` gave.
        targets : mapping of str to array
            The targets of every head that has a loss.
        masks : mapping of str to array, or None
            The mask of each head that has one.
        """
        total, gradients = None, {}
        for name, (value, gradient) in self._pairs(outputs, targets, masks).items():
            weight = self.losses[name][1]
            total = weight * value if total is None else total + weight * value  # L = sum over heads of weight * L_head
            gradients[name] = weight * gradient  # L = sum over heads of weight * L_head
        first = next(iter(gradients.values()))
        backend = backend_of(first, "gradient")
        return backend.xp.asarray(total, dtype=backend.dtype_of(first)), gradients

    def each(self, outputs: Any, targets: Any, masks: Any = None) -> dict[str, Any]:
        """The loss of each head, without its weight, for a report; arguments as for a call."""
        return {name: value for name, (value, _) in self._pairs(outputs, targets, masks).items()}

    def _pairs(self, outputs: Any, targets: Any, masks: Any) -> dict[str, tuple[Any, Any]]:
        for title, given in (("outputs", outputs), ("targets", targets), ("masks", {} if masks is None else masks)):
            if not isinstance(given, Mapping):
                raise bad_type(title, f"a mapping by the names {list(self.losses)}", describe(given))
            missing = [name for name in self.losses if name not in given]
            if missing and title != "masks":
                raise bad_input(title, f"an entry for each of {list(self.losses)}", f"none for {missing[0]!r}")
        found = {}
        for name, (loss, _) in self.losses.items():
            mask = None if masks is None else masks.get(name)
            pair = loss(outputs[name], targets[name]) if mask is None else loss(outputs[name], targets[name], mask)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise bad_type(f"losses[{name!r}]", "a function that returns (loss, gradient)", describe(pair))
            found[name] = pair
        return found


def weighted_sum(losses: Mapping[str, Any]) -> WeightedSum:
    """Make one loss of the losses of several heads.

    Parameters
    ----------
    losses : mapping of str to function, or to pair of function and float
        For each head ``loss(output, targets, mask) -> (loss, gradient)``, such as `engine.cross_entropy`, and its
        weight >= 0; without one, 1.

    Returns
    -------
    WeightedSum
        A function ``(outputs, targets, masks=None) -> (loss, gradients)`` of mappings by name, as `engine.Heads` gives
        and takes them; its method ``each`` gives the losses one by one.

    Raises
    ------
    InputError, InputTypeError
        For what is no function, or a weight that is none.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> from engine.losses import weighted_sum
    >>> loss = weighted_sum({"price": engine.mse, "rises": (engine.cross_entropy, 0.5)})
    >>> outputs = {"price": np.array([[2.0]]), "rises": np.zeros((1, 2))}
    >>> value, gradients = loss(outputs, {"price": np.array([[1.0]]), "rises": np.array([1])})
    >>> round(float(value), 4), gradients["rises"].tolist()
    (1.3466, [[0.25, -0.25]])
    """
    if not isinstance(losses, Mapping) or not losses:
        raise bad_type("losses", "a mapping from heads to losses", describe(losses))
    found = {}
    for name, given in losses.items():
        loss, weight = given if isinstance(given, tuple) and len(given) == 2 else (given, 1.0)
        if not callable(loss) or isinstance(loss, type):
            raise bad_type(f"losses[{name!r}]", "a function, or a pair of a function and its weight", describe(loss))
        found[name] = (loss, number(f"losses[{name!r}]", weight))
    return WeightedSum(found)
