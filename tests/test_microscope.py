"""The microscope: every number of it against an independent computation, for every cell and for users' own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build, distance, random_arguments
from odd_cells import EARLY, LOOSE, MANY, PLAIN, STAGED
from refusals import refused

import engine
from engine.microscope import gates, reading
from engine.microscope.passes import ALL

T, B, D, H = 5, 3, 2, 4
ODD = (MANY, STAGED, EARLY, PLAIN, LOOSE)  # users' own cells
LENGTHS = [5, 2, 4]
EPS = 1e-6


def layer_of(cell: Any, **options: Any) -> Any:
    """A layer of that cell with random weights; a cell of the tests is in no registry."""
    if isinstance(cell, str):
        return build(cell, D, H, **options)
    projected = {"proj_size": 3} if cell.projected else {}
    options = {"dtype": "float64", "backend": "numpy:reference", **projected, **options}
    layer = engine.Recurrent(cell, D, H, **options)
    rng = np.random.default_rng(sum(map(ord, cell.name)))
    layer.load_state_dict({name: rng.normal(scale=0.5, size=p.shape) for name, p in layer.params.items()})
    return layer


def name_of(cell: Any) -> str:
    return cell if isinstance(cell, str) else cell.name


EVERY_CELL = pytest.mark.parametrize("cell", [*engine.cells(), *ODD], ids=name_of)


def arguments(layer: Any, seed: int = 3) -> tuple[Any, Any, Any]:
    """x, state and dy; sLSTM's normaliser is a sum of exponentials."""
    x, state, dy, _ = random_arguments(layer, T, B, seed)
    if "n" in layer.cell.states:
        state[layer.cell.states.index("n")][...] = 0.5 + np.abs(state[layer.cell.states.index("n")])
    return x, state, dy


def parts(layer: Any, state: Any) -> list[Any]:
    return list(state) if len(layer.cell.states) > 1 else [state]


def to_h(flow: Any) -> Any:
    assert flow.jacobians is not None
    return flow.jacobians.to_h


def states_at(layer: Any, tape: Any, t: int, b: int) -> np.ndarray:
    """All states of one row at slot t, in one vector."""
    return np.concatenate([slots[t, b] for slots in tape.layers[0][0].run.states])


def end_states(layer: Any, x: Any, vectors: np.ndarray) -> np.ndarray:
    """The states after the steps of x (T, D), from states in one vector each (n, S)."""
    widths = np.cumsum(layer.widths)[:-1]
    first = [np.ascontiguousarray(part[None]) for part in np.split(vectors, widths, axis=1)]
    _, last = layer.predict(np.repeat(x[:, None], len(vectors), axis=1), tuple(first) if len(first) > 1 else first[0])
    return np.concatenate([part[0] for part in parts(layer, last)], axis=1)


def explicit(layer: Any, x: Any, vector: np.ndarray) -> np.ndarray:
    """The Jacobian (S, S) of the states after the steps of x, column by column by central differences."""
    moved = EPS * np.eye(len(vector))
    ahead, behind = end_states(layer, x, vector + moved), end_states(layer, x, vector - moved)
    return (ahead - behind).T / (2 * EPS)


# -- Jacobians --------------------------------------------------------------------------------------------------------


@EVERY_CELL
def test_jacobians_are_those_of_explicit_matrices(cell: Any) -> None:
    layer = layer_of(cell)
    x, state, _ = arguments(layer)
    _, _, tape = layer.forward(x, state, LENGTHS)
    found = engine.trace(layer, x, state=state, lengths=LENGTHS)["l0"].jacobians
    assert found is not None
    assert found.change <= 1e-8
    places = np.split(np.arange(sum(layer.widths)), np.cumsum(layer.widths)[:-1])
    of = dict(zip(layer.cell.states, places, strict=True)) | {ALL: np.arange(sum(layer.widths))}
    assert set(found.step) == set(of)
    for b, length in enumerate(LENGTHS):
        for t in range(T + 1):
            if t > length:
                assert np.isnan(found.to_h[t, b])
                continue
            vector = states_at(layer, tape, t, b)
            if t < length:
                matrix = explicit(layer, x[t : t + 1, b], vector)
                for name, units in of.items():
                    norm = np.linalg.norm(matrix[np.ix_(units, units)], 2)
                    assert found.step[name][t, b] == pytest.approx(norm, rel=1e-6, abs=1e-8), (name, t, b)
            else:
                assert t == T or np.isnan(found.step[ALL][t, b])
            matrix = explicit(layer, x[t:length, b], vector) if t < length else np.eye(len(vector))
            h = of["h"]
            for norms, wanted in (
                (found.to_end[ALL], matrix),
                (found.to_end["h"], matrix[np.ix_(h, h)]),
                (found.to_h, matrix[h]),
            ):
                assert norms[t, b] == pytest.approx(np.linalg.norm(wanted, 2), rel=1e-6, abs=1e-8), (t, b)


