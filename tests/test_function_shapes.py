"""Gradient checks of functions in the shapes that people write: each is read right, and a bug in it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import engine

RNG = np.random.default_rng(71)
X, W, B = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
LABELS = np.array([0, 2, 1, 1, 0])


class Grads(NamedTuple):
    dx: Any
    dw: Any
    db: Any


def softmax_loss(x: Any, w: Any, b: Any, labels: Any) -> tuple[Any, Any]:
    z = x @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return -np.log(p[np.arange(5), labels]).mean(), (x, w, p, labels)


def softmax_grads(cache: Any, factor: float = 1.0) -> Grads:
    x, w, p, labels = cache
    d = p.copy()
    d[np.arange(5), labels] -= 1
    d /= 5
    return Grads(d @ w.T, factor * x.T @ d, d.sum(0))


#: Ways to hand back the gradients of a loss, with a factor on that of w.
LOSSES: dict[str, Callable[[float], Callable[..., Any]]] = {
    "backward(cache), a dict": lambda k: lambda cache: softmax_grads(cache, k)._asdict(),
    "a named tuple": lambda k: lambda cache: softmax_grads(cache, k),
    "attributes": lambda k: lambda cache: SimpleNamespace(**softmax_grads(cache, k)._asdict()),
    "a tuple with None for the labels": lambda k: lambda cache: (*softmax_grads(cache, k), None),
    "dout is not looked at": lambda k: lambda dout, cache: tuple(softmax_grads(cache, k)),
    "dout has a default": lambda k: lambda cache, dout=1.0: tuple(dout * g for g in softmax_grads(cache, k)),
    "the cache comes first": lambda k: lambda cache, dout: tuple(dout * g for g in softmax_grads(cache, k)),
    "one in order, others by name": lambda k: (
        lambda cache: (
            softmax_grads(cache, k).dx,
            {"w": softmax_grads(cache, k).dw, "b": softmax_grads(cache, k).db},
        )
    ),
    "grad_x": lambda k: lambda cache: {f"grad_{n[1:]}": g for n, g in softmax_grads(cache, k)._asdict().items()},
    "x_grad": lambda k: lambda cache: {f"{n[1:]}_grad": g for n, g in softmax_grads(cache, k)._asdict().items()},
}


@pytest.mark.parametrize("way", LOSSES)
def test_gradients_of_a_loss_in_every_form(way: str) -> None:
    inputs = [X, W, B, LABELS]
    right = engine.check_gradients(softmax_loss, LOSSES[way](1.0), inputs)
    assert right.passed, right
    assert [row.name for row in right.rows] == ["x", "w", "b"]
    wrong = engine.check_gradients(softmax_loss, LOSSES[way](1.01), inputs)
    assert (wrong.verdict, [row.name for row in wrong.rows if row.verdict == "wrong"]) == ("wrong", ["w"])


def test_a_loss_that_keeps_its_cache_elsewhere() -> None:
    kept: dict[str, Any] = {}

    def forward(x: Any, w: Any, b: Any, labels: Any) -> Any:
        loss, kept["cache"] = softmax_loss(x, w, b, labels)
        return loss

    assert engine.check_gradients(forward, lambda: softmax_grads(kept["cache"]), [X, W, B, LABELS]).passed
    wrong = engine.check_gradients(forward, lambda: softmax_grads(kept["cache"], 0.99), [X, W, B, LABELS])
    assert (wrong.verdict, wrong.worst.name) == ("wrong", "w")
    with pytest.raises(engine.InputError, match="takes no dout; only where out is one number"):
        engine.check_gradients(lambda x: 2 * x, lambda: 2.0, [X])


def test_some_inputs_alone_are_checked() -> None:
    inputs = [X, W, B, LABELS]
    report = engine.check_gradients(softmax_loss, lambda c: softmax_grads(c).dw, inputs, check=["w"])
    assert report.passed
    assert [row.name for row in report.rows] == ["w"]
    two = engine.check_gradients(softmax_loss, lambda c: tuple(softmax_grads(c, 2.0))[1:], inputs, check=[1, "b"])
    assert [row.verdict for row in two.rows] == ["wrong", "ok"]
    with pytest.raises(engine.InputError, match=r"expected 4 gradients.*\(x, w, b, labels\).*alone; say which"):
        engine.check_gradients(softmax_loss, lambda c: softmax_grads(c).dw, inputs)
    with pytest.raises(engine.InputError, match="check: expected names of float inputs, x, w, b, got 'labels'"):
        engine.check_gradients(softmax_loss, lambda c: softmax_grads(c), inputs, check=["labels"])


def product(x: Any, a: Any) -> tuple[Any, Any]:
    return x * a, (x, a)


@pytest.mark.parametrize("a", [0.7, np.float64(0.7), np.array(0.7)], ids=["float", "np.float64", "0-d"])
@pytest.mark.parametrize("method", ["central", "complex", "directional", "taylor"])
def test_numbers_as_inputs(a: Any, method: str) -> None:
    def backward(dout: Any, cache: Any, factor: float = 1.0) -> Any:
        x, a = cache
        return dout * a, factor * float((dout * x).sum())

    assert engine.check_gradients(product, backward, [X, a], method).passed
    wrong = engine.check_gradients(product, lambda d, c: backward(d, c, 1.3), [X, a], method)
    assert [row.verdict for row in wrong.rows] == ["ok", "wrong"]


def test_a_number_without_a_gradient_is_said_not_to_be_checked() -> None:
    report = engine.check_gradients(product, lambda d, c: (d * c[1], None), [X, 0.7])
    assert report.passed
    assert [row.name for row in report.rows] == ["x"]
    assert report.notes == ("not checked, as backward gives no gradient: a",)


def test_numbers_as_outputs() -> None:
    def forward(a: float, b: float) -> tuple[float, Any]:
        assert isinstance(a, float)
        return float(np.tanh(a) * b), (a, b)

    def backward(dout: float, cache: Any) -> Any:
        a, b = cache
        assert isinstance(dout, float)
        return dout * b * (1 - np.tanh(a) ** 2), dout * np.tanh(a)

    assert engine.check_gradients(forward, backward, [0.3, 0.7]).passed


def test_none_for_an_unused_input_and_for_a_used_one() -> None:
    assert engine.check_gradients(lambda x, u: (2 * x, None), lambda d, c: (2 * d, None), [X, W]).passed
    wrong = engine.check_gradients(lambda x, w: (x @ w, w), lambda d, w: (d @ w.T, None), [X, W])
    assert [row.verdict for row in wrong.rows] == ["ok", "wrong"]


def unrolled(xs: Any, w: Any) -> tuple[Any, Any]:
    hs = []
    for x in xs:
        hs.append(np.tanh(x @ w))
    return hs, (xs, hs, w)


def unrolled_backward(dhs: Any, cache: Any, factor: float = 1.0) -> tuple[Any, Any]:
    xs, hs, w = cache
    dw, dxs = np.zeros_like(w), []
    for t, (d, x, h) in enumerate(zip(dhs, xs, hs, strict=True)):
        da = d * (1 - h * h)
        dw += x.T @ da
        dxs.append((factor if t == 2 else 1.0) * da @ w.T)
    return dxs, dw


def test_lists_over_time_steps() -> None:
    xs = [RNG.normal(size=(2, 4)) for _ in range(3)]
    assert engine.check_gradients(unrolled, unrolled_backward, [xs, W]).passed
    stacked = engine.check_gradients(unrolled, lambda d, c: (np.stack(unrolled_backward(d, c)[0]), None), [xs, W])
    assert [row.verdict for row in stacked.rows] == ["ok", "ok", "ok", "wrong"]
    from_array = engine.check_gradients(unrolled, unrolled_backward, [np.stack(xs), W])
    assert from_array.passed
    assert [row.name for row in from_array.rows] == ["xs", "w"]
    wrong = engine.check_gradients(unrolled, lambda d, c: unrolled_backward(d, c, 1.1), [xs, W])
    assert (wrong.verdict, wrong.worst.name) == ("wrong", "xs[2]")


def test_outputs_with_whole_numbers_beside_them() -> None:
    def pool(x: Any) -> tuple[Any, Any]:
        return (x.max(1), x.argmax(1)), (x.shape, x.argmax(1))

    def backward(dout: Any, cache: Any, factor: float = 1.0) -> Any:
        (dmax, nothing), (shape, places) = dout, cache
        assert nothing is None
        dx = np.zeros(shape)
        dx[np.arange(len(dx)), places] = factor * dmax
        return dx

    assert engine.check_gradients(pool, backward, [X]).passed
    assert engine.check_gradients(pool, lambda d, c: backward(d, c, 0.9), [X]).verdict == "wrong"


def test_inputs_as_a_dict() -> None:
    by_name = engine.check_gradients(
        lambda x, w: (x @ w, (x, w)), lambda d, c: (d @ c[1].T, c[0].T @ d), {"w": W, "x": X}
    )
    assert by_name.verdict == "wrong"  # the gradients come in the order of the dict, w first: shapes that do not fit
    named = engine.check_gradients(
        lambda x, w: (x @ w, (x, w)), lambda d, c: {"dx": d @ c[1].T, "dw": c[0].T @ d}, {"w": W, "x": X}
    )
    assert named.passed
    assert [row.name for row in named.rows] == ["w", "x"]
    whole = engine.check_gradients(
        lambda params: (X @ params["w"] + params["b"], None),
        lambda d, c: {"dw": X.T @ d, "db": d.sum(0)},
        {"w": W, "b": B},
    )
    assert whole.passed
    assert [row.name for row in whole.rows] == ["params.w", "params.b"]


def test_names_of_inputs() -> None:
    def backward(d: Any, c: Any) -> Any:
        return d @ c[1].T, c[0].T @ d

    starred = engine.check_gradients(lambda *args: (args[0] @ args[1], args), backward, [X, W])
    assert [row.name for row in starred.rows] == ["input 0", "input 1"]
    named = engine.check_gradients(lambda *args: (args[0] @ args[1], args), backward, [X, W], names=["a", "kernel"])
    assert [row.name for row in named.rows] == ["a", "kernel"]
    with pytest.raises(engine.InputError, match="names: expected 2 different names, one for each input, got a"):
        engine.check_gradients(lambda x, w: (x @ w, (x, w)), backward, [X, W], names=["a"])


def test_fixed_entries_are_not_checked() -> None:
    ids, table = np.array([0, 1, 0, 2]), RNG.normal(size=(4, 3))

    def backward(dout: Any, cache: Any) -> Any:
        grad = np.zeros_like(table)
        np.add.at(grad, ids, dout)
        grad[0] = 0  # the padding token learns nothing
        return grad

    pad = np.arange(4)[:, None] == 0
    for method in ("central", "complex", "directional", "taylor"):
        assert engine.check_gradients(lambda emb: (emb[ids], None), backward, [table], method).verdict == "wrong"
        assert engine.check_gradients(
            lambda emb: (emb[ids], None), backward, [table], method, fixed={"emb": pad}
        ).passed
        twice = engine.check_gradients(
            lambda emb: (emb[ids], None), lambda d, c: 2 * backward(d, c), [table], method, fixed={"emb": pad}
        )
        assert twice.verdict == "wrong"


def test_mutation_is_reported_beside_the_gradients() -> None:
    def doubled(dout: Any, cache: Any) -> Any:
        dout *= 2
        return dout

    def tripled(dout: Any, cache: Any) -> Any:
        dout *= 3
        return dout

    def forward(x: Any) -> tuple[Any, Any]:
        return 2 * x, None

    spoilt = engine.check_gradients(forward, doubled, [X])
    assert (spoilt.verdict, spoilt.passed, spoilt.rows[0].verdict) == ("input mutated", False, "ok")
    passed = engine.check_gradients(forward, doubled, [X], allow=("mutation",))
    assert passed.passed
    assert "writes into the gradient" in str(passed)
    for allow in ((), ("mutation",)):
        wrong = engine.check_gradients(forward, tripled, [X], allow=allow)
        assert wrong.verdict == "wrong"
        assert "writes into the gradient" in str(wrong)
    assert engine.assert_gradients(forward, doubled, [X], allow=("mutation", "kink")).passed
    with pytest.raises(AssertionError, match="gradient check: input mutated"):
        engine.assert_gradients(forward, doubled, [X], allow=("kink",))
    with pytest.raises(engine.InputError, match="allow: expected a tuple that may hold \"mutation\", got 'kink'"):
        engine.check_gradients(forward, doubled, [X], allow=("kink",))


class Cell:
    """A cache in slots and objects: backward spoils what is inside it."""

    __slots__ = ("inner",)

    def __init__(self, y: Any) -> None:
        self.inner = SimpleNamespace(y=y)


def test_caches_that_are_objects() -> None:
    def forward(x: Any) -> tuple[Any, Any]:
        y = 1 / (1 + np.exp(-x))
        return y, Cell(y.copy())

    def spoiling(dout: Any, cache: Cell) -> Any:
        cache.inner.y *= 1 - cache.inner.y
        return dout * cache.inner.y

    assert engine.check_gradients(forward, lambda d, c: d * c.inner.y * (1 - c.inner.y), [X]).passed
    assert engine.check_gradients(forward, spoiling, [X]).verdict == "input mutated"
    assert engine.check_gradients(forward, spoiling, [X], allow=("mutation",)).passed


def test_buffers_of_float32_are_named() -> None:
    def forward(x: Any, w: Any) -> tuple[Any, Any]:
        out = np.zeros((len(x), w.shape[1]), dtype=np.float32)
        out[...] = x @ w
        return out, (x, w)

    report = engine.check_gradients(forward, lambda d, c: (d @ c[1].T, c[0].T @ d), [X, W])
    assert report.passed
    assert "float32 is at work inside (out)" in str(report)
    wrong = engine.check_gradients(forward, lambda d, c: (d @ c[1].T, 1.01 * c[0].T @ d), [X, W])
    assert wrong.verdict == "wrong"


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def lstm_step(x: Any, prev_h: Any, prev_c: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    i, f, o, g = np.split(x @ Wx + prev_h @ Wh + b, 4, 1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c = f * prev_c + i * g
    return o * np.tanh(c), c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, c)


def lstm_step_backward(dh: Any, dc: Any, cache: Any, factor: float = 1.0) -> Any:
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, c = cache
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    parts = (
        dc * g * i * (1 - i),
        factor * dc * prev_c * f * (1 - f),
        dh * np.tanh(c) * o * (1 - o),
        dc * i * (1 - g * g),
    )
    da = np.concatenate(parts, 1)
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, prev_h.T @ da, da.sum(0)


def _lstm_inputs() -> list[Any]:
    rng = np.random.default_rng(72)
    return [rng.normal(size=shape) for shape in ((3, 4), (3, 5), (3, 5), (4, 20), (5, 20), (20,))]


def test_gates_in_columns_are_told_and_named() -> None:
    inputs = _lstm_inputs()
    assert engine.check_gradients(lstm_step, lstm_step_backward, inputs, "directional").passed

    def wrong(dh: Any, dc: Any, cache: Any) -> Any:
        return lstm_step_backward(dh, dc, cache, 1.1)

    guessed = engine.check_gradients(lstm_step, wrong, inputs)
    assert guessed.worst.gate == "2 of 4"
    for axis in (None, -1, 1):
        named = engine.check_gradients(lstm_step, wrong, inputs, gates="ifog", gate_axis=axis)
        assert named.worst.gate == "f"
        by_gate = next(row.by_gate for row in named.rows if row.name == "Wx")
        assert by_gate["f"] > 1e-2
        assert max(by_gate[gate] for gate in "iog") < 1e-6
    along = engine.check_gradients(lstm_step, wrong, inputs, "directional", gates="ifog")
    assert (along.verdict, along.diagnosis.gate if along.diagnosis else "") == ("wrong", "f")


def test_a_dense_layer_has_no_gates() -> None:
    x, w, b = RNG.normal(size=(6, 5)), RNG.normal(size=(5, 20)), RNG.normal(size=20)
    report = engine.check_gradients(
        lambda x, w, b: (x @ w + b, (x, w)), lambda d, c: (d @ c[1].T, 2 * c[0].T @ d, d.sum(0)), [x, w, b]
    )
    assert report.verdict == "wrong"
    assert all(not row.by_gate for row in report.rows)


def test_a_pair_over_an_object_is_right_and_wrong_as_its_gradients_are() -> None:
    class Dense:
        def __init__(self, weight: Any) -> None:
            self.weight = weight

        def forward(self, x: Any) -> Any:
            self.x = x
            return np.tanh(x @ self.weight)

        def backward(self, dout: Any) -> Any:
            return (dout * (1 - np.tanh(self.x @ self.weight) ** 2)) @ self.weight.T

    layer, x = Dense(W), RNG.normal(size=(5, 2, 4))
    for factor, verdict in ((1.0, "ok"), (1.001, "wrong")):
        for method in ("central", "complex", "directional", "taylor"):
            report = engine.check_gradients(
                lambda x: (layer.forward(x), None),
                lambda d, c, k=factor: k * layer.backward(d),
                [x],
                method,
                time_axis=0,
                tol=1e-4 if method == "directional" else None,
            )
            assert report.verdict == verdict, report


def test_a_backward_that_reads_the_latest_pass_is_noted() -> None:
    latest: list[Any] = []

    def forward(x: Any) -> tuple[Any, Any]:
        latest[:] = [x]
        return x * x, x.copy()

    report = engine.check_gradients(forward, lambda d, c: 2 * latest[0] * d, [X])
    assert report.passed
    assert "reads the latest forward pass" in str(report)
    assert not engine.check_gradients(forward, lambda d, c: 2 * c * d, [X]).notes


def test_settings_that_forward_writes_into_are_not_inputs() -> None:
    def norm(x: Any, gamma: Any, settings: Any) -> tuple[Any, Any]:
        mean, std = x.mean(0), np.sqrt(x.var(0) + settings["eps"])
        settings["running_mean"] = 0.9 * settings.get("running_mean", 0) + 0.1 * mean
        return gamma * (x - mean) / std, ((x - mean) / std, gamma, std)

    def backward(dout: Any, cache: Any) -> Any:
        hat, gamma, std = cache
        d = dout * gamma
        return (d - d.mean(0) - hat * (d * hat).mean(0)) / std, (dout * hat).sum(0)

    settings = {"mode": "train", "eps": 1e-5}
    report = engine.check_gradients(norm, backward, [X, RNG.normal(size=4), settings])
    assert report.passed
    assert [row.name for row in report.rows] == ["x", "gamma"]
    assert settings == {"mode": "train", "eps": 1e-5}


@pytest.mark.oracle
def test_tensors_of_torch(torch: ModuleType) -> None:
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    x, w = torch.tensor(X), torch.tensor(W)

    def forward(x: Any, w: Any) -> tuple[Any, Any]:
        return torch.tanh(x @ w), (x, w, torch.tanh(x @ w), x.argmax(1))

    def backward(dout: Any, cache: Any, factor: float = 1.0) -> Any:
        x, w, y, _ = cache
        da = dout * (1 - y * y)
        return {"dx": da @ w.T, "dw": factor * x.T @ da}

    for dtype in (torch.float64, torch.float32):
        assert engine.check_gradients(forward, backward, [x.to(dtype), w.to(dtype)]).passed
    for method in ("central", "directional"):
        wrong = engine.check_gradients(forward, lambda d, c: backward(d, c, 1.01), [x, w], method)
        assert [row.verdict for row in wrong.rows] == ["ok", "wrong"]
    with pytest.raises(engine.InputTypeError, match="requires_grad"):
        engine.check_gradients(forward, backward, [x.clone().requires_grad_(), w])


def test_a_backward_that_takes_the_arguments_of_forward_or_the_cache_unpacked() -> None:
    def cubes(x: Any) -> Any:
        return (x**3).sum()

    def relu(x: Any) -> Any:
        return np.maximum(x, 0)

    for factor, verdict in ((1.0, "ok"), (1.01, "wrong")):
        ways: list[tuple[Any, Any, list[Any]]] = [
            (cubes, lambda x, k=factor: k * 3 * x**2, [X]),
            (relu, lambda dout, x, k=factor: k * dout * (x > 0), [X]),
            (lambda x, w: x @ w, lambda x, w, dout, k=factor: (dout @ w.T, k * x.T @ dout), [X, W]),
            (lambda x, w: (x @ w, (x, w)), lambda d, a, b, k=factor: (d @ b.T, k * a.T @ d), [X, W]),
        ]
        for forward, backward, inputs in ways:
            report = engine.check_gradients(forward, backward, inputs)
            assert report.verdict == verdict, report


def test_records_as_inputs_and_objects_that_are_none() -> None:
    @dataclass(frozen=True)
    class Params:
        w: Any
        b: Any

    class Closed:
        def __init__(self, w: Any, b: Any) -> None:
            self.w, self.b = w, b

    def forward(x: Any, params: Any) -> tuple[Any, Any]:
        return x @ params.w + params.b, (x, params.w)

    def backward(dout: Any, cache: Any) -> Any:
        x, w = cache
        return dout @ w.T, SimpleNamespace(dw=x.T @ dout, db=2 * dout.sum(0))

    for kind in (Params, SimpleNamespace):
        report = engine.check_gradients(forward, backward, [X, kind(w=W, b=B)])
        assert [row.name for row in report.rows] == ["x", "params.w", "params.b"]
        assert [row.verdict for row in report.rows] == ["ok", "ok", "wrong"]
    closed = engine.check_gradients(forward, backward, [X, Closed(W, B)])
    assert "not looked into: params" in str(closed)
