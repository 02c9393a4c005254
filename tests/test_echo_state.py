"""Echo state networks: the reservoir, the read-out by ridge regression, the free run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refusals import refused

import engine
from engine.data.synthetic import mackey_glass
from engine.errors import InputError, InputTypeError

T, B, D, H, K = 9, 3, 2, 6, 4


def model_of(**options: Any) -> engine.Sequential:
    """A small echo state network on the plain kernels."""
    layer = engine.reservoir(D, H, density=0.8, leak=0.6, backend="numpy:reference", **options)
    return engine.Sequential(layer, engine.Linear(H, K, backend="numpy:reference", dtype="float64", seed=4))


def data(steps: int = T) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(steps, B, D)), rng.normal(size=(steps, B, K))


# -- the reservoir -----------------------------------------------------------------------------------------------------


def test_the_reservoir_is_what_its_arguments_say() -> None:
    layer = engine.reservoir(
        3, 200, spectral_radius=0.7, leak=0.3, density=0.05, input_scale=0.5, bias_scale=0.2, seed=1
    )
    weights = {name: np.asarray(value) for name, value in layer.params.items()}
    assert np.abs(np.linalg.eigvals(weights["weight_hh_l0"])).max() == pytest.approx(0.7, rel=1e-12)
    assert np.mean(weights["weight_hh_l0"] != 0) == pytest.approx(0.05, abs=0.005)
    assert 0.49 < np.abs(weights["weight_ih_l0"]).max() <= 0.5
    assert 0.19 < np.abs(weights["bias_ih_l0"]).max() <= 0.2
    assert not weights["bias_hh_l0"].any()
    assert (weights["p_leak_l0"] == 0.3).all()
    assert layer.dtype == np.float64


def test_one_step_is_the_equation_of_the_paper() -> None:
    layer = engine.reservoir(D, H, leak=0.3, density=0.9, backend="numpy:reference", seed=3)
    x, h = np.random.default_rng(5).normal(size=(1, B, D)), np.random.default_rng(6).normal(size=(1, B, H))
    p = layer.params
    new = np.tanh(x[0] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h[0] @ p["weight_hh_l0"].T)
    np.testing.assert_allclose(layer.predict(x, h)[0][0], 0.7 * h[0] + 0.3 * new, rtol=1e-13)


def test_echoes_forget_where_they_began() -> None:
    layer = engine.reservoir(D, 40, spectral_radius=0.8, backend="numpy:reference")
    x = np.random.default_rng(1).normal(size=(300, 2, D))
    far = np.random.default_rng(2).uniform(-1, 1, size=(1, 2, 40))
    apart = np.abs(layer.predict(x)[0] - layer.predict(x, far)[0]).max(axis=(1, 2))
    assert apart[0] > 0.1
    assert apart[-1] < 1e-12


def test_seeds_draw_other_reservoirs_and_the_same_again() -> None:
    drawn = [engine.reservoir(D, 20, seed=seed).params["weight_hh_l0"] for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


# -- the read-out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, [9, 4, 7]])
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_penalised_error_has_no_slope_at_the_fitted_weights(batch_first: bool, lengths: list[int] | None) -> None:
    """The gradients come from the engine's own backward pass; the solver never sees them."""
    model, (x, y), washout, ridge = model_of(batch_first=batch_first), data(), 2, 0.3
    if batch_first:
        x, y = x.swapaxes(0, 1).copy(), y.swapaxes(0, 1).copy()
    reservoir_before = {name: value.copy() for name, value in model.layers[0].params.items()}
    error = engine.fit_readout(model, x, y, ridge=ridge, washout=washout, lengths=lengths)
    found, _, tape = model.forward(x, lengths=lengths)
    steps = np.arange(T)[:, None]
    counted = (steps >= washout) & (steps < (np.full(B, T) if lengths is None else np.array(lengths)))
    counted = (counted.T if batch_first else counted)[:, :, None]
    miss = np.where(counted, found - y, 0.0)
    model.backward(tape, 2.0 * miss)
    weight, readout = model.params["1.weight"], model.grads
    np.testing.assert_allclose(readout["1.weight"] + 2.0 * ridge * weight, 0.0, atol=1e-12)
    np.testing.assert_allclose(readout["1.bias"], 0.0, atol=1e-12)
    assert error == pytest.approx(np.sqrt(np.sum(miss**2) / (counted.sum() * K)), rel=1e-12)
    assert np.abs(weight).max() > 0.01
    for name, value in reservoir_before.items():
        assert np.array_equal(model.layers[0].params[name], value)


def test_steps_of_the_washout_and_past_a_rows_end_do_not_count() -> None:
    x, y = data()
    other = y.copy()
    other[:2] = np.nan
    other[5:, 1] = np.nan
    weights = []
    for target in (y, other):
        model = model_of()
        engine.fit_readout(model, x, target, washout=2, lengths=[9, 5, 8])
        weights.append(model.params["1.weight"].copy())
    assert np.array_equal(*weights)


