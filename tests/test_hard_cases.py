"""The cases that gradient checkers are known to get wrong: each must end in the right verdict, with its numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from builders import build, random_arguments
from numpy.lib import NumpyVersion

import engine


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


# -- kinks -----------------------------------------------------------------------------------------------------------


def hard_sigmoid(x: Any) -> tuple[Any, Any]:
    return np.clip(0.2 * x + 0.5, 0.0, 1.0), x


@pytest.mark.parametrize("slope_outside", [0.0, 0.2])
def test_a_kink_of_the_hard_sigmoid(slope_outside: float) -> None:
    def backward(dout: Any, x: Any) -> Any:
        inside = np.where(np.abs(x) == 2.5, slope_outside, np.where(np.abs(x) < 2.5, 0.2, 0.0))
        return dout * inside

    x = np.array([0.3, 2.5, -2.5, -4.0, 1.0])
    report = engine.check_gradients(hard_sigmoid, backward, [x])
    assert report.verdict == "kink", report
    assert report.worst.index[0] in (1, 2)
    assert engine.check_gradients(hard_sigmoid, backward, [x + 1e-3]).passed
    assert engine.check_gradients(hard_sigmoid, lambda d, x: 1.01 * backward(d, x), [x + 1e-3]).verdict == "wrong"


@pytest.mark.parametrize("distance", [1e-9, 1e-7, 1e-5, 1e-3])
def test_a_kink_close_by_is_no_wrong_gradient(distance: float) -> None:
    x = np.array([distance, -distance, 0.7, -0.4])
    forward = lambda x: (np.maximum(x, 0.0), x)  # noqa: E731
    report = engine.check_gradients(forward, lambda d, x: d * (x > 0), [x])
    assert report.passed, report  # steps relative to the number itself do not reach it
    assert engine.check_gradients(forward, lambda d, x: d * (x > 0) * 1.5, [x]).verdict == "wrong"


def test_zero_states_and_zero_biases_put_a_relu_exactly_on_its_kink() -> None:
    layer = build("rnn_relu", 2, 3)
    state = layer.state_dict()
    layer.load_state_dict({name: np.zeros_like(v) if "bias" in name else v for name, v in state.items()})
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    x[0, 1] = 0.0  # with h0 = 0 and b = 0: z = 0
    report = engine.gradcheck(layer, x)
    assert report.verdict == "kink", report
    assert engine.gradcheck(layer, x, method="complex").passed  # it looks at one side alone
    x[0, 1] = 0.3
    assert engine.gradcheck(layer, x).passed


# -- float32 -----------------------------------------------------------------------------------------------------------


def test_a_float32_function_needs_other_steps() -> None:
    """At e = 1e-8 a difference of float32 numbers is 0, at e = 0.5 it is 11 % off; the sweep finds a step between."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1.5, size=(3, 4)).astype(np.float32)

    def forward(x: Any) -> tuple[Any, Any]:
        out = np.tanh(x.astype(np.float32))
        return out, out

    def backward(dout: Any, out: Any) -> Any:
        return dout * (1 - out * out)

    step = np.float32(1e-8)
    assert ((np.tanh(x + step) - np.tanh(x - step)) == 0).all()
    for given in (x, x.astype(np.float64)):  # float32 inside, or from the beginning
        assert engine.check_gradients(forward, backward, [given]).passed
        wrong = engine.check_gradients(forward, lambda d, out: backward(d, out) * 1.05, [given])
        assert wrong.verdict == "wrong"


# -- gradients that have vanished --------------------------------------------------------------------------------------


def scalar_rnn(w: float) -> tuple[Any, Any]:
    """h_t = tanh(w h_{t-1} + x_t), the output is the last h alone."""

    def forward(x: Any) -> tuple[Any, Any]:
        h = [np.zeros((), dtype=x.dtype)]
        for value in x:
            h.append(np.tanh(w * h[-1] + value))
        return np.asarray(h[-1])[None], np.stack(h)

    def backward(dout: Any, h: Any) -> Any:
        dx, dh = np.zeros(len(h) - 1), dout[0]
        for t in range(len(h) - 2, -1, -1):
            dx[t] = dh * (1 - h[t + 1] ** 2)
            dh = dx[t] * w
        return dx

    return forward, backward


