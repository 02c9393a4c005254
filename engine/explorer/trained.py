"""Runs of a trained model: its recurrent layers on a piece of text or series, and the gradient of its last output."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.backend import get_backend
from engine.data import Vocabulary
from engine.data.windowing import next_window
from engine.errors import bad_input
from engine.explorer.runs import PLAIN, StepRun, run_of
from engine.layers import Recurrent, Sequential
from engine.losses import cross_entropy
from engine.tasks.forecasting import Scaling, read_series
from engine.training import checkpoint_in, load_model, read_checkpoint
from engine.training import sample as write_text
from engine.training.checkpoint import Checkpoint, problem
from engine.training.config import FORECAST, LANGUAGE, TrainConfig
from engine.training.session import vocabulary_of

#: Steps that are shown.
STEPS = 16


class Probe(NamedTuple):
    """What a model is run on.

    Attributes
    ----------
    x : (T, 1) ids, or (T, 1, C) numbers.
    target : the id that the last output is to foretell; None where the loss is the first number of the last output.
    labels : what stands at each step; empty where there is nothing to read.
    about : where it comes from, in words.
    """

    x: np.ndarray
    target: int | None
    labels: tuple[str, ...]
    about: str


def trained_runs(path: Path, which: str | None = None, text: str = "") -> list[StepRun]:
    """The recurrent layers of a trained model, each as a run for the page.

    Parameters
    ----------
    path : Path
        A run's directory or a checkpoint file.
    which : str or None
        ``"best"`` or ``"last"``, of a directory.
    text : str
        What a character model reads; its last character is the one to be foretold.  Empty: the model writes it.

    Returns
    -------
    list of StepRun
        The lowest layer first, eight units of each.

    Raises
    ------
    InputError
        for a text that is too short, or has a character that the model does not know.
    EngineError
        for a run that is not there, or cannot be read.
    """
    checkpoint = read_checkpoint(checkpoint_in(path, which))
    task = checkpoint.meta["config"]["task"]
    if task not in (LANGUAGE, FORECAST):
        expected = f"a run of the task {LANGUAGE!r} or {FORECAST!r}"
        hint = "explore without RUN shows every cell, and bptt trace measures the gradient flow of other runs"
        raise bad_input("RUN", expected, f"one of the task {task!r} in {path}", hint)
    model = load_model(checkpoint, get_backend(PLAIN))
    is_forecaster = task == FORECAST
    if is_forecaster and text:
        raise bad_input("text", "no text for a forecaster", repr(text), "it reads the end of its own series")
    probe = _series(checkpoint) if is_forecaster else _characters(checkpoint, model, text)
    runs = runs_of_model(model, probe)
    if not runs:
        raise problem(checkpoint.path, "a model with a recurrent layer", "one without", "name another run")
    return runs


def _characters(checkpoint: Checkpoint, model: Sequential, text: str) -> Probe:
    vocabulary = vocabulary_of(checkpoint)
    if not isinstance(vocabulary, Vocabulary):
        raise problem(checkpoint.path, "a model of characters", f"one of {vocabulary.level}", "name another run")
    about = "a trained model on your text"
    if not text:
        text = "".join(write_text(model, vocabulary, STEPS + 1, temperature=0.7))
        about = "a trained model on a text that it wrote"
    if len(text) < 4:
        raise bad_input("text", "at least 4 characters", repr(text))
    shown = text[-STEPS - 1 :]
    ids = vocabulary.encode(shown, "text")
    labels = tuple(repr(character)[1:-1] if character != " " else "␣" for character in shown[:-1])
    return Probe(ids[:-1, None], int(ids[-1]), labels, f"{about}; loss: the cross entropy of the last character")


def _series(checkpoint: Checkpoint) -> Probe:
    config = TrainConfig.from_json(checkpoint.meta["config"])
    series = read_series(config)
    window = next_window(series.values, config.window, config.horizon, filled=series.filled)
    values = np.asarray(Scaling.of(checkpoint).apply(window).x[0])[-STEPS:]
    about = f"a trained model on the last {len(values)} rows of its series; loss: its first forecast"
    return Probe(values[:, None], None, (), about)


def runs_of_model(model: Sequential, probe: Probe) -> list[StepRun]:
    """Forward and backward through a whole model; each recurrent layer as a run.

    Parameters
    ----------
    model : Sequential
        On the plain kernels.
    probe : Probe
        What it reads.

    Returns
    -------
    list of StepRun
        The lowest layer first; empty if there is no recurrent layer.
    """
    wide = model.to(dtype="float64")
    values: Any = probe.x if probe.x.dtype.kind == "i" else probe.x.astype(np.float64)
    entered, tapes = [], []
    for layer in wide.layers:
        entered.append(values)
        values, _, tape = layer.forward(values, training=False)
        tapes.append(tape)
    dy = _gradient(values, probe.target)
    found: list[StepRun] = []
    for k in range(len(wide.layers) - 1, -1, -1):
        layer = wide.layers[k]
        if isinstance(layer, Recurrent):
            found = _stack(layer, entered[k], dy, probe) + found
        if not any(isinstance(lower, Recurrent) for lower in wide.layers[:k]):
            break
        dy, _ = layer.backward(tapes[k], dy)
    return [run._replace(title=_title(run, number, len(found))) for number, run in enumerate(found)]


def _gradient(y: np.ndarray, target: int | None) -> np.ndarray:
    """Gradient of the loss with respect to the model's output (T, 1, K): 0 but for the last step."""
    dy = np.zeros_like(y)
    if target is None:
        dy[-1, 0, 0] = 1.0
    else:
        dy[-1] = cross_entropy(y[-1:], np.array([[target]]))[1][0]
    return dy


def _stack(layer: Recurrent, x: np.ndarray, dy: np.ndarray, probe: Probe) -> list[StepRun]:
    """The layers of one stack."""
    found = [run_of(layer, x, None, dy, number, None, probe.about) for number in range(layer.num_layers)]
    return [run._replace(labels=probe.labels) for run in found]


def _title(run: StepRun, number: int, count: int) -> str:
    """What the page calls one of all recurrent layers of a model."""
    return f"{run.cell.title}: {f'layer {number + 1} of {count}' if count > 1 else 'the trained layer'}"
