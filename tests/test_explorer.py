"""The explorer without a browser: numbers are the tape's, code is quoted, formulas give their values."""

from __future__ import annotations

import ast
import base64
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import odd_cells
import pytest
from explorer_reading import read

import engine
from engine.explorer import runs, sweeps, trained
from engine.explorer.cells import cell_data
from engine.explorer.page import built_in
from engine.explorer.pool import Pool

ROOT = Path(__file__).resolve().parent.parent
ODD = {cell.name: cell for cell in odd_cells.ODD_CELLS}
#: What a formula's signs mean, to work it out again.
SIGNS = {"·": "*", "−": "-", "²": "**2", "σ(": "sigmoid(", "ln(": "log(", "≤": "<=", "≥": ">=", "[": "(", "]": ")"}
FUNCTIONS = {
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)), "tanh": math.tanh, "exp": math.exp, "log": math.log, "max": max,
    "relu": lambda a: max(a, 0.0), "slope_of_tanh_at": lambda h: 1 - h * h, "slope_of_relu_at": lambda h: float(h > 0),
}  # fmt: skip


def numbers_of(pool: Pool) -> np.ndarray:
    return np.frombuffer(base64.b64decode(pool.text()), "<f4").astype(np.float64)


@pytest.fixture(scope="module")
def shown() -> dict[str, tuple[runs.StepRun, dict[str, Any], np.ndarray]]:
    """Each cell's run, what the page gets of it, and the numbers."""
    found = {}
    for name, cell in {**{name: engine.cells()[name] for name in built_in()}, **ODD}.items():
        pool, run = Pool(), runs.small_run(cell, seed=3)
        found[name] = (run, cell_data(run, pool), numbers_of(pool))
    return found


