"""Hessian-vector products: against differences of gradients for every cell and layer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import odd_cells
import pytest
from refusals import refused

import engine
from engine.losses import curvature_of_cross_entropy, curvature_of_mse
from engine.second_derivatives import Hessian, largest_eigenvalues
from kernels import tangent_cells, tangent_passes

T, B, D, H = 5, 4, 3, 6
LENGTHS = [3, 0, 5, 2]
BACKEND = "numpy:reference"
Arrays = dict[str, Any]


def random_like(rng: np.random.Generator, value: Any, size: float) -> Any:
    """Random numbers in the shape, or the structure, of a value."""
    if isinstance(value, tuple):
        return tuple(random_like(rng, part, size) for part in value)
    return None if value is None else rng.normal(size=value.shape) * size


def moved(value: Any, step: float, direction: Any) -> Any:
    if value is None or direction is None:
        return value
    if isinstance(value, tuple):
        return tuple(moved(part, step, along) for part, along in zip(value, direction, strict=True))
    return value + step * direction


def leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


class Problem:
    """A model with an input, a loss with its curvature, and a direction in which everything moves."""

    def __init__(
        self, model: Any, x: Any, state: Any, lengths: Any, seed: int, names: Callable[[str], bool] = lambda name: True
    ) -> None:
        rng = np.random.default_rng(seed)
        self.model, self.x, self.state, self.lengths = model, x, state, lengths
        for name, value in model.params.items():
            model.params[name] = value + 0.2 * rng.normal(size=value.shape)
        self.base = {name: np.array(value) for name, value in model.params.items()}
        self.counters = model.call_counters()
        self.y, _, self.tape = self.run(0.0, {})
        self.first, self.second = rng.normal(size=self.y.shape), rng.normal(size=self.y.shape)
        self.direction = {n: random_like(rng, value, 0.2) for n, value in self.base.items() if names(n)}
        if np.asarray(x).dtype.kind == "f":
            self.direction["x"] = random_like(rng, x, 0.2)
        if state is not None:
            self.direction["state"] = random_like(rng, state, 0.2)

    def run(self, step: float, direction: Arrays) -> Any:
        """Forward at the place that is `step` along the direction, with the same dropout masks."""
        for name, value in self.base.items():
            self.model.params[name] = moved(value, step, direction.get(name))
        self.model.load_call_counters(self.counters)
        x = moved(self.x, step, direction["x"]) if "x" in direction else self.x
        return self.model.forward(x, moved(self.state, step, direction.get("state")), self.lengths)

    def gradients(self, step: float, direction: Arrays, held: Any = None) -> Arrays:
        """Of sum(first*y + second*y*y), or of sum(held*y)."""
        y, _, tape = self.run(step, direction)
        self.model.zero_grad()
        dx, dstate = self.model.backward(tape, self.first + 2 * self.second * y if held is None else held)
        return {name: np.array(value) for name, value in self.model.grads.items()} | {"x": dx, "state": dstate}

    def differences(self, name: str, held: Any = None) -> list[np.ndarray]:
        """The product by differences of gradients, with an error of the order of step^4."""
        if not hasattr(self, "_found"):
            self._found: dict[bool, list[Arrays]] = {}
        steps = (4e-4, 2e-4)
        if (held is None) not in self._found:
            self._found[held is None] = [
                self.gradients(sign * step, self.direction, held) for step in steps for sign in (1, -1)
            ]
            self.run(0.0, {})
        parts = [leaves(found[name]) for found in self._found[held is None]]
        pairs = [
            [(up - down) / (2 * step) for up, down in zip(parts[2 * k], parts[2 * k + 1], strict=True)]
            for k, step in enumerate(steps)
        ]
        return [(4 * fine - coarse) / 3 for coarse, fine in zip(*pairs, strict=True)]

    def check(self) -> None:
        """Both products against differences, 1e-8 of each array's largest number."""
        y, _, tape = self.run(0.0, {})
        for held in (None, self.first):
            dy = self.first + 2 * self.second * y if held is None else held
            curvature = 2 * self.second if held is None else None
            found = engine.hvp(self.model, tape, dy, self.direction, curvature)
            assert list(found) == list(self.direction)
            for name, value in found.items():
                for got, wanted in zip(leaves(value), self.differences(name, held), strict=True):
                    assert got.shape == wanted.shape
                    assert np.abs(got - wanted).max() <= 1e-8 * max(1.0, np.abs(wanted).max()), name


