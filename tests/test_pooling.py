"""Pooling over time: gradients, PyTorch's numbers, rows without steps, two directions, every backend, in a model."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import distance
from fake_cupy import BACKENDS, use_backend

import engine
from engine.layers import from_config

T, B, H = 5, 4, 6
LENGTHS = [5, 0, 2, 1]
F64: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}
KINDS = [("last", 1), ("last", 2), ("mean", 1), ("max", 1), ("attention", 1)]


def build(kind: str, directions: int, **options: Any) -> Any:
    return engine.Pool(kind, H, directions=directions, **{**F64, "seed": 3, **options})


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def row_by_row(kind: str, directions: int, x: Any, lengths: Any, weight: Any) -> Any:
    """The definition, on the valid steps of each row alone."""
    found = np.zeros((B, H))
    for b, n in enumerate(lengths):
        row = x[:n, b]
        if n == 0:
            continue
        if kind == "last":
            half = H // directions
            found[b] = np.concatenate([row[-1, :half], row[0, half:]])
        elif kind == "attention":
            a = np.exp(row @ weight)
            found[b] = (a / a.sum()) @ row
        else:
            found[b] = row.mean(axis=0) if kind == "mean" else row.max(axis=0)
    return found


@pytest.mark.parametrize(("kind", "directions"), KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_the_definition_and_pads_are_not_looked_at(kind: str, directions: int, batch_first: bool) -> None:
    layer, x, dy = build(kind, directions, batch_first=batch_first), draw(T, B, H), draw(B, H, seed=1)
    pads = np.arange(T)[:, None] >= np.array(LENGTHS)
    x[pads] = np.nan
    given = x.swapaxes(0, 1) if batch_first else x
    y, state, tape = layer.forward(given, lengths=LENGTHS)
    assert state is None
    assert distance(y, row_by_row(kind, directions, x, LENGTHS, layer.params.get("weight"))) <= 1e-14
    dx, _ = layer.backward(tape, dy)
    dx = dx.swapaxes(0, 1) if batch_first else dx
    assert (dx[pads] == 0).all()
    assert np.isfinite(dx).all()
    np.testing.assert_array_equal(layer.predict(given, lengths=LENGTHS)[0], y)
    full = np.nan_to_num(given)
    wanted = row_by_row(kind, directions, np.nan_to_num(x), [T] * B, layer.params.get("weight"))
    assert distance(layer.predict(full)[0], wanted) <= 1e-14


@pytest.mark.parametrize(("kind", "directions"), KINDS)
@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "directional"])
def test_gradients(kind: str, directions: int, method: str) -> None:
    report = engine.gradcheck(build(kind, directions, batch_first=True), draw(B, T, H), lengths=LENGTHS, method=method)
    assert report.passed, report
    assert engine.gradcheck(build(kind, directions), draw(1, 1, H), method=method).passed


@pytest.mark.parametrize("method", ["central", "complex", "adjoint"])
def test_gradients_of_a_model_that_reads_to_the_end(method: str) -> None:
    """Tokens, a bidirectional trunk, a pool, and layers on (B, H) that get no lengths."""
    model = engine.Sequential(
        engine.Embedding(9, 2, **F64),
        engine.GRU(2, 3, bidirectional=True, **F64),
        engine.Pool(directions=2, **F64),
        engine.Sequential(engine.LayerNorm(6, **F64), engine.Dropout(0.3, **F64), engine.Linear(6, 4, **F64)),
    )
    ids = np.random.default_rng(0).integers(0, 9, (T, B))
    report = engine.gradcheck(model, ids, lengths=LENGTHS, method=method)
    assert report.passed, report
    y, _, tape = model.forward(ids, lengths=LENGTHS)
    assert y.shape == (B, 4)
    assert model.backward(tape, y)[0] is None
    assert "3.2  Linear(6, 4, dtype='float64', backend='numpy:reference')" in str(model.summary())
    assert "(B, 6) -> (B, 4)" in repr(model)
    again: Any = from_config(model.config(), **F64)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(ids, lengths=LENGTHS)[0], model.predict(ids, lengths=LENGTHS)[0])


def test_last_of_two_directions_is_the_final_state() -> None:
    gru = engine.GRU(3, 4, bidirectional=True, **F64)
    y, state, _ = gru.forward(draw(T, B, 3), lengths=LENGTHS)
    found = engine.Pool(directions=2, **F64).predict(y, lengths=LENGTHS)[0]
    np.testing.assert_array_equal(found[[0, 2, 3]], np.concatenate([*state], axis=1)[[0, 2, 3]])


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["attention", "max"])
def test_it_is_what_autograd_gives(torch: ModuleType, kind: str) -> None:
    x, dy, layer = torch.tensor(draw(T, B, H), requires_grad=True), draw(B, H, seed=1), build(kind, 1)
    weight = torch.tensor(layer.params.get("weight", np.zeros(H)), requires_grad=True)
    if kind == "max":
        theirs = x.amax(dim=0)
    else:
        theirs = torch.einsum("tb,tbh->bh", torch.softmax(x @ weight, dim=0), x)
    theirs.backward(torch.tensor(dy))
    y, _, tape = layer.forward(draw(T, B, H))
    dx, _ = layer.backward(tape, dy)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-12, atol=1e-14)
    if kind == "attention":
        np.testing.assert_allclose(layer.grads["weight"], weight.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
def test_every_backend(dtype: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    backend: Any = name if name == "torch" else use_backend(name, monkeypatch)
    x, dy = draw(T, B, H).astype(dtype), draw(B, H, seed=1).astype(dtype)
    for kind, directions in KINDS:
        host = build(kind, directions, dtype=dtype)
        y, _, tape = host.forward(x, lengths=LENGTHS)
        wanted = [y, host.backward(tape, dy)[0], *host.grads.values()]
        layer = build(kind, directions, dtype=dtype).to(backend=backend)
        y, _, tape = layer.forward(layer.backend.asarray(x), lengths=LENGTHS)
        found = [y, layer.backward(tape, layer.backend.asarray(dy))[0], *layer.grads.values()]
        for one, other in zip(found, wanted, strict=True):
            assert layer.backend.dtype_of(one) == other.dtype
            assert distance(layer.backend.to_host(one), other) <= (1e-14 if dtype == "float64" else 1e-5)


def test_scores_of_ten_thousand_and_infinities_elsewhere() -> None:
    layer = build("attention", 1)
    layer.params["weight"][...] = 1e4
    y, _, tape = layer.forward(draw(T, B, H))
    dx, _ = layer.backward(tape, draw(B, H, seed=1))
    best = draw(T, B, H).sum(axis=2).argmax(axis=0)
    assert distance(y, draw(T, B, H)[best, np.arange(B)]) <= 1e-12
    assert np.isfinite(dx).all()
    low = np.full((T, B, H), -np.inf)
    low[3] = 1.0
    assert (build("max", 1).predict(low)[0] == 1.0).all()


@pytest.mark.parametrize(("kind", "directions"), KINDS)
def test_no_steps_and_no_rows(kind: str, directions: int) -> None:
    for shape in ((0, B, H), (T, 0, H)):
        layer = build(kind, directions)
        y, _, tape = layer.forward(np.zeros(shape))
        assert y.shape == (shape[1], H)
        assert (y == 0).all()
        assert layer.backward(tape, y)[0].shape == shape
    layer = build(kind, directions)
    assert (layer.predict(draw(T, B, H), lengths=[0] * B)[0] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine.Pool("sum"), "kind: expected one of 'last', 'mean', 'max', 'attention', got 'sum'"),
        (lambda: engine.Pool("attention"), "input_size: expected H, the features of x, for attention, got None"),
        (lambda: engine.Pool(directions=3), "directions: expected 1 or 2, got 3"),
        (lambda: engine.Pool(input_size=5, directions=2), "directions: expected 1 for 5 features, got 2"),
        (lambda: engine.Pool(directions=2).forward(np.ones((2, 2, 3), "f")), "x: expected an even number of features"),
        (lambda: engine.Pool().forward(np.ones((2, 3), "f")), "x: expected shape (any, any, any) (T, B, H), got shape"),
        (lambda: engine.Pool().forward(np.ones((2, 2, 3), "f"), lengths=[1, 3]), "lengths: expected values in 0..2"),
        (
            lambda: engine.truncated_bptt(engine.Pool(), np.ones((4, 2, 3), "f"), lambda y: (0.0, y), 2, 2),
            "layer: expected layers of single steps for truncated BPTT, got a Pool",
        ),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
