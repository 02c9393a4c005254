"""A cell that a user wrote in a notebook: it passes, and a mistake in its backward is found and its gate named."""

from __future__ import annotations

import linecache
from typing import Any

import numpy as np
import pytest

import engine
import kernels.cells

FORWARD = """
def forward(a_i, a_f, a_g, a_o, c_prev, p_i, p_f, p_o, sigmoid, tanh):
    i = sigmoid(a_i + p_i * c_prev)
    f = sigmoid(a_f + p_f * c_prev)
    g = tanh(a_g)
    c = f * c_prev + i * g
    o = sigmoid(a_o + p_o * c)
    h = o * tanh(c)
    return i, f, g, o, c, h
"""
BACKWARD = """
def backward(dh, dc, i, f, g, o, c_prev, c, p_i, p_f, p_o, tanh, one):
    tanh_c = tanh(c)
    da_o = dh * tanh_c * o * (one - o)
    dc = dc + dh * o * (one - tanh_c * tanh_c) + da_o * p_o
    da_f = dc * c_prev * f * (one - f)
    da_i = dc * g * i * (one - i)
    da_g = dc * i * (one - g * g)
    dp_o = da_o * c
    dp_f = da_f * c_prev
    dp_i = da_i * c_prev
    dc_prev = dc * f + da_i * p_i + da_f * p_f
    return da_i, da_f, da_g, da_o, dp_i, dp_f, dp_o, dc_prev, dc
"""
#: What was written in place of what -> the gate that a report may name for it.
MISTAKES = {
    "a sign": ("da_g = dc * i", "da_g = -dc * i", "g"),
    "a missing term": ("da_f = dc * c_prev * f * (one - f)", "da_f = dc * c_prev * f", "f"),
    "a wrong slot": ("da_f = dc * c_prev", "da_f = dc * c", "f"),
    "a forgotten dp": ("dp_f = da_f * c_prev", "dp_f = da_f * (one - one)", "f"),
    "a forgotten dc_prev": ("dc_prev = dc * f + da_i * p_i + da_f * p_f", "dc_prev = dc * (one - one)", None),
    "a wrong operand": ("da_i = dc * g * i", "da_i = dc * o * i", "i"),
}


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.cells, "_CELLS", dict(kernels.cells._CELLS))


def declare(backward: str) -> engine.Cell:
    """The cell as a notebook declares it: from lines that belong to no file."""
    text, file = FORWARD + backward, f"<notebook {hash(backward)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), space)
    return engine.Cell("users", engine.Phase("ifgo", space["forward"], space["backward"]))


def check(backward: str, method: str, **options: Any) -> Any:
    layer = engine.Recurrent(declare(backward), 3, 4, backend="numpy:reference", dtype="float64", **options)
    rng = np.random.default_rng(1)
    layer.load_state_dict({name: rng.normal(scale=0.6, size=part.shape) for name, part in layer.params.items()})
    x = rng.normal(size=(5, 2, 3))
    state = tuple(rng.normal(size=part.shape) for part in layer.forward(x)[1])
    return engine.gradcheck(layer, x, state, lengths=[5, 3], method=method)


def test_it_passes_in_several_layers_and_directions() -> None:
    """One method: test_own_cells has the others, and the options of a layer."""
    report = check(BACKWARD, "adjoint", num_layers=3, bidirectional=True)
    assert report.passed, str(report)


#: Methods in turn: test_own_cells looks for its mistakes by the complex step.
@pytest.mark.parametrize(
    ("mistake", "method"), [(name, ("central", "adjoint")[k % 2]) for k, name in enumerate(MISTAKES)]
)
def test_a_mistake_is_found_and_its_gate_named(mistake: str, method: str) -> None:
    right, wrong, gate = MISTAKES[mistake]
    assert BACKWARD.count(right) == 1
    report = check(BACKWARD.replace(right, wrong), method)
    assert report.verdict == "wrong"
    if gate is not None:
        assert report.worst.gate == gate, str(report)


@pytest.mark.parametrize(
    ("forgotten", "words"),
    [("dp_f", "weight 'p_f' needs one gradient 'dp_f'"), ("dc_prev", "no backward returns dc_prev")],
)
def test_what_is_not_returned_is_refused_at_once(forgotten: str, words: str) -> None:
    with pytest.raises(engine.InputError, match=words):
        declare(BACKWARD.replace(f"{forgotten}, ", ""))
