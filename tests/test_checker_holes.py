"""Wrong pairs that once passed the gradient check, and right ones that did not; each stands for its kind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import engine

METHODS = ("central", "directional", "complex")
RNG = np.random.default_rng(181)
X, W, B = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)


def sine(x: Any) -> tuple[Any, Any]:
    return np.sin(x), x


def dsine(dout: Any, x: Any) -> Any:
    return dout * np.cos(x)


# -- what backward makes of special gradients --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "special",
    [
        lambda dout: np.all(dout == 1.0),
        lambda dout: np.any(dout == 0.0),
        lambda dout: np.all(np.abs(dout) < 1e-4),
    ],
    ids=["ones", "a zero", "tiny"],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_backward_that_is_off_for_special_gradients_alone(special: Callable[[Any], bool], method: str) -> None:
    def backward(dout: Any, x: Any) -> Any:
        return dsine(dout, x) * (1.001 if special(dout) else 1.0)

    report = engine.check_gradients(sine, backward, [X], method)
    assert report.verdict == "wrong", report
    assert "not linear in dout" in str(report)
    assert engine.check_gradients(sine, dsine, [X], method).passed


def test_a_threshold_far_below_the_gradients_of_the_check() -> None:
    x = np.random.default_rng(182).normal(size=(5, 7))
    backward = lambda dout, x: dsine(np.where(np.abs(dout) < 1e-3, 0.0, dout), x)  # noqa: E731
    assert engine.check_gradients(sine, backward, [x]).verdict == "wrong"


def test_tiny_gradients_do_not_underflow_when_they_are_made_smaller() -> None:
    x = X.astype(np.float32)
    scale = np.float32(1e-33)
    assert engine.check_gradients(lambda x: (scale * x, None), lambda d, _: scale * d, [x]).verdict != "wrong"


@pytest.mark.parametrize("method", METHODS)
def test_a_backward_that_changes_from_call_to_call(method: str) -> None:
    calls = iter(range(10**6))
    backward = lambda dout, x: dsine(dout, x) * (1.001 if next(calls) % 2 else 1.0)  # noqa: E731
    report = engine.check_gradients(sine, backward, [X], method)
    assert report.verdict == "wrong", report
    assert "called again at the same place" in " ".join(str(report).split())


# -- special places ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_gradient_that_is_off_at_whole_numbers_alone(method: str, seed: int) -> None:
    x = np.array([1.3, 2.0, 3.7, -2.5])
    backward = lambda dout, x: dout * 3 * x**2 * np.where(x == 2.0, 1.001, 1.0)  # noqa: E731
    report = engine.check_gradients(lambda x: (x**3, x), backward, [x], method, seed)
    assert report.verdict == "wrong", report  # it jumps there, which is no rounding


@pytest.mark.parametrize("method", ["central", "directional"])
def test_numbers_far_smaller_than_every_step(method: str) -> None:
    x, scale = 1e-30 * RNG.normal(size=7), 1e30
    forward = lambda x: ((scale * x) ** 2, x)  # noqa: E731
    assert engine.check_gradients(forward, lambda d, x: 2 * d * x * scale**2, [x], method).passed
    assert engine.check_gradients(forward, lambda d, x: d * x * scale**2, [x], method).verdict == "wrong"


def cross_entropy(x: Any) -> tuple[Any, Any]:
    shifted = x - x.real.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -logs[np.arange(5), [0, 2, 1, 3, 3]].mean(), np.exp(logs)


def dcross_entropy(dout: Any, probabilities: Any) -> Any:
    dx = probabilities.copy()
    dx[np.arange(5), [0, 2, 1, 3, 3]] -= 1
    return dout * dx / 5


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_of_a_perfect_prediction_hides_its_gradient(method: str) -> None:
    x = 0.01 * X
    x[np.arange(5), [0, 2, 1, 3, 3]] += 60
    report = engine.check_gradients(cross_entropy, dcross_entropy, [x], method)
    assert report.verdict == "cannot tell", report
    assert "not analytic" not in str(report)
    doubled = lambda dout, cache: 2 * dcross_entropy(dout, cache)  # noqa: E731
    assert engine.check_gradients(cross_entropy, doubled, [X], method).verdict == "wrong"


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        (lambda x: (x**2, x), lambda d, x: 2 * d * x, np.zeros(4)),
        (lambda x: (x.prod(), x), lambda d, x: d * np.array([6.0, 0.0, 0.0]), np.array([0.0, 2.0, 3.0])),
    ],
    ids=["squares of zeros", "a product with a zero"],
)
def test_the_complex_step_where_outputs_are_zero(forward: Any, backward: Any, x: np.ndarray) -> None:
    report = engine.check_gradients(forward, backward, [x], "complex")
    assert report.passed, report


def normalised(x: Any, b: Any) -> tuple[Any, Any]:
    z = x + b
    centred = z - z.mean(0)
    deviation = np.sqrt((centred**2).mean(0) + 1e-5)
    return centred / deviation, (centred / deviation, deviation)


def dnormalised(dout: Any, cache: Any) -> Any:
    hat, deviation = cache
    dx = (dout - dout.mean(0) - hat * (dout * hat).mean(0)) / deviation
    return dx, np.zeros(dx.shape[1], dx.dtype)


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_that_is_exactly_zero_by_structure(method: str) -> None:
    report = engine.check_gradients(normalised, dnormalised, [X, RNG.normal(size=4)], method)
    assert report.passed, report
    forgets = lambda dout, cache: (dnormalised(dout, cache)[0], dout.sum(0))  # noqa: E731
    assert engine.check_gradients(normalised, forgets, [X, RNG.normal(size=4)], method).verdict == "wrong"


# -- large tensors -----------------------------------------------------------------------------------------------------


def test_directions_find_the_one_wrong_entry_of_a_large_tensor() -> None:
    x = np.random.default_rng(183).normal(size=(90, 80))

    def backward(dout: Any, x: Any) -> Any:
        dx = dsine(dout, x)
        dx[58, 71] *= -1
        return dx

    report = engine.check_gradients(sine, backward, [x], "directional")
    assert report.verdict == "wrong"
    assert report.rows[0].extent.startswith("one entry: [58, 71]"), report
    assert "a sign" in report.rows[0].pattern
    spread = engine.check_gradients(sine, lambda d, x: 0.5 * dsine(d, x), [x], "directional")
    assert spread.rows[0].pattern.startswith("0.5 of the right value everywhere"), spread


# -- layers that write into what they are given ------------------------------------------------------------------------


class Writing:
    """A layer of the engine's protocol that spoils something in passing."""

    def __init__(self, spoils: str, factor: float = 1.0) -> None:
        rng = np.random.default_rng(184)
        self.spoils, self.factor = spoils, factor
        self.params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
        self.grads = {name: np.zeros_like(param) for name, param in self.params.items()}

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        y = np.tanh(x @ self.params["W"] + self.params["b"])
        tape = [x.copy(), y.copy()]
        if self.spoils == "x":
            x *= 2
        return y, (), tape

    def backward(self, tape: Any, dy: Any, dstate: Any = None) -> Any:
        x, y = tape
        da = dy * (1 - y * y)
        if self.spoils == "tape":
            y *= 0
        if self.spoils == "dy":
            dy *= 2
        dx = da @ self.params["W"].T
        self.grads["W"] += self.factor * np.einsum("tbi,tbj->ij", x, da)
        self.grads["b"] += da.sum((0, 1))
        if self.spoils == "params":
            self.params["W"] -= 0.1 * self.grads["W"]
        return dx, ()


