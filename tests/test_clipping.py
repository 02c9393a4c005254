"""Clipping by norm and by value."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cuda import counts
from fake_cupy import BACKENDS, use_backend
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.backend import Backend
from engine.errors import InputError, InputTypeError

RECORDED = Path(__file__).parent / "recorded" / "optimizers.npz"


def model_of(*grads: Any, dtype: Any = np.float64, backend: Backend | None = None) -> Any:
    backend = backend or engine.get_backend("numpy", "reference")
    arrays = {str(k): backend.asarray(np.asarray(grad), dtype=dtype) for k, grad in enumerate(grads)}
    return SimpleNamespace(params={name: array.copy() for name, array in arrays.items()}, grads=arrays)


@pytest.mark.parametrize("name", BACKENDS)
def test_clipping_by_norm_is_pytorchs_in_place_and_waits_for_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = use_backend(name, monkeypatch)
    r = np.load(RECORDED)
    names = ("weight", "bias", "gain")
    model = model_of(*(r[f"clip.before.{n}"] for n in names), backend=backend)
    arrays = list(model.grads.values())
    counts.reset()
    norm = engine.clip_grad_norm(model, 1.5)
    assert (counts.waits, counts.uploads) == (0, 0)
    assert backend.is_array(norm)
    assert norm.ndim == 0
    np.testing.assert_allclose(backend.to_host(norm), r["clip.norm"], rtol=1e-14)
    assert backend.to_host(norm) > 1.5
    for array, now, n in zip(arrays, model.grads.values(), names, strict=True):
        assert array is now
        np.testing.assert_allclose(backend.to_host(array), r[f"clip.after.{n}"], rtol=1e-13)


@given(seed=st.integers(0, 999), share=st.floats(0.1, 3.0))
def test_the_norm_is_at_most_the_limit_and_the_direction_stays(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    grads = [rng.normal(size=(3, 4)), rng.normal(size=2)]
    joined = np.concatenate([grad.reshape(-1) for grad in grads])
    limit = share * float(np.linalg.norm(joined))
    model = model_of(*grads)
    norm = engine.clip_grad_norm(model, limit)
    after = np.concatenate([grad.reshape(-1) for grad in model.grads.values()])
    np.testing.assert_allclose(norm, np.linalg.norm(joined), rtol=1e-13)
    assert np.linalg.norm(after) <= limit
    if limit > norm + 1e-6:
        np.testing.assert_array_equal(after, joined)
    else:
        np.testing.assert_allclose(after, joined * (limit / (norm + 1e-6)), rtol=1e-13)


@pytest.mark.parametrize("size", [1e25, 1e-30, 3e38])
def test_float32_squares_neither_overflow_nor_vanish(size: float) -> None:
    model = model_of(np.full(100, size), dtype=np.float32)
    norm = engine.clip_grad_norm(model, 2.0)
    assert norm.dtype == np.float32
    if size < 1e38:
        np.testing.assert_allclose(norm, 10 * size, rtol=1e-6)
    if size > 1:
        np.testing.assert_allclose(model.grads["0"], 0.2, rtol=1e-6)
        assert model.grads["0"].dtype == np.float32


def test_a_list_of_models_has_one_norm_in_the_widest_dtype() -> None:
    models = [model_of([3.0], dtype=np.float32), model_of([[4.0]])]
    norm = engine.clip_grad_norm(models, 2.5)
    assert (norm.dtype, float(norm)) == (np.float64, 5.0)
    assert models[0].grads["0"].dtype == np.float32
    np.testing.assert_allclose(models[0].grads["0"], 1.5, rtol=1e-6)
    np.testing.assert_allclose(models[1].grads["0"], 2.0, rtol=1e-6)


def test_an_infinite_limit_only_measures() -> None:
    model = model_of([3.0, 4.0])
    assert float(engine.clip_grad_norm(model, np.inf)) == 5.0
    np.testing.assert_array_equal(model.grads["0"], [3.0, 4.0])


def test_zero_gradients_stay_zero() -> None:
    model = model_of(np.zeros((2, 3)))
    assert float(engine.clip_grad_norm(model, 1.0)) == 0.0
    assert not model.grads["0"].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("clip", [engine.clip_grad_norm, engine.clip_grad_value])
def test_clipping_never_hides_a_non_finite_gradient_from_the_step(clip: Any, value: float) -> None:
    model = model_of([1.0, value, 2.0], [0.5])
    opt = engine.SGD(model, lr=0.1)
    before = model.params["0"].copy()
    clip(model, 1.5)
    opt.step()
    if clip is engine.clip_grad_value and np.isfinite(value):
        assert not bool(opt.nonfinite)
    else:
        assert bool(opt.nonfinite)
        np.testing.assert_array_equal(model.params["0"], before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BACKENDS)
def test_clipping_by_value(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = use_backend(name, monkeypatch)
    model = model_of([-3.0, -0.5, 0.25, 7.0, np.nan, np.inf], [[1.5]], dtype=dtype, backend=backend)
    arrays = list(model.grads.values())
    counts.reset()
    engine.clip_grad_value(model, 1.25)
    assert (counts.waits, counts.uploads) == (0, 0)
    np.testing.assert_array_equal(backend.to_host(arrays[0]), [-1.25, -0.5, 0.25, 1.25, np.nan, np.inf])
    np.testing.assert_array_equal(backend.to_host(arrays[1]), [[1.25]])
    assert arrays[0].dtype == dtype
    assert arrays[0] is model.grads["0"]


def test_a_value_limit_beyond_float32_clips_nothing() -> None:
    model = model_of([3e38], dtype=np.float32)
    engine.clip_grad_value(model, 1e300)
    assert model.grads["0"][0] == np.float32(3e38)


@pytest.mark.parametrize(("clip", "argument"), [(engine.clip_grad_norm, "max_norm"), (engine.clip_grad_value, "limit")])
@pytest.mark.parametrize(
    ("value", "error", "part"),
    [
        (0, InputError, "a number > 0, got 0; to switch clipping off, leave the call out"),
        (-1.0, InputError, "a number >= 0, got -1.0"),
        (np.nan, InputError, "a number >= 0, got nan"),
        ("1", InputTypeError, "a number >= 0, got '1'"),
        (None, InputTypeError, "a number >= 0, got None"),
        (True, InputTypeError, "a number >= 0, got True"),
    ],
)
def test_bad_limits_are_refused(clip: Any, argument: str, value: Any, error: type[Exception], part: str) -> None:
    model = model_of([3.0])
    with refused(error, f"{argument}: expected {part}"):
        clip(model, value)
    assert model.grads["0"][0] == 3.0


@pytest.mark.parametrize("clip", [engine.clip_grad_norm, engine.clip_grad_value])
def test_what_is_no_model_is_refused(clip: Any) -> None:
    with refused(InputTypeError, "model: expected an object with dicts params and grads", "got 'model'"):
        clip("model", 1.0)
