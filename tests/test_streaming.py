"""Steppers and frozen models: the outputs of predict one step at a time, and weights that stand still."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import build, distance, leaves, random_arguments
from fake_cupy import BACKENDS, use_backend

import engine
from engine.layers import Layer
from engine.training.sampling import sample

T, B, D, H = 7, 3, 4, 6
PLAIN: dict[str, Any] = {"backend": "numpy:reference"}
CELLS = (
    "rnn_relu",
    "lstm",
    "gru",
    "gru_before",
    "peephole_lstm",
    "projected_lstm",
    "slstm",
    "layernorm_lstm",
    "indrnn",
)


def character_model(**options: Any) -> Any:
    """Every kind of layer that can take one step, one inside another."""
    options = PLAIN | options
    tags = engine.Sequential(engine.Linear(3, 4, **options), engine.Pool("last", **options))
    model = engine.Sequential(
        engine.Embedding(9, D, **options),
        engine.LSTM(D, H, 2, dropout=0.5, **options),
        engine.Dropout(0.5, **options),
        engine.Sequential(engine.BatchNorm(H, **options), engine.LayerNorm(H, **options)),
        engine.Recurrent("projected_lstm", H, 5, proj_size=3, zoneout=[0.3, 0.2], **options),
        engine.Heads({"next": engine.Linear(3, 9, **options), "tag": tags}),
    )
    rng = np.random.default_rng(4)
    saved = model.state_dict()
    model.load_state_dict(
        {name: 0.5 + rng.random(array.shape) if "running" in name else rng.normal(scale=0.5, size=array.shape)
         for name, array in saved.items() if not name.endswith("tracked")}
        | {name: array for name, array in saved.items() if name.endswith("tracked")}
    )  # fmt: skip
    return model


def stepped(stepper: Any, x: Any) -> list[Any]:
    """The outputs of the steps, as copies."""
    found = [stepper(x_t) for x_t in x]
    assert all(y is found[0] for y in found)  # one array, which each call writes into
    stepper.reset()
    return [leaves(tuple(y.values()) if isinstance(y, dict) else y.copy()) for y in map(stepper, x)]


# -- the numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True], ids=["from zeros", "from a state"])
@pytest.mark.parametrize("kind", CELLS)
def test_a_step_is_a_step_of_predict(kind: str, given: bool) -> None:
    options = {"zoneout": 0.25} if kind in ("gru", "peephole_lstm") else {}
    layer = build(kind, D, H, 2, batch_first=given, **options)
    x, state, _, _ = random_arguments(layer, T, B)
    y, last = layer.predict(x, state if given else None)
    if given:
        x, y = x.swapaxes(0, 1), y.swapaxes(0, 1)
    stepper = layer.stepper(B, state if given else None)
    for t in range(T):
        assert distance(stepper(np.ascontiguousarray(x[t])), y[t]) <= 1e-13
    for found, wanted in zip(leaves(stepper.state), leaves(last), strict=True):
        assert distance(found, wanted) <= 1e-13
    assert isinstance(stepper.state, tuple) == isinstance(last, tuple)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kernels", ["reference", "numba"])
def test_a_step_has_the_precision_of_the_layer(kernels: str, precision: str) -> None:
    layer = engine.LSTM(D, H, precision=precision, backend=f"numpy:{kernels}")
    x = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
    y, stepper = layer.predict(x)[0], layer.stepper(B)
    assert all(distance(stepper(x_t), y_t) <= 1e-6 for x_t, y_t in zip(x, y, strict=True))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_model_of_many_layers_on_every_backend(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host, ids = character_model(dtype=dtype), np.random.default_rng(1).integers(0, 9, (T, B))
    wanted, last = host.predict(ids)
    model = host.to(backend=use_backend(name, monkeypatch))
    stepper, tolerance = model.stepper(batch=B), 1e-13 if dtype == "float64" else 1e-6
    for t in range(T):
        y = stepper(ids[t])
        assert set(y) == {"next", "tag"}
        for head, found in y.items():
            right = wanted[head][t] if head == "next" else host.predict(ids[: t + 1])[0]["tag"]
            assert distance(model.backend.to_host(found), right) <= tolerance
            assert model.backend.dtype_of(found) == dtype
    state = stepper.state
    assert [part is None for part in state] == [part is None for part in last]
    assert state[3] == (None, None)
    for found, right in zip(leaves(state), leaves(last), strict=True):
        assert distance(model.backend.to_host(found), right) <= tolerance
    stepper.reset([2, 0])
    copies = model.stepper(B, stepper.state)(ids[0]), model.stepper(B)(ids[0])
    for head, found in stepper(ids[0]).items():
        kept, same, new = (model.backend.to_host(y) for y in (found, copies[0][head], copies[1][head]))
        assert np.array_equal(kept, same)
        assert [np.array_equal(*pair) for pair in zip(kept, new, strict=True)] == [True, False, True]


def test_a_row_that_is_reset_begins_a_new_stream() -> None:
    layer = build("lstm", D, H, 2)
    x, state, _, _ = random_arguments(layer, T, B)
    x[2, 1] = np.nan  # nothing of it may stay
    stepper = layer.stepper(B, state)
    for x_t in x[:3]:
        stepper(x_t)
    assert np.isnan(stepper.state[0][:, 1]).all()
    before = stepper.state
    stepper.reset(1)
    for part, kept, first in zip(stepper.state, before, state, strict=True):
        assert np.array_equal(part[:, 1], first[:, 1])
        assert np.array_equal(part[:, [0, 2]], kept[:, [0, 2]])
    x[2, 1] = 0.0
    wanted, _ = layer.predict(x[3:, 1:2], tuple(part[:, 1:2] for part in state))
    assert distance(np.stack([stepper(x_t)[1].copy() for x_t in x[3:]]), wanted[:, 0]) <= 1e-13


def test_the_state_is_a_copy_and_begins_another_stepper() -> None:
    layer = build("gru", D, H)
    x, _, _, _ = random_arguments(layer, T, B)
    first = np.ones((1, B, H))
    stepper = layer.stepper(B, first)
    first[...] = 0.0  # the stepper has its own
    stepper(x[0])
    kept = stepper.state
    copy, y = kept.copy(), stepper(x[1]).copy()
    assert np.array_equal(kept, copy)
    kept[...] = 0.0
    assert np.array_equal(layer.stepper(B, copy)(x[1]), y)
    stepper.reset()
    assert np.array_equal(stepper.state, np.ones((1, B, H)))


class Doubled(Layer):
    """A class of the user's own: y_t = 2 x_t + h, h = x_t."""

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        before = np.zeros((1, *x.shape[1:]), x.dtype) if state is None else state
        return 2 * x + np.concatenate([before, x[:-1]]), x[-1:].copy()