@pytest.mark.parametrize("T", [25, 50])
def test_a_vanished_gradient_does_not_pass_as_zero(T: int) -> None:
    forward, backward = scalar_rnn(0.5)
    x = np.random.default_rng(0).normal(size=T)
    first = abs(backward(np.ones(1), forward(x)[1])[0])
    assert first < 1e-8  # an absolute tolerance of 1e-8 would take 0 for it

    def forgetful(dout: Any, h: Any) -> Any:
        dx = backward(dout, h)
        dx[0] = 0.0
        return dx

    assert engine.check_gradients(forward, backward, [x], method="complex").passed
    assert engine.check_gradients(forward, forgetful, [x], method="complex").verdict == "wrong"
    # differences lose it in rounding at some T: then they say so, and pass neither the right nor the wrong one
    right, wrong = (engine.check_gradients(forward, b, [x]) for b in (backward, forgetful))
    assert right.verdict == ("ok" if first > 1e-9 else "cannot tell")
    assert wrong.verdict == ("wrong" if first > 1e-9 else "cannot tell")


def test_a_numeric_zero_does_not_fail_right_code() -> None:
    """The difference is exactly 0, the gradient 1e-30: its relative error is 1, and the code is right."""
    forward, backward = scalar_rnn(0.5)
    x = np.random.default_rng(1).normal(size=90)
    assert 0 < abs(backward(np.ones(1), forward(x)[1])[0]) < 1e-27
    assert engine.check_gradients(forward, backward, [x]).verdict == "cannot tell"
    assert engine.check_gradients(forward, backward, [x], method="complex").passed
    for method in ("central", "directional", "taylor"):  # nor does it pass wrong code
        report = engine.check_gradients(forward, lambda d, h: np.zeros(90), [x], method=method)
        assert not report.passed, report
        early = engine.check_gradients(lambda x: forward(x[:60]), lambda d, h: 0.0 * backward(d, h), [x[:60]], method)
        assert not early.passed


def test_early_steps_of_a_layer_are_held_to_their_own_size() -> None:
    """The gradient of x[0] is 1e-9 of that of x[-1]; a factor 2 in it alone must not pass."""

    class LastOnly(engine.RNN):
        factor = 1.0

        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            dx, dfirst = super().backward(tape, dy, dstate)
            dx[:3] *= self.factor
            return dx, dfirst

    layer = LastOnly(2, 3, dtype="float64", seed=1)
    x = np.random.default_rng(0).normal(size=(40, 2, 2))
    x[:3] *= 1e-3
    layer.params["weight_ih_l0"][...] *= 0.2
    for method in ("central", "complex", "adjoint", "directional"):
        layer.factor = 1.0
        assert engine.gradcheck(layer, x, method=method).passed
        layer.factor = 1.001
        report = engine.gradcheck(layer, x, method=method)
        assert report.verdict == "wrong"
        assert report.worst.name == "x"
        assert report.worst.time_step == 2


# -- saturation and chaos ---------------------------------------------------------------------------


@pytest.mark.parametrize("keeps", ["output", "input"])
def test_saturation_is_not_passed(keeps: str) -> None:
    """Both sides are 0; the truth is 4e-18."""
    x = np.full((2, 3), 40.0) + np.arange(6).reshape(2, 3) / 10

    def forward(x: Any) -> tuple[Any, Any]:
        out = sigmoid(x)
        return out, out if keeps == "output" else x

    def backward(dout: Any, cache: Any) -> Any:
        out = cache if keeps == "output" else sigmoid(cache)
        return dout * out * (1 - out)

    report = engine.check_gradients(forward, backward, [x])
    assert report.worst.analytic == report.worst.numeric == 0.0
    assert report.verdict == "cannot tell"
    assert engine.check_gradients(forward, backward, [-x]).verdict in ("ok", "cannot tell")


def test_a_relu_that_is_off_is_no_saturation() -> None:
    x = np.array([[-3.0, -40.0], [-0.2, -7.0]])
    report = engine.check_gradients(lambda x: (np.maximum(x, 0.0), x), lambda d, x: d * (x > 0), [x])
    assert report.passed, report


