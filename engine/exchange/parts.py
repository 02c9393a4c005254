"""What all file formats share: a model as a row of parts, and gate blocks in another order.

A file is read into parts, each a layer's description and its arrays; `assembled` makes one model of them.  A model is
written from its layers in order (`layers_of`).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import InputError, bad_input, bad_type
from engine.layers import Layer, Sequential, from_config

Host = np.ndarray

#: Recurrent layers by the name of their class.
RECURRENT = ("RNN", "GRU", "LSTM", "Recurrent")
#: The order of the gate blocks in our weights, by the name of the cell.
GATES = {"rnn_tanh": "h", "rnn_relu": "h", "lstm": "ifgo", "peephole_lstm": "ifgo", "gru": "rzn", "gru_before": "rzn"}


@dataclass(frozen=True)
class Part:
    """One layer of a file.

    Attributes
    ----------
    kind : the name of its class here, such as ``"LSTM"``.
    args : the arguments of its constructor.
    arrays : its parameters by name, in PyTorch's names and shapes.
    scope : recurrent parts one after another that share a scope are the layers of one stack; None: never.
    """

    kind: str
    args: dict[str, Any]
    arrays: dict[str, Host] = field(default_factory=dict)
    scope: str | None = None


def layers_of(model: Any) -> list[tuple[str, Any]]:
    """The layers of a model in order, each with its path; a `Sequential` is taken apart at any depth."""
    if not isinstance(model, Layer):
        raise bad_type("model", "a layer of engine, such as a Sequential", describe(model))
    if not isinstance(model, Sequential):
        return [("", model)]
    found = []
    for index, layer in enumerate(model.layers):
        found += [(f"{index}.{path}" if path else f"{index}", one) for path, one in layers_of(layer)]
    return found


def refuse_unknown(path: str, wanted: str, names: Sequence[str], hint: str = "") -> None:
    """Raise one error that names every layer of a file or a model that the other side does not have."""
    if names:
        raise bad_input(path, wanted, ", ".join(dict.fromkeys(names)), hint)


def reordered(array: Host, have: str, want: str, axis: int = 0) -> Host:
    """The gate blocks along an axis in another order, such as from ``"iofg"`` to ``"ifgo"``."""
    blocks = dict(zip(have, np.split(array, len(have), axis=axis), strict=True))
    return np.concatenate([blocks[gate] for gate in want], axis=axis)


def optional(name: str, extra: str) -> Any:
    """An optional library, imported now.

    Raises
    ------
    InputError
        where it is not installed, with the extra that brings it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = f"pip install 'bptt-engine[{extra}]'"
        raise bad_input(name, "the library to be installed", str(error), hint) from None


def assembled(path: str, parts: Sequence[Part], batch_first: bool, dtype: Any) -> Layer:
    """One model of the parts: the only layer itself, or a `Sequential`.

    Raises
    ------
    InputError
        if an array has another shape than its layer, or holds NaN or infinity; the message begins with `path`.
    """
    joined = stacked(parts)
    layers = [{"type": part.kind, "args": _with_layout(part, batch_first)} for part in joined]
    config = layers[0] if len(layers) == 1 else {"type": "Sequential", "args": {"layers": layers}}
    prefixes = [""] if len(layers) == 1 else [f"{index}." for index in range(len(layers))]
    named = {
        prefix + name: array
        for prefix, part in zip(prefixes, joined, strict=True)
        for name, array in part.arrays.items()
    }
    try:
        model = from_config(config, dtype=dtype)
        model.load_state_dict(named)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    return model


def _with_layout(part: Part, batch_first: bool) -> dict[str, Any]:
    follows = part.kind in (*RECURRENT, "Linear", "Embedding", "Dropout", "Pool", "LayerNorm")
    return {**part.args, "batch_first": batch_first} if follows else part.args


def stacked(parts: Sequence[Part]) -> list[Part]:
    """The parts with recurrent layers of one scope made one part of several layers, and the dropout between them."""
    found: list[Part] = []
    for part in parts:
        between = found[-1] if found and found[-1].kind == "Dropout" else None
        below = found[-2] if between is not None and len(found) > 1 else found[-1] if found else None
        if below is not None and _continues(below, part, between):
            del found[-2 if between is not None else -1 :]
            part = _joined(below, part, between)
        found.append(part)
    return found


def _continues(below: Part, part: Part, between: Part | None) -> bool:
    """Whether `part` is the next layer of the stack `below`."""
    if part.kind not in RECURRENT or below.kind != part.kind or part.scope is None or below.scope != part.scope:
        return False
    drop = _dropout_of(between)
    if below.args["num_layers"] > 1 and _dropout_of_stack(below) != drop:
        return False
    unshared = ("input_size", "num_layers", "dropout", "variational")
    alike = [{name: value for name, value in one.args.items() if name not in unshared} for one in (below, part)]
    width = below.args["hidden_size"] * (2 if below.args["bidirectional"] else 1)
    return alike[0] == alike[1] and part.args["input_size"] == width


def _dropout_of(between: Part | None) -> tuple[float, bool]:
    return (0.0, False) if between is None else (between.args["p"], bool(between.args.get("variational")))


def _dropout_of_stack(part: Part) -> tuple[float, bool]:
    return part.args.get("dropout", 0.0), bool(part.args.get("variational"))


def _joined(below: Part, part: Part, between: Part | None) -> Part:
    layers = below.args["num_layers"]
    args = below.args | {"num_layers": layers + 1}
    p, variational = _dropout_of(between)
    args |= {"dropout": p, "variational": variational} if p else {}
    arrays = {re.sub(r"_l0(_reverse)?$", rf"_l{layers}\1", name): array for name, array in part.arrays.items()}
    return replace(below, args=args, arrays=below.arrays | arrays)
