"""Small mistakes in backward code, planted by machine: each is found by the gradient checks, and taken out again."""

from __future__ import annotations

import inspect

import pytest

from benchmarks.checker import mutation_test
from benchmarks.checker.mutants import Mutant, generate
from kernels import products
from kernels.gates import lstm, rnn
from kernels.reference import ReferenceKernels
from kernels.steps import Gradients

MUTANTS = generate()
#: Spread over the whole list, so that every file and most kinds of mistake are among them.
SAMPLE = [mutant for mutant in MUTANTS[5::60] if mutation_test.key(mutant) not in mutation_test.EQUIVALENT]


def one(after: str, module: str, function: str) -> Mutant:
    place = (after, f"kernels.{module}", function)
    (found,) = (mutant for mutant in MUTANTS if (mutant.after, mutant.module, mutant.function) == place)
    return found


def test_the_list_is_long_fixed_and_without_repeats() -> None:
    assert generate() == MUTANTS
    assert len(set(MUTANTS)) == len(MUTANTS) > 1000
    assert {mutant.operator for mutant in MUTANTS} == {
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
    for mutant in MUTANTS:
        assert mutant.settings
        assert mutant.before != mutant.after
        page = mutant.module.startswith("kernels.gates.") and not mutant.module.endswith("normalising")
        assert bool(mutant.gates) == page


def test_right_code_passes_the_checks_that_mutants_are_tried_on() -> None:
    """Those of the proof try every setting."""
    assert mutation_test.alarms(["lstm", "gru_before", "odd"]) == []


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: f"{mutant.function}-{mutant.line}-{mutant.operator}")
def test_a_sample_is_found(mutant: Mutant) -> None:
    assert mutation_test.fate(mutant) in ("killed", "raised")


def test_planting_changes_what_runs_and_leaves_no_trace() -> None:
    held = {
        ("kernels.gates.lstm", "backward"): lstm.backward,
        ("kernels.steps", "Gradients.take"): Gradients.take,
        ("kernels.reference", "ReferenceKernels.backward"): inspect.unwrap(ReferenceKernels.backward),
        ("kernels.products", "project_backward"): products.project_backward,
    }
    for place, function in held.items():
        right = function.__code__
        mutant = next(mutant for mutant in MUTANTS if (mutant.module, mutant.function) == place)
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
    assert set(mutation_test.EQUIVALENT) <= set(map(mutation_test.key, MUTANTS))


@pytest.mark.slow
@pytest.mark.proof
def test_every_mutant_is_found_or_changes_no_gradient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks/checker/mutation_test.py"])
    status = mutation_test.main()
    assert status == 0, "".join(capsys.readouterr())
