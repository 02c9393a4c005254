"""Layers: constructors, passes, tapes, parameters and gradients, attributes, saving and moving."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np

import engine
import kernels.cells
from engine.backend import Backend, backend_of, check_dtype
from engine.layers import from_config
from wrong_calls.calls import SPECIAL, Call, Place, call, entry
from wrong_calls.domains import (
    Domain,
    absent,
    anything,
    array,
    choice,
    dtype,
    either,
    exactly,
    flag,
    floats,
    instance,
    integers,
    many,
    mapping,
    nothing,
    optional,
    real,
    sequence,
    whole,
)

T, B, D, H, V = 5, 3, 4, 6, 7
backend = either(choice("numpy", "numpy:reference", "numpy:numba"), instance(Backend))
seed = optional(whole(0))


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)


def draw(*shape: int, dtype: str = "float32") -> Any:
    """Random numbers."""
    return _rng().normal(size=shape).astype(dtype)


def common(place: Place) -> dict[str, tuple[Any, ...]]:
    """The arguments that all constructors share."""
    return {"backend": (place.spec, backend), "dtype": ("float32", dtype), "seed": (2, seed)}


# -- constructors ------------------------------------------------------------------------------------------------------

share = real(0, 1, closed=True)
RECURRENT: dict[str, tuple[Any, dict[str, tuple[Any, ...]]]] = {
    "RNN": (engine.RNN, {"nonlinearity": ("tanh", choice("tanh", "relu"))}),
    "GRU": (engine.GRU, {"reset_after": (True, flag)}),
    "LSTM": (engine.LSTM, {"forget_bias": (1.0, real())}),
    "Recurrent": (
        engine.Recurrent,
        {
            "cell": ("mgu", either(choice(*engine.cells()), instance(engine.Cell, kernels.cells.Cell))),
            "zoneout": ([0.1], either(share, sequence(share))),
            "recurrent_dropout": (0.0, share),
            "weight_dropout": (0.2, share),
            "proj_size": (0, whole(0)),
        },
    ),
}


def _constructor(kind: Any, own: dict[str, tuple[Any, ...]]) -> Callable[[Place], Call]:
    def build(place: Place) -> Call:
        return call(
            kind,
            input_size=(D, whole(1, 10**5)),
            hidden_size=(H, whole(1, 10**5)),
            num_layers=(2, whole(1, 10**3)),
            bias=(True, flag),
            batch_first=(False, flag),
            dropout=(0.25, share),
            variational=(False, flag),
            bidirectional=(True, flag),
            precision=("float32", choice("float32", "bf16", "fp16")),
            exempt=((), many(exactly())),
            **own,
            **common(place),
        )

    return build


for _name, (_kind, _own) in RECURRENT.items():
    entry(_name)(_constructor(_kind, _own))


@entry("Linear")
def _linear(place: Place) -> Call:
    return call(
        engine.Linear,
        in_features=(D, whole(1, 10**5)),
        out_features=(V, whole(1, 10**5)),
        bias=(True, flag),
        batch_first=(None, optional(flag)),
        **common(place),
    )


@entry("Embedding")
def _embedding(place: Place) -> Call:
    return call(
        engine.Embedding,
        num_embeddings=(V, whole(1, 10**6)),
        embedding_dim=(D, whole(1, 10**6)),
        batch_first=(None, optional(flag)),
        features=(2, whole(1, 10**6)),
        **common(place),
    )


@entry("Dropout")
def _dropout(place: Place) -> Call:
    return call(
        engine.Dropout,
        p=(0.5, real(0, 1, closed=True)),
        variational=(True, flag),
        batch_first=(False, optional(flag)),
        **common(place),
    )


@entry("Activation")
def _activation(place: Place) -> Call:
    return call(
        engine.Activation,
        kind=("softmax", choice("tanh", "relu", "sigmoid", "softmax")),
        batch_first=(False, optional(flag)),
        **common(place),
    )


@entry("LayerNorm")
def _layer_norm(place: Place) -> Call:
    return call(
        engine.LayerNorm,
        num_features=(D, whole(1, 10**6)),
        eps=(1e-3, real(0, over=0)),
        batch_first=(None, optional(flag)),
        **common(place),
    )


@entry("BatchNorm")
def _batch_norm(place: Place) -> Call:
    return call(
        engine.BatchNorm,
        num_features=(D, whole(1, 10**6)),
        eps=(1e-3, real(0, over=0)),
        momentum=(0.2, optional(real(0, 1, closed=True))),
        batch_first=(True, optional(flag)),
        **common(place),
    )


@entry("BatchNormLSTM")
def _batch_norm_lstm(place: Place) -> Call:
    return call(
        engine.BatchNormLSTM,
        input_size=(D, whole(1, 10**4)),
        hidden_size=(H, whole(1, 10**3)),
        max_steps=(T, whole(1, 10**4)),
        gain=(0.1, real(0, over=0)),
        forget_bias=(1.0, real()),
        eps=(1e-3, real(0, over=0)),
        momentum=(0.2, real(0, 1, closed=True)),
        batch_first=(True, flag),
        **common(place),
    )


@entry("CRF")
def _crf(place: Place) -> Call:
    return call(engine.CRF, num_tags=(D, whole(1, 10**4)), batch_first=(None, optional(flag)), **common(place))


@entry("Pool")
def _pool(place: Place) -> Call:
    return call(
        engine.Pool,
        kind=("attention", choice("last", "mean", "max", "attention")),
        input_size=(D, whole(1, 10**6)),
        directions=(1, whole(1, 2)),
        batch_first=(None, optional(flag)),
        **common(place),
    )


def _own_backend(place: Place) -> Domain:
    """The names of the layers' own backend: without kernels it is that with the best ones."""
    return choice(place.spec, *(["numpy"] if place.spec == engine.get_backend("numpy").spec else []))


