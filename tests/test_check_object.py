"""`check_object`: forward, backward, parameters and gradients are found in objects as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import engine

X = np.random.default_rng(81).normal(size=(5, 4))


class Dense:
    """Attributes W and dW; `factor` spoils the gradient of W."""

    def __init__(self, factor: float = 1.0) -> None:
        rng = np.random.default_rng(82)
        self.W, self.b, self.factor = rng.normal(size=(4, 3)), rng.normal(size=3), factor

    def forward(self, x: Any) -> Any:
        self.x, self.out = x, np.tanh(x @ self.W + self.b)
        return self.out

    def grads_of(self, dout: Any) -> tuple[Any, Any, Any]:
        da = dout * (1 - self.out**2)
        return da @ self.W.T, self.factor * self.x.T @ da, da.sum(0)

    def backward(self, dout: Any) -> Any:
        dx, self.dW, self.db = self.grads_of(dout)
        return dx


class Tuple(Dense):
    def backward(self, dout: Any) -> Any:
        return self.grads_of(dout)


class ByName(Dense):
    def backward(self, dout: Any) -> Any:
        return dict(zip(("dx", "dW", "db"), self.grads_of(dout), strict=True))


class Mixed(Dense):
    def backward(self, dout: Any) -> Any:
        dx, dw, db = self.grads_of(dout)
        return dx, {"W": dw, "b": db}


class ParamsFirst(Dense):
    def backward(self, dout: Any) -> Any:
        dx, dw, db = self.grads_of(dout)
        return dw, db, dx


class Suffixed(Dense):
    def backward(self, dout: Any) -> Any:
        dx, self.W_grad, self.b_grad = self.grads_of(dout)
        return dx


class Dicts(Dense):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        self.params = {"W": self.W, "b": self.b}
        self.grads = {"W": np.ones_like(self.W), "b": np.ones_like(self.b)}  # from a pass before

    def backward(self, dout: Any) -> Any:
        dx, dw, db = self.grads_of(dout)
        self.grads["W"] += dw
        self.grads["b"] += db
        return dx


class CallAndBackprop:
    """Other names of the methods, parameters as objects, a cache in slots."""

    class Param:
        __slots__ = ("grad", "value")

        def __init__(self, value: Any) -> None:
            self.value, self.grad = value, None

    def __init__(self, factor: float = 1.0) -> None:
        rng = np.random.default_rng(83)
        self.factor, self.W, self.b = factor, self.Param(rng.normal(size=(4, 3))), self.Param(rng.normal(size=3))

    def __call__(self, x: Any) -> Any:
        self.x = x
        return x @ self.W.value + self.b.value

    def backprop(self, delta: Any) -> Any:
        self.W.grad, self.b.grad = self.factor * self.x.T @ delta, delta.sum(0)
        return delta @ self.W.value.T


class Stepping(Dense):
    def backward(self, output_gradient: Any, learning_rate: float) -> Any:  # type: ignore[override]
        dx, dw, db = self.grads_of(output_gradient)
        self.W -= learning_rate * dw
        self.b = self.b - learning_rate * db
        return dx


class Nothing(Dense):
    """forward and backward return nothing."""

    def forward(self, x: Any) -> None:
        super().forward(x)

    def backward(self, dvalues: Any) -> None:
        self.dx, self.dW, self.db = self.grads_of(dvalues)


class CacheOut(Dense):
    """The cache is returned, and the object holds parameters alone."""

    def forward(self, x: Any) -> Any:
        return super().forward(x), (x, self.out)

    def backward(self, dout: Any, cache: Any) -> Any:  # type: ignore[override]
        self.x, self.out = cache
        return self.grads_of(dout)


class Lazy:
    """Parameters are drawn at the first pass, from numbers that no seed fixes."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.X = factor, np.zeros(0)
        self.parameters: dict[str, Any] = {"W": None, "b": None}
        self.gradients: dict[str, Any] = {}

    def forward(self, X: Any) -> Any:
        if self.parameters["W"] is None:
            rng = np.random.default_rng()
            self.parameters = {"W": rng.normal(size=(X.shape[1], 3)), "b": np.zeros((1, 3))}
            self.gradients = {"W": np.zeros((X.shape[1], 3)), "b": np.zeros((1, 3))}
        self.X = X
        return X @ self.parameters["W"] + self.parameters["b"]

    def backward(self, dY: Any, retain: bool = True) -> Any:
        self.gradients["W"] += self.factor * np.transpose(self.X) @ dY
        self.gradients["b"] += dY.sum(0, keepdims=True)
        return dY @ self.parameters["W"].T


