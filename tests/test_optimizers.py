"""Optimisers: PyTorch's values over several steps, refused steps, exact resumption, what is refused."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import counts
from fake_cupy import BACKENDS, use_backend
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import engine
from engine.backend import Backend
from engine.errors import InputError, InputTypeError

RECORDED = Path(__file__).parent / "recorded" / "optimizers.npz"
SHAPES: dict[str, tuple[int, ...]] = {"weight": (3, 2), "bias": (3,), "gain": ()}
STEPS = 6
with np.load(RECORDED) as _file:
    VALUES = dict(_file)
CASES = [tuple(json.loads(case)) for case in VALUES["cases"]]
#: One set of options for each optimiser that uses every buffer and every factor it has.
FULL: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "l1": 0.02, "l2": 0.03}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.5, "centered": True}),
    ("Adam", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.4, "l2": 0.1}),
]
full = pytest.mark.parametrize(("kind", "options"), FULL, ids=[kind for kind, _ in FULL])


class Model:
    """The least that an optimiser takes: two dicts; counts its touches."""

    def __init__(self, backend: Backend | None = None, dtype: Any = np.float64) -> None:
        self.backend = backend or engine.get_backend("numpy", "reference")
        self.params = {name: self.backend.asarray(VALUES[name], dtype=dtype) for name in SHAPES}
        self.grads = {name: self.backend.asarray(np.zeros(shape), dtype=dtype) for name, shape in SHAPES.items()}
        self.touched = 0

    def touch(self) -> None:
        self.touched += 1

    def set_grads(self, step: int) -> None:
        for name, grad in self.grads.items():
            grad[...] = self.backend.asarray(VALUES[f"grad.{name}"][step], dtype=grad.dtype)

    def row(self) -> np.ndarray:
        return np.concatenate([self.backend.to_host(param).reshape(-1) for param in self.params.values()])


def make(kind: str, model: Any, options: dict[str, Any]) -> Any:
    return getattr(engine, kind)(model, **options)


def train(model: Model, opt: Any, steps: range = range(STEPS)) -> np.ndarray:
    rows = []
    for step in steps:
        model.set_grads(step)
        opt.step()
        rows.append(model.row())
    return np.stack(rows)


# -- the equations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(len(CASES)), ids=[f"{kind}-{options}" for kind, options in CASES])
@pytest.mark.parametrize("name", BACKENDS)
def test_every_step_is_pytorchs(name: str, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, options = CASES[k]
    model = Model(use_backend(name, monkeypatch))
    found = train(model, make(kind, model, options))
    np.testing.assert_allclose(found, VALUES[f"case.{k:02}"], rtol=1e-12, atol=1e-14)


@pytest.mark.oracle
def test_the_recorded_values_are_live_pytorchs(torch: Any) -> None:
    live = runpy.run_path(str(RECORDED.with_name("record_optimizers.py")))["record"]()
    assert live.keys() == VALUES.keys()
    for name, value in live.items():
        if value.dtype.kind == "U":
            assert name == "origin" or (value == VALUES[name]).all()
        else:
            np.testing.assert_allclose(VALUES[name], value, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("k", range(len(CASES)), ids=[f"{kind}-{options}" for kind, options in CASES])
def test_float32_stays_float32_and_close(k: int) -> None:
    kind, options = CASES[k]
    model = Model(dtype=np.float32)
    opt = make(kind, model, {**options, "lr": np.float64(options.get("lr", 0.001))})
    found = train(model, opt)
    assert found.dtype == np.float32
    assert {array.dtype.name for name, array in opt.state_dict().items() if "." in name} <= {"float32"}
    if "lr" in options:
        np.testing.assert_allclose(found, VALUES[f"case.{k:02}"], rtol=2e-4, atol=2e-5)


@full
def test_the_rate_can_be_set_between_steps(kind: str, options: dict[str, Any]) -> None:
    """A rate of 0 moves no weight, and the buffers go on."""
    model, other = Model(), Model()
    opt, control = make(kind, model, options), make(kind, other, options)
    for step in range(4):
        opt.lr = np.float64(0.0 if step == 2 else options["lr"])
        assert type(opt.lr) is float
        before = model.row()
        model.set_grads(step)
        opt.step()
        other.set_grads(step)
        control.step()
        assert (model.row() == before).all() == (step == 2)
    slots = [name for name in opt.state_dict() if "exp_avg" in name or name.startswith("square_avg")]
    for name in slots:
        if kind == "Adam":  # no coupled penalty: the buffers see the gradients alone
            np.testing.assert_array_equal(opt.state_dict()[name], control.state_dict()[name])


def test_coupled_penalties_see_the_weight_before_its_decay() -> None:
    model = Model()
    opt = engine.AdamW(model, lr=0.5, betas=(0.0, 0.0), eps=1.0, weight_decay=0.6, l1=0.25, l2=2.0)
    w = VALUES["weight"].copy()
    g = 0.25 * np.sign(w) + 2.0 * w
    opt.step()  # gradients are zero
    np.testing.assert_allclose(model.params["weight"], w * (1 - 0.5 * 0.6) - 0.5 * g / (abs(g) + 1.0), rtol=1e-13)


def test_a_constant_gradient_leaves_centred_rmsprop_finite() -> None:
    """The mean square less the squared mean goes to 0, and round-off takes it below."""
    model = Model()
    gradient = np.random.default_rng(8).normal(size=500).astype(np.float32)
    model.params, model.grads = {"w": np.ones(500, np.float32)}, {"w": gradient}
    opt = engine.RMSprop(model, lr=1e-3, alpha=0.9, centered=True)
    below = 0
    for _ in range(300):
        opt.step()
        state = opt.state_dict()
        below += int((state["square_avg.w"] < state["grad_avg.w"] ** 2).any())
    assert below > 0  # else this shows nothing
    assert np.isfinite(model.params["w"]).all()


@given(split=st.integers(1, 2), seed=st.integers(0, 99))
def test_a_list_of_models_is_one_model(split: int, seed: int) -> None:
    names = list(SHAPES)
    whole, parts = Model(), [Model(), Model()]
    for part, keep in zip(parts, (names[:split], names[split:]), strict=True):
        part.params = {name: part.params[name] for name in keep}
        part.grads = {name: part.grads[name] for name in keep}
    opt, joint = engine.Adam(whole, lr=0.1), engine.Adam(parts, lr=0.1)
    for step in range(3):
        for model in (whole, *parts):
            model.set_grads((step + seed) % STEPS)
        opt.step()
        joint.step()
    np.testing.assert_array_equal(np.concatenate([part.row() for part in parts]), whole.row())
    assert f"exp_avg.1.{names[-1]}" in joint.state_dict()


def test_models_may_share_names_and_differ_in_dtype() -> None:
    models = [Model(), Model(dtype=np.float32)]
    opt = engine.Adam(models, lr=0.1)
    for step in range(3):
        for model in models:
            model.set_grads(step)
        opt.step()
    assert models[1].row().dtype == np.float32
    np.testing.assert_allclose(models[1].row(), models[0].row(), rtol=1e-4)
    alone = Model()
    train(alone, engine.Adam(alone, lr=0.1), range(3))
    np.testing.assert_array_equal(models[0].row(), alone.row())


# -- one step ---------------------------------------------------------------------------------------------------------


@full
@pytest.mark.parametrize("name", BACKENDS)
def test_a_step_works_in_place_and_waits_for_nothing(
    name: str, kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(use_backend(name, monkeypatch))
    opt = make(kind, model, options)
    params, grads, flag = dict(model.params), dict(model.grads), opt.nonfinite
    model.set_grads(0)
    before = {n: model.backend.to_host(g).copy() for n, g in grads.items()}
    loss = model.backend.xp.asarray(model.backend.asarray(3.0))
    counts.reset()
    opt.step()
    opt.step(guard=loss)
    opt.clear_nonfinite()
    assert (counts.waits, counts.uploads) == (0, 0)
    assert all(model.params[n] is params[n] and model.grads[n] is grads[n] for n in SHAPES)
    for n in SHAPES:
        np.testing.assert_array_equal(model.backend.to_host(grads[n]), before[n])
    assert opt.nonfinite is flag
    assert int(opt.steps) == 2
    assert model.touched == 2


def test_a_step_allocates_little() -> None:
    import tracemalloc

    model = Model()
    model.params = {"w": np.ones((300, 400))}
    model.grads = {"w": np.full((300, 400), 0.5)}
    opt = engine.AdamW(model, l1=0.1, l2=0.1)
    opt.step()
    tracemalloc.start()
    try:
        opt.step()
        assert tracemalloc.get_traced_memory()[1] < 50_000  # the parameter itself has 960,000 bytes
    finally:
        tracemalloc.stop()


# -- refused steps (rule 16) ------------------------------------------------------------------------------------------


WHERE = [*SHAPES, "guard", "host guard"]


@full
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", BACKENDS)
def test_a_non_finite_value_changes_nothing_but_the_flag(
    name: str, kind: str, options: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused at the first step and again later; afterwards all is as if those steps had never been asked for."""
    bad = [np.nan, np.inf, -np.inf][(len(kind) + WHERE.index(where)) % 3]
    model, control = Model(use_backend(name, monkeypatch)), Model()
    opt, good = make(kind, model, options), make(kind, control, options)

    def refuse() -> None:
        before = opt.state_dict(), model.row()
        model.set_grads(5)
        guard: Any = None
        if where == "guard":
            guard = model.backend.asarray(bad)
        elif where == "host guard":
            guard = bad
        elif where == "gain":
            model.grads["gain"][...] = bad
        else:
            model.grads[where][-1] = bad
        opt.step(guard)
        assert bool(opt.nonfinite)
        np.testing.assert_array_equal(model.row(), before[1])
        for key, value in opt.state_dict().items():
            if hasattr(value, "dtype") and key != "nonfinite":
                np.testing.assert_array_equal(model.backend.to_host(value), model.backend.to_host(before[0][key]))

    refuse()
    train(model, opt, range(2))
    assert bool(opt.nonfinite)  # it stays set
    opt.clear_nonfinite()
    assert not bool(opt.nonfinite)
    refuse()
    opt.clear_nonfinite()
    train(model, opt, range(2, 5))
    assert not bool(opt.nonfinite)
    assert int(opt.steps) == 5
    train(control, good, range(5))
    np.testing.assert_allclose(model.row(), control.row(), rtol=1e-14)


