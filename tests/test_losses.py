"""Losses and their gradients: values, masks, normalisers, what must not leak, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import counts
from fake_cupy import BACKENDS, use_backend
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.errors import InputError, InputTypeError

RECORDED = Path(__file__).parent / "recorded" / "optimizers.npz"
LOSSES = ["cross_entropy", "mse"]


def sample(kind: str, T: int = 4, B: int = 3, D: int = 5, seed: int = 0, dtype: Any = np.float64) -> tuple[Any, Any]:
    """Predictions and targets with no symmetry."""
    rng = np.random.default_rng(seed)
    first = (3.0 * rng.normal(size=(T, B, D))).astype(dtype)
    second = rng.integers(0, D, size=(T, B)) if kind == "cross_entropy" else rng.normal(size=(T, B, D)).astype(dtype)
    return first, second


def loss_of(kind: str) -> Any:
    return getattr(engine, kind)


def plain(kind: str, first: Any, second: Any, weight: Any, n: float) -> tuple[float, Any]:
    """The same in the slowest possible way: one position after the other, in Python."""
    total, grad = 0.0, np.zeros_like(first)
    for index in np.ndindex(weight.shape):
        if weight[index] == 0:
            continue
        row = first[index]
        if kind == "cross_entropy":
            log_sum = math.log(sum(math.exp(v) for v in row))
            total += weight[index] / n * (log_sum - row[second[index]])
            for k, v in enumerate(row):
                grad[index][k] = weight[index] / n * (math.exp(v - log_sum) - (k == second[index]))
        else:
            total += weight[index] / n * sum((row - second[index]) ** 2) / len(row)
            grad[index] = weight[index] / n * 2.0 * (row - second[index]) / len(row)
    return total, grad


weights = st.sampled_from(["none", "bool", "float"])
kinds = st.sampled_from(LOSSES)


def draw_mask(form: str, shape: tuple[int, ...], seed: int, dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(seed)
    chosen = rng.random(shape) < 0.6
    if form == "none":
        return None
    return chosen if form == "bool" else (chosen * rng.uniform(0.1, 3.0, size=shape)).astype(dtype)


# -- values -----------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_pytorchs() -> None:
    r = np.load(RECORDED)
    loss, dlogits = engine.cross_entropy(r["ce.logits"], r["ce.targets"], r["ce.targets"] >= 0)
    np.testing.assert_allclose(loss, r["ce.loss"], rtol=1e-13)
    np.testing.assert_allclose(dlogits, r["ce.dlogits"], rtol=1e-12, atol=1e-17)


def test_mse_is_pytorchs() -> None:
    r = np.load(RECORDED)
    loss, dprediction = engine.mse(r["mse.prediction"], r["mse.target"])
    np.testing.assert_allclose(loss, r["mse.loss"], rtol=1e-13)
    np.testing.assert_allclose(dprediction, r["mse.dprediction"], rtol=1e-13)


@given(
    kind=kinds, form=weights, own_n=st.booleans(), T=st.integers(0, 4), B=st.integers(1, 3), seed=st.integers(0, 999)
)
def test_agrees_with_the_plain_sum(kind: str, form: str, own_n: bool, T: int, B: int, seed: int) -> None:
    first, second = sample(kind, T, B, 4, seed)
    mask = draw_mask(form, (T, B), seed + 1)
    weight = np.ones((T, B)) if mask is None else mask.astype(float)
    n = 7.5 if own_n else weight.sum() or 1.0
    loss, grad = loss_of(kind)(first, second, mask, 7.5 if own_n else None)
    wanted_loss, wanted_grad = plain(kind, first, second, weight, n)
    np.testing.assert_allclose(loss, wanted_loss, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(grad, wanted_grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("form", ["none", "bool", "float"])
@pytest.mark.parametrize("kind", LOSSES)
def test_gradient_is_the_central_difference(kind: str, form: str) -> None:
    first, second = sample(kind, seed=3)
    mask = draw_mask(form, (4, 3), 4)
    _, grad = loss_of(kind)(first, second, mask, 5.5)
    numeric = np.empty_like(first)
    for index in np.ndindex(first.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = first.copy()
            moved[index] += sign * 6e-6 * max(1.0, abs(first[index]))
            ends.append((moved[index], loss_of(kind)(moved, second, mask, 5.5)[0]))
        numeric[index] = (ends[0][1] - ends[1][1]) / (ends[0][0] - ends[1][0])
    assert np.abs(grad - numeric).max() <= 1e-9
    assert np.abs(grad).max() > 0.05


def test_cross_entropy_takes_any_leading_shape() -> None:
    first, second = sample("cross_entropy")
    loss, grad = engine.cross_entropy(first[2, 1], second[2, 1, ...])
    wanted, wanted_grad = engine.cross_entropy(first[2:3, 1:2], second[2:3, 1:2])
    assert loss == wanted
    np.testing.assert_array_equal(grad, wanted_grad[0, 0])


def test_stays_exact_where_exponentials_would_overflow() -> None:
    logits = np.array([[1e4, 0.0, -1e4], [-1e308, 1e308, 0.0], [-800.0, -801.0, -np.inf]])
    loss, grad = engine.cross_entropy(logits, np.array([1, 1, 0]))
    np.testing.assert_allclose(loss, (1e4 + 0.0 + math.log1p(math.exp(-1))) / 3, rtol=1e-15)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad[0] * 3, [1.0, -1.0, 0.0], atol=1e-15)


def test_cross_entropy_ignores_a_shift_of_the_logits_and_its_gradient_sums_to_zero() -> None:
    first, second = sample("cross_entropy")
    loss, grad = engine.cross_entropy(first, second)
    moved, moved_grad = engine.cross_entropy(first + 123.0, second)
    np.testing.assert_allclose(moved, loss, rtol=1e-13)
    np.testing.assert_allclose(moved_grad, grad, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(grad.sum(axis=-1), 0.0, atol=1e-16)


# -- masks and normalisers --------------------------------------------------------------------------------------------


@given(kind=kinds, form=weights, cut=st.integers(0, 6), seed=st.integers(0, 999))
def test_shards_with_one_normalizer_add_up_to_the_whole(kind: str, form: str, cut: int, seed: int) -> None:
    first, second = sample(kind, 3, 6, seed=seed)
    mask = draw_mask(form, (3, 6), seed + 1)
    n = 18 if mask is None else mask.sum()
    whole, whole_grad = loss_of(kind)(first, second, mask)
    shards = []
    for part in (slice(0, cut), slice(cut, 6)):
        shards.append(loss_of(kind)(first[:, part], second[:, part], None if mask is None else mask[:, part], n))
    np.testing.assert_allclose(shards[0][0] + shards[1][0], whole, rtol=1e-13)
    np.testing.assert_allclose(np.concatenate([shards[0][1], shards[1][1]], axis=1), whole_grad, rtol=1e-13)


@given(kind=kinds, form=weights, seed=st.integers(0, 999))
def test_the_count_as_normalizer_changes_nothing(kind: str, form: str, seed: int) -> None:
    first, second = sample(kind, seed=seed)
    mask = draw_mask(form, (4, 3), seed)
    n = 12 if mask is None else mask.sum()
    if n == 0:
        return
    default, given_n = loss_of(kind)(first, second, mask), loss_of(kind)(first, second, mask, n)
    assert default[0] == given_n[0]
    np.testing.assert_array_equal(default[1], given_n[1])


@given(kind=kinds, form=weights, seed=st.integers(0, 999))
def test_permuting_rows_permutes_the_gradient(kind: str, form: str, seed: int) -> None:
    first, second = sample(kind, seed=seed)
    mask = draw_mask(form, (4, 3), seed)
    order = np.random.default_rng(seed).permutation(3)
    loss, grad = loss_of(kind)(first, second, mask)
    again, moved = loss_of(kind)(first[:, order], second[:, order], None if mask is None else mask[:, order])
    np.testing.assert_allclose(again, loss, rtol=1e-13)
    np.testing.assert_allclose(moved, grad[:, order], rtol=1e-13)


@given(kind=kinds, form=st.sampled_from(["bool", "float"]), pads=st.integers(1, 3), seed=st.integers(0, 999))
def test_masked_positions_never_leak(kind: str, form: str, pads: int, seed: int) -> None:
    """Masked NaN, infinity and indices out of range change no bit; appended pads of them only the order of sums."""
    first, second = sample(kind, seed=seed)
    mask = draw_mask(form, (4, 3), seed)
    mask[0, 0] = 1
    clean, clean_grad = loss_of(kind)(first, second, mask)
    rng = np.random.default_rng(seed)
    dirty = np.where((mask != 0)[..., None], first, rng.choice([np.nan, np.inf, -np.inf, 1e308], size=first.shape))
    if kind == "cross_entropy":
        targets = np.where(mask != 0, second, rng.choice([-100, -1, 5, 2**40], size=second.shape))
    else:
        targets = np.where((mask != 0)[..., None], second, np.nan)
    first_pads = np.full((pads, 3, 5), np.nan)
    target_pads = np.full((pads, *targets.shape[1:]), -100).astype(targets.dtype)
    mask_pads = np.zeros((pads, 3), dtype=mask.dtype)
    loss, grad = loss_of(kind)(dirty, targets, mask)
    assert loss == clean
    np.testing.assert_array_equal(grad, clean_grad)
    loss, grad = loss_of(kind)(
        np.concatenate([dirty, first_pads]), np.concatenate([targets, target_pads]), np.concatenate([mask, mask_pads])
    )
    np.testing.assert_allclose(loss, clean, rtol=1e-14)
    np.testing.assert_allclose(grad[:4], clean_grad, rtol=1e-14)
    assert not grad[4:].any()
    assert not grad[:4][mask == 0].any()


@pytest.mark.parametrize("normalizer", [None, 0, 3.0, "device"])
@pytest.mark.parametrize("mask_dtype", [bool, np.float32])
@pytest.mark.parametrize("kind", LOSSES)
def test_all_masked_is_zero_without_a_warning(kind: str, mask_dtype: Any, normalizer: Any) -> None:
    first, second = sample(kind, dtype=np.float32)
    normalizer = np.zeros(()) if normalizer == "device" else normalizer
    first[:] = np.nan
    loss, grad = loss_of(kind)(first, second, np.zeros((4, 3), mask_dtype), normalizer)
    assert loss == 0
    assert not grad.any()


@pytest.mark.parametrize("kind", LOSSES)
def test_no_positions_at_all_is_zero(kind: str) -> None:
    first, second = sample(kind, T=0)
    for normalizer in (None, 0, 4):
        loss, grad = loss_of(kind)(first, second, None, normalizer)
        assert loss == 0
        assert grad.shape == (0, 3, 5)


def test_a_zero_normalizer_with_valid_positions_is_not_hidden() -> None:
    first, second = sample("mse")
    assert np.isinf(engine.mse(first, second, None, 0)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", LOSSES)
def test_a_non_finite_valid_position_makes_the_loss_non_finite(kind: str, bad: float) -> None:
    first, second = sample(kind)
    clean = loss_of(kind)(first, second)[1]
    first[1, 2, 3] = bad
    loss, grad = loss_of(kind)(first, second)
    assert not np.isfinite(loss)
    assert not np.isfinite(grad[1, 2]).all()
    grad[1, 2] = clean[1, 2]
    np.testing.assert_array_equal(grad, clean)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_mse_mask_may_have_any_leading_part_of_the_shape(depth: int) -> None:
    first, second = sample("mse")
    mask = draw_mask("float", (4, 3, 5)[:depth], 5)
    loss, grad = engine.mse(first, second, mask)
    full = np.broadcast_to(mask.reshape(mask.shape + (1,) * (3 - depth)), first.shape)
    np.testing.assert_allclose(loss, (full * (first - second) ** 2).sum() / full.sum(), rtol=1e-13)
    np.testing.assert_allclose(grad, 2 * full * (first - second) / full.sum(), rtol=1e-13)


def test_the_normalizer_of_mse_counts_positions_not_elements() -> None:
    first, second = sample("mse")
    loss, _ = engine.mse(first, second, normalizer=100)
    np.testing.assert_allclose(loss, ((first - second) ** 2).sum() / (100 * 5), rtol=1e-13)
    flat, _ = engine.mse(first.reshape(-1), second.reshape(-1), normalizer=100)
    np.testing.assert_allclose(flat, ((first - second) ** 2).sum() / 100, rtol=1e-13)


# -- dtypes, layouts, backends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalizer", [None, 3, 2.5, np.float64(2.5), np.int64(3), np.array(2.5), np.array(3)])
@pytest.mark.parametrize("form", ["none", "bool", "float"])
@pytest.mark.parametrize("kind", LOSSES)
def test_the_dtype_stays_and_the_loss_is_0d(kind: str, form: str, normalizer: Any, dtype: Any) -> None:
    first, second = sample(kind, dtype=dtype)
    loss, grad = loss_of(kind)(first, second, draw_mask(form, (4, 3), 1, dtype), normalizer)
    assert type(loss) is np.ndarray
    assert (loss.shape, loss.dtype) == ((), dtype)
    assert (grad.shape, grad.dtype) == (first.shape, dtype)


def test_float32_losses_of_many_positions_are_added_up_in_float64() -> None:
    n = 2**18  # 1/n is exact: nothing but the sum can go wrong
    y = np.ones((n, 1), np.float32)
    y[0] = 2.0**12  # its square takes in no 1 in float32
    loss, _ = engine.mse(y, np.zeros_like(y))
    assert loss == np.float32((2.0**24 + n - 1) / n)


@pytest.mark.parametrize("kind", LOSSES)
def test_arguments_are_left_alone_and_any_layout_is_taken(kind: str) -> None:
    first, second = sample(kind)
    mask = draw_mask("bool", (4, 3), 2)
    wanted = loss_of(kind)(first, second, mask)
    strided = np.repeat(first, 2, axis=2)[:, :, ::2]
    strided.flags.writeable = False
    found = loss_of(kind)(strided, np.asfortranarray(second), np.asfortranarray(mask))
    assert found[0] == wanted[0]
    np.testing.assert_array_equal(found[1], wanted[1])
    assert not np.shares_memory(found[1], strided)
    np.testing.assert_array_equal(strided, first)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_targets_may_be_any_integers(dtype: Any) -> None:
    first, second = sample("cross_entropy")
    assert engine.cross_entropy(first, second.astype(dtype))[0] == engine.cross_entropy(first, second)[0]


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("form", ["none", "bool", "float"])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_gives_the_same_and_waits_for_nothing(
    name: str, kind: str, form: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = use_backend(name, monkeypatch)
    first, second = sample(kind)
    mask = draw_mask(form, (4, 3), 2)
    wanted = loss_of(kind)(first, second, mask, 5)

    def move(value: Any) -> Any:
        return None if value is None else backend.asarray(value)

    targets = second if kind == "cross_entropy" and where == "host" else move(second)
    x, m, n = move(first), mask if where == "host" else move(mask), 5 if where == "host" else move(5)
    counts.reset()
    loss, grad = loss_of(kind)(x, targets, m, n)
    assert counts.waits == 0
    assert backend.is_array(loss)
    assert loss.ndim == 0
    np.testing.assert_allclose(backend.to_host(loss), wanted[0], rtol=1e-13)
    np.testing.assert_allclose(backend.to_host(grad), wanted[1], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_unchecked_targets_on_a_device_cannot_wrap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of range at a valid position: NaN in the loss and there, nothing elsewhere.  Masked: nothing at all."""
    backend = use_backend(name, monkeypatch)
    first, second = sample("cross_entropy")
    clean = engine.cross_entropy(first, second)[1]
    bad = second.copy()
    bad[1, 2], bad[2, 0] = -1, 5
    loss, grad = engine.cross_entropy(backend.asarray(first), backend.asarray(bad))
    assert np.isnan(backend.to_host(loss))
    found = backend.to_host(grad)
    assert np.isnan(found[1, 2]).all()
    assert np.isnan(found[2, 0]).all()
    keep = np.ones((4, 3), bool)
    keep[1, 2] = keep[2, 0] = False
    np.testing.assert_allclose(found[keep], clean[keep], rtol=1e-12)
    loss, grad = engine.cross_entropy(backend.asarray(first), backend.asarray(bad), backend.asarray(keep))
    np.testing.assert_allclose(backend.to_host(loss), engine.cross_entropy(first, second, keep)[0], rtol=1e-13)
    assert not backend.to_host(grad)[~keep].any()


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_host_targets_with_padding_and_a_device_mask(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = use_backend(name, monkeypatch)
    first, second = sample("cross_entropy")
    mask = np.ones((4, 3), bool)
    mask[3] = False
    second[3] = -100
    loss, _ = engine.cross_entropy(backend.asarray(first), second, backend.asarray(mask))
    np.testing.assert_allclose(backend.to_host(loss), engine.cross_entropy(first[:3], second[:3])[0], rtol=1e-13)
    second[0, 1] = 9
    with refused(InputError, "targets: expected class indices in 0..4, got 9 at index (0, 1)"):
        engine.cross_entropy(backend.asarray(first), second, backend.asarray(mask))


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_a_host_array_is_no_prediction_target_beside_a_device_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = use_backend(name, monkeypatch)
    first, second = sample("mse")
    with refused(InputTypeError, "target: expected a ", " array, got a numpy.ndarray"):
        engine.mse(backend.asarray(first), second)


# -- refusals ---------------------------------------------------------------------------------------------------------


def good() -> tuple[Any, Any]:
    return sample("cross_entropy", dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "error", "parts"),
    [
        (lambda x, t: (x.tolist(), t), InputTypeError, ["logits: expected an array of one of the backends", "a list"]),
        (lambda x, t: (t, t), InputTypeError, ["logits: expected dtype float32 or float64, got dtype int64"]),
        (lambda x, t: (x.astype(complex), t), InputTypeError, ["logits: ", "complex128"]),
        (lambda x, t: (x[..., :0], t), InputError, ["logits: expected shape (..., V) with V >= 1", "(4, 3, 0)"]),
        (lambda x, t: (x[0, 0, 0, ...], t), InputError, ["logits: ", "got shape ()"]),
        (lambda x, t: (x, t.tolist()), InputTypeError, ["targets: expected an integer array", "got a list"]),
        (lambda x, t: (x, t.astype(float)), InputTypeError, ["targets: expected an integer dtype, got dtype float64"]),
        (lambda x, t: (x, t > 2), InputTypeError, ["targets: expected an integer dtype, got dtype bool"]),
        (lambda x, t: (x, t[..., None]), InputError, ["targets: expected shape (4, 3)", "got shape (4, 3, 1)"]),
        (lambda x, t: (x, t.T), InputError, ["targets: expected shape (4, 3)", "got shape (3, 4)"]),
        (lambda x, t: (x, t * 0 - 1), InputError, ["targets: expected class indices in 0..4, got -1 at index (0, 0)"]),
        (lambda x, t: (x, t, t > 9, 0, 1), TypeError, ["positional"]),
        (lambda x, t: (x, t, t), InputTypeError, ["mask: expected dtype bool or float32, got dtype int64"]),
        (lambda x, t: (x, t, t + 0.5), InputTypeError, ["mask: expected dtype bool or float32, got dtype float64"]),
        (lambda x, t: (x, t, [True]), InputTypeError, ["mask: expected None or a numpy", "got a list"]),
        (lambda x, t: (x, t, t[0] > 1), InputError, ["mask: expected the targets' shape (4, 3), got shape (3,)"]),
        (lambda x, t: (x, t, -(x[..., 0] ** 2)), InputError, ["mask: expected finite weights >= 0, got -", "(0, 0)"]),
        (lambda x, t: (x, t, x[..., 0] * np.nan), InputError, ["mask: expected finite weights >= 0, got nan at"]),
        (lambda x, t: (x, t, None, -1), InputError, ["normalizer: expected a number >= 0", "got -1"]),
        (lambda x, t: (x, t, None, math.nan), InputError, ["normalizer: expected a number >= 0", "got nan"]),
        (lambda x, t: (x, t, None, math.inf), InputError, ["normalizer: ", "got inf"]),
        (lambda x, t: (x, t, None, True), InputTypeError, ["normalizer: ", "got a bool"]),
        (lambda x, t: (x, t, None, "12"), InputTypeError, ["normalizer: ", "got a str"]),
        (lambda x, t: (x, t, None, np.ones(2)), InputTypeError, ["normalizer: ", "ndarray of shape (2,)"]),
    ],
)
def test_cross_entropy_refuses(change: Any, error: type[Exception], parts: list[str]) -> None:
    with refused(error, *parts):
        engine.cross_entropy(*change(*good()))


