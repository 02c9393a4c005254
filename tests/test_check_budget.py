"""Gradient checks within a time, with progress, and with many copies in one call."""

from __future__ import annotations

import io
import sys
import time
import types
from typing import Any

import numpy as np
import pytest

import engine
from engine.checking import Progress

RNG = np.random.default_rng(11)


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.function(*arguments)


def gates_forward(x: np.ndarray, w: np.ndarray) -> Any:
    """Transposing all axes does not go with an axis in front."""
    a = x @ w.T
    return np.tanh(a), (x, w, np.tanh(a))


def gates_backward(dout: np.ndarray, cache: Any) -> Any:
    x, w, y = cache
    da = dout * (1.0 - y * y)
    return da @ w, da.T @ x


def off_in_row(row: int, factor: float) -> Any:
    def backward(dout: np.ndarray, cache: Any) -> Any:
        dx, dw = gates_backward(dout, cache)
        dw[row] *= factor
        return dx, dw

    return backward


def dense_forward(x: np.ndarray, w: np.ndarray) -> Any:
    return np.sin(x @ w), (x, w)


def dense_backward(dout: np.ndarray, cache: Any) -> Any:
    x, w = cache
    da = dout * np.cos(x @ w)
    return da @ w.swapaxes(-1, -2), x.swapaxes(-1, -2) @ da


def by_the_largest_forward(x: np.ndarray) -> Any:
    """Stacked, this runs, and takes the largest of all copies."""
    return x * np.max(x), x


def by_the_largest_backward(dout: np.ndarray, x: np.ndarray) -> np.ndarray:
    dx = dout * np.max(x)
    dx.reshape(-1)[np.argmax(x)] += np.sum(dout * x)
    return dx


GATES = [RNG.normal(size=(5, 7)), RNG.normal(size=(24, 7)) / 3]


def test_a_pair_of_evaluations_settles_an_entry() -> None:
    forward = Counted(gates_forward)
    assert engine.check_gradients(forward, gates_backward, GATES).passed
    assert forward.calls < 2.3 * sum(array.size for array in GATES) + 60


def test_the_same_place_is_evaluated_for_a_reason() -> None:
    """Fresh caches for backward's probes, and whether forward repeats itself; none is thrown away unread."""
    inputs = [np.random.default_rng(3).normal(size=shape) for shape in ((5, 3), (4, 3))]
    unmoved = 0

    def forward(x: np.ndarray, w: np.ndarray) -> Any:
        nonlocal unmoved
        unmoved += np.array_equal(x, inputs[0]) and np.array_equal(w, inputs[1])
        return gates_forward(x, w)

    backward = Counted(gates_backward)
    assert engine.check_gradients(forward, backward, inputs, "directional").passed
    # real or complex; the first outputs; gradients of two weightings, and after another pass; the same outputs again,
    # at the start and at the end; three probes of rounding, five of linearity; a cache that is used twice
    assert unmoved <= 16
    assert backward.calls <= 14


@pytest.mark.parametrize("factor", [1.01, 1.0 + 1e-4, 1.0 + 3e-6, 1.0 - 3e-6])
def test_small_errors_are_found_all_the_same(factor: float) -> None:
    report = engine.check_gradients(gates_forward, off_in_row(17, factor), GATES)
    assert (report.verdict, report.worst.name) == ("wrong", "w")


@pytest.mark.parametrize("method", ["central", "complex", "directional", "taylor"])
def test_copies_in_one_call(method: str) -> None:
    x, w = RNG.normal(size=(6, 5)), RNG.normal(size=(5, 9))
    forward = Counted(dense_forward)
    assert engine.check_gradients(forward, dense_backward, [x, w], method).passed
    assert forward.calls < 140  # of which one by one 75 entries would take twice as many
    wrong = engine.check_gradients(forward, lambda d, c: [1.01 * g for g in dense_backward(d, c)], [x, w], method)
    assert wrong.verdict == "wrong"


def test_what_mixes_the_copies_is_run_one_by_one() -> None:
    x = RNG.uniform(0.5, 2.0, size=(3, 4))
    assert engine.check_gradients(by_the_largest_forward, by_the_largest_backward, [x]).passed
    assert engine.check_gradients(by_the_largest_forward, lambda d, x: d * np.max(x), [x]).verdict == "wrong"


