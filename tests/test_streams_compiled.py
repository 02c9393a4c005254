"""The compiled step: the bits of predict, no allocation in ten thousand steps, weights packed once, several threads."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import build, leaves
from conftest import JIT_OFF

import engine
from kernels.cpu import forms, numba_kernels

D, H = 5, 7
needs_compiled = pytest.mark.skipif(JIT_OFF, reason="too slow uncompiled (NUMBA_DISABLE_JIT)")
KINDS = ["lstm", "gru", "gru_before", "rnn_tanh", "projected_lstm", "layernorm_lstm"]


def draw(*shape: int, dtype: str = "float32") -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def compare(model: Any, x: Any, state: Any = None) -> None:
    """Hold a stepper against predict over the whole sequence (T, B, ...): to the last bit."""
    y, last = model.predict(x, state)
    stepper = model.stepper(x.shape[1], state)
    for t, x_t in enumerate(x):
        assert np.array_equal(stepper(x_t), y[t]), t
    assert all(np.array_equal(*pair) for pair in zip(leaves(stepper.state), leaves(last), strict=True))


def text_model(dtype: str = "float32", hidden: int = H) -> Any:
    """A chain of layers that all run in one call, with widths that fill no vector, and one that do."""
    layers = (
        engine.Embedding(11, D, dtype=dtype),
        engine.LSTM(D, hidden, 2, dropout=0.5, dtype=dtype),
        engine.Dropout(0.5, dtype=dtype),
        engine.Linear(hidden, 16, dtype=dtype),
        engine.GRU(16, H, dtype=dtype),
        engine.Linear(H, 3, bias=False, dtype=dtype),
    )
    return engine.Sequential(*layers, seed=3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_step_has_the_bits_of_predict(kind: str, dtype: str) -> None:
    layer = build(kind, D, H, 2, backend="numpy", dtype=dtype, zoneout=0.25 if kind == "gru" else 0.0)
    states = tuple(draw(2, 3, width, dtype=dtype) for width in layer.widths)
    compare(layer, draw(6, 3, D, dtype=dtype), states if len(states) > 1 else states[0])
    compare(layer, draw(6, 1, D, dtype=dtype))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_step_in_half_precision_has_the_bits_of_predict(precision: str) -> None:
    layer = engine.LSTM(D, H, 2, precision=precision)
    assert not np.array_equal(layer.predict(draw(6, 3, D))[0], build_like(layer).predict(draw(6, 3, D))[0])
    compare(layer, draw(6, 3, D))


def build_like(layer: Any) -> Any:
    """The same layer in float32."""
    other = engine.LSTM(D, H, 2)
    other.load_state_dict(layer.state_dict())
    return other


@pytest.mark.parametrize("batch", [1, 4])
def test_a_chain_of_layers_is_one_call(batch: int) -> None:
    model, ids = text_model(), np.random.default_rng(0).integers(0, 11, (9, batch))
    compare(model, ids)
    stepper = model.stepper(batch)
    with engine.ledger() as counts:
        for x_t in ids:
            stepper(x_t)
    assert counts.launches == len(ids)
    y = stepper(ids[0].astype(np.int16))  # another type of id takes the long way, with the same result
    assert y is stepper(ids[1].tolist())
    assert y.shape == (batch, 3)


def test_layers_in_array_code_stand_between_compiled_ones() -> None:
    parts = engine.GRU(D, H, 2), engine.BatchNorm(H), engine.Linear(H, 6), engine.Recurrent("layernorm_lstm", 6, 4)
    model = engine.Sequential(*parts, engine.Linear(4, 2))
    y, _ = model.predict(draw(6, 3, D))
    stepper = model.stepper(3)
    for t, x_t in enumerate(draw(6, 3, D)):
        np.testing.assert_allclose(stepper(x_t), y[t], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("features", [H, 300])
def test_layer_normalisation_is_compiled_too(features: int, dtype: str) -> None:
    """Its sums run in another order than NumPy's: equal to rounding, not to the bit."""
    norm = engine.LayerNorm(features, eps=0.01, dtype=dtype)
    norm.load_state_dict({name: draw(features) + k for k, name in enumerate(norm.params)})
    model = engine.Sequential(engine.GRU(D, features, dtype=dtype), norm, engine.Linear(features, 2, dtype=dtype))
    x = draw(9, 3, D, dtype=dtype)
    (y, last), stepper = model.predict(x), model.stepper(3)
    with engine.ledger() as counts:
        found = np.stack([stepper(x_t).copy() for x_t in x])
    assert counts.launches == len(x)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)
    assert np.array_equal(stepper.state[0], last[0])


