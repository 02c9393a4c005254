"""`precision="bf16"` (rule 30) and `"fp16"`: what is rounded, against equations written out here; the option."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, KERNELS, build, distance, passes, random_arguments
from fake_cupy import use_backend

import engine
from benchmarks.speed.half_precision import errors
from engine.measuring.timed_step import TIMED_CELLS, TimedStep
from engine.training.architecture import describe_model
from engine.training.config import TrainConfig
from kernels.rounding import ROUNDINGS, round_to_bf16, round_to_fp16

T, B, D, H = 4, 3, 5, 6
LENGTHS = [4, 2, 0]


#: Significant bits, the power of two of the smallest number above 0, and the largest number.
FORMATS = {"bf16": (8, -133, 3.3895313892515355e38), "fp16": (11, -24, 65504.0)}


@pytest.fixture(params=["bf16", "fp16"])
def precision(request: Any) -> str:
    return str(request.param)


def rounded_exactly(precision: str, values: Any) -> np.ndarray:
    """Rounding by exact arithmetic, number by number, ties to even."""
    bits, smallest, largest = FORMATS[precision]

    def one(value: float) -> float:
        if value == 0 or not np.isfinite(value):
            return value
        power = max(int(np.floor(np.log2(abs(value)))) + 1 - bits, smallest)
        found = float(round(Fraction(value) / Fraction(2) ** power) * Fraction(2) ** power)  # Python: ties to even
        return found if abs(found) <= largest else np.inf * np.sign(value)

    return np.array([one(float(v)) for v in np.ravel(values)], np.float64).reshape(np.shape(values))


def test_rounding_is_to_nearest_and_ties_to_even(precision: str) -> None:
    rng, rounding = np.random.default_rng(1), ROUNDINGS[precision]
    powers = rng.integers(-30, 30, 400) if precision == "bf16" else rng.integers(-9, 6, 400)
    values = rng.normal(size=400) * 10.0**powers
    half_a_place = 0x8000 if precision == "bf16" else 0x1000
    ties = np.arange(0x3F800000, 0x3F800000 + 32 * half_a_place, half_a_place, dtype=np.uint32).view(np.float32)
    special = [0.0, -0.0, 1e-38, -3e-39, 1e-45, np.inf, -np.inf]
    given = np.concatenate([values.astype(np.float32), ties, -ties, np.array(special, np.float32)])
    found = rounding(np, given)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rounded_exactly(precision, given))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(given))
    np.testing.assert_array_equal(rounding(np, found), found)


def test_rounding_at_the_ends() -> None:
    """A NaN stays one, whatever its bits; what is past the largest bfloat16 by half a place is infinite."""
    ends = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F7F7FFF, 0x7F7F8000], np.uint32).view(np.float32)
    found = round_to_bf16(np, ends)
    assert np.isnan(found[:3]).all()
    assert found[3] == np.array(0x7F7F0000, np.uint32).view(np.float32)
    assert found[4] == np.inf
    every_second = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(round_to_bf16(np, every_second), every_second)


def test_rounding_to_half_numbers_at_the_ends() -> None:
    """The largest is 65504; half a place above it infinity begins; 2**-24 is the smallest, half of it is 0."""
    given = np.array([65504, 65519, 65520, -1e30, 2.0**-24, 2.0**-25, 1.5 * 2.0**-24, np.nan], np.float32)
    wanted = [65504, 65504, np.inf, -np.inf, 2.0**-24, 0, 2.0**-23, np.nan]
    np.testing.assert_array_equal(round_to_fp16(np, given), np.array(wanted, np.float32))


# -- the equations of rule 30, written out in float64 with rounded operands --------------------------------------------


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def lstm_by_hand(layer: Any, x: np.ndarray, state: Any, dy: np.ndarray) -> dict[str, np.ndarray]:
    """Forward and backward of one LSTM layer over all steps; every operand of a product is rounded, if not exempt."""

    def rounding(matrix: str) -> Callable[[Any], np.ndarray]:
        if any(fnmatch.fnmatchcase(f"{matrix}_l0", pattern) for pattern in layer.exempt):
            return lambda values: np.asarray(values, np.float64)
        return lambda values: rounded_exactly(layer.precision, values)

    inward, recurrent = rounding("weight_ih"), rounding("weight_hh")
    w_ih, w_hh = inward(layer.params["weight_ih_l0"]), recurrent(layer.params["weight_hh_l0"])
    bias = layer.params["bias_ih_l0"].astype(np.float64) + layer.params["bias_hh_l0"]
    h, c = state[0][0].astype(np.float64), state[1][0].astype(np.float64)
    tape, y = [], []
    for t in range(len(x)):
        before = h, c
        a = inward(x[t]) @ w_ih.T + bias + recurrent(h) @ w_hh.T
        a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * before[1] + i * g
        h = o * np.tanh(c)
        tape.append((before, i, f, g, o, c))
        y.append(h)
    c_last = c
    dh, dc, dx = np.zeros_like(h), np.zeros_like(c), np.zeros(x.shape)
    found = {f"dweight_{part}_l0": np.zeros(w.shape) for part, w in (("ih", w_ih), ("hh", w_hh))}
    found["dbias_ih_l0"] = np.zeros(bias.shape)
    for t in reversed(range(len(x))):
        (h_prev, c_prev), i, f, g, o, c = tape[t]
        dh = dh + dy[t]
        do, dc = dh * np.tanh(c), dc + dh * o * (1 - np.tanh(c) ** 2)
        da = [dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g * g), do * o * (1 - o)]
        joined = np.concatenate(da, axis=1)
        dx[t], dh, dc = inward(joined) @ w_ih, recurrent(joined) @ w_hh, dc * f
        found["dweight_ih_l0"] += inward(joined).T @ inward(x[t])
        found["dweight_hh_l0"] += recurrent(joined).T @ recurrent(h_prev)
        found["dbias_ih_l0"] += joined.sum(axis=0)
    found |= {"y": np.array(y), "last0": h[None], "last1": c_last[None], "dbias_hh_l0": found["dbias_ih_l0"]}
    return found | {"dx": dx, "dfirst0": dh[None], "dfirst1": dc[None]}


def half(kind: str, backend: str = "numpy:reference", precision: str = "bf16", **options: Any) -> Any:
    layers = options.pop("layers", 1)
    return build(kind, D, H, layers, dtype="float32", precision=precision, backend=backend, **options)


@pytest.mark.parametrize(
    ("precision", "exempt"), [("bf16", ()), ("fp16", ()), ("bf16", ("weight_hh*",)), ("bf16", ("weight_ih_l0",))]
)
@pytest.mark.parametrize("kernels", KERNELS)
def test_lstm_against_its_equations(kernels: str, precision: str, exempt: tuple[str, ...]) -> None:
    layer = half("lstm", f"numpy:{kernels}", precision, exempt=exempt)
    x, state, dy, _ = random_arguments(layer, T, B)
    found = passes(layer, x, state, dy, None)
    wanted = lstm_by_hand(layer, x, state, dy)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert distance(found[name], value) < 1e-6, name
    if exempt:
        return
    exact = passes(build("lstm", D, H, dtype="float32"), x, state, dy, None)
    least, most = (1e-4, 2e-2) if precision == "bf16" else (1e-5, 2e-3)
    assert all(least < distance(exact[name], value) < most for name, value in wanted.items() if name != "last1")


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", ["gru", "gru_before", "projected_lstm", "layernorm_lstm", "indrnn"])
def test_every_operand_and_nothing_else(kind: str, kernels: str, precision: str) -> None:
    """A layer whose weights, input and states are 16-bit numbers already differs only by what its steps make.

    With one step and no gradient but through the state, forward has no other operand: it is float32's to the last bit.
    """
    backend, rounding = f"numpy:{kernels}", ROUNDINGS[precision]
    layer, full = half(kind, backend, precision), build(kind, D, H, dtype="float32", backend=backend)
    x, state, _, _ = random_arguments(layer, 1, B)
    for model in (layer, full):
        for param in model.params.values():
            param[...] = rounding(np, param)
        model.touch()
    x = rounding(np, x)
    state = tuple(rounding(np, part) for part in state) if isinstance(state, tuple) else rounding(np, state)
    y, _, _ = layer.forward(x, state)
    wanted, _, _ = full.forward(x, state)
    if kind in ("gru_before", "projected_lstm"):  # r * h_prev and m are made within the step, and are rounded
        assert 1e-6 < distance(y, wanted) < 1e-2
    else:
        np.testing.assert_array_equal(y, wanted)
    assert not np.array_equal(rounding(np, y), y)  # the new state itself is not rounded


def test_the_same_numbers_from_another_library(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = use_backend("look-alike", monkeypatch)
    layer = half("gru", precision=precision, bidirectional=True)
    moved = layer.to(backend=there)
    assert moved.precision == precision
    x, state, dy, dstate = random_arguments(layer, T, B)
    there_x, there_state, there_dy, there_dstate = map(there.asarray, (x, state, dy, dstate))
    found = passes(moved, there_x, there_state, there_dy, there_dstate, LENGTHS)
    for name, value in passes(layer, x, state, dy, dstate, LENGTHS).items():
        assert distance(there.to_host(found[name]), value) < 1e-6, name


# Where a value lies near a tie, float32 sums in another order may round it to the other side: one place of a bfloat16,
# 0.4 %.  That is rare: of the few thousand values of a case here it happens to none in most cases.

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stacked, both directions, dropout": {"layers": 2, "bidirectional": True, "dropout": 0.3, "seed": 4},
    "recurrent masks": {"recurrent_dropout": 0.25, "weight_dropout": 0.25, "zoneout": 0.2, "seed": 5},
    "no bias, batch first": {"bias": False, "batch_first": True},
}


KINDS = (*FIVE_CELLS, "projected_lstm", "peephole_lstm")
CASES = [(kind, option, "bf16") for kind in KINDS for option in list(OPTIONS)[:2]]
CASES += [(kind, list(OPTIONS)[number % 2], "fp16") for number, kind in enumerate(KINDS)]
MORE = [("gru", "recurrent masks"), ("lstm", "no bias, batch first"), ("layernorm_gru", "plain")]
CASES += [(*case, precision) for case in MORE for precision in ("bf16", "fp16")]


@pytest.mark.parametrize(("kind", "option", "precision"), CASES)
def test_compiled_passes_against_array_code(kind: str, option: str, precision: str) -> None:
    for T, lengths in ((4, None), (5, [5, 2, 0]), (1, None)):
        layers = [half(kind, f"numpy:{kernels}", precision, **OPTIONS[option]) for kernels in KERNELS]
        arguments = random_arguments(layers[0], T, B)
        wanted, found = (passes(layer, *arguments, lengths) for layer in layers)
        for name, value in wanted.items():
            assert distance(found[name], value) < 3e-4, (name, T)
        x, state = arguments[:2]
        predicted, quiet = (layer.predict(x, state, lengths)[0] for layer in layers)
        assert distance(quiet, predicted) < 3e-4


@pytest.mark.parametrize(
    ("kind", "exempt"),
    [
        ("projected_lstm", ("weight_hr*", "weight_ih_l1")),
        ("projected_lstm", ("weight_h[hi]_l1_reverse",)),
        ("gru_before", ("weight_hh_l1*",)),
    ],
)
def test_exempt_matrices_in_compiled_passes(kind: str, exempt: tuple[str, ...], precision: str) -> None:
    options: dict[str, Any] = {"layers": 2, "bidirectional": True}
    layers = [half(kind, f"numpy:{kernels}", precision, exempt=exempt, **options) for kernels in KERNELS]
    arguments = random_arguments(layers[0], 5, B)
    wanted, found = (passes(layer, *arguments, [5, 2, 0]) for layer in layers)
    for name, value in wanted.items():
        assert distance(found[name], value) < 3e-4, name
    stepped = passes(half(kind, "numpy:numba", precision, **options), *arguments, [5, 2, 0])
    assert distance(found["y"], stepped["y"]) > 1e-6
    whole = passes(half(kind, "numpy:numba", precision, exempt=("*",), **options), *arguments, [5, 2, 0])
    plain = passes(build(kind, D, H, 2, dtype="float32", bidirectional=True), *arguments, [5, 2, 0])
    assert all(distance(whole[name], value) < 1e-6 for name, value in plain.items())


def test_a_window_of_many_rows_and_an_odd_one(precision: str) -> None:
    """More rows than the gradient of a weight takes at once, in all and within a step, and an odd number left."""
    for T, rows in ((3, 87), (2, 261)):
        found, wanted = (
            passes(layer, *random_arguments(layer, T, rows))
            for layer in (half("rnn_relu", f"numpy:{kernels}", precision) for kernels in ("numba", "reference"))
        )
        assert all(distance(found[name], value) < 1e-3 for name, value in wanted.items())
        assert distance(found["dweight_ih_l0"], wanted["dweight_ih_l0"]) < 1e-5


@pytest.mark.oracle
@pytest.mark.parametrize("cell", TIMED_CELLS)
def test_the_error_is_at_most_twice_that_of_pytorch(cell: str, torch: ModuleType) -> None:
    """Of y and all gradients against float64; PyTorch's layer has its weights, input and cotangent in bf16."""
    found = errors(TimedStep(cell, T=20, B=8, D=33, H=64))
    assert found["engine"] < 1e-5
    assert 1e-4 < found["engine-bf16"] <= 2 * found["torch-bf16"]
    assert 1e-5 < found["engine-fp16"] < found["engine-bf16"] / 4  # three bits more


