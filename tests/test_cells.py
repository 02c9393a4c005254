"""Every cell and every option on the plain loop: gradients against differences, and what the pages promise."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cell_runs
import numpy as np
import pytest
from builders import leaves
from cell_runs import LENGTHS, B, D, H, P, T

import engine
from engine.checking.subjects.naming import gates_of
from kernels.cells import Cell, CellError, Pass
from kernels.gates import cells, find
from kernels.gates.normalising import EPS, normalise, normalise_backward
from kernels.options import with_recurrent_mask, with_zoneout
from kernels.reference import ReferenceKernels

BUILT_IN = (
    "rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before", "peephole_lstm", "coupled_lstm", "projected_lstm", "mgu",
    "indrnn", "slstm", "layernorm_lstm", "layernorm_gru", "leaky_rnn",
)  # fmt: skip
MASKABLE = tuple(name for name in BUILT_IN if name != "indrnn")


def changed(name: str, option: str) -> Cell:
    """The cell of that name with an option."""
    cell = find(name)
    if "mask" in option:
        cell = with_recurrent_mask(cell)
    return with_zoneout(cell, cell.states) if "zoneout" in option else cell


CASES = [(name, "") for name in BUILT_IN] + [(name, "zoneout") for name in BUILT_IN]
CASES += [(name, option) for name in MASKABLE for option in ("mask", "mask and zoneout")]


def test_every_cell_is_known_by_name() -> None:
    assert set(BUILT_IN) <= set(cells())
    assert find("slstm").states == ("h", "c", "n", "m")
    assert find("indrnn").recurrent == ()


@pytest.mark.parametrize(("name", "option"), CASES, ids=lambda value: value or "plain")
def test_gradients_are_those_of_differences(name: str, option: str) -> None:
    cell = changed(name, option)
    problem = cell_runs.problem(cell, lengths=LENGTHS)
    for method, tolerance in (("complex", 1e-13), ("central", 1e-7)):
        found = cell_runs.worst(problem, method)
        assert set(found) == set(problem.inputs)
        for what, error in found.items():
            assert error <= tolerance, (method, what)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_wrong_gradient_would_be_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = cell_runs.problem(find(name))
    right = cell_runs.gradients(problem)
    monkeypatch.setattr(cell_runs, "gradients", lambda _: {what: 1.001 * value for what, value in right.items()})
    for what, error in cell_runs.worst(problem, "central").items():
        assert error > 1e-6, what


@pytest.mark.parametrize(("name", "option"), [case for case in CASES if "and" not in case[1]])
def test_the_trace_is_the_gradient_of_every_slot(name: str, option: str) -> None:
    """A state's gradient in slot t is that of the initial state of a run over the steps from t on.

    A zoned state goes into no other value of its own step.  Another one may: c into h.
    """
    problem, t = cell_runs.problem(changed(name, option)), 2
    run, _, _ = cell_runs.forward(problem)
    grads = {key: np.zeros_like(value) for key, value in cell_runs.weights(problem).items()}
    dy, *dlast = problem.cotangents
    arguments = (run, problem.inputs["x"], dy, tuple(dlast), grads)
    adjoints, _ = ReferenceKernels(np).backward_layer(cell_runs.given(problem), *arguments, trace=True)
    late = {"x": problem.inputs["x"][t:]}
    late |= {f"{state}_0": slots[t] for state, slots in zip(problem.cell.states, run.states, strict=True)}
    part = problem._replace(
        inputs=problem.inputs | late,
        cotangents=(dy[t:], *dlast),
        factors={key: factor[t:] for key, factor in problem.factors.items()},
    )
    wanted = cell_runs.gradients(part)
    assert adjoints.traces is not None
    for state, trace in zip(problem.cell.states, adjoints.traces, strict=True):
        if state == "h" or option == "zoneout":
            received = wanted[f"{state}_0"] + (dy[t - 1] if state == "h" else 0)  # y[t - 1] is slot t
            np.testing.assert_allclose(trace[t], received, rtol=1e-12, atol=1e-12)


# -- options --------------------------------------------------------------------------------------------------------


def test_a_changed_cell_is_one_object_under_no_public_name() -> None:
    names = set(cells())
    cell = with_zoneout(with_recurrent_mask(find("lstm")), ["c", "h"])
    assert with_zoneout(with_recurrent_mask(find("lstm")), ("h", "c")) is cell
    assert pickle.loads(pickle.dumps(cell)) is cell
    assert copy.deepcopy(cell) is cell
    assert set(cells()) == names
    assert with_zoneout(find("gru"), []) is find("gru")


@pytest.mark.parametrize("name", BUILT_IN)
def test_zoneout_of_rate_0_changes_nothing_and_of_1_keeps_the_state(name: str) -> None:
    cell = changed(name, "zoneout")
    plain = cell_runs.problem(find(name), lengths=LENGTHS)
    for k in (0.0, 1.0):
        factors = {key: np.full_like(value, k) for key, value in cell_runs.problem(cell).factors.items()}
        _, y, last = cell_runs.forward(plain._replace(cell=cell, factors=factors))
        _, wanted_y, wanted = cell_runs.forward(plain)
        if k == 1.0:
            wanted = tuple(plain.inputs[f"{state}_0"] for state in cell.states)
            wanted_y = np.where(np.arange(T)[:, None, None] < LENGTHS[:, None], wanted[0], 0)
        for found, right in zip((y, *last), (wanted_y, *wanted), strict=True):
            np.testing.assert_array_equal(found, right)


def test_h_is_made_from_the_cell_state_before_zoneout() -> None:
    cell = with_zoneout(find("lstm"), ["c"])
    plain = cell_runs.problem(find("lstm"))
    factors = {"k_zone_c": np.ones((T, B, H))}
    run, _, _ = cell_runs.forward(plain._replace(cell=cell, factors=factors))
    unchanged, _, _ = cell_runs.forward(plain)
    np.testing.assert_array_equal(run.h[1], unchanged.h[1])
    assert not np.allclose(run.states[1][1], unchanged.states[1][1])


def test_a_mask_of_ones_changes_nothing_and_of_zeros_hides_the_past_from_the_product() -> None:
    cell, plain = with_recurrent_mask(find("gru")), cell_runs.problem(find("gru"))
    _, wanted, _ = cell_runs.forward(plain)
    _, y, _ = cell_runs.forward(plain._replace(cell=cell, factors={"k_h": np.ones((1, 1, H))}))
    np.testing.assert_array_equal(y, wanted)
    hidden = plain._replace(cell=cell, factors={"k_h": np.zeros((1, 1, H))})
    assert not cell_runs.gradients(hidden)["weight_hh"].any()
    assert cell_runs.gradients(hidden)["h_0"].any()  # z * h_prev is not masked


def test_options_say_what_does_not_fit() -> None:
    with pytest.raises(CellError, match=r"cell 'gru', .*zoneout: 'c' is no state; expected some of h"):
        with_zoneout(find("gru"), ["c"])
    with pytest.raises(CellError, match=r"cell 'indrnn', .*no recurrent weights multiply h_prev"):
        with_recurrent_mask(find("indrnn"))


# -- pages ----------------------------------------------------------------------------------------------------------


def test_the_projected_cell_has_a_narrow_hidden_state() -> None:
    run, y, _ = cell_runs.forward(cell_runs.problem(find("projected_lstm")))
    assert y.shape == (T, B, P)
    assert [slots.shape for slots in run.states] == [(T + 1, B, P), (T + 1, B, H)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1.0, 60.0, 95.0, 400.0, 730.0, 1000.0])
def test_slstm_stays_finite_from_zero_states(dtype: str, size: float) -> None:
    problem = cell_runs.problem(find("slstm"), seed=3)
    weights = {name: value.astype(dtype) for name, value in cell_runs.weights(problem).items()}
    weights["bias_ih"] = (np.repeat([-1.0, 1.0, 0.3, 0.2], H) * size).astype(dtype)  # i far below f
    x, states = problem.inputs["x"].astype(dtype), tuple(np.zeros((B, H), dtype) for _ in range(4))
    for sign in (1, -1):
        weights["bias_ih"] *= sign
        run, y = ReferenceKernels(np).forward_layer(Pass(find("slstm"), weights), x, states)
        grads = {name: np.zeros_like(value) for name, value in weights.items()}
        dlast = tuple(np.zeros((B, H), dtype) for _ in range(4))
        dy = problem.cotangents[0].astype(dtype)
        _, dx = ReferenceKernels(np).backward_layer(Pass(find("slstm"), weights), run, x, dy, dlast, grads)
        assert all(np.isfinite(array).all() for array in (y, dx, *run.states, *grads.values()))
        assert abs(y).max() <= 1


def test_slstm_does_not_depend_on_the_stabiliser() -> None:
    """c, n and exp(-m) carry the same factor: h is a quotient of the two."""
    problem = cell_runs.problem(find("slstm"))
    shift = 0.7
    inputs = problem.inputs | {f"{state}_0": problem.inputs[f"{state}_0"] * np.exp(-shift) for state in "cn"}
    inputs["m_0"] = problem.inputs["m_0"] + shift
    np.testing.assert_allclose(
        cell_runs.forward(problem)[1], cell_runs.forward(problem._replace(inputs=inputs))[1], rtol=1e-13
    )


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-4, 1.0])
@pytest.mark.parametrize("offset", [0.0, 0.1, 1e4])
def test_normalising_holds_for_rows_of_next_to_no_variance(spread: float, offset: float) -> None:
    rng = np.random.default_rng(2)
    rows, dout = offset + spread * rng.normal(size=(2, 3, 7)), rng.normal(size=(2, 3, 7))
    exact = rows.astype(np.longdouble)
    centred = exact - exact.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + np.longdouble(EPS))
    wanted = centred * scale
    dcentred = scale * dout - centred * scale**3 * (dout * centred).mean(-1, keepdims=True)
    out = normalise(rows)
    room = 1e-13 * max(1, offset) / max(spread, EPS**0.5)
    np.testing.assert_allclose(out, wanted.astype(float), rtol=1e-13, atol=room)
    drows = dcentred - dcentred.mean(-1, keepdims=True)
    np.testing.assert_allclose(normalise_backward(dout, rows, out), drows.astype(float), rtol=1e-12, atol=room * 400)


def test_normalising_of_complex_rows_has_the_bits_of_real_ones() -> None:
    rng = np.random.default_rng(4)
    rows, direction = rng.normal(size=(2, 3, 11)), rng.normal(size=(2, 3, 11))
    out = normalise(rows + 1e-30j * direction)
    np.testing.assert_array_equal(out.real, normalise(rows))
    ahead, behind = (normalise(rows.astype(np.longdouble) + sign * 1e-6 * direction) for sign in (1, -1))
    np.testing.assert_allclose(out.imag / 1e-30, ((ahead - behind) / 2e-6).astype(float), rtol=1e-8, atol=1e-10)


def test_sizes_are_all_different() -> None:
    assert len({T, B, D, H, P}) == 5


# -- the layer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["peephole_lstm", "projected_lstm", "slstm", "indrnn"])
@pytest.mark.parametrize("method", ["central", "adjoint"])
def test_the_checker_knows_the_weights_and_states_of_every_cell(name: str, method: str) -> None:
    """weight_hr has no gate blocks, p_i belongs to gate i, and rounding on the tape changes no branch of backward."""
    width = 2 if name == "projected_lstm" else 0
    layer = engine.Recurrent(
        name, 3, 4, bidirectional=True, proj_size=width, backend="numpy:reference", dtype="float64"
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 2, 3))
    _, like, _ = layer.forward(x)
    state = tuple(0.5 + abs(rng.normal(size=part.shape)) for part in leaves(like))
    report = engine.gradcheck(layer, x, state if len(state) > 1 else state[0], lengths=[4, 2], method=method)
    assert report.passed, str(report)
    for letter in find(name).states:
        assert f"{letter}0" in str(report)


def test_a_weight_of_a_unit_belongs_to_the_gate_that_its_name_ends_in() -> None:
    layer = engine.Recurrent("layernorm_lstm", 3, 4, bidirectional=True, backend="numpy:reference")
    wanted = {"p_xgain_i_l0": ("i",), "p_bias_o_l0_reverse": ("o",), "p_cgain_l0": (), "weight_hh_l0": tuple("ifgo")}
    assert {name: gates_of(layer, name) for name in wanted} == wanted


def test_a_wrong_gradient_of_a_peephole_names_its_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = engine.Recurrent("peephole_lstm", 3, 4, backend="numpy:reference", dtype="float64")
    backward = type(layer).backward

    def wrong(self: engine.Recurrent, *arguments: Any, **options: Any) -> Any:
        found = backward(self, *arguments, **options)
        self.grads["p_f_l0"][1] *= 1.5
        return found

    monkeypatch.setattr(type(layer), "backward", wrong)
    report = engine.gradcheck(layer, np.random.default_rng(0).normal(size=(4, 2, 3)))
    assert (report.verdict, report.worst.name, report.worst.gate) == ("wrong", "p_f_l0", "f")