def test_a_parameter_without_elements_is_no_obstacle() -> None:
    model = Model()
    model.params["none"], model.grads["none"] = np.zeros((0, 3)), np.zeros((0, 3))
    opt = engine.Adam(model, lr=0.1)
    for grad in model.grads.values():
        grad[...] = 1.0
    before = model.row()
    opt.step()
    assert (model.row() != before).all()


# -- saving -----------------------------------------------------------------------------------------------------------


@full
@pytest.mark.parametrize("name", BACKENDS)
def test_a_resumed_run_is_the_same_to_the_bit(
    name: str, kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = Model()
    wanted = train(straight, make(kind, straight, options))
    first = Model()
    opt = make(kind, first, options)
    train(first, opt, range(3))
    saved = opt.state_dict()
    scalars = {key: value for key, value in saved.items() if not isinstance(value, np.ndarray)}
    # As a checkpoint would bring it back: numbers through JSON, arrays through a format without 0-d arrays.
    arrays = {key: np.ascontiguousarray(value) for key, value in saved.items() if isinstance(value, np.ndarray)}
    second = Model(use_backend(name, monkeypatch))
    for key, param in second.params.items():
        param[...] = second.backend.asarray(first.params[key])
    other = make(kind, second, {**options, "lr": 0.77})
    live = other.steps, other.nonfinite
    other.load_state_dict({**json.loads(json.dumps(scalars)), **arrays})
    assert (other.steps, other.nonfinite) == live
    assert other.lr == 0.1
    found = train(second, other, range(3, STEPS))
    if name != "numpy":  # what another library, or NumPy 2.0 of a 0-d array, makes of a power may be rounded otherwise
        np.testing.assert_allclose(found, wanted[3:], rtol=1e-13)
    else:
        np.testing.assert_array_equal(found, wanted[3:])


def test_a_saved_state_is_a_copy_and_holds_the_flag() -> None:
    model = Model()
    opt = engine.Adam(model, lr=0.1)
    opt.step(guard=np.nan)
    saved = opt.state_dict()
    kept = {name: np.copy(value) for name, value in saved.items()}
    opt.clear_nonfinite()
    train(model, opt, range(2))
    for name, value in kept.items():
        np.testing.assert_array_equal(saved[name], value)
    other = engine.Adam(Model(), lr=0.1)
    other.load_state_dict(saved)
    assert bool(other.nonfinite)
    assert sorted(saved) == sorted(
        ["type", "lr", "l1", "l2", "beta1", "beta2", "eps", "steps", "nonfinite"]
        + [f"{slot}.{name}" for slot in ("exp_avg", "exp_avg_sq") for name in SHAPES]
    )


def changed(**changes: Any) -> Any:
    def change(state: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**state, **changes}.items() if value is not None}

    return change


