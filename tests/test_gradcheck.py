"""The gradient check: right code passes for every cell and option, planted bugs do not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, KERNELS, build, random_arguments

import engine

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bidirectional": True},
    {"batch_first": True, "bidirectional": True},
    {"bias": False},
    {"dropout": 0.4},
    {"dropout": 0.4, "variational": True, "bidirectional": True},
]
#: Kernel set and lengths.
PAIRS = list(itertools.product(KERNELS, [None, [4, 0, 2]]))


@pytest.mark.parametrize("k", range(len(OPTIONS)), ids=["-".join(options) or "plain" for options in OPTIONS])
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_every_gradient_of_every_cell_and_option(kind: str, k: int) -> None:
    """Kernel sets and lengths in turn: every cell and every option meets all four pairs of them."""
    kernel_set, lengths = PAIRS[(k + FIVE_CELLS.index(kind)) % 4]
    options = OPTIONS[k]
    layer = build(kind, 2, 3, 2, backend=f"numpy:{kernel_set}", **options)
    x, state, _, _ = random_arguments(layer, 4, 3, 5)
    report = engine.gradcheck(layer, x, state, lengths)
    assert report.passed, report
    assert report.worst.error < 1e-7
    parameters = set(layer.params) | {"x", "h0"} | ({"c0"} if kind == "lstm" else set())
    assert {row.name for row in report.rows} == parameters


def test_it_leaves_the_layer_alone_and_checks_zeros_where_no_state_is_given() -> None:
    layer = build("lstm", 2, 3, 2, dropout=0.5, dtype="float32")
    before, counter = layer.state_dict(), layer.call_counter
    report = engine.gradcheck(layer, np.random.default_rng(0).normal(size=(4, 2, 2)))
    assert report.passed, report
    assert {"h0", "c0"} <= {row.name for row in report.rows}
    assert layer.call_counter == counter
    for name, value in before.items():
        np.testing.assert_array_equal(layer.params[name], value)
        assert (layer.grads[name] == 0).all()


def test_what_stands_in_a_pad_does_not_matter() -> None:
    layer = build("gru", 2, 3)
    x, state, _, _ = random_arguments(layer, 4, 2)
    x[2:, 1] = np.nan
    assert engine.gradcheck(layer, x, state, lengths=[4, 2]).passed
    x[1, 1] = np.nan
    assert engine.gradcheck(layer, x, state, lengths=[4, 2]).verdict == "non-finite"


def test_float32_backward_is_checked_against_float64_differences() -> None:
    layer = build("gru", 3, 4, dtype="float32", backend="numpy:numba")
    x, state, _, _ = random_arguments(layer, 5, 2)
    report = engine.gradcheck(layer, x, state, dtype="float32")
    assert report.passed, report
    assert 1e-9 < report.worst.error < 1e-4


METHODS = ("central", "complex", "rtrl", "directional", "adjoint", "taylor")


@pytest.mark.parametrize("kind", FIVE_CELLS)
@pytest.mark.parametrize("method", METHODS[1:])
def test_every_method_passes_right_gradients(kind: str, method: str) -> None:
    layers, lengths = [(2, None), (1, [4, 0, 2])][(METHODS.index(method) + FIVE_CELLS.index(kind)) % 2]
    layer = build(kind, 2, 3, layers, bidirectional=True, dropout=0.3 if layers == 2 else 0.0)
    x, state, _, _ = random_arguments(layer, 4, 3, 2)
    report = engine.gradcheck(layer, x, state, lengths, method=method)
    assert report.passed, report
    if method in ("complex", "rtrl", "adjoint"):
        assert report.worst.error < 1e-13


@pytest.mark.parametrize("method", METHODS)
def test_every_method_knows_every_layer(method: str) -> None:
    options: dict[str, Any] = {"dtype": "float64", "batch_first": True}
    model = engine.Sequential(
        engine.Embedding(7, 3, **options),
        engine.Dropout(0.4, **options),
        engine.Sequential(engine.GRU(3, 4, reset_after=False, **options), engine.Linear(4, 5, **options)),
    )
    ids = np.random.default_rng(0).integers(0, 7, size=(3, 5))
    for lengths in (None, [5, 0, 2]):
        report = engine.gradcheck(model, ids, lengths=lengths, method=method)
        assert report.passed, report
        assert {"0.weight", "2.0.weight_hh_l0", "2.1.bias", "2.0.h0"} <= {row.name for row in report.rows}


#: Options that are masks of the step itself; each cell meets one.
NOISE: list[dict[str, Any]] = [{"zoneout": 0.3}, {"weight_dropout": 0.3}, {"recurrent_dropout": 0.3}]
OTHERS = [name for name in engine.cells() if name not in FIVE_CELLS]


@pytest.mark.parametrize("k", range(2 * len(OTHERS)))
def test_the_other_cells_and_masks_within_a_step(k: int) -> None:
    """Cells, methods and masks in turn: every cell meets two methods, every method two cells or three."""
    name, method = OTHERS[k % len(OTHERS)], METHODS[(k + k // len(OTHERS)) % len(METHODS)]
    options = dict(NOISE[k % 3]) if name != "indrnn" else dict(NOISE[0])  # it has no recurrent weights to mask
    layer = build(name, 2, 4, **options)
    x, state, _, _ = random_arguments(layer, 4, 3, 2)
    if name == "slstm":  # n, what it divides by, is a sum of gates
        state = tuple(1 + abs(part) if letter == "n" else part for letter, part in zip("hcnm", state, strict=True))
    report = engine.gradcheck(layer, x, state, lengths=[4, 0, 2], method=method)
    assert report.passed, report


def test_adjoint_and_directional_checks_work_at_a_size_where_single_entries_would_take_hours() -> None:
    layer = build("lstm", 128, 256)
    layer.load_state_dict({name: 0.1 * value for name, value in layer.state_dict().items()})
    x, state, _, _ = random_arguments(layer, 5, 3)
    for method in ("adjoint", "directional"):
        report = engine.gradcheck(layer, x, state, method=method)
        assert report.passed, report


def test_a_nan_never_passes() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    for right in (True, False):

        def forward(x: Any, right: bool = right) -> tuple[Any, None]:
            return (2.0 * x if right else x * np.nan), None

        def backward(dout: Any, cache: Any, right: bool = right) -> Any:
            return dout * np.nan if right else 2.0 * dout

        assert engine.check_gradients(forward, backward, [x], tol=1e9).verdict == "non-finite"
    wrong = engine.check_gradients(lambda x: (2.0 * x, None), lambda d, c: (2.0 * d).T, [x])
    assert wrong.verdict == "wrong"
    assert "shape (3, 2) in place of (2, 3)" in str(wrong)
    assert engine.check_gradients(lambda x: (0.0 * x, None), lambda d, c: 0.0 * d, [x]).passed


# -- anyone's own pair of functions ------------------------------------------------------------------------------------


def scaled_tanh(x: Any, w: Any, ids: Any) -> tuple[Any, Any]:
    out = np.tanh(x @ w) * ids
    return out, (x, w, out, ids)


def scaled_tanh_backward(dout: Any, cache: Any, factor: float = 1.0) -> tuple[Any, Any, None]:
    x, w, out, ids = cache
    da = dout * ids * (1 - (out / ids) ** 2) * factor
    return da @ w.T, x.T @ da, None


def test_own_functions_in_the_course_convention() -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), np.array([2, 5])]
    frozen = [array.copy() for array in inputs]
    report = engine.check_gradients(scaled_tanh, scaled_tanh_backward, inputs)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["x", "w"]
    wrong = engine.check_gradients(scaled_tanh, lambda d, c: scaled_tanh_backward(d, c, 1.01), inputs)
    assert wrong.verdict == "wrong"
    assert wrong.worst.error == pytest.approx(0.01, rel=0.02)
    for array, before in zip(inputs, frozen, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("method", ["central", "complex", "directional", "taylor"])
def test_own_functions_by_every_method(method: str) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), np.array([2, 5])]
    assert engine.check_gradients(scaled_tanh, scaled_tanh_backward, inputs, method=method).passed
    wrong = engine.check_gradients(scaled_tanh, lambda d, c: scaled_tanh_backward(d, c, 1.2), inputs, method=method)
    assert wrong.verdict == "wrong"


def relu_pair(x: Any) -> tuple[Any, Any]:
    return np.maximum(x, 0.0), x


def test_a_kink_is_called_a_kink_and_a_wrong_gradient_beside_it_wrong() -> None:
    x = np.array([0.7, 0.0, -0.4, 1e-7, 2.0])
    for slope_at_zero in (0.0, 1.0, 0.5):

        def backward(dout: Any, x: Any, slope: float = slope_at_zero) -> Any:
            return dout * np.where(x == 0, slope, x > 0)

        report = engine.check_gradients(relu_pair, backward, [x])
        # halfway between the slopes is what a difference across the kink gives, too: there is nothing to object to
        assert report.verdict == ("ok" if slope_at_zero == 0.5 else "kink"), report
    assert engine.check_gradients(relu_pair, lambda d, c: d * 2.0 * (c > 0), [x]).verdict == "wrong"
    assert engine.check_gradients(relu_pair, lambda d, c: d * (c > 0), [x[[0, 2, 4]]]).passed


def test_fresh_noise_and_scribbling_are_told_apart_from_wrong_gradients() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2))

    def noisy(x: Any) -> tuple[Any, Any]:
        mask = rng.integers(0, 2, x.shape)
        return x * mask, mask

    def scribbling(x: Any) -> tuple[Any, Any]:
        out = 2.0 * x
        x[0, 0] += 1.0
        return out, None

    def scribbling_backward(dout: Any, cache: Any) -> Any:
        cache *= 0.0
        return 2.0 * dout

    before = x.copy()
    assert engine.check_gradients(noisy, lambda d, mask: d * mask, [x]).verdict == "non-deterministic"
    assert engine.check_gradients(scribbling, lambda d, c: 2.0 * d, [x]).verdict == "input mutated"
    assert engine.check_gradients(lambda x: (2.0 * x, x), scribbling_backward, [x]).verdict == "input mutated"
    np.testing.assert_array_equal(x, before)


def test_a_function_that_drops_the_imaginary_part_cannot_be_told() -> None:
    def real_part_only(x: Any) -> tuple[Any, Any]:
        buffer = np.empty(x.shape)
        buffer[...] = np.real(x)
        return buffer**2, buffer

    report = engine.check_gradients(real_part_only, lambda d, c: 2 * c * d, [np.ones(3)], method="complex")
    assert report.verdict == "cannot tell"
    assert not report.passed


def test_bad_arguments_are_named() -> None:
    with pytest.raises(engine.InputError, match=r"method: expected one of 'central', .*, got 'adjoint'"):
        engine.check_gradients(lambda x: (x, None), lambda d, c: d, [np.ones(3)], method="adjoint")
    layer = build("lstm", 2, 3)
    with pytest.raises(
        engine.InputTypeError, match=r"layer: expected a layer of engine, or an object with forward, .*, got 'abc'"
    ):
        engine.gradcheck("abc", np.ones((2, 2, 2)))
    with pytest.raises(engine.InputTypeError, match="backward: expected a gradient for x, got None"):
        engine.check_gradients(lambda x: (x, None), lambda d, c: None, [np.ones(3)])
    with pytest.raises(engine.InputError, match=r"method: expected one of 'central', 'directional', .*, got 'magic'"):
        engine.gradcheck(layer, np.ones((2, 2, 2)), method="magic")
    with pytest.raises(engine.InputError, match="backward: expected 1 gradient, for the one input, got 2"):
        engine.check_gradients(lambda x: (x, None), lambda d, c: (d, d), [np.ones(3)])
    with pytest.raises(engine.InputError, match="inputs: expected at least one float array, got none"):
        engine.check_gradients(lambda: (0, None), lambda d, c: d, [])
