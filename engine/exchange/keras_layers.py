"""What each layer of Keras is here: from its description and its arrays to parts.

An option that changes the results and that no layer here has is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.exchange.keras_weights import CLASSES, from_keras, shapes_of
from engine.exchange.parts import Host, Part
from engine.layers.activation import ACTIVATION_KINDS


class Refused(Exception):  # noqa: N818 - caught by the reader, which knows the layer
    """Something that no layer here does: what would do, and what came."""

    def __init__(self, expected: str, got: str, hint: str = "") -> None:
        super().__init__(expected, got, hint)
        self.expected, self.got, self.hint = expected, got, hint


Settings = dict[str, Any]
Rule = Callable[[Settings, list[Host]], list[Part]]
RULES: dict[str, Rule] = {}

_RECURRENT = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM"}
#: The layers that do nothing here: what they say is told otherwise.
NOTHING = ("InputLayer",)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a function as the rule of these classes."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def name_of(value: Any) -> str:
    """The name of a function in a description, which Keras also writes as an object."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("registered_name") or value.get("class_name")
    return "linear" if value is None else str(value)


def expect(settings: Settings, name: str, *allowed: Any) -> Any:
    """The value of an option, one of those that a layer here has; the first is the default."""
    value = settings.get(name, allowed[0])
    if value not in allowed:
        shown = name_of(value) if isinstance(value, dict) else repr(value)
        raise Refused(f"{name}={' or '.join(map(repr, allowed))}", f"{name}={shown}")
    return value


def whole(settings: Settings, name: str) -> int:
    """A size of a description."""
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refused(f"{name} as an integer >= 1", f"{name}={value!r}")
    return value


def share(settings: Settings, name: str) -> float:
    """A probability of a description."""
    value = settings.get(name) or 0.0
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise Refused(f"{name} as a probability", f"{name}={value!r}")
    return float(value)


def check_shapes(arrays: list[Host], shapes: list[tuple[int, ...]]) -> None:
    """Raise unless the arrays have these shapes, in order."""
    found = [array.shape for array in arrays]
    if found != shapes:
        raise Refused(f"arrays of the shapes {shapes}", f"{found or 'none'}", "the file is damaged or was cut")


def functions(settings: Settings) -> list[Part]:
    """The function behind a layer, as a part of its own; none for the identity."""
    kind = name_of(settings.get("activation"))
    if kind == "linear":
        return []
    if kind not in ACTIVATION_KINDS:
        hint = "leave it out of the Keras model and apply it to y"
        raise Refused(
            f"activation={' or '.join(map(repr, ('linear', *ACTIVATION_KINDS)))}", f"activation={kind!r}", hint
        )
    return [Part("Activation", {"kind": kind})]


# -- layers of single steps --------------------------------------------------------------------------------------------


@rule("Dense")
def dense(settings: Settings, arrays: list[Host]) -> list[Part]:
    """A Linear, and the function behind it; its kernel is (D, V)."""
    units, bias = whole(settings, "units"), bool(settings.get("use_bias", True))
    features = arrays[0].shape[0] if arrays and arrays[0].ndim == 2 else 0
    check_shapes(arrays, [(features, units), (units,)] if bias else [(features, units)])
    named = {"weight": arrays[0].T} | ({"bias": arrays[1]} if bias else {})
    linear = Part("Linear", {"in_features": features, "out_features": units, "bias": bias}, named)
    return [linear, *functions(settings)]


@rule("Activation")
def activation(settings: Settings, arrays: list[Host]) -> list[Part]:
    """A function of every step."""
    return functions(settings)


@rule("ReLU")
def relu(settings: Settings, arrays: list[Host]) -> list[Part]:
    """The same by another name, where nothing is set."""
    expect(settings, "max_value", None)
    expect(settings, "negative_slope", 0.0)
    expect(settings, "threshold", 0.0)
    return [Part("Activation", {"kind": "relu"})]


@rule("Softmax")
def softmax(settings: Settings, arrays: list[Host]) -> list[Part]:
    """Softmax over the features."""
    expect(settings, "axis", -1, [-1])
    return [Part("Activation", {"kind": "softmax"})]


