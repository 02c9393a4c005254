"""What a run shows while it works: a live line on a terminal, plain lines elsewhere, nothing with ``--quiet``.

All of it goes to standard error; standard output is for results.  A line that cannot be written (standard error is
closed, its disk is full, its terminal has gone) is dropped, and training continues.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

from engine.html_tables import FRAME, escaped
from engine.streams import Forgiving
from engine.training.packing import WASTED

#: Seconds between two plain lines, and between two movements of the live bar.
PLAIN_PAUSE, LIVE_PAUSE = 5.0, 0.1
#: Lines under the bar of a notebook.
_MOST_LINES = 12

#: What follows the value of a figure in a line; of any other, its name stands before the value.
_UNITS = {"bpc": "bits per character", "bpb": "bits per byte", "bpw": "bits per word", "rmse": "RMSE"}
#: What every line of the metrics has; the other entries are figures.
_NO_FIGURES = {"kind", "step", "epoch", "loss", "lr", "grad_norm", "loss_scale", "skipped", "best", "timing"}


def clock(seconds: float | None) -> str:
    """A duration as people write it: ``0:07``, ``12:30``, ``3:05:00``."""
    if seconds is None or not 0 <= seconds < 1e7:
        return "-:--"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@dataclass
class Moment:
    """Where a run stands.

    Attributes
    ----------
    step, total : steps made and steps to make; total is None under a budget in minutes.
    share : how much of the budget is used up, in 0..1.
    left : seconds left; None if they cannot be estimated yet.
    batches : steps of an epoch, if the place is told in epochs; else 0.
    """

    step: int
    total: int | None
    share: float
    left: float | None
    batches: int = 0


class Reporter:
    """Says nothing; base of the others.

    Parameters
    ----------
    position : what the speed counts, such as ``"characters"``.

    Attributes
    ----------
    figure : the name of the task's figure, such as ``"bpc"``; the loop sets it.
    """

    def __init__(self, position: str = "positions") -> None:
        self.position = position
        self.figure: str | None = None

    def tick(self, moment: Moment) -> None:
        """A step was made; the loss has not been read."""

    def report(self, record: Mapping[str, Any], moment: Moment) -> None:
        """A line of the metrics was written."""

    def note(self, text: str) -> None:
        """Say something that the user should know."""

    def warn(self, text: str) -> None:
        """Print a warning, with ``--quiet`` too."""
        print(f"bptt: {text}", file=cast(TextIO, Forgiving(sys.stderr)), flush=True)

    def close(self) -> None:
        """Training is over."""


class PlainReporter(Reporter):
    """A line now and then, for logs and pipes; validations more often."""

    def __init__(self, position: str = "positions", stream: TextIO | None = None) -> None:
        super().__init__(position)
        self._stream = Forgiving(stream or sys.stderr)
        self._last = -PLAIN_PAUSE

    def report(self, record: Mapping[str, Any], moment: Moment) -> None:
        """Print the line, unless another was printed a moment ago; the last one always."""
        now = time.monotonic()
        if moment.share < 1.0 and now - self._last < (PLAIN_PAUSE if record["kind"] == "train" else PLAIN_PAUSE / 5):
            return
        self._last = now
        self.note(f"{_place(moment)}  {describe(record, self.position, self.figure)}  {clock(moment.left)} left")

    def note(self, text: str) -> None:
        """Print the text."""
        self._stream.write(text + "\n")
        self._stream.flush()


@dataclass
class _Shown:
    """The pieces of the live line that stay from one report to the next."""

    train: str = "starting"
    validation: str = ""
    moved: float = field(default=-LIVE_PAUSE)


class LiveReporter(Reporter):
    """A progress bar with the latest figures, redrawn in place; validations stay above it as lines."""

    def __init__(self, position: str = "positions") -> None:
        super().__init__(position)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._shown = _Shown()
        self._bar = Progress(
            TextColumn("{task.fields[place]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TextColumn("[dim]{task.fields[left]} left"),
            console=Console(file=cast(TextIO, Forgiving(sys.stderr)), highlight=False),
            expand=True,
        )
        self._task = self._bar.add_task("", total=1.0, place="", figures=self._shown.train, left="-:--")
        self._bar.start()

    def tick(self, moment: Moment) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if now - self._shown.moved >= LIVE_PAUSE:
            self._shown.moved = now
            self._draw(moment)

    def report(self, record: Mapping[str, Any], moment: Moment) -> None:
        """Show the figures."""
        words = describe(record, self.position, self.figure)
        if record["kind"] == "train":
            self._shown.train = words
        else:
            self._bar.console.print(f"{_place(moment)}  {words}", markup=False)
        self._draw(moment)

    def note(self, text: str) -> None:
        """Print the text above the bar."""
        self._bar.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """Print the text above the bar."""
        self.note(f"bptt: {text}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def _draw(self, moment: Moment) -> None:
        left = clock(moment.left)
        fields = {"place": _place(moment), "figures": self._shown.train, "left": left}
        self._bar.update(self._task, completed=min(1.0, moment.share), **fields)  # type: ignore[arg-type]


class NotebookReporter(Reporter):
    """One output of a cell, redrawn in place: a bar with the latest figures, and the last validations under it."""

    def __init__(self, position: str = "positions") -> None:
        super().__init__(position)
        display = importlib.import_module("IPython.display")
        self._html = display.HTML
        self._shown, self._lines = _Shown(), list[str]()
        self._handle = display.display(self._html(_page("", 0.0, self._shown.train, [])), display_id=True)

    def tick(self, moment: Moment) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if now - self._shown.moved >= 5 * LIVE_PAUSE:
            self._shown.moved = now
            self._draw(moment)

    def report(self, record: Mapping[str, Any], moment: Moment) -> None:
        """Show the figures."""
        words = describe(record, self.position, self.figure)
        if record["kind"] == "train":
            self._shown.train = words
        else:
            self._lines.append(f"{_place(moment)}  {words}")
        if moment.share >= 1.0:
            self._draw(moment)

    def note(self, text: str) -> None:
        """Put the text among the lines."""
        self._lines.append(text)

    def warn(self, text: str) -> None:
        """Put the text among the lines."""
        self.note(f"bptt: {text}")

    def _draw(self, moment: Moment) -> None:
        words = f"{_place(moment)}  {self._shown.train}  {clock(moment.left)} left"
        self._handle.update(self._html(_page(words, moment.share, "", self._lines[-_MOST_LINES:])))


def _page(words: str, share: float, more: str, lines: list[str]) -> str:
    bar = f'<progress value="{min(1.0, share):.4f}" max="1" style="width:30%;vertical-align:middle"></progress>'
    below = "".join(f"<div>{escaped(line)}</div>" for line in lines)
    return f'<div style="{FRAME};font-family:monospace;white-space:pre">{bar} {escaped(words or more)}{below}</div>'


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook; IPython is not imported to find out."""
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return ask is not None and hasattr(ask(), "kernel")


