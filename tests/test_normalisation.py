"""LayerNorm and BatchNorm: gradients, PyTorch's numbers, padded positions, running statistics, every backend."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import distance
from fake_cupy import BACKENDS, use_backend
from refusals import refused

import engine
from engine.layers import from_config
from engine.training.checkpoint import read_file, write_checkpoint
from engine.training.state import Live
from engine.training.task import load_weights

T, B, H = 5, 4, 3
LENGTHS = [5, 0, 2, 4]
F64: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}
KINDS = [engine.LayerNorm, engine.BatchNorm]


def build(kind: Any, **options: Any) -> Any:
    """A layer with random weights, so that none of them is 0 or 1."""
    layer, rng = kind(H, **{**F64, **options}), np.random.default_rng(7)
    for param in layer.params.values():
        param[...] = layer.backend.asarray(rng.normal(size=param.shape), dtype=layer.dtype)
    return layer


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(1.0, 2.0, size=shape)


def all_of(layer: Any, x: Any, dy: Any, lengths: Any = None, training: bool = True) -> dict[str, Any]:
    """Everything that a pass gives and changes, on the host."""
    layer.zero_grad()
    y, _, tape = layer.forward(x, lengths=lengths, training=training)
    dx, _ = layer.backward(tape, dy)
    found = {"y": y, "dx": dx, **{f"d{name}": grad for name, grad in layer.grads.items()}, **layer.buffers}
    return {name: np.array(layer.backend.to_host(value)) for name, value in found.items()}


# -- gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "directional"])
@pytest.mark.parametrize(("lengths", "batch_first"), [(None, False), (LENGTHS, True)])
def test_gradients(kind: Any, method: str, lengths: Any, batch_first: bool) -> None:
    x = draw(B, T, H) if batch_first else draw(T, B, H)
    report = engine.gradcheck(build(kind, batch_first=batch_first), x, lengths=lengths, method=method)
    assert report.passed, report
    assert {row.name for row in report.rows} == {"weight", "bias", "x"}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_float32_and_of_two_axes(kind: Any) -> None:
    assert engine.gradcheck(build(kind, dtype="float32"), draw(T, B, H), lengths=LENGTHS, dtype="float32").passed
    assert engine.gradcheck(build(kind), draw(B, H), method="adjoint").passed


def test_gradients_with_running_statistics() -> None:
    """They are constants, also where they change between forward and backward."""
    layer = build(engine.BatchNorm)
    layer.forward(draw(T, B, H, seed=3))
    frozen = {name: np.array(value) for name, value in layer.buffers.items()}

    def forward(x: Any) -> tuple[Any, Any]:
        for name, value in frozen.items():
            layer.buffers[name][...] = value
        y, _, tape = layer.forward(x, training=False)
        layer.buffers["running_var"] *= 9
        return y, tape

    report = engine.check_gradients(forward, lambda dy, tape: (layer.backward(tape, dy)[0],), [draw(T, B, H)])
    assert report.passed, report
    y, tape = forward(draw(T, B, H))
    layer.zero_grad()
    layer.backward(tape, np.ones_like(y))
    n = (draw(T, B, H) - frozen["running_mean"]) / np.sqrt(frozen["running_var"] + layer.eps)
    assert distance(layer.grads["weight"], n.sum(axis=(0, 1))) <= 1e-13


# -- PyTorch -----------------------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_layer_norm_is_pytorchs(torch: ModuleType) -> None:
    theirs = torch.nn.LayerNorm(H, eps=1e-3, dtype=torch.float64)
    layer = build(engine.LayerNorm, eps=1e-3)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    x, dy = torch.tensor(draw(T, B, H), requires_grad=True), draw(T, B, H, seed=1)
    y = theirs(x)
    y.backward(torch.tensor(dy))
    found = all_of(layer, draw(T, B, H), dy)
    wanted = {"y": y, "dx": x.grad, "dweight": theirs.weight.grad, "dbias": theirs.bias.grad}
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.oracle
@pytest.mark.parametrize("momentum", [0.3, None])
def test_batch_norm_is_pytorchs_over_the_valid_positions(torch: ModuleType, momentum: float | None) -> None:
    """Three training passes, of which one has lengths, then one with the running statistics."""
    theirs = torch.nn.BatchNorm1d(H, momentum=momentum, dtype=torch.float64)
    layer = engine.BatchNorm(H, momentum=momentum, **F64)
    theirs.weight.data, theirs.bias.data = torch.tensor(draw(H)), torch.tensor(draw(H, seed=5))
    layer.load_state_dict(theirs.state_dict())
    assert layer.state_dict().keys() == theirs.state_dict().keys()
    for step, lengths in enumerate([None, LENGTHS, None, LENGTHS]):
        training = step < 3
        theirs.train(training)
        valid = np.arange(T)[:, None] < np.array([T] * B if lengths is None else lengths)
        x, dy = draw(T, B, H, seed=step), draw(T, B, H, seed=9)
        rows = torch.tensor(x[valid], requires_grad=True)
        theirs.zero_grad()
        y = theirs(rows)
        y.backward(torch.tensor(dy[valid]))
        found = all_of(layer, x, dy, lengths, training)
        assert (found["y"][~valid] == 0).all()
        assert (found["dx"][~valid] == 0).all()
        state = theirs.state_dict()
        wanted = {"dweight": theirs.weight.grad, "dbias": theirs.bias.grad}
        wanted |= {name: state[name] for name in layer.buffers}
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found["y"][valid], y.detach().numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found["dx"][valid], rows.grad.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(layer.predict(x, lengths=LENGTHS)[0], found["y"])


# -- every backend -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*BACKENDS, "numba", "torch"])
def test_every_backend(kind: Any, dtype: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    plain = name in ("numba", "torch")
    backend: Any = f"numpy:{name}" if name == "numba" else name if plain else use_backend(name, monkeypatch)
    x, dy = (draw(T, B, H, seed=seed).astype(dtype) for seed in (1, 2))
    wanted = all_of(build(kind, dtype=dtype), x, dy, LENGTHS)
    layer = build(kind, dtype=dtype).to(backend=backend)
    upload = layer.backend.asarray
    found = all_of(layer, upload(x), upload(dy), LENGTHS)
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-13 if dtype == "float64" else 2e-5)


# -- what does not count, and extremes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_pads_are_not_looked_at(kind: Any) -> None:
    layer, pads = build(kind), np.arange(T)[:, None] >= np.array(LENGTHS)
    x, dy = draw(T, B, H), draw(T, B, H, seed=1)
    clean = all_of(layer.to(), x, dy, LENGTHS)
    x[pads], dy[pads] = np.nan, np.inf
    for name, value in all_of(layer, x, dy, LENGTHS).items():
        np.testing.assert_array_equal(value, clean[name])


@pytest.mark.parametrize("kind", KINDS)
def test_large_offsets_and_huge_values_stay_finite(kind: Any) -> None:
    """A feature of 1e4 and one of 1e150 whose square no float holds where it is a pad."""
    layer = build(kind)
    x = draw(T, B, H)
    shifted = all_of(layer, x + 1e4, x)["y"]
    assert distance(shifted, all_of(layer, x, x)["y"]) <= 1e-10
    huge = np.full((T, B, H), 1e200)
    y = all_of(layer, huge, x, [1, 2, 0, 0])["y"]
    assert np.isfinite(y).all()
    assert distance(y[0, :2], np.broadcast_to(layer.params["bias"], (2, H))) <= 1e-12


def test_nothing_valid_is_normalised_to_nothing() -> None:
    layer = build(engine.BatchNorm)
    before = layer.state_dict()
    found = all_of(layer, draw(T, B, H), draw(T, B, H), [0] * B)
    assert (found["y"] == 0).all()
    assert (found["dx"] == 0).all()
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all_of(layer, draw(0, B, H), draw(0, B, H))["y"].shape == (0, B, H)


def test_one_feature_and_one_position() -> None:
    one = engine.LayerNorm(1, **F64)
    assert (one.predict(draw(T, B, 1))[0] == 0).all()  # the only feature is its own mean
    layer = build(engine.BatchNorm)
    with refused(engine.InputError, "x: expected more than one valid position in training", "one; the mean of one"):
        layer.forward(draw(T, B, H), lengths=[0, 1, 0, 0])
    assert layer.buffers["num_batches_tracked"] == 0
    assert layer.forward(draw(1, 1, H), training=False)[0].shape == (1, 1, H)


# -- buffers -----------------------------------------------------------------------------------------------------------


def model() -> engine.Sequential:
    return engine.Sequential(
        engine.GRU(H, 6, **F64), engine.Sequential(engine.BatchNorm(6, **F64)), engine.Linear(6, 2, **F64)
    )


def test_buffers_are_saved_moved_copied_and_kept() -> None:
    seq = model()
    for step in range(3):
        seq.forward(draw(T, B, H, seed=step))
    assert set(seq.buffers) == {f"1.0.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert int(seq.buffers["1.0.num_batches_tracked"]) == 3
    assert set(seq.state_dict()) == {*seq.params, *seq.buffers}
    wanted = seq.predict(draw(T, B, H))[0]
    again: Any = from_config(seq.config(), **F64)
    again.load_state_dict(seq.state_dict())
    for other in (seq.to(), again, pickle.loads(pickle.dumps(seq))):
        np.testing.assert_array_equal(other.predict(draw(T, B, H))[0], wanted)
        other.forward(draw(T, B, H))  # has buffers of its own
    np.testing.assert_array_equal(seq.predict(draw(T, B, H))[0], wanted)
    small = seq.to(dtype="float32")
    assert small.buffers["1.0.running_var"].dtype == np.float32
    assert small.buffers["1.0.num_batches_tracked"].dtype == np.int64
    array = seq.buffers["1.0.running_mean"]
    seq.buffers["1.0.running_mean"] = np.ones(6)
    assert array is seq.buffers["1.0.running_mean"]
    assert array[0] == 1


def test_a_checkpoint_holds_the_buffers_and_resumes_bit_by_bit(tmp_path: Path) -> None:
    def trained(seq: Any, steps: range, optimizer: Any) -> None:
        for step in steps:
            y, _, tape = seq.forward(draw(T, B, H, seed=step))
            seq.zero_grad()
            seq.backward(tape, engine.mse(y, draw(T, B, 2, seed=step))[1])
            optimizer.step()

    seq = model()
    live = Live(seq, engine.Adam(seq))
    trained(seq, range(3), live.optimizer)
    live.position.step = 3
    write_checkpoint(tmp_path / "half.safetensors", *live.pack(everything=True))
    trained(seq, range(3, 6), live.optimizer)

    checkpoint = read_file(tmp_path / "half.safetensors")
    fresh = model()
    resumed = Live(fresh, engine.Adam(fresh))
    load_weights(resumed.model, checkpoint)
    resumed.unpack(checkpoint)
    trained(resumed.model, range(3, 6), resumed.optimizer)
    for name, value in seq.state_dict().items():
        np.testing.assert_array_equal(resumed.model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"running_mean": np.zeros(4)}, "running_mean: expected shape (3,), got shape (4,)"),
        ({"running_var": np.full(3, np.nan)}, "running_var: expected finite numbers, got nan"),
        ({"num_batches_tracked": np.array(1.5)}, "num_batches_tracked: expected an array of integers"),
        ({"running_median": np.zeros(3)}, "state_dict: expected the names"),
    ],
)
def test_a_wrong_buffer_is_refused_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    layer = build(engine.BatchNorm)
    before = layer.state_dict()
    with pytest.raises(engine.InputError) as caught:
        layer.load_state_dict({**before, **change})
    assert str(caught.value).startswith(message)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: engine.LayerNorm(0), "num_features: expected an integer >= 1, got 0"),
        (lambda: engine.LayerNorm(3, 0.0), "eps: expected a number > 0, got 0"),
        (lambda: engine.BatchNorm(3, momentum=1.5), "momentum: expected a number in 0..1, or None, got 1.5"),
        (lambda: engine.BatchNorm(3).forward(np.ones((2, 4), "f")), "x: expected shape (T, B, H) or (B, H) with H = 3"),
        (lambda: engine.LayerNorm(3).forward(np.ones((2, 2, 3))), "x: expected dtype float32, got dtype float64"),
        (
            lambda: engine.truncated_bptt(engine.BatchNorm(3), np.ones((4, 2, 3), "f"), lambda y: (0.0, y), 2, 2),
            "layer: expected layers of single steps for truncated BPTT, got a BatchNorm",
        ),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(engine.InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
