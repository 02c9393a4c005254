"""The gate equations on the GPU are those of kernels/gates.py: translated, compiled, and compared number by number."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from cuda_sim.cases import STEPWISE, by_plan, distance, make_case
from cuda_sim.hostkernel import HostKernel, build
from cuda_sim.little_cupy import LittleCupy

from kernels import gates
from kernels.activations import activations
from kernels.cuda import modules, translate

pytestmark = pytest.mark.device

FUNCTIONS = {name: value for name, value in vars(gates).items() if inspect.isfunction(value)}
#: The functions that take another one, with each that they are compiled for, in CUDA and in Python.
ACT = activations(np)
TEMPLATES = {
    "rnn_forward": {"tanh_real": ACT.tanh, "relu_real": ACT.relu},
    "rnn_backward": {"tanh_slope": gates.tanh_slope, "relu_slope": gates.relu_slope},
}
PRELUDE = modules.source("stepwise").partition("// Generated from")[0]


def calls() -> list[tuple[str, str, Any]]:
    """(CUDA expression, Python name, what Python is given for its function argument) of everything to be called."""
    found: list[tuple[str, str, Any]] = []
    for name in FUNCTIONS:
        for template, function in TEMPLATES.get(name, {"": None}).items():
            found.append((f"{name}<{template}>" if template else name, name, function))
    return found


def probe(call: str, arguments: int, results: int) -> str:
    """A kernel that applies one function to columns of numbers."""
    given = ", ".join(f"in[{i} * n + e]" for i in range(arguments))
    if results == 1:
        store = f"out[e] = {call}({given});"
    else:
        # a result struct holds nothing but numbers
        store = f"auto s = {call}({given}); for (int i = 0; i < {results}; ++i) out[i * n + e] = ((const real*)&s)[i];"
    name = "probe_" + re.sub(r"\W", "_", call)
    head = f'extern "C" __global__ void {name}(const real* in, real* out, int n)'
    return f"{head} {{ const int e = threadIdx.x; {store} }}\nEXPORT_KERNEL({name})\n"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_translated_function_equals_its_python(dtype: str) -> None:
    rng = np.random.default_rng(0)
    one = np.dtype(dtype).type(1)
    n = 64
    expected, sources = {}, []
    for call, name, function in calls():
        known = {"sigmoid": ACT.sigmoid, "tanh": ACT.tanh, "one": one, "act": function, "act_slope": function}
        parameters = list(inspect.signature(FUNCTIONS[name]).parameters)
        numbers = rng.standard_normal((sum(p not in known for p in parameters), n)).astype(dtype)
        columns = iter(numbers)
        result = FUNCTIONS[name](*(known[p] if p in known else next(columns) for p in parameters))
        result = np.stack(result) if isinstance(result, tuple) else result[None]
        expected[call] = numbers, result
        sources.append(probe(call, len(numbers), len(result)))
    library = build("\n".join([PRELUDE, translate.header(), *sources]), modules.options(dtype))
    for call, (numbers, result) in expected.items():
        out = np.empty_like(result)
        HostKernel(library, "probe_" + re.sub(r"\W", "_", call))((1,), (n,), (numbers, out, np.int32(n)))
        close = 8 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(out, result, rtol=close, atol=close, err_msg=call)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_activations_keep_their_digits_and_never_overflow(name: str, dtype: str) -> None:
    points = np.array([0, 1e-8, 0.3, 1, 5, 40, 88, 1e3, 1e30])
    x = np.concatenate([points, -points]).astype(dtype)
    out = np.empty_like(x)
    library = build(PRELUDE + probe(f"{name}_real", 1, 1), modules.options(dtype))
    HostKernel(library, f"probe_{name}_real")((1,), (x.size,), (x, out, np.int32(x.size)))
    np.testing.assert_allclose(out, getattr(ACT, name)(x), rtol=4 * float(np.finfo(dtype).eps), atol=0)


def test_a_nan_stays_visible_in_relu() -> None:
    out = np.zeros(1)
    library = build(PRELUDE + probe("relu_real", 1, 1), modules.options("float64"))
    HostKernel(library, "probe_relu_real")((1,), (1,), (np.array([np.nan]), out, np.int32(1)))
    assert np.isnan(out[0])


def test_every_function_is_called_by_the_kernels() -> None:
    by_hand = modules.source("stepwise").replace(translate.header(), "")
    for name in FUNCTIONS:
        assert re.search(rf"\b{name}\b[<(,>]", by_hand), name


def test_the_text_reads_as_the_equations_do_and_quotes_the_forward_line() -> None:
    text = translate.header()
    assert "real c = f * c_prev + i * g;" in text
    assert "dc = dc + dh * o * (one - tanh_c * tanh_c);  // h = o * tanh(c), on top of what c_next sent" in text
    assert "real da_n = dn * (one - n * n);  // n = tanh(x_n + r * h_n)" in text


def test_an_edit_of_the_equations_reaches_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    original = inspect.getsource(gates)
    edited = original.replace("df = dc * c_prev  #", "df = dc * c  #")
    assert edited != original
    source = modules.source("stepwise").replace(translate.header(), translate.translate(edited))
    case = make_case("lstm", T=3, B=2, H=4)
    assert distance(case, by_plan(LittleCupy(), STEPWISE, STEPWISE)) <= 1e-12
    monkeypatch.setattr(modules, "source", lambda module: source)
    assert distance(case, by_plan(LittleCupy(), STEPWISE, STEPWISE)) > 1e-3


def test_brackets_keep_the_order_of_the_operations() -> None:
    text = translate.translate(
        "def f(a, b, c):\n    d = a - (b - c)\n    e = a * (b * c) + (a - b) * c\n    return d\n"
    )
    assert "real d = a - (b - c);" in text
    assert "real e = a * (b * c) + (a - b) * c;" in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    b = a / a\n    return b", "line 2: `a / a` has no translation"),
        ("    b = a ** 2\n    return b", "line 2"),
        ("    if a:\n        return a\n    return a", "line 2: only `name = expression`"),
        ("    b = abs(a)\n    return b", "line 2"),
        ("    b = a", "line 1: a gate function ends in its one return"),
    ],
)
def test_what_has_no_translation_is_an_error_that_names_the_line(body: str, words: str) -> None:
    with pytest.raises(SyntaxError, match=re.escape(words)):
        translate.translate(f"def f(a):\n{body}\n")
