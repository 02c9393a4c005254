"""What changes while a run trains, and its form in a checkpoint: arrays by name, everything else as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.checks import instance, integer
from engine.layers.base import Layer
from engine.optimizers.base import Optimizer
from engine.optimizers.loss_scaling import LossScaler
from engine.training.checkpoint import Checkpoint, field, problem
from engine.training.container import RESTORE
from engine.training.regularisers import Regularisers


@dataclass
class Position:
    """Where a run stands: plain numbers.

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


class Live:
    """Everything that decides the next step, beside data and options.

    Attributes
    ----------
    model, optimizer : as they stand.
    position : `Position`.
    carried : the state that the last batch left, a nest of tuples of arrays, or None.
    made_before : updates that the optimiser had made before this run; an object of the user's may have made some.
    unsent : while a state is kept or restored, (ranks, ...) by parameter: what the ranks have not sent of gradients.
    regularisers : what a step does beside the plain one; an average of the weights is part of the state.
    scaler : of the loss; None where it is not scaled.
    reported_skips : steps that had been skipped at the last report.
    loss_sum, norm_sum : 0-d float64 on the device: loss times positions, and gradient norm, since the last report.
    """

    def __init__(self, model: Layer, optimizer: Optimizer, scaler: LossScaler | None = None) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.reported_skips = 0
        self.position = Position()
        self.carried: Any = None
        self.unsent: dict[str, np.ndarray] = {}
        self.regularisers = Regularisers()
        self.made_before = int(model.backend.to_host(optimizer.steps))
        xp = model.backend.xp
        self.loss_sum = xp.zeros((), dtype=np.float64)
        self.norm_sum = xp.zeros((), dtype=np.float64)

    def pack(self, everything: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and metadata for a checkpoint.  Waits for the device.

        Parameters
        ----------
        everything : whether to pack all that a resumed run needs, or only what is needed to use the model.
        """
        to_host = self.model.backend.to_host
        arrays = {f"model/{name}": to_host(value) for name, value in self.model.saved_arrays().items()}
        meta: dict[str, Any] = {"model": self.model.config(), "trainer": asdict(self.position)}
        if not everything:
            return arrays, meta
        average = self.regularisers.average
        if average is not None:
            arrays |= {f"average/{name}": to_host(value) for name, value in average.averages.items()}
            meta["average"] = average.numbers()
        arrays |= {f"unsent/{name}": value for name, value in self.unsent.items()}
        scalars: dict[str, Any] = {}
        for name, value in self.optimizer.state_dict().items():
            if isinstance(value, str | int | float | bool):
                scalars[name] = value
            else:
                arrays[f"optimizer/{name}"] = to_host(value)
        arrays["trainer/loss_sum"], arrays["trainer/norm_sum"] = to_host(self.loss_sum), to_host(self.norm_sum)
        meta["optimizer"], meta["counters"] = scalars, self.model.call_counters()
        if self.scaler is not None:
            meta["loss_scale"] = {**self.scaler.state_dict(), "reported": self.reported_skips}
        if self.made_before:
            meta["made_before"] = self.made_before
        meta["carried"] = _flatten(self.carried, "carried", arrays, to_host)
        return arrays, meta

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Take over the state of a checkpoint, weights apart (`engine.training.task.load_weights`)."""
        path, meta, backend = checkpoint.path, checkpoint.meta, self.model.backend
        self.optimizer.load_state_dict({**field(path, meta, "optimizer"), **checkpoint.group("optimizer")})
        self.model.load_call_counters(field(path, meta, "counters"))
        self.carried = _rebuild(field(path, meta, "carried"), checkpoint.arrays, backend.asarray)
        self.unsent = checkpoint.group("unsent")
        self.position = Position(**field(path, meta, "trainer"))
        if self.regularisers.average is not None:
            arrays = {f"average.{name}": value for name, value in checkpoint.group("average").items()}
            self.regularisers.average.load_state_dict({**field(path, meta, "average"), **arrays})
        self.made_before = int(meta.get("made_before", 0))
        made, step = int(checkpoint.arrays["optimizer/steps"]) - self.made_before, self.position.step
        made += self._unpack_scale(meta.get("loss_scale"))
        if made != step:
            raise problem(path, f"as many updates as steps, {step:,}", f"{made:,}", RESTORE)
        sums = checkpoint.group("trainer")
        self.loss_sum[...] = backend.asarray(sums["loss_sum"])
        self.norm_sum[...] = backend.asarray(sums["norm_sum"])

    def _unpack_scale(self, said: Any) -> int:
        """Go on with the scale of a checkpoint; how many steps had been skipped."""
        if said is None:
            return 0
        state = dict(instance("loss_scale", said, Mapping, "the state of a LossScaler"))
        self.reported_skips = integer("reported", state.pop("reported", None), 0)
        scaler = LossScaler() if self.scaler is None else self.scaler
        scaler.load_state_dict(state)
        return int(state["skipped"])


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
