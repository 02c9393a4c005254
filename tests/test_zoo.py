"""The bug zoo: every bug is really there while it is planted, does what it says, and leaves nothing behind.

The second opinion is the right code itself, on the same case: no gradient checker has a say here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from builders import leaves

import engine
from engine import truncation, zoo
from engine.layers import arguments, recurrent_passes
from engine.layers.recurrent import Recurrent
from engine.layers.recurrent_passes import RecurrentPasses
from engine.layers.sequential import Sequential
from engine.layers.tape import DirectionTape, RecurrentTape
from engine.zoo import BUGS, CAUSES, Bug, BugCase, find
from engine.zoo.bug_cases import parameters
from kernels import products
from kernels.reference import ReferenceKernels
from kernels.steps import Steps

#: A difference that is no round-off; the right code gives the same bits each time.
DEPARTS = 1e-10
#: How wrong a bug is at least, somewhere; those that say so in their name are small on purpose.
WRONG, SMALL = 1e-4, 2e-6
VERDICTS = {"wrong", "input mutated", "non-deterministic"}
#: dx departs, but no single time step says where: the reverse direction's own mistakes (see `zoo.stacking`).
REVERSE = {
    "reverse-dy-off-by-one",
    "reverse-dy-not-turned",
    "reverse-dy-over-the-full-length",
    "reverse-gets-the-forward-half",
    "reverse-final-state-of-the-forward-direction",
}

Gradients = dict[str, np.ndarray]


def walk_twice(case: BugCase) -> tuple[Gradients, Gradients]:
    """All gradients of a first and a second backward pass over one tape, from gradients that do not stand at zero."""
    layer = case.layer
    counters = layer.call_counters()
    y, last, tape = layer.forward(case.x, case.state, case.lengths)
    rng = np.random.default_rng(5)
    dy = rng.normal(size=y.shape)
    parts = iter([rng.normal(size=part.shape) for part in leaves(last)])
    dstate = _like(last, parts)
    start = {name: rng.normal(size=grad.shape) for name, grad in layer.grads.items()}
    for name, grad in layer.grads.items():
        grad[...] = start[name]
    held = dict(layer.grads)  # the arrays that an optimiser holds: they must be the ones that are written to
    passes = []
    for _ in range(2):
        if case.truncation is None:
            dx, dfirst = layer.backward(tape, dy, dstate)
        else:
            layer.load_call_counters(counters)
            result = engine.truncated_bptt(layer, case.x, lambda y: (0.0 * y.sum(), dy), *case.truncation, case.state)
            dx, dfirst = result.dx, result.dstate
        found = {} if dx is None else {"x": dx.copy()}
        found |= dict(zip(state_names(layer), [part.copy() for part in leaves(dfirst)], strict=True))
        passes.append(found | {name: grad.copy() for name, grad in held.items()})
    layer.load_call_counters(counters)
    first, second = passes
    for name, begin in start.items():
        first[name], second[name] = first[name] - begin, second[name] - first[name]
    return first, second


def state_names(layer: Any, prefix: str = "") -> list[str]:
    """Names of the parts of a state, in the order of its leaves."""
    if isinstance(layer, Sequential):
        return [name for k, part in enumerate(layer.layers) for name in state_names(part, f"{prefix}{k}.")]
    if not isinstance(layer, Recurrent):
        return []
    return [prefix + "h0", prefix + "c0"] if len(layer.cell.states) > 1 else [prefix + "h0"]


def _like(structure: Any, parts: Any) -> Any:
    if isinstance(structure, tuple):
        return tuple(_like(part, parts) for part in structure)
    return None if structure is None else next(parts)


def planted(bug: Bug, case: BugCase) -> tuple[Gradients, Gradients]:
    with bug.plant():
        return walk_twice(case)


@functools.cache
def both(bug: Bug) -> tuple[tuple[Gradients, Gradients], tuple[Gradients, Gradients]]:
    """The right gradients and the wrong ones."""
    return walk_twice(bug.case(0)), planted(bug, bug.case(0))


def departures(bug: Bug) -> dict[str, float]:
    """The largest relative error of every tensor that departs, in either pass."""
    right, wrong = both(bug)
    found: dict[str, float] = {}
    for before, after in zip(right, wrong, strict=True):
        for name, truth in before.items():
            error = float(np.abs(after[name] - truth).max() / np.abs(truth).max())
            if not error <= DEPARTS:
                found[name] = max(error, found.get(name, 0.0))
    return found


def time_step(bug: Bug, case: BugCase) -> int | None:
    """The largest t at which the first pass's dx departs."""
    (right, _), (wrong, _) = both(bug)
    if "x" not in right:
        return None
    time_axis = 1 if case.layer.batch_first else 0
    gap = np.abs(wrong["x"] - right["x"]).max(axis=(1 - time_axis, 2))
    steps = np.flatnonzero(~(gap <= DEPARTS * np.abs(right["x"]).max()))
    return int(steps.max()) if steps.size else None


