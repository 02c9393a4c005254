"""What training leaves behind: losses and figures of every epoch, as a table, a picture and a data frame."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.html_tables import table
from engine.training.packing import WASTED

#: What every line of the metrics has; its other entries are figures.
_FIXED = {"kind", "step", "epoch", "loss", "lr", "grad_norm", "loss_scale", "skipped", "best", "timing"}
#: Rows of the table in a notebook, from the end.
_MOST_ROWS = 30


@dataclass(repr=False)
class History:
    """The course of training, a value for each epoch; what `engine.fit` returns.

    Attributes
    ----------
    loss : list of float
        Mean training loss of each epoch, while the weights changed and with dropout.
    validation_loss : list of float
        Loss on the validation rows after each epoch; empty without validation.
    metrics : dict of str to list of float
        The metrics asked for after each epoch: on the validation rows, or on the training rows if there are none.
    wasted_steps : list of float
        The share of the steps of each epoch that were pads, in [0, 1); empty if the rows are of one length.
    lr : list of float
        Learning rate of the last step of each epoch.
    seconds : list of float
        Seconds of training up to the end of each epoch, over all sessions.
    best_epoch : int or None
        The epoch with the lowest validation loss, counted from 1; None without validation.
    ending : str
        ``"complete"``, ``"stopped early"`` (by patience) or ``"stopped"`` (by a callback).
    out : str or None
        The run's folder.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Sequential(engine.GRU(2, 4), engine.Linear(4, 1))
    >>> x = np.random.default_rng(0).random((40, 6, 2))
    >>> history = engine.fit(model, x, x[:, -1, :1], validation=0.25, metrics=["mae"], epochs=3, quiet=True)
    >>> list(history.columns())
    ['epoch', 'loss', 'validation_loss', 'mae', 'lr', 'seconds']
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    wasted_steps: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    ending: str = ""
    out: str | None = None

    @property
    def epochs(self) -> int:
        """Epochs that were trained, those of earlier sessions included."""
        return len(self.loss)

    def columns(self) -> dict[str, list[Any]]:
        """The values by name, as the data frame has them."""
        found: dict[str, list[Any]] = {"epoch": list(range(1, self.epochs + 1)), "loss": self.loss}
        if self.validation_loss:
            found["validation_loss"] = self.validation_loss
        clash = {name: f"metric_{name}" for name in self.metrics if name in found}
        found |= {clash.get(name, name): values for name, values in self.metrics.items()}
        if self.wasted_steps:
            found[WASTED] = self.wasted_steps
        return {**found, "lr": self.lr, "seconds": self.seconds}

    def to_frame(self) -> Any:
        """Make a data frame of pandas, which has to be installed.

        Returns
        -------
        pandas.DataFrame
            A row for each epoch.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError("to_frame: expected pandas, got no such package; pip install pandas") from error
        return pandas.DataFrame(self.columns()).set_index("epoch")

    def plot(self, path: Any = None) -> Any:
        """Draw the losses and the metrics over the epochs.

        Parameters
        ----------
        path : str or path, optional
            A file to write, its kind by its ending; None returns the figure alone.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.
        """
        from engine.training.fitting.history_picture import draw_history

        return draw_history(self, path)

    def __repr__(self) -> str:
        if not self.loss:
            return "<History: no epoch>"
        words = [f"{self.epochs} epochs", f"loss {self.loss[-1]:.4g}"]
        if self.validation_loss:
            words.append(f"validation loss {self.validation_loss[-1]:.4g}, best in epoch {self.best_epoch}")
        words += [f"{name} {values[-1]:.4g}" for name, values in self.metrics.items() if values]
        return f"<History: {', '.join([*words, self.ending])}>"

    def _repr_html_(self) -> str:
        """The last epochs as a table for notebooks."""
        columns = self.columns()
        rows = list(zip(*columns.values(), strict=True))
        below = f"the last {_MOST_ROWS} of {len(rows)} epochs" if len(rows) > _MOST_ROWS else ""
        words = [[_in_words(value) for value in row] for row in rows[-_MOST_ROWS:]]
        return table(f"{self.epochs} epochs, {self.ending}", list(columns), words, below)


def history_of(
    records: Sequence[Mapping[str, Any]], batches: int, metrics: Sequence[str], validated: bool, **others: Any
) -> History:
    """The history that lines of metrics tell.

    Parameters
    ----------
    records : lines of the metrics, in order.
    batches : steps of an epoch; a line in the middle of an epoch, where a run was interrupted, is left out.
    metrics : names of the metrics that were asked for.
    validated : whether the lines of validations are of validation rows.
    """
    found = History(metrics={name: [] for name in metrics}, **others)
    best: float | None = None
    for record in records:
        if record["step"] % batches:
            continue
        if record["kind"] == "train":
            found.loss.append(record["loss"])
            found.lr.append(record["lr"])
            if WASTED in record:
                found.wasted_steps.append(record[WASTED])
            found.seconds.append(record["timing"]["elapsed_s"])
            continue
        for name in metrics:
            value = record.get(name)
            found.metrics[name].append(float("nan") if value is None else value)
        if validated:
            found.validation_loss.append(record["loss"])
            if best is None or record["loss"] < best:
                best, found.best_epoch = record["loss"], record["step"] // batches
    return found


def _in_words(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
