"""Recurrent batch normalisation: against a loop in PyTorch, differences, the complex step, and its running averages."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import engine
from engine.layers.batch_norm_lstm_tape import rows_by_step
from engine.layers.timeline import Timeline

T, B, D, H = 6, 5, 3, 4
LENGTHS = [6, 3, 0, 4, 6]


def layer_of(seed: int = 1, **given: Any) -> Any:
    """A layer whose parameters are all random: gains and biases as drawn would hide a wrong axis."""
    layer = engine.BatchNormLSTM(D, H, **{"max_steps": T, "dtype": "float64", "seed": seed, **given})
    draw = np.random.default_rng(seed)
    for name, array in layer.params.items():
        layer.params[name] = array + 0.4 * draw.normal(size=array.shape)
    return layer


def arguments(batch_first: bool = False) -> tuple[Any, ...]:
    draw = np.random.default_rng(7)
    x, dy = draw.normal(size=(T, B, D)), draw.normal(size=(T, B, H))
    state, dstate = (tuple(draw.normal(size=(1, B, H)) for _ in range(2)) for _ in range(2))
    if batch_first:
        x, dy = (np.ascontiguousarray(array.swapaxes(0, 1)) for array in (x, dy))
    return x, state, dy, dstate


def in_torch(torch: ModuleType, layer: Any, lengths: list[int], training: bool) -> dict[str, Any]:
    """The equations of the paper with autograd: rows that have a step are picked out, and put back."""
    given: list[Any] = [torch.tensor(a) if isinstance(a, np.ndarray) else [*map(torch.tensor, a)] for a in arguments()]
    x, state, dy, dstate = given
    p = {name: torch.tensor(array, requires_grad=True) for name, array in layer.params.items()}
    running = {name: torch.tensor(array) for name, array in layer.buffers.items()}
    x.requires_grad_(True)
    firsts = [part[0].clone().requires_grad_(True) for part in state]
    h, c = firsts
    total = torch.zeros((), dtype=torch.float64)

    def norm(name: str, v: Any, t: int, gain: Any, bias: Any) -> Any:
        mean, var = f"running_mean_{name}", f"running_var_{name}"
        return torch.nn.functional.batch_norm(
            v, running[mean][t], running[var][t], gain, bias, training and len(v) > 1, 0.1, layer.eps
        )

    for t in range(T):
        rows = [b for b in range(B) if lengths[b] > t]
        a = norm("ih", x[t, rows] @ p["weight_ih"].T, t, p["gain_ih"], torch.zeros(4 * H, dtype=torch.float64))
        a = a + norm("hh", h[rows] @ p["weight_hh"].T, t, p["gain_hh"], torch.zeros(4 * H, dtype=torch.float64))
        i, f, g, o = (a + p["bias"]).chunk(4, dim=1)
        c_new = torch.sigmoid(f) * c[rows] + torch.sigmoid(i) * torch.tanh(g)
        h_new = torch.sigmoid(o) * torch.tanh(norm("c", c_new, t, p["gain_c"], p["bias_c"]))
        place = torch.tensor(rows)
        h, c = h.index_copy(0, place, h_new), c.index_copy(0, place, c_new)
        total = total + (dy[t, rows] * h_new).sum()
    (total + (dstate[0][0] * h).sum() + (dstate[1][0] * c).sum()).backward()
    found = {"h": h, "c": c, "dx": x.grad, "dh": firsts[0].grad, "dc": firsts[1].grad, **running}
    return {name: value.detach().numpy() for name, value in found.items()} | {
        f"d{name}": value.grad.numpy() for name, value in p.items()
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [[T] * B, LENGTHS, [6, 3, 0, 4, 5]])
def test_it_is_the_paper_in_pytorch(torch: ModuleType, lengths: list[int], training: bool) -> None:
    """States, all gradients, running averages; the last lengths leave a step to one row alone."""
    layer = layer_of()
    for name, array in layer.buffers.items():  # as if it had been trained
        layer.buffers[name] = np.abs(array + 0.3 * np.random.default_rng(len(name)).normal(size=array.shape))
    expected = in_torch(torch, layer, lengths, training)
    x, state, dy, dstate = arguments()
    y, last, tape = layer.forward(x, state, lengths, training=training)
    dx, dfirst = layer.backward(tape, dy, dstate)
    found = {"h": last[0][0], "c": last[1][0], "dx": dx, "dh": dfirst[0][0], "dc": dfirst[1][0], **layer.buffers}
    found |= {f"d{name}": grad for name, grad in layer.grads.items()}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-10, atol=1e-11, err_msg=name)
    assert not any(y[lengths[b] :, b].any() for b in range(B))


def test_gradients_by_differences() -> None:
    layer = layer_of()
    x, state, _, _ = arguments()
    report = engine.gradcheck(layer, x, state, LENGTHS, entries=12)
    assert report.passed, report
    rows_first = layer_of(batch_first=True)
    report = engine.gradcheck(rows_first, arguments(batch_first=True)[0], state, LENGTHS, method="directional")
    assert report.passed, report
    with pytest.raises(engine.InputError, match="expected a layer with a forward-mode derivative"):
        engine.gradcheck(layer, x, method="adjoint")


def test_gradients_by_the_complex_step() -> None:
    """To every parameter and to x, exact to round-off: the passes run on complex arrays, statistics too."""
    layer = layer_of()
    x, state, dy, _ = arguments()
    dx, _ = layer.backward(layer.forward(x, state, LENGTHS)[2], dy)
    draw = np.random.default_rng(3)
    timeline = Timeline(layer.backend, T, B, LENGTHS)
    for name in ("x", *layer.params):
        twin = copy.deepcopy(layer)
        twin._buffers.own.update({key: array.astype(complex) for key, array in twin.buffers.items()})
        inputs, analytic = x.astype(complex), dx if name == "x" else layer.grads[name]
        direction = draw.normal(size=analytic.shape)
        if name == "x":
            inputs += 1e-30j * direction
        else:
            twin._params.own[name] = twin.params[name] + 1e-30j * direction
        found, _, _ = twin._walk(timeline.clean(inputs), timeline, state[0][0], state[1][0], rows_by_step(timeline))
        slope = (found * dy).sum().imag / 1e-30
        np.testing.assert_allclose(slope, (analytic * direction).sum(), rtol=1e-11, err_msg=name)


def test_backward_is_the_adjoint_of_the_derivative() -> None:
    """<dy, J v> = <J' dy, v> for x and the states together, J v by the complex step."""
    layer = layer_of()
    x, state, dy, dstate = arguments()
    dx, dfirst = layer.backward(layer.forward(x, state, LENGTHS)[2], dy, dstate)
    draw, timeline, small = np.random.default_rng(4), Timeline(layer.backend, T, B, LENGTHS), 1e-30j
    v, w = draw.normal(size=x.shape), [draw.normal(size=part.shape) for part in state]
    layer._buffers.own.update({key: array.astype(complex) for key, array in layer.buffers.items()})
    h, c = (part[0] + small * one[0] for part, one in zip(state, w, strict=True))
    y, last, _ = layer._walk(timeline.clean(x + small * v), timeline, h, c, rows_by_step(timeline))
    slope = ((y * dy).sum() + sum((a * b).sum() for a, b in zip(last, dstate, strict=True))).imag / 1e-30
    product = (dx * v).sum() + sum((a * b).sum() for a, b in zip(dfirst, w, strict=True))
    assert slope == pytest.approx(product, rel=1e-11)


