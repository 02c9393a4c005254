"""What the trainer needs from a task; the language model and the forecaster supply it."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.backend import Backend
from engine.checks import instance
from engine.layers import Sequential, from_config
from engine.training.checkpoint import Checkpoint, match_arrays


class ForwardPass(NamedTuple):
    """One forward pass in training, up to the loss.  Everything in it is on the device.

    Attributes
    ----------
    loss : 0-d, the mean over the batch's positions.
    dy : gradient of the loss with respect to the model's output, in its shape.
    state : the state after the batch, or None if none is carried on.
    tape : the tape for the model's backward pass.
    positions : how many targets the mean is over.
    """

    loss: Any
    dy: Any
    state: Any
    tape: Any
    positions: int


class Task(Protocol):
    """Data and model of a run.

    Attributes
    ----------
    model : what is trained.
    batches : batches in an epoch; step s is batch ``s % batches`` of epoch ``s // batches``, and a batch depends on
        nothing else, so that a resumed run needs the step number alone.
    fingerprint : of the data's contents.
    unit, position : the names of the task's figure and of its positions, as "bits per character" and "characters".
    title : model and data in words, for the head of a picture.
    """

    model: Sequential
    batches: int
    fingerprint: str
    unit: str
    position: str
    title: str

    def batch(self, step: int) -> tuple[Any, Any]:
        """The model's input for `step`, as the model takes it, and the targets, as `loss` takes them."""

    def loss(self, y: Any, targets: Any) -> tuple[Any, Any, int]:
        """Loss of the model's output, its gradient, and the number of positions."""

    def carried(self, step: int, state: Any) -> Any:
        """The state that the batch of `step` starts from, given the one that the batch before it left."""

    def validate(self) -> float:
        """The mean loss over the whole validation part, without dropout.  Waits for the device."""

    def figure(self, loss: float) -> tuple[str, float]:
        """Name and value of the figure that people read, from a loss."""

    def describe(self) -> dict[str, Any]:
        """The data beside the weights that is needed to use the model later, JSON-able: a vocabulary, a scaling."""


def forward(task: Task, step: int, state: Any) -> ForwardPass:
    """The forward pass of `step` from the state that the step before it left."""
    inputs, targets = task.batch(step)
    y, state, tape = task.model.forward(inputs, task.carried(step, state))
    loss, dy, positions = task.loss(y, targets)
    return ForwardPass(loss, dy, state, tape, positions)


def load_model(checkpoint: Checkpoint, backend: Backend) -> Sequential:
    """The model of a checkpoint, with its weights, on `backend`."""
    instance("checkpoint", checkpoint, Checkpoint, "a Checkpoint", "read one with read_checkpoint")
    config = checkpoint.meta["config"]
    model = from_config(checkpoint.meta["model"], backend=backend, dtype=config["dtype"], seed=config["seed"])
    assert isinstance(model, Sequential)  # check_metadata
    load_weights(model, checkpoint)
    return model


def load_weights(model: Sequential, checkpoint: Checkpoint) -> None:
    """Copy the checkpoint's weights into `model`, after checking that they are this model's."""
    weights = checkpoint.group("model")
    match_arrays(checkpoint.path, weights, model.params)
    model.load_state_dict(weights)


def fingerprint(*parts: str | np.ndarray) -> str:
    """A short hash of the data's contents: a run is resumed on the data that it was started on."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()[:16]