NAMES = [*built_in(), *ODD]


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_tapes(shown: Any, name: str) -> None:
    run, data, numbers = shown[name]
    tape, trace, T = run.tape, run.trace, run.steps
    expected = {
        "slots": tape.states, "dslots": trace.states, "gates": tape.gates, "da": trace.gates,
    }  # fmt: skip
    for group, arrays in expected.items():
        assert set(data[group]) == set(arrays)
        for key, values in arrays.items():
            got = read(numbers, data[group][key], len(values))
            np.testing.assert_allclose(got, values[:, 0], rtol=1e-6, err_msg=f"{group} {key}")
    for state, values in trace.states.items():
        norms = np.linalg.norm(values[:, 0], axis=1)
        np.testing.assert_allclose(read(numbers, data["norms"][state], T + 1)[:, 0], norms, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_line_has_the_value_that_the_engine_found(shown: Any, name: str) -> None:
    """The last value of a name is the one on the tape or the trace; a line before it is worked out from its formula."""
    run, data, numbers = shown[name]
    known = {state: run.tape.states[state][1:, 0] for state in run.cell.states}
    known |= {gate: values[:, 0] for gate, values in run.tape.gates.items()}
    known |= {key: values[:, 0] for key, values in run.tape.kept.items()}
    final = {line["target"]: line for f in data["functions"] if f["direction"] == "forward" for line in f["lines"]}
    checked = 0
    for target, line in final.items():
        if target in known:
            np.testing.assert_allclose(read(numbers, line["at"], run.steps), known[target], rtol=1e-6, err_msg=target)
            checked += 1
    between = {gate for work in run.cell.works if work.between for gate in work.gates}
    for f in data["functions"]:
        for line in f["lines"]:
            kind, _, gate = line["target"].partition("_")
            if f["direction"] == "backward" and kind in ("da", "dx") and gate in set(run.cell.gates) - between:
                got = read(numbers, line["at"], run.steps)
                np.testing.assert_allclose(got, run.trace.gates[gate][:, 0], rtol=1e-6, err_msg=line["target"])
                checked += 1
    assert checked >= 2
    *_, last = data["functions"]
    if last["direction"] == "engine":
        np.testing.assert_allclose(read(numbers, last["lines"][0]["at"], run.steps), run.trace.dh[:-1, 0], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_formula_gives_its_value(shown: Any, name: str) -> None:
    """The formula is worked out again from the numbers that the page puts in the places of its names."""
    _, data, numbers = shown[name]
    t, u = 5, 2
    for f in data["functions"]:
        for line in f["lines"]:
            values: dict[str, float] = {}
            text = ""
            for part in line["parts"]:
                if isinstance(part, str):
                    text += part
                else:
                    key = f"v{len(values)}"
                    values[key] = float(read(numbers, part[1], t + 1)[t, u])
                    text += key
            for sign, code in SIGNS.items():
                text = text.replace(sign, code)
            text = re.sub(r"slope of (\w+) at (v\d+)", r"slope_of_\1_at(\2)", text)
            text = re.sub(r"slope of (\w+) at \(", r"slope_of_\1_at(", text)
            got = float(eval(text, {"__builtins__": {}}, {**FUNCTIONS, **values}))
            want = float(read(numbers, line["at"], t + 1)[t, u])
            scale = max(abs(want), max(map(abs, values.values()), default=1.0) * 1e-3)
            assert abs(got - want) <= 2e-5 * scale, (name, line["target"], text, values)


def test_recording_changes_no_bit(shown: Any) -> None:
    run, *_ = shown["lstm"]
    layer = engine.Recurrent("lstm", runs.INPUTS, runs.HIDDEN, backend=runs.PLAIN, dtype="float64", seed=3)
    runs.fill(layer, 3)
    _, _, tape = layer.forward(np.array(run.tape.x))
    np.testing.assert_array_equal(tape.layers[0][0].h, run.tape.h)
    found = run.records[0].forward.found[-1]
    np.testing.assert_array_equal(np.stack([value[0] for value in found]), run.tape.h[1:, 0])
    assert engine.cells()["lstm"].works[0].forward.function.__module__ == "kernels.gates.lstm"


def test_a_layer_with_every_option_is_shown_as_it_is_evaluated() -> None:
    """Zoneout's expectation, two layers, batch first, float32: the lines are those of the layer asked for."""
    layer = engine.LSTM(3, 9, 2, batch_first=True, dropout=0.2, zoneout=(0.1, 0.3), backend="numpy:reference", seed=4)
    rng = np.random.default_rng(5)
    x, dlast = rng.normal(size=(7, 1, 3)), rng.normal(size=(1, 9))
    for which in (0, 1):
        run = runs.run_of(layer, x, None, dlast, which, np.arange(9), "a test")
        pool = Pool()
        data, numbers = cell_data(run, pool), numbers_of(pool)
        for gate in "ifgo":
            line = next(one for f in data["functions"] for one in f["lines"] if one["target"] == f"da_{gate}")
            np.testing.assert_allclose(read(numbers, line["at"], 7), run.trace.gates[gate][:, 0], rtol=1e-6)
        assert abs(run.shares["weight_hh"].sum() - 1) < 1e-12
    model = layer.to(dtype="float64")
    y, _, tape = model.forward(x.swapaxes(0, 1).copy(), training=False)
    dy = np.zeros_like(y)
    dy[:, -1] = dlast
    model.backward(tape, dy)
    da = np.concatenate([run.trace.gates[gate][:, 0] for gate in "ifgo"], axis=-1)
    np.testing.assert_allclose(da.T @ run.tape.h[:-1, 0], model.grads["weight_hh_l1"], rtol=1e-6)


def test_a_layer_of_two_directions_is_refused() -> None:
    layer = engine.GRU(3, 4, bidirectional=True)
    with pytest.raises(engine.InputError, match="a layer of one direction"):
        runs.run_of(layer, np.zeros((5, 1, 3)), None, np.zeros((1, 8)), 0, None, "a test")


# -- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", built_in())
def test_every_line_is_quoted_from_its_file(shown: Any, name: str) -> None:
    run, data, _ = shown[name]
    for f in data["functions"]:
        lines = (ROOT / f["file"]).read_text(encoding="utf-8").splitlines()
        renamed = run.cell.works[0].forward.text if f["file"].startswith("kernels/gates/") else str
        for line in f["lines"]:
            assert renamed(lines[line["line"] - 1].strip()) == line["code"]
            assert ast.parse(line["code"]).body, line["code"]


def test_backward_lines_are_numbered_as_in_the_page_on_the_lstm(shown: Any) -> None:
    _, data, _ = shown["lstm"]
    numbers = {line["number"]: line for f in data["functions"][1:] for line in f["lines"] if line["number"]}
    text = (ROOT / "docs" / "lstm.md").read_text(encoding="utf-8")
    sections = re.split(r"^\*\*([\d, ]+)\.\*\* ", text.split("## Backward through one step")[1], flags=re.MULTILINE)
    told = 0
    for heading, section in zip(sections[1::2], sections[2::2], strict=True):
        for number in map(int, heading.split(",")):
            if number in numbers and numbers[number]["target"] != "dh[t]":
                assert numbers[number]["target"] + " = " in section, number
                told += 1
    assert told == 10
    assert numbers[3]["edge"] == ["f", "c"]
    assert numbers[3]["reverses"] == "c = f · c_prev + i · g"
    assert list(numbers) == list(range(1, 12))


# -- shares and sweeps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "gru_before", "indrnn", "projected_lstm"])
def test_shares_add_up_to_one(shown: Any, name: str) -> None:
    run, *_ = shown[name]
    assert run.shares
    for weight, shares in run.shares.items():
        assert shares.shape == (run.steps,)
        assert abs(shares.sum() - 1) < 1e-12, weight


def test_a_share_is_the_term_of_its_step(shown: Any) -> None:
    run, *_ = shown["lstm"]
    da = np.concatenate([run.trace.gates[gate][:, 0] for gate in run.cell.gates], axis=-1)
    terms = da[:, :, None] * run.tape.h[:-1, 0, None, :]  # what step t adds to the gradient of weight_hh
    whole = terms.sum(axis=0)
    expected = (terms * whole).sum(axis=(1, 2)) / (whole * whole).sum()
    np.testing.assert_allclose(run.shares["weight_hh"], expected, rtol=1e-9, atol=1e-12)


def test_a_swept_layer_has_its_radius_and_its_forget_bias() -> None:
    cell = engine.cells()["lstm"]
    layer = sweeps.swept_layer(cell, 1.3, 2.0, seed=1)
    H = sweeps.HIDDEN
    for block in np.asarray(layer.params["weight_hh_l0"]).reshape(4, H, H):
        assert abs(np.abs(np.linalg.eigvals(block)).max() - 1.3) < 1e-9
    bias = np.asarray(layer.params["bias_ih_l0"]).reshape(4, H)
    np.testing.assert_array_equal(bias[1], np.full(H, 2.0))
    assert not bias[[0, 2, 3]].any()


def test_curves_follow_the_law_and_truncation_misses_what_it_leaves_out() -> None:
    cell = engine.cells()["rnn_tanh"]
    norms, errors = sweeps.curve(sweeps.swept_layer(cell, 0.9, None), 50)
    rate = (norms[0] / norms[40]) ** (1 / 40)
    assert abs(rate - 0.9) < 0.02
    assert list(errors) == [1, 2, 5, 10, 25]
    layer = sweeps.swept_layer(cell, 0.9, None)
    rng = np.random.default_rng([0, 10])
    x = sweeps.SMALL * rng.normal(size=(max(sweeps.LENGTHS), 1, sweeps.INPUTS))[:50]
    last = rng.normal(size=sweeps.HIDDEN)
    last /= np.linalg.norm(last)

    def loss(y: Any) -> tuple[Any, Any]:
        dy = np.zeros_like(y)
        dy[-1, 0] = last
        return np.float64(y[-1, 0] @ last), dy

    layer.zero_grad()
    engine.truncated_bptt(layer, x, loss, 50, 50)
    whole = np.array(layer.grads["weight_hh_l0"])
    tape = layer.forward(x)[2]
    da = layer.backward_trace(tape, loss(layer.forward(x)[0])[1]).layers[0][0].gates["h"][:, 0]
    h = tape.layers[0][0].h[:-1, 0]
    for reach, error in errors.items():
        part = da[-reach:].T @ h[-reach:]
        assert abs(np.linalg.norm(part - whole) / np.linalg.norm(whole) - error) < 1e-9


# -- trained models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacked", [True, False])
def test_the_layers_of_a_model_get_the_models_own_gradient(stacked: bool) -> None:
    options: dict[str, Any] = {"backend": runs.PLAIN, "dtype": "float64"}
    several = [engine.LSTM(3, 9, **options), engine.Linear(9, 4, **options), engine.LSTM(4, 10, **options)]
    recurrent = [engine.LSTM(3, 10, 2, **options)] if stacked else several
    model = engine.Sequential(engine.Embedding(7, 3, **options), *recurrent, engine.Linear(10, 7, **options))
    probe = trained.Probe(np.arange(5)[:, None] % 7, 4, tuple("abcde"), "a test")
    lower, upper = trained.runs_of_model(model, probe)
    y, _, tape = model.forward(probe.x)
    dy = np.zeros_like(y)
    dy[-1] = engine.cross_entropy(y[-1:], np.array([[4]]))[1][0]
    model.zero_grad()
    model.backward(tape, dy)
    for number, run in enumerate((lower, upper)):
        da = np.concatenate([run.trace.gates[gate][:, 0] for gate in run.cell.gates], axis=-1)
        name = f"1.weight_hh_l{number}" if stacked else f"{1 + 2 * number}.weight_hh_l0"
        np.testing.assert_allclose(da.T @ run.tape.h[:-1, 0], model.grads[name], rtol=1e-9)
        assert run.title == f"LSTM: layer {number + 1} of 2"
        assert len(run.units) == 8
        pool = Pool()
        data, numbers = cell_data(run, pool), numbers_of(pool)
        np.testing.assert_allclose(
            read(numbers, data["slots"]["c"], 6), run.tape.states["c"][:, 0, run.units], rtol=1e-6
        )
        line = next(one for f in data["functions"] for one in f["lines"] if one["target"] == "da_f")
        np.testing.assert_allclose(read(numbers, line["at"], 5), run.trace.gates["f"][:, 0, run.units], rtol=1e-6)
