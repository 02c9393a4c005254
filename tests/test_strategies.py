"""The strategies that users import: what they promise, and that every problem is one the gradient check can judge."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import leaves
from hypothesis import find, given, settings
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.checking import strategies
from engine.checking.strategies import layers_and_problems, sizes_and_arrays

MANY = settings(settings.get_profile("ci"), max_examples=300)


@pytest.mark.usefixtures("few_examples")
def test_the_examples_in_the_docstrings_run() -> None:
    found = [doctest.testmod(module, extraglobs=vars(strategies)) for module in (sizes_and_arrays, layers_and_problems)]
    assert all(one.failed == 0 for one in found)
    assert all(one.attempted > 8 for one in found)


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import engine.checking.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: engine.checking.strategies needs hypothesis, which is not installed: pip install hypothesis"
    )


# -- sizes and lengths -------------------------------------------------------------------------------------------------


@given(strategies.sizes())
def test_sizes_differ(size: strategies.Sizes) -> None:
    assert len(set(size)) == 4
    assert size.T >= 3
    assert min(size) >= 1


@given(st.data())
def test_sizes_keep_to_their_ranges_and_never_run_into_a_dead_end(data: st.DataObject) -> None:
    """Four overlapping ranges, some so tight that only a few choices of the first leave one for the last."""
    one = st.tuples(st.integers(1, 5), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair)))
    ranges = data.draw(st.tuples(one, one, one, one))
    possible = any(
        len({a, b, c, d}) == 4
        for a in range(ranges[0][0], ranges[0][1] + 1)
        for b in range(ranges[1][0], ranges[1][1] + 1)
        for c in range(ranges[2][0], ranges[2][1] + 1)
        for d in range(ranges[3][0], ranges[3][1] + 1)
    )
    if not possible:
        with refused(engine.InputError, "sizes: expected ranges with four different sizes, got"):
            strategies.sizes(*ranges)
        return
    size = data.draw(strategies.sizes(*ranges))
    assert len(set(size)) == 4
    assert all(low <= n <= high for n, (low, high) in zip(size, ranges, strict=True))


def test_equal_sizes_come_up_where_they_are_allowed() -> None:
    assert find(strategies.sizes(4, 4, 4, 4, distinct=False), lambda size: True) == (4, 4, 4, 4)


@given(st.integers(1, 9), st.integers(1, 5), st.booleans(), st.data())
def test_lengths_lie_in_range(T: int, B: int, zero: bool, data: st.DataObject) -> None:
    rows = data.draw(strategies.lengths(T, B, zero))
    assert len(rows) == B
    assert all((0 if zero else 1) <= row <= T for row in rows)


@pytest.mark.parametrize("zero", [True, False])
def test_the_ends_come_up_often(zero: bool) -> None:
    seen: list[int] = []

    @MANY
    @given(strategies.lengths(100, 4, zero))
    def collect(rows: list[int]) -> None:
        seen.extend(rows)

    collect()
    for end in (100, 0 if zero else 1):
        assert seen.count(end) > len(seen) / 10
    assert any(1 < row < 100 for row in seen)


# -- arrays and states -------------------------------------------------------------------------------------------------


@given(strategies.dtypes(), st.sampled_from([5, (3, 3), (4, 2, 3)]), st.sampled_from([1e-30, 1.0, 1e29]), st.data())
def test_arrays_are_finite_and_alike_nowhere(dtype: str, shape: Any, scale: float, data: st.DataObject) -> None:
    array = data.draw(strategies.arrays(shape, dtype, scale))
    assert array.dtype == dtype
    assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert np.isfinite(array).all()
    assert np.unique(array).size == array.size
    if shape == (3, 3):
        assert not np.array_equal(array, array.T)
    assert 0.1 * scale < np.abs(array).max() < 10 * scale


def _sequential() -> Any:
    return engine.Sequential(engine.Embedding(7, 2), engine.LSTM(2, 3, 2), engine.GRU(3, 4, bidirectional=True))


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (lambda: engine.LSTM(2, 3, 2, bidirectional=True, dtype="float64"), [(4, 5, 3), (4, 5, 3)]),
        (lambda: engine.RNN(2, 3, batch_first=True), [(1, 5, 3)]),
        (_sequential, [(2, 5, 3), (2, 5, 3), (2, 5, 4)]),
        (lambda: engine.Linear(2, 3), []),
    ],
    ids=["lstm", "rnn", "sequential", "linear"],
)
def test_states_have_the_structure_of_the_layer(build: Callable[[], Any], shapes: list[tuple[int, ...]]) -> None:
    layer = build()
    seen = []

    @MANY
    @given(strategies.states(layer, 5))
    def collect(state: Any) -> None:
        seen.append(state is None)
        parts = leaves(state)
        assert state is None or [part.shape for part in parts] == shapes
        assert all(part.dtype == layer.dtype for part in parts)
        assert len({part.tobytes() for part in parts}) == len(parts)

    collect()
    assert any(seen)
    assert not all(seen) or not shapes


@given(strategies.states(engine.GRU(2, 3), 4, none=False))
def test_a_state_is_given_where_it_is_asked_for(state: Any) -> None:
    assert state.shape == (1, 4, 3)


# -- layers and problems -----------------------------------------------------------------------------------------------


def test_every_kind_and_option_comes_up() -> None:
    seen: dict[str, set[Any]] = {}

    @MANY
    @given(strategies.layers(max_layers=3))
    def collect(layer: Any) -> None:
        seen.setdefault("kind", set()).add(layer.cell.name)
        for name in ("num_layers", "bias", "batch_first", "bidirectional", "dropout", "variational"):
            seen.setdefault(name, set()).add(getattr(layer, name))
        for param in layer.params.values():  # an LSTM is born with equal biases of its forget gate
            assert np.unique(param).size == param.size

    collect()
    assert seen == {
        "kind": set(strategies.FIVE_CELLS),
        "num_layers": {1, 2, 3},
        **{name: {False, True} for name in ("bias", "batch_first", "bidirectional", "variational")},
        "dropout": {0.0, 0.3},
    }


@given(strategies.layers("gru_before", max_layers=3, D=4, H=(5, 6), dtype="float32", bias=False, dropout=0.5))
def test_what_is_given_is_not_drawn(layer: Any) -> None:
    assert isinstance(layer, engine.GRU)
    assert not layer.reset_after
    assert layer.dtype == np.float32
    assert layer.input_size == 4
    assert layer.hidden_size in (5, 6)
    assert not layer.bias
    assert layer.dropout == 0.5


@settings(max_examples=min(20, settings().max_examples))
@given(strategies.problems())
def test_every_problem_passes_the_gradient_check(problem: strategies.Problem) -> None:
    layer, x, _, lengths = problem
    T, B = (x.shape[1], x.shape[0]) if layer.batch_first else x.shape[:2]
    assert len({T, B, layer.input_size, layer.hidden_size}) == 4
    assert lengths is None or (len(lengths) == B and max(lengths) == T)
    report = engine.gradcheck(*problem, method="adjoint")
    assert report.passed, report


@pytest.mark.parametrize("part", ["state", "lengths"])
@pytest.mark.parametrize("absent", [True, False])
def test_problems_come_with_and_without(part: str, absent: bool) -> None:
    def fits(problem: strategies.Problem) -> bool:
        return (getattr(problem, part) is None) == absent

    find(strategies.problems(), fits)


def test_a_problem_says_in_a_line_what_it_is() -> None:
    size = st.just(strategies.Sizes(T=4, B=3, D=2, H=5))
    words = repr(
        find(strategies.problems("lstm", 1, size=size, bias=True), lambda problem: problem.lengths is not None)
    )
    assert words.startswith("Problem(LSTM(input_size=2, hidden_size=5, num_layers=1, bias=True, ")
    assert words.endswith("x (4, 3, 2), state None, lengths [4, 4, 4])")


def test_bad_arguments_are_named() -> None:
    with refused(engine.InputError, "T: expected an integer >= 1, got 0"):
        strategies.sizes(T=0)
    with refused(engine.InputError, "H: expected an integer >= 6, got 2"):
        strategies.sizes(H=(6, 2))
    with refused(engine.InputError, "B: expected a size, or the smallest and the largest one, got 3 numbers"):
        strategies.sizes(B=(1, 2, 3))  # type: ignore[arg-type]
    with refused(engine.InputTypeError, "T: expected an integer >= 1, got 2.5"):
        strategies.lengths(2.5, 3)  # type: ignore[arg-type]
    with refused(engine.InputError, "shape: expected an integer >= 0, got -1"):
        strategies.arrays((3, -1))
    with refused(engine.InputError, "scale: expected a number >= 1e-30 and < 1e+30, got 0"):
        strategies.arrays(3, scale=0)
    with refused(engine.InputError, "dtype: expected", "float16"):
        strategies.arrays(3, "float16")
    with refused(engine.InputTypeError, "layer: expected a layer of engine, got 3"):
        strategies.states(3, 4)  # type: ignore[arg-type]
    for strategy in (strategies.layers, strategies.problems):
        with refused(engine.InputError, "kinds: expected one of ", "'rnn_tanh', ", "got 'gru_after'"):
            strategy(["lstm", "gru_after"])
        with refused(engine.InputError, "kinds: expected at least one, got none"):
            strategy([])
    with refused(engine.InputTypeError, "size: expected a strategy such as sizes(), got a engine.Sizes"):
        strategies.problems(size=strategies.Sizes(3, 1, 2, 4))  # type: ignore[arg-type]