def test_a_target_out_of_range_is_named_and_masked_ones_are_not_looked_at() -> None:
    first, second = good()
    second[2, 1], second[0, 2] = 5, -100
    mask = np.ones((4, 3), bool)
    mask[0, 2] = False
    with refused(InputError, "targets: expected class indices in 0..4, got 5 at index (2, 1)", "mask 0"):
        engine.cross_entropy(first, second, mask)
    with refused(InputError, "targets: ", "got -100 at index (0, 2)", "mask it"):
        engine.cross_entropy(first, second)


@pytest.mark.parametrize(
    ("change", "error", "parts"),
    [
        (lambda y, t: (y.tolist(), t), InputTypeError, ["prediction: expected an array of one of the backends"]),
        (lambda y, t: (y.astype(int), t), InputTypeError, ["prediction: expected dtype float32 or float64"]),
        (lambda y, t: (y[0, 0, 0, ...], t), InputError, ["prediction: expected at least one axis, got shape ()"]),
        (lambda y, t: (y, t.astype(np.float64)), InputTypeError, ["target: expected dtype float32, got dtype float64"]),
        (lambda y, t: (y, t.astype(int)), InputTypeError, ["target: expected dtype float32, got dtype int64"]),
        (lambda y, t: (y, t.tolist()), InputTypeError, ["target: expected a numpy array, got a list"]),
        (lambda y, t: (y, t[..., :1]), InputError, ["target: expected the prediction's shape (4, 3, 5)", "(4, 3, 1)"]),
        (lambda y, t: (y, t, y[:, :, 0]), InputError, ["mask: expected finite weights >= 0, got "]),
        (lambda y, t: (y, t, np.ones(3, bool)), InputError, ["mask: expected a leading part of the target's shape"]),
        (lambda y, t: (y, t, np.ones((), bool)), InputError, ["mask: expected a leading part", "got shape ()"]),
        (lambda y, t: (y, t, np.ones((4, 3), int)), InputTypeError, ["mask: expected dtype bool or float32"]),
        (lambda y, t: (y, t, None, None.__class__), InputTypeError, ["normalizer: ", "got a type"]),
    ],
)
def test_mse_refuses(change: Any, error: type[Exception], parts: list[str]) -> None:
    with refused(error, *parts):
        engine.mse(*change(*sample("mse", dtype=np.float32)))