def test_within_a_time_directions_cover_what_entries_do_not() -> None:
    def slow(x: np.ndarray, w: np.ndarray) -> Any:
        time.sleep(1e-3)
        return gates_forward(x, w)

    inputs = [GATES[0], RNG.normal(size=(400, 7)) / 3]
    for backward, verdict in ((gates_backward, "ok"), (off_in_row(311, 1.02), "wrong")):
        started = time.perf_counter()
        report = engine.check_gradients(slow, backward, inputs, seconds=0.1, gates="ifgo")
        assert time.perf_counter() - started < 2.5  # all entries take six seconds
        assert report.verdict == verdict
        assert "2,835 entries" in str(report)
        assert "random directions" in " ".join(str(report).split())
    assert "covered" not in str(engine.check_gradients(gates_forward, gates_backward, GATES, seconds=60))


def test_entries_that_were_left_out_are_counted() -> None:
    report = engine.check_gradients(gates_forward, gates_backward, GATES, entries=8, gates="ifgo")
    assert "covered 16 of 203 entries, of every gate block" in " ".join(str(report).split())


@pytest.mark.parametrize("method", ["central", "directional"])
def test_a_callback_hears_how_far_the_check_is(method: str) -> None:
    heard: list[Progress] = []
    engine.check_gradients(gates_forward, off_in_row(3, 1.5), GATES, method, progress=heard.append)
    assert heard[-1].verdict == "wrong"
    assert heard[-1].directions > 10
    assert heard[-1].total == 203
    assert heard[-1].entries == (203 if method == "central" else 0)
    assert "203 entries" in str(heard[-1])
    entries = [progress.entries for progress in heard]
    assert entries == sorted(entries)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "spoken"),
    [(io.StringIO, None, False), (io.StringIO, True, True), (Terminal, False, False), (Terminal, None, True)],
)
@pytest.mark.parametrize("method", ["central", "adjoint"])
def test_a_line_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, method: str, stream: Any, progress: Any, spoken: bool
) -> None:
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr("engine.checking.verdicts.budget.QUIET", 0.0)
    engine.gradcheck(
        engine.GRU(2, 3, backend="numpy:reference"), RNG.normal(size=(4, 2, 2)), method="central", progress=progress
    )
    text = stderr.getvalue()
    assert ("directions" in text) == spoken
    assert not spoken or text.endswith("\r")  # the line is taken away


def test_what_makes_no_time_or_progress() -> None:
    for options in ({"seconds": -1.0}, {"seconds": float("nan")}, {"seconds": "5"}, {"progress": "yes"}):
        with pytest.raises(engine.EngineError, match=next(iter(options))):
            engine.check_gradients(gates_forward, gates_backward, GATES, **options)


LARGE = [np.random.default_rng(4).normal(size=shape) for shape in ((40, 3, 9), (90, 60))]


def large_forward(x: np.ndarray, w: np.ndarray) -> Any:
    return (np.tanh(x), np.sin(w)), (x, w)


def large_backward(dout: Any, cache: Any) -> Any:
    (dx, dw), (x, w) = dout, cache
    return dx * (1.0 - np.tanh(x) ** 2), dw * np.cos(w)


@pytest.mark.parametrize("method", ["directional", "taylor", "central"])
@pytest.mark.parametrize(
    ("tensor", "place", "words"),
    [
        (0, np.s_[7], "a whole time step: 7"),
        (1, np.s_[:, 15:20], "only columns 15 to 19"),
        (1, ([5, 60, 31], [2, 8, 8]), "3 entries: [5, 2], [31, 8], [60, 8]"),
        (1, np.s_[42, 17], "one entry: [42, 17]"),
    ],
)
def test_the_wrong_entries_of_a_large_tensor_are_named(
    monkeypatch: pytest.MonkeyPatch, method: str, tensor: int, place: Any, words: str
) -> None:
    """Whatever looks along directions, and within a time too; errors of the same size do not cancel."""
    forward, limit = Counted(large_forward), None
    if method == "central":  # a clock that counts evaluations
        clock = types.SimpleNamespace(perf_counter=lambda: 1e-2 * forward.calls)
        monkeypatch.setattr("engine.checking.verdicts.budget.time", clock)
        monkeypatch.setattr("engine.checking.verdicts.looking.time", clock)
        limit = 8.0

    def wrong(dout: Any, cache: Any) -> Any:
        gradients = [np.array(one) for one in large_backward(dout, cache)]
        gradients[tensor][place] += 0.3 * dout[tensor][place]
        return gradients

    report = engine.check_gradients(forward, wrong, LARGE, method, time_axis=0, seconds=limit)
    assert report.verdict == "wrong"
    assert words in " ".join(str(report).split()), report
    assert limit is None or forward.calls <= 820