def test_there_are_many_and_each_has_its_own_name_and_story() -> None:
    assert len(BUGS) >= 64
    assert [bug.name for bug in BUGS.values()] == list(BUGS)
    assert len(BUGS) == sum(len(family.BUGS) for family in zoo._FAMILIES), "two bugs of one name"
    assert len({bug.change + repr(bug.case) for bug in BUGS.values()}) == len(BUGS)
    for bug in BUGS.values():
        assert bug.story.endswith(".")
        assert bug.cause is None or bug.cause in CAUSES
        assert bug.verdicts <= VERDICTS
    assert {bug.cause for bug in BUGS.values()} == {None, *CAUSES}


def test_a_bug_is_found_by_name_and_near_ones_are_named() -> None:
    assert find("lstm-final-c-dropped").name == "lstm-final-c-dropped"
    with pytest.raises(engine.InputError, match=r"inject: expected .*, got 'lstm-final-c'; near it: lstm-final-c-"):
        find("lstm-final-c")
    with pytest.raises(engine.InputError, match="bptt gradcheck --bugs lists them"):
        find("#")


def check_that_the_wrong_gradients_include_those_that_are_named(bug: Bug) -> None:
    found = departures(bug)
    assert bug.names, "a diagnosis has something to name"
    assert bug.names <= found.keys(), f"right all the same: {sorted(bug.names - found.keys())}"
    assert max(found.values()) >= (SMALL if "1.00001" in bug.name else WRONG)


def check_that_the_time_step_is_the_first_that_departs(bug: Bug) -> None:
    found = time_step(bug, bug.case(0))
    if bug.name in REVERSE:
        assert (bug.time_step, found) == (None, found)
        assert found is not None
    else:
        assert found == bug.time_step


def check_that_the_gates_are_those_that_go_wrong_first(bug: Bug) -> None:
    """Where backward first meets a wrong gate in a single layer and direction, the gates wrong there may be named.

    A wrong dh_prev or dc_prev has no gate to blame, though the gates of the step before are the first to feel it.
    """
    case = bug.case(0)
    layer = case.layer
    known = layer.cell.gates if isinstance(layer, Recurrent) else ("i", "f", "g", "o", "r", "z", "n")
    assert bug.gates <= {None, *known}
    if not isinstance(layer, Recurrent) or layer.num_layers * layer.num_directions > 1 or case.truncation:
        return
    if not bug.names & parameters():
        return
    right = _gates(case)
    with bug.plant():
        wrong = _gates(bug.case(0))
    met = np.argwhere(np.abs(wrong - right).max(axis=(1, 3)) > DEPARTS * np.abs(right).max())  # (t, gate)
    if not met.size:
        return  # a bug in the products: the gates are right
    t = met[:, 0].max()
    found = {known[gate] for step, gate in met.tolist() if step == t}
    assert {None} <= bug.gates if found == set(known) else found <= bug.gates
    assert bug.time_step in (t, None)


