"""Second floor: layers.  `recurrent` holds the heart; `tape` says what a forward pass leaves behind."""

from __future__ import annotations

from typing import Any

from engine.backend import Backend
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.rnn import GRU, LSTM, RNN
from engine.layers.sequential import Sequential

__all__ = ["GRU", "LSTM", "RNN", "Dropout", "Embedding", "Layer", "Linear", "Sequential", "from_config"]

_TYPES: dict[str, type[Layer]] = {cls.__name__: cls for cls in (RNN, GRU, LSTM, Linear, Embedding, Dropout)}


def from_config(
    config: dict[str, Any], backend: str | Backend = "numpy", dtype: Any = "float32", seed: int | None = None
) -> Layer:
    """Build the layer that ``layer.config()`` described.

    Raises
    ------
    InputError
        for a type that is not a layer, or arguments that it does not take.
    """
    kind, args = config.get("type"), config.get("args")
    if not isinstance(args, dict) or kind not in (*_TYPES, "Sequential"):
        raise bad_input("config", f"a layer of type {', '.join([*_TYPES, 'Sequential'])}", repr(kind))
    if kind == "Sequential":
        return Sequential(*(from_config(part, backend, dtype, seed) for part in args["layers"]), seed=seed)
    try:
        return _TYPES[kind](**args, backend=backend, dtype=dtype, seed=seed)
    except TypeError as error:
        raise bad_input("config", f"the arguments of {kind}", str(error)) from None
