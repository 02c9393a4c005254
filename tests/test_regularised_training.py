"""Regularisers inside a training: against a loop that is written out, resumed to the byte, refused where they end."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, assert_same_run, bptt, metrics, refused, write_text

import engine
from engine.training import read_checkpoint
from engine.training.regularisers import Penalties, read_regularisers

LENGTHS = [6, 3, 1, 5]


def model_of(batch_first: bool = False, normalised: bool = False) -> Any:
    given: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}
    layers = [
        engine.GRU(3, 4, batch_first=batch_first, **given),
        engine.LSTM(4, 5, batch_first=batch_first, **given),
        engine.Dropout(0.4, **given),
        engine.Linear(5, 2, **given),
    ]
    if normalised:
        layers.insert(1, engine.BatchNorm(4, **given))
    return engine.Sequential(*layers, seed=3)


def data(rows: int = 12, steps: int = 6) -> tuple[Any, Any]:
    draw = np.random.default_rng(2)
    return draw.normal(size=(rows, steps, 3)), draw.normal(size=(rows, steps, 2))


@pytest.mark.parametrize("batch_first", [False, True])
def test_penalties_reach_every_parameter(batch_first: bool) -> None:
    """The gradient of loss and penalties, to every parameter, through a dropout mask and lengths: by differences."""
    model, penalties = model_of(batch_first), Penalties(ar=0.7, tar=1.3)
    x, target = data(4)
    mask = np.arange(6) < np.array(LENGTHS)[:, None]
    if not batch_first:
        x, target, mask = (np.ascontiguousarray(array.swapaxes(0, 1)) for array in (x, target, mask))
    counters = model.call_counters()

    def passed() -> tuple[Any, ...]:
        model.load_call_counters(counters)
        return model.forward_with_outputs(x, None, LENGTHS)

    def total() -> float:
        y, _, _, outputs = passed()
        loss, _ = engine.mse(y, target, mask)
        size, _ = engine.activation_regularization(outputs[2], 0.7, mask)
        change, _ = engine.temporal_activation_regularization(outputs[1], 1.3, mask, batch_first=batch_first)
        return float(loss + size + change)

    y, _, tape, outputs = passed()
    _, dy = engine.mse(y, target, mask)
    dx, _ = model.backward(tape, dy, inner=penalties.gradients(model, outputs, LENGTHS))
    draw = np.random.default_rng(0)
    for name, array in [*model.params.items(), ("x", x)]:
        analytic = dx if name == "x" else model.grads[name]
        direction = draw.normal(size=array.shape)
        found = []
        for sign in (1, -1):
            array += sign * 1e-5 * direction
            model.touch()
            found.append(total())
            array -= sign * 1e-5 * direction
        numeric = (found[0] - found[1]) / 2e-5
        assert abs(numeric - (analytic * direction).sum()) < 1e-8 * max(1, abs(numeric)), name


def test_inner_gradients_that_do_not_fit_are_refused() -> None:
    model = model_of()
    x = np.ascontiguousarray(data()[0].swapaxes(0, 1))
    y, _, tape = model.forward(x)
    for inner, words in (
        ({4: y}, "inner: expected places in 0..3, got 4"),
        ({"1": y}, "inner: expected places in 0..3, got '1'"),
        ([y], "inner: expected a mapping from places"),
        ({2: y.astype(np.float32)}, r"inner\[2\]: expected"),
        ({1: y}, r"inner\[1\]: expected shape \(6, 12, 5\), got shape \(6, 12, 2\)"),
    ):
        with pytest.raises(engine.EngineError, match=words):
            model.backward(tape, y, inner=inner)


def test_fit_is_the_loop_written_out() -> None:
    """Noise after clipping, penalties in the gradient, the average in validation and at the end."""
    x, y = data()
    own, fitted = model_of(), model_of()
    average = engine.WeightAverage(fitted, 0.6, start=2)
    history = engine.fit(
        fitted, x, y, epochs=3, batch_size=4, shuffle=False, clip=0.5, gradient_noise=0.02, ar=0.7, tar=1.3,
        average=average, validation=(x[:5], y[:5]), seed=9, quiet=True, optimizer=engine.SGD(fitted, lr=0.1),
    )  # fmt: skip
    optimizer, mine = engine.SGD(own, lr=0.1), engine.WeightAverage(own, 0.6, start=2)
    losses = []
    for step in range(9):
        rows = slice(4 * (step % 3), 4 * (step % 3) + 4)
        inputs, targets = (np.ascontiguousarray(array[rows].swapaxes(0, 1)) for array in (x, y))
        out, _, tape, outputs = own.forward_with_outputs(inputs)
        _, dy = engine.mse(out, targets)
        _, size = engine.activation_regularization(outputs[2], 0.7)
        _, change = engine.temporal_activation_regularization(outputs[1], 1.3)
        own.zero_grad()
        own.backward(tape, dy, inner={1: change, 2: size})
        engine.clip_grad_norm(own, 0.5)
        engine.add_gradient_noise(own, step, 0.02, seed=9)
        optimizer.step()
        mine.update()
        if step % 3 == 2:
            with mine.applied():
                losses.append(engine.evaluate(own, x[:5], y[:5])["loss"])
    np.testing.assert_allclose(history.validation_loss, losses, rtol=1e-12)
    mine.apply()
    for name, array in own.params.items():
        np.testing.assert_allclose(fitted.params[name], array, rtol=1e-11, atol=1e-13, err_msg=name)
    assert mine.count == average.count == 7


class StopAt(engine.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, progress: Any) -> None:
        if progress.step == self.step:
            raise KeyboardInterrupt


def trained(folder: Path, stop: int | None, **given: Any) -> tuple[Any, Any]:
    model = model_of(normalised=True)
    x, y = data()
    options = {"gradient_noise": 0.02, "ar": 0.7, "tar": 1.3, "average": engine.WeightAverage(model, start=3), **given}
    history = engine.fit(
        model, x, y, lengths=LENGTHS * 3, epochs=4, batch_size=5, validation=(x[:4], y[:4]), patience=3, seed=1,
        callbacks=[] if stop is None else [StopAt(stop)], out=folder, resume=True, checkpoint_every=2, quiet=True,
        optimizer=engine.Adam(model, lr=0.01), **options,
    )  # fmt: skip
    return model, history


def test_a_resumed_fit_is_the_whole_one_to_the_byte(tmp_path: Path) -> None:
    whole, history = trained(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", 7)
    resumed, again = trained(tmp_path / "parts", None)
    assert again.loss == history.loss
    assert again.validation_loss == history.validation_loss
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    for name, array in whole.saved_arrays().items():
        assert array.tobytes() == resumed.saved_arrays()[name].tobytes(), name
    for changed, words in (({"ar": 0.8}, "ar 0.7"), ({"average": None}, "average"), ({"tar": 0.0}, "tar 1.3")):
        with pytest.raises(engine.InputError, match=f"^resume: expected {words}"):
            trained(tmp_path / "parts", None, **changed)


def test_the_best_weights_are_averages(tmp_path: Path) -> None:
    """And the state to go on from has the weights themselves, beside their averages."""
    _, history = trained(tmp_path, None)
    best, last = (read_checkpoint_of_fit(tmp_path / name) for name in ("best.safetensors", "last.safetensors"))
    model = model_of(normalised=True)
    model.load_state_dict({name[6:]: array for name, array in best.items() if name.startswith("model/")})
    x, y = data()
    assert engine.evaluate(model, x[:4], y[:4])["loss"] == pytest.approx(min(history.validation_loss), rel=1e-12)
    averages = {name[8:]: array for name, array in last.items() if name.startswith("average/")}
    assert averages.keys() == model.saved_arrays().keys()
    assert any((array != last[f"model/{name}"]).any() for name, array in averages.items())
    assert not any(name.startswith("average/") for name in best)


def read_checkpoint_of_fit(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "tides.txt")


@pytest.mark.usefixtures("blank_pictures")
def test_a_resumed_run_is_the_whole_one_to_the_byte(text: Path, tmp_path: Path, capsys: Any) -> None:
    options = "--ar 2 --tar 1 --gradient-noise 0.01 --average ema --average-decay 0.9 --average-from 4 --quiet".split()
    train = ["train", text, *TINY, *options]
    assert bptt(*train, "--steps", 30, "--out", tmp_path / "whole", "--schedule", "constant") == 0
    assert bptt(*train, "--steps", 13, "--out", tmp_path / "parts", "--schedule", "constant") == 0
    assert bptt("train", text, "--resume", "--out", tmp_path / "parts", "--steps", 30, "--quiet") == 0
    whole, parts = (read_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert whole.arrays.keys() == parts.arrays.keys()
    for name, array in whole.arrays.items():
        assert array.tobytes() == parts.arrays[name].tobytes(), name
    assert whole.meta["average"] == parts.meta["average"] == {
        "decay": 0.9, "start": 4, "every": 1, "seen": 30, "count": 26,
    }  # fmt: skip
    plain = ["train", text, *TINY, "--steps", 30, "--out", tmp_path / "plain", "--schedule", "constant", "--quiet"]
    assert bptt(*plain) == 0
    assert metrics(tmp_path / "plain")[0]["loss"] == metrics(tmp_path / "whole")[0]["loss"]  # before the first update
    assert metrics(tmp_path / "plain")[5]["loss"] != metrics(tmp_path / "whole")[5]["loss"]
    capsys.readouterr()
    assert bptt("evaluate", tmp_path / "whole") == 0
    best = min(line["bpc"] for line in metrics(tmp_path / "whole") if line["kind"] == "validation")
    assert f"{best:.3f}" in capsys.readouterr().out


def test_what_is_refused(text: Path, tmp_path: Path, capsys: Any) -> None:
    for words, expected in (
        (["--average", "swa"], "--average-from: expected a step > 0 with --average swa, got 0"),
        (["--average-decay", 0.9], "--average-decay: expected --average ema beside it, got --average none"),
        (["--average", "ema", "--average-decay", 1], "--average-decay: expected a finite number > 0 and < 1"),
        (["--ar", -1], "--ar: expected a finite number >= 0"),
        (["--gradient-noise", "nan"], "--gradient-noise: expected a finite number >= 0"),
    ):
        assert refused(capsys, "train", text, *TINY, *words, "--out", tmp_path / "run").startswith(f"bptt: {expected}")
    linear, other = engine.Linear(2, 3), engine.GRU(2, 3)
    good: dict[str, Any] = {"ar": 0, "tar": 0, "gradient_noise": 0, "average": None, "seed": 0, "ranks": 1}
    for model, given, expected in (
        (linear, {"ar": 1}, "model: expected a Sequential with a recurrent layer"),
        (other, {"tar": 1}, "model: expected a Sequential with a recurrent layer"),
        (model_of(), {"tar": 1, "ranks": 2}, "tar: expected 0 in a training of several processes"),
        (linear, {"average": engine.WeightAverage(other)}, "average: expected an average of this model"),
        (linear, {"average": 0.999}, "average: expected an engine.WeightAverage of this model"),
        (linear, {"gradient_noise": "a lot"}, "gradient_noise: expected a number"),
    ):
        with pytest.raises(engine.InputError, match=f"^{expected}"):
            read_regularisers(model, **{**copy.copy(good), **given})


def test_a_loss_scale_changes_no_bit_of_penalties() -> None:
    """A power of two, multiplied into the gradients of the loss and of the penalties, and taken out again."""
    x, y = data()
    weights = []
    for scale in ("off", 2.0**10):
        model = model_of()
        given: dict[str, Any] = {"ar": 0.7, "tar": 1.3, "loss_scale": scale, "quiet": True, "batch_size": 5}
        engine.fit(model, x, y, epochs=2, optimizer=engine.SGD(model, lr=0.1), **given)
        weights.append({name: array.tobytes() for name, array in model.params.items()})
    assert weights[0] == weights[1]