def make_reporter(position: str, quiet: bool) -> Reporter:
    """The reporter that fits where it runs and where standard error goes."""
    if quiet:
        return Reporter(position)
    if in_notebook():
        return NotebookReporter(position)
    return LiveReporter(position) if Forgiving(sys.stderr).isatty() else PlainReporter(position)


def describe(record: Mapping[str, Any], position: str, figure: str | None = None) -> str:
    """One line of the metrics in words.

    Parameters
    ----------
    position : what the speed counts.
    figure : the name of the task's figure; one that has a unit is told in place of the loss of a validation.
    """
    figures = [_in_words(name, value) for name, value in record.items() if name not in _NO_FIGURES]
    if record["kind"] == "validation":
        named = any(name in _UNITS for name in (record if figure is None else [figure]))
        words = "  ".join(figures if named else [f"loss {record['loss']:.4f}", *figures])
        return f"validation {words}" + ("  (best so far)" if record["best"] else "")
    speed = record["timing"]["positions_per_s"]
    return "  ".join([f"loss {record['loss']:.4f}", *figures, f"{speed:,.0f} {position}/s"])


def _in_words(name: str, value: float | None) -> str:
    if name == WASTED and value is not None:
        return f"{100 * value:.1f} % pads"
    shown = "infinite" if value is None else f"{value:.3f}"
    return f"{shown} {_UNITS[name]}" if name in _UNITS else f"{name} {shown}"


def _place(moment: Moment) -> str:
    if moment.batches:
        epoch = max(1, -(-moment.step // moment.batches))
        return f"epoch {epoch:,}" + (f"/{-(-moment.total // moment.batches):,}" if moment.total else "")
    return f"step {moment.step:,}" if moment.total is None else f"step {moment.step:,}/{moment.total:,}"
