"""What people type in their first five minutes: losses inside models, weight decay, lists, forgotten returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import engine
from bptt_engine.pytest_plugin import GradientChecks
from engine.checking.report.report import Report

rng = np.random.default_rng(31)
X, Y = rng.normal(size=(7, 6)), np.array([0, 2, 1, 3, 3, 0, 2])
WEIGHTS = {"W1": (6, 5), "b1": (5,), "W2": (5, 4), "b2": (4,)}


class Net:
    """Two layers and a softmax loss with weight decay; the decay of W1 has a factor."""

    def __init__(self, reg: float = 0.1, factor: float = 1.0) -> None:
        own = np.random.default_rng(32)
        self.params = {name: 0.5 * own.normal(size=shape) for name, shape in WEIGHTS.items()}
        self.grads: dict[str, Any] = {}
        self.reg, self.factor = reg, factor

    def forward(self, X: Any) -> Any:
        p = self.params
        z1 = X @ p["W1"] + p["b1"]
        self.cache = (X, z1, np.maximum(z1, 0.0))
        return self.cache[2] @ p["W2"] + p["b2"]

    def backward(self, dscores: Any) -> Any:
        (X, z1, a1), p = self.cache, self.params
        dz1 = dscores @ p["W2"].T * (z1 > 0)
        self.grads["W2"] = a1.T @ dscores + self.reg * p["W2"]
        self.grads["b2"] = dscores.sum(axis=0)
        self.grads["W1"] = X.T @ dz1 + self.factor * self.reg * p["W1"]
        self.grads["b1"] = dz1.sum(axis=0)
        return dz1 @ p["W1"].T

    def loss(self, X: Any, y: Any = None) -> Any:
        scores = self.forward(X)
        if y is None:
            return scores
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        p, rows = e / e.sum(axis=1, keepdims=True), np.arange(len(y))
        loss = -np.log(p[rows, y]).mean()
        loss += 0.5 * self.reg * sum((self.params[name] ** 2).sum() for name in ("W1", "W2"))
        p[rows, y] -= 1
        self.backward(p / len(y))
        return loss, self.grads


def in_one_line(report: Report) -> str:
    return " ".join(str(report).split())


class OnlyLoss(Net):
    """Returns the loss alone, and leaves the gradients in itself."""

    def loss(self, X: Any, y: Any = None) -> Any:
        return super().loss(X, y)[0]


class Bare:
    """A model that has nothing but the method, and keeps no gradients."""

    def __init__(self, factor: float = 1.0) -> None:
        self.params, self.factor = Net().params, factor

    def loss(self, X: Any, y: Any) -> Any:
        net = Net(factor=self.factor)
        net.params = self.params
        return net.loss(X, y)


class Noisy(Net):
    """Draws a mask in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(33)

    def loss(self, X: Any, y: Any = None) -> Any:
        return super().loss(X * (self.rng.random(X.shape) > 0.3), y)


@pytest.mark.parametrize("model", [Net(), OnlyLoss(), Bare(), Noisy()], ids=lambda model: type(model).__name__)
def test_a_loss_with_its_gradients_inside_a_model(model: Any) -> None:
    for given in (model, model.loss):
        report = engine.check_object(given, (X, Y))
        assert report.passed, report
        assert [row.name for row in report.rows] == list(WEIGHTS)
        assert f"took {type(model).__name__}.loss for the loss and its gradients" in report.notes[0]


@pytest.mark.parametrize("model", [Net(factor=2.0), OnlyLoss(factor=2.0), Bare(factor=2.0)])
def test_a_wrong_decay_inside_the_loss(model: Any) -> None:
    report = engine.check_object(model, (X, Y))
    assert report.verdict == "wrong"
    assert [row.name for row in report.rows if row.verdict == "wrong"] == ["W1"]
    assert "off by 0.1 times the tensor's own values: a term of weight decay too many?" in in_one_line(report)


def test_a_decay_is_told_in_its_own_size_whatever_dout_is() -> None:
    def forward(w: Any) -> Any:
        return (np.sin(w) ** 2).sum(), w

    report = engine.check_gradients(forward, lambda dout, w: dout * (np.sin(2 * w) + 0.3 * w), [X])
    assert "off by 0.3 times the tensor's own values: a term of weight decay too many?" in in_one_line(report)


def test_a_decay_that_forward_does_not_have_is_called_that() -> None:
    report = engine.check_object(Net(), X)
    assert report.verdict == "wrong"
    assert report.diagnosis is not None
    assert report.diagnosis.cause.startswith(
        "backward adds 0.1 times the tensor itself, whatever dout is: weight decay?"
    )
    assert engine.check_object(Net(reg=0.0), X).passed


def test_a_loss_needs_its_labels() -> None:
    with pytest.raises(engine.InputTypeError, match=r"one number.*got one that returns a numpy.ndarray.*\(x, y\)"):
        engine.check_object(Net().loss, X)
    with pytest.raises(engine.InputError, match=r"the arguments of loss\(X, y\).*3 of them"):
        engine.check_object(Net().loss, (X, Y, Y))


def test_gradients_by_name_for_a_dict_of_parameters() -> None:
    class Layer:
        def __init__(self) -> None:
            self.params = {"w": rng.normal(size=(6, 3)), "b": rng.normal(size=3)}

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.params["w"] + self.params["b"]

        def backward(self, dout: Any) -> Any:
            return dout @ self.params["w"].T, {"w": self.x.T @ dout, "b": dout.sum(axis=0)}

    report = engine.check_object(Layer(), X)
    assert report.passed, report
    assert len(report.rows) == 3


