"""A cell of a user's own, through everything that the built-in ones have: layers, checks, traces, training, files."""

from __future__ import annotations

import inspect
import itertools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
from builders import KERNELS, passes, random_arguments
from conftest import JIT_OFF

import engine
from engine.layers import from_config
from engine.training import read_checkpoint, run_training
from kernels import cells as registry

# -- what a user writes: an LSTM with coupled gates and one peephole --------------------------------------------------


def forward(a_f, a_g, a_o, c_prev, p_o, sigmoid, tanh, one):
    """One step."""
    f = sigmoid(a_f)
    g = tanh(a_g)
    c = f * c_prev + (1 - f) * g
    o = sigmoid(a_o + p_o * c)
    h = o * tanh(c)
    return f, g, o, c, h


def backward(dh, dc, f, g, o, c_prev, c, p_o, tanh, one):
    """Reverse of `forward`."""
    t = tanh(c)
    da_o = dh * t * o * (1 - o)  # h = o * tanh(c), o = sigmoid(a_o + p_o * c)
    dp_o = da_o * c  # o = sigmoid(a_o + p_o * c)
    dc = dc + dh * o * (1 - t * t) + da_o * p_o  # h = o * tanh(c), o looks at c
    da_f = dc * (c_prev - g) * f * (1 - f)  # c = f * c_prev + (1 - f) * g
    da_g = dc * (1 - f) * (1 - g * g)  # c = f * c_prev + (1 - f) * g
    dc_prev = dc * f  # c = f * c_prev + (1 - f) * g
    return da_f, da_g, da_o, dc_prev, dc, dp_o


# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cell() -> Iterator[engine.Cell]:
    """The cell, registered for the length of a test."""
    yield engine.Cell("mine", engine.Phase("fgo", forward, backward))
    registry._CELLS.pop("mine")


def layer_of(cell: Any, kernels: str, **options: Any) -> Any:
    layer = engine.Recurrent(cell, 3, 5, backend=f"numpy:{kernels}", dtype="float64", seed=4, **options)
    rng = np.random.default_rng(8)
    layer.load_state_dict({name: rng.normal(scale=0.5, size=p.shape) for name, p in layer.params.items()})
    return layer


def test_it_is_thirty_lines() -> None:
    lines = "".join(inspect.getsource(function) for function in (forward, backward)).splitlines()
    assert len(lines) + 1 <= 30


@pytest.mark.parametrize("method", ["central", "complex", "adjoint", "rtrl"])
@pytest.mark.parametrize("kernels", KERNELS)
def test_its_gradient_is_checked(cell: engine.Cell, kernels: str, method: str) -> None:
    layer = layer_of(cell, kernels, bidirectional=True)
    x, state, _, _ = random_arguments(layer, 6, 4, seed=1)
    report = engine.gradcheck(layer, x, state, [6, 0, 4, 1], method=method)
    assert report.passed, report


@pytest.mark.parametrize(
    "options",
    [{"zoneout": (0.3, 0.2)}, {"recurrent_dropout": 0.4}, {"weight_dropout": 0.4}],
    ids=str,
)
@pytest.mark.parametrize("kernels", KERNELS if JIT_OFF else KERNELS[:1])  # each is another cell to compile
def test_every_option_is_its_too(cell: engine.Cell, kernels: str, options: dict[str, Any]) -> None:
    layer = layer_of(cell, kernels, num_layers=2, **options)
    x, state, _, _ = random_arguments(layer, 5, 4, seed=2)
    report = engine.gradcheck(layer, x, state, method="adjoint")
    assert report.passed, report


