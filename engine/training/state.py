"""The trainer's state and its form in a checkpoint: arrays by name, everything else as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.training.checkpoint import Checkpoint, field

if TYPE_CHECKING:
    from engine.training.trainer import Trainer


@dataclass
class TrainerState:
    """Everything that training depends on beside weights, optimiser, dropout counters and carried state.

    Attributes
    ----------
    step : steps made.
    since, positions : steps and target positions since the last report.
    validated : the step of the last validation, -1 before the first.
    best_loss, best_step : the lowest validation loss and where it was reached.
    strikes : validations since then.
    planned : under a budget in minutes, the estimated number of steps in all; 0 before the first estimate.
    """

    step: int = 0
    since: int = 0
    positions: int = 0
    validated: int = -1
    best_loss: float | None = None
    best_step: int | None = None
    strikes: int = 0
    planned: int = 0


def pack(trainer: Trainer, everything: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata of a checkpoint.  Waits for the device.

    Parameters
    ----------
    everything : all that a resumed run needs; else what the use of the model needs.
    """
    task = trainer.task
    to_host = task.model.backend.to_host
    arrays = {f"model/{name}": to_host(value) for name, value in task.model.params.items()}
    meta: dict[str, Any] = {
        "config": trainer.config.to_json(),
        "data": task.fingerprint,
        "model": task.model.config(),
        "task": task.describe(),
        "trainer": asdict(trainer.state),
    }
    if everything:
        scalars, slots = {}, {}
        for name, value in trainer.optimizer.state_dict().items():
            if isinstance(value, str | int | float | bool):
                scalars[name] = value
            else:
                slots[f"optimizer/{name}"] = to_host(value)
        carried: dict[str, np.ndarray] = {}
        meta |= {
            "optimizer": scalars,
            "counters": task.model.call_counters(),
            "carried": _flatten(trainer.carried, "carried", carried, to_host),
            "metrics_lines": trainer.metrics.lines,
        }
        sums = {"trainer/loss_sum": to_host(trainer.loss_sum), "trainer/norm_sum": to_host(trainer.norm_sum)}
        arrays |= slots | carried | sums
    return arrays, meta


def unpack(trainer: Trainer, checkpoint: Checkpoint) -> int:
    """Set a fresh trainer to the state of a checkpoint, weights apart; returns its number of lines of metrics."""
    path, meta = checkpoint.path, checkpoint.meta
    task, backend = trainer.task, trainer.task.model.backend
    trainer.optimizer.load_state_dict({**field(path, meta, "optimizer"), **checkpoint.group("optimizer")})
    task.model.load_call_counters(field(path, meta, "counters"))
    trainer.carried = _rebuild(field(path, meta, "carried"), checkpoint.arrays, backend.asarray)
    trainer.state = TrainerState(**field(path, meta, "trainer"))
    sums = checkpoint.group("trainer")
    trainer.loss_sum[...] = backend.asarray(sums["loss_sum"])
    trainer.norm_sum[...] = backend.asarray(sums["norm_sum"])
    return int(field(path, meta, "metrics_lines"))


def _flatten(value: Any, name: str, into: dict[str, np.ndarray], to_host: Any) -> Any:
    """Put the arrays of a nest of tuples into a dict; returns the nest with their names in their places."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return [_flatten(part, f"{name}/{index}", into, to_host) for index, part in enumerate(value)]
    into[name] = to_host(value)
    return name


def _rebuild(skeleton: Any, arrays: dict[str, np.ndarray], asarray: Any) -> Any:
    """The nest that `_flatten` took apart."""
    if skeleton is None:
        return None
    if isinstance(skeleton, list):
        return tuple(_rebuild(part, arrays, asarray) for part in skeleton)
    return asarray(arrays[skeleton])