@entry("Sequential")
def _sequential(place: Place) -> Call:
    first, second = engine.LSTM(D, H, backend=place.spec), engine.Linear(H, V, backend=place.spec)
    other = {
        "another dtype": lambda: engine.Linear(H, V, backend=place.spec, dtype="float64"),
        "the first again": lambda: first,
        "a Sequential": lambda: engine.Sequential(engine.Linear(H, V, backend=place.spec)),
        "another's part": lambda: engine.Sequential(engine.Linear(H, V, backend=place.spec)).layers[0],
    }
    return call(
        lambda first, second, backend, dtype, seed: engine.Sequential(
            first, second, backend=backend, dtype=dtype, seed=seed
        ),
        first=(first, exactly(first)),
        second=(second, instance(engine.Linear, engine.Sequential, engine.LSTM), other),
        backend=(None, either(absent, _own_backend(place), instance(Backend))),
        dtype=(None, optional(dtype)),
        seed=(None, seed),
    )


@entry("Heads")
def _heads(place: Place) -> Call:
    heads = {"label": engine.LSTM(D, H, backend=place.spec), "tag": engine.Linear(D, V, backend=place.spec)}
    extras = {
        "another dtype": lambda: {**heads, "tag": engine.Linear(D, V, backend=place.spec, dtype="float64")},
        "one twice": lambda: {**heads, "other": heads["tag"]},
        "a name with a dot": lambda: {"label.1": heads["label"]},
        "a number as name": lambda: {1: heads["label"]},
        "none": dict,
        "no layer": lambda: {"label": "LSTM"},
    }
    return call(
        engine.Heads,
        heads=(heads, mapping({name: exactly(head) for name, head in heads.items()}), extras),
        backend=(None, either(absent, _own_backend(place), instance(Backend))),
        dtype=(None, optional(dtype)),
        seed=(None, seed),
    )


@entry("from_config")
def _from_config(place: Place) -> Call:
    config = engine.LSTM(D, H, backend=place.spec).config()
    arguments = {
        "input_size": whole(1, 10**5),
        "hidden_size": whole(1, 10**5),
        "num_layers": whole(1, 10**3),
        "bias": flag,
        "batch_first": flag,
        "dropout": real(0, 1, closed=True),
        "variational": flag,
        "bidirectional": flag,
        "forget_bias": real(),
    }

    def plain_arguments(value: Any) -> Any:
        return (
            mapping({name: arguments[name] for name in value})(value)
            if isinstance(value, dict) and set(value) <= set(arguments) and {"input_size", "hidden_size"} <= set(value)
            else nothing(value)
        )

    plain = mapping({"type": choice("LSTM", "GRU", "RNN"), "args": plain_arguments})
    return call(from_config, config=(config, plain), **common(place))


