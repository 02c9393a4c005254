"""The made-up tasks of papers: each is judged by a second way to say what it is."""

from __future__ import annotations

import re

import numpy as np
import pytest
from refusals import refused

from engine.data.reber import REBER_ALPHABET, reber_rows, reber_strings
from engine.data.synthetic import (
    BLANK,
    MARKER,
    ORDER_ALPHABET,
    ORDER_CLASSES,
    adding_problem,
    copy_memory,
    mackey_glass,
    parity,
    temporal_order,
)
from engine.errors import InputError, InputTypeError

#: The Reber grammar as a regular expression, worked out by hand from the graph: what the generator walks along.
INNER = "B(TS*X(XT*VP)*(S|XT*VV)|PT*V(V|P(XT*VP)*(S|XT*VV)))E"
EMBEDDED = re.compile(f"BT{INNER}TE|BP{INNER}PE")


# -- the Reber grammar -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("embedded", "automaton"), [(True, EMBEDDED), (False, re.compile(INNER))])
def test_reber_strings_are_accepted_by_another_automaton(embedded: bool, automaton: re.Pattern[str]) -> None:
    strings = reber_strings(400, embedded=embedded, seed=3)
    assert all(automaton.fullmatch(string) for string in strings)
    assert len(set(strings)) > 50
    assert min(map(len, strings)) == (9 if embedded else 5)


def test_what_may_come_next_is_what_the_other_automaton_accepts() -> None:
    """A symbol is allowed exactly if some string of the grammar goes on with it."""
    many = set(reber_strings(6000, seed=1))
    strings = [string for string in reber_strings(40, seed=2) if len(string) < 13]
    rows = reber_rows(strings)
    assert len(strings) > 10
    for string, allowed in zip(strings, rows.allowed, strict=True):
        for step in range(len(string) - 1):
            goes_on = {other[step + 1] for other in many if other.startswith(string[: step + 1])}
            assert {symbol for symbol, may in zip(REBER_ALPHABET, allowed[step], strict=True) if may} == goes_on


def test_rows_of_reber_hold_the_strings() -> None:
    strings = reber_strings(7, seed=5)
    rows = reber_rows(strings)
    for row, string in enumerate(strings):
        steps = rows.lengths[row]
        assert "".join(REBER_ALPHABET[i] for i in rows.x[row, :steps].argmax(axis=-1)) == string[:-1]
        assert "".join(REBER_ALPHABET[i] for i in rows.targets[row, :steps]) == string[1:]
        assert rows.allowed[row, np.arange(steps), rows.targets[row, :steps]].all()
        assert not rows.x[row, steps:].any()
        assert not rows.allowed[row, steps:].any()


def test_a_test_set_of_reber_strings_has_none_of_the_training_set() -> None:
    first = reber_strings(300, seed=1)
    assert not set(first) & set(reber_strings(300, seed=2, besides=first))
    assert set(first) & set(reber_strings(300, seed=2))


@pytest.mark.parametrize("string", ["BTBPVVEPE", "BTBPVVET", "BTBPXVETE", "", "XTBPVVETE", "BTBPVVETEE", "BTBPVETE"])
def test_a_string_of_no_grammar_is_refused(string: str) -> None:
    assert not EMBEDDED.fullmatch(string)
    with refused(InputError, "strings", "the embedded Reber grammar"):
        reber_rows([*reber_strings(2), string])


# -- sums, orders, copies, parity --------------------------------------------------------------------------------------


def test_the_sum_is_that_of_the_two_marked_numbers() -> None:
    x, targets, lengths = adding_problem(500, 40, seed=7)
    assert x.shape == (500, 44, 2)
    assert set(lengths) == set(range(40, 45))
    for row, (target,), steps in zip(x, targets, lengths, strict=True):
        (marked,) = np.nonzero(row[:, 1] == 1.0)
        (ends,) = np.nonzero(row[:, 1] == -1.0)
        assert ends.tolist() == [0, steps - 1]
        assert not row[steps:].any()
        assert len(marked) in (1, 2)  # one if the first step was drawn, whose number counts as 0
        assert marked[0] < 10 if len(marked) == 2 else marked[0] < 20
        assert marked[-1] <= 20
        assert target == pytest.approx(0.5 + row[marked, 0].sum(dtype=np.float64) / 4, abs=1e-6)
    assert 0.03 < np.mean((x[:, :, 1] == 1).sum(axis=1) == 1) < 0.2
    assert np.abs(x[:, :, 0]).max() <= 1.0


