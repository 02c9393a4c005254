"""Losses, clipping, truncated BPTT, and the small switches of a process."""

from __future__ import annotations

from typing import Any

import numpy as np

import engine
from engine.backend import add_backend
from engine.errors import bad_input
from engine.losses import binary_cross_entropy, viterbi
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.catalogue.layers import B, D, H, T, V, draw
from wrong_calls.domains import (
    anything,
    array,
    either,
    exactly,
    flag,
    floats,
    integers,
    is_plain_array,
    nothing,
    optional,
    real,
    whole,
)


def _mask(*shape: int) -> Any:
    """A boolean array, or finite weights >= 0."""

    def plain(value: Any) -> Any:
        found = either(array("b", *shape), array("f", *shape, dtype="float32", finite=True))(value)
        return nothing(value) if (found < 0).any() else found

    return plain


def _normalizer(value: Any) -> Any:
    """A number >= 0, also as a 0-d array."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf":
        value = value.item()
    return real(0)(value)


@entry("cross_entropy")
def _cross_entropy(place: Place) -> Call:
    targets = np.random.default_rng(1).integers(0, V, (T, B))
    return call(
        engine.cross_entropy,
        logits=(draw(T, B, V), floats("float32", T, B, V)),
        targets=(targets, integers(0, V - 1, T, B, lists=False)),
        mask=(np.ones((T, B), bool), optional(_mask(T, B))),
        normalizer=(None, optional(_normalizer)),
        label_smoothing=(0.25, real(0, 1, closed=True)),
    )


def _labels(value: Any) -> Any:
    """Class indices (B, 2 or more), or (2 * B,), none of them the blank; rows may be lists."""
    if isinstance(value, list | tuple) and value and not isinstance(value[0], int):
        value = np.array([integers(1, V - 1, None)(row) for row in value])
    found = either(integers(1, V - 1, 2 * B), integers(1, V - 1, B, None))(value)
    return nothing(value) if found.ndim == 2 and found.shape[1] < 2 else found


def _log_probs(value: Any) -> Any:
    """Steps and classes enough for the other arguments."""
    found = floats("float32", None, B, None)(value)
    return nothing(value) if len(found) < T or found.shape[2] < V else found


@entry("ctc_loss")
def _ctc(place: Place) -> Call:
    return call(
        engine.ctc_loss,
        log_probs=(draw(T, B, V), _log_probs),
        targets=(np.random.default_rng(2).integers(1, V, (B, 2)), _labels),
        input_lengths=([T] * B, integers(0, T, B)),
        target_lengths=([2] * B, integers(0, 2, B)),
        blank=(0, whole(0, 0)),
        zero_infinity=(True, flag),
    )


def _prefix(value: Any) -> Any:
    """A mask (T, B) without holes, of one weight in each row."""
    found = _mask(T, B)(value)
    whole_rows = (found[1:] == 0) | (found[1:] == found[:-1])
    return found if whole_rows.all() else nothing(value)


@entry("crf_loss")
def _crf(place: Place) -> Call:
    return call(
        engine.crf_loss,
        scores=(draw(T, B, V, V), either(floats("float32", T, B, V, V), floats("float64", T, B, V, V))),
        targets=(np.random.default_rng(1).integers(0, V, (T, B)), integers(0, V - 1, T, B, lists=False)),
        mask=(np.ones((T, B), bool), optional(_prefix)),
        normalizer=(None, optional(_normalizer)),
        batch_first=(False, choice_of_layout),
    )


def choice_of_layout(value: Any) -> Any:
    """False: the other arguments are time-major."""
    return nothing(value) if flag(value) else False


@entry("viterbi")
def _viterbi(place: Place) -> Call:
    return call(
        viterbi,
        scores=(draw(T, B, V, V), either(floats("float32", T, B, None, None), floats("float64", T, B, V, V))),
        mask=(np.arange(T)[:, None] < np.array([T, 0, 2]), optional(_prefix)),
        batch_first=(False, choice_of_layout),
    )


def _of_crf(place: Place) -> tuple[Any, Any, Any]:
    """A layer, what its forward gives, and the domain of that."""
    layer = engine.CRF(V, backend=place.spec)
    either_dtype = either(floats("float32", T, B, V, V), floats("float64", T, B, V, V))
    return layer, layer.predict(draw(T, B, V))[0], either_dtype


@entry("CRF.loss")
def _crf_loss(place: Place) -> Call:
    layer, y, domain = _of_crf(place)
    return call(
        layer.loss,
        y=(y, domain),
        targets=(np.random.default_rng(1).integers(0, V, (T, B)), integers(0, V - 1, T, B, lists=False)),
        normalizer=(None, optional(_normalizer)),
        lengths=([T] * B, optional(integers(0, T, B))),
    )


@entry("CRF.decode")
def _crf_decode(place: Place) -> Call:
    layer, y, domain = _of_crf(place)
    return call(layer.decode, y=(y, domain), lengths=([T, 0, 2], optional(integers(0, T, B))))


@entry("binary_cross_entropy")
def _binary(place: Place) -> Call:
    def share(value: Any) -> Any:
        found = floats("float32", T, B, D)(value)
        return found if ((found >= 0) & (found <= 1)).all() else nothing(value)

    return call(
        binary_cross_entropy,
        logits=(draw(T, B, D), floats("float32", T, B, D)),
        targets=(np.abs(np.sin(draw(T, B, D))), share),
        mask=(None, optional(either(_mask(T, B), _mask(T, B, D), _mask(T)))),
        normalizer=(15, optional(_normalizer)),
    )


def require_plain_shape(prediction: Any) -> None:
    """Refuse arrays that are legal where the other arguments are changed alike, which no domain can tell."""
    if is_plain_array(prediction) and (prediction.shape, prediction.dtype) != ((T, B, D), np.float32):
        raise bad_input("prediction", f"float32 of shape {(T, B, D)}", f"shape {prediction.shape}")


@entry("mse")
def _mse(place: Place) -> Call:
    def run(prediction: Any, **rest: Any) -> Any:
        require_plain_shape(prediction)
        return engine.mse(prediction, **rest)

    return call(
        run,
        prediction=(draw(T, B, D), floats("float32", T, B, D)),
        target=(draw(T, B, D) + 1, floats("float32", T, B, D)),
        mask=(np.ones((T, B), np.float32), optional(either(_mask(T, B), _mask(T, B, D), _mask(T)))),
        normalizer=(15, optional(_normalizer)),
    )


@entry("activation_regularization")
def _activation(place: Place) -> Call:
    return call(
        engine.activation_regularization,
        y=(draw(T, B, H), floats("float32", T, B, H)),
        alpha=(2.0, real(0)),
        mask=(np.ones((T, B), bool), optional(_mask(T, B))),
        normalizer=(15, optional(_normalizer)),
    )


@entry("temporal_activation_regularization")
def _temporal_activation(place: Place) -> Call:
    return call(
        engine.temporal_activation_regularization,
        y=(draw(T, B, H), floats("float32", T, B, H)),
        beta=(1.0, real(0)),
        mask=(np.ones((T, B), bool), optional(_mask(T, B))),
        normalizer=(15, optional(_normalizer)),
        batch_first=(False, flag),
    )


@entry("add_gradient_noise")
def _noise(place: Place) -> Call:
    layer = _with_gradients(place)

    return call(
        engine.add_gradient_noise,  # in a list the names are others, and so is the noise: the result is not looked at
        lambda: dict(layer.grads),
        model=(layer, _one_of(layer)),
        step=(3, whole(0)),
        eta=(0.3, real(0)),
        gamma=(0.55, real(0)),
        seed=(1, whole(0)),
    )


@entry("clip_grad_norm")
def _clip_norm(place: Place) -> Call:
    layer = _with_gradients(place)

    def limit(value: Any) -> Any:
        return value if isinstance(value, float) and value == float("inf") else real(0, over=0)(value)

    return call(
        lambda model, max_norm: (engine.clip_grad_norm(model, max_norm), dict(layer.grads)),
        lambda: dict(layer.grads),
        model=(layer, _one_of(layer)),
        max_norm=(0.5, limit),
    )


@entry("clip_grad_value")
def _clip_value(place: Place) -> Call:
    layer = _with_gradients(place)

    def limit(value: Any) -> Any:
        return value if isinstance(value, float) and value == float("inf") else real(0, over=0)(value)

    return call(
        lambda model, limit: (engine.clip_grad_value(model, limit), dict(layer.grads)),
        lambda: dict(layer.grads),
        model=(layer, _one_of(layer)),
        limit=(0.5, limit),
    )


def _scale(low: float = 0.0) -> Any:
    """A number > 0, at least `low`, that a loss may be scaled by."""

    def plain(value: Any) -> Any:
        found = real(0, over=0)(value)
        return found if low <= found <= 2**30 else nothing(value)

    return plain


@entry("LossScaler")
def _loss_scaler(place: Place) -> Call:
    return call(
        lambda **given: engine.LossScaler(**given).state_dict(),
        initial=(256.0, _scale(1.0)),
        growth=(2.0, real(1)),
        backoff=(0.5, real(0, 1, over=0)),
        interval=(10, whole(1)),
        minimum=(1.0, lambda value: value if _scale()(value) <= 256 else nothing(value)),
    )


@entry("LossScaler.step")
def _scaled_step(place: Place) -> Call:
    layer = _with_gradients(place)
    optimizer = engine.SGD(layer, lr=0.0)
    others = {"a model": lambda: layer, "a class": lambda: engine.SGD}

    def run(dy: Any, optimizer: Any) -> Any:
        scaler = engine.LossScaler(256)
        found = scaler.scale(dy)
        scaler.step(optimizer)
        return found, scaler.state_dict()

    return call(
        run,
        lambda: dict(layer.params),
        dy=(draw(T, B, H), optional(either(*(array("f", dtype=dtype) for dtype in ("float32", "float64"))))),
        optimizer=(optimizer, exactly(optimizer), others),
    )


def _one_of(layer: Any) -> Any:
    """The layer, or a list with it alone."""

    def plain(value: Any) -> Any:
        if type(value) in (list, tuple) and len(value) == 1:
            value = value[0]
        return exactly(layer)(value)

    return plain


def _with_gradients(place: Place) -> Any:
    layer = engine.LSTM(D, H, backend=place.spec)
    for grad in layer.grads.values():
        grad[...] = draw(*grad.shape)
    return layer


@entry("truncated_bptt")
def _truncated(place: Place) -> Call:
    layer = engine.LSTM(D, H, backend=place.spec)
    target = draw(T, B, H)

    def loss(y: Any) -> Any:
        return engine.mse(y, target)

    extras = {
        "None": lambda: lambda y: None,
        "one thing": lambda: lambda y: y,
        "three things": lambda: lambda y: (1, y, y),
        "another shape": lambda: lambda y: (1.0, y[:-1]),
        "another dtype": lambda: lambda y: (1.0, y.astype("float64")),
        "a list": lambda: lambda y: (1.0, y.tolist()),
        "a masked gradient": lambda: lambda y: (1.0, np.ma.masked_array(y)),
        "the loss's class": lambda: str,
    }
    layers = {
        "bidirectional": lambda: engine.GRU(D, H, bidirectional=True, backend=place.spec),
        "an optimiser": lambda: engine.SGD(layer),
        "a class of layers": lambda: engine.LSTM,
    }
    state = (draw(1, B, H), draw(1, B, H))
    part = floats("float32", 1, B, H)
    return call(
        lambda **given: (engine.truncated_bptt(**given), dict(layer.grads)),
        lambda: dict(layer.grads),
        layer=(layer, exactly(layer), layers),
        x=(draw(T, B, D), floats("float32", None, B, D)),
        loss=(loss, exactly(loss), extras),
        k1=(2, whole(1)),
        k2=(3, whole(1)),
        state=(state, optional(_pair(part))),
    )


def _pair(part: Any) -> Any:
    from wrong_calls.domains import sequence

    return sequence(part, part)


@entry("set_num_threads")
def _threads(place: Place) -> Call:
    def run(count: Any) -> Any:
        try:
            engine.set_num_threads(count)
            return engine.get_num_threads()
        finally:
            engine.set_num_threads(None)

    return call(run, engine.get_num_threads, count=(2, optional(whole(1, 10**4))))


@entry("BPTT_NUM_THREADS")
def _environment(place: Place) -> Call:
    import os

    def run(text: Any) -> Any:
        if not isinstance(text, str) or "\0" in text or "\ud800" in text or type(text) not in (str, np.str_):
            raise engine.InputError("text: expected a string for the environment, got another")
        before = os.environ.get("BPTT_NUM_THREADS")
        os.environ["BPTT_NUM_THREADS"] = text
        try:
            return engine.get_num_threads()
        finally:
            os.environ.pop("BPTT_NUM_THREADS") if before is None else os.environ.update(BPTT_NUM_THREADS=before)

    return call(run, text=("2", anything))


@entry("add_backend")
def _add_backend(place: Place) -> Call:
    def run(backend: Any) -> Any:
        add_backend(backend)()

    return call(run, backend=(None, nothing))