# -- passes ------------------------------------------------------------------------------------------------------------


def _recurrent(kind: str, place: Place) -> Any:
    options: dict[str, Any] = {"backend": place.spec, "seed": 1}
    if kind == "LSTM":
        return engine.LSTM(D, H, 2, bidirectional=True, batch_first=True, **options)
    return engine.GRU(D, H, **options) if kind == "GRU" else engine.RNN(D, H, **options)


def _shapes(layer: Any) -> tuple[Any, Any, Any, Any]:
    """Shapes of x and y, and domain and value of a state."""
    slots, width = layer.num_layers * layer.num_directions, layer.num_directions * H
    lead = (B, T) if layer.batch_first else (T, B)
    one = floats("float32", slots, B, H)
    value = draw(slots, B, H)
    pair = len(layer.cell.states) > 1
    return (*lead, D), (*lead, width), sequence(one, one) if pair else one, (value, value + 1) if pair else value


def _grads(layer: Any) -> dict[str, np.ndarray]:
    return {name: np.array(grad) for name, grad in layer.grads.items()}


def _foreign_tapes(layer: Any, place: Place) -> dict[str, Callable[[], Any]]:
    def tape_of(other: Any, x: Any) -> Any:
        return other.forward(x)[2]

    def stale() -> Any:
        tape = layer.forward(_input_of(layer))[2]
        for param in layer.params.values():
            param[...] = param + 1
            break
        return tape

    return {
        "a twin's tape": lambda: tape_of(layer.to(), _input_of(layer)),
        "a linear layer's tape": lambda: tape_of(engine.Linear(D, H, backend=place.spec), draw(T, B, D)),
        "an embedding's tape": lambda: tape_of(engine.Embedding(V, H, backend=place.spec), np.zeros((T, B), int)),
        "a stale tape": stale,
    }


def _input_of(layer: Any) -> Any:
    return draw(B, T, D) if layer.batch_first else draw(T, B, D)


def _passes(kind: str) -> None:
    """Entries for the passes of a recurrent layer."""

    @entry(f"{kind}.forward")
    def forward(place: Place) -> Call:
        layer = _recurrent(kind, place)
        x, _, domain, state = _shapes(layer)
        return call(
            layer.forward,
            x=(draw(*x), floats("float32", None, None, D)),
            state=(state, optional(domain)),
            lengths=([T, 0, 2], optional(integers(0, T, B))),
            training=(True, flag),
        )

    @entry(f"{kind}.predict")
    def predict(place: Place) -> Call:
        layer = _recurrent(kind, place)
        x, _, domain, state = _shapes(layer)
        return call(
            layer.predict,
            x=(draw(*x), floats("float32", None, None, D)),
            state=(state, optional(domain)),
            lengths=(np.array([T, 0, 2]), optional(integers(0, T, B))),
        )

    for method in ("backward", "backward_trace"):

        @entry(f"{kind}.{method}")
        def backward(place: Place, method: str = method) -> Call:
            layer = _recurrent(kind, place)
            x, y, _, state = _shapes(layer)
            tape = layer.forward(draw(*x), state, [T, 0, 2])[2]
            slots = layer.num_layers * layer.num_directions
            one = floats("float32", slots, B, H)
            domain = sequence(optional(one), optional(one)) if len(layer.cell.states) > 1 else one

            def run(**given: Any) -> Any:
                result = getattr(layer, method)(**given)
                return (result if method == "backward" else [result.dx, result.dstate, result.grads]), _grads(layer)

            return call(
                run,
                lambda: _grads(layer),
                tape=(tape, exactly(tape), _foreign_tapes(layer, place)),
                dy=(draw(*y), optional(floats("float32", *y))),
                dstate=(state, optional(domain)),
            )

    @entry(f"{kind}.window")
    def window(place: Place) -> Call:
        layer = engine.GRU(D, H, backend=place.spec)
        tape = layer.forward(draw(T, B, D))[2]
        return call(
            layer.window,
            tape=(tape, instance(type(tape))),
            start=(1, whole(0, T)),
            stop=(3, whole(0, T)),
        )