def test_a_saturated_layer_cannot_be_told() -> None:
    layer = build("lstm", 2, 3)
    state = {name: value.copy() for name, value in layer.state_dict().items()}
    state["bias_ih_l0"][:3] = 60.0  # the input gate is 1 to the last digit
    layer.load_state_dict(state)
    x, h, _, _ = random_arguments(layer, 4, 2)
    for method in ("central", "complex"):
        report = engine.gradcheck(layer, x, h, method=method)
        assert report.verdict == "cannot tell", report
        assert {row.verdict for row in report.rows if row.name == "x"} == {"ok"}


@pytest.mark.skipif(
    NumpyVersion(np.__version__) < "2.2.0",
    reason="this NumPy rounds complex numbers otherwise than real ones, and in chaos that grows to everything",
)
def test_in_chaos_differences_cannot_tell_and_say_so_while_others_decide() -> None:
    """Recurrent gain 2.5, T = 150: a change of the last digit grows to everything."""
    H = 20
    rng = np.random.default_rng(0)
    layer = engine.RNN(2, H, dtype="float64", backend="numpy:numba")
    layer.load_state_dict(
        {
            name: rng.normal(scale=2.5 / np.sqrt(H) if name == "weight_hh_l0" else 0.3, size=p.shape)
            for name, p in layer.params.items()
        }
    )
    x = 0.3 * rng.normal(size=(150, 2, 2))
    h0 = 0.3 * rng.normal(size=(1, 2, H))
    _, _, tape = layer.forward(x, h0)
    _, dh0 = layer.backward(tape, None, np.ones((1, 2, H)))
    assert np.abs(dh0).max() > 1e6  # the gradient explodes
    assert engine.gradcheck(layer, x, h0, entries=20).verdict == "cannot tell"
    assert engine.gradcheck(layer, x, h0, method="directional").verdict == "cannot tell"
    for method in ("complex", "adjoint"):
        report = engine.gradcheck(layer, x, h0, method=method, entries=30)
        assert report.passed, report

    class Wrong(engine.RNN):
        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            dx, dfirst = super().backward(tape, dy, dstate)
            dx[20] *= 1.001
            return dx, dfirst

    wrong = Wrong(2, H, dtype="float64", backend="numpy:numba")
    wrong.load_state_dict(layer.state_dict())
    for method in ("complex", "adjoint"):
        report = engine.gradcheck(wrong, x, h0, method=method, entries=30)
        assert report.verdict == "wrong"
        assert report.worst.time_step == 20


# -- functions that are not what they seem ---------------------------------------------------------------------------


def test_fresh_dropout_masks() -> None:
    rng = np.random.default_rng(0)

    def forward(x: Any) -> tuple[Any, Any]:
        mask = (rng.random(x.shape) < 0.5) * 2.0
        return x * mask, mask

    report = engine.check_gradients(forward, lambda d, mask: d * mask, [rng.normal(size=(4, 3))])
    assert report.verdict == "non-deterministic"
    assert "two evaluations" in str(report)


def test_a_state_that_leaks_from_one_call_into_the_next() -> None:
    class Leaky(engine.RNN):
        kept: Any = None

        def forward(self, x: Any, state: Any = None, lengths: Any = None, training: bool = True) -> Any:
            y, last, tape = super().forward(x, self.kept if state is None else state, lengths, training)
            self.kept = last
            return y + 0.0 * x.sum() + (0.0 if Leaky.kept is None else Leaky.kept), last, tape

    class Counting:
        """Forgets nothing: every forward pass starts where the last one ended."""

        def __init__(self) -> None:
            self.params = {"w": np.array([[0.3, -0.2], [0.1, 0.4]])}
            self.grads = {"w": np.zeros((2, 2))}
            self.h = np.zeros(2)

        def forward(self, x: Any, state: Any = None) -> Any:
            tape = []
            for value in x:
                h = np.tanh(self.params["w"] @ self.h + value)
                tape.append((self.h, h))
                self.h = h
            return np.stack([h for _, h in tape]), None, tape

        def backward(self, tape: Any, dy: Any, dstate: Any = None) -> Any:
            dx, dh = np.zeros_like(dy), np.zeros(2)
            for t in range(len(tape) - 1, -1, -1):
                before, h = tape[t]
                dx[t] = (dy[t] + dh) * (1 - h * h)
                self.grads["w"] += np.outer(dx[t], before)
                dh = self.params["w"].T @ dx[t]
            return dx, None

    x = np.random.default_rng(0).normal(size=(5, 2))
    assert engine.gradcheck(Counting(), x).verdict == "non-deterministic"

    class Reset(Counting):
        def forward(self, x: Any, state: Any = None) -> Any:
            self.h = np.zeros(2)
            return super().forward(x, state)

    assert engine.gradcheck(Reset(), x).passed


