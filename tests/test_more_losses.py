"""Label smoothing, binary cross-entropy, quantiles, sampled softmax: values, gradients, masks, every backend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import distance
from fake_cupy import BACKENDS, use_backend

import engine
from engine.losses import binary_cross_entropy, quantile, sampled, sampled_softmax

T, B, D, H, V = 5, 3, 2, 4, 6
MASK = np.arange(T)[:, None] < np.array([5, 0, 3])
LEVELS = (0.1, 0.5, 0.8)


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def ids(*shape: int, top: int = V) -> Any:
    return np.random.default_rng(1).integers(0, top, shape)


def smoothed(z: Any, mask: Any = MASK) -> Any:
    return engine.cross_entropy(z, ids(T, B), mask, label_smoothing=0.3)


def binary(z: Any, mask: Any = MASK) -> Any:
    backend = engine.backend.backend_of(z, "z")
    return binary_cross_entropy(z, backend.asarray(np.abs(np.sin(draw(T, B, V, seed=3))), dtype=z.dtype), mask)


def banded(z: Any, mask: Any = MASK) -> Any:
    backend = engine.backend.backend_of(z, "z")
    return quantile(z, backend.asarray(draw(T, B, 2, seed=4), dtype=z.dtype), LEVELS, mask)


LOSSES: list[Callable[..., Any]] = [smoothed, binary, banded]  # each of (T, B, 6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_the_gradient_is_the_derivative(loss: Callable[..., Any], method: str) -> None:
    report = engine.check_gradients(loss, lambda dout, grad: (dout * grad,), [draw(T, B, V)], method=method)
    assert report.passed, report


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_positions_are_not_looked_at(loss: Callable[..., Any]) -> None:
    z = draw(T, B, V)
    want, gradient = loss(z)
    z[~MASK] = np.nan
    got, dirty = loss(z)
    assert got == want
    np.testing.assert_array_equal(dirty, gradient)
    assert (dirty[~MASK] == 0).all()
    nothing, zeros = loss(z, np.zeros((T, B), bool))
    assert nothing == 0
    assert (zeros == 0).all()
    assert np.isnan(loss(z, None)[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
def test_every_backend(dtype: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    backend: Any = engine.get_backend(name) if name == "torch" else use_backend(name, monkeypatch)
    z, room = draw(T, B, V).astype(dtype), 1e-14 if dtype == "float64" else 1e-6
    pairs = [(loss(backend.asarray(z)), loss(z)) for loss in LOSSES]
    given = [draw(*shape, seed=6).astype(dtype) for shape in ((T, B, H), (V, H), (V,))]
    theirs, ours = (
        sampled_softmax(h, w, b, ids(T, B), 40, mask=MASK, seed=3) for h, w, b in (map(backend.asarray, given), given)
    )
    pairs.append(((theirs[0], *theirs[1]), (ours[0], *ours[1])))
    for found, wanted in pairs:
        for one, other in zip(found, wanted, strict=True):
            assert backend.dtype_of(one) == np.asarray(other).dtype
            assert distance(backend.to_host(one), other) <= room


@pytest.mark.oracle
def test_they_are_pytorchs(torch: ModuleType) -> None:
    functional = torch.nn.functional
    z, target, t = draw(T, B, V), ids(T, B), np.abs(np.sin(draw(T, B, V, seed=3)))
    leaf = torch.tensor(z, requires_grad=True)
    wanted = functional.cross_entropy(leaf.reshape(-1, V), torch.tensor(target).reshape(-1), label_smoothing=0.3)
    found = smoothed(z, None)
    wanted.backward()
    assert distance(found[0], wanted.item()) <= 1e-14
    np.testing.assert_allclose(found[1], leaf.grad.numpy(), rtol=1e-12, atol=1e-16)
    leaf.grad = None
    wanted = functional.binary_cross_entropy_with_logits(leaf, torch.tensor(t))
    found = binary(z, None)
    wanted.backward()
    assert distance(found[0], wanted.item()) <= 1e-14
    np.testing.assert_allclose(found[1], leaf.grad.numpy(), rtol=1e-12, atol=1e-16)


def test_extremes() -> None:
    z = np.array([[1e4, -1e4, 0.0]])
    loss, gradient = engine.cross_entropy(z, np.array([1]), label_smoothing=0.1)
    np.testing.assert_allclose(loss, 1e4 - (0.9 * -1e4 + 0.1 * 0), rtol=1e-14)
    np.testing.assert_allclose(gradient, [[1 - 0.1 / 3, -0.9 - 0.1 / 3, -0.1 / 3]], rtol=1e-14)
    assert distance(engine.cross_entropy(z, np.array([1]), label_smoothing=1.0)[0], 1e4) <= 1e-14
    loss, gradient = binary_cross_entropy(z, np.array([[0.0, 1.0, 1.0]]))
    np.testing.assert_allclose(loss * 3, 2e4 + math.log(2), rtol=1e-15)
    np.testing.assert_allclose(gradient * 3, [[1, -1, -0.5]])
    assert binary_cross_entropy(-z, np.array([[0.0, 1.0, 0.0]]))[0] * 3 == pytest.approx(math.log(2), rel=1e-15)


def test_the_quantile_loss_is_lowest_at_the_quantile() -> None:
    """On 2,000 numbers of a lopsided distribution; and a Linear's flat output is the same as an axis of levels."""
    sample = np.sort(np.random.default_rng(2).gamma(2.0, size=2000))
    guesses = np.linspace(sample[0], sample[-1], 4001)
    for level in LEVELS:
        losses = [quantile(np.full((2000, 1), guess), sample, [level])[0] for guess in guesses[::10]]
        best = guesses[::10][int(np.argmin(losses))]
        assert abs(best - np.quantile(sample, level)) <= 0.02
    flat, target = draw(T, B, D * 3), draw(T, B, D, seed=1)
    one, other = quantile(flat, target, LEVELS), quantile(flat.reshape(T, B, D, 3), target, LEVELS)
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1].reshape(T, B, D, 3), other[1])
    equal = quantile(target[..., None].repeat(3, -1), target, LEVELS)
    assert equal[0] == 0
    assert (equal[1] == 0).all()