@pytest.mark.parametrize("spoils", ["x", "tape", "dy", "params"])
@pytest.mark.parametrize("method", ["central", "directional", "taylor"])
def test_a_layer_that_writes_is_checked_all_the_same(spoils: str, method: str) -> None:
    x = np.random.default_rng(185).normal(size=(5, 2, 3))
    right = engine.gradcheck(Writing(spoils), x, method=method)
    assert right.verdict == "input mutated"
    assert all(row.verdict == "ok" for row in right.rows), right
    wrong = engine.gradcheck(Writing(spoils, 1.001), x, method=method)
    assert [row.name for row in wrong.rows if row.verdict == "wrong"] == ["W"], wrong
    assert any("writes into" in note for note in wrong.notes)


# -- objects -----------------------------------------------------------------------------------------------------------


class Affine:
    def __init__(self) -> None:
        self.W, self.b = W.copy(), B.copy()
        self.dW: Any = None
        self.db: Any = None

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: Any) -> Any:
        self.dW, self.db = self.x.T @ dout, dout.sum(0)
        return dout @ self.W.T


class NeverSet(Affine):
    def backward(self, dout: Any) -> Any:
        self.dW = self.x.T @ dout
        return dout @ self.W.T


class NothingReturned(Affine):
    def backward(self, dout: Any) -> Any:
        super().backward(dout)


class Uncopyable(Affine):
    def __init__(self) -> None:
        super().__init__()
        self.xp, self.lock, self.inner = np, threading.Lock(), [threading.Lock()]

    def forward(self, x: Any) -> Any:
        with self.lock:
            return super().forward(x)


