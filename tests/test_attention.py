"""Attention: PyTorch's autograd, gradient checks, memories with and without steps, every backend, windows, refusals."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import passes
from fake_cupy import BACKENDS, use_backend

import engine
from engine.layers import from_config
from engine.layers.attention import ATTENTION_KINDS

T, S, B, HQ, HM, A = 3, 6, 4, 5, 7, 2
LENGTHS = [6, 0, 1, 4]


def build(kind: str, **options: Any) -> engine.Attention:
    """The layer with weights that give neither equal nor one-sided scores."""
    sizes: dict[str, Any] = {} if kind == "dot" else {"memory_size": HM}
    sizes |= {"hidden_size": A} if kind == "additive" else {}
    layer = engine.Attention(kind, HQ, **sizes, **{"dtype": "float64", "backend": "numpy:reference", **options})
    rng = np.random.default_rng(len(kind))
    layer.load_state_dict({name: rng.normal(scale=0.6, size=p.shape) for name, p in layer.params.items()})
    return layer


def arguments(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Queries, memory, and the gradients that backward is given."""
    rng, width = np.random.default_rng(seed), HQ if kind == "dot" else HM
    shapes = {"x": (T, B, HQ), "state": (S, B, width), "dy": (T, B, width), "dstate": (S, B, width)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.oracle
@pytest.mark.parametrize("lengths", [None, [6, 2, 1, 4]])
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_it_is_what_pytorchs_autograd_finds(torch: ModuleType, kind: str, lengths: Any) -> None:
    layer, given = build(kind), arguments(kind)
    q, m = (torch.tensor(given[name], requires_grad=True) for name in ("x", "state"))
    w = {name: torch.tensor(value, requires_grad=True) for name, value in layer.params.items()}
    if kind == "additive":
        summed = (q @ w["weight_query"].T)[:, None] + (m @ w["weight_memory"].T)[None]
        scores = torch.tanh(summed) @ w["weight_score"]  # (T, S, B)
    else:
        scores = torch.einsum("tbh,sbh->tsb", q @ w["weight"] if kind == "general" else q, m)
    if lengths is not None:
        pads = torch.arange(S)[:, None] >= torch.tensor(lengths)
        scores = scores.masked_fill(pads, -torch.inf)
    weights = torch.softmax(scores, dim=1)
    y = torch.einsum("tsb,sbh->tbh", weights, m)
    y.backward(torch.tensor(given["dy"]))
    found, _, tape = layer.forward(given["x"], given["state"], lengths)
    dx, dmemory = layer.backward(tape, given["dy"])
    pairs = {"y": (found, y), "weights": (tape.weights.swapaxes(1, 2), weights), "dx": (dx, q.grad)}
    pairs |= {"dmemory": (dmemory, m.grad)} | {name: (layer.grads[name], value.grad) for name, value in w.items()}
    for name, (mine, theirs) in pairs.items():
        wanted = theirs.detach().numpy()
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max(), err_msg=name)


@pytest.mark.parametrize("method", ["central", "complex", "adjoint"])
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_gradients_alone(kind: str, method: str) -> None:
    given = arguments(kind)
    report = engine.gradcheck(build(kind), given["x"], given["state"], LENGTHS, method)
    assert report.passed, report
    assert {row.name for row in report.rows} == {"x", "memory", *build(kind).params}


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_gradients_as_a_pair_of_functions(kind: str) -> None:
    """The course convention, with all weights as inputs."""
    layer, given = build(kind), arguments(kind)

    def forward(queries: Any, memory: Any, weights: Any) -> Any:
        for name, value in weights.items():
            layer.params[name] = value
        y, _, tape = layer.forward(queries, memory, LENGTHS)
        return y, (queries, memory, weights, tape)

    def backward(dy: Any, cache: Any) -> Any:
        layer.zero_grad()
        tape = forward(*cache[:3])[1][3]  # a tape belongs to the weights that its forward pass had
        return *layer.backward(tape, dy), {name: grad.copy() for name, grad in layer.grads.items()}

    inputs = [given["x"], given["state"], {name: value.copy() for name, value in layer.params.items()}]
    report = engine.check_gradients(forward, backward, inputs, method="directional")
    assert report.passed, report


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_weights_are_shares_of_the_valid_steps(kind: str) -> None:
    layer, given = build(kind), arguments(kind)
    memory = given["state"].copy()
    for row, length in enumerate(LENGTHS):
        memory[length:, row] = np.nan  # nobody looks at pads
    y, handed_on, tape = layer.forward(given["x"], memory, LENGTHS)
    valid = np.arange(S)[:, None] < np.array(LENGTHS)
    assert tape.weights.shape == (T, B, S)
    assert (tape.weights[:, ~valid.T] == 0).all()
    assert (tape.weights[:, valid.T] > 0).all()
    np.testing.assert_allclose(tape.weights.sum(axis=2), np.broadcast_to([1.0, 0.0, 1.0, 1.0], (T, B)), rtol=1e-14)
    assert (y[:, 1] == 0).all()
    np.testing.assert_array_equal(y[:, 2], np.broadcast_to(memory[0, 2], y[:, 2].shape))  # one step takes all
    np.testing.assert_array_equal(handed_on, np.where(valid[:, :, None], memory, 0))
    found, again = layer.predict(given["x"], memory, LENGTHS)
    np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(again, handed_on)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_large_scores_do_not_overflow(kind: str) -> None:
    layer, given = build(kind), arguments(kind)
    for name in layer.params:
        layer.params[name] = layer.params[name] * 300
    y, _, tape = layer.forward(given["x"] * 300, given["state"] * 300)
    dx, dmemory = layer.backward(tape, given["dy"])
    assert all(np.isfinite(part).all() for part in (y, tape.weights, dx, dmemory))
    assert tape.weights.max() > 0.9


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_empty_sizes(kind: str, shape: tuple[int, int, int]) -> None:
    layer, (steps, rows, long) = build(kind), shape
    memory = np.ones((long, rows, layer.memory_size))
    y, _, tape = layer.forward(np.ones((steps, rows, HQ)), memory)
    dx, dmemory = layer.backward(tape, np.ones_like(y), np.full_like(memory, 2.0))
    assert y.shape == (steps, rows, layer.memory_size)
    assert (dx.shape, dmemory.shape) == ((steps, rows, HQ), memory.shape)
    assert all((grad == 0).all() for grad in layer.grads.values())
    assert (y == 0).all() or long > 0


