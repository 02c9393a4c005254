"""Every cell, with every option, on the compiled kernels against the array steps, which define what is true."""

from __future__ import annotations

from typing import Any

import cell_runs
import numpy as np
import odd_cells
import pytest
from cell_runs import Problem
from conftest import JIT_OFF

from kernels import options
from kernels.cells import Cell
from kernels.cpu import numba_kernels, threads
from kernels.cpu.numba_kernels import NumbaKernels
from kernels.cpu.plan import Plan
from kernels.gates import cells
from kernels.reference import ReferenceKernels

Array = Any
ODD = {cell.name: cell for cell in odd_cells.ODD_CELLS}
BUILT_IN = tuple(sorted(cells()))
OPTIONS = ("mask", "zoneout", "mask and zoneout")


def cell_of(name: str) -> Cell:
    """The built-in or the odd cell of that name."""
    return ODD[name] if name in ODD else cells()[name]


def changed(name: str, option: str) -> Cell:
    """The cell of that name with an option."""
    cell = cell_of(name)
    if "mask" in option:
        cell = options.with_recurrent_mask(cell)
    return options.with_zoneout(cell, cell.states) if "zoneout" in option else cell


def maskable(name: str) -> bool:
    return any(stage.source is not None and stage.source.kind == "prev" for stage in cell_of(name).stages)


#: With compilation each other cell is two seconds of it: those are tried where compilation is off, and in the proofs.
QUICK = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before", "odd_staged")
EVERY = [(name, "") for name in (*BUILT_IN, *ODD)]
EVERY += [(n, o) for n in (*BUILT_IN, *ODD) for o in OPTIONS if maskable(n) or "mask" not in o]
COMPILED = {(n, "") for n in (*BUILT_IN, *ODD)} | {
    ("rnn_tanh", "zoneout"), ("projected_lstm", "mask and zoneout"), ("gru_before", "mask and zoneout")
}  # fmt: skip
CASES = [
    pytest.param(*case, marks=[] if JIT_OFF or (case[0] in QUICK and not case[1]) else pytest.mark.proof)
    for case in EVERY
    if JIT_OFF or case in COMPILED
]


def problem(cell: Cell, T: int, B: int, D: int, H: int, P: int, lengths: Array, seed: int) -> Problem:
    """`cell_runs.problem` of other sizes."""
    rng, width = np.random.default_rng(seed), P if cell.projected else H
    G, R = len(cell.gates), len(cell.recurrent)
    shapes: dict[str, tuple[int, ...]] = {"x": (T, B, D), "weight_ih": (G * H, D)}
    shapes |= {"weight_hh": (R * H, width)} if R else {}
    shapes |= {"bias_ih": (G * H,), **({"bias_hh": (R * H,)} if R else {})} if cell.biased and seed % 3 else {}
    shapes |= {"weight_hr": (P, H)} if cell.projected else {}
    shapes |= dict.fromkeys(cell.own, (H,))
    states = {state: (B, width if state == "h" else H) for state in cell.states}
    inputs = {name: rng.normal(scale=0.5, size=shape) for name, shape in shapes.items()}
    inputs |= {f"{state}_0": rng.normal(scale=0.5, size=shape) for state, shape in states.items()}
    if "n" in states:  # a normaliser is a sum of exponentials
        inputs["n_0"] = 0.5 + abs(inputs["n_0"])
    cotangents = (rng.normal(size=(T, B, width)), *(rng.normal(size=shape) for shape in states.values()))
    if lengths is not None:
        cotangents = (np.where(np.arange(T)[:, None, None] < lengths[:, None], cotangents[0], 0), *cotangents[1:])
    wide = {name: width if name.endswith("_h") else H for name in cell.given}
    one = {name: (T if n % 2 else 1, 1 if seed % 2 else B, wide[name]) for n, name in enumerate(cell.given)}
    return Problem(cell, inputs, cotangents, lengths, {name: rng.uniform(size=shape) for name, shape in one.items()})


def results(kernels: Any, problem: Problem, trace: bool) -> dict[str, Array]:
    """All that both passes give, by name."""
    cell, weights = problem.cell, cell_runs.weights(problem)
    states = tuple(problem.inputs[f"{state}_0"] for state in cell.states)
    x, (dy, *dlast) = problem.inputs["x"], problem.cotangents
    given = cell_runs.given(problem)
    last, y_alone = kernels.forward_layer(given, x, states, False)
    run, y = kernels.forward_layer(given, x, states)
    grads = {name: np.full_like(weight, 0.25) for name, weight in weights.items()}
    adjoints, dx = kernels.backward_layer(given, run, x, dy, tuple(dlast), grads, trace)
    found = {"y": y, "y kept nothing": y_alone, "gates": run.gates, "dx": dx}
    found |= {f"kept {name}": run.kept[name] for name in cell.kept}
    found |= {f"d{name}": value for name, value in grads.items()}
    for k, state in enumerate(cell.states):
        found |= {state: run.states[k], f"last {state}": last.states[k][-1], f"d{state}_0": adjoints.dstates[k]}
        if trace:
            found[f"trace of {state}"] = adjoints.traces[k]
    if trace:
        found |= {"da": adjoints.da, "da_hidden": adjoints.da_hidden}
        found |= {"dprojected": adjoints.dprojected} if cell.projected else {}
    return found


def agree(problem: Problem, trace: bool) -> None:
    wanted, found = results(ReferenceKernels(np), problem, trace), results(NumbaKernels(), problem, trace)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        scale = 1 + np.max(abs(value), initial=0)
        assert found[name].shape == value.shape, name
        assert np.max(abs(found[name] - value), initial=0) <= 1e-12 * scale, name


SIZES = [(7, 5, 3, 6, 2), (6, 2, 5, 19, 9), (5, 4, 3, 16, 8), (1, 3, 2, 3, 5)]


@pytest.mark.parametrize(("name", "option"), CASES, ids=lambda value: value or "plain")
def test_compiled_cells_equal_the_array_steps(name: str, option: str) -> None:
    cell, rng = changed(name, option), np.random.default_rng(len(name))
    for seed, sizes in enumerate(SIZES):
        lengths = None if seed == 1 else rng.integers(0, sizes[0] + 1, sizes[1])
        agree(problem(cell, *sizes, lengths, seed), trace=seed % 2 == 0)


DIVISIONS = [Plan(1, False, 2), Plan(1, True, 3), Plan(2, False, 2), Plan(2, True, 7), Plan(3, True, 2)]


@pytest.mark.parametrize("division", [d for d in DIVISIONS if d.team == 1 or not JIT_OFF], ids=str)
@pytest.mark.parametrize("name", ["odd_staged", pytest.param("projected_lstm", marks=pytest.mark.proof), "gru_before"])
def test_teams_and_chunks_change_no_bit(name: str, division: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, lengths = cell_of(name), np.array([4, 7, 0, 5, 2])
    case = problem(cell, 7, 5, 3, 41, 33, lengths, seed=4)
    wanted = results(NumbaKernels(), case, True)
    agree(case, True)
    monkeypatch.setattr(numba_kernels, "plan", lambda *_: division)
    monkeypatch.setattr(numba_kernels, "team_for", lambda _: threads.Team(division.team))
    for name, value in results(NumbaKernels(), case, True).items():
        if name.startswith("dweight") or name.startswith("dbias") or name.startswith("dp_"):
            np.testing.assert_allclose(value, wanted[name], rtol=0, atol=1e-12 * (1 + abs(value).max()))
        else:
            np.testing.assert_array_equal(value, wanted[name], name)