@rule("Embedding")
def embedding(settings: Settings, arrays: list[Host]) -> list[Part]:
    """A table of vectors."""
    sizes = whole(settings, "input_dim"), whole(settings, "output_dim")
    check_shapes(arrays, [sizes])
    args = {"num_embeddings": sizes[0], "embedding_dim": sizes[1]}
    return [Part("Embedding", args, {"weight": arrays[0]})]


@rule("Dropout", "SpatialDropout1D")
def dropout(settings: Settings, arrays: list[Host]) -> list[Part]:
    """Dropout; where a mask is shared by all steps, one mask for the whole sequence."""
    shape = settings.get("noise_shape")
    if shape not in (None, [None, 1, None]):
        raise Refused("noise_shape=None", f"noise_shape={shape}")
    return [Part("Dropout", {"p": share(settings, "rate"), "variational": shape is not None})]


@rule("LayerNormalization")
def layer_norm(settings: Settings, arrays: list[Host]) -> list[Part]:
    """Layer normalisation over the features, gain and bias in this order."""
    expect(settings, "axis", -1, [-1], 2, [2])
    expect(settings, "rms_scaling", False)
    weight, bias = _gain_and_bias(settings, arrays, 0)
    return [Part("LayerNorm", {"num_features": len(weight), "eps": _eps(settings)}, {"weight": weight, "bias": bias})]


@rule("BatchNormalization")
def batch_norm(settings: Settings, arrays: list[Host]) -> list[Part]:
    """Batch normalisation over the features: gain, bias, moving mean and moving variance."""
    expect(settings, "axis", -1, [-1], 2, [2])
    weight, bias = _gain_and_bias(settings, arrays, 2)
    named = {"weight": weight, "bias": bias, "running_mean": arrays[-2], "running_var": arrays[-1]}
    named["num_batches_tracked"] = np.zeros((), np.int64)
    args = {"num_features": len(weight), "eps": _eps(settings), "momentum": 1.0 - share(settings, "momentum")}
    return [Part("BatchNorm", args, named)]


def _eps(settings: Settings) -> float:
    value = settings.get("epsilon", 1e-3)
    if not isinstance(value, int | float) or not value > 0:
        raise Refused("epsilon as a number > 0", f"epsilon={value!r}")
    return float(value)


def _gain_and_bias(settings: Settings, arrays: list[Host], others: int) -> tuple[Host, Host]:
    """Gain and bias, each of which Keras may leave out; `others` more arrays follow."""
    scale, center = bool(settings.get("scale", True)), bool(settings.get("center", True))
    size = arrays[0].shape if arrays else ()
    check_shapes(arrays, [size] * (scale + center + others))
    if len(size) != 1:
        raise Refused("a gain or a bias", "neither" if not size else f"arrays of shape {size}")
    gain = arrays[0] if scale else np.ones(size, arrays[0].dtype)
    return gain, arrays[int(scale)] if center else np.zeros(size, arrays[0].dtype)


@rule("TimeDistributed")
def time_distributed(settings: Settings, arrays: list[Host]) -> list[Part]:
    """A dense layer at every step, which it is here anyway."""
    inner = settings.get("layer", {})
    if inner.get("class_name") != "Dense":
        raise Refused("a Dense layer within", f"{inner.get('class_name')}")
    return dense(inner["config"], arrays)


# -- from a sequence to one vector -------------------------------------------------------------------------------------


@rule("GlobalAveragePooling1D")
def mean(settings: Settings, arrays: list[Host]) -> list[Part]:
    """The mean over the steps."""
    return _pool("mean", settings)


@rule("GlobalMaxPooling1D")
def largest(settings: Settings, arrays: list[Host]) -> list[Part]:
    """The largest value over the steps."""
    return _pool("max", settings)


def _pool(kind: str, settings: Settings) -> list[Part]:
    expect(settings, "data_format", "channels_last", None)
    expect(settings, "keepdims", False)
    return [Part("Pool", {"kind": kind})]


# -- recurrent layers --------------------------------------------------------------------------------------------------


