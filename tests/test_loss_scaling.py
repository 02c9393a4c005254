"""`engine.LossScaler` and the option ``loss_scale`` of training (rules 15 and 16)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from commands import TINY, assert_same_run, bptt, metrics, tiny, write_text
from fake_cupy import counts, use_backend
from refusals import refused

import engine
from engine.errors import NonFiniteError
from engine.training import loop
from engine.training.checkpoint import read_file
from engine.training.fitting.fit_folder import check_fit
from engine.training.loss_scale import make_scaler
from engine.training.session import run_training

D, H, T, B = 3, 4, 5, 2
BACKENDS = ["numpy", "look-alike"]


def model_of(precision: str = "fp16", backend: Any = "numpy:reference") -> Any:
    layers = engine.GRU(D, H, precision=precision, backend=backend), engine.Linear(H, 2, backend=backend)
    return engine.Sequential(*layers, seed=1)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def set_gradients(model: Any, value: float, factor: float) -> None:
    for number, grad in enumerate(model.grads.values()):
        grad[...] = model.backend.asarray(draw(*grad.shape, seed=number) * np.float32(factor))
        grad[..., 0] = value if number == 1 else grad[..., 0]


# -- the scaler alone --------------------------------------------------------------------------------------------------


def test_one_step_is_that_without_scaling() -> None:
    """A power of two changes no digit: the weights are the same to the bit where nothing underflows."""
    plain, scaled = model_of("float32"), model_of("float32")
    x, target, scaler = draw(T, B, D), draw(T, B, 2, seed=1), engine.LossScaler(2.0**12)
    for model, own in ((plain, None), (scaled, scaler)):
        optimizer = engine.Adam(model, lr=0.1)
        for _ in range(3):
            y, _, tape = model.forward(x)
            loss, dy = engine.mse(y, target)
            model.zero_grad()
            model.backward(tape, own.scale(dy) if own else dy)
            if own:
                own.unscale(optimizer)
            engine.clip_grad_norm(optimizer, 0.5)
            own.step(optimizer, guard=loss) if own else optimizer.step(guard=loss)
    for name, value in plain.params.items():
        np.testing.assert_array_equal(scaled.params[name], value)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_skipped_step_changes_the_scale_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = use_backend(name, monkeypatch) if name != "numpy" else "numpy:reference"
    model = model_of(backend=backend)
    optimizer, scaler = engine.Adam(model, lr=0.1), engine.LossScaler(8.0, growth=4.0, backoff=0.25, interval=3)
    to_host, dy = model.backend.to_host, model.backend.asarray(draw(T, B, 2))
    state = lambda: {n: to_host(v).copy() for n, v in optimizer.state_dict().items() if hasattr(v, "shape")}  # noqa: E731
    scales, steps = [], []
    scaler.scale(dy)
    scaler.step(optimizer)
    for value in (np.inf, 0, 0, 0, np.nan, -np.inf, 0):
        before, weights = state(), {n: to_host(p).copy() for n, p in model.params.items()}
        scaled = scaler.scale(dy)
        np.testing.assert_array_equal(to_host(scaled), to_host(dy) * np.float32(scaler.value))
        set_gradients(model, value, scaler.value)
        counts.reset()
        scaler.unscale(optimizer)
        scaler.step(optimizer)
        assert counts.waits == 0
        after = state()
        kept = all(np.array_equal(to_host(p), weights[n]) for n, p in model.params.items())
        assert kept == (value != 0)
        assert all(np.array_equal(after[n], before[n]) for n in before) == (value != 0)
        scales.append(scaler.value)
        steps.append(int(to_host(optimizer.steps)))
    assert scales == [2, 2, 2, 8, 2, 1, 1]  # 3 good steps in a row: 4 times as large; never below 1
    assert steps == [1, 2, 3, 4, 4, 4, 5]
    assert scaler.skipped == 3
    assert not to_host(optimizer.nonfinite)


def test_what_the_scale_has_not_done_is_refused() -> None:
    """A loss that is not finite, at any scale; gradients that are not at the smallest scale, or at a fixed one."""
    for scaler, value, guard in (
        (engine.LossScaler(), 0.0, np.float32(np.nan)),
        (engine.LossScaler(1.0), np.inf, None),
        (engine.LossScaler.fixed(64.0), np.nan, None),
    ):
        model = model_of()
        optimizer, first = engine.SGD(model, lr=0.1), scaler.value
        scaler.scale(draw(T, B, 2))
        set_gradients(model, value, scaler.value)
        scaler.step(optimizer, guard)
        assert bool(optimizer.nonfinite)
        assert (int(optimizer.steps), scaler.skipped, scaler.value) == (0, 0, first)


def test_the_order_of_calls() -> None:
    model, scaler = model_of(), engine.LossScaler(4.0)
    with refused(engine.EngineError, "unscale: expected gradients of a scaled loss, got a second call, or no call"):
        scaler.unscale(model)
    set_gradients(model, 1.0, 4.0)
    found = scaler.scale({"one": draw(2, 3), "other": draw(4, seed=1).astype(np.float64)})
    np.testing.assert_array_equal(found["other"], 4 * draw(4, seed=1).astype(np.float64))
    assert found["one"].dtype == np.float32
    assert scaler.scale(None) is None
    wanted = {name: grad / 4 for name, grad in model.grads.items()}
    scaler.step(engine.SGD(model, lr=0.1))  # unscales first
    for name, grad in model.grads.items():
        np.testing.assert_array_equal(grad, wanted[name])
    with refused(engine.EngineError, "unscale: expected"):
        scaler.unscale(model)
    for wrong in (np.ones(3, np.int64), np.ones(3, np.float16), [1.0]):
        with pytest.raises(engine.InputTypeError, match=r"^dy: expected "):
            scaler.scale(wrong)
    with pytest.raises(engine.InputTypeError, match=r"^optimizer: expected an optimizer of engine"):
        scaler.step(model)


@pytest.mark.oracle
def test_scales_and_skips_are_those_of_pytorch(torch: ModuleType) -> None:
    rng = np.random.default_rng(3)
    model = model_of()
    weights = {name: torch.nn.Parameter(torch.tensor(value.copy())) for name, value in model.params.items()}
    theirs = torch.optim.Adam(weights.values(), lr=0.1)
    scaler = engine.LossScaler(2.0**10, growth=2.0, backoff=0.5, interval=3)
    other = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_factor=2.0, backoff_factor=0.5, growth_interval=3)
    optimizer = engine.Adam(model, lr=0.1)
    for _ in range(25):
        value = rng.choice([0.5, 0.5, 0.5, 0.5, np.inf, np.nan])
        assert scaler.value == other.get_scale()
        scaler.scale(draw(1))
        other.scale(torch.ones(()))
        set_gradients(model, value, scaler.value)
        for name, weight in weights.items():
            weight.grad = torch.tensor(model.grads[name].copy())
        scaler.step(optimizer)
        other.step(theirs)
        other.update()
    assert 0 < scaler.skipped < 25
    for name, weight in weights.items():
        np.testing.assert_allclose(model.params[name], weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_state_and_wrong_states() -> None:
    model, scaler = model_of(), engine.LossScaler(2.0**8, interval=2)
    scaler.scale(draw(1))
    set_gradients(model, 1.0, 1.0)
    scaler.step(engine.SGD(model, lr=0.1))
    state = scaler.state_dict()
    assert state == {"scale": 256.0, "good": 1, "skipped": 0}
    other = engine.LossScaler(interval=2)
    other.load_state_dict(state)
    other.scale(draw(1))
    other.step(engine.SGD(model, lr=0.1))
    assert other.state_dict() == {"scale": 512.0, "good": 0, "skipped": 0}
    with pytest.raises(engine.InputError, match=r"^state_dict: expected the names "):
        scaler.load_state_dict({"scale": 1.0})
    with pytest.raises(engine.InputError, match=r"^scale: expected a number > 0"):
        scaler.load_state_dict({**state, "scale": 0.0})
    assert scaler.state_dict() == state
    assert repr(other).startswith("LossScaler(initial=65536.0, growth=2.0, backoff=0.5, interval=2")


# -- in training -------------------------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "tides.txt")


def test_when_the_loss_is_scaled() -> None:
    half, full = model_of(), model_of("float32")
    nested = engine.Sequential(half.to(backend="numpy"), engine.Linear(2, 2))
    assert [make_scaler("dynamic", model) is None for model in (half, nested, full)] == [False, False, True]
    assert make_scaler("off", half) is None
    fixed = make_scaler(128.0, full)
    assert fixed is not None
    assert (fixed.value, fixed.minimum, fixed.growth) == (128.0, 128.0, 1.0)
    with pytest.raises(engine.InputError, match=r"^loss_scale: expected 'dynamic', 'off' or a number > 0"):
        engine.fit(half, draw(8, T, D), draw(8, 2), loss_scale="on", epochs=1, quiet=True)


def test_a_run_that_skips_is_resumed_to_the_byte(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_pictures: Any
) -> None:
    """Steps are skipped before and after the kill; metrics say how many, and the scale."""

    def often(setting: Any, model: Any) -> Any:
        return engine.LossScaler(2.0**30, growth=256.0, interval=4) if make_scaler(setting, model) else None

    monkeypatch.setattr(loop, "make_scaler", often)
    command = ["train", text, *tiny(precision="fp16", schedule="constant"), "--quiet"]
    assert bptt(*command, "--out", tmp_path / "whole", "--steps", 40) == 0
    lines = [line for line in metrics(tmp_path / "whole") if line["kind"] == "train"]
    assert sum(line["skipped"] for line in lines[:10]) > 3
    assert sum(line["skipped"] for line in lines[20:]) > 0
    assert len({line["loss_scale"] for line in lines}) > 4
    assert all((line["grad_norm"] == 0) == bool(line["skipped"]) for line in lines)  # a report for each step
    assert bptt(*command, "--out", tmp_path / "run", "--steps", 20) == 0
    assert bptt("train", "--resume", "--out", tmp_path / "run", "--steps", 40, "--quiet") == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_fit_goes_on_with_the_scale(tmp_path: Path) -> None:
    x, y = draw(12, T, D), draw(12, 2, seed=1)
    options: dict[str, Any] = {"batch_size": 4, "quiet": True, "loss_scale": "dynamic"}
    whole, part = model_of(), model_of()
    engine.fit(whole, x, y, epochs=4, **options)
    engine.fit(part, x, y, epochs=2, out=tmp_path / "run", **options)
    meta = read_file(tmp_path / "run" / "last.safetensors", check_fit).meta
    assert meta["loss_scale"] == {"scale": 65536.0, "good": 6, "skipped": 0, "reported": 0}
    engine.fit(part, x, y, epochs=4, out=tmp_path / "run", resume=True, **options)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(part.params[name], value)
    with refused(engine.InputError, "resume: expected loss_scale null, as the run in out had it, got 64.0"):
        engine.fit(part, x, y, epochs=5, out=tmp_path / "run", resume=True, **{**options, "loss_scale": 64})


def test_a_fixed_scale_that_is_too_large_is_named(text: Path, tmp_path: Path) -> None:
    """What overflows is found with the scale that the run had; without scaling the same run is sound."""
    options: dict[str, Any] = dict(zip((word[2:].replace("-", "_") for word in TINY[::2]), TINY[1::2], strict=True))
    options = {name: int(v) if v.isdigit() else v for name, v in options.items()} | {"dropout": 0.0}
    options |= {"files": (str(text),), "steps": 3, "precision": "fp16"}
    words = r"(NaN|infinity) in .*, with the loss scale 1\.07374e\+09; the update was not made"
    with pytest.raises(NonFiniteError, match=words):
        run_training(tmp_path / "large", quiet=True, loss_scale=str(2**30), **options)
    assert run_training(tmp_path / "sound", quiet=True, loss_scale="off", **options)["step"] == 3
    with pytest.raises(engine.InputError, match=r"^loss_scale: expected 'dynamic', 'off' or a number > 0"):
        run_training(tmp_path / "wrong", quiet=True, loss_scale="much", **options)


def test_a_nan_that_is_not_from_the_scale_is_named() -> None:
    """An input that is no half number overflows the gradient of its weight at any scale: at 1 it is refused."""
    x, y = draw(8, T, D), draw(8, 2, seed=1)
    x[3, 2, 1] = 1e6
    model = model_of()
    before = {name: value.copy() for name, value in model.params.items()}
    with refused(NonFiniteError, "step 17 (epoch 17, batch 1 of 1): expected finite numbers, got NaN in "):
        engine.fit(model, x, y, epochs=20, batch_size=8, quiet=True)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, before[name])