SHAPES: list[Callable[..., Any]] = [
    Dense, Tuple, ByName, Mixed, ParamsFirst, Suffixed, Dicts, CallAndBackprop, Stepping, Nothing, CacheOut, Lazy
]  # fmt: skip


@pytest.mark.parametrize("kind", SHAPES)
def test_parameters_and_gradients_are_found(kind: Callable[..., Any]) -> None:
    report = engine.check_object(kind(), X)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["X" if kind is Lazy else "x", "W", "b"]
    wrong = engine.check_object(kind(factor=1.001), X)
    assert [row.name for row in wrong.rows if row.verdict == "wrong"] == ["W"], wrong
    assert "note: took" in str(wrong)


@pytest.mark.parametrize("method", ["complex", "directional", "taylor"])
def test_other_methods(method: str) -> None:
    assert engine.check_object(Dicts(), X, method=method).passed
    assert engine.check_object(Dicts(factor=1.1), X, method=method).verdict == "wrong"


def test_the_object_is_left_alone() -> None:
    layer = Dicts()
    layer.forward(X)
    before = {name: value.copy() for name, value in (*layer.params.items(), *layer.grads.items(), ("x", layer.x))}
    assert engine.check_object(layer, X[:3]).passed
    assert all(np.array_equal(before[name], now) for name, now in (*layer.grads.items(), ("x", layer.x)))


class Net:
    def __init__(self, *layers: Any) -> None:
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout: Any) -> Any:
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class Normed:
    """Running averages are no parameters; the mask comes from a generator of its own."""

    def __init__(self) -> None:
        self.gamma, self.running_mean, self.rng = np.array([1.2, -0.3, 0.7]), np.zeros(3), np.random.default_rng(3)

    def forward(self, x: Any) -> Any:
        self.std = np.sqrt(x.var(0) + 1e-5)
        self.hat = (x - x.mean(0)) / self.std
        self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean(0)
        self.mask = self.rng.random(x.shape) < 0.7
        return self.gamma * self.hat * self.mask

    def backward(self, dout: Any) -> Any:
        self.dgamma = (dout * self.mask * self.hat).sum(0)
        d = dout * self.mask * self.gamma
        return (d - d.mean(0) - self.hat * (d * self.hat).mean(0)) / self.std


def test_layers_inside_are_followed() -> None:
    report = engine.check_object(Net(Dense(), Normed()), X)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["x", "layers[0].W", "layers[0].b", "layers[1].gamma"]
    wrong = engine.check_object(Net(Dense(factor=0.5), Normed()), X)
    assert wrong.worst.name == "layers[0].W"


class Squared:
    def forward(self, pred: Any, target: Any) -> Any:
        self.pair = pred, target
        return ((pred - target) ** 2).mean()

    def backward(self) -> Any:
        pred, target = self.pair
        return 2 * (pred - target) / pred.size


class SquaredOf(Squared):
    def backward(self, pred: Any, target: Any) -> Any:  # type: ignore[override]
        return 2 * (pred - target) / len(pred)


def test_losses() -> None:
    report = engine.check_object(Squared(), (X, X[:, ::-1].copy()))
    assert report.passed, report
    assert "not checked, as backward gives no gradient: target" in str(report)
    assert engine.check_object(SquaredOf(), (X, X[:, ::-1].copy())).verdict == "wrong"


class Recurrent:
    def __init__(self) -> None:
        rng = np.random.default_rng(84)
        self.params = [rng.normal(size=(4, 2)), 0.5 * rng.normal(size=(2, 2))]
        self.grads = [np.zeros((4, 2)), np.zeros((2, 2))]

    def forward(self, xs: Any, h: Any) -> Any:
        (W, U), self.steps, out = self.params, [], []
        for x in xs:
            new = np.tanh(x @ W + h @ U)
            self.steps.append((x, h, new))
            h = new
            out.append(h)
        return out

    def backward(self, dhs: Any) -> Any:
        (W, U), (dW, dU), dh = self.params, self.grads, 0
        dxs: list[Any] = []
        for d, (x, h, new) in zip(reversed(dhs), reversed(self.steps), strict=True):
            da = (d + dh) * (1 - new * new)
            dW += x.T @ da
            dU += h.T @ da
            dxs.insert(0, da @ W.T)
            dh = da @ U.T
        return np.stack(dxs), dh


def test_several_arguments_and_lists_over_time_steps() -> None:
    rng = np.random.default_rng(85)
    xs, h = rng.normal(size=(3, 5, 4)), rng.normal(size=(5, 2))
    report = engine.check_object(Recurrent(), (xs, h), time_axis=0)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["xs", "h", "params[0]", "params[1]"]


