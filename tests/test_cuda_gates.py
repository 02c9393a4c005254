"""The gate functions on the GPU are those of the cells: translated, compiled, and compared number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_sim.hostkernel import HostKernel, build
from cuda_sim.own_cells import EVERY

from kernels.activations import library
from kernels.cuda import modules, translate
from kernels.cuda.translate import Way
from kernels.equations import Equation, read

pytestmark = pytest.mark.device

PRELUDE = modules.text("prelude.cuh")


def probe(call: str, arguments: int, results: int, name: str) -> str:
    """A kernel that applies one function to columns of numbers; a struct of results holds nothing but numbers."""
    given = ", ".join(f"in[{i} * n + e]" for i in range(arguments))
    store = (
        f"const auto s = {call}({given}); for (int i = 0; i < {results}; ++i) out[i * n + e] = ((const real*)&s)[i];"
    )
    head = f'extern "C" __global__ void probe_{name}(const real* in, real* out, int n)'
    return f"{head} {{ const int e = threadIdx.x; {store} }}\nEXPORT_KERNEL(probe_{name})\n"


def expected(equation: Equation, known: dict[str, Any], columns: np.ndarray) -> np.ndarray:
    """What the Python function makes of the columns."""
    given = iter(columns)
    result = equation.function(*(known[name] if name in known else next(given) for name in equation.arguments))
    return np.stack(result if isinstance(result, tuple) else (result,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_translated_function_equals_its_python(dtype: str) -> None:
    rng, n = np.random.default_rng(0), 64
    right, sources = {}, []
    for cell in EVERY.values():
        known = library(np, cell.act, np.dtype(dtype).type(1))
        sources.append(translate.functions(cell))
        for phase, work in enumerate(cell.works):
            ways: tuple[tuple[Way, Equation], ...] = (("forward", work.forward), ("backward", work.backward))
            for way, equation in ways:
                columns = rng.standard_normal((len(translate.arguments(equation)), n)).astype(dtype)
                name = translate.function_name(cell, phase, way)
                right[name] = columns, expected(equation, known, columns)
                sources.append(probe(name, len(columns), len(equation.results), name))
    built = build("\n".join([PRELUDE, *sources]), modules.options(dtype))
    for name, (columns, result) in right.items():
        assert result.dtype == dtype
        out = np.empty_like(result)
        HostKernel(built, f"probe_{name}")((1,), (n,), (columns, out, np.int32(n)))
        close = 64 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(out, result, rtol=close, atol=close, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "exp", "log", "maximum", "tanh_slope", "relu_slope"])
def test_activations_keep_their_digits_and_never_overflow(name: str, dtype: str) -> None:
    size = 80.0 if name == "exp" else 1e30
    points = np.minimum([0, 1e-8, 0.3, 1, 5, 40, 79, 1e3, 1e30], size if "slope" not in name else 1.0)
    x = np.concatenate([points, -points, [np.nan]]).astype(dtype)
    one = np.dtype(dtype).type(1)
    known = library(np, name.partition("_")[0] if "slope" in name else "tanh", one)
    call, given = f"{name}_real", [x]
    if name == "maximum":
        given.append(x[::-1].copy())
    if "slope" in name:
        call, given = name, [x, np.full_like(x, one)]
    function = known["act_slope"] if "slope" in name else known[name]
    with np.errstate(all="ignore"):
        right = function(*given)
    out = np.empty_like(x)
    built = build(PRELUDE + probe(call, len(given), 1, name), modules.options(dtype))
    HostKernel(built, f"probe_{name}")((1,), (x.size,), (np.stack(given), out, np.int32(x.size)))
    np.testing.assert_allclose(out, right, rtol=4 * float(np.finfo(dtype).eps), atol=0)
    assert np.isnan(out[-1]) == np.isnan(right[-1])


def arithmetic(a: Any, b: Any, c: Any, zero: Any) -> Any:
    d = a - (b - c)
    e = a * (b * c) + (a - b) * c
    f = a / (b / c) / (a * b) - a / b * c
    g = -(a + b) * -c + (+a) - (-b - 2) * 1e-3
    k = a * (b > c) + (a.real <= 0.5) * (b + (c - zero))
    return d, e, f, g, k


def names(do: Any, σ: Any, real: Any, int_: Any, x_t: Any, VEC: Any) -> Any:
    asm = do * σ
    do = asm + real
    double_ = do - int_
    EXPORT_KERNEL = double_ * x_t + VEC
    return asm, do, double_, EXPORT_KERNEL, σ


@pytest.mark.parametrize("function", [arithmetic, names])
def test_brackets_signs_and_names_that_c_keeps_for_itself(function: Any) -> None:
    equation = read("probe", function)
    columns = np.random.default_rng(1).standard_normal((len(translate.arguments(equation)), 32))
    right = expected(equation, {"zero": 0.0}, columns)
    source = translate.translate("translated", equation, "tanh") + probe("translated", len(columns), len(right), "it")
    out = np.empty_like(right)
    HostKernel(build(PRELUDE + source, modules.options("float64")), "probe_it")(
        (1,), (32,), (columns, out, np.int32(32))
    )
    np.testing.assert_allclose(out, right, rtol=1e-13)


def test_the_text_reads_as_the_equations_do() -> None:
    text = translate.functions(EVERY["lstm"])
    assert "real c = f * c_prev + i * g;" in text
    assert "real h = o * tanh_real(c);" in text
    text = translate.translate("f", read("probe", arithmetic), "tanh")
    assert "real d = a - (b - c);" in text
    assert "real e = a * (b * c) + (a - b) * c;" in text