def test_what_stands_behind_the_end_of_a_row_has_no_part() -> None:
    """Not in y, not in gradients, not in statistics; nor has a row of another length that is left out."""
    layer, twin, fewer = layer_of(), layer_of(), layer_of()
    x, state, dy, _ = arguments()
    spoilt, dspoilt = x.copy(), dy.copy()
    for b, length in enumerate(LENGTHS):
        spoilt[length:, b], dspoilt[length:, b] = np.nan, np.inf
    dx, _ = layer.backward(layer.forward(x, state, LENGTHS)[2], dy)
    dspoiled, _ = twin.backward(twin.forward(spoilt, state, LENGTHS)[2], dspoilt)
    assert dx.tobytes() == dspoiled.tobytes()
    for name, array in {**layer.grads, **layer.buffers}.items():
        assert array.tobytes() == {**twin.grads, **twin.buffers}[name].tobytes(), name
    kept = [0, 1, 3, 4]  # row 2 has no step
    fewer.forward(x[:, kept], tuple(part[:, kept] for part in state), [LENGTHS[b] for b in kept])
    for name, array in layer.buffers.items():
        np.testing.assert_allclose(fewer.buffers[name], array, rtol=1e-13, err_msg=name)


def test_each_step_has_running_averages_of_its_own() -> None:
    layer = layer_of(max_steps=4, momentum=0.25)
    x, _, _, _ = arguments()
    layer.forward(x)
    first = x[2] @ layer.params["weight_ih"].T
    np.testing.assert_allclose(layer.buffers["running_mean_ih"][2], 0.25 * first.mean(axis=0), rtol=1e-12)
    expected = 0.75 + 0.25 * first.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.buffers["running_var_ih"][2], expected, rtol=1e-12)
    before = {name: array.copy() for name, array in layer.buffers.items()}
    y, _, _ = layer.forward(x, training=False)
    np.testing.assert_array_equal(layer.predict(x)[0], y)
    for name, array in layer.buffers.items():
        assert array.tobytes() == before[name].tobytes(), name
    # Steps past the last one use its averages: an input that stays the same, from a state that does, gives the same.
    x[:] = x[3]
    layer.params["weight_hh"] = np.zeros((4 * H, H))
    layer.params["bias"] = np.repeat([9.0, -40.0, 0.3, 1.0], H)  # the forget gate is closed: c has no memory
    y, _ = layer.predict(x)
    np.testing.assert_allclose(y[4], y[3], rtol=1e-12)
    np.testing.assert_allclose(y[5], y[3], rtol=1e-12)
    assert (np.abs(y[2] - y[3]) > 1e-6).all()