@rule("SimpleRNN", "GRU", "LSTM")
def recurrent(settings: Settings, arrays: list[Host]) -> list[Part]:
    """A recurrent layer, the dropout on its input before it, and the choice of the last step behind it."""
    expect(settings, "go_backwards", False)
    return _parts(str(settings["class_name"]), settings, [arrays])


@rule("Bidirectional")
def bidirectional(settings: Settings, arrays: list[Host]) -> list[Part]:
    """A recurrent layer that reads both ways."""
    expect(settings, "merge_mode", "concat")
    forward = settings.get("layer", {})
    kind, inner = forward.get("class_name"), dict(forward.get("config", {}))
    if kind not in _RECURRENT:
        raise Refused(f"one of {', '.join(_RECURRENT)} within", f"{kind}")
    expect(inner, "go_backwards", False)
    backward = settings.get("backward_layer")
    if backward is not None:
        _check_alike(kind, inner, backward)
    half = len(arrays) // 2
    return _parts(kind, inner, [arrays[:half], arrays[half:]])


#: What has to be the same in both directions.
_SHARED = ("units", "activation", "recurrent_activation", "use_bias", "reset_after", "return_sequences")


def _check_alike(kind: str, inner: Settings, backward: dict[str, Any]) -> None:
    other = backward.get("config", {})
    if backward.get("class_name") != kind or not other.get("go_backwards", True):
        raise Refused(f"a backward layer that is a {kind} with go_backwards", f"{backward.get('class_name')}")
    for name in _SHARED:
        if inner.get(name) != other.get(name):
            raise Refused(f"the same {name} both ways", f"{inner.get(name)!r} and {other.get(name)!r}")


def _parts(kind: str, settings: Settings, arrays: list[list[Host]]) -> list[Part]:
    """The parts of a layer; `arrays` are those of each direction."""
    cell = _cell(kind, settings, arrays[0])
    units, bias = whole(settings, "units"), bool(settings.get("use_bias", True))
    features = arrays[0][0].shape[0] if arrays[0] and arrays[0][0].ndim == 2 else 0
    named: dict[str, Host] = {}
    for one, end in zip(arrays, ("_l0", "_l0_reverse"), strict=False):
        check_shapes(one, shapes_of(cell, features, units, bias))
        named |= from_keras(cell, one, end)
    args: dict[str, Any] = {"input_size": features, "hidden_size": units, "num_layers": 1, "bias": bias}
    args |= {"bidirectional": len(arrays) == 2}
    args |= {"nonlinearity": cell.removeprefix("rnn_")} if kind == "SimpleRNN" else {}
    args |= {"reset_after": cell == "gru"} if kind == "GRU" else {}
    recurrent_dropout = share(settings, "recurrent_dropout")
    args |= {"recurrent_dropout": recurrent_dropout} if recurrent_dropout else {}
    own, p = Part(_RECURRENT[kind], args, named, settings.get("scope")), share(settings, "dropout")
    before = [Part("Dropout", {"p": p, "variational": True})] if p else []
    last = [] if settings.get("return_sequences") else [Part("Pool", {"kind": "last", "directions": len(arrays)})]
    return [*before, own, *last]


def _cell(kind: str, settings: Settings, arrays: list[Host]) -> str:
    """The name of our cell with the functions that a description names; the bias tells what an old one leaves out."""
    if kind == "SimpleRNN":
        return f"rnn_{_function(settings, 'activation', 'tanh', 'relu')}"
    _function(settings, "activation", "tanh")
    _function(settings, "recurrent_activation", "sigmoid")
    if kind == "LSTM":
        return "lstm"
    two_biases = len(arrays) < 3 or arrays[2].ndim == 2
    return "gru" if settings.get("reset_after", two_biases) else "gru_before"


def _function(settings: Settings, name: str, *allowed: str) -> str:
    """The name of a function, one of those that a cell here has."""
    value = name_of(settings.get(name, allowed[0]))
    if value not in allowed:
        raise Refused(f"{name}={' or '.join(map(repr, allowed))}", f"{name}={value!r}")
    return value


assert set(_RECURRENT) == {kind for kind, _, _ in CLASSES.values()}