def recurrent(name: str, **options: Any) -> Any:
    cell = engine.cells()[name]
    options |= {"proj_size": H - 1} if cell.projected else {}
    return engine.Recurrent(cell, D, H, backend=BACKEND, dtype="float64", seed=5, **options)


def state_of(model: Any, seed: int) -> Any:
    rng, slots = np.random.default_rng(seed), model.num_layers * model.num_directions
    found = tuple(0.4 * rng.normal(size=(slots, B, width)) for width in model.widths)
    return found if len(found) > 1 else found[0]


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


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


def linear(inputs: int, outputs: int, **options: Any) -> Any:
    return engine.Linear(inputs, outputs, dtype="float64", backend=BACKEND, **options)


def pool(kind: str, input_size: int | None = None, **options: Any) -> Any:
    return engine.Pool(kind, input_size, dtype="float64", backend=BACKEND, **options)


def function(kind: str) -> Any:
    return engine.Activation(kind, dtype="float64", backend=BACKEND)


def dropout() -> Any:
    return engine.Dropout(0.3, dtype="float64", backend=BACKEND)


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


def test_rounded_products_are_refused() -> None:
    rounded = engine.GRU(D, H, precision="bf16", backend=BACKEND)
    y, _, tape = rounded.forward(floats(1, T, B, D).astype("float32"))
    with refused(engine.InputError, "model: expected recurrent layers of precision 'float32', got one of 'bf16'"):
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


# -- the loss's own second derivative ----------------------------------------------------------------------------------


def losses(rng: np.random.Generator) -> dict[str, tuple[Any, Any]]:
    target, ids, mask = rng.normal(size=(T, B, 4)), rng.integers(0, 4, (T, B)), rng.random((T, B)) < 0.6
    weights = rng.random((T, B))
    return {
        "mse": (lambda y: engine.mse(y, target), lambda y: curvature_of_mse(y)),
        "mse, weights": (lambda y: engine.mse(y, target, weights, 3.0), lambda y: curvature_of_mse(y, weights, 3.0)),
        "entropy": (lambda y: engine.cross_entropy(y, ids), lambda y: curvature_of_cross_entropy(y)),
        "entropy, mask": (
            lambda y: engine.cross_entropy(y, ids, mask, label_smoothing=0.2),
            lambda y: curvature_of_cross_entropy(y, mask),
        ),
    }


@pytest.mark.parametrize("name", list(losses(np.random.default_rng(0))))
def test_the_curvature_of_a_loss_is_that_of_its_gradient(name: str) -> None:
    rng = np.random.default_rng(1)
    loss, curvature = losses(rng)[name]
    y, v, step = rng.normal(size=(T, B, 4)), rng.normal(size=(T, B, 4)), 1e-5
    wanted = (loss(y + step * v)[1] - loss(y - step * v)[1]) / (2 * step)
    found = curvature(y)
    np.testing.assert_allclose(found(v) if callable(found) else found * v, wanted, rtol=0, atol=1e-10)


def test_the_largest_eigenvalues_are_those_of_the_explicit_hessian() -> None:
    gru = engine.GRU(D, 2, dtype="float64", backend=BACKEND, seed=1)
    model = engine.Sequential(gru, linear(2, 4))
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 4, (T, B))
    y, _, tape = model.forward(floats(3, T, B, D), lengths=LENGTHS)
    dy, bend = engine.cross_entropy(y, ids)[1], curvature_of_cross_entropy(y)

    def product(direction: Arrays) -> Arrays:
        return engine.hvp(model, tape, dy, direction, bend)

    names, sizes = list(model.params), [value.size for value in model.params.values()]
    rows = []
    for unit in np.eye(sum(sizes)):
        parts = np.split(unit, np.cumsum(sizes)[:-1])
        shaped = {n: part.reshape(model.params[n].shape) for n, part in zip(names, parts, strict=True)}
        rows.append(np.concatenate([product(shaped)[n].reshape(-1) for n in names]))
    hessian = np.array(rows)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-14)
    values, vectors = np.linalg.eigh(hessian)
    found = largest_eigenvalues(product, model.params, count=3, steps=200, tol=1e-9)
    np.testing.assert_allclose(found.values, values[::-1][:3], rtol=0, atol=1e-9)
    assert found.lowest >= values[0] - 1e-9
    assert found.products < 100
    assert (found.residuals <= 1e-9 * values[-1]).all()
    top = np.concatenate([found.vectors[0][name].reshape(-1) for name in names])
    assert abs(abs(top @ vectors[:, -1]) - 1) < 1e-9