@pytest.mark.parametrize(
    ("change", "error", "parts"),
    [
        (lambda s: [s], InputTypeError, ["state_dict: expected what state_dict() returned, got a list"]),
        (changed(type="SGD"), InputError, ["state_dict: expected the state of Adam, got type 'SGD'"]),
        (changed(type=None), InputError, ["state_dict: expected the state of Adam, got type None"]),
        (changed(eps=None), InputError, ["state_dict: expected the names", "got missing ['eps']", "; "]),
        (changed(new=1), InputError, ["state_dict: expected the names", "got unknown ['new']"]),
        (changed(lr=-1.0), InputError, ["lr: expected a number >= 0, got -1"]),
        (changed(beta1=1.0), InputError, ["beta1: expected a number >= 0 and < 1, got 1"]),
        (changed(eps="x"), InputTypeError, ["eps: expected a number >= 0, got 'x'"]),
        (changed(**{"exp_avg.bias": np.zeros(2)}), InputError, ["exp_avg.bias: expected shape (3,), got shape (2,)"]),
        (
            changed(**{"exp_avg.bias": np.zeros(3, int)}),
            InputTypeError,
            ["exp_avg.bias: expected dtype float64", "int"],
        ),
        (changed(**{"exp_avg.bias": [0, 0, 0]}), InputTypeError, ["exp_avg.bias: expected an array", "a list"]),
        (changed(steps=np.zeros(())), InputTypeError, ["steps: expected dtype int64, got dtype float64"]),
        (changed(steps=np.zeros(2, int)), InputError, ["steps: expected shape (), got shape (2,)"]),
    ],
)
def test_a_wrong_state_is_refused_and_changes_nothing(change: Any, error: type[Exception], parts: list[str]) -> None:
    model = Model()
    opt = engine.Adam(model, lr=0.1)
    train(model, opt, range(2))
    other = engine.Adam(Model(), lr=0.3)
    before = other.state_dict()
    with refused(error, *parts):
        other.load_state_dict(change(opt.state_dict()))
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "error", "parts"),
    [
        ("Adam", {"lr": -0.1}, InputError, ["lr: expected a number >= 0, got -0.1"]),
        ("Adam", {"lr": np.nan}, InputError, ["lr: expected a number >= 0, got nan"]),
        ("SGD", {"lr": np.inf}, InputError, ["lr: expected a number >= 0, got inf"]),
        ("SGD", {"lr": "0.1"}, InputTypeError, ["lr: expected a number >= 0, got '0.1'"]),
        ("SGD", {"lr": True}, InputTypeError, ["lr: expected a number >= 0, got True"]),
        ("SGD", {"lr": None}, InputTypeError, ["lr: expected a number >= 0, got None"]),
        ("SGD", {"lr": np.ones(())}, InputTypeError, ["lr: expected a number >= 0, got a numpy.ndarray"]),
        ("SGD", {"l1": -1}, InputError, ["l1: expected a number >= 0, got -1"]),
        ("SGD", {"l2": -1}, InputError, ["l2: expected a number >= 0, got -1"]),
        ("SGD", {"momentum": 9}, InputError, ["momentum: expected a number >= 0 and < 1, got 9"]),
        ("SGD", {"momentum": 0.9, "dampening": -1}, InputError, ["dampening: expected a number >= 0 and < 1, got -1"]),
        ("SGD", {"nesterov": 1}, InputTypeError, ["nesterov: expected True or False, got 1"]),
        ("SGD", {"nesterov": True}, InputError, ["nesterov: expected momentum > 0 and dampening 0 with it, got"]),
        (
            "SGD",
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            InputError,
            ["nesterov: ", "got momentum 0.9 and dampening 0.1"],
        ),
        ("Adagrad", {"lr_decay": -1}, InputError, ["lr_decay: expected a number >= 0, got -1"]),
        ("Adagrad", {"initial_accumulator_value": -1}, InputError, ["initial_accumulator_value: ", "got -1"]),
        ("Adagrad", {"eps": -1}, InputError, ["eps: expected a number >= 0, got -1"]),
        ("RMSprop", {"alpha": 1.0}, InputError, ["alpha: expected a number >= 0 and < 1, got 1.0"]),
        ("RMSprop", {"eps": -1}, InputError, ["eps: expected a number >= 0, got -1"]),
        ("RMSprop", {"momentum": -1}, InputError, ["momentum: expected a number >= 0 and < 1, got -1"]),
        ("RMSprop", {"centered": "yes"}, InputTypeError, ["centered: expected True or False, got 'yes'"]),
        ("Adam", {"betas": 0.9}, InputTypeError, ["betas: expected a pair of numbers, got 0.9"]),
        ("Adam", {"betas": (0.9,)}, InputTypeError, ["betas: expected a pair of numbers, got (0.9,)"]),
        ("Adam", {"betas": (0.9, 1.0)}, InputError, ["beta2: expected a number >= 0 and < 1, got 1.0"]),
        ("Adam", {"betas": (-0.1, 0.9)}, InputError, ["beta1: expected a number >= 0 and < 1, got -0.1"]),
        ("Adam", {"eps": np.nan}, InputError, ["eps: expected a number >= 0, got nan"]),
        ("AdamW", {"weight_decay": -1}, InputError, ["weight_decay: expected a number >= 0, got -1"]),
    ],
)
def test_bad_hyper_parameters_are_refused(
    kind: str, options: dict[str, Any], error: type[Exception], parts: list[str]
) -> None:
    with refused(error, *parts):
        make(kind, Model(), options)