@pytest.mark.parametrize("given", [False, True])
def test_a_layer_of_ones_own_is_asked_for_one_step(given: bool) -> None:
    layer, x = Doubled("numpy:reference", "float64"), np.random.default_rng(0).normal(size=(T, B, D))
    state = np.full((1, B, D), 3.0) if given else None
    stepper = layer.stepper(B, state)
    assert np.array_equal([stepper(x_t).copy() for x_t in x], layer.predict(x, state)[0])
    stepper.reset([2])
    y = stepper(x[0])
    assert np.array_equal(y[2], layer.predict(x, state)[0][0, 2])
    assert np.array_equal(y[:2], 2 * x[0, :2] + x[-1, :2])


def test_layers_that_do_nothing_at_a_step() -> None:
    dropout = engine.Dropout(0.5, dtype="float64", **PLAIN)
    x = np.random.default_rng(0).normal(size=(2, B, D))
    stepper = engine.Sequential(dropout).stepper(B)
    assert np.array_equal(stepped(stepper, x), x[:, None])
    assert stepper.state == (None,)


# -- weights that stand still ------------------------------------------------------------------------------------------


def spoil(model: Any) -> None:
    """Write into every array of a model, as an optimiser does."""
    for array in (*model.params.values(), *model.buffers.values()):
        array[...] = 2 * array + 1


def test_steppers_and_frozen_models_keep_the_old_weights() -> None:
    model, ids = character_model(), np.random.default_rng(1).integers(0, 9, (T, B))
    lengths = [T, 2, 0]
    wanted, _ = model.predict(ids, None, lengths)
    frozen, stepper, first = model.freeze(), model.stepper(B), model.stepper(B)(ids[0])["next"].copy()
    spoil(model)
    assert not np.array_equal(model.predict(ids, None, lengths)[0]["tag"], wanted["tag"])
    assert np.array_equal(stepper(ids[0])["next"], first)
    for _ in range(2):
        found, state = frozen.predict(ids, None, lengths)
        assert all(np.array_equal(found[head], wanted[head]) for head in wanted)
    again, _ = frozen.predict(ids[2:, :1], tuple(_row(part) for part in state))
    assert again["next"].shape == (T - 2, 1, 9)
    assert np.array_equal(frozen.stepper(B)(ids[0])["next"], first)
    assert np.array_equal(frozen.stepper(B)(ids[0])["next"], first)