def test_lanczos_stops_where_nothing_is_left() -> None:
    diagonal = np.array([3.0, 3.0, -1.0, 3.0, 0.5, 0.5])  # an eigenvalue that stands several times counts once
    found = largest_eigenvalues(lambda v: {"w": diagonal * v["w"]}, {"w": np.zeros(6)}, count=5)
    np.testing.assert_allclose(found.values, [3, 0.5, -1], rtol=0, atol=1e-12)
    assert (found.lowest, found.products) == (found.values[2], 3)
    zero = largest_eigenvalues(lambda v: {"w": 0 * v["w"]}, {"w": np.zeros(3)}, count=2)
    assert (zero.values.tolist(), zero.residuals.tolist()) == ([0], [0])


def test_the_study_tells_a_rate_that_diverges_from_one_that_does_not() -> None:
    from benchmarks.studies import hessian

    runs = [hessian.trained(rate, steps=60) for rate in (0.3, 0.8)]
    assert [run.diverged is None for run in runs] == [True, False]
    assert runs[0].steps == [0, 50]
    assert runs[0].largest[0] == runs[1].largest[0] > 2 / 0.8
    assert runs[0].loss < 0.2
    figure = hessian.picture(runs)
    assert len(figure.axes[0].lines) == 2  # the run that diverged has none
    assert [len(row.split("|")) for row in hessian.rows(runs)] == [8, 8, 8, 8]


# -- against PyTorch ---------------------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh"])
def test_pytorchs_double_backward_gives_the_same(name: str) -> None:
    import torch

    def step(x: Any, h: Any, c: Any, p: Any, end: str) -> tuple[Any, Any]:
        """One step as PyTorch's documentation writes it; its compiled LSTM has no second derivative."""
        a, b = x @ p["weight_ih" + end].T + p["bias_ih" + end], h @ p["weight_hh" + end].T + p["bias_hh" + end]
        if name == "rnn_tanh":
            return torch.tanh(a + b), c
        if name == "gru":
            (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
            r, z = torch.sigmoid(ar + br), torch.sigmoid(az + bz)
            return (1 - z) * torch.tanh(an + r * bn) + z * h, c
        i, f, g, o = (a + b).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def run(x: Any, p: Any) -> Any:
        for layer in range(2):
            outputs = []
            for end, order in ((f"_l{layer}", range(T)), (f"_l{layer}_reverse", reversed(range(T)))):
                h = c = torch.zeros(B, H, dtype=torch.float64)
                made: list[Any] = [None] * T
                for t in order:
                    h, c = step(x[t], h, c, p, end)
                    made[t] = h
                outputs.append(torch.stack(made))
            x = torch.cat(outputs, 2)
        return x

    model = recurrent(name, num_layers=2, bidirectional=True)
    ids = np.random.default_rng(1).integers(0, 2 * H, (T, B))
    x = floats(2, T, B, D)
    v = {n: floats(3, *value.shape) for n, value in model.params.items()}
    y, _, tape = model.forward(x)
    found = engine.hvp(model, tape, engine.cross_entropy(y, ids)[1], v, curvature_of_cross_entropy(y))
    p = {n: torch.tensor(value, requires_grad=True) for n, value in model.params.items()}
    loss = torch.nn.functional.cross_entropy(run(torch.tensor(x), p).reshape(T * B, -1), torch.tensor(ids).reshape(-1))
    grads = torch.autograd.grad(loss, list(p.values()), create_graph=True)
    inner = torch.stack([(grad * torch.tensor(v[n])).sum() for n, grad in zip(p, grads, strict=True)]).sum()
    for n, wanted in zip(p, torch.autograd.grad(inner, list(p.values())), strict=True):
        np.testing.assert_allclose(found[n], wanted.numpy(), rtol=0, atol=1e-13)