def test_only_the_rate_can_be_set_and_only_to_a_rate() -> None:
    opt = engine.Adam(Model())
    with refused(InputError, "lr: expected a number >= 0, got -1"):
        opt.lr = -1
    with refused(InputError, "eps: expected no change after construction, got 1"):
        opt.eps = 1
    assert opt.lr == 1e-3
    assert repr(opt) == "Adam(lr=0.001, l1=0.0, l2=0.0, beta1=0.9, beta2=0.999, eps=1e-08)"


def edited(**changes: Any) -> Model:
    model = Model()
    for name, value in changes.items():
        setattr(model, name, value)
    return model


def shared() -> list[Model]:
    models = [Model(), Model()]
    models[1].params["weight"] = models[0].params["weight"]
    return models


HALF = {"w": np.zeros(2, np.float16)}


@pytest.mark.parametrize(
    ("model", "error", "parts"),
    [
        (lambda: 3, InputTypeError, ["model: expected an object with dicts params and grads", "got 3"]),
        (lambda: [Model(), None], InputTypeError, ["model: expected an object with dicts", "got None"]),
        (lambda: [], InputError, ["model: expected at least one parameter, got none; there is nothing to train"]),
        (lambda: edited(params={}), InputError, ["model: expected at least one parameter, got none"]),
        (lambda: edited(grads={}), InputError, ["model: expected a gradient for every parameter, 'weight' too, got"]),
        (shared, InputError, ["model: expected every parameter once, got one array as '0.weight' and '1.weight'"]),
        (lambda: edited(params={"w": [1.0]}), InputTypeError, ["params['w']: expected an array of one of", "a list"]),
        (
            lambda: edited(params=HALF, grads=HALF),
            InputTypeError,
            ["params['w']: expected dtype float32", "float16"],
        ),
        (
            lambda: edited(grads={n: g.astype(np.float32) for n, g in Model().grads.items()}),
            InputTypeError,
            ["grads['weight']: expected dtype float64, got dtype float32"],
        ),
        (
            lambda: edited(grads={n: g[..., None] for n, g in Model().grads.items()}),
            InputError,
            ["grads['weight']: expected shape (3, 2), got shape (3, 2, 1)"],
        ),
    ],
)
def test_what_is_no_model_is_refused(model: Any, error: type[Exception], parts: list[str]) -> None:
    with refused(error, *parts):
        engine.Adam(model())


