"""The learning-rate finder: what it suggests, what it leaves untouched, and what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TINY, bptt, refused, write_series, write_text

import engine
from engine.search.rates import broken, check_rates, smooth, suggested

BACKEND = "numpy:reference"


def rows() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    x = draw.standard_normal((60, 5, 2)).astype("float32")
    return x, (x[:, 1, :1] - 0.5 * x[:, 4, 1:]).astype("float32")


def make_model() -> Any:
    parts = engine.GRU(2, 7), engine.BatchNorm(7), engine.Dropout(0.3), engine.Linear(7, 1)
    return engine.Sequential(*(part.to(backend=BACKEND) for part in parts), seed=4)


def everything(model: Any, optimizer: Any) -> dict[str, Any]:
    """All that decides the next step, and the gradients."""
    state = {f"optimizer {name}": value for name, value in optimizer.state_dict().items()}
    grads = {f"gradient {name}": value for name, value in model.grads.items()}
    return copy.deepcopy({**state, **grads, **model.saved_arrays(), "calls": model.call_counters()})


def test_model_and_optimizer_are_as_before_to_the_bit() -> None:
    x, y = rows()
    model = make_model()
    adam = engine.Adam(model, lr=0.013)
    engine.fit(model, x, y, optimizer=adam, epochs=2, quiet=True)
    before = everything(model, adam)
    first = engine.find_learning_rate(model, x, y, optimizer=adam, batch_size=16)
    after = everything(model, adam)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert np.array_equal(np.asarray(after[name]), np.asarray(value)), name
    assert engine.find_learning_rate(model, x, y, optimizer=adam, batch_size=16) == first
    other = make_model()
    twin = engine.Adam(other, lr=0.013)
    engine.fit(other, x, y, optimizer=twin, epochs=2, quiet=True)
    for each, optimizer in ((model, adam), (other, twin)):
        engine.fit(each, x, y, optimizer=optimizer, epochs=2, quiet=True)
    assert all(np.array_equal(model.params[name], other.params[name]) for name in model.params)


def test_a_model_is_put_back_when_a_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows()
    model = make_model()
    adam = engine.Adam(model, lr=0.013)
    before, calls = everything(model, adam), []
    step = engine.Adam.step

    def failing(self: Any, guard: Any = None) -> None:
        calls.append(self.lr)
        if len(calls) == 5:
            raise KeyboardInterrupt
        step(self, guard)

    monkeypatch.setattr(engine.Adam, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        engine.find_learning_rate(model, x, y, optimizer=adam)
    assert np.allclose(np.diff(np.log(calls)), np.diff(np.log(calls))[0])  # the rate grows by one factor
    after = everything(model, adam)
    assert all(np.array_equal(np.asarray(after[name]), np.asarray(value)) for name, value in before.items())


def test_the_suggestion_trains_better_than_much_smaller_and_larger_rates() -> None:
    x, y = rows()
    found = engine.find_learning_rate(make_model(), x, y)
    reached = []
    for factor in (1 / 300, 1, 1000):
        model = make_model()
        history = engine.fit(
            model, x, y, optimizer=engine.Adam(model, lr=factor * found.suggestion), epochs=15, quiet=True
        )
        reached.append(history.loss[-1])
    assert reached[1] < 0.7 * min(reached[0], reached[2]), (found.suggestion, reached)


def test_the_sweep_ends_where_the_loss_breaks_out() -> None:
    x, y = rows()
    model = make_model()
    found = engine.find_learning_rate(model, x, 100 * y, optimizer=engine.SGD(model, lr=1.0), clip=None, high=1e4)
    assert found.diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 150
    assert np.isfinite(found.losses).all()
    assert found.suggestion < found.rates[-1] < 1e4


def test_the_steepest_place_of_a_curve_is_suggested() -> None:
    """A curve that is known: a fall around 1e-3, a lowest place, and a steep rise that must not count."""
    rates = check_rates(1e-6, 1.0, 120)
    place = np.log10(rates)
    curve = 3 - 2 / (1 + np.exp(-4 * (place + 3))) + np.where(place > -1, 30 * (place + 1), 0)
    assert suggested(rates.tolist(), curve.tolist()) == pytest.approx(1e-3, rel=0.15)


def test_smoothing_has_no_bias_at_its_start() -> None:
    assert smooth([2.5] * 4) == pytest.approx([2.5] * 4)
    assert smooth([1.0, 0.0, 0.0])[1] == pytest.approx(0.9 / 1.9)
    assert [broken([1.0] * 12), broken([3.0] * 6 + [1.0] * 60 + [1e3]), broken([1.0, float("nan")])] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"low": 0}, "low: expected a number > 0, got 0"),
        ({"low": 1e-2, "high": 1e-3}, "high: expected a rate above low, 0.01, got 0.001"),
        ({"steps": 5}, "steps: expected an integer >= 20, got 5"),
        ({"low": 1e20, "high": 1e30}, "low: expected a rate at which the model can be trained"),
    ],
)
def test_wrong_limits_are_one_sentence(given: dict[str, Any], words: str) -> None:
    x, y = rows()
    model = make_model()
    with pytest.raises(engine.InputError, match=words):
        engine.find_learning_rate(model, x, y, optimizer=engine.SGD(model, lr=1.0), batch_size=60, clip=None, **given)


@pytest.mark.usefixtures("blank_pictures")
def test_the_command_suggests_a_rate_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_text(tmp_path / "text.txt")
    out = tmp_path / "run"
    assert bptt("train", text, "--out", out, *TINY, "--find-rate", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert 1e-4 < said["suggestion"] < 1
    assert [entry.name for entry in out.iterdir()] == ["rate.png"]
    assert bptt("train", text, "--out", out, *TINY, "--lr", said["suggestion"], "--steps", 3, "--quiet") == 0
    assert (out / "best.safetensors").exists()
    series = write_series(tmp_path / "series.csv")
    words = refused(capsys, "train", "--task", "echo", "--data", series, "--hidden", 9, "--out", out, "--find-rate")
    assert "rates among which the loss falls" in words
    assert "--resume" in refused(capsys, "train", text, "--out", out, "--find-rate", "--resume")