def test_the_class_is_the_order_of_x_and_y() -> None:
    x, classes, lengths = temporal_order(200, seed=2)
    places = []
    for row, label, steps in zip(x, classes, lengths, strict=True):
        assert (row[:steps].sum(axis=1) == 1).all()
        assert not row[steps:].any()
        string = "".join(ORDER_ALPHABET[i] for i in row[:steps].argmax(axis=1))
        assert re.fullmatch("E[abcdXY]+B", string)
        found = [(place, symbol) for place, symbol in enumerate(string) if symbol in "XY"]
        assert "".join(symbol for _, symbol in found) == ORDER_CLASSES[label]
        places.append([place for place, _ in found])
    assert (np.min(places, axis=0) == [10, 50]).all()
    assert (np.max(places, axis=0) == [20, 60]).all()
    assert set(classes) == {0, 1, 2, 3}
    assert set(lengths) == set(range(100, 111))


def test_a_copy_is_asked_for_after_the_marker() -> None:
    x, targets, lengths = copy_memory(5, delay=7, seed=1)
    ids = x.argmax(axis=-1)
    assert x.sum() == 5 * 27
    assert lengths.tolist() == [27] * 5
    assert (ids[:, :10] < 8).all()
    assert (ids[:, 10:16] == BLANK).all()
    assert (ids[:, 16] == MARKER).all()
    assert (ids[:, 17:] == BLANK).all()
    assert (targets[:, :17] == BLANK).all()
    assert (targets[:, 17:] == ids[:, :10]).all()
    assert len(np.unique(ids[:, :10])) == 8


def test_parity_is_counted_in_plain_python() -> None:
    x, targets, lengths = parity(30, 3, 9, seed=6)
    for row, odd, steps in zip(x, targets, lengths, strict=True):
        for step in range(steps):
            assert odd[step] == row[: step + 1, 0].tolist().count(1.0) % 2
        assert not row[steps:].any()
    assert set(lengths) == set(range(3, 10))
    assert x.shape == (30, 9, 1)


def test_mackey_glass_obeys_its_equation() -> None:
    """Each step of the integrator is kept here, so that the slopes are those of the equation to round-off."""
    fine = mackey_glass(6000, tau=170.0, substeps=1)  # another delay, each step kept
    slope = 0.2 * fine[:-171] / (1 + fine[:-171] ** 10) - 0.1 * fine[170:-1]
    np.testing.assert_allclose(np.diff(fine[170:]), slope, rtol=0, atol=1e-12)


def test_mackey_glass_is_the_series_of_the_literature() -> None:
    series = mackey_glass(4000, seed=1)
    assert series.std() ** 2 == pytest.approx(0.05, abs=0.01)
    centred = series - series.mean()
    correlation = np.correlate(centred, centred, "full")[len(series) - 1 :] / (centred @ centred)
    assert 45 < 20 + correlation[20:80].argmax() < 56  # the pseudo-period of about 50
    assert not np.allclose(series, mackey_glass(4000, seed=2), atol=0.1)


def test_the_seed_draws_the_same_again() -> None:
    for draw in (lambda s: adding_problem(4, 30, s), lambda s: temporal_order(4, s), lambda s: parity(4, 2, 5, s)):
        first, again, other = draw(3), draw(3), draw(4)
        assert np.array_equal(first.x, again.x)
        assert np.array_equal(first.targets, again.targets)
        assert not np.array_equal(first.x, other.x)


def test_bad_sizes_are_refused() -> None:
    with refused(InputError, "steps", "22"):
        adding_problem(2, 21)
    with refused(InputError, "longest", "shorter"):
        parity(2, 5, 4)
    with refused(InputError, "tau", "multiple"):
        mackey_glass(5, tau=17.04)
    with refused(InputError, "rows", ">= 1"):
        temporal_order(0)
    with refused(InputTypeError, "strings", "list of strings"):
        reber_rows("BTBPVVETE")  # type: ignore[arg-type]