def test_several_ids_a_row() -> None:
    compare(engine.Embedding(9, D, features=2), np.random.default_rng(0).integers(0, 9, (5, 3, 2)))


@needs_compiled
@pytest.mark.parametrize("what", ["numbers", "text"])
def test_ten_thousand_steps_allocate_nothing_and_drift_nowhere(what: str) -> None:
    T, B = 10_000, 2
    model: Any = engine.LSTM(D, H, 2) if what == "numbers" else text_model()
    x = draw(T, B, D) if what == "numbers" else np.random.default_rng(0).integers(0, 11, (T, B))
    wanted, last = model.predict(x)
    stepper, same = model.stepper(B), True
    inputs, outputs = list(x), list(wanted)
    tracemalloc.start()
    with engine.ledger() as counts:
        try:
            stepper(inputs[0])
            stepper.reset()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for x_t, y_t in zip(inputs, outputs, strict=True):
                same &= stepper(x_t).tobytes() == y_t.tobytes()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert same
    assert all(np.array_equal(*pair) for pair in zip(leaves(stepper.state), leaves(last), strict=True))
    assert (counts.launches, counts.large_allocations) == (T + 1, 0)
    assert after - before < 500  # the numbers of the loop itself
    assert peak - before < 2000  # and the copies of y that are compared


def test_a_wrong_id_is_found_by_the_compiled_step() -> None:
    stepper = text_model().stepper(2)
    before = stepper(np.array([1, 2])).copy()
    stepper.reset()
    for wrong in ([1, 11], [-1, 2]):
        with pytest.raises(engine.InputError, match=r"x_t: expected token ids in 0\.\.10"):
            stepper(np.array(wrong))
    assert np.array_equal(stepper(np.array([1, 2])), before)


def test_a_frozen_model_packs_once_and_looks_at_no_weight_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, packed = engine.LSTM(D, H, 2), list[Any]()
    frozen, wanted = model.freeze(), model.predict(draw(6, 3, D))[0]

    def pack(packs: Any, *given: Any) -> Any:
        packed.append(packs)
        return forms.pack(packs, *given)

    monkeypatch.setattr(numba_kernels, "pack", pack)
    monkeypatch.setattr(numba_kernels, "checksum", None)
    assert np.array_equal(frozen.predict(draw(6, 3, D))[0], wanted)
    for steps, batch in ((1, 1), (6, 3), (20, 2)):
        frozen.predict(draw(steps, batch, D))
    assert len(packed) == 2  # once for each of the two layers
    monkeypatch.setattr("kernels.cpu.prepared.pack", None)
    assert np.array_equal(frozen.stepper(3)(draw(6, 3, D)[0]), wanted[0])


@needs_compiled
def test_a_step_that_is_work_for_two_threads_has_the_same_bits() -> None:
    layer, x = engine.LSTM(160, 160), draw(5, 24, 160)  # five million multiply-adds a step
    found = []
    try:
        for count in (1, 2):
            engine.set_num_threads(count)
            stepper = layer.stepper(24)
            found.append([stepper(x_t).copy() for x_t in x] + leaves(stepper.state))
    finally:
        engine.set_num_threads(None)
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def pickled(stepper: Any) -> Any:
    return pickle.loads(pickle.dumps(stepper))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_stepper_goes_on_by_itself(copied: Callable[[Any], Any]) -> None:
    heads = engine.Heads({"a": engine.Linear(H, 2), "b": engine.Sequential(engine.GRU(H, 3), engine.Linear(3, 2))})
    model, x = engine.Sequential(engine.LSTM(D, H, 2), heads, seed=3), draw(6, 3, D)
    state = model.predict(draw(4, 3, D))[1]
    y, _ = model.predict(x, state)
    stepper = model.stepper(3, state)
    for x_t in x[:3]:
        stepper(x_t)
    twin = copied(stepper)
    for t in (3, 4, 5):  # turn about, so that each would disturb the other
        for one in (twin, stepper):
            found = one(x[t])
            assert all(np.array_equal(found[name], y[name][t]) for name in y)
    twin.reset()
    found = twin(x[0])
    assert all(np.array_equal(found[name], y[name][0]) for name in y)
    before, after = leaves(stepper.state), leaves(model.predict(x, state)[1])
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


@needs_compiled
def test_steppers_of_one_frozen_model_run_in_several_threads() -> None:
    frozen, x = text_model(hidden=64).freeze(), np.random.default_rng(0).integers(0, 11, (4, 300, 2))
    wanted = [frozen.predict(rows)[0] for rows in x]
    found = [np.empty_like(rows) for rows in wanted]

    def work(number: int) -> None:
        stepper = frozen.stepper(2)
        for t, x_t in enumerate(x[number]):
            found[number][t] = stepper(x_t)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))