def test_without_a_penalty_a_readout_without_bias_is_plain_least_squares() -> None:
    layer = engine.reservoir(D, H, density=0.8, backend="numpy:reference")
    model = engine.Sequential(layer, engine.Linear(H, K, bias=False, backend="numpy:reference", dtype="float64"))
    x, y = data(30)
    engine.fit_readout(model, x, y, ridge=0.0, washout=3)
    states = layer.predict(x)[0][3:].reshape(-1, H)
    expected = np.linalg.pinv(states) @ y[3:].reshape(-1, K)
    np.testing.assert_allclose(model.params["1.weight"].T, expected, rtol=1e-9)


def test_the_readout_of_a_trained_cell_is_fitted_too() -> None:
    """A stack with a layer of another cell, in float32."""
    model = engine.Sequential(engine.GRU(D, 5), engine.Dropout(0.3), engine.Linear(5, K))
    x, y = (array.astype(np.float32) for array in data(40))
    before = float(engine.mse(model.predict(x)[0], y)[0])
    error = engine.fit_readout(model, x, y, washout=0, ridge=1e-3)
    assert error**2 == pytest.approx(float(engine.mse(model.predict(x)[0], y)[0]), rel=1e-5)
    assert error**2 < before


# -- the free run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_free_run_feeds_each_output_back(batch_first: bool) -> None:
    """One pass over the past and the values that came out gives these values again, one step later."""
    gru = engine.GRU(D, 5, dtype="float64", seed=2, batch_first=batch_first)
    model = engine.Sequential(gru, engine.Linear(5, D, dtype="float64"))
    x = np.random.default_rng(7).normal(size=(T, B, D))
    time = int(batch_first)
    x = x.swapaxes(0, 1).copy() if batch_first else x
    future = engine.free_run(model, x, steps=4)
    assert future.shape == ((B, 4, D) if batch_first else (4, B, D))
    read = np.concatenate([x, future], axis=time)
    y, _ = model.predict(read)
    np.testing.assert_allclose(np.moveaxis(y, time, 0)[T - 1 : -1], np.moveaxis(future, time, 0), rtol=1e-12)


def test_a_free_run_goes_on_from_a_state() -> None:
    model = engine.Sequential(engine.GRU(D, 5, dtype="float64"), engine.Linear(5, D, dtype="float64"))
    x = np.random.default_rng(8).normal(size=(T, B, D))
    _, state = model.predict(x[:5])
    np.testing.assert_allclose(engine.free_run(model, x[5:], 3, state), engine.free_run(model, x, 3), rtol=1e-13)


def test_a_chaotic_series_is_foretold() -> None:
    """100 units, 84 steps ahead from four places: far better than the 1 of a forecast by the mean."""
    plain: Any = {"backend": "numpy:reference"}
    series = np.tanh(mackey_glass(3000, seed=5) - 1.0)[:, None, None]
    layer = engine.reservoir(1, 100, spectral_radius=0.8, leak=0.5, input_scale=0.5, bias_scale=0.3, **plain)
    model = engine.Sequential(layer, engine.Linear(100, 1, dtype="float64", **plain))
    engine.fit_readout(model, series[:1499], series[1:1500], ridge=1e-10, washout=200)
    known, ahead = (np.concatenate([series[k : k + n] for k in range(1500, 2700, 300)], axis=1) for n in (200, 284))
    future = engine.free_run(model, known, steps=84)
    assert np.sqrt(np.mean((future[-1] - ahead[-1]) ** 2)) / series.std() < 0.1


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_bad_arguments_are_refused_and_change_nothing() -> None:
    model, (x, y) = model_of(), data()
    before = model.params["1.weight"].copy()
    broken = y.copy()
    broken[5, 1, 2] = np.nan
    with refused(InputError, "y: expected finite numbers", "NaN"):
        engine.fit_readout(model, x, broken, washout=1)
    with refused(InputError, "washout: expected fewer than the 9 steps", "got 9"):
        engine.fit_readout(model, x, y, washout=9)
    with refused(InputError, "y: expected shape (9, 3, 4)"):
        engine.fit_readout(model, x, y[:, :, :3].copy(), washout=1)
    with refused(InputError, "model: expected a Sequential whose last layer is a Linear"):
        engine.fit_readout(engine.Sequential(engine.GRU(D, H, dtype="float64")), x, y)
    with refused(InputTypeError, "model: expected an engine.Sequential"):
        engine.fit_readout(engine.GRU(D, H), x, y)  # type: ignore[arg-type]
    assert np.array_equal(model.params["1.weight"], before)
    with refused(InputError, "leak: expected a number above 0 and at most 1, got 0"):
        engine.reservoir(D, H, leak=0.0)
    with refused(InputError, "density: expected enough for a loop among 6 units"):
        engine.reservoir(D, H, density=1e-9)
    with refused(InputError, "model: expected x and output (T, B, D)", "(9, 3, 4)"):
        engine.free_run(model, x, 3)
    with refused(InputError, "model: expected one that runs forward in time", "bidirectional"):
        engine.free_run(engine.GRU(2, 1, dtype="float64", bidirectional=True), x, 3)