class Returning:
    """Gradients in what backward returns; the dict that is there for them stays empty."""

    def __init__(self, by_name: bool) -> None:
        self.params: dict[str, Any] = {"W": W.copy(), "b": B.copy()}
        self.grads: dict[str, Any] = {}
        self.by_name = by_name

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout: Any) -> Any:
        dx, dw, db = dout @ self.params["W"].T, self.x.T @ dout, dout.sum(0)
        return {"x": dx, "W": dw, "b": db} if self.by_name else (dx, dw, db)


def test_a_gradient_that_has_a_place_and_was_never_set() -> None:
    report = engine.check_object(NeverSet(), X)
    assert [row.name for row in report.rows if row.verdict == "wrong"] == ["b"], report
    assert "db is None after backward" in str(report)


def test_the_input_that_an_object_keeps_is_no_gradient() -> None:
    report = engine.check_object(NothingReturned(), X)
    assert report.passed, report
    assert "backward gives no gradient: x" in str(report)


def test_objects_that_hold_what_cannot_be_copied() -> None:
    assert engine.check_object(Uncopyable(), X).passed


@pytest.mark.parametrize("by_name", [True, False])
def test_returned_gradients_beside_an_empty_dict(by_name: bool) -> None:
    report = engine.check_object(Returning(by_name), X)
    assert report.passed, report
    assert {row.name for row in report.rows} == {"x", "W", "b"}


# -- places that forward refuses ---------------------------------------------------------------------------------------


def guarded_root(x: Any) -> tuple[Any, Any]:
    if (x < 0).any():
        raise ValueError("negative")
    return np.sqrt(x), x


def entropy(p: Any) -> tuple[Any, Any]:
    assert abs(p.sum() - 1.0) < 1e-6
    return (p * np.log(p)).sum(), p


@pytest.mark.parametrize("method", ["central", "directional"])
def test_a_forward_that_refuses_inputs_nearby(method: str) -> None:
    x = np.array([1e-5, 1.0, 2.0])
    report = engine.check_gradients(guarded_root, lambda d, x: d / 2 / np.sqrt(x), [x], method)
    assert report.passed, report
    wrong = engine.check_gradients(guarded_root, lambda d, x: d / np.sqrt(x), [x], method)
    assert wrong.verdict == "wrong", wrong
    p = np.array([0.2, 0.3, 0.5])
    report = engine.check_gradients(entropy, lambda d, p: d * (np.log(p) + 1), [p], method)
    assert report.verdict in ("ok", "cannot tell"), report
    assert "forward raises AssertionError at inputs near these" in " ".join(str(report).split())


def test_outputs_whose_number_depends_on_the_inputs() -> None:
    def backward(dout: Any, x: Any) -> Any:
        dx = np.zeros_like(x)
        dx[x > 0] = dout
        return dx

    report = engine.check_gradients(lambda x: (x[x > 0], x), backward, [X])
    assert report.verdict == "ok", report


def softmax(x: Any) -> tuple[Any, Any]:
    y = np.exp(x - x.real.max(-1, keepdims=True))
    y = y / y.sum(-1, keepdims=True)
    return y, y


def dsoftmax(dout: Any, y: Any) -> Any:
    return y * (dout - (dout * y).sum(-1, keepdims=True))


@pytest.mark.parametrize("method", METHODS)
def test_logits_that_are_masked_with_minus_infinity(method: str) -> None:
    x = X.copy()
    x[2, 1] = -np.inf
    report = engine.check_gradients(softmax, dsoftmax, [x], method)
    assert report.passed, report
    assert any("where x is not finite: 1 of 20" in note for note in report.notes)
    assert engine.check_gradients(softmax, lambda d, y: 1.001 * dsoftmax(d, y), [x], method).verdict == "wrong"


def test_a_backward_that_fails_for_zeros_in_dout() -> None:
    def backward(dout: Any, x: Any) -> Any:
        if not dout.all():
            raise ZeroDivisionError
        return dsine(dout, x)

    report = engine.check_gradients(sine, backward, [X])
    assert report.verdict == "wrong"
    assert "backward raises ZeroDivisionError" in str(report)


def test_a_wrong_gradient_beside_an_array_of_one_entry_has_a_report() -> None:
    """Scalars are looked at for a pattern; an array of one entry is one of them, whatever its number of axes."""

    def backward(dout: Any, cache: Any) -> Any:
        x, w = cache
        return 2.5 * dout * w, (dout * x).sum(keepdims=True)

    report = engine.check_gradients(lambda x, w: (x * w, (x, w)), backward, [X, np.array([[0.7]])])
    assert (report.verdict, report.worst.name) == ("wrong", "x")
