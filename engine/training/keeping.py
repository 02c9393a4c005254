"""Where a run keeps what it finds: lines of its metrics, the best weights, the state to go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from engine.training.checkpoint import BEST, LAST, write_checkpoint
from engine.training.metrics import METRICS, MetricsLog, read_metrics
from engine.training.state import Live


class Log(Protocol):
    """What else gets the lines of the metrics (`engine.training.metrics`)."""

    def begin(self, earlier: list[dict[str, Any]]) -> None:
        """Training starts; of a resumed run the lines up to where it goes on."""

    def write(self, record: Mapping[str, Any]) -> None:
        """A new line."""

    def close(self) -> None:
        """Training is over."""


class Keeper(Protocol):
    """Where the loop puts what must not be lost."""

    def begin(self) -> list[dict[str, Any]]:
        """Training starts.  Returns the lines of the metrics up to where the run goes on."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep a line of the metrics."""

    def keep_best(self, live: Live) -> None:
        """Keep the weights, which are the best so far."""

    def keep_state(self, live: Live) -> None:
        """Keep everything that decides the next step."""

    def end(self) -> None:
        """Training is over."""


class RunFiles:
    """A run's folder: ``metrics.jsonl``, ``best.safetensors``, ``last.safetensors``.

    Parameters
    ----------
    directory : locked by the caller.
    start : writes what says that the folder holds a run.
    about : metadata of every checkpoint, beside that of the state.
    figure : the name of the figure on every line of the metrics.
    lines : how many lines belong to the state from which training goes on.
    """

    def __init__(
        self, directory: Path, start: Callable[[], None], about: Callable[[], dict[str, Any]], figure: str, lines: int
    ) -> None:
        self.directory, self._start, self._about, self._figure = directory, start, about, figure
        self._lines = lines
        self._metrics: MetricsLog | None = None

    def begin(self) -> list[dict[str, Any]]:
        """See `Keeper.begin`."""
        path = self.directory / METRICS
        earlier = read_metrics(path, self._figure, self._lines)  # of a damaged file nothing is touched
        self._start()
        self._metrics = MetricsLog(path, self._lines)
        return earlier

    def write(self, record: Mapping[str, Any]) -> None:
        """See `Keeper.write`."""
        assert self._metrics is not None
        self._metrics.write(record)

    def keep_best(self, live: Live) -> None:
        """See `Keeper.keep_best`."""
        self._keep(BEST, live, everything=False)

    def keep_state(self, live: Live) -> None:
        """See `Keeper.keep_state`."""
        assert self._metrics is not None
        self._metrics.sync()
        self._keep(LAST, live, everything=True)

    def _keep(self, name: str, live: Live, everything: bool) -> None:
        assert self._metrics is not None
        arrays, meta = live.pack(everything)
        meta |= self._about()
        if everything:
            meta["metrics_lines"] = self._metrics.lines
        write_checkpoint(self.directory / name, arrays, meta)

    def end(self) -> None:
        """See `Keeper.end`."""
        if self._metrics is not None:
            self._metrics.close()


class Memory:
    """Keeps the best weights in memory, and nothing else: no file is written.

    Attributes
    ----------
    best : copies of the best weights by name; None before the first validation, or if they are not `wanted`.
    """

    def __init__(self, wanted: bool) -> None:
        self.best: dict[str, Any] | None = None
        self._wanted = wanted

    def begin(self) -> list[dict[str, Any]]:
        """See `Keeper.begin`."""
        return []

    def write(self, record: Mapping[str, Any]) -> None:
        """See `Keeper.write`."""

    def keep_best(self, live: Live) -> None:
        """See `Keeper.keep_best`."""
        if self._wanted:
            self.best = live.model.state_dict()

    def keep_state(self, live: Live) -> None:
        """See `Keeper.keep_state`."""

    def end(self) -> None:
        """See `Keeper.end`."""