for _name in RECURRENT:
    _passes(_name)


def _model(place: Place) -> Any:
    """An embedding, a GRU, a nested part and a head."""
    options: dict[str, Any] = {"backend": place.spec}
    return engine.Sequential(
        engine.Embedding(V, D, **options),
        engine.GRU(D, H, **options),
        engine.Sequential(engine.LSTM(H, 5, **options)),
        engine.Linear(5, V, **options),
        seed=4,
    )


def _ids() -> np.ndarray:
    return _rng().integers(0, V, (T, B))


def _state_of_model() -> tuple[Any, Any]:
    pair = floats("float32", 1, B, 5)
    domain = sequence(
        absent, optional(floats("float32", 1, B, H)), optional(sequence(optional(sequence(pair, pair)))), absent
    )
    return (None, draw(1, B, H), ((draw(1, B, 5), draw(1, B, 5)),), None), domain


def ids_domain(value: Any) -> Any:
    """Ids of any shape, also as lists of lists of integers."""
    if isinstance(value, np.integer):
        value = np.array(value)
    if type(value) in (list, tuple):
        try:
            value = np.array(value)
        except ValueError:  # ragged
            nothing(value)
    return integers(0, V - 1, lists=False)(value)


@entry("Sequential.forward")
def _sequential_forward(place: Place) -> Call:
    state, domain = _state_of_model()
    return call(
        _model(place).forward,
        x=(_ids(), ids_domain),
        state=(state, optional(domain)),
        lengths=([T, 0, T], optional(integers(0, T, B))),
        training=(True, flag),
    )


@entry("Sequential.predict")
def _sequential_predict(place: Place) -> Call:
    state, domain = _state_of_model()
    return call(
        _model(place).predict,
        x=(_ids(), ids_domain),
        state=(state, optional(domain)),
        lengths=([T, 0, T], optional(integers(0, T, B))),
    )


@entry("Sequential.backward")
def _sequential_backward(place: Place) -> Call:
    model = _model(place)
    state, _ = _state_of_model()
    one = optional(floats("float32", 1, B, 5))
    domain = sequence(
        absent, optional(floats("float32", 1, B, H)), optional(sequence(optional(sequence(one, one)))), absent
    )
    tape = model.forward(_ids())[2]
    extras = {"another's": lambda: model.to().forward(_ids())[2], "of one layer": lambda: tape.tapes[1]}
    return call(
        lambda **given: (model.backward(**given), _grads(model)),
        tape=(tape, exactly(tape), extras),
        dy=(draw(T, B, V), optional(floats("float32", T, B, V))),
        dstate=(state, optional(domain)),
    )


def _flat(kind: str, place: Place) -> tuple[Any, Any, Any, Any]:
    """A layer without state, its input, the domain of that, and the shape of y."""
    if kind == "Linear":
        return engine.Linear(D, V, backend=place.spec), draw(T, B, D), floats("float32", None, None, D), (T, B, V)
    if kind == "Embedding":
        return engine.Embedding(V, D, backend=place.spec), _ids(), ids_domain, (T, B, D)
    if kind == "LayerNorm":
        return engine.LayerNorm(D, backend=place.spec), draw(T, B, D), floats("float32", None, None, D), (T, B, D)
    if kind == "BatchNorm":
        return engine.BatchNorm(D, backend=place.spec), draw(T, B, D), floats("float32", None, None, D), (T, B, D)
    if kind == "CRF":
        return engine.CRF(D, backend=place.spec), draw(T, B, D), floats("float32", None, None, D), (T, B, D, D)
    if kind == "Pool":
        pool = engine.Pool("attention", D, backend=place.spec)
        return pool, draw(T, B, D), floats("float32", None, None, D), (B, D)
    if kind == "Activation":
        tanh = engine.Activation("tanh", backend=place.spec)
        return tanh, draw(T, B, D), floats("float32", None, None, None), (T, B, D)
    return engine.Dropout(0.5, backend=place.spec), draw(T, B, D), floats("float32", None, None, None), (T, B, D)


