"""What the trainer needs from a task, and the forward pass of a step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.backend import Backend
from engine.checks import instance
from engine.layers import Sequential, from_config
from engine.layers.base import Layer
from engine.long_sequences.parts import advance
from engine.training.checkpoint import Checkpoint, match_arrays
from engine.training.regularisers import NO_PENALTIES, Penalties


class Batch(NamedTuple):
    """What a step computes on, as the model and the loss take it.

    Attributes
    ----------
    x : the model's input, time-major unless the model has ``batch_first``; on the device, or ids on the host.
    targets : what `Task.loss` compares the output with.
    lengths : (B,) valid steps of each row, on the host; None: all steps of all rows.
    mask : the targets that count, or their weights, in the targets' leading shape; None: all.
    carry : the steps of x after which the state is carried on, where the next batch overlaps this one; None: all.
    """

    x: Any
    targets: Any
    lengths: Any = None
    mask: Any = None
    carry: int | None = None


class Validation(NamedTuple):
    """What a validation found.

    Attributes
    ----------
    loss : the mean loss; the weights with the lowest one are the best.
    figures : further figures by name, such as ``{"accuracy": 0.93}``; written beside the loss.
    """

    loss: float
    figures: Mapping[str, float] = MappingProxyType({})


class ForwardPass(NamedTuple):
    """One forward pass in training, up to the loss.  Everything in it is on the device.

    Attributes
    ----------
    loss : 0-d, the mean over the batch's positions.
    dy : gradient of the loss with respect to the model's output, in its shape.
    state : the state after the batch, or None if none is carried on.
    tape : the tape for the model's backward pass.
    positions : how many targets the mean is over.
    inner : gradients of the outputs of the model's layers by their places, beside that of its own output.
    """

    loss: Any
    dy: Any
    state: Any
    tape: Any
    positions: int
    inner: Mapping[int, Any] = MappingProxyType({})

    def scaled(self, scale: Callable[[Any], Any]) -> ForwardPass:
        """The pass with gradients that `scale` has multiplied."""
        return self._replace(dy=scale(self.dy), inner={place: scale(one) for place, one in self.inner.items()})

    def backward(self, model: Any) -> None:
        """The backward pass: adds to the gradients of the model."""
        with model.already_checked(self.tape):  # the weights are those of the forward pass: they are read once
            if self.inner:
                model.backward(self.tape, self.dy, inner=self.inner)
            else:
                model.backward(self.tape, self.dy)


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

    batches: int
    unit: str
    position: str
    title: str

    @property
    def model(self) -> Layer:
        """See above; a property, so that a task may say which layer it is."""

    @property
    def fingerprint(self) -> str:
        """See above; a property, so that large data need not be read before it is asked for."""

    def batch(self, step: int) -> Batch:
        """The batch of `step`."""

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Loss of the model's output for `batch`, its gradient by the output, and the number of positions."""

    def carried(self, step: int, state: Any) -> Any:
        """The state that the batch of `step` starts from, given the one that the batch before it left."""

    def validate(self) -> Validation:
        """Loss and figures over the whole validation part, without dropout.  Waits for the device."""

    def figure(self, loss: float) -> tuple[str, float]:
        """Name and value of the figure that people read, from a loss."""

    def describe(self) -> dict[str, Any]:
        """The data beside the weights that is needed to use the model later, JSON-able: a vocabulary, a scaling."""


class RunTask(Task, Protocol):
    """A task that the command line knows (`engine.training.kinds.TaskKind`)."""

    def notes(self) -> Sequence[str]:
        """Notes on the data, shown before training starts."""

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What came of a run beside its loss."""


def forward(task: Task, step: int, state: Any, penalties: Penalties = NO_PENALTIES) -> ForwardPass:
    """The forward pass of `step` from the state that the step before it left."""
    batch, model = task.batch(step), task.model
    carried, counters = task.carried(step, state), model.call_counters()
    if penalties:
        assert isinstance(model, Sequential)
        y, state, tape, outputs = model.forward_with_outputs(batch.x, carried, batch.lengths)
    else:
        y, state, tape = model.forward(batch.x, carried, batch.lengths)
    if batch.carry is not None:
        state = _state_after(model, batch, carried, counters)
    loss, dy, positions = task.loss(y, batch)
    if not penalties:
        return ForwardPass(loss, dy, state, tape, positions)
    assert isinstance(model, Sequential)
    return ForwardPass(loss, dy, state, tape, positions, penalties.gradients(model, outputs, batch.lengths))


def _state_after(model: Layer, batch: Batch, state: Any, counters: Mapping[str, int]) -> Any:
    """The state after the first steps of a batch, with the masks that the whole batch has."""
    if not batch.carry:
        return state
    reached = model.call_counters()
    model.load_call_counters(counters)
    try:
        return advance(model, batch.x[: batch.carry], state)
    finally:
        model.load_call_counters(reached)


def load_model(checkpoint: Checkpoint, backend: Backend) -> Any:
    """The model of a checkpoint, a `Layer`, with its weights, on `backend`."""
    instance("checkpoint", checkpoint, Checkpoint, "a Checkpoint", "read one with read_checkpoint")
    config = checkpoint.meta["config"]
    model = from_config(checkpoint.meta["model"], backend=backend, dtype=config["dtype"], seed=config["seed"])
    load_weights(model, checkpoint)
    return model


def load_weights(model: Layer, checkpoint: Checkpoint) -> None:
    """Copy the checkpoint's weights into `model`, after checking that they are this model's."""
    weights = checkpoint.group("model")
    match_arrays(checkpoint.path, weights, model.saved_arrays())
    model.load_state_dict(weights)


def fingerprint(*parts: str | np.ndarray) -> str:
    """A short hash of the data's contents: a run is resumed on the data that it was started on."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()[:16]