def _gates(case: BugCase) -> np.ndarray:
    """(T, B, G, H) gradients of the pre-activations."""
    rng = np.random.default_rng(5)
    y, last, tape = case.layer.forward(case.x, case.state, case.lengths)
    dstate = _like(last, iter([rng.normal(size=part.shape) for part in leaves(last)]))
    trace = case.layer.backward_trace(tape, rng.normal(size=y.shape), dstate)
    return np.stack(list(trace.layers[0][0].gates.values()), axis=2)


def check_that_only_what_says_so_writes_where_it_should_read(bug: Bug) -> None:
    """Second walks over one tape agree, unless the bug writes into it, and then they do not."""
    _, (first, second) = both(bug)
    same = all(_close(second[name], first[name]) for name in first)
    if "input mutated" in bug.verdicts:
        assert not same
        right, wrong = both(bug)
        assert all(_close(wrong[0][name], truth) for name, truth in right[0].items())
    elif bug.cause != "overwritten, not added" and "non-deterministic" not in bug.verdicts:
        assert same


def _close(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(found - wanted).max() <= DEPARTS * max(1.0, float(np.abs(wanted).max())))


def check_that_everything_is_put_back(bug: Bug) -> None:
    right, _ = both(bug)
    with pytest.raises(ZeroDivisionError), bug.plant():
        raise ZeroDivisionError
    again = walk_twice(bug.case(0))
    for before, after in zip(right, again, strict=True):
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)


def test_no_bug_leaves_a_trace_in_the_engine() -> None:
    before = snapshot()
    for bug in BUGS.values():
        with bug.plant():
            assert snapshot() != before, bug.name
        assert snapshot() == before, bug.name


def snapshot() -> list[dict[str, int]]:
    """Which objects stand under which names, wherever a bug can be planted."""
    owners: list[Any] = [engine, truncation, products, arguments, recurrent_passes, ReferenceKernels]
    owners += [Steps, Recurrent, RecurrentPasses, DirectionTape, RecurrentTape, *every_cell()]
    owners += [engine.Linear, engine.Embedding, engine.Dropout, Sequential]
    return [{name: id(value) for name, value in vars(owner).items()} for owner in owners]


def every_cell() -> list[Any]:
    """Those of the registry, and those with options that were made of them."""
    return [variant for cell in engine.cells().values() for variant in (cell, *cell.variants.values())]


def _cases() -> dict[str, Bug]:
    """One bug for each case: many share one."""
    found: dict[str, Bug] = {}
    for bug in BUGS.values():
        if bug.case(0).truncation is None:
            found.setdefault(repr(bug.case), bug)
    return found


@pytest.mark.parametrize("bug", _cases().values(), ids=lambda bug: bug.name)
def test_without_the_bug_the_case_passes(bug: Bug) -> None:
    case = bug.case(0)
    report = engine.gradcheck(case.layer, case.x, case.state, case.lengths, method="adjoint")
    assert report.passed, report


def check_that_the_case_has_no_symmetry_to_hide_behind(bug: Bug) -> None:
    for seed in (0, 1):
        case = bug.case(seed)
        assert case.layer.backend.spec == "numpy:reference"
        assert case.layer.dtype == np.float64
        assert len(set(case.x.shape)) == case.x.ndim
        assert case.x.shape[1 if case.layer.batch_first else 0] >= 3
        for part in leaves(case.state):
            assert (part != 0).all()
        for name, param in case.layer.params.items():
            assert np.unique(param).size == param.size, name


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_a_bug_is_what_it_says(bug: Bug) -> None:
    check_that_the_case_has_no_symmetry_to_hide_behind(bug)
    check_that_the_wrong_gradients_include_those_that_are_named(bug)
    check_that_the_time_step_is_the_first_that_departs(bug)
    check_that_the_gates_are_those_that_go_wrong_first(bug)
    check_that_only_what_says_so_writes_where_it_should_read(bug)
    check_that_everything_is_put_back(bug)