def test_models_on_two_backends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Model(use_backend("look-alike", monkeypatch))
    with refused(InputError, "model: expected parameters on one backend (numpy), got '1.weight' on cupy"):
        engine.Adam([Model(), fake])


@pytest.mark.parametrize("guard", ["x", np.ones(2), np.ones((1,)), [1.0]])
def test_a_bad_guard_is_refused_before_anything_happens(guard: Any) -> None:
    model = Model()
    opt = engine.Adam(model, lr=0.1)
    model.set_grads(0)
    with refused(InputTypeError, "guard: expected None, a number or a 0-d numpy array, got "):
        opt.step(guard)
    assert int(opt.steps) == 0
    assert model.touched == 0


def test_a_gradient_of_another_shape_is_refused_at_the_step() -> None:
    model = Model()
    opt = engine.SGD(model, lr=0.1)
    model.grads["bias"] = np.ones((1,))
    with refused(InputError, "grads['bias']: expected shape (3,), got shape (1,)"):
        opt.step()
    np.testing.assert_array_equal(model.row(), Model().row())


# -- with the engine's own layers -------------------------------------------------------------------------------------


@full
def test_a_recurrent_model_learns_and_its_old_tapes_are_stale(kind: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    model = engine.Sequential(engine.Embedding(7, 4), engine.LSTM(4, 6), engine.Linear(6, 7), dtype="float32")
    ids = rng.integers(0, 7, size=(9, 3))
    targets = (ids + 2) % 7
    opt = make(kind, model, {**options, "lr": {"SGD": 0.5, "Adagrad": 0.1}.get(kind, 0.02), "l1": 0.0, "l2": 0.0})
    losses = []
    for _ in range(12):
        model.zero_grad()
        y, _, tape = model.forward(ids)
        loss, dy = engine.cross_entropy(y, targets)
        model.backward(tape, dy)
        norm = engine.clip_grad_norm(model, 5.0)
        opt.step(guard=loss)
        losses.append(float(loss))
        assert norm.dtype == np.float32
    assert losses[-1] < losses[0] - 0.1
    assert not bool(opt.nonfinite)
    assert all(param.dtype == np.float32 for param in model.params.values())
    with pytest.raises(engine.EngineError):
        model.backward(tape, dy)
