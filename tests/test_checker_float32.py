"""The gradient checker on float32 functions: forward is differentiated in float64 where it takes that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import engine


def single(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def loss(x: np.ndarray, w: np.ndarray) -> tuple[Any, Any]:
    z = x @ w
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return -np.log(p[:, 0]).mean(), (x, w, p)


def loss_back(dout: Any, cache: Any) -> tuple[np.ndarray, np.ndarray]:
    x, w, p = cache
    dz = p.copy()
    dz[:, 0] -= 1
    dz *= dout / len(p)
    return dz @ w.T, x.T @ dz


@pytest.mark.parametrize("method", ["central", "directional"])
def test_small_gradients_of_float32_functions_are_decided(method: str) -> None:
    for seed in range(6):
        inputs = [single(seed, 6, 4), single(seed + 1, 4, 5)]
        report = engine.check_gradients(loss, loss_back, inputs, method)
        assert report.passed, report
        assert not report.warnings, report

        def wrong(dout: Any, cache: Any) -> tuple[np.ndarray, np.ndarray]:
            dx, dw = loss_back(dout, cache)
            return dx, dw * np.float32(1.003)

        report = engine.check_gradients(loss, wrong, inputs, method)
        assert (report.verdict, report.worst.name) == ("wrong", "w"), report


def test_backward_is_handed_float32_and_what_it_writes_is_seen() -> None:
    handed = []

    def backward(dout: np.ndarray, x: np.ndarray) -> np.ndarray:
        handed.append((dout.dtype, x.dtype))
        dout *= np.cos(x)
        return dout

    report = engine.check_gradients(lambda x: (np.sin(x), x), backward, [single(2, 3, 4)])
    assert report.verdict == "input mutated", report
    assert set(handed) == {(np.dtype(np.float32), np.dtype(np.float32))}


def test_a_forward_that_takes_float32_only_is_checked_as_it_is() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if x.dtype != np.float32:
            raise TypeError("float32, please")
        return np.sin(x), x

    report = engine.check_gradients(forward, lambda dout, x: dout * np.cos(x), [single(3, 3, 4)])
    assert report.passed, report
    report = engine.check_gradients(forward, lambda dout, x: dout * np.cos(1.1 * x), [single(3, 3, 4)])
    assert report.verdict == "wrong", report


def test_a_float32_object() -> None:
    class Dense:
        def __init__(self, factor: float) -> None:
            self.W, self.factor = single(4, 3, 4), np.float32(factor)

        def forward(self, x: np.ndarray) -> np.ndarray:
            self.x, self.y = x, np.tanh(x @ self.W)
            return np.asarray(self.y)

        def backward(self, dout: np.ndarray) -> np.ndarray:
            assert dout.dtype == self.x.dtype == np.float32
            da = dout * (1 - self.y**2)
            self.dW = self.factor * (self.x.T @ da)
            return np.asarray(da @ self.W.T)

    assert engine.check_object(Dense(1.0), single(5, 5, 3)).passed
    assert engine.check_object(Dense(1.01), single(5, 5, 3)).verdict == "wrong"
