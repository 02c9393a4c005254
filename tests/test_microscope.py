"""The microscope: every number of it against an independent computation, for every cell and for users' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import build
from microscope_layers import LENGTHS, MANY, ODD, B, D, H, T, arguments, layer_of

import engine
from engine.microscope.passes import ALL

EPS = 1e-6


def name_of(cell: Any) -> str:
    return cell if isinstance(cell, str) else cell.name


EVERY_CELL = pytest.mark.parametrize("cell", [*engine.cells(), *ODD], ids=name_of)


def parts(layer: Any, state: Any) -> list[Any]:
    return list(state) if len(layer.cell.states) > 1 else [state]


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


def test_a_pooled_output_has_the_flow_of_the_steps_that_it_was_read_from() -> None:
    """Behind a pool of the last step the gradient enters there, as without the pool; pads of short rows get none."""
    draw = np.random.default_rng(7)
    options: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    gru = engine.GRU(D, H, **options)
    pooled = engine.Sequential(engine.GRU(D, H, **options), engine.Pool("last", **options))
    pooled.layers[0].load_state_dict(gru.state_dict())
    x, dpool = draw.normal(size=(T, B, D)), draw.normal(size=(B, H))
    dy = np.zeros((T, B, H))
    dy[np.array(LENGTHS) - 1, np.arange(B)] = dpool
    one = engine.trace(pooled, x, lengths=LENGTHS, loss=lambda y: ((y * dpool).sum(), dpool))["0.l0"]
    two = engine.trace(gru, x, lengths=LENGTHS, dy=dy)["l0"]
    np.testing.assert_allclose(one.states["h"], two.states["h"], rtol=1e-12)
    assert engine.trace(pooled, x, lengths=LENGTHS).objective == "the outputs times random weights"