def _row(part: Any) -> Any:
    """Row 0 of a state."""
    return tuple(map(_row, part)) if isinstance(part, tuple) else None if part is None else part[:, :1]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_frozen_model_serves_several_threads(bidirectional: bool) -> None:
    layer = build("lstm", D, H, 2, bidirectional=bidirectional)
    frozen = layer.freeze()
    jobs = [random_arguments(layer, T + n, 1 + n % 3, seed=n)[:2] for n in range(12)]
    wanted = [layer.predict(*job) for job in jobs]
    spoil(layer)
    found: list[Any] = [None] * len(jobs)

    def work(first: int) -> None:
        for number in range(first, len(jobs), 3):
            found[number] = frozen.predict(*jobs[number])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def test_a_translator_can_be_frozen() -> None:
    model = engine.Translator(5, 6, 4, 4, **PLAIN)
    pair = np.array([[1, 2], [3, 4], [0, 1]]), np.array([[1, 1], [5, 2]])
    wanted, frozen = model.predict(pair)[0], model.freeze()
    spoil(model)
    assert np.array_equal(frozen.predict(pair)[0], wanted)


def test_what_a_frozen_model_is_and_is_not() -> None:
    layers = engine.GRU(D, H, batch_first=True, **PLAIN), engine.Linear(H, 2, **PLAIN)
    frozen: Any = engine.Sequential(*layers).freeze()
    assert repr(frozen) == (
        "Frozen(Sequential(GRU(4, 6, batch_first=True, backend='numpy:reference'), "
        "Linear(6, 2, batch_first=True, backend='numpy:reference')))"
    )
    assert (frozen.batch_first, frozen.dtype, frozen.backend.spec) == (True, np.float32, "numpy:reference")
    for call in (frozen.forward, frozen.backward):
        with pytest.raises(engine.InputError, match=r"expected one that can be trained.*got a frozen Sequential"):
            call(np.zeros((2, 3, D), np.float32))
    for name in ("params", "zero_grad", "load_state_dict"):
        with pytest.raises(AttributeError, match=f"a frozen model has no '{name}', as it only predicts"):
            getattr(frozen, name)
    with pytest.raises(AttributeError, match="'Frozen' object has no attribute 'predcit'"):
        frozen.predcit  # noqa: B018
    with pytest.raises(engine.InputError, match="model: expected a layer"):
        engine.fit(frozen, np.zeros((3, 4, D), np.float32), np.zeros((3, 4, 2), np.float32))


# -- what is refused ---------------------------------------------------------------------------------------------------