def test_first_values_and_refusals() -> None:
    layer = engine.BatchNormLSTM(D, H, max_steps=2, dtype="float64")
    assert all((layer.params[name] == 0.1).all() for name in ("gain_ih", "gain_hh", "gain_c"))
    np.testing.assert_array_equal(layer.params["bias"], np.repeat([0.0, 1.0, 0.0, 0.0], H))
    x, state, dy, _ = arguments()
    _, _, tape = layer.forward(x)
    for call, words in (
        (lambda: layer.forward(x[:, :1]), "x: expected more than one row in training, got one"),
        (lambda: layer.forward(x[:, :2], lengths=[3, 0]), "x: expected more than one row in training, got one"),
        (lambda: layer.forward(x[..., :2]), "x: expected"),
        (lambda: layer.forward(x, state[0]), "state: expected a pair"),
        (lambda: layer.forward(x, (state[0], None)), "state c: expected an array"),
        (lambda: layer.backward(tape, dy[:-1]), "dy: expected"),
        (lambda: layer.stepper(), "layer: expected layers whose steps do not count"),
        (lambda: engine.BatchNormLSTM(D, H, 0), "max_steps: expected"),
        (lambda: engine.BatchNormLSTM(D, H, 3, gain=0), "gain: expected a number > 0"),
        (lambda: engine.BatchNormLSTM(D, H, 3, momentum=1.5), "momentum: expected"),
    ):
        with pytest.raises(engine.InputError, match=f"^{words}"):
            call()
    for steps, rows in ((0, B), (T, 0)):
        y, _, tape = layer.forward(np.zeros((steps, rows, D)))
        dx, dfirst = layer.backward(tape, np.ones_like(y))
        assert (y.shape, dx.shape, dfirst[1].shape) == ((steps, rows, H), (steps, rows, D), (1, rows, H))


def test_tapes_stand_for_themselves() -> None:
    layer = layer_of()
    x, state, dy, dstate = arguments()
    y, last, tape = layer.forward(x, state)
    first = layer.backward(tape, dy, dstate)[0]
    for array in (x, y, *last, *state):
        array[...] = 99.0
    part = pickle.loads(pickle.dumps(tape.steps[2]))
    np.testing.assert_array_equal(part.cell.out, tape.steps[2].cell.out)
    np.testing.assert_array_equal(layer.backward(tape, dy, dstate)[0], first)
    assert "arrays" in repr(tape)
    back = layer.window(tape, 4, T)
    np.testing.assert_allclose(layer.backward(back, dy[4:], dstate)[0], first[4:], rtol=1e-13)
    layer.params["bias"] += 1.0
    with pytest.raises(engine.EngineError, match="changed"):
        layer.backward(tape, dy)


def test_fit_saves_and_goes_on_with_the_averages(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    x, y = draw.normal(size=(20, T, D)), draw.normal(size=(20, T, 1))
    models = []
    plain: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}
    for folder, stops in (("whole", [4]), ("parts", [2, 4])):
        for epochs in stops:
            parts = engine.BatchNormLSTM(D, H, T, **plain), engine.Linear(H, 1, **plain)
            model = engine.Sequential(*parts, seed=2)
            given: dict[str, Any] = {"batch_size": 7, "lengths": [6, 3, 1, 5] * 5, "ar": 0.1, "tar": 0.1, "quiet": True}
            engine.fit(model, x, y, epochs=epochs, out=tmp_path / folder, resume=True, **given)
        models.append(model)
    last = "last.safetensors"
    assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "parts" / last).read_bytes()
    loaded = engine.load(tmp_path / "parts" / last)
    rows = np.ascontiguousarray(x.swapaxes(0, 1))
    np.testing.assert_allclose(loaded.predict(rows)[0], models[0].predict(rows)[0], rtol=1e-12)  # on other kernels
    np.testing.assert_array_equal(models[1].freeze().predict(rows)[0], models[0].predict(rows)[0])
    small = models[0].to(dtype="float32")
    np.testing.assert_allclose(small.predict(rows.astype(np.float32))[0], models[0].predict(rows)[0], atol=1e-4)


def test_on_pytorch_tensors(torch: ModuleType) -> None:
    """The same bits of the algorithm, to round-off, on another array library."""
    layer = layer_of()
    twin = layer.to(backend="torch")
    x, state, dy, dstate = arguments()
    y, _, tape = layer.forward(x, state, LENGTHS)
    dx, _ = layer.backward(tape, dy, dstate)
    there: Any = lambda array: tuple(map(torch.tensor, array)) if isinstance(array, tuple) else torch.tensor(array)  # noqa: E731
    y_there, _, tape = twin.forward(there(x), there(state), LENGTHS)
    dx_there, _ = twin.backward(tape, there(dy), there(dstate))
    np.testing.assert_allclose(y_there.numpy(), y, rtol=1e-11)
    np.testing.assert_allclose(dx_there.numpy(), dx, rtol=1e-10, atol=1e-12)
    for name, array in {**layer.grads, **layer.buffers}.items():
        value = {**twin.grads, **twin.buffers}[name].numpy()
        np.testing.assert_allclose(value, array, rtol=1e-10, atol=1e-12, err_msg=name)
