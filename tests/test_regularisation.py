"""Penalties on activations, noise on gradients, averages of weights: each against a formula that is written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import engine
from engine.backend import philox

T, B, H = 5, 3, 4


def outputs(seed: int = 3) -> Any:
    return np.random.default_rng(seed).normal(size=(T, B, H))


def slopes(function: Any, y: Any) -> Any:
    """Central differences of a scalar function."""
    found = np.zeros_like(y)
    for place in np.ndindex(*y.shape):
        high, low = y.copy(), y.copy()
        high[place] += 1e-5
        low[place] -= 1e-5
        found[place] = (function(high) - function(low)) / 2e-5
    return found


LENGTHS = np.array([5, 2, 0])
MASKS = {
    "all": None,
    "lengths": np.arange(T)[:, None] < LENGTHS,
    "weights": np.random.default_rng(5).uniform(0.2, 2, (T, B)) * (np.arange(T)[:, None] < LENGTHS),
}


@pytest.mark.parametrize("kind", MASKS)
def test_penalties_are_their_formulas(kind: str) -> None:
    """Written out as loops over valid positions, and over pairs of valid steps of one row."""
    y, mask = outputs(), MASKS[kind]
    weight = np.ones((T, B)) if mask is None else mask.astype(float)
    size = change = pairs = 0.0
    for t, b in itertools.product(range(T), range(B)):
        size += weight[t, b] * np.mean(y[t, b] ** 2)
        if t:
            both = min(weight[t, b], weight[t - 1, b])
            change += both * np.mean((y[t, b] - y[t - 1, b]) ** 2)
            pairs += both
    penalty, _ = engine.activation_regularization(y, 2.5, mask)
    temporal, _ = engine.temporal_activation_regularization(y, 1.5, mask)
    np.testing.assert_allclose(penalty, 2.5 * size / weight.sum(), rtol=1e-13)
    np.testing.assert_allclose(temporal, 1.5 * change / pairs, rtol=1e-13)
    split, _ = engine.temporal_activation_regularization(y, 1.5, mask, normalizer=2 * pairs)
    np.testing.assert_allclose(split, temporal / 2, rtol=1e-13)


@pytest.mark.parametrize("kind", MASKS)
def test_gradients_of_penalties(kind: str) -> None:
    """What stands at masked positions, NaN and infinity too, has no part in them."""
    y, mask = outputs(), MASKS[kind]
    rows_first = None if mask is None else np.ascontiguousarray(mask.T)
    functions = {
        "size": lambda x: engine.activation_regularization(x, 2.5, mask),
        "change": lambda x: engine.temporal_activation_regularization(x, 1.5, mask),
        "change, rows first": lambda x: engine.temporal_activation_regularization(x, 1.5, rows_first, batch_first=True),
    }
    for name, function in functions.items():
        x = np.ascontiguousarray(y.swapaxes(0, 1)) if name.endswith("first") else y
        value, dx = function(x)
        np.testing.assert_allclose(dx, slopes(lambda x, f=function: f(x)[0], x), atol=1e-9, err_msg=name)
        if mask is None:
            continue
        spoilt = x.copy()
        spoilt[(rows_first if name.endswith("first") else mask) == 0] = [np.nan, np.inf, -np.inf, 1e300]
        again, dagain = function(spoilt)
        assert (again, dagain.tolist()) == (value, dx.tolist()), name


def test_penalties_without_anything_to_measure() -> None:
    for shape in ((1, B, H), (0, B, H), (T, 0, H)):
        penalty, dy = engine.temporal_activation_regularization(np.ones(shape), 1.0)
        assert (float(penalty), dy.shape, int(np.count_nonzero(dy))) == (0.0, shape, 0)
    penalty, dy = engine.activation_regularization(outputs(), 1.0, np.zeros((T, B), bool))
    assert (float(penalty), int(np.count_nonzero(dy))) == (0.0, 0)


# -- noise ------------------------------------------------------------------------------------------------------------


def noisy(step: int, eta: float = 0.3, **options: Any) -> dict[str, Any]:
    model = engine.Sequential(engine.GRU(3, 40, dtype="float64"), engine.Linear(40, 7, dtype="float64"))
    engine.add_gradient_noise(model, step, eta, **options)
    return {name: grad.copy() for name, grad in model.grads.items()}


def test_noise_has_the_variance_of_the_paper() -> None:
    for step, options, variance in ((0, {}, 0.3), (99, {}, 0.3 / 100**0.55), (99, {"gamma": 1.0}, 0.003)):
        drawn = np.concatenate([grad.ravel() for grad in noisy(step, **options).values()])
        assert abs(drawn.mean()) < 5 * np.sqrt(variance / drawn.size)
        assert abs(drawn.var() / variance - 1) < 5 * np.sqrt(2 / drawn.size)


def test_noise_is_a_function_of_seed_step_and_name() -> None:
    """Not of what was drawn before; and it is added, it replaces nothing."""
    first, again, later, other = noisy(4), noisy(4), noisy(5), noisy(4, seed=1)
    for name, grad in first.items():
        assert grad.tobytes() == again[name].tobytes()
        assert (grad != later[name]).all()
        assert (grad != other[name]).all()
    layer = engine.Linear(2, 3, dtype="float64")
    layer.grads["weight"] = np.full((3, 2), 10.0)
    engine.add_gradient_noise(layer, 7, 0.04, seed=5)
    key = philox.stream_key(5, "weight", "gradient noise:7")
    expected = 10 + np.sqrt(0.04 / 8**0.55) * philox.normal(key, (3, 2))
    np.testing.assert_allclose(layer.grads["weight"], expected, rtol=1e-14)


def test_noise_leaves_a_frozen_parameter_and_a_bad_gradient_alone() -> None:
    model = engine.Sequential(engine.Linear(2, 3), engine.Linear(3, 1))
    optimizer = engine.SGD(model, lr=0.1)
    optimizer.set_rates({"0.*": 0})
    model.grads["1.bias"] = np.array([np.nan], np.float32)
    engine.add_gradient_noise(optimizer, 0, 1.0)
    assert not model.grads["0.weight"].any()
    assert model.grads["1.weight"].all()
    optimizer.step()
    assert bool(optimizer.nonfinite)


# -- averages ---------------------------------------------------------------------------------------------------------


def wandering(model: Any, steps: int, *averages: Any) -> list[dict[str, Any]]:
    """Other weights at each step; returns all of them."""
    rng = np.random.default_rng(8)
    seen = []
    for _ in range(steps):
        for name, array in model.params.items():
            model.params[name] = rng.normal(size=array.shape)
        for average in averages:
            average.update()
        seen.append({name: array.copy() for name, array in model.params.items()})
    return seen


@pytest.mark.parametrize("start", [0, 3])
def test_averages_are_their_formulas(start: int) -> None:
    model = engine.GRU(2, 3, dtype="float64")
    plain = engine.WeightAverage(model, start=start, every=2)
    smooth = engine.WeightAverage(model, 0.8, start=start)
    seen = wandering(model, 10, plain, smooth)[start:]
    taken = seen[::2]
    assert (plain.count, smooth.count) == (len(taken), len(seen))
    shares = 0.8 ** np.arange(len(seen))[::-1]
    for name in model.params:
        np.testing.assert_allclose(plain.averages[name], np.mean([w[name] for w in taken], axis=0), rtol=1e-12)
        expected = sum(s * w[name] for s, w in zip(shares, seen, strict=True)) / shares.sum()
        np.testing.assert_allclose(smooth.averages[name], expected, rtol=1e-12)


def test_a_block_with_averages_ends_with_the_models_own_weights() -> None:
    model = engine.Linear(2, 3, dtype="float64")
    average = engine.WeightAverage(model, 0.5)
    arrays, x = dict(model.params), np.ones((1, 1, 2))
    with average.applied():  # there is none yet
        y_first = model.predict(x)[0]
    np.testing.assert_array_equal(y_first, model.predict(x)[0])
    last = wandering(model, 4, average)[-1]
    y, _ = model.predict(x)
    with average.applied():
        y_average = model.predict(x)[0]
    with pytest.raises(engine.InputError), average.applied():  # an error inside ends the block too
        model.predict(x[:, :, :1])
    np.testing.assert_array_equal(model.predict(x)[0], y)
    for name, array in model.params.items():
        assert array is arrays[name]
        assert array.tobytes() == last[name].tobytes()
    average.apply()
    np.testing.assert_array_equal(model.predict(x)[0], y_average)
    assert (y_average != y).all()


def test_an_average_goes_on_from_its_state() -> None:
    """With BatchNorm's statistics, whose count of batches is an integer that is not averaged."""
    model = engine.Sequential(engine.Linear(2, 3), engine.BatchNorm(3))
    x = np.random.default_rng(1).normal(size=(4, 5, 2)).astype(np.float32)
    whole, part = engine.WeightAverage(model, 0.9, start=1), engine.WeightAverage(model, 0.9, start=1)
    for step in range(6):
        model.forward(x + step)
        whole.update()
        if step == 3:
            fresh = engine.WeightAverage(model, 0.9, start=1)
            fresh.load_state_dict(part.state_dict())
            part = fresh
        part.update()
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(part.state_dict()[name], value, err_msg=name)
    assert whole.averages["1.num_batches_tracked"] == 6
    assert 0 < whole.averages["1.running_mean"][0] / model.buffers["1.running_mean"][0] < 1
    for wrong in ({"decay": 0.8}, {"start": 2}, {"average.0.bias": np.zeros(4, np.float32)}):
        before = part.state_dict()
        with pytest.raises(engine.InputError):
            part.load_state_dict({**before, **wrong})
        assert all(np.array_equal(value, before[name]) for name, value in part.state_dict().items())
