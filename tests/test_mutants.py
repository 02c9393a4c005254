"""Small mistakes in backward code, planted by machine: each is found by the gradient checks, and taken out again."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest

from benchmarks.checker import diagnosis, mutation_checks, mutation_test
from benchmarks.checker.mutants import SETTINGS, Mutant, function_of, generate
from engine.checking.subjects.layers import LayerSubject
from kernels import products
from kernels.gates import lstm, rnn
from kernels.reference import ReferenceKernels
from kernels.steps import Gradients

#: The proof tries every mutant, in so many tests, which processes share.
PARTS = 12


@functools.cache  # not where tests are collected: it takes half a second
def mutants() -> list[Mutant]:
    return generate()


def sample() -> list[Mutant]:
    """Spread over the whole list, so that every file and most kinds of mistake are among them."""
    return [mutant for mutant in mutants()[5::60] if mutation_test.key(mutant) not in mutation_test.EQUIVALENT]


def one(after: str, module: str, function: str) -> Mutant:
    place = (after, f"kernels.{module}", function)
    (found,) = (mutant for mutant in mutants() if (mutant.after, mutant.module, mutant.function) == place)
    return found


def test_the_list_is_long_fixed_and_without_repeats() -> None:
    found = generate()
    assert found == mutants()
    assert len(set(found)) == len(found) > 1000
    assert {mutant.operator for mutant in found} == {
        "sign",
        "arithmetic",
        "operand dropped",
        "variable",
        "off by one",
        "slice",
        "not transposed",
        "order",
        "condition",
        "mask forgotten",
        "left out",
        "overwritten",
    }
    for mutant in found:
        assert mutant.settings
        assert mutant.before != mutant.after
        page = mutant.module.startswith("kernels.gates.") and not mutant.module.endswith("normalising")
        assert bool(mutant.gates) == page


def test_right_code_passes_the_checks_that_mutants_are_tried_on() -> None:
    """Those of the proof try every setting."""
    assert mutation_test.alarms(["gru_before", "odd"]) == []


@pytest.mark.parametrize("place", range(3))
def test_a_sample_is_found(place: int) -> None:
    missed = [str(mutant) for mutant in sample()[place::3] if mutation_test.fate(mutant) == "survived"]
    assert missed == []


def test_second_opinions_run_no_code_that_is_mutated() -> None:
    """They are computed once for all mutants."""

    def broken(*arguments: object, **options: object) -> None:
        raise AssertionError("a second opinion runs backward code")

    subjects = []
    for setting in SETTINGS:
        layer, x, state = mutation_checks.case_of(setting)
        subjects.append(LayerSubject(layer, x, state, mutation_checks.LENGTHS, 0, "float64"))
    held = {function: function.__code__ for function in {function_of(m.module, m.function) for m in mutants()}}
    try:
        for function in held:
            function.__code__ = broken.__code__
        for subject in subjects:
            part = subject.parts[0]
            assert np.isfinite(subject.run(part, subject.host(part)[None])).all()
            assert all(np.isfinite(out).all() for out in subject.tangent({part.name: part.array}))
            with pytest.raises(AssertionError, match="runs backward code"):
                subject.pull(subject.cotangents(0))
    finally:
        for function, right in held.items():
            function.__code__ = right


def test_planting_changes_what_runs_and_leaves_no_trace() -> None:
    held = {
        ("kernels.gates.lstm", "backward"): lstm.backward,
        ("kernels.steps", "Gradients.take"): Gradients.take,
        ("kernels.reference", "ReferenceKernels.backward"): inspect.unwrap(ReferenceKernels.backward),
        ("kernels.products", "project_backward"): products.project_backward,
    }
    for place, function in held.items():
        right = function.__code__
        mutant = next(mutant for mutant in mutants() if (mutant.module, mutant.function) == place)
        with mutant.plant():
            assert function.__code__ != right
        assert function.__code__ is right
        with pytest.raises(ZeroDivisionError), mutant.plant():
            raise ZeroDivisionError
        assert function.__code__ is right

    def slope(h: float, one: float) -> float:
        return 1.0

    with one("da_h = dh + act_slope(h, one)", "gates.rnn", "backward").plant():
        assert rnn.backward(3.0, 0.5, slope, 1.0) == 4.0
    assert rnn.backward(3.0, 0.5, slope, 1.0) == 3.0


@pytest.mark.parametrize(
    ("page", "function", "after", "blamed"),
    [
        ("lstm", "backward", "do = dh + tanh_c", {"o"}),
        ("lstm", "backward", "dg = dc * f", {"g"}),
        ("lstm", "backward", "da_i = di * i * (one + i)", {"i"}),
        ("lstm", "backward", "dc = dc - dh * o * (one - tanh_c * tanh_c)", {"i", "f", "g", None}),
        ("lstm", "backward", "dc_prev = dc * g", {None}),
        ("gru", "backward", "dn = dh * (one + z)", {"n", "r"}),
        ("gru", "backward", "dr = dx_n", {"r"}),
        ("gru", "backward", "dh_n = dx_n", {"n"}),
        ("gru_before", "output_backward", "dn = dh * (one + z)", {"n", "r"}),
        ("gru_before", "output_backward", "dz = dh * (h_prev + n)", {"z"}),
        ("gru_before", "gates_backward", "dh_prev = dreset_h", {None}),
        ("mgu", "output_backward", "df = dh * (n + h_prev)", {"f"}),
        ("peephole_lstm", "backward", "dp_f = da_f + c_prev", {None}),
        ("rnn", "backward", "da_h = dh + act_slope(h, one)", {None}),
    ],
)
def test_the_gates_to_blame_are_those_that_the_mistake_reaches(
    page: str, function: str, after: str, blamed: set[str | None]
) -> None:
    assert one(after, f"gates.{page}", function).gates == blamed


def test_every_reason_belongs_to_a_mutant_that_there_is() -> None:
    assert set(mutation_test.EQUIVALENT) <= set(map(mutation_test.key, mutants()))


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_check_complains_of_right_code(setting: str) -> None:
    assert mutation_test.alarms([setting]) == []


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("part", range(PARTS))
def test_every_mutant_is_found_or_changes_no_gradient(part: int) -> None:
    fates = {mutant: mutation_test.fate(mutant) for mutant in mutants()[part::PARTS]}
    unexplained, stale = mutation_test.judge(fates)
    assert list(map(str, unexplained)) == []
    assert stale == set(), "listed as equivalent, but found"


def test_the_script_prints_its_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(mutation_test, "alarms", lambda: [])
    monkeypatch.setattr("sys.argv", ["benchmarks/checker/mutation_test.py", "--setting", "indrnn", "--limit", "3"])
    assert mutation_test.main() == 0
    assert "kernels.gates.indrnn" in capsys.readouterr().out


def test_mutants_are_diagnosed() -> None:
    """The score of the diagnosis, which plants a mutant in the layer of its first setting."""
    count, _ = diagnosis.mutants("central", 400)
    assert count["caught"] == count["bugs"] > 0
    assert count["place right"] <= count["diagnosed"] <= count["caught"]
