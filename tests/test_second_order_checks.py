"""Checks of second derivatives, forward mode, complex arrays, other forms of cotangents, and absolute tolerances."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import engine

RNG = np.random.default_rng(17)
X, W = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 5))


def forward(x: np.ndarray, w: np.ndarray) -> Any:
    y = np.tanh(x @ w)
    return y, (x, w, y)


def backward(dout: np.ndarray, cache: Any) -> Any:
    x, w, y = cache
    da = dout * (1 - y * y)
    return da @ w.T, x.T @ da


def hvp(dout: np.ndarray, cache: Any, directions: Any, bend: float = 1.0, cross: float = 1.0) -> Any:
    (x, w, y), (vx, vw) = cache, directions
    da = dout * (1 - y * y)
    tangent = -2 * bend * dout * y * (1 - y * y) * (vx @ w + x @ vw)
    return tangent @ w.T + da @ vw.T, x.T @ tangent + cross * vx.T @ da


def double_backward(dgradients: Any, dout: np.ndarray, cache: Any, factor: float = 1.0) -> Any:
    (x, w, y), (gx, gw) = cache, dgradients
    da, dda = dout * (1 - y * y), gx @ w + x @ gw
    through = -2 * y * dout * dda * (1 - y * y)
    return factor * dda * (1 - y * y), da @ gw.T + through @ w.T, gx.T @ da + x.T @ through


def jvp(directions: Any, cache: Any) -> np.ndarray:
    (dx, dw), (x, w, y) = directions, cache
    return (1 - y * y) * (dx @ w + x @ dw)


@pytest.mark.parametrize("method", ["central", "directional"])
def test_hessian_vector_products(method: str) -> None:
    assert engine.check_hessian(forward, backward, hvp, [X, W], method).passed
    held = np.abs(RNG.normal(size=(4, 5)))
    assert engine.check_hessian(forward, backward, hvp, [X, W], method, dout=held).passed
    for wrong in ({"bend": 0.999}, {"cross": 0.0}):
        report = engine.check_hessian(forward, backward, lambda d, c, v: hvp(d, c, v, **wrong), [X, W], method)  # noqa: B023
        assert report.verdict == "wrong"
    assert report.worst.name == "w"


def test_a_hessian_of_several_outputs_and_ids() -> None:
    def two(x: np.ndarray, ids: np.ndarray) -> Any:
        return (np.sin(x), np.exp(x[ids])), (x, ids)

    def two_backward(dout: Any, cache: Any) -> Any:
        (first, second), (x, ids) = dout, cache
        dx = first * np.cos(x)
        np.add.at(dx, ids, second * np.exp(x[ids]))
        return dx, None

    def two_hvp(dout: Any, cache: Any, directions: Any) -> Any:
        (first, second), (x, ids) = dout, cache
        product = -first * np.sin(x) * directions[0]
        np.add.at(product, ids, second * np.exp(x[ids]) * directions[0][ids])
        return product, None

    inputs = [RNG.normal(size=6), np.array([1, 1, 4])]
    assert engine.check_hessian(two, two_backward, two_hvp, inputs).passed
    wrong = engine.check_hessian(two, two_backward, lambda d, c, v: two_hvp(d, c, [1.01 * v[0], None]), inputs)
    assert wrong.verdict == "wrong"


@pytest.mark.parametrize("method", ["central", "complex"])
def test_the_backward_of_a_backward(method: str) -> None:
    assert engine.gradgradcheck(forward, backward, double_backward, [X, W], method).passed
    report = engine.gradgradcheck(
        forward, backward, lambda g, d, c: double_backward(g, d, c, factor=1.002), [X, W], method
    )
    assert (report.verdict, report.worst.name) == ("wrong", "dout")
    assert [row.name for row in report.rows] == ["dout", "x", "w"]


def test_forward_mode() -> None:
    assert engine.check_jvp(forward, jvp, [X, W]).passed
    assert engine.check_jvp(lambda x, w: forward(x, w)[0], lambda v, c: jvp(v, forward(*c)[1]), [X, W]).passed
    no_w = engine.check_jvp(forward, lambda v, c: jvp([v[0], 0.0 * v[1]], c), [X, W])
    assert (no_w.verdict, no_w.worst.name) == ("wrong", "w")
    crossed = engine.check_jvp(forward, lambda v, c: jvp(v, c) + v[0][0, 0] * v[0][1, 1], [X, W])
    assert crossed.verdict == "wrong"
    assert "not linear" in str(crossed)
    assert engine.check_jvp(forward, lambda v, c: np.abs(jvp(v, c)), [X, W]).verdict == "wrong"
    with pytest.raises(engine.EngineError, match="jvp: expected a tangent of shape"):
        engine.check_jvp(forward, lambda v, c: jvp(v, c).T, [X, W])


def complex_forward(z: np.ndarray, w: np.ndarray) -> Any:
    return z @ w, (z, w)


def test_complex_arrays() -> None:
    z, w = X + 1j * RNG.normal(size=X.shape), W + 1j * RNG.normal(size=W.shape)
    right = engine.check_gradients(complex_forward, lambda d, c: (d @ c[1].conj().T, c[0].conj().T @ d), [z, w])
    assert right.passed
    assert "as in PyTorch" in " ".join(str(right).split())
    for wrong in (lambda d, c: (d @ c[1].T, c[0].T @ d), lambda d, c: (0.5 * d @ c[1].conj().T, c[0].conj().T @ d)):
        assert engine.check_gradients(complex_forward, wrong, [z, w]).verdict == "wrong"
    mixed = engine.check_gradients(complex_forward, lambda d, c: ((d @ c[1].conj().T).real, c[0].T @ d), [X, w])
    assert mixed.passed
    square = engine.check_gradients(lambda z: (np.abs(z) ** 2, z), lambda d, z: 2 * d * z, [z], "directional")
    assert square.passed
    assert engine.check_gradients(lambda z: (np.abs(z) ** 2, z), lambda d, z: d * z, [z]).verdict == "wrong"


def test_a_fourier_transform_has_complex_outputs() -> None:
    x = RNG.normal(size=6)
    assert engine.check_gradients(lambda x: (np.fft.fft(x), 6), lambda d, n: n * np.fft.ifft(d).real, [x]).passed
    wrong = engine.check_gradients(lambda x: (np.fft.fft(x), 6), lambda d, n: np.fft.fft(d).real, [x])
    assert wrong.verdict == "wrong"
    with pytest.raises(engine.EngineError, match="method"):
        engine.check_gradients(lambda x: (np.fft.fft(x), 6), lambda d, n: n * np.fft.ifft(d).real, [x], "complex")


@pytest.mark.oracle
def test_the_convention_for_complex_arrays_is_that_of_pytorch(torch: ModuleType) -> None:
    z = torch.tensor(X + 1j * RNG.normal(size=X.shape), requires_grad=True)
    (torch.abs(z) ** 3).sum().backward()
    ours = lambda d, z: 3 * d * np.abs(z) * z  # noqa: E731
    value = z.detach().numpy()
    np.testing.assert_allclose(ours(1.0, value), z.grad.numpy())
    assert engine.check_gradients(lambda z: (np.abs(z) ** 3, z), ours, [value]).passed


def batched_backward(dout: np.ndarray, cache: Any) -> Any:
    x, w, y = cache
    da = dout * (1 - y * y)
    return da @ w.T, x.T @ da


def test_batched_cotangents() -> None:
    assert engine.check_gradients(forward, batched_backward, [X, W], batched=True).passed

    def summed(dout: np.ndarray, cache: Any) -> Any:
        dx, dw = batched_backward(dout, cache)
        return dx, dw if dout.ndim == 2 else dw.sum(axis=0)

    report = engine.check_gradients(forward, summed, [X, W], batched=True)
    assert (report.verdict, report.diagnosis and report.diagnosis.name) == ("wrong", "w")
    assert "stack of cotangents" in " ".join(str(report).split())
    assert engine.check_gradients(forward, summed, [X, W]).passed


def test_undefined_cotangents() -> None:
    def two(x: np.ndarray) -> Any:
        return (np.sin(x), np.cos(x)), x

    def fails(dout: Any, x: np.ndarray) -> Any:
        return dout[0] * np.cos(x) - dout[1] * np.sin(x)

    def takes(dout: Any, x: np.ndarray) -> Any:
        return fails([np.zeros_like(x) if one is None else one for one in dout], x)

    def ones(dout: Any, x: np.ndarray) -> Any:
        return fails([np.ones_like(x) if one is None else one for one in dout], x)

    x = RNG.normal(size=5)
    assert engine.check_gradients(two, takes, [x], undefined=True).passed
    for backward in (fails, ones):
        assert engine.check_gradients(two, backward, [x]).passed
        report = engine.check_gradients(two, backward, [x], undefined=True)
        assert report.verdict == "wrong"
        assert "None as the gradient of out[0]" in " ".join(str(report).split())


@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_an_absolute_tolerance(method: str) -> None:
    def rough(dout: np.ndarray, cache: Any) -> Any:
        return [one * (1 + 1e-5) for one in backward(dout, cache)]

    assert engine.check_gradients(forward, rough, [X, W], method, atol=1e-3).passed
    assert engine.check_gradients(forward, rough, [X, W], "central", atol=1e-12).verdict == "wrong"
    far = engine.check_gradients(forward, lambda d, c: [1.5 * g for g in backward(d, c)], [X, W], method, atol=1e-3)
    assert far.verdict == "wrong"
    with pytest.raises(engine.EngineError, match="atol"):
        engine.check_gradients(forward, rough, [X, W], atol=-1.0)


def into_a_real_buffer(x: np.ndarray) -> Any:
    y = np.zeros((2, *x.shape))
    for t in range(2):
        y[t] = np.tanh(x)  # here
    return y, x


def added_to_a_real_buffer(x: np.ndarray) -> Any:
    y = np.zeros(x.shape)
    y += np.tanh(x)  # here
    return y, x


@pytest.mark.parametrize("function", [into_a_real_buffer, added_to_a_real_buffer])
def test_the_line_that_takes_no_complex_numbers(function: Any) -> None:
    def own(dout: np.ndarray, x: np.ndarray) -> np.ndarray:
        return (dout if dout.ndim == 1 else dout.sum(axis=0)) * (1 - np.tanh(x) ** 2)

    report = engine.check_gradients(function, own, [RNG.normal(size=4)], "complex")
    assert report.verdict == "cannot tell"
    assert "np.tanh(x) # here" in " ".join(str(report).split())
    real = engine.check_gradients(lambda x: (np.abs(x), x), lambda d, x: d * np.sign(x), [X], "complex")
    assert "what it makes of x is real" in " ".join(str(real).split())


def test_assertions_need_no_pytest() -> None:
    code = """
import sys
sys.modules["pytest"] = None
import numpy as np, engine
engine.assert_gradients(lambda x: (np.sin(x), x), lambda d, x: d * np.cos(x), [np.array([0.3, 2.0])])
try:
    engine.assert_gradients(lambda x: (np.sin(x), x), lambda d, x: d, [np.array([0.3, 2.0])])
except AssertionError as error:
    print(str(error).splitlines()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gradient check: wrong")
