"""Hessian-vector products: against differences of gradients for every cell and layer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import odd_cells
import pytest
from hvp_problem import (
    BACKEND,
    LENGTHS,
    B,
    D,
    H,
    Problem,
    T,
    dropout,
    floats,
    function,
    linear,
    pool,
    recurrent,
    state_of,
)
from refusals import refused

import engine
from engine.second_derivatives import Hessian
from kernels import tangent_cells, tangent_passes


@pytest.mark.parametrize("name", sorted(engine.cells()))
def test_every_cell_agrees_with_differences_of_gradients(name: str) -> None:
    model = recurrent(name)
    Problem(model, floats(1, T, B, D), state_of(model, 2), None, seed=3).check()


@pytest.mark.parametrize("name", sorted(engine.cells()))
def test_layers_directions_lengths_and_masks_are_walked_too(name: str) -> None:
    recurrent_weights = bool(engine.cells()[name].recurrent)
    options = {"recurrent_dropout": 0.3} if name in ("lstm", "gru", "rnn_tanh", "projected_lstm") else {}
    options |= {"weight_dropout": 0.3} if recurrent_weights else {}
    model = recurrent(name, num_layers=2, bidirectional=True, batch_first=True, dropout=0.4, zoneout=0.2, **options)
    Problem(model, floats(4, B, T, D), state_of(model, 5), LENGTHS, seed=6).check()


MODELS: dict[str, Callable[[], Any]] = {
    "tokens": lambda: engine.Sequential(
        engine.Embedding(7, D, dtype="float64", backend=BACKEND), recurrent("lstm"), linear(H, 4)
    ),
    "norms": lambda: engine.Sequential(
        linear(D, D), recurrent("gru"), engine.LayerNorm(H, dtype="float64", backend=BACKEND), dropout(), linear(H, 4)
    ),
    "batch norm": lambda: engine.Sequential(
        linear(D, D), engine.BatchNorm(D, dtype="float64", backend=BACKEND), recurrent("mgu")
    ),
    "last": lambda: engine.Sequential(recurrent("gru", bidirectional=True), pool("last", directions=2)),
    "mean": lambda: engine.Sequential(recurrent("gru"), pool("mean"), linear(H, 2)),
    "max": lambda: engine.Sequential(recurrent("lstm"), pool("max"), linear(H, 2)),
    "attention": lambda: engine.Sequential(recurrent("rnn_tanh"), pool("attention", input_size=H), linear(H, 2)),
    "functions": lambda: engine.Sequential(
        *(linear(D, 5), function("softmax"), linear(5, D), function("sigmoid"), recurrent("gru")),
        *(function("tanh"), linear(H, 8), function("relu"), linear(8, 2)),
    ),
    "rows first": lambda: engine.Sequential(recurrent("gru", batch_first=True), linear(H, 4), pool("attention", 4)),
}


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_model_is_walked(name: str, lengths: list[int] | None) -> None:
    model = MODELS[name]()
    shape = (B, T) if model.batch_first else (T, B)
    x = np.random.default_rng(7).integers(0, 7, shape) if name == "tokens" else floats(7, *shape, D)
    Problem(model, x, None, lengths, seed=8).check()


def test_a_model_that_is_no_longer_in_training_uses_the_running_statistics() -> None:
    model = MODELS["batch norm"]()
    model.forward(floats(1, T, B, D))
    forward = model.forward
    model.forward = lambda x, state, lengths: forward(x, state, lengths, training=False)
    Problem(model, floats(2, T, B, D), None, None, seed=9).check()


def test_several_heads_have_a_gradient_and_a_curvature_each() -> None:
    heads = engine.Heads({"row": engine.Sequential(pool("mean"), linear(H, 2)), "step": linear(H, 3)})
    model, plain = engine.Sequential(recurrent("gru"), heads), engine.Sequential(recurrent("gru"), linear(H, 3))
    x, v = floats(1, T, B, D), {}
    y, _, tape = model.forward(x)
    rng = np.random.default_rng(2)
    dy, bend = ({name: rng.normal(size=part.shape) for name, part in y.items()} for _ in range(2))
    v = {name: rng.normal(size=value.shape) for name, value in model.params.items()}
    found = engine.hvp(model, tape, dy, v, bend)
    assert all(np.abs(found[name]).max() > 0 for name in v)
    # with nothing on one head, the other alone decides
    zeros = {"row": np.zeros_like(y["row"])}
    one = engine.hvp(model, tape, dy | zeros, v, bend | zeros)
    names = {"1.step.weight": "1.weight", "1.step.bias": "1.bias"} | {n: n for n in v if n.startswith("0.")}
    for name, own in names.items():
        plain.params[own] = model.params[name]
    _, _, tape = plain.forward(x)
    other = engine.hvp(plain, tape, dy["step"], {own: v[name] for name, own in names.items()}, bend["step"])
    for name, own in names.items():
        np.testing.assert_allclose(one[name], other[own], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", [odd_cells.MANY, odd_cells.STAGED, odd_cells.GATED], ids=lambda cell: cell.name)
def test_a_cell_of_ones_own_needs_nothing_more(cell: Any) -> None:
    size: dict[str, Any] = {"proj_size": H - 1} if cell.projected else {}
    model = engine.Recurrent(cell, D, H, dtype="float64", backend=BACKEND, num_layers=2, **size)
    Problem(model, floats(1, T, B, D), state_of(model, 2), LENGTHS, seed=3).check()


def test_what_does_not_move_is_left_out() -> None:
    model = recurrent("lstm", num_layers=2)
    problem = Problem(model, floats(1, T, B, D), None, None, seed=4, names=lambda name: name.endswith("hh_l1"))
    del problem.direction["x"]
    problem.check()


@pytest.mark.parametrize(("steps", "batch"), [(0, B), (T, 0)])
def test_without_steps_or_rows_every_product_is_zero(steps: int, batch: int) -> None:
    model = engine.Sequential(recurrent("gru", bidirectional=True), linear(2 * H, 2))
    y, _, tape = model.forward(np.zeros((steps, batch, D)))
    v = {name: np.ones_like(value) for name, value in model.params.items()}
    found = engine.hvp(model, tape, y, v)
    assert not any(value.any() for value in found.values())


@pytest.mark.parametrize("name", ["lstm", "peephole_lstm", "indrnn", "mgu"])
def test_a_hessian_gives_the_products_one_by_one(name: str) -> None:
    model = engine.Sequential(recurrent(name, num_layers=2, bidirectional=True, weight_dropout=0.0), linear(2 * H, 2))
    y, _, tape = model.forward(floats(1, T, B, D), lengths=LENGTHS)
    dy, bend = floats(2, *y.shape), floats(3, *y.shape)
    hessian = Hessian(model, tape, dy, bend)
    directions = [{n: floats(seed, *value.shape) for n, value in model.params.items()} for seed in (4, 5)]
    directions.append({"0.weight_ih_l1": floats(6, *model.params["0.weight_ih_l1"].shape), "x": floats(7, T, B, D)})
    wanted = [engine.hvp(model, tape, dy, direction, bend) for direction in directions]
    dy[...] = 0  # it was copied
    for direction, product in zip(directions, wanted, strict=True):
        for name, value in hessian(direction).items():
            np.testing.assert_allclose(value, product[name], rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm", "slstm"])
def test_the_compiled_kernels_give_the_same(name: str) -> None:
    plain = recurrent(name, num_layers=2, bidirectional=True)
    compiled = plain.to(backend="numpy:numba")
    x, state = floats(1, T, B, D), state_of(plain, 2)
    found = []
    for model in (plain, compiled):
        y, _, tape = model.forward(x, state, LENGTHS)
        v = {n: floats(3, *value.shape) for n, value in model.params.items()} | {"x": floats(4, T, B, D)}
        found.append(engine.hvp(model, tape, floats(5, *y.shape), v, floats(6, *y.shape)))
    for n, value in found[0].items():
        np.testing.assert_allclose(found[1][n], value, rtol=0, atol=1e-12 * np.abs(value).max())


@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm", "coupled_lstm", "indrnn", "leaky_rnn", "rnn_relu"])
def test_the_tangent_of_a_cell_gives_what_dual_numbers_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = recurrent(name, num_layers=2, bidirectional=True, weight_dropout=0.0 if name == "indrnn" else 0.3)
    y, _, tape = model.forward(floats(1, T, B, D), state_of(model, 2), LENGTHS)
    v = {n: floats(3, *value.shape) for n, value in model.params.items()}
    assert tangent_cells.tangent_of(model.cell) is not None
    found = engine.hvp(model, tape, y, v)
    monkeypatch.setattr(tangent_passes, "tangent_of", lambda cell: None)
    for n, value in engine.hvp(model, tape, y, v).items():
        np.testing.assert_allclose(found[n], value, rtol=0, atol=1e-12 * np.abs(value).max())


def test_gradients_and_tape_stay_as_they_are_and_the_product_repeats() -> None:
    model = engine.Sequential(recurrent("lstm", bidirectional=True), linear(2 * H, 2))
    x = floats(1, T, B, D)
    y, _, tape = model.forward(x, lengths=LENGTHS)
    model.backward(tape, y)
    grads = {name: np.array(value) for name, value in model.grads.items()}
    kept = [np.array(value) for _, value in tape.entries()]
    v = {name: floats(2, *value.shape) for name, value in model.params.items()}
    first, second = (engine.hvp(model, tape, y, v) for _ in range(2))
    for name, value in grads.items():
        np.testing.assert_array_equal(value, model.grads[name])
        np.testing.assert_array_equal(first[name], second[name])
    for before, (_, after) in zip(kept, tape.entries(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_float32_stays_float32() -> None:
    model = engine.Sequential(
        engine.RNN(D, H, nonlinearity="relu", backend=BACKEND), engine.Linear(H, 2, backend=BACKEND)
    )
    double = model.to(dtype="float64")
    x = floats(1, T, B, D).astype("float32")
    v = {name: floats(2, *value.shape).astype("float32") for name, value in model.params.items()}
    y, _, tape = model.forward(x)
    found = engine.hvp(model, tape, y, v)
    y, _, tape = double.forward(x.astype("float64"))
    exact = engine.hvp(double, tape, y, {name: value.astype("float64") for name, value in v.items()})
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, exact[name], rtol=0, atol=1e-5 * np.abs(exact[name]).max())


@pytest.mark.parametrize("layer", [
    engine.Attention("dot", D), engine.CRF(D), engine.Sequential(engine.Linear(D, D), engine.CRF(D)),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_a_layer_without_second_derivatives_is_refused_by_name(layer: Any) -> None:
    x = floats(1, T, B, D).astype("float32")
    y, _, tape = layer.forward(x, x if isinstance(layer, engine.Attention) else None)
    name = "CRF" if isinstance(layer, engine.Sequential) else type(layer).__name__
    with refused(engine.InputTypeError, "model: expected layers with second derivatives", "Pool", f"got a {name}"):
        engine.hvp(layer, tape, y, {"x": x})


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_rounded_products_are_refused(precision: str) -> None:
    rounded = engine.GRU(D, H, precision=precision, backend=BACKEND)
    y, _, tape = rounded.forward(floats(1, T, B, D).astype("float32"))
    with refused(
        engine.InputError, f"model: expected recurrent layers of precision 'float32', got one of '{precision}'"
    ):
        engine.hvp(rounded, tape, y, {"x": floats(2, T, B, D).astype("float32")})


def test_what_does_not_fit_is_refused() -> None:
    tokens = MODELS["tokens"]()
    y, _, tape = tokens.forward(np.zeros((T, B), int))
    v = {"0.weight": np.ones((7, D))}
    with refused(engine.InputError, "direction: expected names of parameters", "'x' for a model of token ids"):
        engine.hvp(tokens, tape, y, {"x": floats(1, T, B, D)})
    with refused(engine.InputError, "dy: expected shape (5, 4, 4)", "that of y", "got shape (5, 4)"):
        engine.hvp(tokens, tape, y[:, :, 0], v)
    with refused(engine.InputError, "direction['0.weight']: expected shape (7, 3)", "got shape (3, 7)"):
        engine.hvp(tokens, tape, y, {"0.weight": v["0.weight"].T})
    with refused(engine.InputError, "direction: expected", "got 'weight'; the model has 0.weight, 1.weight_ih_l0"):
        engine.hvp(tokens, tape, y, {"weight": v["0.weight"]})
    with refused(engine.InputTypeError, "direction['state']: expected a tuple", "3 layers", "got a tuple of 1"):
        engine.hvp(tokens, tape, y, {"state": (None,)})
    tokens.params["0.weight"] = v["0.weight"]
    with refused(engine.errors.StaleTapeError, "parameters"):
        engine.hvp(tokens, tape, y, v)
