"""Activation: gradients by four methods, PyTorch's numbers, padded positions, extremes, every backend, refusals."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import distance
from fake_cupy import BACKENDS, use_backend

import engine
from engine.layers import from_config
from engine.layers.activation import ACTIVATION_KINDS

T, B, F = 5, 4, 3
LENGTHS = [5, 0, 2, 4]
F64: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0.3, 2.0, size=shape)


@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "directional"])
@pytest.mark.parametrize(("lengths", "batch_first"), [(None, False), (LENGTHS, True)])
def test_gradients(kind: str, method: str, lengths: Any, batch_first: bool) -> None:
    x = draw(B, T, F) if batch_first else draw(T, B, F)
    layer = engine.Activation(kind, batch_first=batch_first, **F64)
    report = engine.gradcheck(layer, x, lengths=lengths, method=method)
    assert report.passed, report
    assert {row.name for row in report.rows} == {"x"}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
def test_the_numbers_are_those_of_pytorch(kind: str, dtype: str, torch: ModuleType) -> None:
    x, dy = draw(T, B, F).astype(dtype), draw(T, B, F, seed=1).astype(dtype)
    layer = engine.Activation(kind, dtype=dtype, backend="numpy:reference")
    y, _, tape = layer.forward(x)
    leaf = torch.tensor(x, requires_grad=True)
    theirs = torch.softmax(leaf, -1) if kind == "softmax" else getattr(torch, kind)(leaf)
    theirs.backward(torch.tensor(dy))
    kept = y.copy()
    y[...] = 7.0  # the tape has its own
    dx, _ = layer.backward(tape, dy)
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    assert distance(kept, theirs.detach().numpy()) <= tolerance
    assert distance(dx, leaf.grad.numpy()) <= tolerance


@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
def test_pads_do_not_count(kind: str) -> None:
    layer, x, valid = engine.Activation(kind, **F64), draw(T, B, F), np.arange(T)[:, None] < LENGTHS
    x[~valid] = np.nan
    y, _, tape = layer.forward(x, lengths=LENGTHS)
    dx, _ = layer.backward(tape, np.where(valid[..., None], draw(T, B, F, seed=1), np.nan))
    assert (y[~valid] == 0).all()
    assert (dx[~valid] == 0).all()
    assert np.array_equal(y[valid], layer.predict(x[valid])[0])
    assert np.isfinite(dx).all()


def test_extremes() -> None:
    x = np.array([[-1e308, -800.0, 0.0, 800.0, 1e308]])
    want: dict[str, list[float]] = {
        "tanh": [-1, -1, 0, 1, 1],
        "relu": [0, 0, 0, 800.0, 1e308],
        "sigmoid": [0, 0, 0.5, 1, 1],
        "softmax": [0, 0, 0, 0, 1],
    }
    for kind, values in want.items():
        layer = engine.Activation(kind, **F64)
        y, _, tape = layer.forward(x)
        np.testing.assert_allclose(y[0], values, atol=1e-300)
        assert np.isfinite(layer.backward(tape, np.ones_like(x))[0]).all()
    assert engine.Activation("softmax", **F64).predict(np.zeros((2, 0)))[0].shape == (2, 0)


@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
def test_every_backend(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    backend: Any = name if name == "torch" else use_backend(name, monkeypatch)
    x, dy = draw(T, B, F), draw(T, B, F, seed=1)

    def everything(layer: Any, x: Any, dy: Any) -> list[Any]:
        y, _, tape = layer.forward(x, lengths=LENGTHS)
        return [y, layer.backward(tape, dy)[0]]

    layer = engine.Activation(kind, **F64).to(backend=backend)
    asarray = layer.backend.asarray
    for one, other in zip(
        everything(layer, asarray(x), asarray(dy)), everything(engine.Activation(kind, **F64), x, dy), strict=True
    ):
        assert distance(layer.backend.to_host(one), other) <= 1e-14


def test_between_two_dense_layers_it_learns_what_one_cannot() -> None:
    """Exclusive or; the model is described, built again, and takes single steps."""
    layers = engine.Linear(2, 8, **F64), engine.Activation("tanh", **F64), engine.Linear(8, 2, **F64)
    model = engine.Sequential(*layers, seed=1)
    x, targets = np.array([[[0.0, 0], [0, 1], [1, 0], [1, 1]]]), np.array([[0, 1, 1, 0]])
    adam = engine.Adam(model, lr=0.05)
    for _ in range(150):
        y, _, tape = model.forward(x)
        loss, dy = engine.cross_entropy(y, targets)
        model.zero_grad()
        model.backward(tape, dy)
        adam.step()
    assert loss < 0.05
    again: Any = from_config(model.config(), **F64)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(x)[0], model.predict(x)[0])
    np.testing.assert_allclose(model.stepper(batch=4)(x[0]), model.predict(x)[0][0], rtol=1e-12)
    assert "Activation('tanh'" in repr(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine.Activation("gelu"), "kind: expected one of"),
        (lambda: engine.Activation("relu").predict(np.zeros(3, "f")), "x: expected shape (T, B, F) or (B, F), got"),
        (lambda: engine.Activation("relu").predict(np.zeros((2, 3))), "x: expected dtype float32, got dtype float64"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(engine.EngineError) as caught:
        make()
    assert str(caught.value).startswith(message)
