"""What a report of a gradient check says beside its verdict: which entries, in what pattern, why, and what next."""

from __future__ import annotations

import html.parser
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.checking.diagnosis.extent import extent
from engine.checking.diagnosis.factors import factor_in_words
from engine.checking.diagnosis.pairs import Around
from engine.checking.diagnosis.patterns import pattern, shape_in_words
from engine.checking.report.report import Report
from engine.checking.report.text import two_numbers

seeds = st.integers(0, 2**32 - 1)
short = settings(max_examples=30, deadline=None)


def words_for(claimed: np.ndarray, numeric: np.ndarray, **known: Any) -> str:
    """The pattern's words, for a claimed gradient in place of the right one."""
    departs = np.abs(claimed - numeric) > 1e-6 * np.abs(numeric).max()
    return pattern(claimed, numeric, departs, Around(**known))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# -- which entries -----------------------------------------------------------------------------------------------------


@short
@given(st.data())
def test_a_span_along_one_axis_is_named(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(3, 6), min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[axis] - 1))
    stop = data.draw(st.integers(start + 1, shape[axis]))
    departs = np.zeros(shape, dtype=bool)
    departs[(slice(None),) * axis + (slice(start, stop),)] = True
    words, timed = extent(departs), extent(departs, time_axis=axis)
    span = f"{start}" if stop - start == 1 else f"{start} to {stop - 1}"
    if stop - start == shape[axis]:
        assert words == timed == "every entry"
    elif departs.sum() == 1:
        assert words == f"one entry: [{span}]"
    else:
        kind = ["entries", ("row", "column")[axis % 2], f"of axis {axis}", f"of axis {axis}"][len(shape) - 1]
        assert re.match(rf"only .*\b{span}\b", words), words
        assert kind in words
        assert timed.startswith(("a whole time step: " if stop - start == 1 else "whole time steps: ") + span)


@short
@given(seeds, st.integers(3, 6), st.integers(3, 6))
def test_one_entry_is_one_entry_and_zeros_fit_every_description(seed: int, rows: int, columns: int) -> None:
    generator = np.random.default_rng(seed)
    row, column = generator.integers((rows, columns))
    departs = np.zeros((rows, columns), dtype=bool)
    departs[row, column] = True
    assert extent(departs) == f"one entry: [{row}, {column}]"
    assert extent(~departs) == f"all but one entry: [{row}, {column}]"
    silent = generator.random((rows, columns)) < 0.3
    silent[row, (column + 1) % columns] = False
    departs[row] = ~silent[row]
    if departs.sum() > 1:
        assert extent(departs, silent).startswith(f"only row {row}")
        assert extent(~silent, silent) == ("every entry that is not 0" if silent.any() else "every entry")


@pytest.mark.parametrize(
    ("departs", "words"),
    [
        (np.eye(4, dtype=bool), "the diagonal"),
        (~np.eye(5, dtype=bool), "all but the diagonal"),
        (np.triu(np.ones((4, 4), dtype=bool), 1), "all above the diagonal"),
        (np.broadcast_to(np.arange(6) % 2 == 0, (3, 6)), "only every second column from 0 to 4"),
        (np.broadcast_to(np.arange(7) != 5, (3, 7)), "all but column 5"),
        (np.broadcast_to(np.arange(20) != 5, (3, 20)), "all but column 5"),
        (np.isin(np.arange(12), (1, 11)).reshape(4, 3), "2 entries: [0, 1], [3, 2]"),
        (np.isin(np.arange(40), (0, 1, 11, 15, 20)).reshape(4, 10), "5 of 40 entries"),
        (np.isin(np.arange(40), (0, 1, 10, 31, 30, 20)).reshape(4, 10), "6 of 40 entries, all in columns 0 to 1"),
        (np.zeros((2, 3), dtype=bool), ""),
        (np.ones((), dtype=bool), ""),
    ],
)
def test_forms_have_names(departs: np.ndarray, words: str) -> None:
    assert extent(departs) == words