def _flat_passes(kind: str) -> None:
    """Entries for the passes of a layer without state."""

    @entry(f"{kind}.forward")
    def forward(place: Place) -> Call:
        layer, x, domain, _ = _flat(kind, place)
        lengths = ([T, 0, T], optional(integers(0, T, B)))
        return call(layer.forward, x=(x, domain), state=(None, absent), lengths=lengths, training=(True, flag))

    @entry(f"{kind}.predict")
    def predict(place: Place) -> Call:
        layer, x, domain, _ = _flat(kind, place)
        return call(layer.predict, x=(x, domain), state=(None, absent), lengths=(None, optional(integers(0, T, B))))

    @entry(f"{kind}.backward")
    def backward(place: Place) -> Call:
        layer, x, _, y = _flat(kind, place)
        tape = layer.forward(x)[2]
        extras = {"another's": lambda: layer.to().forward(x)[2]}
        return call(
            lambda **given: (layer.backward(**given), _grads(layer)),
            lambda: _grads(layer),
            tape=(tape, exactly(tape), extras),
            dy=(draw(*y), optional(floats("float32", *y))),
            dstate=(None, absent),
        )

    if kind in ("BatchNorm", "Pool", "CRF"):  # their passes have no windows
        return

    @entry(f"{kind}.window")
    def window(place: Place) -> Call:
        layer, x, _, _ = _flat(kind, place)
        tape = layer.forward(x)[2]
        return call(layer.window, tape=(tape, instance(type(tape))), start=(1, whole(0, T)), stop=(3, whole(0, T)))


for _name in ("Linear", "Embedding", "Dropout", "Activation", "LayerNorm", "BatchNorm", "Pool", "CRF"):
    _flat_passes(_name)


# -- parameters, gradients, attributes ---------------------------------------------------------------------------------


def _used(layer: Any) -> Any:
    """Everything a layer computes with what stands in it now."""
    x = _ids() if isinstance(layer, engine.Sequential) else _input_of(layer)
    y, state, tape = layer.forward(x)
    dx, dstate = layer.backward(tape, np.ones_like(y), state)
    return y, dx, dstate, layer.predict(x), _grads(layer)


#: Ways to change a dict that a layer cannot live with.
REMOVALS: dict[str, Callable[[Any, str], Any]] = {
    "del": lambda entries, key: entries.__delitem__(key),
    "pop": lambda entries, key: entries.pop(key),
    "clear": lambda entries, key: entries.clear(),
    "update": lambda entries, key: entries.update({key: None}),
    "setdefault": lambda entries, key: entries.setdefault("stranger", draw(2)),
    "popitem": lambda entries, key: entries.popitem(),
    "a number as key": lambda entries, key: entries.__setitem__(3, draw(2)),
}
#: Ways to change an array that was handed out: the layer computes as before, or refuses.
TAMPERING: dict[str, Callable[[Any, str], Any]] = {
    "not at all": lambda entries, key: None,
    "new dtype": lambda entries, key: setattr(entries[key], "dtype", "int32"),
    "new shape": lambda entries, key: setattr(entries[key], "shape", (entries[key].size,)),
    "read-only": lambda entries, key: entries[key].setflags(write=False),
}


def _entries_of(where: str, key: str, build: Callable[[Place], Any], shape: tuple[int, ...]) -> None:
    """Assigning to one entry of params and of grads, deleting it, and other ways to change a dict."""
    for dicts in ("params", "grads"):

        @entry(f"{where}.{dicts}[key] = value")
        def assign(place: Place, dicts: str = dicts) -> Call:
            layer = build(place)

            def run(key: Any, value: Any) -> Any:
                getattr(layer, dicts)[key] = value
                return _used(layer)

            return call(run, key=(key, choice(key)), value=(draw(*shape), floats("float32", *shape)))

        for title, ways, domain in (
            ("changed", REMOVALS, nothing),
            ("tampered with", TAMPERING, lambda how: "not at all"),
        ):

            @entry(f"{where}.{dicts} {title}")
            def change(place: Place, dicts: str = dicts, ways: Any = ways, domain: Any = domain) -> Call:
                layer = build(place)

                def run(how: str) -> Any:
                    ways[how](getattr(layer, dicts), key)
                    return _used(layer)[:4]  # gradients are read from the array that was changed

                return call(run, how=(SPECIAL, domain, {name: (lambda name=name: name) for name in ways}))


