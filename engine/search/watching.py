"""The trainer's reports, passed on to a trial of Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import NonFiniteError, bad_input

_NO_FIGURE = {"kind", "step", "epoch", "lr", "grad_norm", "loss_scale", "skipped", "best", "timing"}


class TrialWatch:
    """Reports the figure of each validation to a trial, and asks whether the trial shall be ended early.

    The n-th validation of a trial is compared with the n-th one of others.

    Parameters
    ----------
    trial : of Optuna.
    asked : the name of the figure; None: that of the task.

    Attributes
    ----------
    figure : the name of the task's figure.
    pruned : whether the pruner wants the trial to end.
    """

    def __init__(self, trial: Any, asked: str | None) -> None:
        self.figure, self.pruned = "loss", False
        self._trial, self._asked, self._count = trial, asked, 0
        self._reached: float | None = None

    def begin(self, earlier: list[dict[str, Any]]) -> None:
        """See `engine.training.keeping.Log`; of a run that goes on, its earlier figures are reported first."""
        for record in earlier:
            self._see(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """See `engine.training.keeping.Log`."""
        if self._see(record):
            self.pruned = bool(self._trial.should_prune())

    def close(self) -> None:
        """See `engine.training.keeping.Log`."""

    def stop(self) -> bool:
        """See `engine.training.session.Watch`."""
        return self.pruned

    def reached(self) -> float:
        """The figure of the best weights, which are those with the lowest validation loss."""
        if self._reached is None:
            raise NonFiniteError(
                f"{self._asked or self.figure}: expected a finite figure of the best weights, got none"
            )
        return self._reached

    def _see(self, record: Mapping[str, Any]) -> bool:
        """Report a line of the metrics, if it has the figure."""
        if record["kind"] != "validation":
            return False
        name = self._asked or self.figure
        if name not in record:
            known = ", ".join(key for key in record if key not in _NO_FIGURE)
            raise bad_input("figure", f"one of those that a validation has ({known})", repr(name))
        self._count += 1
        value = record[name]
        if record["best"]:
            self._reached = value
        if value is None:
            return False
        self._trial.report(float(value), self._count)
        return True
