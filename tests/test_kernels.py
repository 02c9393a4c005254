"""The kernel sets: activations to the last bits, compiled loops against the reference, and who really ran."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, KERNELS, build, distance, passes, random_arguments
from hypothesis import given
from hypothesis import strategies as st

import engine
import kernels
from kernels.activations import activations
from kernels.cpu import loops
from kernels.gates import cells
from kernels.reference import ReferenceKernels

POINTS = np.concatenate(
    [
        [0.0, 1e-30, 1e-8, 1e-4, 0.02, 0.3466, 0.35, 0.7, 1.0, 5.0, 8.9, 9.2, 19.9, 20.1, 40.0, 88.0, 100.0, 1e3, 1e30],
        np.geomspace(1e-6, 80.0, 500),
    ]
)
POINTS = np.concatenate([POINTS, -POINTS])


def numba_scalar(name: str) -> Any:
    """The compiled activation of one number."""
    import numba

    from kernels.cpu import activations as numba_math

    function = getattr(numba_math, name)
    return numba.njit(lambda x: function(x))


def exact(name: str, x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        value = Decimal(float(x))
        if name in ("exp", "log"):
            return value.exp() if name == "exp" else value.ln()
        if name == "tanh":
            if abs(value) > 200:
                return Decimal(1).copy_sign(value)
            above, below = value.exp(), (-value).exp()
            return (above - below) / (above + below)
        return 1 / (1 + (-value).exp()) if value > -(10**6) else Decimal(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "exp", "log"])
@pytest.mark.parametrize("kernel_set", KERNELS)
def test_activations_are_right_to_a_few_units_in_the_last_place(kernel_set: str, name: str, dtype: type[Any]) -> None:
    points = POINTS.astype(dtype)
    if name == "exp":  # up to where it is inf
        edge = 0.9999 * np.log(np.finfo(dtype).max)
        points = np.append(points[abs(points) < edge], np.linspace(edge - 1, edge, 20, dtype=dtype))
    elif name == "log":
        points = np.append(points[points > 0], np.geomspace(np.finfo(dtype).tiny / 64, 3, 50).astype(dtype))
    if kernel_set == "numba":
        function = numba_scalar(name)
        found = np.array([function(x) for x in points], dtype=dtype)
    else:
        found = activations(np)[name](points)
    assert found.dtype == dtype
    for x, y in zip(points, found, strict=True):
        wanted = exact(name, x)
        unit = Decimal(float(np.spacing(dtype(abs(float(wanted))))))
        # a sigmoid or exp below the smallest normal number may be 0 in compiled code
        vanished = kernel_set == "numba" and wanted < Decimal(float(np.finfo(dtype).tiny)) and y == 0
        assert vanished or abs(Decimal(float(y)) - wanted) <= 4 * unit, (name, x, y, wanted)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "exp", "log"])
def test_activations_keep_a_nan_in_sight(name: str) -> None:
    for dtype in (np.float32, np.float64):
        assert np.isnan(activations(np)[name](np.array([np.nan], dtype)))[0]
        assert np.isnan(numba_scalar(name)(dtype(np.nan)))


@np.errstate(all="ignore")  # where nothing is compiled, NumPy warns
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_log_and_maximum_at_their_ends(dtype: type[Any]) -> None:
    exp, log, inf = numba_scalar("exp"), numba_scalar("log"), dtype(np.inf)
    assert (exp(inf), exp(-inf), exp(dtype(0))) == (inf, 0, 1)
    assert (exp(dtype(1e4)), exp(dtype(-1e4))) == (inf, 0)
    assert (log(inf), log(dtype(0)), log(dtype(1))) == (inf, -inf, 0)
    assert np.isnan(log(dtype(-1)))
    import numba

    from kernels.cpu import activations as numba_math

    larger = numba.njit(lambda a, b: numba_math.maximum(a, b))
    assert larger(dtype(2), dtype(-3)) == larger(dtype(-3), dtype(2)) == 2
    for a, b in ((np.nan, 1.0), (1.0, np.nan)):  # as in the array steps, which ask "is a at least b?"
        wanted = activations(np)["maximum"](np.array([a], dtype), np.array([b], dtype))[0]
        np.testing.assert_equal(larger(dtype(a), dtype(b)), wanted)


@pytest.mark.parametrize("kernel_set", KERNELS)
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_saturated_gates_raise_no_floating_point_error(kind: str, kernel_set: str) -> None:
    layer = build(kind, 2, 3, dtype="float32", backend=f"numpy:{kernel_set}")
    layer.load_state_dict({name: 1e-30 * value for name, value in layer.state_dict().items()})
    bias = layer.params["bias_ih_l0"]
    with np.errstate(all="raise"):
        for value in (-3e4, 3e4) if kind != "rnn_relu" else (-3e4,):
            bias[...] = value
            x, state, dy, dstate = random_arguments(layer, 3, 2)
            found = passes(layer, x, state, dy, dstate)
            assert all(np.isfinite(part).all() for part in found.values())
        for dtype in (np.float32, np.float64):
            for name in ("sigmoid", "tanh"):
                largest = np.finfo(dtype).max
                y = activations(np)[name](np.array([-largest, -150, -800, 800, largest], dtype))
                assert np.isfinite(y).all()


def test_sigmoid_of_minus_forty_keeps_its_digits() -> None:
    assert activations(np)["sigmoid"](np.array([-40.0]))[0] == pytest.approx(4.248354255291589e-18, rel=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_complex_activations_carry_a_derivative_in_their_imaginary_part(name: str) -> None:
    function = activations(np)[name]
    x = np.array([-30.0, -3.0, -0.2, 0.4, 2.0, 30.0])
    step = 1e-30
    slope = function(x + 1j * step).imag / step
    y = function(x)
    wanted = {"sigmoid": y * function(-x), "tanh": 1 / np.cosh(x) ** 2, "relu": (x > 0) * 1.0}[name]
    np.testing.assert_allclose(slope, wanted, rtol=1e-12)


# -- compiled against reference ------------------------------------------------------------------------------------

shapes = st.fixed_dictionaries(
    {
        "T": st.integers(1, 9),
        "B": st.integers(1, 5),
        "D": st.integers(1, 4),
        "H": st.integers(1, 19),
        "layers": st.integers(1, 2),
        "bidirectional": st.booleans(),
        "batch_first": st.booleans(),
        "bias": st.booleans(),
        "with_lengths": st.booleans(),
        "seed": st.integers(0, 2**20),
    }
)


def widen(value: Any) -> Any:
    return tuple(map(widen, value)) if isinstance(value, tuple) else value.astype(np.float64)


def both(kind: str, s: dict[str, Any], dtype: str) -> tuple[Any, Any, tuple[Any, Any, Any, Any], Any]:
    options = {k: s[k] for k in ("bidirectional", "batch_first", "bias")}
    reference = build(kind, s["D"], s["H"], s["layers"], dtype=dtype, **options)
    compiled = reference.to(backend="numpy:numba")
    arguments = random_arguments(reference, s["T"], s["B"], s["seed"])
    lengths = np.random.default_rng(s["seed"]).integers(0, s["T"] + 1, s["B"]) if s["with_lengths"] else None
    return reference, compiled, arguments, lengths


@pytest.mark.parametrize("kind", FIVE_CELLS)
@given(s=shapes)
def test_numba_equals_reference_in_float64(kind: str, s: dict[str, Any]) -> None:
    reference, compiled, arguments, lengths = both(kind, s, "float64")
    wanted = passes(reference, *arguments, lengths)
    found = passes(compiled, *arguments, lengths)
    for name, value in wanted.items():
        assert distance(found[name], value) <= 1e-12, name


@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_numba_in_float32_is_as_near_to_the_truth_as_the_reference(kind: str) -> None:
    """Largest error over a whole sequence at most four times that of the float32 reference."""
    s = {"T": 40, "B": 5, "D": 7, "H": 33, "layers": 2, "bidirectional": False, "batch_first": False, "bias": True}
    reference, compiled, arguments, _ = both(kind, {**s, "with_lengths": False, "seed": 3}, "float32")
    # weights of the size that training starts from: a chaotic net multiplies the last bit's luck in either kernel set
    small = {name: 0.6 * value for name, value in reference.state_dict().items()}
    reference.load_state_dict(small)
    compiled.load_state_dict(small)
    truth_layer = reference.to(dtype="float64")
    x, state, dy, dstate = map(widen, arguments)
    truth = passes(truth_layer, x, state, dy, dstate)
    plain = passes(reference, *arguments)
    fast = passes(compiled, *arguments)
    for name, value in truth.items():
        assert fast[name].dtype == np.float32
        assert distance(fast[name], value) <= 4 * max(distance(plain[name], value), 1e-7), name


@pytest.mark.parametrize("kind", FIVE_CELLS)
@pytest.mark.parametrize("with_lengths", [False, True])
def test_traces_of_both_kernel_sets_agree(kind: str, with_lengths: bool) -> None:
    s = {"T": 6, "B": 4, "D": 3, "H": 5, "layers": 2, "bidirectional": True, "batch_first": False, "bias": True}
    reference, compiled, arguments, lengths = both(kind, {**s, "with_lengths": with_lengths, "seed": 1}, "float64")
    x, state, dy, dstate = arguments
    traces = []
    for layer in (reference, compiled):
        _, _, tape = layer.forward(x, state, lengths)
        traces.append(layer.backward_trace(tape, dy, dstate))
    for one, other in zip(sum(traces[0].layers, ()), sum(traces[1].layers, ()), strict=True):
        assert distance(other.dh, one.dh) <= 1e-12
        assert (one.dc is None) == (other.dc is None) == (kind != "lstm")
        if one.dc is not None:
            assert distance(other.dc, one.dc) <= 1e-12
        for name in one.gates:
            assert distance(other.gates[name], one.gates[name]) <= 1e-12


# -- who ran -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIVE_CELLS)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}, {"batch_first": True}])
@pytest.mark.parametrize("lengths", [None, [3, 0, 2]])
def test_the_kernel_set_that_was_asked_for_is_the_one_that_runs(
    kind: str, options: dict[str, Any], lengths: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for name, cell in cells().items():
        if not any(work.between for work in cell.works):
            true = loops.loops_of(cell)
            assert true is not None
            spies = {way: _spy(getattr(true, way), f"{name} {way}", ran) for way in ("forward", "backward")}
            monkeypatch.setitem(loops._LOOPS, cell, true._replace(**spies))
    monkeypatch.setattr(ReferenceKernels, "forward", _must_not_run)
    monkeypatch.setattr(ReferenceKernels, "backward", _must_not_run)
    layer = build(kind, 2, 4, 2, backend="numpy:numba", **options)
    x, state, dy, dstate = random_arguments(layer, 3, 3)
    passes(layer, x, state, dy, dstate, lengths)
    layer.predict(x, state, lengths)
    assert set(ran) == {f"{kind} forward", f"{kind} backward"}


def _spy(loop: Any, label: str, ran: list[str]) -> Any:
    def run(*arguments: Any) -> None:
        ran.append(label)
        loop(*arguments)

    return run


def _must_not_run(*_: Any, **__: Any) -> Any:
    raise AssertionError("fell back to the reference kernels")


def test_a_missing_numba_is_an_error_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(kernels, "reason_missing", lambda name: "numba is not installed" if name == "numba" else None)
    with pytest.raises(engine.EngineError, match="kernels 'numba' cannot be used here: numba is not installed"):
        engine.get_backend("numpy", kernels="numba")
    assert engine.get_backend("numpy").kernels.name == "reference"


# -- compiling -----------------------------------------------------------------------------------------------------

PROGRAM = """
import numpy as np, engine
layer = engine.RNN(2, 3, dtype="float32", backend="numpy:numba")
y, state, tape = layer.forward(np.ones((2, 1, 2), np.float32))
layer.backward(tape, np.ones_like(y))
print(float(y.sum()))
"""


@pytest.mark.slow
@pytest.mark.proof
def test_compiling_says_so_once_and_a_changed_equation_compiles_again(tmp_path: Path) -> None:
    root = Path(engine.__file__).parents[1]
    for package in ("engine", "kernels"):
        for source in (root / package).rglob("*.py"):
            target = tmp_path / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())

    def run() -> tuple[float, str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
        )
        return float(done.stdout), done.stderr

    value, said = run()
    line = r"bptt-engine: compiling the kernels for float32, about \d+ s \(once; kept on disk\)\n"
    assert re.fullmatch(line, said), said
    assert run() == (value, "")
    equations = tmp_path / "kernels" / "gates" / "rnn.py"
    equations.write_text(equations.read_text().replace("    h = act(a_h)\n", "    h = act(a_h + a_h)\n"))
    changed, said = run()
    assert re.fullmatch(line, said), said
    assert changed != value
