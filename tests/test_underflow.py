"""`engine.underflow`: the counts, against gradients rounded by hand; the table and the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build
from fake_cupy import use_backend
from refusals import refused

import engine
from kernels.rounding import ROUNDINGS

T, B, D, H = 9, 3, 2, 5
BACKEND = "numpy:reference"


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gradients(layer: Any, x: np.ndarray, dy: np.ndarray, lengths: Any) -> dict[str, np.ndarray]:
    """The gradients of the pre-activations (T, B, H) by gate."""
    y, _, tape = layer.forward(x, None, lengths, training=False)
    found = layer.backward_trace(tape, dy.astype(y.dtype)).layers[0][0]
    hidden = {f"{gate} hidden": found.hidden[gate] for gate in layer.cell.splits}
    return {**found.gates, **hidden}


@pytest.mark.parametrize(("kind", "precision"), [("gru", "fp16"), ("lstm", "fp16"), ("lstm", "bf16")])
def test_counts_are_those_of_the_gradients_rounded(kind: str, precision: str) -> None:
    lengths, scale = [9, 4, 0], 2.0**20
    layer = build(kind, D, H, dtype="float32", backend=BACKEND)
    half = build(kind, D, H, dtype="float32", backend=BACKEND, precision=precision)
    half.load_state_dict(layer.state_dict())
    small = np.float32(1e-7 if precision == "fp16" else 1e-39)
    x, dy = draw(T, B, D), small * draw(T, B, H, seed=1)
    dy[0, 1] = 0.25 if precision == "fp16" else 1e36  # with the scale it overflows
    found = engine.underflow(layer, x, lengths=lengths, dy=dy, precision=precision, scale=scale)
    exact = gradients(layer, x, dy, lengths)
    tiny = 2.0**-14 if precision == "fp16" else 2.0**-126
    assert found.layers["l0"].keys() == exact.keys()
    for gate, values in exact.items():
        there = values != 0
        counts = found.layers["l0"][gate]
        np.testing.assert_array_equal(counts.counted, there.sum(axis=(1, 2)))
        for place, factor in enumerate((1.0, scale)):
            with np.errstate(all="ignore"):
                own = gradients(half, x, dy * np.float32(factor), lengths)[gate]
                own = np.abs(ROUNDINGS[precision](np, own))
            np.testing.assert_array_equal(counts.zero[place], (there & (own == 0)).sum(axis=(1, 2)))
            small_ones = there & (own > 0) & (own < tiny)
            np.testing.assert_array_equal(counts.subnormal[place], small_ones.sum(axis=(1, 2)))
            np.testing.assert_array_equal(counts.overflow[place], (there & ~np.isfinite(own)).sum(axis=(1, 2)))
    zero, subnormal, overflow = map(found.share, ("zero", "subnormal", "overflow"))
    assert zero[0] > zero[1]
    assert subnormal[0] > 0
    assert overflow[0] == 0 < overflow[1]
    largest = max(float(np.abs(values).max()) for values in exact.values())
    most = 65504 if precision == "fp16" else 3.3895e38
    assert largest * found.suggested <= most < 2 * largest * found.suggested or found.suggested == 2.0**30


def test_table_record_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model on another library, with two directions; the model and its gradients stay as they were."""
    backend = use_backend("look-alike", monkeypatch)
    common: dict[str, Any] = {"backend": BACKEND, "batch_first": True}
    gru = engine.GRU(D, 4, bidirectional=True, precision="bf16", **common)
    host = engine.Sequential(gru, engine.Linear(8, 2, **common), seed=3)
    found = []
    for model in (host, host.to(backend=backend)):
        x, target = (model.backend.asarray(values) for values in (draw(B, T, D), draw(B, T, 2, seed=1)))

        def loss(y: Any, target: Any = target) -> Any:
            return engine.mse(y, target, normalizer=1e5)

        found.append(engine.underflow(model, x, loss=loss, scale=256))
        assert all(not model.backend.to_host(grad).any() for grad in model.grads.values())
    assert gru.precision == "bf16"
    assert found[0].to_dict() == found[1].to_dict()
    record = json.loads(json.dumps(found[0].to_dict()))
    assert record["precision"] == "fp16"
    assert set(record["layers"]) == {"0.l0", "0.l0_reverse"}
    assert set(record["layers"]["0.l0"]) == {"r", "z", "n", "n hidden"}
    text = str(found[0])
    for words in ("gradients of pre-activations that fp16 loses", "x 256", "0.l0_reverse, all gates, by step:"):
        assert words in text
    shares = record["shares"]["zero"]
    assert shares[0] > shares[1]
    cells = next(line for line in text.splitlines() if line.startswith("0.l0  ") and " r " in line).split()
    assert float(cells[2]) == pytest.approx(100 * found[0].share("zero", "0.l0", "r")[0], abs=0.006)
    found[0].plot(tmp_path / "lost.png")
    assert (tmp_path / "lost.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_arguments_are_refused() -> None:
    layer, x = engine.GRU(D, H, backend=BACKEND), draw(T, B, D)
    with refused(engine.InputError, "precision: expected one of 'bf16', 'fp16', got 'float32'"):
        engine.underflow(layer, x, precision="float32")
    with refused(engine.InputError, "scale: expected a number > 0 and <= 2**30, got 0"):
        engine.underflow(layer, x, scale=0)
    with refused(engine.InputError, "model: expected a model with a recurrent layer, got a Linear without one"):
        engine.underflow(engine.Linear(D, H, backend=BACKEND), x)
    found = engine.underflow(layer, x)
    with refused(engine.InputError, "layer: expected one of 'l0', got 'l1'"):
        found.by_step("zero", "l1")
    with refused(engine.InputError, "layer: expected some of l0 and a gate of it, got None and 'o'"):
        found.share("zero", gate="o")