@pytest.mark.parametrize("kernels", KERNELS)
def test_kernel_sets_agree_and_chunks_are_one_pass(cell: engine.Cell, kernels: str) -> None:
    layer = layer_of(cell, kernels, num_layers=3)
    arguments = random_arguments(layer, 7, 4, seed=3)
    if kernels != "reference":
        found = passes(layer, *arguments, lengths=[7, 3, 0, 5])
        wanted = passes(layer_of(cell, "reference", num_layers=3), *arguments, lengths=[7, 3, 0, 5])
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12 * max(1.0, np.abs(value).max()))
    x, state = arguments[:2]
    whole, last = layer.predict(x, state)
    parts, carried = [], state
    for begin, end in itertools.pairwise((0, 2, 3, 7)):
        y, carried = layer.predict(x[begin:end], carried)
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.stack(carried), np.stack(last), rtol=1e-12, atol=1e-12)


def test_the_trace_has_every_state_and_gate(cell: engine.Cell) -> None:
    layer = layer_of(cell, "reference")
    x, state, dy, dstate = random_arguments(layer, 6, 4, seed=5)
    _, _, tape = layer.forward(x, state)
    trace = layer.backward_trace(tape, dy, dstate)
    record, adjoints = tape.layers[0][0], trace.layers[0][0]
    assert list(record.states) == list(adjoints.states) == ["h", "c"]
    assert list(adjoints.gates) == ["f", "g", "o"]
    eps = 1e-6  # dL/dc at slot 0 is the gradient of the initial cell state
    moved = [state[1] + sign * eps * np.eye(4, 5, 1) for sign in (1, -1)]
    losses = []
    for c0 in moved:
        y, last, _ = layer.forward(x, (state[0], c0))
        losses.append((y * dy).sum() + sum((a * b).sum() for a, b in zip(last, dstate, strict=True)))
    wanted = (losses[0] - losses[1]) / (2 * eps)
    assert (adjoints.states["c"][0] * np.eye(4, 5, 1)).sum() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("was", "becomes", "gate"),
    [
        ("(c_prev - g)", "(g - c_prev)", "f"),  # sign
        (" + da_o * p_o", "", "o"),  # a term is missing: c is looked at by o
        ("return da_f, da_g, da_o", "return da_g, da_f, da_o", "f"),  # wrong slots: see the names below
        ("dp_o = da_o * c ", "dp_o = da_o * c_prev ", "o"),  # wrong operand
        ("dc_prev = dc * f", "dc_prev = dc * f * 0", None),  # what flows back is forgotten
        ("(1 - g * g)", "(1 - g)", "g"),  # wrong slope
    ],
)
def test_a_wrong_backward_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was: str, becomes: str, gate: str | None
) -> None:
    source = "".join(inspect.getsource(function) for function in (forward, backward))
    assert was in source
    wrong = source.replace(was, becomes)
    if becomes.startswith("return"):  # the values change places, the names stay
        wrong = source.replace("da_f = dc", "da_x = dc").replace("da_g = dc", "da_f = dc").replace("da_x", "da_g")
    (tmp_path / "wrong_cell.py").write_text(wrong, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "wrong_cell", raising=False)
    module: Any = __import__("wrong_cell")
    planted = engine.Cell("planted", engine.Phase("fgo", module.forward, module.backward))
    try:
        layer = layer_of(planted, "reference")
        x, state, _, _ = random_arguments(layer, 6, 4, seed=6)
        report = engine.gradcheck(layer, x, state, method="complex")
        assert report.verdict == "wrong"
        assert gate is None or gate in str(report.diagnosis), report
    finally:
        registry._CELLS.pop("planted")


def test_what_is_forgotten_is_said_at_once() -> None:
    def forgets_dp(dh, dc, f, g, o, c_prev, c, p_o, tanh, one):
        da_f = dc * f
        da_g = dc * g
        da_o = dh * o
        dc_prev = dc * f
        return da_f, da_g, da_o, dc_prev

    place = r"cell 'forgetful', function '\w+' \(test_own_cells.py, line \d+\)"
    with pytest.raises(engine.InputError, match=rf"{place}.*'p_o'"):
        engine.Cell("forgetful", engine.Phase("fgo", forward, forgets_dp))
    assert "forgetful" not in engine.cells()


