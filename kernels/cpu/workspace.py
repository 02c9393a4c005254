"""Large arrays that are used again: a fresh one costs a page fault for every 4 KiB, at every training step.

`empty` hands out an array; when the last reference to it and to all its views is gone, its memory comes back here and
serves the next one that fits.  An array that is still alive, on a tape or in a user's hands, is never touched.

Waiting memory and memory in use together never exceed the most that was in use at one time, plus `SPARE`.  The spare is
for the temporary arrays of forward and of backward: they are never in use at one time, but every step needs both.  A
block that nothing has needed for some tens of steps is freed.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np

from kernels import events

SMALL = 1 << 16  # bytes; below, NumPy's own allocator is as good
PATIENCE = 1024  # a waiting block is freed after so many other arrays were handed out
SPARE = 1 << 26  # bytes beyond the most that was in use at one time; at most as much again
_ALIGNMENT = 64  # bytes: where a cache line begins


class _Store:
    """The blocks of one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.busy = False  # a signal handler or a finalizer of the user's may come here while this thread is in here
        # (change of the bytes in use, block that comes back or None), in the order of events.  Appending needs no lock:
        # arrays end at any time and in any thread.
        self.news: deque[tuple[int, np.ndarray | None]] = deque()
        self.waiting: dict[int, tuple[int, int, np.ndarray]] = {}  # by number, the longest waiting first
        self.by_room: dict[int, list[int]] = {}  # numbers of the waiting blocks of each size, the latest last
        self.number = self.handed_out = 0
        self.in_use = self.most_in_use = self.waits = 0  # bytes

    def take(self, room: int) -> np.ndarray | None:
        """A waiting block of that size, or None; either way, so many more bytes count as in use."""
        self.news.append((room, None))
        with self.lock:
            if self.busy:
                return None
            self.busy = True
            try:
                self._sort_in()
                numbers = self.by_room.get(room)
                block = self._remove(numbers[-1]) if numbers else None
                self._let_go()
                return block
            except BaseException:  # Ctrl-C between two lines: an empty store is better than a wrong one
                self._forget()
                raise
            finally:
                self.busy = False

    def clear(self) -> None:
        """Free every waiting block."""
        with self.lock:
            if not self.busy:
                self._sort_in()
                self._forget()

    def _sort_in(self) -> None:
        while self.news:
            change, block = self.news.popleft()
            self.in_use += change
            self.most_in_use = max(self.most_in_use, self.in_use)
            if block is None:
                self.handed_out += 1
            else:
                self.number += 1
                self.waiting[self.number] = (-change, self.handed_out, block)
                self.by_room.setdefault(-change, []).append(self.number)
                self.waits -= change

    def _let_go(self) -> None:
        most = self.most_in_use + min(self.most_in_use, SPARE)
        while self.waiting:
            oldest = next(iter(self.waiting))
            since = self.waiting[oldest][1]
            if self.in_use + self.waits <= most and self.handed_out - since <= PATIENCE:
                break
            self._remove(oldest)

    def _remove(self, number: int) -> np.ndarray:
        room, _, block = self.waiting.pop(number)
        self.by_room[room].remove(number)
        if not self.by_room[room]:
            del self.by_room[room]
        self.waits -= room
        return block

    def _forget(self) -> None:
        self.waiting.clear()
        self.by_room.clear()
        self.waits = 0


_store = _Store()
#: What is in use: the reference that tells of an array's end, and what comes back then.
_lent: dict[int, tuple[Any, _Store, int, np.ndarray]] = {}


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array whose values are not set, as `numpy.empty`."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    room, store = _room(size), _store
    block = store.take(room)
    if block is None:
        try:
            block = _fresh(room)
        except MemoryError:
            store.clear()
            try:
                block = _fresh(room)
            except MemoryError:
                store.news.append((-room, None))
                raise
    # A view of a view refers to the array that owns the memory.  A memoryview in between makes `whole` that array.
    whole: np.ndarray = np.frombuffer(block.data, np.uint8, size)
    watch = weakref.ref(whole, _give_back)  # `weakref.finalize` takes as long as a small gate function
    _lent[id(watch)] = watch, store, room, block
    return whole.view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros, as `numpy.zeros`."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def release() -> None:
    """Give all waiting memory back to the system."""
    _store.clear()


def _room(size: int) -> int:
    """The size rounded up by at most a sixteenth, so that batches of nearly the same size share blocks."""
    step = 1 << max(12, size.bit_length() - 5)
    return -(-size // step) * step


def _fresh(room: int) -> np.ndarray:
    """A new block that begins where a cache line does."""
    raw = np.empty(room + _ALIGNMENT, np.uint8)
    events.allocated(room)
    return raw[-raw.ctypes.data % _ALIGNMENT :][:room]


def _give_back(watch: Any, lent: dict[int, tuple[Any, _Store, int, np.ndarray]] = _lent) -> None:
    _, store, room, block = lent.pop(id(watch))
    if store is _store:  # else the array was made before this process was forked off, where the memory is shared
        store.news.append((-room, block))


def _after_fork() -> None:
    """A child process begins with an empty store: another thread may have been at work in this one, and writing into
    a page shared with the parent copies it.
    """
    global _store
    _store = _Store()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