def test_the_last_row_of_a_batch_is_called_so() -> None:
    departs = np.zeros((6, 3, 2), dtype=bool)
    departs[:, 2] = True
    assert extent(departs, time_axis=0, batch_axis=1) == "only the last batch row: 2"
    departs[:4] = False
    assert extent(departs, time_axis=0, batch_axis=1) == "only time steps 4 to 5 in batch row 2 (the last)"


# -- in what pattern ---------------------------------------------------------------------------------------------------

#: What a mistake makes of a right gradient of (T, B, D), and the words for it.
MISTAKES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "mean over B": (lambda g: g / g.shape[1], r"^0\.\d+ of the right value everywhere: a mean in place .* is 1/B"),
    "sum over T": (lambda g: g * g.shape[0], r"^\d+ times the right value everywhere: a sum in place .* is T"),
    "mean over both": (lambda g: g / g.shape[0] / g.shape[1], r"1/\d+ is 1/\(T B\)"),
    "sign": (lambda g: -g, "^minus the right value everywhere: a sign$"),
    "twice": (lambda g: 2.0 * g, r"^2 times the right value everywhere: .*(counted twice|factor 2)"),
    "zeros": (lambda g: 0.0 * g, "^all zero$"),
    "one step late": (lambda g: np.concatenate([0 * g[:1], g[:-1]]), r"^shifted by a step: .* of step t-1$"),
    "one step early": (lambda g: np.roll(g, -1, axis=0), r"^shifted by a step: .* of step t\+1$"),
    "reversed": (lambda g: g[::-1], "^reversed in time$"),
    "a wrong order": (lambda g: g.swapaxes(0, 1).reshape(g.shape), "^the right numbers in another order"),
    "absolute": (np.abs, "^the absolute value"),
    "clipped": (lambda g: np.clip(g, -0.5, 0.5), r"^clipped at 0\.5$"),
    "offset": (lambda g: g + 0.25, r"^off by the same \+0\.25 everywhere"),
    "slightly": (lambda g: g * (1 + 1e-5 * np.sign(np.sin(99 * g))), "^off by about 1e-05 .* epsilon"),
    "cut short": (lambda g: g * 1.00002, r"^1\.00002 times .* everywhere, off by 2e-05"),
    "without a pattern": (lambda g: g + np.sin(99 * g), "^$"),
}


@pytest.mark.parametrize("name", MISTAKES)
@settings(max_examples=6, deadline=None)
@given(seed=seeds, sizes=st.permutations([3, 5, 7]))
def test_the_mistake_that_was_made_is_named(name: str, seed: int, sizes: list[int]) -> None:
    mistake, words = MISTAKES[name]
    right = normal(seed, *sizes)
    claimed = np.ascontiguousarray(mistake(right))
    found = words_for(claimed, right, time_axis=0, sizes={"T": sizes[0], "B": sizes[1]})
    assert re.search(words, found), found


@settings(max_examples=10, deadline=None)
@given(seed=seeds, rows=st.integers(3, 6), columns=st.integers(3, 6))
def test_mistakes_in_matrices_are_named(seed: int, rows: int, columns: int) -> None:
    right, scale = normal(seed, rows, columns), 1.0 + np.random.default_rng(seed).random(columns)
    values = normal(seed + 1, rows, columns)
    square, matrix = normal(seed, rows, rows), normal(seed + 2, columns, columns) + 3.0 * np.eye(columns)
    assert words_for(square.T, square) == "transposed"
    assert "the same in every row" in words_for(right + scale, right)
    assert words_for(np.broadcast_to(right.mean(axis=0), right.shape), right).startswith("each row holds the mean")
    assert "divided by gamma" in words_for(right / scale, right, vectors={"gamma": scale})
    assert "factor of each column's own" in words_for(right * scale, right)
    assert "weight decay missing" in words_for(right - 0.1 * values, right, values=values)
    relu = np.where(right > 0, right, 0.0)
    if (right < 0).sum() >= 3:
        assert words_for(right, relu).startswith("not 0 where the right value is 0: a mask forgotten")
        assert words_for(relu, right).startswith("zero there")
    assert words_for(right @ matrix, right @ matrix.T, squares={"w": matrix}).startswith("transposed: a product with w")
    gates = normal(seed, rows, 8)
    assert words_for(gates[:, [0, 1, 4, 5, 2, 3, 6, 7]], gates) == "blocks 1 and 2 of 4 along axis 1 exchanged"
    repeated = {"ids": np.arange(rows) % 2 == 0}
    some = right + np.sin(99 * right) * repeated["ids"][:, None]
    assert "assigned, not added" in words_for(some, right, repeated=repeated)