class Spoiling(Dense):
    def backward(self, dout: Any) -> Any:
        self.out *= -self.out
        self.out += 1
        da = dout * self.out
        self.dW, self.db = self.factor * self.x.T @ da, da.sum(0)
        return da @ self.W.T


def test_a_backward_that_spoils_its_cache() -> None:
    assert engine.check_object(Spoiling(), X).verdict == "input mutated"
    assert engine.check_object(Spoiling(), X, allow=("mutation",)).passed
    wrong = engine.check_object(Spoiling(factor=1.1), X)
    assert wrong.verdict == "wrong"
    assert any("spoils its cache" in note for note in wrong.notes)


class Forgetful(Dense):
    def backward(self, dout: Any) -> Any:
        dx, self.dW, _ = self.grads_of(dout)
        return dx


class ForgetfulDicts(Dicts):
    def backward(self, dout: Any) -> Any:
        dx, dw, _ = self.grads_of(dout)
        self.grads = {"W": dw}
        return dx


def test_a_parameter_without_a_gradient_is_said() -> None:
    wrong = engine.check_object(Forgetful(), X)  # it stands beside W, which has one
    assert [row.name for row in wrong.rows if row.verdict == "wrong"] == ["b"]
    assert "b has no gradient, and those beside it have theirs: forgotten?" in " ".join(wrong.notes)
    wrong = engine.check_object(ForgetfulDicts(), X)  # it stands in params, so it has one
    assert [row.name for row in wrong.rows if row.verdict == "wrong"] == ["b"]


class Strange(Dense):
    def backward(self, dout: Any) -> Any:
        dx, self.first, self.second = self.grads_of(dout)
        return dx


def test_names_of_ones_own() -> None:
    report = engine.check_object(Strange(), X, params=["W", "b"], grads=["first", "second"])
    assert report.passed, report
    assert [row.name for row in report.rows] == ["x", "W", "b"]
    wrong = engine.check_object(Strange(factor=2), X, params=["W"], grads={"W": "first"})
    assert wrong.worst.name == "W"
    assert [row.name for row in engine.check_object(Dense(), X, params=[]).rows] == ["x"]


def test_what_is_no_such_object_is_refused() -> None:
    with pytest.raises(engine.InputTypeError, match=r"layer: expected an object, got the class Dense; make one: Dense"):
        engine.check_object(Dense, X)
    with pytest.raises(engine.InputTypeError, match="layer: expected an object with a method backward, got a function"):
        engine.check_object(lambda x: x, X)
    with pytest.raises(engine.InputError, match=r"params: expected names in the object: .*W, b.*, got 'Q'"):
        engine.check_object(Dense(), X, params=["Q"])
    with pytest.raises(engine.InputError, match=r"grads: expected a gradient of W in the object, got none"):
        engine.check_object(Strange(), X, params=["W"])
    with pytest.raises(engine.InputTypeError, match=r"grads: expected 1 names of gradients"):
        engine.check_object(Strange(), X, params=["W"], grads=["first", "second"])


class OwnRate(Dense):
    """Backward makes the step with a learning rate of its own."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(factor)
        self.lr = 0.01

    def backward(self, dout: Any) -> Any:
        dx, dw, db = self.grads_of(dout)
        self.W -= self.lr * dw
        self.b -= self.lr * db
        return dx


def test_a_step_with_a_rate_of_its_own() -> None:
    report = engine.check_object(OwnRate(), X)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["x", "W", "b"]
    assert engine.check_object(OwnRate(factor=1.01), X).worst.name == "W"


class NoMask(Dense):
    """Forward gives out a mask too, which is None where there is none."""

    def forward(self, x: Any) -> Any:
        return super().forward(x), None


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "ok"), (0.5, "wrong")])
def test_an_output_that_is_none(factor: float, verdict: str) -> None:
    assert engine.check_object(NoMask(factor), X).verdict == verdict


def test_an_object_whose_getattr_raises_what_it_should_not() -> None:
    class Options(dict):
        def __getattr__(self, name: str) -> Any:
            return self[name]  # a KeyError for a name that is not there

    class Of(Dense):
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    layer = Dense()
    layer.options = Options(rate=0.1)  # type: ignore[attr-defined]
    assert engine.check_object(layer, X).verdict == "ok"
    with pytest.raises(engine.errors.InputTypeError, match=r"an object that copy\.deepcopy can copy"):
        engine.check_object(Of(), X)