# -- sampled softmax ---------------------------------------------------------------------------------------------------


def dense(hidden: Any, weight: Any, bias: Any, **options: Any) -> tuple[Any, Any]:
    """Sampled softmax with gradients in the shapes of what was given."""
    loss, found = sampled_softmax(hidden, weight, bias, ids(T, B), **options)
    dweight, dbias = np.zeros_like(weight), np.zeros_like(bias)
    dweight[found.rows], dbias[found.rows] = found.weight, found.bias
    return loss, (found.hidden, dweight, dbias)


@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_gradients_of_the_sampled_softmax(method: str) -> None:
    report = engine.check_gradients(
        lambda h, w, b: dense(h, w, b, samples=5, mask=MASK, seed=2, call=4),
        lambda dout, grads: tuple(dout * grad for grad in grads),
        [draw(T, B, H), draw(V, H, seed=1), draw(V, seed=2)],
        method=method,
    )
    assert report.passed, report


@pytest.mark.parametrize("proposal", ["log_uniform", np.array([3.0, 1.0, 2.0, 5.0])])
def test_the_mean_over_all_draws_of_the_estimated_sum_is_the_full_sum(
    proposal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly: every draw of 3 out of 4 classes is made, and weighs by its probability."""
    small, S = 4, 3
    weight, bias, hidden, target = draw(small, H), draw(small, seed=1), draw(1, H, seed=2), np.array([2])
    z = (weight @ hidden[0]) + bias
    if isinstance(proposal, str):
        q = np.log((np.arange(small) + 2) / (np.arange(small) + 1)) / math.log(small + 1)
    else:
        q = proposal / proposal.sum()
    real, estimate, seen = sampled.draw, 0.0, set()
    for classes in itertools.product(range(small), repeat=S):
        chosen = np.array(classes)
        monkeypatch.setattr(sampled, "draw", lambda *args, chosen=chosen: (chosen, S * q[chosen]))
        loss = sampled_softmax(hidden, weight, bias, target, S)[0]
        estimate += np.prod(q[chosen]) * np.exp(loss + z[2])
    assert distance(estimate, np.exp(z).sum()) <= 1e-12
    counts = np.zeros(small)
    for call in range(40):
        drawn, expected = real(small, 500, proposal, 7, call)
        np.testing.assert_allclose(expected, 500 * q[drawn], rtol=1e-13)
        counts += np.bincount(drawn, minlength=small)
        seen.add(tuple(drawn[:8]))
    np.testing.assert_allclose(counts / counts.sum(), q, atol=0.01)
    assert len(seen) > 30  # each call draws anew


def test_many_samples_come_to_the_full_softmax() -> None:
    hidden, weight, bias = draw(T, B, H), draw(V, H, seed=1), draw(V, seed=2)
    full, dz = engine.cross_entropy(hidden @ weight.T + bias, ids(T, B), MASK)
    loss, (dhidden, dweight, dbias) = dense(hidden, weight, bias, samples=200_000, mask=MASK)
    assert distance(loss, full) <= 0.01
    assert distance(dhidden, dz @ weight) <= 0.02
    assert distance(dweight, np.einsum("tbv,tbh->vh", dz, hidden)) <= 0.02
    assert distance(dbias, dz.sum(axis=(0, 1))) <= 0.02
    assert sampled_softmax(hidden, weight, None, ids(T, B), 10, mask=np.zeros((T, B), bool))[0] == 0
    large = sampled_softmax(1e4 * hidden, weight, bias, ids(T, B), 10)
    assert np.isfinite(large[0])
    assert np.isfinite(large[1].weight).all()


# -- bad input ---------------------------------------------------------------------------------------------------------

Z, Y = np.zeros((2, 3)), np.zeros(2, int)
ANY: Any = 0.5  # no sequence


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine.cross_entropy(Z, Y, label_smoothing=1.5), "label_smoothing: expected a probability in 0..1"),
        (lambda: binary_cross_entropy(Z, Z + 2), "targets: expected probabilities in 0..1, got 2.0 at index (0, 0)"),
        (lambda: binary_cross_entropy(Z, Z[:, :1]), "targets: expected the logits' shape (2, 3), got shape (2, 1)"),
        (lambda: quantile(Z, Y + 0.0, [0.5]), "prediction: expected shape (2, 1) or (2,), 1 levels of a target of"),
        (lambda: quantile(Z, Y + 0.0, [0.5, 0.2, 0.9]), "levels: expected rising numbers, got 0.5, 0.2, 0.9"),
        (lambda: quantile(Z, Y + 0.0, [0.5, 1.0]), "levels[1]: expected a fraction > 0 and < 1, got 1.0"),
        (lambda: quantile(Z, Y + 0.0, ANY), "levels: expected a sequence of numbers such as (0.1, 0.5, 0.9), got 0.5"),
        (lambda: sampled_softmax(Z, Z, None, Y + 2), "targets: expected class indices in 0..1, got 2 at index (0,)"),
        (lambda: sampled_softmax(Z, Z.T, None, Y), "weight: expected shape (any, 3) (V, H), got shape (3, 2)"),
        (lambda: sampled_softmax(Z, Z, None, Y, 0), "samples: expected an integer >= 1, got 0"),
        (
            lambda: sampled_softmax(Z, Z, None, Y, proposal="zipf"),
            "proposal: expected one of 'log_uniform', got 'zipf'",
        ),
        (lambda: sampled_softmax(Z, Z, None, Y, proposal=np.array([1, 0])), "proposal: expected finite numbers > 0"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
