"""Scheduled sampling: which inputs are the model's own outputs, and the gradient with and without the way through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refusals import refused

import engine
from engine.errors import InputError, InputTypeError

T, B, D, H = 6, 4, 3, 5


def model_of(seed: int = 1) -> engine.Sequential:
    plain: Any = {"backend": "numpy:reference", "dtype": "float64"}
    return engine.Sequential(engine.LSTM(D, H, 2, **plain), engine.Linear(H, D, **plain), seed=seed)


def data() -> tuple[np.ndarray, np.ndarray, tuple[Any, ...]]:
    rng = np.random.default_rng(3)
    state = (tuple(rng.normal(size=(2, B, H)) for _ in "hc"), None)
    return rng.normal(size=(T, B, D)), rng.normal(size=(T, B, D)), state


def inputs_read(x: np.ndarray, y: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What the model read at each step."""
    before = np.concatenate([np.zeros_like(y[:1]), y[:-1]])
    return np.where(own == 1.0, before, x)


@pytest.mark.parametrize("likely", [0.0, 0.6, 1.0])
def test_the_model_reads_the_true_input_or_its_own_output(likely: float) -> None:
    model, (x, _, state) = model_of(), data()
    y, last, tape = engine.scheduled_sampling(model, x, likely, state=state, draw=(2, 7))
    assert not tape.own[0].any()
    assert {0.0: tape.own[1:].max() == 0, 1.0: tape.own[1:].min() == 1}.get(likely, 0.3 < tape.own[1:].mean() < 0.9)
    again, end = model.predict(inputs_read(x, y, tape.own), state)
    np.testing.assert_allclose(y, again, rtol=1e-12)
    np.testing.assert_allclose(last[0][1], end[0][1], rtol=1e-12)


def test_without_own_outputs_it_is_the_plain_pass() -> None:
    model, (x, dy, _) = model_of(), data()
    _, _, tape = engine.scheduled_sampling(model, x, 0.0)
    dx, _ = tape.backward(dy)
    found = {name: grad.copy() for name, grad in model.grads.items()}
    model.zero_grad()
    _, _, plain = model.forward(x)
    expected, _ = model.backward(plain, dy)
    np.testing.assert_allclose(dx, expected, rtol=1e-10)
    for name, grad in model.grads.items():
        np.testing.assert_allclose(found[name], grad, rtol=1e-10, atol=1e-12)


def test_a_free_run_is_that_of_free_run() -> None:
    model, (x, _, _) = model_of(), data()
    y, _, _ = engine.scheduled_sampling(model, x, 1.0)
    np.testing.assert_allclose(y, engine.free_run(model, x[:1], T), rtol=1e-12)


def test_the_gradient_that_is_kept_is_that_of_the_loss() -> None:
    """Central differences over every parameter, the true inputs and the initial state, for the inputs drawn."""
    model, (x, dy, state) = model_of(), data()

    def loss() -> float:
        y, last, _ = engine.scheduled_sampling(model, x, 0.6, state=state, through=True, draw=5)
        return float(np.sum(dy * y) + np.sum(dlast * last[0][0]))

    dlast = np.random.default_rng(9).normal(size=(2, B, H))
    _, _, tape = engine.scheduled_sampling(model, x, 0.6, state=state, through=True, draw=5)
    dx, dstate = tape.backward(dy, ((dlast, None), None))
    found = {name: grad.copy() for name, grad in model.grads.items()} | {
        "x": dx,
        "h0": dstate[0][0],
        "c0": dstate[0][1],
    }
    places = dict(model.params.items()) | {"x": x, "h0": state[0][0], "c0": state[0][1]}
    assert tape.own[1:].mean() > 0.3
    rng = np.random.default_rng(0)
    for name, array in places.items():
        for _ in range(4):
            index = tuple(rng.integers(n) for n in array.shape)
            kept, pair = array[index], []
            for step in (1e-5, -1e-5):
                array[index] = kept + step
                model.touch()
                pair.append(loss())
            array[index] = kept
            model.touch()
            assert found[name][index] == pytest.approx((pair[0] - pair[1]) / 2e-5, rel=2e-6, abs=1e-8), (name, index)


def test_the_gradient_that_is_cut_is_that_of_data() -> None:
    """As if the model's own outputs had been given as x."""
    model, (x, dy, _) = model_of(), data()
    y, _, tape = engine.scheduled_sampling(model, x, 0.6, draw=5)
    dx, _ = tape.backward(dy)
    found = {name: grad.copy() for name, grad in model.grads.items()}
    model.zero_grad()
    _, _, plain = model.forward(inputs_read(x, y, tape.own))
    expected, _ = model.backward(plain, dy)
    np.testing.assert_allclose(dx, expected * (1 - tape.own), rtol=1e-10)
    for name, grad in model.grads.items():
        np.testing.assert_allclose(found[name], grad, rtol=1e-9, atol=1e-12)
    model.zero_grad()
    engine.scheduled_sampling(model, x, 0.6, draw=5, through=True)[2].backward(dy)
    assert not np.allclose(found["0.weight_hh_l0"], model.grads["0.weight_hh_l0"], rtol=1e-3)


def test_another_draw_reads_other_inputs() -> None:
    model, (x, _, _) = model_of(), data()
    owns = [engine.scheduled_sampling(model, x, 0.5, draw=draw)[2].own for draw in ((1, 2), [1, 2], (1, 3))]
    assert np.array_equal(owns[0], owns[1])
    assert not np.array_equal(owns[0], owns[2])


def test_bad_arguments_are_refused() -> None:
    model, (x, dy, _) = model_of(), data()
    with refused(InputError, "probability_of_own: expected a probability in 0..1, got 1.5"):
        engine.scheduled_sampling(model, x, 1.5)
    with refused(InputError, "model: expected as many outputs as inputs"):
        engine.scheduled_sampling(engine.GRU(D, H, dtype="float64"), x, 0.5)
    with refused(InputError, "model: expected a time-major model"):
        engine.scheduled_sampling(engine.GRU(D, D, dtype="float64", batch_first=True), x, 0.5)
    with refused(InputError, "x: expected at least one step"):
        engine.scheduled_sampling(model, x[:0], 0.5)
    with refused(InputTypeError, "x: expected dtype float64"):
        engine.scheduled_sampling(model, x.astype(np.float32), 0.5)
    with refused(InputError, "dy: expected shape (6, 4, 3)"):
        engine.scheduled_sampling(model, x, 0.5)[2].backward(dy[1:])
