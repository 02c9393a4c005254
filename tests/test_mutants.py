"""Small mistakes in backward code, planted by machine: each is found by the gradient checks, and taken out again."""

from __future__ import annotations

import pytest

from benchmarks import mutation_test
from benchmarks.mutants import Mutant, generate
from kernels import gates, products, reference

MUTANTS = generate()
#: Spread over the whole list, so that every file and most kinds of mistake are among them.
SAMPLE = MUTANTS[5::60]


def one(after: str, function: str) -> Mutant:
    (found,) = (mutant for mutant in MUTANTS if (mutant.after, mutant.function) == (after, function))
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
        "transposed",
        "not transposed",
        "order",
        "condition",
        "mask forgotten",
    }
    for mutant in MUTANTS:
        assert mutant.cells
        assert mutant.before != mutant.after
        assert bool(mutant.gates) == (not mutant.function.startswith(("Reference", "project", "recurrent")))


def test_right_code_passes_the_checks_that_mutants_are_tried_on() -> None:
    assert mutation_test.alarms() == []


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: f"{mutant.function}-{mutant.line}-{mutant.operator}")
def test_a_sample_is_found(mutant: Mutant) -> None:
    wanted = ("survived",) if mutation_test.key(mutant) in mutation_test.EQUIVALENT else ("killed", "raised")
    assert mutation_test.fate(mutant) in wanted


def test_planting_changes_what_runs_and_leaves_no_trace() -> None:
    held = {
        "rnn_backward": gates.rnn_backward,
        "_lstm_backward": reference._STEPS["lstm"][1],
        "ReferenceKernels.backward": reference.ReferenceKernels.backward.__wrapped__,  # type: ignore[attr-defined]
        "project_backward": products.project_backward,
    }
    for name, function in held.items():
        right = function.__code__
        mutant = next(mutant for mutant in MUTANTS if mutant.function == name)
        with mutant.plant():
            assert function.__code__ != right
        assert function.__code__ is right
        with pytest.raises(ZeroDivisionError), mutant.plant():
            raise ZeroDivisionError
        assert function.__code__ is right

    def slope(h: float, one: float) -> float:
        return 1.0

    with one("da = dh + act_slope(h, one)", "rnn_backward").plant():
        assert gates.rnn_backward(3.0, 0.5, slope, 1.0) == 4.0
    assert gates.rnn_backward(3.0, 0.5, slope, 1.0) == 3.0


@pytest.mark.parametrize(
    ("function", "after", "blamed"),
    [
        ("lstm_backward", "do = dh + tanh_c", {"o"}),
        ("lstm_backward", "dg = dc * f", {"g"}),
        ("lstm_backward", "da_i = di * i * (one + i)", {"i"}),
        ("lstm_backward", "dc = dc - dh * o * (one - tanh_c * tanh_c)", {"i", "f", "g", None}),
        ("lstm_backward", "dc_prev = dc * i", {None}),
        ("gru_after_backward", "dn = dh * z", {"n", "r"}),
        ("gru_after_backward", "dr = da_n", {"r"}),
        ("gru_after_backward", "dh_n = da_n", {"n"}),
        ("gru_before_output_backward", "dn = dh * z", {"n", "r"}),
        ("gru_before_output_backward", "dz = dh * (h_prev + n)", {"z"}),
        ("gru_before_gates_backward", "dh_prev = dreset_h", {None}),
        ("tanh_slope", "return one - h", {None}),
        ("_gru_before_backward", "dreset_h = da_z @ step.weight[2 * H:]", {"r"}),
        ("_lstm_backward", "dh_prev = step.xp.concatenate(da[::-1], axis=1) @ step.weight", {None}),
    ],
)
def test_the_gates_to_blame_are_those_that_the_mistake_reaches(
    function: str, after: str, blamed: set[str | None]
) -> None:
    assert one(after, function).gates == blamed


def test_every_reason_belongs_to_a_mutant_that_there_is() -> None:
    assert set(mutation_test.EQUIVALENT) <= set(map(mutation_test.key, MUTANTS))


@pytest.mark.slow
@pytest.mark.proof
def test_every_mutant_is_found_or_changes_no_gradient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks/mutation_test.py"])
    status = mutation_test.main()
    assert status == 0, "".join(capsys.readouterr())
