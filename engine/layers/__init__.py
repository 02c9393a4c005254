"""Second floor: layers.  `recurrent` holds the heart; `tape` says what a forward pass leaves behind."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from engine.backend import Backend
from engine.checks import describe
from engine.errors import InputError, bad_input, bad_type
from engine.layers.activation import Activation as Activation
from engine.layers.attention import Attention as Attention
from engine.layers.base import Layer as Layer
from engine.layers.batch_norm_lstm import BatchNormLSTM as BatchNormLSTM
from engine.layers.building import without_arrays
from engine.layers.crf import CRF as CRF
from engine.layers.dropout import Dropout as Dropout
from engine.layers.embedding import Embedding as Embedding
from engine.layers.heads import Heads as Heads
from engine.layers.heads import heads_named
from engine.layers.linear import Linear as Linear
from engine.layers.normalisation import BatchNorm as BatchNorm
from engine.layers.normalisation import LayerNorm as LayerNorm
from engine.layers.pooling import Pool as Pool
from engine.layers.recurrent import Recurrent as Recurrent
from engine.layers.rnn import GRU as GRU
from engine.layers.rnn import LSTM as LSTM
from engine.layers.rnn import RNN as RNN
from engine.layers.sequential import Sequential as Sequential
from engine.layers.translator import Translator as Translator

_TYPES: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        *(Recurrent, RNN, GRU, LSTM, Linear, Embedding, Dropout, Attention, LayerNorm, BatchNorm, Pool, CRF),
        *(Translator, Activation, BatchNormLSTM),
    )
}


def from_config(
    config: Mapping[str, Any], backend: str | Backend = "numpy", dtype: Any = "float32", seed: int | None = None
) -> Layer:
    """Build the layer that ``layer.config()`` described.

    Raises
    ------
    InputError
        for a type that is not a layer, or arguments that it does not take.
    """
    if not isinstance(config, Mapping):
        raise bad_type("config", "a dict with 'type' and 'args', as layer.config() gives it", describe(config))
    strange = sorted(map(str, config.keys() - {"type", "args"}))
    if strange:
        raise bad_input("config", "a dict with 'type' and 'args' alone", f"{', '.join(map(repr, strange))} too")
    kind, args = config.get("type"), config.get("args")
    kinds = [*_TYPES, "Sequential", "Heads"]
    if not isinstance(args, dict) or not isinstance(kind, str) or kind not in kinds:
        raise bad_input("config", f"a layer of type {', '.join(kinds)} with its args", describe(kind))
    if kind in ("Sequential", "Heads"):
        parts, names = args.get("layers"), args.get("names")
        wanted = {"layers"} if kind == "Sequential" else {"layers", "names"}
        if not isinstance(parts, list | tuple) or set(args) != wanted:
            got = describe(parts) if set(args) == wanted else f"the arguments {', '.join(map(repr, args))}"
            raise bad_input("config", f"a list of layers in a {kind}", got)
        layers = [from_config(part, backend, dtype, seed) for part in parts]
        if kind == "Sequential":
            return Sequential(*layers, seed=seed)
        return Heads(dict(zip(heads_named(names, len(layers)), layers, strict=True)), seed=seed)
    return _made(_TYPES[kind], args, backend=backend, dtype=dtype, seed=seed)


def sketch(config: dict[str, Any]) -> list[Layer]:
    """The layers of the Sequential that `config` describes, without their arrays: their names, shapes and arguments.

    So a checkpoint's description can be compared with its arrays before anything large is allocated.

    Raises
    ------
    InputError
        for a type that is not a layer, or arguments that it does not take.
    """
    found = []
    for part in config["args"]["layers"]:
        kind = _TYPES.get(part["type"])
        if kind is None:
            raise bad_input("config", f"a layer of type {', '.join(_TYPES)}", repr(part["type"])[:80])
        found.append(_made(without_arrays(kind), part["args"], backend="numpy:reference"))
    return found


def _made(kind: type[Layer], args: Mapping[str, Any], **common: Any) -> Layer:
    """A layer with the arguments of a description."""
    unknown = [name for name in args if name not in inspect.signature(kind).parameters]
    if unknown:
        raise bad_input("config", f"the arguments of {kind.__name__}", ", ".join(map(repr, unknown)))
    try:
        return kind(**args, **common)
    except TypeError as error:
        if isinstance(error, InputError):
            raise
        raise bad_input("config", f"the arguments of {kind.__name__}", str(error)) from None