# -- the option --------------------------------------------------------------------------------------------------------


def test_the_option_in_descriptions_and_copies(precision: str) -> None:
    layer = half("lstm", precision=precision)
    assert f"precision='{precision}'" in repr(layer)
    assert "precision" not in repr(build("lstm", D, H))
    assert layer.config()["args"]["precision"] == precision
    assert "precision" not in engine.LSTM(D, H, precision="float32").config()["args"]  # as older files have it
    assert layer.to(backend="numpy:reference").precision == precision
    assert engine.Sequential(layer).to(dtype="float64").layers[0].precision == "float32"
    assert all(param.dtype == np.float32 for param in layer.params.values())


def test_what_can_be_exempt() -> None:
    layer = half("gru", exempt=["weight_hh*"])
    assert layer.exempt == ("weight_hh*",)
    assert layer.config()["args"]["exempt"] == ["weight_hh*"]
    assert layer.to(backend="numpy").exempt == ("weight_hh*",)
    assert layer.to(dtype="float64").exempt == ()
    assert "exempt" not in half("gru").config()["args"]
    assert half("gru", exempt="weight_ih_l0").exempt == ("weight_ih_l0",)
    with pytest.raises(
        engine.InputError, match=r"^exempt: expected patterns that fit some of weight_ih_l0, weight_hh_l0"
    ):
        half("gru", exempt=("bias_*",))
    with pytest.raises(engine.InputError, match=r"^exempt: expected \(\) for a layer of precision 'float32'"):
        engine.GRU(D, H, exempt=("weight_hh*",))
    with pytest.raises(engine.InputTypeError, match=r"^exempt: expected patterns of the names of weights, as texts"):
        half("gru", exempt=3)


