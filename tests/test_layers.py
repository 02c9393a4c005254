"""Linear, Embedding, Dropout, Sequential, and what all layers share: names, loading, moving, random keys."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from builders import build, distance, leaves

import engine
from engine.errors import OptionWarning
from engine.layers import from_config

F64: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}


# -- Linear ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3, 5), (6, 5), (5,), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_gradients(shape: tuple[int, ...], bias: bool) -> None:
    layer = engine.Linear(5, 7, bias=bias, **F64)
    report = engine.gradcheck(layer, np.random.default_rng(0).normal(size=shape))
    assert report.passed, report
    assert len(report.rows) == 2 + bias


@pytest.mark.parametrize("batch_first", [False, True])
def test_linear_and_embedding_let_nothing_out_of_a_pad(batch_first: bool) -> None:
    rng = np.random.default_rng(1)
    T, B, lengths = 4, 3, np.array([4, 0, 2])
    pads = np.arange(T)[:, None] >= lengths
    linear = engine.Linear(5, 6, batch_first=batch_first, **F64)
    table = engine.Embedding(9, 5, batch_first=batch_first, **F64)
    x, ids = rng.normal(size=(T, B, 5)), rng.integers(0, 9, (T, B))
    dy, dz = rng.normal(size=(T, B, 6)), rng.normal(size=(T, B, 5))
    x[pads], ids[pads], dy[pads], dz[pads] = np.nan, -99, np.inf, np.nan

    def turn(value: Any) -> Any:
        return value.swapaxes(0, 1) if batch_first else value

    y, _, tape = linear.forward(turn(x), lengths=lengths)
    dx, _ = linear.backward(tape, turn(dy))
    assert (turn(y)[pads] == 0).all()
    assert (turn(dx)[pads] == 0).all()
    keep = ~pads
    assert distance(linear.grads["weight"], dy[keep].T @ x[keep]) <= 1e-13
    assert distance(linear.grads["bias"], dy[keep].sum(axis=0)) <= 1e-13
    z, _, tape2 = table.forward(turn(ids), lengths=lengths)
    assert (turn(z)[pads] == 0).all()
    table.backward(tape2, turn(dz))
    wanted = np.zeros((9, 5))
    np.add.at(wanted, ids[keep], dz[keep])
    assert distance(table.grads["weight"], wanted) <= 1e-13


# -- Embedding ---------------------------------------------------------------------------------------------------------


def test_embedding_adds_up_repeated_tokens() -> None:
    layer = engine.Embedding(6, 3, **F64)
    ids = np.array([[5, 2, 2], [2, 5, 0]])
    report = engine.gradcheck(layer, ids)
    assert report.passed, report
    y, _, tape = layer.forward(ids)
    np.testing.assert_array_equal(y, layer.params["weight"][ids])
    dy = np.random.default_rng(0).normal(size=y.shape)
    dx, _ = layer.backward(tape, dy)
    assert dx is None
    assert distance(layer.grads["weight"][2], dy[0, 1] + dy[0, 2] + dy[1, 0]) <= 1e-15
    assert (layer.grads["weight"][[1, 3, 4]] == 0).all()


@pytest.mark.parametrize("batch_first", [False, True])
def test_several_ids_of_a_step_give_their_vectors_side_by_side(batch_first: bool) -> None:
    rng = np.random.default_rng(3)
    model = engine.Sequential(
        engine.Embedding(7, 3, features=2, batch_first=batch_first, **F64),
        engine.GRU(6, 4, **F64, batch_first=batch_first),
    )
    ids = rng.integers(0, 7, size=(2, 5, 2) if batch_first else (5, 2, 2))
    layer = model.layers[0]
    y, _, tape = layer.forward(ids)
    table = layer.params["weight"]
    np.testing.assert_array_equal(y, np.concatenate([table[ids[..., 0]], table[ids[..., 1]]], axis=-1))
    for method in ("central", "complex", "directional", "adjoint"):
        report = engine.gradcheck(model, ids, lengths=[5, 3], method=method)
        assert report.passed, report
    part = layer.window(tape, 1, 3)
    dy = rng.normal(size=(2, 2, 6))
    layer.backward(part, dy)
    wanted = np.zeros((7, 3))
    np.add.at(wanted, ids[:, 1:3] if batch_first else ids[1:3], dy.reshape(2, 2, 2, 3))
    assert distance(layer.grads["weight"], wanted) <= 1e-14
    again = engine.layers.from_config(model.config(), model.backend, "float64")
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(ids, lengths=[5, 3])[0], model.predict(ids, lengths=[5, 3])[0])
    with pytest.raises(engine.InputError, match=r"x: expected 2 ids on the last axis, .*got shape \(5, 2, 1\)"):
        layer.forward(np.zeros((5, 2, 1), int))


def test_changing_the_ids_afterwards_does_not_change_the_tape() -> None:
    layer = engine.Embedding(6, 3, **F64)
    ids = np.array([[1, 2], [3, 4]])
    _, _, tape = layer.forward(ids)
    ids[...] = 0
    layer.backward(tape, np.ones((2, 2, 3)))
    assert (layer.grads["weight"][0] == 0).all()
    assert (layer.grads["weight"][1:5] == 1).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1, 6]], "x: expected token ids in 0..5, got 6 at index (0, 1)"),
        ([[-1, 2]], "x: expected token ids in 0..5, got -1 at index (0, 0)"),
        ([[1.0, 2.0]], "x: expected integer token ids, got dtype float64; encode the text with a vocabulary first"),
        ([["a"]], "x: expected integer token ids, got dtype <U1"),
    ],
)
def test_bad_token_ids_are_named(ids: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        engine.Embedding(6, 3).forward(np.array(ids))
    assert str(caught.value).startswith(message)


# -- Dropout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_dropout_layer(variational: bool, batch_first: bool) -> None:
    layer = engine.Dropout(0.4, variational=variational, batch_first=batch_first, **F64)
    x = np.random.default_rng(0).normal(size=(5, 7, 6))
    assert engine.gradcheck(layer, x).passed
    assert layer.call_counter == 0
    y, _, tape = layer.forward(x)
    kept = y != 0
    np.testing.assert_array_equal(y[kept], (x * (1 / (1 - 0.4)))[kept])
    time_axis = 1 if batch_first else 0
    same = all(
        np.array_equal(np.take(kept, 0, time_axis), np.take(kept, t, time_axis)) for t in range(x.shape[time_axis])
    )
    assert same == variational
    dx, _ = layer.backward(tape, np.ones_like(y))
    np.testing.assert_array_equal(dx != 0, kept)
    np.testing.assert_array_equal(layer.predict(x)[0], x)
    assert layer.call_counter == 1


def test_dropout_lets_nothing_out_of_a_pad() -> None:
    layer = engine.Dropout(0.3, **F64)
    x, dy = np.random.default_rng(0).normal(size=(2, 4, 3, 5))
    lengths = np.array([4, 0, 2])
    pads = np.arange(4)[:, None] >= lengths
    x[pads], dy[pads] = np.nan, np.inf
    y, _, tape = layer.forward(x, lengths=lengths)
    dx, _ = layer.backward(tape, dy)
    for values in (y, dx, layer.predict(x, lengths=lengths)[0]):
        assert (values[pads] == 0).all()
        assert np.isfinite(values).all()


def test_dropout_of_everything_gives_zeros_even_of_infinity() -> None:
    layer = engine.Dropout(1.0, **F64)
    x = np.full((2, 3, 4), np.inf)
    y, _, tape = layer.forward(x)
    assert (y == 0).all()
    assert (layer.backward(tape, x)[0] == 0).all()


# -- Sequential --------------------------------------------------------------------------------------------------------


def model(**options: Any) -> Any:
    options = {**F64, **options}
    return engine.Sequential(
        engine.Embedding(7, 3, **options),
        engine.Dropout(0.3, **options),
        engine.LSTM(3, 4, 2, dropout=0.2, **options),
        engine.Sequential(engine.Linear(4, 5, **options), engine.Dropout(0.1, **options)),
    )


def test_sequential_names_state_and_gradients() -> None:
    seq = model()
    assert "2.weight_hh_l1" in seq.params
    assert "3.0.bias" in seq.params
    assert seq.params["0.weight"] is seq.layers[0].params["weight"]
    assert seq.grads["3.0.weight"] is seq.layers[3].layers[0].grads["weight"]
    ids = np.random.default_rng(0).integers(0, 7, (5, 3))
    report = engine.gradcheck(seq, ids, lengths=[5, 0, 3])
    assert report.passed, report
    y, state, tape = seq.forward(ids)
    assert y.shape == (5, 3, 5)
    assert state[0] is None
    assert [part.shape for part in state[2]] == [(2, 3, 4)] * 2
    assert state[3] == (None, None)
    dx, dstate = seq.backward(tape, y, None)
    assert dx is None
    assert [part.shape for part in dstate[2]] == [(2, 3, 4)] * 2


def test_sequential_carries_its_state() -> None:
    seq = model()
    ids = np.random.default_rng(0).integers(0, 7, (6, 3))
    whole, last = seq.predict(ids)
    first, carried = seq.predict(ids[:2])
    second, carried = seq.predict(ids[2:], carried)
    assert distance(np.concatenate([first, second]), whole) <= 1e-14
    for one, other in zip(leaves(carried), leaves(last), strict=True):
        assert distance(one, other) <= 1e-14


def test_the_path_is_part_of_the_key_and_loaded_weights_stay() -> None:
    pair = engine.Sequential(engine.Linear(4, 4, **F64), engine.Linear(4, 4, **F64))
    assert not np.array_equal(pair.params["0.weight"], pair.params["1.weight"])
    masks = engine.Sequential(engine.Dropout(0.5, **F64), engine.Dropout(0.5, **F64))
    ones = np.ones((3, 2, 8))
    _, _, tape = masks.forward(ones)
    assert not np.array_equal(tape.tapes[0].kept, tape.tapes[1].kept)
    trained = engine.Linear(4, 4, **F64)
    trained.params["weight"][0, 0] = 9.0
    before = trained.state_dict()
    kept = engine.Sequential(engine.Linear(4, 4, **F64), trained)
    np.testing.assert_array_equal(kept.params["1.weight"], before["weight"])
    seeded = [engine.Sequential(engine.Linear(4, 4, **F64), seed=seed).params["0.weight"] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(seeded[0], seeded[1])
    assert not np.array_equal(seeded[0], seeded[2])


def test_sequential_refuses_what_does_not_belong_together() -> None:
    layer = engine.Linear(3, 3)
    with pytest.raises(engine.InputError, match="layer 1: expected each layer once, got the same object again"):
        engine.Sequential(layer, layer)
    with pytest.raises(engine.InputError, match=r"layer 1: expected backend numpy:\w+ and dtype float32, got"):
        engine.Sequential(layer, engine.Linear(3, 3, dtype="float64"))
    with pytest.raises(engine.InputTypeError, match="layer 0: expected a layer of engine, got 'Linear'"):
        engine.Sequential("Linear")  # type: ignore[arg-type]
    with pytest.raises(engine.InputError, match="layers: expected at least one layer, got none"):
        engine.Sequential()
    with pytest.raises(engine.InputTypeError, match="state: expected a tuple with one entry for each of the 1 layers"):
        engine.Sequential(layer).forward(np.ones((2, 3), np.float32), (None, None))
    with pytest.raises(engine.InputError, match="state: expected None, this layer carries no state"):
        layer.forward(np.ones((2, 3), np.float32), np.ones(2))


def test_layers_without_a_layout_follow_their_neighbours() -> None:
    lengths = [4, 0, 2]
    ids = np.random.default_rng(0).integers(0, 7, (3, 4))
    outputs = []
    for batch_first in (True, False):
        seq = engine.Sequential(
            engine.Embedding(7, 3, **F64),
            engine.Dropout(0.4, **F64),
            engine.GRU(3, 5, batch_first=batch_first, **F64),
            engine.Sequential(engine.Linear(5, 2, **F64)),
        )
        assert seq.batch_first == batch_first
        assert all(layer.batch_first == batch_first for layer in seq.layers)
        y, _, tape = seq.forward(ids if batch_first else ids.T, lengths=lengths)
        seq.backward(tape, y)
        outputs.append((y if batch_first else y.swapaxes(0, 1), seq.grads["0.weight"].copy()))
    for one, other in zip(*outputs, strict=True):
        assert distance(one, other) <= 1e-14
    with pytest.raises(engine.InputError, match="batch_first: expected one layout for all layers, got"):
        engine.Sequential(engine.GRU(3, 5, batch_first=True), engine.Linear(5, 2, batch_first=False))


def test_a_layer_belongs_to_one_sequential_at_a_time() -> None:
    layer = engine.Linear(3, 3)
    first = engine.Sequential(layer)
    with pytest.raises(engine.InputError, match=r"layer 0: expected a layer of no other Sequential.*use layer\.to\(\)"):
        engine.Sequential(layer)
    engine.Sequential(layer.to())
    del first
    engine.Sequential(layer)


def test_a_refused_backward_adds_nothing() -> None:
    seq = engine.Sequential(engine.Linear(3, 4, **F64), engine.Linear(4, 2, **F64))
    y, _, tape = seq.forward(np.ones((5, 3)))
    seq.params["0.weight"][1, 1] += 1
    with pytest.raises(engine.EngineError, match="tape: expected parameters as they were"):
        seq.backward(tape, y)
    assert all((grad == 0).all() for grad in seq.grads.values())


# -- loading, saving, moving -------------------------------------------------------------------------------------------


def test_a_moved_copy_is_equal_and_separate() -> None:
    seq = model()
    seq.forward(np.zeros((2, 2), np.int64))
    moved = seq.to(backend="numpy:numba", dtype="float32")
    assert moved.backend.spec == "numpy:numba"
    assert moved.dtype == np.float32
    assert moved.call_counters() == seq.call_counters()
    assert moved.config() == seq.config()
    for name, value in seq.params.items():
        np.testing.assert_array_equal(moved.params[name], value.astype(np.float32))
    moved.params["0.weight"][...] = 0
    assert (seq.params["0.weight"] != 0).all()


def test_copies_and_pickles_are_layers_of_their_own() -> None:
    seq = model()
    ids = np.random.default_rng(0).integers(0, 7, (4, 2))
    y, _, tape = seq.forward(ids, training=False)
    for other in (copy.deepcopy(seq), pickle.loads(pickle.dumps(seq))):
        assert other.backend is seq.backend
        np.testing.assert_array_equal(other.predict(ids)[0], y)
        with pytest.raises(engine.InputError, match="tape: expected a tape of this layer, got a tape of another"):
            other.backward(tape, y)
        other.params["0.weight"][...] = 0
    before = copy.deepcopy(engine.GRU(2, 3, reset_after=False, **F64))
    assert engine.gradcheck(before, np.random.default_rng(0).normal(size=(3, 2, 2))).passed
    seq.backward(tape, y)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda tape: pickle.loads(pickle.dumps(tape))], ids=["copy", "pickle"])
@pytest.mark.parametrize("kernels", ["reference", "numba"])
def test_a_copied_tape_is_as_good_as_the_first(kernels: str, way: Any) -> None:
    options: dict[str, Any] = F64 | {"backend": f"numpy:{kernels}"}
    noisy = engine.LSTM(3, 4, 2, bidirectional=True, zoneout=0.2, weight_dropout=0.3, **options)
    seq = engine.Sequential(
        noisy, engine.LayerNorm(8, **options), engine.Dropout(0.2, **options), engine.CRF(8, **options)
    )
    rng = np.random.default_rng(0)
    x, memory = rng.normal(size=(5, 3, 3)), rng.normal(size=(4, 3, 3))
    cases: list[tuple[Any, tuple[Any, Any], list[int]]] = [
        (seq, (x, None), [5, 0, 2]),
        (engine.Attention("additive", 3, **options), (x, memory), [4, 1, 0]),
        (engine.Pool("max", **options), (x, None), [2, 3, 5]),
    ]
    for layer, arguments, lengths in cases:
        y, _, tape = layer.forward(*arguments, lengths)
        found = []
        for one in (tape, way(tape)):
            layer.zero_grad()
            dx, _ = layer.backward(one, y)
            found.append((dx, {name: grad.copy() for name, grad in layer.grads.items()}))
        np.testing.assert_equal(found[1], found[0])
    assert not way(tape).timeline.lengths.flags.writeable  # compiled code walks as far as they say


def test_a_description_builds_the_same_model() -> None:
    seq = model(seed=5)
    again = from_config(json.loads(json.dumps(seq.config())), **F64)
    assert {n: p.shape for n, p in again.params.items()} == {n: p.shape for n, p in seq.params.items()}
    again.load_state_dict(seq.state_dict())
    ids = np.random.default_rng(0).integers(0, 7, (4, 2))
    np.testing.assert_array_equal(again.predict(ids)[0], seq.predict(ids)[0])
    with pytest.raises(engine.InputError, match=r"config: expected a layer of type .*got 'os\.system'"):
        from_config({"type": "os.system", "args": {}})
    with pytest.raises(engine.InputError, match="config: expected the arguments of Linear"):
        from_config({"type": "Linear", "args": {"rows": 3}})


@pytest.mark.parametrize("cell", [engine.RNN, engine.GRU, engine.LSTM])
def test_dropout_of_one_layer_says_that_it_does_nothing(cell: Any) -> None:
    words = r"\Adropout: expected 0, or num_layers >= 2, got 0.25 with num_layers=1; .* engine\.Dropout\(0\.25\)"
    with pytest.warns(OptionWarning, match=words) as caught:
        layer = cell(3, 4, dropout=0.25, bidirectional=True)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    copies = [layer.to(dtype="float64"), pickle.loads(pickle.dumps(layer)), engine.Sequential(layer).to().layers[0]]
    assert all(one.dropout == 0.25 for one in copies)  # a copy says nothing again: warnings are errors here
    assert engine.gradcheck(layer, np.ones((2, 1, 3)), entries=2).passed
    cell(3, 4, 2, dropout=0.25)
    cell(3, 4, dropout=0.0)


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda: engine.LSTM(256, 256, 2), 2.6),
        (lambda: engine.GRU(100, 300, bidirectional=True, dtype="float64"), 2.6),
        (lambda: engine.Embedding(9000, 50), 2.3),
        (lambda: engine.Sequential(engine.Embedding(300, 200), engine.LSTM(200, 200, 2), engine.Linear(200, 300)), 2.8),
    ],
)
def test_building_takes_little_more_than_parameters_and_gradients(make: Any, limit: float) -> None:
    """Twelve times the parameters it was; two times are the parameters and their gradients themselves."""
    make()  # imports and caches
    tracemalloc.start()
    try:
        layer = make()
        size = sum(param.nbytes for param in layer.params.values())
        assert tracemalloc.get_traced_memory()[1] <= limit * size + 3e5
        values = layer.state_dict()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        layer.load_state_dict(values)
        assert tracemalloc.get_traced_memory()[1] - before <= 1.1 * size
        tracemalloc.reset_peak()
        layer.load_state_dict({name: value.astype("f2") for name, value in values.items()})
        assert tracemalloc.get_traced_memory()[1] - before <= 2.7 * size  # a half of it is what is loaded
    finally:
        tracemalloc.stop()


def test_load_state_dict_is_strict_and_changes_nothing_when_it_refuses() -> None:
    layer = build("lstm", 2, 3)
    before, arrays = layer.state_dict(), dict(layer.params)
    good = {name: value + 1 for name, value in before.items()}
    bad: list[tuple[dict[str, Any], str]] = [
        ({k: v for k, v in good.items() if k != "bias_hh_l0"}, "missing ['bias_hh_l0']"),
        ({**good, "weight_hr_l0": np.ones(3)}, "unknown ['weight_hr_l0']"),
        ({**good, "bias_hh_l0": np.ones(11)}, "bias_hh_l0: expected shape (12,), got shape (11,)"),
        ({**good, "bias_hh_l0": np.array(["a"] * 12)}, "bias_hh_l0: expected an array of real numbers, got dtype <U1"),
    ]
    for mapping, message in bad:
        with pytest.raises(engine.InputError) as caught:
            layer.load_state_dict(mapping)
        assert message in str(caught.value)
        for name, value in before.items():
            np.testing.assert_array_equal(layer.params[name], value)
    layer.load_state_dict({name: value.astype(np.float32) for name, value in good.items()})
    for name, value in good.items():
        assert layer.params[name] is arrays[name]
        assert layer.params[name].dtype == np.float64
        np.testing.assert_allclose(layer.params[name], value, rtol=1e-6)
    saved = layer.state_dict()
    saved["bias_ih_l0"][...] = 0
    assert (layer.params["bias_ih_l0"] != 0).any()