def chain(*layers: Any) -> Any:
    return engine.Sequential(*layers)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "two directions": (lambda: engine.GRU(D, H, bidirectional=True, **PLAIN), "got bidirectional GRU; its reverse"),
    "inside": (
        lambda: chain(engine.RNN(D, H, **PLAIN), engine.LSTM(H, 2, bidirectional=True, **PLAIN)),
        r"got bidirectional LSTM \(layer 1\)",
    ),
    "mean": (lambda: chain(engine.GRU(D, H, **PLAIN), engine.Pool("mean", **PLAIN)), r"got Pool\('mean'\) \(layer 1\)"),
    "two ends": (lambda: engine.Pool(directions=2, **PLAIN), "got Pool of two directions"),
    "attention": (lambda: engine.Attention("dot", D, **PLAIN), "got Attention"),
    "crf": (lambda: chain(engine.Linear(D, 3, **PLAIN), engine.CRF(3, **PLAIN)), r"got CRF \(layer 1\)"),
    "translator": (lambda: engine.Translator(5, 6, 4, 4, **PLAIN), "got Translator; use its translate"),
    "widths": (
        lambda: chain(engine.GRU(D, H, **PLAIN), engine.Linear(H + 1, 2, **PLAIN)),
        r"expected 7 features for Linear \(layer 1\), got 6",
    ),
    "ids": (lambda: chain(engine.GRU(D, H, **PLAIN), engine.Embedding(9, 2, **PLAIN)), "expected ids for an Embedding"),
    "after heads": (
        lambda: chain(engine.Heads({"a": engine.Linear(D, H, **PLAIN)}), engine.Linear(H, 2, **PLAIN)),
        "expected several heads at its end alone",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_cannot_take_one_step_is_refused(case: str) -> None:
    make, words = REFUSED[case]
    model = make()
    with pytest.raises(engine.InputError, match=f"^model: .*{words}"):
        model.stepper()
    with pytest.raises(engine.InputError, match=words):
        model.freeze().stepper(2)


GRU_INPUTS: list[tuple[Any, str]] = [
    (np.zeros((1, B, D), np.float32), r"expected shape \(3, 4\) \(B, D\), got shape \(1, 3, 4\); x_t is one step"),
    (np.zeros(D, np.float32), r"got shape \(4,\); a batch of one still needs its batch axis"),
    (np.zeros((B, D + 1), np.float32), r"expected shape \(3, 4\) \(B, D\), got shape \(3, 5\)"),
    (np.zeros((B + 1, D), np.float32), r"got shape \(4, 4\)"),
    (np.zeros((B, D)), "expected dtype float32, got dtype float64"),
    ([[0.0] * D] * B, "expected a numpy array, got a list"),
]
ID_INPUTS: list[tuple[Any, str]] = [
    ([1, 2, 9], r"expected token ids in 0..8, got 9 at index \(2,\)"),
    ([1, -1, 0], r"got -1 at index \(1,\)"),
    ([1, 2], r"expected ids of shape \(3,\) \(B,\), got shape \(2,\)"),
    ([[1, 2, 3]], "without a time axis"),
    (2, r"a batch of one is \[id\]"),
    ([1.0, 2.0, 3.0], "expected integer token ids"),
]


@pytest.mark.parametrize("backend", ["numpy:reference", "numpy"])
def test_a_wrong_step_changes_nothing(backend: str) -> None:
    layer = engine.GRU(D, H, backend=backend)
    ids = engine.Sequential(engine.Embedding(9, D, backend=backend), engine.GRU(D, H, backend=backend))
    for model, good, inputs in (
        (layer, np.ones((B, D), np.float32), GRU_INPUTS),
        (ids, np.array([1, 2, 3]), ID_INPUTS),
    ):
        stepper = model.stepper(B)
        stepper(good)
        before = leaves(stepper.state)
        for wrong, words in inputs:
            with pytest.raises(engine.InputError, match=f"^x_t: .*{words}"):
                stepper(wrong)
        assert all(np.array_equal(a, b) for a, b in zip(leaves(stepper.state), before, strict=True))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (3, r"expected rows in 0..2 \(B = 3\), got 3"),
        ([0, -1], "got -1"),
        ([True, False, True], r"np.flatnonzero\(mask\)"),
        (np.zeros((1, 1), int), r"got shape \(1, 1\)"),
        (1.0, "expected numbers of rows"),
    ],
)
def test_rows_that_are_none_are_refused(rows: Any, words: str) -> None:
    stepper = engine.GRU(D, H, **PLAIN).stepper(B)
    with pytest.raises(engine.InputError, match=f"^rows: .*{words}"):
        stepper.reset(rows)


def test_a_batch_and_a_state_that_do_not_fit_are_refused() -> None:
    layer: Any = engine.GRU(D, H, **PLAIN)
    for batch, state, words in (
        (0, None, "batch: expected an integer >= 1, got 0"),
        (1.5, None, "batch: expected an integer"),
        (10**14, None, "batch: expected states and gates that fit"),
        (2, np.zeros((1, 3, H), np.float32), "state: expected batch size 2"),
        (3, np.zeros((1, 3, H)), "state: expected dtype float32"),
        (3, (np.zeros((1, 3, H)), np.zeros((1, 3, H))), "state: expected one array h"),
    ):
        with pytest.raises(engine.InputError, match=words):
            layer.stepper(batch, state)
    with pytest.raises(engine.InputError, match="state: expected None, this layer carries no state"):
        engine.Linear(D, 2, **PLAIN).stepper(2, np.zeros((1, 2, H), np.float32))


# -- who uses it -------------------------------------------------------------------------------------------------------


def test_sampled_text_is_what_predict_says_of_it() -> None:
    vocabulary = engine.data.Vocabulary("abcdefgh\n")
    model = engine.Sequential(
        engine.Embedding(9, D, **PLAIN), engine.GRU(D, H, 2, **PLAIN), engine.Linear(H, 9, **PLAIN), seed=5
    )
    model.load_state_dict({name: 5 * array for name, array in model.state_dict().items()})
    text = "".join(sample(model, vocabulary, 30, prompt="fad", temperature=0.0))
    assert len(set(text)) > 1
    ids = vocabulary.encode("fad" + text)
    logits, _ = model.predict(ids[:-1, None])
    assert vocabulary.decode(logits[2:, 0].argmax(axis=1)) == text