@pytest.mark.parametrize("given", ["float16", "BF16", 16, None, np.float32])
def test_other_precisions_are_refused(given: Any) -> None:
    with pytest.raises(engine.InputError, match=r"^precision: expected one of 'float32', 'bf16', 'fp16', got"):
        engine.Recurrent("mgu", D, H, precision=given)


def test_float64_has_no_half_precision(precision: str) -> None:
    with pytest.raises(engine.InputError, match=r"^precision: expected 'float32' for a layer of dtype float64"):
        engine.GRU(D, H, precision=precision, dtype="float64")


def test_a_gradient_check_is_of_the_equations(precision: str) -> None:
    """In float64 nothing is rounded; in float32 the rounding would count as an error, so the check is refused."""
    layer = half("gru", precision=precision)
    x, state, _, _ = random_arguments(layer, T, B)
    assert engine.gradcheck(layer, x, state, method="adjoint").passed
    assert layer.precision == precision
    with pytest.raises(
        engine.InputError, match=rf"^dtype: expected 'float64' for a layer with precision='{precision}'"
    ):
        engine.gradcheck(engine.Sequential(layer), x, dtype="float32")


def test_the_option_of_training_runs() -> None:
    """It is part of a model's description; a run without it says nothing of it, as older runs."""
    config, plain = TrainConfig(precision="bf16", layers=2, steps=9), TrainConfig(layers=2)
    (described,) = (part for part in describe_model(config, 7, 7)["args"]["layers"] if part["type"] == "LSTM")
    assert described["args"]["precision"] == "bf16"
    assert TrainConfig.from_json(config.to_json()) == config
    assert "precision" not in str(plain.to_json())
    assert "precision" not in str(describe_model(plain, 7, 7))