def test_a_pattern_explains_small_errors_too_and_one_entry_has_none() -> None:
    right = normal(3, 4, 5)
    moved = right.copy()
    moved[2, 1] += 1e-3
    assert words_for(moved, right) == ""
    close = np.full((4, 4), 3.0) + 1e-5 * normal(4, 4, 4)  # nearly symmetric, hence nearly its own transpose
    assert "transposed" not in words_for(close * 1.2, close)


@pytest.mark.parametrize(
    ("factor", "sizes", "scalars", "words"),
    [
        (0.2, {"B": 4, "axis 1 of x": 5}, {}, "a mean in place of a sum (axis 1 of x has length 5)?"),
        (math.sqrt(5), {"D": 5}, {}, "sqrt(5), and 5 is D?"),
        (0.75, {"B": 4}, {}, "3/4, and 4 is B?"),
        (1 / 0.7, {"B": 4}, {"p": 0.3}, "1.429 is 1/(1 - p), p = 0.3"),
        (0.7, {"B": 4}, {}, "1 - p of a dropout with p = 0.3?"),
        (-0.25, {"B": 4}, {}, "-0.25 of the right value there"),
        (3.0, {"B": 4}, {}, "3 times the right value there"),
    ],
)
def test_factors_are_held_against_what_is_at_hand(
    factor: float, sizes: dict[str, int], scalars: dict[str, float], words: str
) -> None:
    assert words in factor_in_words(factor, "there", sizes, scalars)


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ((3, 5), (5, 3), "transposed?"),
        ((1, 3), (3,), "an axis of length 1 too many"),
        ((4, 3), (3,), "not summed"),
        ((7,), (3,), "shape (7,) in place of (3,)"),
    ],
)
def test_wrong_shapes_have_words(found: tuple[int, ...], wanted: tuple[int, ...], words: str) -> None:
    assert words in shape_in_words(found, wanted)


@short
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_two_numbers_that_differ_look_different(one: float, other: float) -> None:
    shown = two_numbers(one, other)
    assert (shown[0] != shown[1]) == (one != other) or (one == 0.0 == other)


# -- the whole report --------------------------------------------------------------------------------------------------


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    return x @ w + b, (x, w)


