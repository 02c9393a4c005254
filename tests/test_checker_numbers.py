"""What the checker says of right code that is hard to check, and of wrong code that used to pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import engine
from benchmarks.checker import hard_cases, planted, saturated_nets
from benchmarks.checker.hard.case import METHODS
from engine.checking.subjects import roundings
from engine.checking.subjects.functions import FunctionSubject
from engine.checking.subjects.shapes.function_options import Shape
from engine.checking.verdicts import precision

CASES = hard_cases.cases()


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].name)
def test_hard_right_code(number: int) -> None:
    method = METHODS[number % len(METHODS)]
    verdict, outcome = hard_cases.judge(CASES[number], method, seed=11)
    assert outcome == "ok", f"{method}: {verdict}"


def test_there_are_enough_hard_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("seed", range(12))
def test_saturated_nets_are_not_accused(seed: int) -> None:
    cell, method, factor, report = saturated_nets.check(seed)
    assert report.verdict in ("ok", "cannot tell"), f"{cell} times {factor}, {method}:\n{report}"


@pytest.mark.parametrize("code", planted.CODES)
def test_small_errors_are_found_in_hard_codes(code: str) -> None:
    for number, (name, (forward, backward, inputs)) in enumerate(planted.planted(code, 3e-6, seed=5)):
        method = METHODS[number % len(METHODS)]
        assert engine.check_gradients(forward, backward, inputs, method).verdict == "wrong", f"{name}, {method}"


# -- wrong code that used to pass ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_an_input_in_the_place_of_dout(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(4, 5))
    mask = np.random.default_rng(9).random((4, 5)) < 0.5
    relu = engine.check_gradients(lambda x: (np.maximum(x, 0), x), lambda d, x: x * (x > 0), [x], seed=seed)
    dropped = engine.check_gradients(lambda x: (x * mask, x), lambda d, x: x * mask, [x], seed=seed)
    assert (relu.verdict, dropped.verdict) == ("wrong", "wrong")


def test_whole_numbers_are_no_float32() -> None:
    rng = np.random.default_rng(4)
    x, w = rng.integers(-3, 4, size=(4, 3)).astype(float), rng.integers(-2, 3, size=(3, 5)).astype(float)

    def backward(d: Any, cache: Any) -> Any:
        x, w = cache
        return d @ w.T, x.T @ d * (1 + 1e-4)

    for method in METHODS:
        report = engine.check_gradients(lambda x, w: (x @ w, (x, w)), backward, [x, w], method)
        assert (report.verdict, report.worst.name) == ("wrong", "w")


def test_precision_is_measured() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(0.5, 1.5, size=(3, 4))

    def noise(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
        subject = FunctionSubject(lambda x: (function(x), x), lambda d, x: d, [x], 0, Shape(["x"]))
        here = subject.flat(subject.outputs)
        return np.asarray(precision.output_noise(subject) / np.maximum(np.abs(here), 1e-300))

    assert (noise(np.tanh, x) < 1e-14).all()
    narrow = noise(lambda x: 1.5 * np.tanh(x.astype(np.float32)).astype(np.float64) + 1e-9, x)
    assert ((narrow > 1e-8) & (narrow < 1e-5)).mean() > 0.9
    whole = rng.integers(-3, 4, size=(3, 4)).astype(float)
    for kinked in (lambda x: np.maximum(x, 0.0), np.abs, lambda x: np.clip(x, -1.0, 2.0)):
        assert (noise(kinked, whole) < 1e-14).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda dx: np.clip(dx, -5.0, 5.0),
        lambda dx: np.where(np.abs(dx) < 0.05, 0.0, dx),
        lambda dx: dx if np.abs(dx).max() < 50.0 else dx / np.abs(dx).max(),
    ],
    ids=["clip", "threshold", "norm"],
)
def test_backward_is_linear(spoil: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(3).normal(size=(3, 4))
    report = engine.check_gradients(lambda x: (np.sin(x), x), lambda d, x: spoil(d * np.cos(x)), [x])
    assert report.verdict == "wrong"
    assert "not linear in dout" in str(report).replace("\n  ", " ")


def test_a_layer_is_linear_as_well() -> None:
    class Clipped(engine.RNN):
        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            dx, dfirst = super().backward(tape, dy, dstate)
            return np.clip(dx, -20.0, 20.0), dfirst

    layer = Clipped(2, 3, dtype="float64", backend="numpy:reference", seed=0)
    report = engine.gradcheck(layer, np.random.default_rng(0).normal(size=(4, 2, 2)))
    assert report.verdict == "wrong"
    assert "not linear" in str(report)


def test_backward_that_spoils_its_cache() -> None:
    def forward(x: Any) -> Any:
        y = 1 / (1 + np.exp(-x))
        return y, [y.copy()]

    def spoils(d: Any, cache: Any) -> Any:
        cache[0] *= 1 - cache[0]
        return d * cache[0]

    x = np.random.default_rng(3).normal(size=(2, 3))
    report = engine.check_gradients(forward, spoils, [x])
    assert (report.verdict, report.passed) == ("input mutated", False)
    assert engine.check_gradients(forward, lambda d, c: 1.5 * spoils(d, c), [x]).verdict == "wrong"
    pops = engine.check_gradients(forward, lambda d, c: d * (lambda y: y * (1 - y))(c.pop()), [x])
    assert pops.passed, pops  # good for one use


# -- gradients that are zero by structure ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("off", [0.0, 1e-3, 1e-9])
def test_a_bias_before_batch_norm_has_no_gradient(method: str, off: float) -> None:
    forward, right, inputs = next(c for c in CASES if c.name == "bias_before_batch_norm").make(np.random.default_rng(7))

    def backward(d: Any, cache: Any) -> Any:
        dx, dw, db = right(d, cache)
        return dx, dw, db + off * d.sum(axis=0)

    report = engine.check_gradients(forward, backward, inputs, method)
    assert report.verdict == ("wrong" if off else "ok"), report


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["the_mean_square_of_a_perfect_fit", "a_sine_at_its_top"])
def test_wrong_code_does_not_pass_where_a_gradient_passes_through_zero(method: str, name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    forward, backward, inputs = case.make(np.random.default_rng(1))

    def pulled(dout: Any, cache: Any) -> list[np.ndarray]:
        gradients = backward(dout, cache)
        return list(gradients) if isinstance(gradients, tuple) else [gradients]

    def checked(wrong: Callable[[Any, Any], Any]) -> engine.checking.Report:
        return engine.check_gradients(forward, wrong, inputs, method)

    assert checked(pulled).passed
    assert checked(lambda d, cache: [one + 1e-5 * np.sum(d) for one in pulled(d, cache)]).verdict == "wrong"
    doubtful = checked(lambda d, cache: [1.01 * one for one in pulled(d, cache)])  # 0 times anything is 0
    assert doubtful.verdict == "cannot tell"
    assert "a hundredth away" in str(doubtful)


def test_a_saturated_gradient_is_not_zero_by_structure() -> None:
    x = 40.0 + np.random.default_rng(1).normal(size=(2, 3))
    for method in METHODS:
        report = engine.check_gradients(
            lambda x: (1 / (1 + np.exp(-x)),) * 2, lambda d, y: d * y * (1 - y), [x], method
        )
        assert report.verdict == "cannot tell", report


# -- kinks along directions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["directional", "taylor"])
def test_wrong_code_on_kinks_stays_wrong(method: str) -> None:
    x = np.random.default_rng(0).integers(-2, 3, size=(4, 5)).astype(float)
    forward = lambda x: (np.maximum(x, 0.0), x)  # noqa: E731
    assert engine.check_gradients(forward, lambda d, x: d * (x > 0), [x], method).verdict == "kink"
    assert engine.check_gradients(forward, lambda d, x: 1.01 * d * (x > 0), [x], method).verdict == "wrong"


@pytest.mark.parametrize("method", ["directional", "taylor"])
def test_an_error_at_small_numbers_is_not_weighed_away(method: str) -> None:
    """Directions that move each number by a part of itself do not see those that are 0."""
    x = np.random.default_rng(6).normal(size=(4, 5))
    x[1], x[2, 3] = 0.0, 1e-6

    def backward(d: Any, x: Any) -> Any:
        dx = d * np.cos(x)
        dx[1, 2] *= 1.001
        dx[2, 3] *= 1.001
        return dx

    report = engine.check_gradients(lambda x: (np.sin(x), x), backward, [x], method)
    assert report.verdict == "wrong"


# -- roundings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [1, 7, 1 << 16])
def test_each_number_moves_by_one_rounding_however_many_are_drawn_at_once(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    shapes_and_types: list[tuple[Any, Any]] = [((3, 4), "f8"), ((), "f8"), ((5,), "f4"), ((2, 0), "f8"), ((2, 3), "f8")]
    before = [np.asarray(rng.normal(size=shape), dtype) for shape, dtype in shapes_and_types]
    whole, after, alone = np.arange(4), [one.copy() for one in before], [one.copy() for one in before]
    backend = engine.get_backend("numpy:reference")
    monkeypatch.setattr(roundings, "TOGETHER", together)
    roundings.jitter(backend, [*after[:2], whole, *after[2:]], np.random.default_rng(6))
    signs = np.random.default_rng(6)
    for old, new, one in zip(before, after, alone, strict=True):
        roundings.jitter(backend, [one], signs)
        assert new.dtype == old.dtype
        assert np.array_equal(new, one), "drawn together or one by one is the same"
        eps = np.finfo(old.dtype).eps
        assert (new != old).all()
        assert (np.abs(new / old - 1.0) <= 2 * eps).all()
    assert np.array_equal(whole, np.arange(4))