@pytest.mark.parametrize("name", [*BACKENDS, "torch"])
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_every_backend_gives_the_same(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    given = arguments(kind)
    wanted = passes(build(kind), **given, lengths=LENGTHS)
    backend = use_backend(name, monkeypatch)
    layer = build(kind).to(backend=backend)
    found = passes(layer, **{key: backend.asarray(value) for key, value in given.items()}, lengths=LENGTHS)
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        np.testing.assert_allclose(backend.to_host(value), wanted[key], rtol=1e-12, atol=1e-13, err_msg=key)


def test_rows_first_is_the_same() -> None:
    given = arguments("additive")
    wanted = passes(build("additive"), **given, lengths=LENGTHS)
    turned = {name: np.ascontiguousarray(value.swapaxes(0, 1)) for name, value in given.items()}
    found = passes(build("additive", batch_first=True), **turned, lengths=LENGTHS)
    for name, value in found.items():
        same = wanted[name].swapaxes(0, 1) if value.ndim == 3 else wanted[name]
        np.testing.assert_allclose(value, same, rtol=1e-13, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_windows_of_a_tape_add_up(kind: str) -> None:
    layer, given = build(kind), arguments(kind)
    tape = layer.forward(given["x"], given["state"], LENGTHS)[2]
    whole = passes(layer, given["x"], given["state"], given["dy"], given["dstate"], LENGTHS)
    layer.zero_grad()
    late, dmemory = layer.backward(layer.window(tape, 1, T), given["dy"][1:], given["dstate"])
    early, dmemory = layer.backward(layer.window(tape, 0, 1), given["dy"][:1], dmemory)
    np.testing.assert_allclose(np.concatenate([early, late]), whole["dx"], rtol=1e-12)
    np.testing.assert_allclose(dmemory, whole["dfirst0"], rtol=1e-12, atol=1e-14)
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(grad, whole[f"d{name}"], rtol=1e-12)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_it_is_described_and_moved(kind: str) -> None:
    layer, given = build(kind), arguments(kind)
    again = from_config(layer.config(), "numpy:reference", "float64")
    again.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(
        again.predict(given["x"], given["state"])[0], layer.predict(given["x"], given["state"])[0]
    )
    narrow = layer.to(dtype="float32")
    x, memory = (given[name].astype(np.float32) for name in ("x", "state"))
    assert narrow.predict(x, memory)[0].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "bilinear"}, r"kind: expected one of 'additive', 'dot', 'general', got 'bilinear'"),
        ({"kind": "dot"}, r"memory_size: expected query_size = 5 for kind 'dot', got 7; .* take \"general\""),
        ({"hidden_size": 3}, r"hidden_size: expected None for kind 'general', got 3; only 'additive' has it"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(engine.InputError, match=words):
        engine.Attention(**{"kind": "general", "query_size": HQ, "memory_size": HM, **change})


def test_the_memory_is_asked_for() -> None:
    layer, given = build("general"), arguments("general")
    words = r"state: expected the memory, an array \(S, B, Hm\), got None; pass the outputs of the encoder"
    with pytest.raises(engine.InputError, match=words):
        layer.forward(given["x"])
    with pytest.raises(engine.InputError, match=r"state: expected shape \(any, 4, 7\) \(S, B, Hm\), got shape"):
        layer.forward(given["x"], given["state"][:, :3])
    with pytest.raises(engine.InputError, match=r"lengths: expected values in 0..6 \(T = 6\), got 7 at row 2"):
        layer.predict(given["x"], given["state"], [1, 2, 7, 3])
