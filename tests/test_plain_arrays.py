"""Masked arrays, matrices and other subclasses are refused wherever an array goes in, with one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import build, random_arguments
from refusals import refused

import engine
from engine import data
from engine.errors import InputError, InputTypeError

T, B, D, H, V = 4, 3, 2, 5, 7
rng = np.random.default_rng(0)


class Metres(np.ndarray):
    """A subclass with rules of its own."""


#: What an array is dressed as: each changes what is computed, or would lose something without a word.
DRESSES: dict[str, Callable[[Any], Any]] = {
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) % 2 == 1),
    "masked, nothing of it": np.ma.masked_array,
    "matrix": lambda a: np.asmatrix(a.reshape(len(a), -1)),
    "subclass": lambda a: a.view(Metres),
    "records": lambda a: a.view(np.recarray),
}
LENGTHS = np.array([4, 2, 0])
IDS = rng.integers(0, V, (T, B))
LOGITS, TARGETS = rng.normal(size=(T, B, V)), rng.integers(0, V, (T, B))
WEIGHTS = rng.uniform(0.5, 2, (T, B))
layer = build("lstm", D, H, bidirectional=True)
X, (HIDDEN, CELL), DY, (DHIDDEN, DCELL) = random_arguments(layer, T, B)
single = build("gru", D, H)
linear = engine.Linear(D, V, dtype="float64")
embedding = engine.Embedding(V, D, dtype="float64")
TABLE = rng.normal(size=(20, 2))


def backward(model: Any, x: Any, dy: Any, dstate: Any = None) -> Any:
    return model.backward(model.forward(x)[2], dy, dstate)


def assign(value: Any) -> None:
    single.params["weight_hh_l0"] = value


def restore(value: Any) -> None:
    optimiser = engine.Adam(embedding)
    optimiser.load_state_dict(optimiser.state_dict() | {"exp_avg.weight": value})


def fitted() -> Any:
    return data.MinMaxScaler().fit(TABLE)


#: Every place where an array goes in: its name in the message, a plain array, and the call.
PLACES: dict[str, tuple[str, Any, Callable[[Any], Any]]] = {
    "forward x": ("x", X, lambda a: layer.forward(a)),
    "predict x": ("x", X, lambda a: layer.predict(a)),
    "state": ("state", X[:1, :, :1] * np.ones(H), lambda a: single.forward(X, a)),
    "state h": ("state h", HIDDEN, lambda a: layer.forward(X, (a, CELL))),
    "state c": ("state c", CELL, lambda a: layer.forward(X, (HIDDEN, a))),
    "lengths": ("lengths", LENGTHS, lambda a: layer.forward(X, None, a)),
    "lengths of predict": ("lengths", LENGTHS, lambda a: layer.predict(X, None, a)),
    "dy": ("dy", DY, lambda a: backward(layer, X, a)),
    "dstate h": ("dstate h", DHIDDEN, lambda a: backward(layer, X, DY, (a, DCELL))),
    "dstate c": ("dstate c", DCELL, lambda a: backward(layer, X, None, (None, a))),
    "trace dy": ("dy", DY, lambda a: layer.backward_trace(layer.forward(X)[2], a)),
    "linear x": ("x", X, lambda a: linear.forward(a)),
    "linear lengths": ("lengths", LENGTHS, lambda a: linear.forward(X, None, a)),
    "linear dy": ("dy", LOGITS, lambda a: backward(linear, X, a)),
    "embedding ids": ("x", IDS, lambda a: embedding.forward(a)),
    "embedding lengths": ("lengths", LENGTHS, lambda a: embedding.predict(IDS, None, a)),
    "embedding dy": ("dy", rng.normal(size=(T, B, D)), lambda a: backward(embedding, IDS, a)),
    "dropout x": ("x", X, lambda a: engine.Dropout(0.5, dtype="float64").forward(a)),
    "dropout dy": ("dy", X, lambda a: backward(engine.Dropout(0.5, dtype="float64"), X, a)),
    "logits": ("logits", LOGITS, lambda a: engine.cross_entropy(a, TARGETS)),
    "targets": ("targets", TARGETS, lambda a: engine.cross_entropy(LOGITS, a)),
    "mask": ("mask", WEIGHTS, lambda a: engine.cross_entropy(LOGITS, TARGETS, a)),
    "boolean mask": ("mask", WEIGHTS > 1, lambda a: engine.cross_entropy(LOGITS, TARGETS, a)),
    "normalizer": (
        "normalizer",
        WEIGHTS,
        lambda a: engine.mse(X, X, None, a if type(a) is not np.ndarray else a.sum()),
    ),
    "prediction": ("prediction", X, lambda a: engine.mse(a, X)),
    "target": ("target", X, lambda a: engine.mse(X, a)),
    "mask of mse": ("mask", WEIGHTS, lambda a: engine.mse(X, X, a)),
    "truncated x": ("x", X, lambda a: engine.truncated_bptt(single, a, lambda y: engine.mse(y, y * 0), 2, 2)),
    "dy of a loss": (
        "dy of the loss",
        LOGITS[..., :H],
        lambda a: engine.truncated_bptt(single, X, lambda y: (0, a), 2, 2),
    ),
    "gradcheck x": ("x", X, lambda a: engine.gradcheck(single, a)),
    "gradcheck lengths": ("lengths", LENGTHS, lambda a: engine.gradcheck(single, X, lengths=a)),
    "inputs": ("inputs", TABLE, lambda a: engine.check_gradients(lambda x: (x * 2, x), lambda d, x: (d * 2,), [a])),
    "upload": ("host", TABLE, lambda a: engine.get_backend("numpy").asarray(a)),
    "download": ("array", TABLE, lambda a: engine.get_backend("numpy").to_host(a)),
    "stream": ("ids", np.arange(30), lambda a: data.contiguous_batches(a, 2, 3)),
    "bucketed lengths": ("lengths", LENGTHS, lambda a: data.bucket_by_length(a, 2)),
    "sequences": ("sequences[1]", TABLE, lambda a: data.pad_sequences([TABLE, a])),
    "fit": ("values", TABLE, lambda a: data.ZScoreScaler().fit(a)),
    "transform": ("values", TABLE, lambda a: fitted().transform(a)),
    "inverse": ("values", TABLE, lambda a: fitted().inverse_column(a, 1)),
    "filled": ("filled", TABLE > 1, lambda a: data.windows(TABLE, steps=3, horizon=1, filled=a)),
    "forecast": ("forecast", TABLE, lambda a: data.score(a, TABLE + 1)),
    "targets of a score": ("targets", TABLE, lambda a: data.score(TABLE + 1, a)),
    "known": ("known", TABLE > 0, lambda a: data.score(TABLE, TABLE + 1, a)),
    "decoded ids": ("ids", np.arange(3), lambda a: data.Vocabulary.from_text("abcd").decode(a)),
    "params": ("params['weight_hh_l0']", single.params["weight_hh_l0"] * 1, lambda a: assign(a)),
    "weights": ("weight", rng.normal(size=(V, D)), lambda a: embedding.load_state_dict({"weight": a})),
    "state of an optimiser": ("exp_avg.weight", rng.normal(size=(V, D)), lambda a: restore(a)),
    "windows": ("values", TABLE, lambda a: data.windows(a, steps=3, horizon=1)),
}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("place", PLACES)
def test_an_array_with_rules_of_its_own_is_refused(place: str, dress: str) -> None:
    name, plain, call = PLACES[place]
    with warnings.catch_warnings(action="ignore"):  # NumPy's own word against matrices
        dressed = DRESSES[dress](plain)
    with refused(InputTypeError, f"{name}: expected ", "got a ", "its mask would be" if "masked" in dress else ""):
        call(dressed)


@pytest.mark.parametrize("place", PLACES)
def test_the_same_call_takes_the_plain_array(place: str) -> None:
    """What is refused above is refused for what it is dressed as, and for nothing else; a file on disk is plain."""
    _, plain, call = PLACES[place]
    call(plain)
    read_only = plain.copy()
    read_only.flags.writeable = False
    call(read_only)
    strided = np.repeat(plain[..., None], 2, axis=-1)[..., 1]
    call(strided)


def test_the_small_inputs_of_the_report() -> None:
    """A loss of 0.389 for 2.010 came of masked logits; masked targets and lengths were simply used."""
    g = np.random.default_rng(0)
    z, t = g.normal(size=(4, 3, 7)).astype("f4"), np.zeros((4, 3), int)
    assert float(engine.cross_entropy(z, t)[0]) == pytest.approx(2.010, abs=1e-3)
    for logits, targets in ((np.ma.masked_array(z, mask=z > 0), t), (z, np.ma.masked_array(t, mask=True))):
        with refused(InputTypeError, "its mask would be lost"):
            engine.cross_entropy(logits, targets)
    with refused(InputTypeError, "lengths: expected integers, got a numpy.MaskedArray"):
        engine.RNN(7, 3).forward(z, None, np.ma.masked_array([4, 4, 4], mask=[False, True, False]))
    with refused(InputTypeError, "logits: expected a plain array, got a numpy.matrix; pass np.asarray(logits)"):
        engine.cross_entropy(z[0].view(np.matrix), t[0])


def test_lists_are_looked_into() -> None:
    """NumPy makes an array of a list of masked ones, and drops the masks."""
    row = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    for ids in ([row, row], [[1, 2, 3], row], ((1, 2, 3), (row[0], row[1], 3))):
        with refused(InputTypeError, "x: expected integer token ids, got a numpy.Masked"):
            embedding.forward(ids)
    with refused(InputTypeError, "lengths: expected integers, got a numpy.Masked"):
        layer.forward(X, None, [4, np.ma.masked, 3])
    assert embedding.forward([[1, 2], [3, 4]])[0].shape == (2, 2, D)
    for ragged in ([[1, 2], [3]], [[1, 2], 3]):
        with refused(InputTypeError, "x: expected integer token ids, got a list of no one shape"):
            embedding.forward(ragged)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "c8", "i4", "O", "U3", "M8[s]", "V4", "g", "?"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    """Half precision is called by its name, and so is a byte order that is not the machine's."""
    odd = np.zeros((T, B, D), dtype)
    narrow = engine.GRU(D, H)
    calls: list[Callable[[], Any]] = [
        lambda: narrow.forward(odd),
        lambda: narrow.predict(X.astype("f4"), odd),
        lambda: engine.mse(odd, odd),
        lambda: engine.mse(X[..., 0], odd[..., 0]),
        # functions of complex arrays are checked, layers are real
        lambda: engine.check_gradients(lambda x: (x, x), lambda d, x: (d,), [odd] if dtype != "c8" else [TARGETS]),
        lambda: engine.gradcheck(narrow, odd),
        lambda: engine.cross_entropy(LOGITS, TARGETS, odd[..., 0] if dtype != "?" else odd[..., 0].astype(int)),
        lambda: engine.cross_entropy(LOGITS, odd[..., 0] if dtype != "i4" else odd[..., 0].astype(bool)),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"\A\w+: expected (?!.*\n)"):
            call()
    words = {"f2": "dtype float16 (half precision)", ">f4": "dtype >f4"}
    with refused(InputTypeError, "x: expected dtype float32, got ", words.get(dtype, f"dtype {np.dtype(dtype)}")):
        narrow.forward(odd)


def test_half_precision_is_called_by_its_name() -> None:
    half = X.astype("f2")
    for call in (
        lambda: engine.GRU(D, H).forward(half),
        lambda: engine.mse(half, half),
        lambda: engine.cross_entropy(LOGITS.astype("f2"), TARGETS),
        lambda: engine.cross_entropy(LOGITS, TARGETS, WEIGHTS.astype("f2")),
        lambda: engine.check_gradients(lambda x: (x, x), lambda d, x: (d,), [half]),
    ):
        with refused(InputTypeError, "dtype float16 (half precision)"):
            call()
    for dtype in ("float16", np.float16, np.dtype("f2"), "bfloat16", "bf16", "half"):
        with refused(
            InputTypeError, "dtype: expected 'float32' or 'float64', got ", "half precision; build it in float32"
        ):
            engine.LSTM(D, H, dtype=dtype)


def test_numbers_too_large_for_a_float_are_refused() -> None:
    with refused(InputError, "normalizer: expected a number >= 0", "got an integer of about 400 digits"):
        engine.mse(X, X, normalizer=10**400)
