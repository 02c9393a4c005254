"""The curvature of losses, the largest eigenvalues of a Hessian, and the Hessian beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hvp_problem import BACKEND, LENGTHS, Arrays, B, D, H, T, floats, linear, recurrent

import engine
from engine.losses import curvature_of_cross_entropy, curvature_of_mse
from engine.second_derivatives import largest_eigenvalues

# -- the loss's own second derivative ----------------------------------------------------------------------------------


def losses(rng: np.random.Generator) -> dict[str, tuple[Any, Any]]:
    target, ids, mask = rng.normal(size=(T, B, 4)), rng.integers(0, 4, (T, B)), rng.random((T, B)) < 0.6
    weights = rng.random((T, B))
    return {
        "mse": (lambda y: engine.mse(y, target), lambda y: curvature_of_mse(y)),
        "mse, weights": (lambda y: engine.mse(y, target, weights, 3.0), lambda y: curvature_of_mse(y, weights, 3.0)),
        "entropy": (lambda y: engine.cross_entropy(y, ids), lambda y: curvature_of_cross_entropy(y)),
        "entropy, mask": (
            lambda y: engine.cross_entropy(y, ids, mask, label_smoothing=0.2),
            lambda y: curvature_of_cross_entropy(y, mask),
        ),
    }


@pytest.mark.parametrize("name", list(losses(np.random.default_rng(0))))
def test_the_curvature_of_a_loss_is_that_of_its_gradient(name: str) -> None:
    rng = np.random.default_rng(1)
    loss, curvature = losses(rng)[name]
    y, v, step = rng.normal(size=(T, B, 4)), rng.normal(size=(T, B, 4)), 1e-5
    wanted = (loss(y + step * v)[1] - loss(y - step * v)[1]) / (2 * step)
    found = curvature(y)
    np.testing.assert_allclose(found(v) if callable(found) else found * v, wanted, rtol=0, atol=1e-10)


def test_the_largest_eigenvalues_are_those_of_the_explicit_hessian() -> None:
    gru = engine.GRU(D, 2, dtype="float64", backend=BACKEND, seed=1)
    model = engine.Sequential(gru, linear(2, 4))
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 4, (T, B))
    y, _, tape = model.forward(floats(3, T, B, D), lengths=LENGTHS)
    dy, bend = engine.cross_entropy(y, ids)[1], curvature_of_cross_entropy(y)

    def product(direction: Arrays) -> Arrays:
        return engine.hvp(model, tape, dy, direction, bend)

    names, sizes = list(model.params), [value.size for value in model.params.values()]
    rows = []
    for unit in np.eye(sum(sizes)):
        parts = np.split(unit, np.cumsum(sizes)[:-1])
        shaped = {n: part.reshape(model.params[n].shape) for n, part in zip(names, parts, strict=True)}
        rows.append(np.concatenate([product(shaped)[n].reshape(-1) for n in names]))
    hessian = np.array(rows)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-14)
    values, vectors = np.linalg.eigh(hessian)
    found = largest_eigenvalues(product, model.params, count=3, steps=200, tol=1e-9)
    np.testing.assert_allclose(found.values, values[::-1][:3], rtol=0, atol=1e-9)
    assert found.lowest >= values[0] - 1e-9
    assert found.products < 100
    assert (found.residuals <= 1e-9 * values[-1]).all()
    top = np.concatenate([found.vectors[0][name].reshape(-1) for name in names])
    assert abs(abs(top @ vectors[:, -1]) - 1) < 1e-9


def test_lanczos_stops_where_nothing_is_left() -> None:
    diagonal = np.array([3.0, 3.0, -1.0, 3.0, 0.5, 0.5])  # an eigenvalue that stands several times counts once
    found = largest_eigenvalues(lambda v: {"w": diagonal * v["w"]}, {"w": np.zeros(6)}, count=5)
    np.testing.assert_allclose(found.values, [3, 0.5, -1], rtol=0, atol=1e-12)
    assert (found.lowest, found.products) == (found.values[2], 3)
    zero = largest_eigenvalues(lambda v: {"w": 0 * v["w"]}, {"w": np.zeros(3)}, count=2)
    assert (zero.values.tolist(), zero.residuals.tolist()) == ([0], [0])


def test_the_study_tells_a_rate_that_diverges_from_one_that_does_not() -> None:
    from benchmarks.studies import hessian

    runs = [hessian.trained(rate, steps=60) for rate in (0.3, 0.8)]
    assert [run.diverged is None for run in runs] == [True, False]
    assert runs[0].steps == [0, 50]
    assert runs[0].largest[0] == runs[1].largest[0] > 2 / 0.8
    assert runs[0].loss < 0.2
    figure = hessian.picture(runs)
    assert len(figure.axes[0].lines) == 2  # the run that diverged has none
    assert [len(row.split("|")) for row in hessian.rows(runs)] == [8, 8, 8, 8]


# -- against PyTorch ---------------------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh"])
def test_pytorchs_double_backward_gives_the_same(name: str) -> None:
    import torch

    def step(x: Any, h: Any, c: Any, p: Any, end: str) -> tuple[Any, Any]:
        """One step as PyTorch's documentation writes it; its compiled LSTM has no second derivative."""
        a, b = x @ p["weight_ih" + end].T + p["bias_ih" + end], h @ p["weight_hh" + end].T + p["bias_hh" + end]
        if name == "rnn_tanh":
            return torch.tanh(a + b), c
        if name == "gru":
            (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
            r, z = torch.sigmoid(ar + br), torch.sigmoid(az + bz)
            return (1 - z) * torch.tanh(an + r * bn) + z * h, c
        i, f, g, o = (a + b).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def run(x: Any, p: Any) -> Any:
        for layer in range(2):
            outputs = []
            for end, order in ((f"_l{layer}", range(T)), (f"_l{layer}_reverse", reversed(range(T)))):
                h = c = torch.zeros(B, H, dtype=torch.float64)
                made: list[Any] = [None] * T
                for t in order:
                    h, c = step(x[t], h, c, p, end)
                    made[t] = h
                outputs.append(torch.stack(made))
            x = torch.cat(outputs, 2)
        return x

    model = recurrent(name, num_layers=2, bidirectional=True)
    ids = np.random.default_rng(1).integers(0, 2 * H, (T, B))
    x = floats(2, T, B, D)
    v = {n: floats(3, *value.shape) for n, value in model.params.items()}
    y, _, tape = model.forward(x)
    found = engine.hvp(model, tape, engine.cross_entropy(y, ids)[1], v, curvature_of_cross_entropy(y))
    p = {n: torch.tensor(value, requires_grad=True) for n, value in model.params.items()}
    loss = torch.nn.functional.cross_entropy(run(torch.tensor(x), p).reshape(T * B, -1), torch.tensor(ids).reshape(-1))
    grads = torch.autograd.grad(loss, list(p.values()), create_graph=True)
    inner = torch.stack([(grad * torch.tensor(v[n])).sum() for n, grad in zip(p, grads, strict=True)]).sum()
    for n, wanted in zip(p, torch.autograd.grad(inner, list(p.values())), strict=True):
        np.testing.assert_allclose(found[n], wanted.numpy(), rtol=0, atol=1e-13)