def test_it_trains_saves_and_resumes(cell: engine.Cell, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 60, encoding="utf-8")
    options: dict[str, Any] = {
        "files": (str(text),), "backend": "numpy:reference", "cell": "mine", "hidden": 7, "embed": 5, "batch": 4,
        "sequence": 8, "lr": 0.02, "schedule": "constant",
    }  # fmt: skip
    whole = run_training(tmp_path / "whole", quiet=True, steps=40, **options)
    run_training(tmp_path / "parts", quiet=True, steps=20, **options)
    run_training(tmp_path / "parts", quiet=True, steps=40, **options, resume=True)
    ended = [read_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "parts")]
    for name, array in ended[0].group("model").items():
        np.testing.assert_array_equal(ended[1].group("model")[name], array)
    assert any(name.startswith("1.p_o_l0") for name in ended[0].group("model"))
    assert whole["validation"]["bpc"] < 4.0
    registry._CELLS.pop("mine")
    try:  # a file never brings functions of its own
        words = r"expected the cell 'mine' of the model, declared with engine.Cell, got none of that name; run the code"
        for read in (read_checkpoint, engine.load):
            with pytest.raises(engine.EngineError, match=words):
                read(tmp_path / "whole" / "last.safetensors")
    finally:
        registry._CELLS["mine"] = cell


def test_a_layer_is_built_from_its_description(cell: engine.Cell) -> None:
    layer = layer_of(cell, "reference", num_layers=2, zoneout=0.1)
    again = from_config(layer.config(), backend="numpy:reference", dtype="float64", seed=4)
    again.load_state_dict(layer.state_dict())
    x, state, _, _ = random_arguments(layer, 5, 4)
    np.testing.assert_array_equal(again.predict(x, state)[0], layer.predict(x, state)[0])
    missing = layer.config()
    missing["args"]["cell"] = "nobodys"
    with pytest.raises(engine.InputError, match=r"'nobodys'.*declare it with engine\.Cell"):
        from_config(missing)


def plain_forward(a_h, tanh):
    """Another cell's step."""
    h = tanh(a_h)
    return h


def plain_backward(dh, h, one):
    """Its reverse."""
    da_h = dh * (one - h * h)  # h = tanh(a_h)
    return da_h


def test_names_are_taken_and_cells_of_a_notebook_may_be_run_again(cell: engine.Cell) -> None:
    with pytest.raises(engine.InputError, match=r"cell 'lstm', .*: the name is taken"):
        engine.Cell("lstm", engine.Phase("fgo", forward, backward))
    with pytest.raises(engine.InputError, match=r"cell 'mine', .*: the name is taken"):
        engine.Cell("mine", engine.Phase(["h"], plain_forward, plain_backward))
    rerun = {}
    for function in (forward, backward):  # the same def, run again: another function of the same name and place
        copy = types.FunctionType(function.__code__, function.__globals__, function.__name__)
        rerun[function.__name__] = copy
    again = engine.Cell("mine", engine.Phase("fgo", rerun["forward"], rerun["backward"]))
    assert engine.cells()["mine"] is again


@pytest.mark.device
@pytest.mark.parametrize("kernels", ["reference", "cuda"])
def test_it_runs_on_the_look_alike_of_cupy(cell: engine.Cell, kernels: str) -> None:
    host = layer_of(cell, "reference", num_layers=2, bidirectional=True, zoneout=0.3, weight_dropout=0.2)
    arguments = random_arguments(host, 5, 3, seed=11)
    wanted = passes(host, *arguments, lengths=[5, 0, 2])
    with fake_cupy.installed():
        layer = host.to(backend=f"cupy:{kernels}")
        layer.load_call_counters({"": 0})
        upload = layer.backend.asarray
        x, state, dy, dstate = (
            tuple(map(upload, part)) if isinstance(part, tuple) else upload(part) for part in arguments
        )
        found = passes(layer, x, state, dy, dstate, [5, 0, 2])
        if kernels == "cuda":
            assert layer.backend.kernels.fallback_reason is None
            assert layer.backend.kernels.last_plan is not None
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name].get(), value, rtol=1e-11, atol=1e-12, err_msg=name)