@pytest.mark.parametrize(("radius", "verdict"), [(0.9, "vanishing"), (1.1, "exploding"), (1.0, "steady")])
def test_a_linear_recurrence_has_the_norms_of_its_powers(radius: float, verdict: str) -> None:
    layer = build("rnn_tanh", D, 6, bias=False)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    layer.params["weight_hh_l0"][...] = radius * rotation
    flow = engine.trace(layer, np.zeros((80, 2, D)))["l0"]  # h stays 0, where tanh is linear
    assert flow.jacobians is not None
    powers = radius ** np.arange(80, -1, -1.0)
    slots = flow.jacobians.slots
    assert slots[0] == 0
    assert slots[-1] == 80
    np.testing.assert_allclose(flow.jacobians.to_h, np.repeat(powers[slots, None], 2, axis=1), rtol=1e-9)
    np.testing.assert_allclose(flow.states["h"] / flow.states["h"][-1], powers, rtol=1e-9)
    assert flow.rate == pytest.approx(radius, rel=1e-9)
    assert flow.verdict == verdict
    if radius < 1:
        assert flow.memory_length == pytest.approx(-1 / np.log(radius), rel=1e-3)
    else:
        assert flow.memory_length is None


def test_products_that_underflow_or_overflow_have_their_rate_all_the_same() -> None:
    layer = build("rnn_tanh", D, 3, bias=False)
    for radius in (0.1, 20.0):
        layer.params["weight_hh_l0"][...] = radius * np.eye(3)
        flow = engine.trace(layer, np.zeros((200, 1, D)))["l0"]
        assert flow.rate == pytest.approx(radius, rel=1e-6)


# -- gradients --------------------------------------------------------------------------------------------------------


def value(layer: Any, x: Any, state: Any, dy: Any) -> float:
    """The loss sum(dy * y)."""
    return float((dy * layer.predict(x, state)[0]).sum())


def slope(layer: Any, arguments: tuple[Any, Any, Any], name: str, direction: Any, at: int) -> float:
    """Central difference of the loss along a change of one parameter at one step alone."""
    x, state, dy = arguments
    if at:
        state = layer.predict(x[:at], state)[1]
    weight, losses = np.array(layer.params[name]), []
    for sign in (1, -1):
        layer.params[name] = weight + sign * EPS * direction
        y, after = layer.predict(x[at : at + 1], state)
        layer.params[name] = weight
        losses.append(float((dy[at : at + 1] * y).sum()) + value(layer, x[at + 1 :], after, dy[at + 1 :]))
    return (losses[0] - losses[1]) / (2 * EPS)


@EVERY_CELL
def test_shares_are_the_changes_of_the_loss_by_a_change_of_one_step(cell: Any) -> None:
    layer = layer_of(cell)
    x, state, dy = arguments(layer)
    _, _, tape = layer.forward(x, state)
    layer.zero_grad()
    layer.backward(tape, dy)
    found = engine.trace(layer, x, state=state, dy=dy, rows=0)["l0"].weights
    assert set(found) == set(layer.params)
    for name, weight in found.items():
        gradient = np.array(layer.grads[name])
        assert weight.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
        assert abs(weight.share.sum() - 1) <= 1e-12, name
        for t in range(T):
            numeric = slope(layer, (x, state, dy), name, gradient / weight.gradient_norm, t)  # <dW_t, dW> / |dW|
            assert weight.share[t] * weight.gradient_norm == pytest.approx(numeric, rel=1e-6, abs=1e-7), (name, t)
            assert weight.norm[t] >= abs(numeric) * (1 - 1e-6)


@pytest.mark.parametrize("cell", ["gru", "peephole_lstm", "projected_lstm"])
def test_parts_have_the_norms_that_differences_give(cell: str) -> None:
    layer = layer_of(cell)
    x, state, dy = arguments(layer)
    found = engine.trace(layer, x, state=state, dy=dy, rows=0)["l0"].weights
    for name in [name for name in found if "weight_ih" not in name]:
        for t in (0, 3):
            numeric = np.zeros(layer.params[name].shape)
            for index in np.ndindex(numeric.shape):
                one = np.zeros(numeric.shape)
                one[index] = 1.0
                numeric[index] = slope(layer, (x, state, dy), name, one, t)
            assert found[name].norm[t] == pytest.approx(np.linalg.norm(numeric), rel=1e-6, abs=1e-8)