_entries_of("LSTM", "weight_hh_l1_reverse", lambda place: _recurrent("LSTM", place), (4 * H, H))
_entries_of("RNN", "bias_ih_l0", lambda place: _recurrent("RNN", place), (H,))
_entries_of("Sequential", "1.weight_ih_l0", _model, (3 * H, D))
_entries_of("nested Sequential", "2.0.bias_hh_l0", _model, (20,))


def any_text(value: Any) -> str:
    """A string, perhaps an empty one."""
    return str(value) if isinstance(value, str) else nothing(value)


READ_ONLY = (
    "input_size",
    "hidden_size",
    "num_layers",
    "num_directions",
    "bidirectional",
    "batch_first",
    "bias",
    "cell",
    "dtype",
    "backend",
    "params",
    "grads",
)
SETTABLE = {
    "dropout": real(0, 1, closed=True),
    "variational": flag,
    "seed": whole(0),
    "call_counter": whole(0),
    "row_offset": whole(0),
    "path": any_text,
}


def _attribute(name: str, domain: Any) -> None:
    @entry(f"LSTM.{name} =")
    def build(place: Place) -> Call:
        layer = _recurrent("LSTM", place)

        def run(value: Any) -> Any:
            try:
                setattr(layer, name, value)
            except AttributeError as error:  # Python's own word for what is read-only
                raise engine.InputError(f"{name}: expected no change, got {error}") from None
            return _used(layer)

        return call(run, value=(getattr(layer, name), domain))


for _name in READ_ONLY:
    _attribute(_name, nothing)
for _name, _domain in SETTABLE.items():
    _attribute(_name, _domain)


@entry("Embedding.num_embeddings =")
def _table_size(place: Place) -> Call:
    layer = engine.Embedding(V, D, backend=place.spec)

    def run(value: Any) -> Any:
        try:
            layer.num_embeddings = value
        except AttributeError as error:
            raise engine.InputError(f"num_embeddings: expected no change, got {error}") from None
        return layer.predict(_ids() + 1)

    return call(run, value=(V, nothing))


# -- saving, loading, moving -------------------------------------------------------------------------------------------

numbers = either(array("fiu"), anything)


def _loadable(shape: tuple[int, ...]) -> Any:
    def plain(value: Any) -> Any:
        if type(value) in (list, tuple, memoryview):
            try:
                value = np.array(value)
            except Exception:
                nothing(value)
        if hasattr(value, "detach") and getattr(value, "device", None) is not None and value.device.type == "cpu":
            value = value.detach().numpy()
        found = array("fiu", *shape, finite=True)(value)
        if np.abs(found.astype(np.float64)).max(initial=0) > np.finfo(np.float32).max:
            nothing(value)
        return found.astype(np.float32)

    return plain


def _countable(value: Any) -> Any:
    """A whole number of 32 or 64 bits, also as an array without axes."""
    if hasattr(value, "detach") and getattr(value, "device", None) is not None and value.device.type == "cpu":
        value = value.detach().numpy()
    if type(value) is int:
        value = np.array(value)
    if isinstance(value, np.ndarray | np.integer) and value.shape == () and value.dtype.kind in "iu":
        return np.asarray(value, dtype=np.int64) if value.dtype.itemsize > 2 else nothing(value)
    return nothing(value)


def _load(build: Callable[[Place], Any]) -> Callable[[Place], Call]:
    def loaded(place: Place) -> Call:
        layer = build(place)
        state = {name: np.array(value) + 1 for name, value in layer.state_dict().items()}
        domain = mapping(
            {
                name: _loadable(tuple(value.shape)) if value.dtype.kind == "f" else _countable
                for name, value in state.items()
            }
        )

        def run(mapping: Any) -> Any:
            layer.load_state_dict(mapping)
            return layer

        return call(run, lambda: layer, mapping=(state, domain))

    return loaded