@pytest.mark.parametrize("name", ["x", "X", "inputs"])
def test_the_input_itself_is_not_taken_for_its_gradient(name: str) -> None:
    class Forgetful(Net):
        def forward(self, X: Any) -> Any:
            setattr(self, name, X)
            return super().forward(X)

        def backward(self, dscores: Any) -> Any:
            super().backward(dscores)

    report = engine.check_object(Forgetful(reg=0.0), X)
    assert "X" not in [row.name for row in report.rows]
    assert "not checked, as backward gives no gradient: X" in report.notes


def affine(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b, (x, w)


def affine_backward(dout: Any, cache: Any) -> Any:
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


W, B = rng.normal(size=(6, 3)), rng.normal(size=3)


def test_what_user_code_raises_says_what_it_was_handed() -> None:
    for call, words in (
        (lambda: engine.check_gradients(affine, affine_backward, [X.T, W, B]), "forward(x (6, 7), w (6, 3), b (3,))"),
        (
            lambda: engine.check_gradients(affine, lambda d, c: d @ c[0].T, [X, W, B]),
            "backward(dout (7, 3), cache a tuple)",
        ),
        (
            lambda: engine.check_gradients(affine, affine_backward, [X.tolist(), W, B]),
            "np.array(x) makes an array of it",
        ),
        (lambda: engine.check_object(Net(), X.T), "forward(X (6, 7))"),
        (lambda: engine.check_object(Net(), X.tolist()), "np.array(X) makes an array of it"),
    ):
        with pytest.raises((ValueError, AttributeError)) as caught:
            call()
        assert words in " ".join(caught.value.__notes__)


def test_whole_numbers_that_have_a_gradient_are_named() -> None:
    report = engine.check_gradients(affine, affine_backward, [np.arange(42).reshape(7, 6), W, B])
    assert report.passed
    assert "not checked, as it holds whole numbers: x; x.astype(float) is checked" in report.notes


def test_gradients_in_another_order() -> None:
    def exchanged(dout: Any, cache: Any) -> Any:
        dx, dw, db = affine_backward(dout, cache)
        return dw, dx, db

    report = engine.check_gradients(affine, exchanged, [X, W, B])
    assert "which is that of w: gradients in another order than the inputs?" in in_one_line(report)
    alone = engine.check_gradients(affine, lambda d, c: (c[1], *affine_backward(d, c)[1:]), [X, W, B])
    assert "another order" not in str(alone)


def test_arguments_that_stand_in_no_list() -> None:
    with pytest.raises(engine.InputTypeError, match=r"all arguments of forward stand in one list: \[x, w, b\]"):
        engine.check_gradients(affine, affine_backward, X, W, B)  # type: ignore[arg-type]


def test_nan_in_the_inputs_is_told() -> None:
    broken = X.copy()
    broken[3, 2] = np.nan
    report = engine.check_gradients(affine, affine_backward, [broken, W, B])
    assert not report.passed
    assert "x held NaN or infinity before anything was computed" in report.warnings


def test_all_gates_that_depart_alike_are_named() -> None:
    def step(x: Any, c: Any, w: Any) -> Any:
        i, f, o, g = np.split(x @ w, 4, axis=1)
        i, f, o, g = (1 / (1 + np.exp(-a)) for a in (i, f, o, g))
        new = f * c + i * g
        return o * np.tanh(new), (x, c, w, i, f, o, g, new)

    def backward(dout: Any, cache: Any) -> Any:
        x, c, w, i, f, o, g, new = cache
        dc = dout * o  # the slope of tanh is forgotten
        parts = (dc * g * i * (1 - i), dc * c * f * (1 - f), dout * np.tanh(new) * o * (1 - o), dc * i * g * (1 - g))
        da = np.hstack(parts)
        return da @ w.T, dc * f, x.T @ da

    given = [X, rng.normal(size=(7, 3)), rng.normal(size=(6, 12))]
    report = engine.check_gradients(step, backward, given, gates="ifog")
    assert report.diagnosis is not None
    assert {report.diagnosis.gate, *report.diagnosis.beside} == {"i", "f", "g"}
    assert "seen most simply" not in str(report)  # there is but one output


def test_objects_losses_and_functions_in_assertions() -> None:
    check = GradientChecks(seed=0, method=None)
    for assertion in (engine.assert_gradients, check):
        assertion(Net(reg=0.0), X)
        assertion(Net().loss, (X, Y))
        assertion(Bare(), (X, Y))
        assertion(affine, affine_backward, [X, W, B])
        with pytest.raises(AssertionError, match="wrong: W1"):
            assertion(Net(factor=2.0).loss, (X, Y))
    with pytest.raises(engine.InputTypeError, match="check_object"):
        engine.gradcheck(Net(), X)


def test_a_mean_over_as_many_rows_as_there_are_labels() -> None:
    class Summed(Net):
        def backward(self, dscores: Any) -> Any:
            return super().backward(dscores * 7)

    report = engine.check_object(Summed(reg=0.0), (X, Y))
    assert "a sum in place of a mean (axis 0 of y has length 7)?" in in_one_line(report)