def _with_abs(x: Any) -> Any:
    return np.sqrt(np.abs(x) ** 2 + 1.0)


def _with_a_real_buffer(x: Any) -> Any:
    out = np.empty(x.shape)
    out[...] = np.real(x) ** 2
    return out + 0.0 * x


def _with_a_cast(x: Any) -> Any:
    return np.asarray(x).astype(np.float64) ** 2 + 0.0 * x


def _with_a_conjugate(x: Any) -> Any:
    return np.array([np.vdot(x, x)]) + 0.0 * x


def _with_real_numbers_only(x: Any) -> Any:
    return np.real(x) ** 2


def _with_math(x: Any) -> Any:
    import math

    return np.array([math.tanh(value) for value in x])


@pytest.mark.parametrize(
    "function",
    [_with_abs, _with_a_real_buffer, _with_a_cast, _with_a_conjugate, _with_real_numbers_only, _with_math],
    ids=lambda f: f.__name__.removeprefix("_with_"),
)
def test_functions_that_lose_the_imaginary_part(function: Any) -> None:
    """The complex step would call right code wrong, and wrong code right: it must say that it cannot tell."""
    x = np.array([0.7, -1.3, 2.1])
    jacobians = {
        "_with_abs": np.diag(x / np.sqrt(x**2 + 1)),
        "_with_a_conjugate": np.tile(2 * x, (3, 1)),
        "_with_math": np.diag(1 - np.tanh(x) ** 2),
    }
    jacobian = jacobians.get(function.__name__, np.diag(2 * x))

    def forward(x: Any) -> tuple[Any, None]:
        return function(x), None

    for claimed in (jacobian, 0.0 * jacobian):
        backward = functools.partial(lambda jacobian, d, cache: d @ jacobian, claimed)
        report = engine.check_gradients(forward, backward, [x], method="complex")
        assert report.verdict == "cannot tell", report
        assert "complex" in report.cause or "imaginary" in report.cause
    assert engine.check_gradients(forward, lambda d, c: d @ jacobian, [x]).passed