def backward(dout: np.ndarray, cache: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def linear(change: Callable[..., Any], x: np.ndarray | None = None, **options: Any) -> Report:
    """The check of x @ w + b, its three gradients changed."""
    inputs = [normal(1, 4, 5) if x is None else x, normal(2, 5, 3), normal(3, 3)]
    return engine.check_gradients(forward, lambda dout, cache: change(*backward(dout, cache)), inputs, **options)


def one_line(report: Report) -> str:
    return " ".join(str(report).split())


def test_only_the_wrong_tensors_are_counted() -> None:
    report = linear(lambda dx, dw, db: (dx, dw, db / 4))
    assert "wrong: 1 tensor of 3, method" in str(report)
    assert "0.25 of the right value everywhere: a mean in place of a sum? 1/4 is 1/B" in one_line(report)
    assert "ok: 3 tensors, method" in str(linear(lambda *grads: grads))


def test_what_a_report_says_is_in_its_rows() -> None:
    def columns(dx: np.ndarray, dw: np.ndarray, db: np.ndarray) -> Any:
        dw[:, 1:] = 0.0
        return dx, dw, db

    report = linear(columns, method="directional")  # the entries are looked at for the diagnosis
    row = next(row for row in report.rows if row.verdict == "wrong")
    assert (row.extent, row.pattern) == ("only columns 1 to 2", "zero there, where the right value is not")
    assert row.extent in str(report)
    assert row.marked is not None
    assert row.marked[:, 1:].all()
    assert "transposed?" in str(linear(lambda dx, dw, db: (dx, dw.T, db)))


def test_a_gradient_without_dout_is_told() -> None:
    report = engine.check_gradients(lambda x: (np.tanh(x), x), lambda d, x: 1 - np.tanh(x) ** 2, [normal(1, 4, 5)])
    assert "backward gives the same for any dout" in one_line(report)
    assert str(report).count("for any dout") == 1


def test_what_several_tensors_have_in_common_is_said_once() -> None:
    report = linear(lambda dx, dw, db: (dx / 7, dw / 7, db / 7))
    assert one_line(report).count("1/7: a mean in place of a sum?") == 1
    assert str(report).count("  the same as x") == 2


def test_numbers_that_differ_are_printed_differently() -> None:
    report = linear(lambda dx, dw, db: (dx * 1.000007, dw, db))
    found = re.search(r"wrong +\[\S+\] (\S+) / (\S+)", str(report))
    assert found
    assert found[1] != found[2]
    assert abs(float(found[1]) / float(found[2]) - 1.000007) < 2e-6


def test_a_gate_block_has_the_pattern_of_the_earliest_step() -> None:
    class Scaled(engine.LSTM):
        def backward(self, tape: Any, dy: Any, dstate: Any = None) -> Any:  # type: ignore[override]
            before = self.grads["weight_ih_l0"].copy()
            found = super().backward(tape, dy, dstate)
            self.grads["weight_ih_l0"][4:8] = before[4:8] + (self.grads["weight_ih_l0"][4:8] - before[4:8]) / 3
            return found

    layer = Scaled(2, 4, dtype="float64", backend="numpy:reference")
    report = engine.gradcheck(layer, normal(4, 5, 3, 2))
    row = next(row for row in report.rows if row.verdict == "wrong")
    assert row.extent == "only rows 4 to 7 (gate f)"
    assert "1/3 is 1/B" in row.pattern


def square_in_time() -> Report:
    """Steps 3 and 4 of (B, T, D) are wrong, B = T."""

    def late(d: np.ndarray, cache: Any) -> np.ndarray:
        dx = 2.0 * d
        dx[:, 3:] = 0.0
        return dx

    return engine.check_gradients(lambda x: (2.0 * x, None), late, [normal(6, 5, 5, 2)], time_axis=1)


def saturated(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    h = [np.zeros_like(x[0])]
    for x_t in x:
        h.append(np.tanh(h[-1] / 2 + x_t))
    return h[-1], h


def saturated_backward(dh: np.ndarray, h: list[np.ndarray]) -> np.ndarray:
    dx = np.empty((len(h) - 1, *dh.shape))
    for t in reversed(range(len(dx))):
        dx[t] = dh * (1 - h[t + 1] ** 2)
        dh = dx[t] / 2
    return dx


def undecided() -> Report:
    x = 0.5 * normal(0, 30, 2, 1)
    x[10:12] = 10.0
    return engine.check_gradients(saturated, saturated_backward, [x], time_axis=0)


def kinked() -> Report:
    x = normal(5, 3, 4)
    x[1, 2] = 0.0
    return engine.check_gradients(lambda x: (np.maximum(x, 0), x), lambda d, x: d * (x > 0), [x])


def test_undecided_reports_say_why_and_what_next() -> None:
    text = one_line(undecided())
    assert "not decided: whole time steps: 0 to 11; rounding and the method may be off by more than the value" in text
    assert 'next: method="complex" loses nothing to rounding' in text
    text = one_line(
        engine.check_gradients(lambda x: (np.abs(x), x), lambda d, x: d * np.sign(x), [normal(1, 3)], "complex")
    )
    assert text.endswith('next: method="central" needs no complex arrays')
    assert "no finite values" not in text
    text = one_line(kinked())
    assert "at a kink: one entry: [1, 2]; the slopes on its two sides differ" in text
    assert "next: no bug" in text


def test_wrong_stands_nowhere_else() -> None:
    name = "wrong: and\nwrong: again"
    report = engine.check_gradients(
        lambda d: (d[name] * 2.0, None), lambda dout, cache: {name: 2.0 * dout}, [{name: normal(1, 3)}]
    )
    for text in (str(report), report._repr_html_()):
        assert report.verdict == "ok"
        assert "wrong:" not in text
    assert len(str(report).splitlines()) == 3


class Reader(html.parser.HTMLParser):
    """Makes sure that what opens is closed, and keeps the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in {"div", "b", "table", "tr", "th", "td"}
        assert {name for name, _ in attrs} <= {"style", "colspan"}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def test_html_is_escaped_and_says_what_the_table_says() -> None:
    name = "<script>alert('1')</script>&"
    report = engine.check_gradients(
        lambda d: (d[name] * 2.0, None), lambda dout, cache: {name: 3.0 * dout}, [{name: normal(1, 3)}]
    )
    page = Reader(report._repr_html_())
    assert "wrong: 1 tensor," in page.text
    assert name in page.text
    assert "1.5 times the right value" in page.text
    assert len(linear(lambda *grads: grads)._repr_html_()) < 4000


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([np.nan, np.inf, 0.0, 0.5, 1.0, -1.0]),
    st.sampled_from(["central", "directional", "taylor", "complex"]),
    seeds,
)
def test_reports_are_json(factor: float, method: str, seed: int) -> None:
    with np.errstate(invalid="ignore"):
        report = linear(lambda dx, dw, db: (dx, dw * factor, db), normal(seed, 4, 5), method=method)
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["verdict"] == report.verdict
    assert found["passed"] is report.passed
    assert [row["name"] for row in found["rows"]] == ["x", "w", "b"]
    assert (found["diagnosis"] is None) == (report.diagnosis is None)
    assert set(found["worst"]) == {"name", "gate", "time_step", "index", "analytic", "numeric", "error"}
    assert Reader(report._repr_html_()).text
    assert str(report)


def test_pictures_have_a_map_of_entries_and_labels_on_every_axis(tmp_path: Path) -> None:
    from matplotlib.colors import to_rgba

    def half(dx: np.ndarray, dw: np.ndarray, db: np.ndarray) -> Any:
        dw[2] *= 0.5
        return dx, dw, db

    large = engine.check_gradients(
        lambda x, w: (x * w[:2], (x, w)),
        lambda d, c: (d * c[1][:2], np.concatenate([d * c[0] * np.where(np.arange(300) % 7 == 0, 0, 1), 0 * c[1][2:]])),
        [normal(1, 2, 300), normal(2, 3, 300)],
    )
    for number, report in enumerate((linear(half), kinked(), undecided(), large, square_in_time())):
        figure = report.plot(tmp_path / "large.png" if number == 3 else None)
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes if axes.get_label() != "<colorbar>")
        maps = [axes for axes in figure.axes if axes.images]
        assert len(maps) == 1
        marks = maps[0].collections[0]
        wanted = {"wrong": "tab:red", "kink": "tab:orange", "cannot tell": "tab:gray"}[report.verdict]
        assert np.allclose(marks.get_facecolor()[0], to_rgba(wanted))
        row = next(row for row in report.rows if row.verdict == report.verdict)
        if row.time_axis is not None:
            assert maps[0].get_xlabel() == "time step t"
            steps = {int(step) for step in marks.get_offsets()[:, 0]}
            assert steps == {30: set(range(12)), 5: {3, 4}}[len(row.by_step)]
        assert row.marked is not None
        if row.marked.size < 1000:
            assert len(marks.get_offsets()) == row.marked.sum()
