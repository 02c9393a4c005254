"""How a run always ends: a budget that is shared out, and a watchdog for what hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Budget:
    """Seconds that may still be used.

    Parameters
    ----------
    seconds : in all, from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._ends = [time.monotonic() + seconds]

    @property
    def left(self) -> float:
        """Seconds until the innermost share ends; negative when it has."""
        return min(self._ends) - time.monotonic()

    @contextmanager
    def share(self, seconds: float) -> Iterator[None]:
        """A block of code that may use so many seconds, and no more than there are."""
        self._ends.append(time.monotonic() + seconds)
        try:
            yield
        finally:
            self._ends.pop()


class Watchdog:
    """Ends the process when it says nothing for too long: a barrier that is never reached waits for ever.

    A thread of its own watches, since CuPy and PyTorch let other threads run while they wait for the device.

    Parameters
    ----------
    patience : seconds that may pass between two calls of `tell`.
    last_words : called with what was going on, before the process ends with exit code 1.
    end : ends the process.
    """

    def __init__(
        self, patience: float, last_words: Callable[[str], None], end: Callable[[int], None] = os._exit
    ) -> None:
        self._patience, self._last_words, self._end = patience, last_words, end
        self._what, self._heard = "starting", time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def tell(self, what: str) -> None:
        """Say what is done next."""
        self._what, self._heard = what, time.monotonic()

    def stop(self) -> None:
        """Watch no longer."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._patience / 4)):
            if time.monotonic() - self._heard > self._patience:
                self._last_words(self._what)
                self._end(1)
                return