def test_an_embedding_that_assigns_in_place_of_adding(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import zoo

    bug = zoo.find("embedding-rows-assigned")
    layer = engine.Embedding(7, 3, dtype="float64")
    once, twice = np.array([[0, 3], [5, 1]]), np.array([[0, 3], [3, 1]])
    with bug.plant():
        assert engine.gradcheck(layer, twice).verdict == "wrong"
        unseen = engine.gradcheck(layer, once)
    assert unseen.passed  # nothing to see, and the report says so
    assert "no token occurs twice" in str(unseen)
    assert not engine.gradcheck(layer, twice).warnings


def test_constant_and_symmetric_weights_are_warned_of() -> None:
    layer = build("rnn_tanh", 2, 3)
    x, h0, _, _ = random_arguments(layer, 4, 2)
    state = layer.state_dict()
    layer.load_state_dict(state | {"weight_hh_l0": state["weight_hh_l0"] + state["weight_hh_l0"].T})
    report = engine.gradcheck(layer, x, h0)
    assert "weight_hh_l0 is symmetric: a transposed product would not be seen" in str(report).replace("\n  ", " ")
    layer.load_state_dict(state | {"weight_ih_l0": np.full((3, 2), 0.3)})
    assert any("weight_ih_l0 is constant" in warning for warning in engine.gradcheck(layer, x, h0).warnings)
    layer.load_state_dict(state)
    assert engine.gradcheck(layer, x, h0).warnings == ()


def test_a_sample_of_entries_reaches_every_gate_and_time_step() -> None:
    class Wrong(engine.LSTM):
        gate, step = 0, None

        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            dx, dfirst = super().backward(tape, dy, dstate)
            if self.step is None:
                H = self.hidden_size
                self.grads["weight_ih_l0"][self.gate * H : (self.gate + 1) * H] *= 1.01
            else:
                dx[self.step] *= 1.01
            return dx, dfirst

    x = np.random.default_rng(0).normal(size=(9, 2, 4))
    layer = Wrong(4, 6, dtype="float64")
    for gate in range(4):
        layer.gate = Wrong.gate = gate
        report = engine.gradcheck(layer, x, entries=4)
        assert (report.verdict, report.worst.name, report.worst.gate) == ("wrong", "weight_ih_l0", "ifgo"[gate])
    for step in (0, 4, 8):
        Wrong.step = step  # type: ignore[assignment]
        report = engine.gradcheck(layer, x, entries=9)
        assert (report.verdict, report.worst.name, report.worst.time_step) == ("wrong", "x", step)
    Wrong.step = None


def test_nan_in_pads_and_rows_of_length_zero() -> None:
    for kind in ("lstm", "gru_before"):
        layer = build(kind, 2, 3, bidirectional=True)
        x, state, _, _ = random_arguments(layer, 5, 3)
        x[3:, 0], x[:, 1] = np.nan, np.inf
        for method in ("central", "adjoint", "taylor") if kind == "lstm" else ("complex", "directional"):
            report = engine.gradcheck(layer, x, state, lengths=[3, 0, 5], method=method)
            assert report.passed, report


def test_inputs_with_gaps_and_inputs_that_share_memory() -> None:
    base = np.random.default_rng(0).normal(size=(6, 8))
    gaps, turned = base[::2, ::-2], np.asfortranarray(base[:4, :3])

    def forward(a: Any, b: Any) -> tuple[Any, Any]:
        return a[:, :3] * 2.0 + np.tanh(b[:3, :3]), (a, b)

    def backward(dout: Any, cache: Any) -> tuple[Any, Any]:
        a, b = cache
        da, db = np.zeros_like(a), np.zeros_like(b)
        da[:, :3] = 2.0 * dout
        db[:3, :3] = dout * (1 - np.tanh(b[:3, :3]) ** 2)
        return da, db

    before = base.copy()
    assert engine.check_gradients(forward, backward, [gaps, turned]).passed
    same = base[:3, :4]
    assert engine.check_gradients(forward, backward, [same, same]).passed  # two arguments, one array
    overlapping = base[:3, 1:5]
    assert engine.check_gradients(forward, backward, [same, overlapping]).passed
    np.testing.assert_array_equal(base, before)


def test_functions_that_write_into_their_arguments() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2))

    def forward(x: Any) -> tuple[Any, Any]:
        x *= 2.0
        return x.copy(), None

    def backward(dout: Any, cache: Any) -> Any:
        dout *= 2.0
        return dout

    before = x.copy()
    spoilt = engine.check_gradients(forward, lambda d, c: 2.0 * d, [x])
    assert (spoilt.verdict, spoilt.passed) == ("input mutated", False)
    assert "writes into its inputs" in str(spoilt)
    assert engine.check_gradients(lambda x: (2.0 * x, None), backward, [x]).verdict == "input mutated"
    np.testing.assert_array_equal(x, before)


def test_nests_of_tuples_and_dicts() -> None:
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}
    states = (rng.normal(size=(4, 2)), [rng.normal(size=(4, 2)), np.arange(4)])

    def forward(params: Any, x: Any, states: Any) -> tuple[Any, Any]:
        out = np.tanh(x @ params["w"] + params["b"] + states[0]) * states[1][0]
        return {"out": out, "more": (states[0] ** 2,)}, (params, x, states, out)

    def backward(dout: Any, cache: Any) -> Any:
        params, x, states, out = cache
        h = out / states[1][0]
        da = dout["out"] * states[1][0] * (1 - h * h)
        dparams = {"w": x.T @ da, "b": da.sum(axis=0)}
        return dparams, da @ params["w"].T, (da + 2 * states[0] * dout["more"][0], (dout["out"] * h, None))

    inputs = [params, rng.normal(size=(4, 3)), states]
    report = engine.check_gradients(forward, backward, inputs)
    assert report.passed, report
    names = [row.name for row in report.rows]
    assert names == ["params.w", "params.b", "x", "states[0]", "states[1][0]"]

    def wrong(dout: Any, cache: Any) -> Any:
        dparams, dx, dstates = backward(dout, cache)
        return dparams | {"b": -dparams["b"]}, dx, dstates

    report = engine.check_gradients(forward, wrong, inputs)
    assert (report.worst.name, report.diagnosis.cause if report.diagnosis else "") == ("params.b", "sign")
