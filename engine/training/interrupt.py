"""Ctrl-C, SIGTERM and SIGHUP as requests: the current step is finished, everything is saved, then training ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

#: SIGHUP, where there is one: the terminal was closed, or the connection to it was lost.
SIGNALS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StopRequest:
    """While entered, the first signal is a request to stop; a second SIGINT does what it did before, at once.

    A `KeyboardInterrupt` may be lost or turn into another error, for instance while Numba compiles.  Then the next
    read of `requested` raises it, or it is raised at the end in place of that error.

    Parameters
    ----------
    signals : which signals are requests; others do what they always do.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self._signals = signals
        self._requested = self._insisted = False
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        if self._insisted:
            raise KeyboardInterrupt
        return self._requested

    def __enter__(self) -> StopRequest:
        # Only the main thread may set handlers; in other threads the host program handles signals.
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                # nohup has a run ignore that its terminal is closed
                if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._insisted and isinstance(error, Exception):
            raise KeyboardInterrupt from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._requested and number == signal.SIGINT:
            self._insisted = True
            before = self._before[number]
            (before if callable(before) else signal.default_int_handler)(number, frame)
        self._requested = True