@EVERY_CELL
def test_gradients_of_states_are_those_of_differences(cell: Any) -> None:
    layer = layer_of(cell)
    x, state, dy = arguments(layer)
    _, _, tape = layer.forward(x, state)
    found = engine.trace(layer, x, state=state, dy=dy, rows=0)["l0"].states
    for number, name in enumerate(layer.cell.states):
        for t in range(T + 1) if name == "h" else (0,):  # another state counts with what goes through h[t], from t = 1
            numeric = np.zeros((B, layer.widths[number]))
            slots = [np.array(part[t])[None] for part in tape.layers[0][0].run.states]
            for index in np.ndindex(numeric.shape):
                losses = []
                for sign in (1, -1):
                    moved = [part.copy() for part in slots]
                    moved[number][0][index] += sign * EPS
                    first = tuple(moved) if len(moved) > 1 else moved[0]
                    own = float((dy[t - 1] * moved[0][0]).sum()) if t else 0.0  # y[t-1] = h[t]
                    losses.append(own + value(layer, x[t:], first, dy[t:]))
                numeric[index] = (losses[0] - losses[1]) / (2 * EPS)
            assert found[name][t] == pytest.approx(np.linalg.norm(numeric), rel=1e-6, abs=1e-8), (name, t)


@pytest.mark.parametrize("cell", ["gru", "lstm", "mgu", MANY], ids=name_of)
def test_adjoints_of_gates_are_those_of_differences(cell: Any) -> None:
    """With one row, the gradient of a bias at one step alone is that of the pre-activation."""
    layer = layer_of(cell)
    x, state, dy = arguments(layer)
    x, dy = x[:, :1], dy[:, :1]
    state = tuple(part[:, :1] for part in parts(layer, state))
    state = state if len(state) > 1 else state[0]
    found = engine.trace(layer, x, state=state, dy=dy, rows=0)["l0"].gates
    for side, names in (("bias_ih_l0", layer.cell.gates), ("bias_hh_l0", layer.cell.recurrent)):
        for block, gate in enumerate(names):
            for t in range(T):
                every = np.eye(len(names) * H)[block * H : (block + 1) * H]
                numeric = [slope(layer, (x, state, dy), side, one, t) for one in every]
                norms = found[gate].adjoint if side == "bias_ih_l0" else found[gate].adjoint_hidden
                assert norms[t] == pytest.approx(np.linalg.norm(numeric), rel=1e-6, abs=1e-8), (gate, t)


def test_truncated_gradients_are_those_of_truncated_bptt() -> None:
    model = engine.Sequential(
        engine.GRU(D, 4, num_layers=2, dtype="float64", backend="numpy:reference"),
        engine.Linear(4, 3, dtype="float64", backend="numpy:reference"),
        engine.Recurrent("peephole_lstm", 3, 2, dtype="float64", backend="numpy:reference"),
    )
    rng = np.random.default_rng(2)
    x, target = rng.normal(size=(7, B, D)), rng.normal(size=(7, B, 2))

    def loss(y: Any) -> Any:
        return engine.mse(y, target)

    _, _, tape = model.forward(x)
    full = engine.trace(model, x, loss=loss, rows=0)
    for k1, k2 in ((1, 3), (2, 5), (7, 7)):
        model.zero_grad()
        engine.truncated_bptt(model, x, loss, k1, k2)
        truncated = {name: np.array(grad) for name, grad in model.grads.items()}
        model.zero_grad()
        model.backward(tape, loss(model.forward(x)[0])[1])
        whole = {name: np.array(grad) for name, grad in model.grads.items()}
        found = engine.trace(model, x, loss=loss, rows=0, truncation=(k1, k2))
        assert found.truncation is not None
        weights = {name: weight for flow in found.values() for name, weight in flow.weights.items()}
        assert set(weights) == set(found.truncation.captured) == {name for name in model.params if name[0] != "1"}
        for name, weight in weights.items():
            g, dW = truncated[name].ravel(), whole[name].ravel()
            assert weight.gradient_norm == pytest.approx(np.linalg.norm(g), rel=1e-10)
            assert found.truncation.captured[name] == pytest.approx(g @ dW / (dW @ dW), rel=1e-9)
            assert found.truncation.cosine[name] == pytest.approx(
                g @ dW / np.linalg.norm(g) / np.linalg.norm(dW), rel=1e-9
            )
            assert found.truncation.distance[name] == pytest.approx(
                np.linalg.norm(g - dW) / np.linalg.norm(dW), rel=1e-9, abs=1e-9
            )
        assert found.loss == full.loss


def test_a_loss_of_the_last_step_reaches_k2_steps_and_no_further() -> None:
    layer = layer_of("lstm")
    x, state, _ = arguments(layer)
    for k2 in (1, 3):
        found = engine.trace(layer, x, state=state, truncation=(1, k2), rows=0)["l0"]
        assert (found.states["h"][: T - k2] == 0).all()
        assert (found.states["h"][T - k2 :] > 0).all()
        assert (found.weights["weight_ih_l0"].share[: T - k2] == 0).all()
        assert (
            f"truncated BPTT with k2 = {k2}: no gradient arrives at the slots 0 to {T - k2 - 1} of {T}"
            in found.findings
        )


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
def test_a_device_gives_the_same_numbers() -> None:
    from fake_cupy import installed

    with installed():
        layer = build("peephole_lstm", D, H)
        x, state, dy = arguments(layer)
        moved = layer.to(backend="cupy:reference")
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
