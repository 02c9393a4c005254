"""The gradient checker on graphs that add gradients up, on complex parameters, and on gradients handed on by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import engine
from engine.checking.diagnosis.pairs import Around
from engine.checking.diagnosis.patterns import pattern


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# -- graphs ------------------------------------------------------------------------------------------------------------


class Number:
    """A number of a graph: its parents stand in a set, and closures add to their gradients."""

    adds = True

    def __init__(self, data: float, parents: tuple[Number, ...] = ()) -> None:
        self.data, self.grad, self._parents = data, 0.0, set(parents)
        self._pass: Any = lambda: None

    def __mul__(self, other: Number) -> Number:
        out = Number(self.data * other.data, (self, other))

        def back() -> None:
            self.grad = out.grad * other.data + self.grad * self.adds
            other.grad += out.grad * self.data

        out._pass = back
        return out

    def tanh(self) -> Number:
        out = Number(math.tanh(self.data), (self,))

        def back() -> None:
            self.grad += (1 - out.data**2) * out.grad

        out._pass = back
        return out

    def backward(self, grad: float) -> None:
        order: list[Number] = []

        def visit(one: Number) -> None:
            if one not in order:
                for parent in one._parents:
                    visit(parent)
                order.append(one)

        visit(self)
        self.grad = grad
        for one in reversed(order):
            one._pass()


def graph(a: float, b: float) -> tuple[float, tuple[Number, ...]]:
    a_, b_ = Number(a), Number(b)
    out = (a_ * b_).tanh() * a_ * (b_ * a_)
    return out.data, (out, a_, b_)


def graph_back(dout: float, cache: tuple[Number, ...]) -> list[float]:
    out, *leaves = cache
    out.backward(dout)
    return [leaf.grad for leaf in leaves]


def test_gradients_that_add_up_in_a_graph_are_no_spoilt_cache() -> None:
    report = engine.check_gradients(graph, graph_back, [0.7, 1.3])
    assert report.passed, report


def test_a_graph_that_assigns_in_place_of_adding_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Number, "adds", False)
    assert engine.check_gradients(graph, graph_back, [0.7, 1.3]).verdict == "wrong"


def test_a_backward_that_draws_random_numbers_is_wrong() -> None:
    numbers = np.random.default_rng(0)

    def backward(dout: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray(dout * np.cos(x) * (numbers.random(x.shape) < 0.97))

    report = engine.check_gradients(lambda x: (np.sin(x), x), backward, [normal(1, 3, 4)])
    assert report.verdict == "wrong", report


def test_a_cache_that_backward_spoils_is_still_seen() -> None:
    def backward(dout: np.ndarray, cache: dict[str, np.ndarray]) -> np.ndarray:
        cache["slope"] *= dout
        return cache["slope"]

    report = engine.check_gradients(lambda x: (np.sin(x), {"slope": np.cos(x)}), backward, [normal(2, 3, 4)])
    assert report.verdict == "input mutated", report


# -- objects -----------------------------------------------------------------------------------------------------------


class Spectral:
    """A layer with a complex weight for each frequency."""

    def __init__(self, turned: bool) -> None:
        self.w, self.turned = normal(3, 5) + 1j * normal(4, 5), turned

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.f = np.fft.fft(x)
        return np.asarray(np.fft.ifft(self.f * self.w).real)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        d = np.fft.fft(dout) / dout.shape[-1]
        self.dw = (d * (self.f if self.turned else self.f.conj())).sum(axis=0)
        return np.asarray(np.fft.ifft(d * self.w.conj()).real * dout.shape[-1])


def test_complex_parameters_of_an_object_are_found_and_checked() -> None:
    report = engine.check_object(Spectral(False), normal(5, 3, 5))
    assert (report.verdict, [row.name for row in report.rows]) == ("ok", ["x", "w"]), report
    report = engine.check_object(Spectral(True), normal(5, 3, 5))
    assert (report.verdict, report.worst.name) == ("wrong", "w"), report
    with pytest.raises(engine.InputError, match="complex"):
        engine.check_object(Spectral(False), normal(5, 3, 5), method="complex")


class Affine:
    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.W, self.b = W, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.asarray(x @ self.W + self.b)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return np.asarray(dout @ self.W.T)


class Net:
    """Layers that share the arrays of params; `gradient` hands their gradients on under the names of these."""

    def __init__(self, names: str) -> None:
        shapes = {"W1": (4, 3), "b1": (3,), "W2": (3, 2), "b2": (2,)}
        self.params = {name: normal(k, *shape) for k, (name, shape) in enumerate(shapes.items())}
        self.layers = [Affine(self.params[f"W{k}"], self.params[f"b{k}"]) for k in (1, 2)]
        self.names = names

    def loss(self, x: np.ndarray, y: np.ndarray) -> float:
        for layer in self.layers:
            x = layer.forward(x)
        self.gap = x - y
        return float((self.gap**2).sum())

    def gradient(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        self.loss(x, y)
        dout = 2 * self.gap
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        first, second = self.layers
        given = {"W1": first.dW, "b1": first.db, "W2": second.dW, "b2": second.db}
        return {**given, "b1": 0 * first.db} if self.names == "wrong" else given


def test_gradients_under_the_names_of_params_count_not_those_of_the_layers() -> None:
    x, y = normal(6, 5, 4), normal(7, 5, 2)
    report = engine.check_object(Net("right"), (x, y), check=["W1", "b1", "W2", "b2"])
    assert report.passed, report
    report = engine.check_object(Net("wrong"), (x, y), check=["W1", "b1", "W2", "b2"])
    assert [row.name for row in report.rows if row.verdict == "wrong"] == ["b1"], report


# -- zero by structure -------------------------------------------------------------------------------------------------


def normalised(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = a - a.mean(axis=0)
    scale = ((centred * centred).mean(axis=0) + 1e-5) ** 0.5
    return centred / scale, scale


def normalised_back(d: np.ndarray, y: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.asarray((d - d.mean(axis=0) - y * (d * y).mean(axis=0)) / scale)


def shifted(x: np.ndarray, shift: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, Any]:
    """The first unit is on in every row: batch normalisation takes its shift out again."""
    z = x + shift
    y, scale = normalised((z * (z.real > 0)) @ w)
    return y, (z, w, y, scale)


def shifted_back(d: np.ndarray, cache: Any) -> tuple[np.ndarray, ...]:
    z, w, y, scale = cache
    da = normalised_back(d, y, scale)
    dz = da @ w.T * (z.real > 0)
    return dz, dz.sum(axis=0), (z * (z.real > 0)).T @ da


@pytest.mark.parametrize("method", ["central", "complex", "directional", "taylor"])
def test_a_shift_that_changes_nothing_up_to_a_kink_has_no_gradient(method: str) -> None:
    for seed in range(3):
        inputs = [normal(seed, 6, 3), np.array([6.0, 0.3, -0.2]), normal(seed + 9, 3, 4)]
        report = engine.check_gradients(shifted, shifted_back, inputs, method, seed)
        assert report.passed, report

    def wrong(d: np.ndarray, cache: Any) -> tuple[np.ndarray, ...]:
        dx, shift, w = shifted_back(d, cache)
        return dx, shift + np.array([1e-6, 0.0, 0.0]), w

    assert engine.check_gradients(shifted, wrong, inputs, method).verdict == "wrong"


@pytest.mark.parametrize("scale", [40.0, 400.0, 3000.0])
def test_a_saturated_unit_whose_way_back_is_forgotten_does_not_pass(scale: float) -> None:
    def forward(x: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        s = 0.5 + 0.5 * np.tanh(0.5 * (x + b))
        return s, s

    report = engine.check_gradients(
        forward, lambda d, s: (d * s * (1 - s), np.zeros(3)), [normal(8, 4, 3), np.array([1.0, -1.0, 1.0]) * scale]
    )
    assert report.verdict in ("wrong", "cannot tell"), report


# -- words -------------------------------------------------------------------------------------------------------------


def words(claimed: np.ndarray, numeric: np.ndarray, **known: Any) -> str:
    return pattern(claimed, numeric, np.abs(claimed - numeric) > 1e-9, Around(**known))


def test_rows_are_called_assigned_only_beside_a_right_row_of_an_index_that_occurs_once() -> None:
    right, wrong = normal(9, 5, 3), normal(10, 5, 3)
    repeated = np.array([True, True, False, True, True])
    mixed = np.where(repeated[:, None], wrong, right)
    assert "occurs twice or more in ids" in words(mixed, right, repeated={"ids": repeated})
    assert "occurs" not in words(wrong, right, repeated={"ids": np.ones(5, dtype=bool)})
    unused = right * np.array([1, 1, 0, 1, 1])[:, None]  # the third index does not occur at all
    assert "occurs" not in words(np.where(repeated[:, None], wrong, unused), unused, repeated={"ids": repeated})


def test_a_single_number_in_each_column_is_no_factor_of_its_own() -> None:
    right, claimed = np.zeros((5, 4)), np.zeros((5, 4))
    right[2], claimed[2] = normal(11, 4), normal(12, 4)
    assert "factor" not in words(claimed, right)
    right, factors = normal(13, 5, 4), np.array([2.0, 0.3, -1.0, 5.0])
    assert "a factor of each column's own" in words(right * factors, right)


def test_an_output_whose_gradient_is_not_used_is_named() -> None:
    x = normal(14, 3, 4)
    report = engine.check_gradients(lambda x: ((np.sin(x), np.cos(x)), x), lambda d, x: (d[0] * np.cos(x),), [x])
    assert getattr(report.diagnosis, "cause", "") == "no gradient comes back from out[1]", report


def test_of_a_loss_the_last_of_the_parameters_that_depart_is_named() -> None:
    def loss(x: np.ndarray, w: np.ndarray, v: np.ndarray) -> tuple[float, Any]:
        h = np.tanh(x @ w)
        p = np.exp(h @ v) / np.exp(h @ v).sum(axis=1, keepdims=True)
        return float(-np.log(p[:, 0]).mean()), (x, w, v, h, p)

    def backward(dout: float, cache: Any) -> tuple[np.ndarray, np.ndarray]:
        x, _, v, h, p = cache
        ds = p / len(p)  # the label's 1 is missing
        return x.T @ (ds @ v.T * (1 - h * h)) * dout, h.T @ ds * dout

    for seed in range(4):
        given = [normal(seed, 6, 3), normal(seed + 20, 3, 4), normal(seed + 40, 4, 5)]
        report = engine.check_gradients(loss, backward, given, check=["w", "v"])
        assert getattr(report.diagnosis, "name", "") == "v", report


# -- names and forms of gradients in objects ---------------------------------------------------------------------------


def dense(weights: str, bias: str, spoil: Any = lambda gradient: gradient) -> Any:
    """A layer with the parameters W and b, whose gradients it leaves under other names."""

    class Dense:
        def __init__(self, names: tuple[str, str]) -> None:
            setattr(self, names[0], normal(15, 3, 4))
            setattr(self, names[1], normal(16, 4))
            self.names = names

        def forward(self, x: np.ndarray) -> np.ndarray:
            self.x = x
            return np.asarray(x @ getattr(self, self.names[0]) + getattr(self, self.names[1]))

        def backward(self, dout: np.ndarray) -> np.ndarray:
            setattr(self, weights, spoil(self.x.T @ dout))
            setattr(self, bias, dout.sum(axis=0))
            return np.asarray(dout @ getattr(self, self.names[0]).T)

    return Dense


@pytest.mark.parametrize(
    ("names", "gradients"),
    [
        (("weights", "bias"), ("dW", "db")),
        (("weights", "biases"), ("nabla_w", "nabla_b")),
        (("w", "b"), ("grad_weights", "grad_bias")),
        (("kernel", "bias"), ("dk", "db")),
        (("weights", "bias"), ("dE_dW", "dE_dB")),
        (("W", "b"), ("Wd", "bd")),
    ],
)
def test_short_names_of_gradients_are_found(names: tuple[str, str], gradients: tuple[str, str]) -> None:
    x = normal(17, 5, 3)
    report = engine.check_object(dense(*gradients)(names), x)
    assert (report.verdict, [row.name for row in report.rows]) == ("ok", ["x", *names]), report
    for spoil in (lambda gradient: gradient * 1.001, np.transpose):
        report = engine.check_object(dense(*gradients, spoil)(names), x)
        assert (report.verdict, getattr(report.diagnosis, "name", "")) == ("wrong", names[0]), report


def test_a_short_name_that_may_be_meant_for_two_parameters_is_not_guessed() -> None:
    class Scale:
        def __init__(self) -> None:
            self.bias, self.beta, self.db = normal(18, 4), normal(19, 4), np.zeros(4)

        def forward(self, x: np.ndarray) -> np.ndarray:
            self.x = x
            return np.asarray(x * self.bias + self.beta)

        def backward(self, dout: np.ndarray) -> np.ndarray:
            self.db = dout.sum(axis=0)
            return np.asarray(dout * self.bias)

    assert [row.name for row in engine.check_object(Scale(), normal(20, 5, 4)).rows] == ["x"]


def test_a_gradient_of_a_wrong_form_in_a_list_is_wrong() -> None:
    class Lists:
        def __init__(self) -> None:
            self.params, self.grads = [normal(21, 3, 4), normal(22, 4)], [np.zeros((3, 4)), np.zeros(4)]

        def forward(self, x: np.ndarray) -> np.ndarray:
            self.x = x
            return np.asarray(x @ self.params[0] + self.params[1])

        def backward(self, dout: np.ndarray) -> np.ndarray:
            self.grads = [dout.T @ self.x, dout.sum(axis=0)]
            return np.asarray(dout @ self.params[0].T)

    report = engine.check_object(Lists(), normal(23, 5, 3))
    assert [row.verdict for row in report.rows] == ["ok", "wrong", "ok"], report


class Grows:
    """Makes its parameters in the first pass, and appends to its caches in every pass."""

    factor = 1.0

    def __init__(self) -> None:
        self.made, self.w, self.cache = False, np.zeros(0), {}  # type: ignore[var-annotated]

    def forward(self, x: np.ndarray) -> np.ndarray:
        if not self.made:
            self.made, self.w, self.grads, self.cache = True, normal(24, 3), {"w": np.zeros(3)}, {"h": [], "x": []}
        self.params = {"w": self.w}
        if not self.cache["h"]:
            self.cache["h"].append(np.zeros(3))
        for row in x:
            self.cache["x"].append(row)
            self.cache["h"].append(np.tanh(row + self.w * self.cache["h"][-1]))
        return np.stack(self.cache["h"][1:])

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dx, dh = np.zeros_like(dout), np.zeros(3)
        for t in reversed(range(len(dout))):
            da = (dout[t] + dh) * (1 - self.cache["h"][t + 1] ** 2)
            dx[t], dh = da, da * self.w * self.factor
            self.grads["w"] += da * self.cache["h"][t]
        return dx


def test_caches_that_grow_beside_parameters_of_the_first_pass_begin_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    report = engine.check_object(Grows(), normal(25, 5, 3))
    assert (report.verdict, [row.name for row in report.rows]) == ("ok", ["x", "w"]), report
    monkeypatch.setattr(Grows, "factor", 0.9)
    assert engine.check_object(Grows(), normal(25, 5, 3)).verdict == "wrong"


def test_lists_of_lists_of_numbers_are_parameters() -> None:
    class Rows:
        def __init__(self) -> None:
            self.w, self.w_grad = [[0.3, -0.7], [1.1, 0.4]], [[0.0, 0.0], [0.0, 0.0]]

        def forward(self, x: list[float]) -> list[float]:
            self.x = x
            return [sum(a * b for a, b in zip(x, row, strict=True)) for row in self.w]

        def backward(self, dout: list[float]) -> list[float]:
            self.w_grad = [[d * a for a in self.x] for d in dout[::-1]]
            return [sum(d * row[k] for d, row in zip(dout, self.w, strict=True)) for k in range(2)]

    report = engine.check_object(Rows(), [0.2, -1.3])
    assert [row.verdict for row in report.rows] == ["ok"] * 2 + ["wrong"] * 4, report


def test_a_number_added_to_a_single_number_is_not_called_weight_decay() -> None:
    report = engine.check_gradients(lambda a: (a * a, a), lambda dout, a: 2 * a * dout + 0.01, [1.7])
    assert report.verdict == "wrong"
    assert "decay" not in str(report), report


def test_many_exchanged_places_are_called_another_order() -> None:
    right = normal(26, 9)
    assert "another order" in words(right[[3, 0, 7, 1, 8, 2, 6, 4, 5]], right)
    assert "places 1, 4, 6 along axis 0 exchanged" in words(right[[0, 4, 2, 3, 6, 5, 1, 7, 8]], right)


# -- pairs of functions ------------------------------------------------------------------------------------------------


def cell_forward(xt: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    a = np.tanh(xt @ w)
    y = np.exp(a)
    c = 2 * a
    cache = (xt, w, a)
    return a, c, y, cache


def test_outputs_whose_gradients_backward_takes_are_found_by_their_names() -> None:
    def backward(dc: np.ndarray, da: np.ndarray, cache: Any) -> dict[str, np.ndarray]:
        xt, w, a = cache
        dz = (da + 2 * dc) * (1 - a * a)
        return {"dxt": dz @ w.T, "dw": xt.T @ dz}

    inputs = [normal(27, 3, 4), normal(28, 4, 2)]
    report = engine.check_gradients(cell_forward, backward, inputs)
    assert report.passed, report
    assert any("y of the outputs" in note for note in report.notes), report
    report = engine.check_gradients(cell_forward, lambda dc, da, cache: backward(dc, 2 * da, cache), inputs)
    assert report.verdict == "wrong", report
    with pytest.raises(engine.InputError, match="a tuple of 4; return the outputs"):
        engine.check_gradients(cell_forward, lambda dq, cache: backward(dq, dq, cache), inputs)


def test_the_derivative_of_each_entry_is_a_backward() -> None:
    def sigmoid(z: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-z)))

    x = [normal(29, 3, 4)]
    report = engine.check_gradients(sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)), x)
    assert report.passed, report
    assert any("derivative of each entry" in note for note in report.notes), report
    report = engine.check_gradients(sigmoid, lambda z: z * (1 - z), x)  # meant for the output
    assert report.verdict == "wrong", report


def test_a_gradient_forgotten_beside_others_is_wrong() -> None:
    class Forgets:
        def __init__(self) -> None:
            self.W, self.b, self.table = normal(30, 3, 4), normal(31, 4), normal(32, 4)

        def forward(self, x: np.ndarray) -> np.ndarray:
            self.x = x
            return np.asarray(x @ self.W + self.b + self.table)

        def backward(self, dout: np.ndarray) -> np.ndarray:
            self.dW = self.x.T @ dout
            return np.asarray(dout @ self.W.T)

    report = engine.check_object(Forgets(), normal(33, 5, 3))
    assert [(row.name, row.verdict) for row in report.rows] == [("x", "ok"), ("W", "ok"), ("b", "wrong")], report
    assert any("b has no gradient" in note for note in report.notes), report


def test_a_number_of_numpy_that_forward_reads_is_a_constant() -> None:
    class Scaled:
        def __init__(self) -> None:
            self.W, self.scale = normal(35, 3, 4), 1 / np.sqrt(np.float64(3))

        def forward(self, x: np.ndarray) -> np.ndarray:
            self.x = x
            return np.asarray(x @ self.W * self.scale)

        def backward(self, dout: np.ndarray) -> np.ndarray:
            self.dW = self.x.T @ dout * self.scale
            return np.asarray(dout @ self.W.T * self.scale)

    report = engine.check_object(Scaled(), normal(36, 5, 3))
    assert (report.verdict, [row.name for row in report.rows]) == ("ok", ["x", "W"]), report


def test_gradients_of_a_generator_and_of_one_number_with_an_axis() -> None:
    def backward(dout: np.ndarray, cache: Any) -> Any:
        x, a = cache
        yield dout * a
        yield np.array([(dout * x).sum()])

    report = engine.check_gradients(lambda x, a: (x * a, (x, a)), backward, [normal(34, 4), 1.7])
    assert report.passed, report
    with pytest.raises(engine.InputError, match="whole numbers have no gradient"):
        engine.check_gradients(lambda x: (x, None), lambda d, c: d, [np.arange(3)])


class Keyed:
    """Parameters and gradients under keys that are no names, or in one array; beside them a list that holds itself."""

    def __init__(self, params: Any, keys: tuple[Any, Any], factor: float) -> None:
        self.params, self.keys, self.factor = params, keys, factor
        self.grads: Any = None
        self.loop: list[Any] = [self]
        self.loop.append(self.loop)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x, self.h = x, x @ self.params[self.keys[0]]
        return np.asarray(self.h @ self.params[self.keys[1]])

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dh = dout @ self.params[self.keys[1]].T
        grads = {self.keys[0]: self.x.T @ dh, self.keys[1]: self.factor * self.h.T @ dout}
        self.grads = grads if isinstance(self.params, dict) else np.stack(list(grads.values()))
        return np.asarray(dh @ self.params[self.keys[0]].T)


@pytest.mark.parametrize("keys", [(0, 1), (("W", 1), ("W", 2))])
@pytest.mark.parametrize("stacked", [False, True])
def test_parameters_under_keys_that_are_no_names(keys: tuple[Any, Any], stacked: bool) -> None:
    first, second = normal(37, 3, 3), normal(38, 3, 3)
    keys = (0, 1) if stacked else keys
    params = np.stack([first, second]) if stacked else dict(zip(keys, (first, second), strict=True))
    report = engine.check_object(Keyed(params, keys, 1.0), normal(39, 5, 3))
    assert (report.verdict, len(report.rows)) == ("ok", 2 if stacked else 3), report
    assert engine.check_object(Keyed(params, keys, 1.01), normal(39, 5, 3)).verdict == "wrong"


class OfTheClass:
    W = normal(40, 3, 4)
    factor = 1.0

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.asarray(x @ self.W)

    def backward(self, dout: np.ndarray) -> np.ndarray:
        self.dW = self.factor * self.x.T @ dout
        return np.asarray(dout @ self.W.T)


def test_parameters_that_stand_in_the_class_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = OfTheClass.W.copy()
    report = engine.check_object(OfTheClass(), normal(41, 5, 3))
    assert (report.verdict, [row.name for row in report.rows]) == ("ok", ["x", "W"]), report
    monkeypatch.setattr(OfTheClass, "factor", 1.01)
    assert engine.check_object(OfTheClass(), normal(41, 5, 3)).verdict == "wrong"
    assert (OfTheClass.W == before).all()


def test_a_forward_that_returns_its_arguments_behind_the_output() -> None:
    x, w = normal(42, 5, 3), normal(43, 3, 2)
    right = engine.check_gradients(lambda x, w: (x @ w, x, w), lambda d, x, w: (d @ w.T, x.T @ d), [x, w])
    assert right.passed, right
    wrong = engine.check_gradients(lambda x, w: (x @ w, w, x), lambda d, w, x: (d @ w.T, 1.01 * x.T @ d), [x, w])
    assert [row.verdict for row in wrong.rows] == ["ok", "wrong"], wrong
