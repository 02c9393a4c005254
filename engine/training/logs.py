"""Logs for other programs: the lines of the metrics as CSV, and for TensorBoard.

A log goes to `engine.fit` among its callbacks, or to `engine.training.Trainer` as one of its ``logs``.  Of a resumed
run the earlier lines are written again, so the log always tells the whole run.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.atomic import storage_error, write_atomic
from engine.checks import file_name, one_of
from engine.errors import bad_input

#: Columns that come first, and last, where a line has them.
_FIRST = ("kind", "step", "epoch", "loss")
_LAST = ("lr", "grad_norm", "loss_scale", "skipped", "best", "elapsed_s", "positions_per_s")
#: What is no curve.
_NO_CURVE = {"kind", "step", "epoch", "best", "timing"}


class CSVLog:
    """Lines of the metrics as a table: a row for each report and each validation, empty where a line has no value.

    A line with a figure that no line had before gives the whole table a new column.

    Parameters
    ----------
    path : str or path
        The file; one that is there is replaced.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import engine
    >>> from engine.training.logs import CSVLog
    >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
    >>> model = engine.Sequential(engine.GRU(2, 4), engine.Linear(4, 1))
    >>> x = np.random.default_rng(0).random((40, 6, 2))
    >>> history = engine.fit(model, x, x[:, -1, :1], epochs=2, metrics=["mae"], callbacks=[CSVLog(path)], quiet=True)
    >>> with open(path) as file:
    ...     print(file.readline().strip())
    kind,step,epoch,loss,mae,lr,grad_norm,best,elapsed_s,positions_per_s
    """

    def __init__(self, path: Any) -> None:
        self.path = file_name("path", path)
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = []

    def begin(self, earlier: list[dict[str, Any]]) -> None:
        """Start the table with the lines of earlier sessions."""
        self._rows = [_flat(record) for record in earlier]
        self._rewrite()

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a row."""
        row = _flat(record)
        self._rows.append(row)
        if not row.keys() <= set(self._columns):
            self._rewrite()
            return
        try:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self._columns, restval="", lineterminator="\n").writerow(row)
        except OSError as error:
            raise storage_error(self.path, "to append a row", error, "path") from error

    def close(self) -> None:
        """Nothing is left to do: the file is whole after every row."""

    def _rewrite(self) -> None:
        names = {name for row in self._rows for name in row}
        figures = [name for row in self._rows for name in row if name not in (*_FIRST, *_LAST)]
        first, last = ([name for name in some if name in names] for some in (_FIRST, _LAST))
        self._columns = [*first, *dict.fromkeys(figures), *last] or list(_FIRST)
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        write_atomic(self.path, text.getvalue().encode(), "path")


class TensorBoardLog:
    """Curves for TensorBoard: ``train/loss``, ``validation/loss``, and so on for each figure, over the steps.

    It needs tensorboardX: ``pip install 'bptt-engine[tensorboard]'``.  ``tensorboard --logdir FOLDER`` shows them.

    Parameters
    ----------
    folder : str or path
        Where the event files go.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = file_name("folder", folder)
        try:
            self._library = importlib.import_module("tensorboardX")
        except ImportError as error:
            hint = "pip install 'bptt-engine[tensorboard]'"
            raise ImportError(f"TensorBoardLog: expected tensorboardX, got no such package; {hint}") from error
        self._writer: Any = None

    def begin(self, earlier: list[dict[str, Any]]) -> None:
        """Start anew with the lines of earlier sessions: older event files of this log are removed."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            for entry in os.scandir(self.folder):
                if entry.name.startswith("events.out.tfevents.") and entry.name.endswith(".bptt"):
                    os.unlink(entry.path)
        except OSError as error:
            raise storage_error(self.folder, "to write event files", error, "folder") from error
        self._writer = self._library.SummaryWriter(str(self.folder), filename_suffix=".bptt")
        for record in earlier:
            self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a point to each curve."""
        for name, value in record.items():
            if name not in _NO_CURVE and value is not None:
                self._writer.add_scalar(f"{record['kind']}/{name}", value, record["step"])
        speed = record["timing"].get("positions_per_s")
        if speed:
            self._writer.add_scalar(f"{record['kind']}/positions_per_s", speed, record["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


def make_log(name: str, folder: Path, label: Callable[[str], str] = str) -> CSVLog | TensorBoardLog:
    """The log of a run in its folder: ``"csv"`` or ``"tensorboard"``.

    Raises
    ------
    InputError
        for another name, or if tensorboardX is not there.
    """
    one_of(label("logs"), name, ("csv", "tensorboard"))
    if name == "csv":
        return CSVLog(folder / "metrics.csv")
    try:
        return TensorBoardLog(folder / "tensorboard")
    except ImportError as error:
        hint = "pip install 'bptt-engine[tensorboard]'"
        raise bad_input(label("logs"), "tensorboardX for a log of that kind", "no such package", hint) from error


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the metrics without its inner record."""
    return {**{name: value for name, value in record.items() if name != "timing"}, **record["timing"]}
