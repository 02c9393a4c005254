"""Weights that stay packed: every change is seen where it must be, no bit depends on who packed, and none lie about."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, random_arguments
from conftest import JIT_OFF
from test_threads import force

import engine
from kernels.cells import Pass, cells
from kernels.cpu.numba_kernels import NumbaKernels
from kernels.cpu.prepared import PreparedPass
from kernels.options import with_zoneout

needs_compiled = pytest.mark.skipif(JIT_OFF, reason="too slow uncompiled (NUMBA_DISABLE_JIT)")


def packs_of(layer: Any) -> list[Any]:
    """What the kernels keep of the layer's weights."""
    return [found[2] for found in layer._params.memo.values() if isinstance(found, tuple)]


def assign(layer: Any) -> None:
    layer.params["weight_hh_l0"] = layer.params["weight_hh_l0"] * 1.5


def one_number(layer: Any) -> None:
    layer.params["weight_hh_l0"][3, 1] += 0.125


def a_bias(layer: Any) -> None:
    layer.params["bias_hh_l0"][-1] -= 0.25


def a_step(layer: Any) -> None:
    for grad in layer.grads.values():
        grad[...] = 0.5
    engine.SGD(layer, lr=0.1).step()


def load(layer: Any) -> None:
    layer.load_state_dict({name: value * 0.5 for name, value in layer.params.items()})


CHANGES = [assign, one_number, a_bias, a_step, load]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("first", ["predict", "forward"])
def test_predict_and_forward_see_every_change(change: Any, first: str) -> None:
    layer = build("gru", 3, 5, dtype="float64", backend="numpy:numba")
    x, state, _, _ = random_arguments(layer, 4, 2)
    before = layer.predict(x, state)[0]
    assert np.array_equal(layer.predict(x, state)[0], before)  # with packed weights
    change(layer)
    wanted = build("gru", 3, 5, dtype="float64", backend="numpy:reference")
    wanted.load_state_dict(layer.state_dict())
    for way in (first, "predict", "forward"):
        np.testing.assert_allclose(getattr(layer, way)(x, state)[0], wanted.predict(x, state)[0], rtol=0, atol=1e-14)
    assert not np.array_equal(layer.predict(x, state)[0], before)


def test_a_change_that_is_undone_and_a_copy() -> None:
    layer = build("lstm", 3, 5, 2, bidirectional=True, backend="numpy:numba")
    x, state, _, _ = random_arguments(layer, 4, 2)
    wanted = layer.predict(x, state)[0]
    others = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    kept = layer.params["weight_ih_l1_reverse"].copy()
    layer.params["weight_ih_l1_reverse"][...] = 0
    assert not np.array_equal(layer.predict(x, state)[0], wanted)
    layer.params["weight_ih_l1_reverse"] = kept
    assert np.array_equal(layer.predict(x, state)[0], wanted)
    for other in others:  # these have weights of their own
        assert np.array_equal(other.predict(x, state)[0], wanted)
        other.params["weight_ih_l0"][...] = 0
        assert not np.array_equal(other.predict(x, state)[0], wanted)
    assert np.array_equal(layer.predict(x, state)[0], wanted)


def test_training_keeps_no_second_copy_of_the_weights() -> None:
    layer = build("lstm", 3, 5, backend="numpy:numba")
    x, state, dy, dstate = random_arguments(layer, 4, 2)
    layer.backward(layer.forward(x, state)[2], dy, dstate)
    assert [packs._packed for packs in packs_of(layer)] == [{}]
    layer.predict(x, state)
    assert [len(packs._packed) for packs in packs_of(layer)] == [1]
    y = layer.forward(x, state)[0]  # the same weights: it reads the packed ones
    assert np.array_equal(y, layer.predict(x, state)[0])
    a_step(layer)
    layer.forward(x, state)
    assert [packs._packed for packs in packs_of(layer)] == [{}]


