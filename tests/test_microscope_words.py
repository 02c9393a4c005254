"""The microscope's words, tables and pictures, what it takes as a model, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build, distance, random_arguments
from microscope_layers import LENGTHS, MANY, B, D, H, T, arguments, layer_of, to_h
from refusals import refused

import engine
from engine.microscope import gates, jacobians, reading

# -- gates and words --------------------------------------------------------------------------------------------------


def test_gates_have_their_function_and_their_statistics() -> None:
    layer = layer_of("gru")
    x, state, _ = arguments(layer)
    layer.params["bias_ih_l0"][:2] = 8.0  # two units of r are near 1
    layer.params["bias_ih_l0"][2 * H] = -8.0  # one of n is near -1
    _, _, tape = layer.forward(x, state, LENGTHS)
    found = engine.trace(layer, x, state=state, lengths=LENGTHS, rows=0)["l0"].gates
    assert {name: gate.activation for name, gate in found.items()} == {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}
    for name, gate in found.items():
        low, high = (0.1, 0.9) if name != "n" else (-0.8, 0.8)
        for t in range(T):
            values = [tape.layers[0][0].gates[name][t, b, k] for b in range(B) for k in range(H) if t < LENGTHS[b]]
            assert gate.mean[t] == pytest.approx(sum(values) / len(values))
            assert gate.spread[t] == pytest.approx(np.sqrt(sum((v - gate.mean[t]) ** 2 for v in values) / len(values)))
            assert gate.near_low[t] == sum(v <= low for v in values) / len(values)
            assert gate.near_high[t] == sum(v >= high for v in values) / len(values)
            assert gate.saturation[t] == gate.near_low[t] + gate.near_high[t]
    assert found["r"].near_high[0] >= 0.5
    assert found["n"].near_low[0] >= 0.25


def test_the_function_of_a_gate_is_read_from_its_equation() -> None:
    known = engine.cells()
    assert gates.activation(known["rnn_relu"], "h") == "relu"
    assert gates.activation(known["indrnn"], "h") == "relu"
    assert gates.activation(known["layernorm_lstm"], "o") == "sigmoid"
    assert gates.activation(known["slstm"], "i") is None  # an exponential has no upper bound
    assert gates.activation(MANY, "v") is None  # act(a_v) + 1/3
    with np.errstate(all="ignore"):
        flow = engine.trace(layer_of(MANY), arguments(layer_of(MANY))[0], rows=0)["l0"].gates["v"]
    assert flow.bounds is None
    assert np.isnan(flow.near_low).all()


def test_a_large_layer_is_measured_from_fewer_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build("gru", D, H)
    x = np.random.default_rng(0).normal(size=(40, B, D))
    whole = engine.trace(layer, x, rows=2)["l0"].jacobians
    monkeypatch.setattr(jacobians, "WORK", 1e4)
    some = engine.trace(layer, x, rows=2)["l0"].jacobians
    assert whole is not None
    assert some is not None
    assert (len(whole.slots), len(some.slots)) == (41, jacobians.FEW)
    assert (some.slots[0], some.slots[-1]) == (0, 40)
    np.testing.assert_allclose(some.to_h, whole.to_h[some.slots], rtol=1e-6)


def test_words_follow_the_numbers() -> None:
    lags = np.arange(6)
    assert reading.memory_of(lags, np.log([1, 0.9, 0.3, 0.5, 0.2, 0.1])) == pytest.approx(
        3 + np.log(0.5 * np.e) / np.log(2.5)
    )
    assert reading.memory_of(lags, np.log([1, 0.1, 0.1, 0.1, 0.1, 0.4])) is None
    assert reading.last_steps(np.array([0.05, 0.15, 0.6, 0.2])) == 3
    assert reading.last_steps(np.array([0.0, -0.3, 0.3, 1.0])) == 1
    assert reading.last_steps(np.array([0.3, -0.3, 0.2, 0.8])) == 4  # the last 3 give 0.7, the last 2 gave all of it
    layer = layer_of("rnn_tanh", bias=False)
    zero = engine.trace(layer, np.zeros((T, B, D)), dy=np.zeros((T, B, H)))
    assert zero.verdict == "no gradient"
    assert np.isnan(zero["l0"].weights["weight_ih_l0"].share).all()
    layer.params["weight_hh_l0"][0, 0] = np.nan
    assert engine.trace(layer, np.ones((T, B, D))).verdict == "non-finite"
    layer.params["weight_hh_l0"][...] = 1e200
    assert engine.trace(layer, np.ones((T, B, D))).verdict == "vanishing"  # every unit is saturated
    assert engine.trace(layer, np.zeros((T, B, D))).verdict == "non-finite"  # none is: the gradient overflows
    layer.params["weight_hh_l0"][...] = 0
    layer.params["weight_ih_l0"][...] = 9
    saturated = engine.trace(layer, np.ones((T, B, D)))
    assert saturated.verdict == "vanishing"
    assert any(words.startswith("gate h: 0% near -1, 100% near 1") for words in saturated["l0"].findings)
    assert engine.trace(layer, np.ones((T, B, D)), rows=0).verdict == "cannot tell"


# -- models, layouts, backends ----------------------------------------------------------------------------------------


def test_a_model_is_looked_at_by_name_and_not_changed() -> None:
    options: dict[str, Any] = {"backend": "numpy:reference", "batch_first": True}
    inner = engine.Sequential(engine.LSTM(3, H, num_layers=2, dropout=0.5, zoneout=0.2, **options))
    model = engine.Sequential(
        engine.Embedding(7, 3, backend="numpy:reference"),
        inner,
        engine.Dropout(0.5, backend="numpy:reference"),
        engine.Linear(H, 7, backend="numpy:reference"),
    )
    ids = np.random.default_rng(0).integers(0, 7, size=(B, T))
    for grad in model.grads.values():
        grad[...] = 5.0
    before = {name: np.array(param) for name, param in model.params.items()}
    counters = model.call_counters()
    found = engine.trace(model, ids, loss=lambda y: engine.cross_entropy(y, ids))
    assert list(found) == ["1.0.l0", "1.0.l1"]
    assert set(found["1.0.l1"].weights) == {name for name in model.params if name.endswith("l1")}
    assert all((grad == 5.0).all() for grad in model.grads.values())
    assert all((param == before[name]).all() for name, param in model.params.items())
    assert model.call_counters() == counters
    only = engine.trace(model, ids, only="1.0.l0", loss=lambda y: engine.cross_entropy(y, ids))
    assert list(only) == ["1.0.l0"]
    np.testing.assert_array_equal(only["1.0.l0"].states["c"], found["1.0.l0"].states["c"])
    assert only.loss == pytest.approx(float(engine.cross_entropy(model.predict(ids)[0], ids)[0]))


def test_both_directions_and_layouts_agree() -> None:
    lengths = [5, 0, 3]
    time_first = build("gru", D, H, 2, bidirectional=True)
    batch_first = engine.GRU(D, H, 2, bidirectional=True, batch_first=True, dtype="float64", backend="numpy:reference")
    batch_first.load_state_dict(time_first.state_dict())
    x = np.random.default_rng(0).normal(size=(T, B, D))
    one = engine.trace(time_first, x, lengths=lengths)
    other = engine.trace(batch_first, np.ascontiguousarray(x.swapaxes(0, 1)), lengths=lengths)
    assert list(one) == list(other) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert one.to_json() | {"loss": None} == other.to_json() | {"loss": None}
    assert one.loss == pytest.approx(other.loss)
    alone = engine.trace(time_first, x[:3, 2:])  # the third row by itself; the reverse direction begins at its end
    for name in one:
        assert to_h(one[name])[:4, 1] == pytest.approx(to_h(alone[name])[:, 0], rel=1e-7)


@pytest.mark.slow
def test_kernel_sets_and_precisions_give_the_same_numbers() -> None:
    layer = build("lstm", D, H, 2, dtype="float32")
    x = random_arguments(layer, T, B)[0]
    one = engine.trace(layer, x)
    for other in (layer.to(backend="numpy:numba"), layer.to(dtype="float64")):
        found = engine.trace(other, x.astype(other.dtype))
        for name, flow in one.items():
            for state, norms in flow.states.items():
                assert distance(found[name].states[state], norms) <= 1e-5
            for weight, parts_ in flow.weights.items():
                assert distance(found[name].weights[weight].share, parts_.share) <= 1e-5
            assert distance(to_h(found[name]), to_h(flow)) <= 1e-5


@pytest.mark.device
@pytest.mark.parametrize("kernels", ["reference", "cuda"])
def test_a_device_gives_the_same_numbers(kernels: str) -> None:
    from fake_cupy import installed

    with installed():
        layer = build("peephole_lstm", D, H)
        x, state, dy = arguments(layer)
        moved = layer.to(backend=f"cupy:{kernels}")
        up = moved.backend.asarray
        wanted = engine.trace(layer, x, state=state, dy=dy, lengths=LENGTHS)
        found = engine.trace(moved, up(x), state=tuple(map(up, state)), dy=up(dy), lengths=LENGTHS)
        for weight, parts_ in wanted["l0"].weights.items():
            np.testing.assert_allclose(found["l0"].weights[weight].share, parts_.share, rtol=1e-9)
        np.testing.assert_allclose(to_h(found["l0"]), to_h(wanted["l0"]), rtol=1e-9)


def test_training_never_imports_it() -> None:
    code = (
        "import sys, numpy as np, engine\n"
        "layer = engine.LSTM(2, 3, backend='numpy:reference')\n"
        "y, _, tape = layer.forward(np.ones((4, 1, 2), np.float32))\n"
        "layer.backward(tape, y)\n"
        "engine.Adam(layer).step()\n"
        "import engine.training\n"
        "print([name for name in sys.modules if name.startswith('engine.microscope')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_it_is_a_table_a_picture_and_json(tmp_path: Path) -> None:
    layer = build("slstm", D, H)
    found = engine.trace(layer, arguments(layer)[0], lengths=LENGTHS)
    words = str(found)
    assert words.splitlines()[-1] == f"{found.verdict}: 1 layer and direction"
    assert "l0: slstm, 5 steps, 3 rows, 4 units" in words
    assert str(found["l0"]) in words
    assert repr(found) == f"<Trace of l0: {found.verdict}>"
    assert repr(found["l0"]).startswith("<DirectionFlow l0: slstm, 5 steps")
    assert found._repr_html_().startswith("<pre>gradients of")
    again = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert again["layers"]["l0"]["states"]["m"] == pytest.approx(found["l0"].states["m"].tolist())
    assert again["layers"]["l0"]["gates"]["i"]["near_low"] == [None] * T
    file = tmp_path / "trace.png"
    figure = found.plot(file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 4
    drawn = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, found["l0"].states["h"])
    with pytest.raises(engine.EngineError, match=r"a file that can be written, got No such file"):
        engine.trace(layer, arguments(layer)[0], rows=0).plot(tmp_path / "no" / "trace.png")
    with refused(engine.InputError, "path: expected a file name that ends in", "png"):
        found.plot("trace.banana")


LSTM = engine.LSTM(D, H, backend="numpy:reference")
X = np.ones((T, B, D), np.float32)
TEXT: Any = "lstm"
THREE: Any = 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: engine.trace(engine.Linear(2, 3), X), "model: expected a model with a recurrent layer, got a Linea"),
        (lambda: engine.trace(TEXT, X), "model: expected a recurrent laye"),
        (lambda: engine.trace(LSTM, X[:0]), "x: expected at least one time step and one row"),
        (lambda: engine.trace(LSTM, X[:, :0]), "x: expected at least one time step and one row"),
        (lambda: engine.trace(LSTM, X, only="l1"), "only: expected some of l0, got 'l1'"),
        (lambda: engine.trace(LSTM, X, only=THREE), "only: expected names"),
        (lambda: engine.trace(LSTM, X, rows=-1), "rows: expected an integer >= 0"),
        (lambda: engine.trace(LSTM, X, truncation=THREE), "truncation: expected a pair (k1, k2)"),
        (lambda: engine.trace(LSTM, X, truncation=(3, 2)), "k2: expected at least k1 = 3"),
        (lambda: engine.trace(LSTM, X, truncation=(1, 2), lengths=[5, 5, 2]), "lengths: expected None"),
        (lambda: engine.trace(LSTM, X, dy=X, loss=abs), "loss: expected None where dy is given"),
        (lambda: engine.trace(LSTM, X, loss=THREE), "loss: expected a function"),
        (lambda: engine.trace(LSTM, X, loss=lambda y: y.sum()), "loss: expected a function that returns the pai"),
        (lambda: engine.trace(LSTM, X, loss=lambda y: ("1", y)), "loss: expected a function whose first"),
        (lambda: engine.trace(LSTM, X, loss=lambda y: (1.0, y[1:])), "dy of the loss: expected shape"),
        (lambda: engine.trace(LSTM, X, dy=X), "dy: expected shape (5, 3, 4)"),
        (lambda: engine.trace(LSTM, X, seed=-1), "seed: expected an integer >= 0"),
        (
            lambda: engine.trace(engine.GRU(D, H, bidirectional=True, backend="numpy:reference"), X, truncation=(1, 1)),
            "model: expected one direction",
        ),
    ],
)
def test_bad_arguments_are_refused(call: Any, words: str) -> None:
    with refused(engine.InputError, words):
        call()
