"""A model whose weights stand still, for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import InputError, bad_input
from engine.layers.showing import one_line
from engine.layers.streaming.stepper import Stepper

if TYPE_CHECKING:
    from engine.layers.base import Layer


class Frozen:
    """A model that only predicts, with the weights that it had when it was frozen; `Layer.freeze` makes it.

    What is written into the model's parameters later does not change it.  It looks at no weight twice: the compiled
    kernels pack each one once, for any number of steps and rows.  Several threads may use it at the same time.

    Parameters
    ----------
    model : Layer
        A copy with weights that nobody changes.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.LSTM(3, 4)
    >>> frozen = model.freeze()
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> before, state = frozen.predict(x)
    >>> model.params["weight_hh_l0"][...] = 0.0
    >>> bool((frozen.predict(x)[0] == before).all()), bool((model.predict(x)[0] == before).all())
    (True, False)
    """

    def __init__(self, model: Layer) -> None:
        self._model = model

    @property
    def backend(self) -> Any:
        """The backend of the model."""
        return self._model.backend

    @property
    def dtype(self) -> Any:
        """The dtype of the model."""
        return self._model.dtype

    @property
    def batch_first(self) -> bool:
        """Whether x and y are (B, T, ...) instead of (T, B, ...)."""
        return self._model.batch_first

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Run without dropout and without a tape, as the model's own `predict` did when it was frozen.

        Parameters
        ----------
        x, state, lengths : array, array and sequence of int
            As for the model's `predict`.

        Returns
        -------
        y : array
            The output.
        state : array, tuple or None
            The state at the end.
        """
        return self._model.predict(x, state, lengths)

    def stepper(self, batch: int = 1, state: Any = None) -> Stepper:
        """Make a stepper with these weights; see `Layer.stepper`.

        Parameters
        ----------
        batch : int
            B, the streams that run side by side.
        state : array, tuple or None
            The state before the first step; None means zeros.

        Returns
        -------
        Stepper
            It shares the packed weights with this model.
        """
        return Stepper(self._model, batch, state)

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: a frozen model keeps no tape.

        Raises
        ------
        InputError
            Always.
        """
        raise self._refusal("forward", "call predict here, or forward of the model that it was made from")

    def backward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: a frozen model has no gradients.

        Raises
        ------
        InputError
            Always.
        """
        raise self._refusal("backward", "train the model that it was made from, and freeze it again")

    def _refusal(self, name: str, hint: str) -> InputError:
        got = f"a frozen {type(self._model).__name__}"
        return bad_input("model", f"one that can be trained, for {name}", got, hint)

    def __getattr__(self, name: str) -> Any:
        model = vars(self).get("_model")
        known = model is not None and not name.startswith("_") and hasattr(type(model), name)
        words = f"a frozen model has no {name!r}, as it only predicts: take the model that it was made from"
        raise AttributeError(words if known else f"'Frozen' object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"Frozen({one_line(self._model)})"