def test_masks_on_weights_do_not_reach_predict() -> None:
    layer = build("lstm", 3, 5, backend="numpy:numba", weight_dropout=0.5)
    x, state, _, _ = random_arguments(layer, 4, 2)
    wanted = layer.predict(x, state)[0]
    assert not np.array_equal(layer.forward(x, state)[0], wanted)
    assert np.array_equal(layer.predict(x, state)[0], wanted)


@needs_compiled
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_packs_for_every_division_of_the_work(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build(kind, 7, 53, backend="numpy:numba")
    x, state, _, _ = random_arguments(layer, 6, 5)
    force(monkeypatch, 1, False, 4)
    wanted = layer.forward(x, state)[0]
    for team, by_units in [(1, False), (2, True), (3, True), (2, False), (3, False), (2, True)]:
        force(monkeypatch, team, by_units, 4)
        for way in ("predict", "predict", "forward"):
            assert np.array_equal(getattr(layer, way)(x, state)[0], wanted), (team, by_units, way)
    (packs,) = packs_of(layer)
    assert set(packs._packed) == {1, 2, 3}  # rows share one pack


def test_layers_predict_in_several_threads_while_weights_come_and_go() -> None:
    layer = build("gru", 3, 6, backend="numpy:numba")
    x, state, _, _ = random_arguments(layer, 3, 2)
    wrong: list[int] = []
    wanted = layer.predict(x, state)[0]

    def work() -> None:
        wrong.extend(n for n in range(60) if not np.array_equal(layer.predict(x, state)[0], wanted))

    jobs = [threading.Thread(target=work) for _ in range(3)]
    for job in jobs:
        job.start()
    for _ in range(60):
        for packs in packs_of(layer):
            packs.keep_for(None)
    for job in jobs:
        job.join()
    assert not wrong


# -- a pass that is made ready once ------------------------------------------------------------------------------------


def weights_of(cell: Any, D: int, H: int, P: int, rng: np.random.Generator) -> dict[str, Any]:
    G, R = len(cell.gates), len(cell.recurrent)
    found = {"weight_ih": rng.normal(size=(G * H, D)), **{name: rng.normal(size=H) for name in cell.own}}
    found |= {"weight_hh": rng.normal(size=(R * H, P))} if R else {}
    found |= {"weight_hr": rng.normal(size=(P, H))} if cell.projected else {}
    found |= {"bias_ih": rng.normal(size=G * H), **({"bias_hh": rng.normal(size=R * H)} if R else {})}
    return found


NAMES = ["lstm", "gru", "gru_before", "rnn_relu", "peephole_lstm", "projected_lstm"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [1, 2, 3])
def test_a_prepared_pass_carries_its_states(name: str, T: int) -> None:
    cell, rng, kernels = cells()[name], np.random.default_rng(T), NumbaKernels()
    B, D, H, calls = 3, 4, 6, 4
    P = 5 if cell.projected else H
    weights = weights_of(cell, D, H, P, rng)
    x = rng.normal(size=(calls * T, B, D))
    first = tuple(rng.normal(size=(B, H if k else P)) for k in range(len(cell.states)))
    run, y = kernels.forward_layer(Pass(cell, weights), x, first, keep=False)
    step = PreparedPass(cell, weights, T, B)
    assert not any(state.any() for state in step.states)
    for weight in weights.values():  # what it does not see
        weight[...] = np.nan
    for state, value in zip(step.states, first, strict=True):
        state[...] = value
    for n in range(calls):
        step.x[...] = x[n * T : (n + 1) * T]
        step()
        np.testing.assert_allclose(step.y, y[n * T : (n + 1) * T], rtol=0, atol=1e-15)
    for state, last in zip(step.states, run.states, strict=True):
        np.testing.assert_allclose(state, last[0], rtol=0, atol=1e-15)


def test_prepared_passes_in_a_row_share_their_buffers() -> None:
    rng, gru = np.random.default_rng(0), with_zoneout(cells()["gru"], ("h",))
    lower, upper = weights_of(gru, 3, 5, 5, rng), weights_of(gru, 5, 4, 4, rng)
    low = PreparedPass(gru, lower, 1, 2, factors={"k_zone_h": np.full((1, 1, 5), 0.25)})
    high = PreparedPass(gru, upper, 1, 2, x=low.y, factors={"k_zone_h": np.full((1, 1, 4), 0.5)})
    kernels, x = NumbaKernels(), rng.normal(size=(7, 2, 3))
    y = x
    for weights, rate, units in ((lower, 0.25, 5), (upper, 0.5, 4)):
        given = Pass(gru, weights, factors={"k_zone_h": np.full((1, 1, units), rate)})
        y = kernels.forward_layer(given, y, (np.zeros((2, units)),), keep=False)[1]
    for t, row in enumerate(x):
        low.x[...] = row
        low()
        high()
        np.testing.assert_allclose(high.y[0], y[t], rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match="x: expected"):
        PreparedPass(cells()["gru"], upper, 1, 2, x=np.zeros((1, 5, 2)).swapaxes(1, 2))


@needs_compiled
@pytest.mark.parametrize("by_units", [True, False])
def test_a_prepared_pass_on_a_team(by_units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.cpu import plan as division
    from kernels.cpu import prepared
    from kernels.cpu.plan import Plan

    cell, rng = cells()["lstm"], np.random.default_rng(3)
    weights, x = weights_of(cell, 9, 40, 40, rng), rng.normal(size=(6, 4, 9))
    alone = PreparedPass(cell, weights, 1, 4)
    monkeypatch.setattr(division, "WORTH_A_TEAM", 0)
    monkeypatch.setattr(prepared, "plan", lambda size, _, available: Plan(min(2, available), by_units, 1))
    engine.set_num_threads(2)
    together = PreparedPass(cell, weights, 1, 4)
    for t, row in enumerate(x):
        for step in (alone, together):
            step.x[...] = row
        alone()
        if t == 3:  # as if other passes had the threads
            engine.set_num_threads(1)
        together()
        engine.set_num_threads(2)
        assert np.array_equal(alone.y, together.y)
        assert all(np.array_equal(*pair) for pair in zip(alone.states, together.states, strict=True))
    engine.set_num_threads(None)


# -- the short way into a small pass ---------------------------------------------------------------------------------


def shorts(layer: Any) -> set[Any]:
    """The kinds of pass that have a short way."""
    return {key[1] for packs in packs_of(layer) for key, small in packs.small.items() if small is not None}


@needs_compiled
@pytest.mark.parametrize("kind", [*FIVE_CELLS, "gru_before"])
def test_small_passes_again_and_again(kind: str) -> None:
    """From the second on they go the short way: other numbers, other gradients given or not, tapes that live on."""
    layer = build(kind, 3, 5, dtype="float64", backend="numpy:numba")
    truth = build(kind, 3, 5, dtype="float64", backend="numpy:reference")
    truth.load_state_dict(layer.state_dict())
    held = []
    for n in range(6):
        x, state, dy, dstate = random_arguments(layer, 4, 2, seed=n)
        state, dy, dstate = (None if n % 3 == 0 else state), (None if n == 2 else dy), (None if n % 2 else dstate)
        y, last, tape = layer.forward(x, state)
        wanted_y, wanted_last, wanted_tape = truth.forward(x, state)
        held.append((y, last, tape, wanted_y, wanted_last, wanted_tape, dy, dstate))
        assert np.array_equal(layer.predict(x, state)[0], y)
    assert shorts(layer) == {True, False}
    layer.predict(x, state)[0][...] = np.nan  # memory that is used again
    for y, last, tape, wanted_y, wanted_last, wanted_tape, dy, dstate in held:
        pairs = [(y, wanted_y), *zip(parts(last), parts(wanted_last), strict=True)]
        found, wanted = layer.backward(tape, dy, dstate), truth.backward(wanted_tape, dy, dstate)
        pairs += [(found[0], wanted[0]), *zip(parts(found[1]), parts(wanted[1]), strict=True)]
        pairs += [(layer.grads[name], truth.grads[name]) for name in layer.grads]
        for value, right in pairs:
            np.testing.assert_allclose(value, right, rtol=0, atol=1e-13)
    assert shorts(layer) == {True, False, "backward"}


@needs_compiled
def test_a_pass_worth_a_team_goes_the_short_way_only_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build("lstm", 3, 13, backend="numpy:numba")
    x, state, dy, dstate = random_arguments(layer, 6, 5)
    force(monkeypatch, 1, False, 4)
    for _ in range(2):
        y, _, tape = layer.forward(x, state)
        dx = layer.backward(tape, dy, dstate)[0]
    assert shorts(layer) == {True, "backward"}
    (packs,) = packs_of(layer)
    calls: list[Any] = []
    for key, small in list(packs.small.items()):
        packs.small[key] = Counted(small, calls)
    for team, chunk, short in [(1, 4, True), (2, 4, False), (1, 2, False), (1, 4, True)]:
        force(monkeypatch, team, False, chunk)
        found, _, tape = layer.forward(x, state)
        assert np.array_equal(found, y)
        np.testing.assert_allclose(layer.backward(tape, dy, dstate)[0], dx, rtol=0, atol=1e-14)
        assert len(calls) == (2 if short else 0), (team, chunk)
        calls.clear()


class Counted:
    """A short way that notes its calls."""

    def __init__(self, small: Any, calls: list[Any]) -> None:
        self.size, self.division, self._small, self._calls = small.size, small.division, small, calls

    def __call__(self, *arguments: Any) -> Any:
        self._calls.append(arguments)
        return self._small(*arguments)


def parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


@needs_compiled
@pytest.mark.parametrize("change", ["copy", "pickle", "window", "other x", "other gates", "kept"])
def test_a_tape_that_is_not_as_forward_made_it(change: str) -> None:
    """A small tape knows where its arrays lie; a copy's lie elsewhere, and so do arrays that were put in."""
    layer = build("gru", 3, 5, dtype="float64", backend="numpy:numba")
    x, state, dy, dstate = random_arguments(layer, 4, 2)
    for _ in range(2):
        tape = layer.forward(x, state)[2]
        layer.backward(tape, dy, dstate)
    record, other = tape.layers[0][0], tape
    replaced = [record.x, record.run.gates, *record.run.states, *record.run.kept.values()]
    if change in ("copy", "pickle"):
        run = copy.deepcopy(record.run) if change == "copy" else pickle.loads(pickle.dumps(record.run))
        other, replaced = dataclasses.replace(tape, layers=((dataclasses.replace(record, run=run),),)), replaced[1:]
    elif change == "window":
        other, replaced = tape.window(0, 4), []
    elif change == "other x":
        changed, replaced = dataclasses.replace(record, x=record.x.copy()), [record.x]
        other = dataclasses.replace(tape, layers=((changed,),))
    elif change == "other gates":
        run, replaced = record.run._replace(gates=record.run.gates.copy()), [record.run.gates]
        other = dataclasses.replace(tape, layers=((dataclasses.replace(record, run=run),),))
    else:
        replaced = [record.run.kept["h_n"]]
        record.run.kept["h_n"] = replaced[0].copy()
    layer.zero_grad()
    wanted = layer.backward(layer.forward(x, state)[2], dy, dstate)[0]
    grads = {name: grad.copy() for name, grad in layer.grads.items()}
    for array in replaced:
        array[...] = np.nan
    layer.zero_grad()
    assert np.array_equal(layer.backward(other, dy, dstate)[0], wanted)
    assert all(np.array_equal(layer.grads[name], grad) for name, grad in grads.items())
