"""Large arrays that are used again: a fresh one costs a page fault for every 4 KiB, at every training step.

`empty` hands out an array; when the last reference to it and to all its views is gone, its memory comes back here and
serves the next one that fits.  An array that is still alive, on a tape or in a user's hands, is never touched.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

SMALL = 1 << 16  # bytes; below, NumPy's own allocator is as good
_lock = threading.RLock()  # a garbage collection may give memory back while this thread is taking some
_free: dict[int, list[np.ndarray]] = {}
_bytes = {"free": 0, "in use": 0, "most in use": 0}


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array with anything in it, as `numpy.empty`."""
    dtype = np.dtype(dtype)
    count = 1
    for extent in shape:
        count *= extent
    size = count * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    room = _room(size)
    with _lock:
        waiting = _free.get(room)
        block = waiting.pop() if waiting else None
        if block is not None:
            _bytes["free"] -= room
        _bytes["in use"] += room
        _bytes["most in use"] = max(_bytes["most in use"], _bytes["in use"])
    if block is None:
        block = np.empty(room, np.uint8)
    # A view of a view refers to the array that owns the memory.  A memoryview in between makes `whole` that array.
    whole: np.ndarray = np.frombuffer(block.data, np.uint8, size)
    weakref.finalize(whole, _give_back, room, block).atexit = False
    return whole.view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros, as `numpy.zeros`."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def release() -> None:
    """Give all memory that waits here back to the system."""
    with _lock:
        _free.clear()
        _bytes["free"] = 0


def _room(size: int) -> int:
    """The size rounded up by at most a sixteenth, so that batches of nearly the same size share blocks."""
    step = 1 << max(12, size.bit_length() - 5)
    return -(-size // step) * step


def _give_back(room: int, block: np.ndarray) -> None:
    with _lock:
        _bytes["in use"] -= room
        # what waits is never more than what was in use at once: blocks of sizes long gone are let go
        if _bytes["free"] + _bytes["in use"] + room <= _bytes["most in use"]:
            _free.setdefault(room, []).append(block)
            _bytes["free"] += room
        else:
            _trim(room)
            _free.setdefault(room, []).append(block)
            _bytes["free"] += room


def _trim(wanted: int) -> None:
    """Let waiting blocks of other sizes go until there is room for `wanted` more bytes."""
    for room in list(_free):
        while _free[room] and _bytes["free"] + _bytes["in use"] + wanted > _bytes["most in use"]:
            _free[room].pop()
            _bytes["free"] -= room
        if not _free[room]:
            del _free[room]