entry("LSTM.load_state_dict")(_load(lambda place: engine.LSTM(D, H, backend=place.spec)))
entry("Linear.load_state_dict")(_load(lambda place: engine.Linear(D, V, backend=place.spec)))
entry("BatchNorm.load_state_dict")(_load(lambda place: engine.BatchNorm(D, backend=place.spec)))
entry("Sequential.load_state_dict")(_load(_model))


@entry("LSTM.to")
def _to(place: Place) -> Call:
    return call(
        _recurrent("LSTM", place).to, backend=(place.spec, optional(backend)), dtype=("float64", optional(dtype))
    )


@entry("Sequential.to")
def _model_to(place: Place) -> Call:
    return call(_model(place).to, backend=(place.spec, optional(backend)), dtype=("float64", optional(dtype)))


@entry("Sequential.load_call_counters")
def _counters(place: Place) -> Call:
    model = engine.Sequential(engine.Dropout(0.5, backend=place.spec), engine.Dropout(0.5, backend=place.spec))

    def run(counters: Any) -> Any:
        model.load_call_counters(counters)
        return model.call_counters(), model.forward(draw(T, B, D))[0]

    def plain(value: Any) -> Any:
        if not isinstance(value, dict | MappingProxyType) or not {"0", "1"} <= set(value):
            nothing(value)
        return {key: whole(0)(value[key]) for key in ("0", "1")}

    return call(run, lambda: model.call_counters(), counters=({"0": 3, "1": 2}, plain))


@entry("check_tape")
def _check_tape(place: Place) -> Call:
    layer = _recurrent("GRU", place)
    tape = layer.forward(draw(T, B, D))[2]
    return call(layer.check_tape, tape=(tape, exactly(tape), _foreign_tapes(layer, place)))


# -- backends ----------------------------------------------------------------------------------------------------------


@entry("get_backend")
def _get_backend(place: Place) -> Call:
    return call(
        engine.get_backend, name=("numpy", backend), kernels=("reference", optional(choice("reference", "numba")))
    )


@entry("backend_of")
def _backend_of(place: Place) -> Call:
    return call(backend_of, array=(draw(3), array_or_tensor))


def array_or_tensor(value: Any) -> Any:
    """An array of a library that is a backend."""
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return value
    return nothing(value)


@entry("check_dtype")
def _check_dtype(place: Place) -> Call:
    return call(lambda dtype: str(check_dtype(dtype)), dtype=("float32", dtype))


@entry("Backend.require")
def _require(place: Place) -> Call:
    home = engine.get_backend(place.spec)
    return call(
        lambda obj: home.require("x", obj, dtype="float32", shape=(T, None), axes="(T, B)"),
        obj=(draw(T, B), floats("float32", T, None)),
    )


@entry("Backend.asarray")
def _asarray(place: Place) -> Call:
    home = engine.get_backend(place.spec)

    def plain(value: Any) -> Any:
        if isinstance(value, bool | int | float | np.generic):
            return np.array(value) if np.array(value).dtype.kind in "fiub" else nothing(value)
        return (
            _as_numbers(value) if type(value) in (list, tuple, range, memoryview, bytearray) else array("fiub")(value)
        )

    def any_dtype(value: Any) -> Any:
        try:
            found = np.dtype(value)
        except Exception:
            return nothing(value)
        return found if value is not None and found.kind in "fiub" else nothing(value)

    return call(home.asarray, host=(draw(3, 2), plain), dtype=("float32", optional(any_dtype)))


def _as_numbers(value: Any) -> Any:
    try:
        found = np.array(value)
    except Exception:
        return nothing(value)
    return found if found.dtype.kind in "fiub" else nothing(value)


@entry("Backend.to_host")
def _to_host(place: Place) -> Call:
    home = engine.get_backend(place.spec)
    return call(home.to_host, array=(draw(3, 2), array("fiubcOSUVMm")))
