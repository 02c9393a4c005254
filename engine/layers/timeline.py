"""Rows of different lengths: which steps are valid, and how the reverse direction walks them."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backend import Backend
from engine.errors import bad_input
from engine.plain_arrays import host_integers


class Remaining:
    """What is left of each row's steps at a part of a sequence: more than the part has, or less than none.

    Parameters
    ----------
    host : (B,) int64 on the host.  That they are not cut to the part keeps the rows in one order for all parts, and
        with it the bits of a sum over rows.
    """

    def __init__(self, host: np.ndarray) -> None:
        self.host = host


SMALL = 1 << 16  # bytes that NumPy allocates as fast as the kernels


class Timeline:
    """The valid steps of a batch.

    Parameters
    ----------
    lengths : the number of valid steps of each row, a list or integer array on the host, or None if every row has
        all T.

    Attributes
    ----------
    steps, batch : T and B, either may be 0.
    host_lengths : (B,) int64 on the host, or None where every row is full.
    """

    def __init__(self, backend: Backend, steps: int, batch: int, lengths: Any = None) -> None:
        self.steps, self.batch = steps, batch
        self._backend = backend
        self.host_lengths: np.ndarray | None = None
        self._lengths: Any = None
        self._valid: Any = None
        self._order: Any = None
        if lengths is not None:
            host = check_lengths(lengths, steps, batch)
            if (host < steps).any() or isinstance(lengths, Remaining):  # all rows full: the plain path
                # only B numbers are uploaded; the rest is computed on the device
                self.host_lengths = host
                xp, self._lengths = backend.xp, backend.asarray(host)
                self._lock()
                t = xp.arange(steps)[:, None]
                valid = t < self._lengths
                self._valid = valid[:, :, None]
                # the reverse direction starts at each row's own last valid step (rule 10); pads stay where they are
                self._order = xp.where(valid, self._lengths - 1 - t, t)
                self._rows = xp.arange(batch)

    def _lock(self) -> None:
        if isinstance(self._lengths, np.ndarray):
            self._lengths.flags.writeable = False  # compiled code walks as far as they say

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock()  # a copy of an array can be written to

    @property
    def lengths(self) -> Any:
        """(B,) int64 on the backend's device, or None."""
        return self._lengths

    @property
    def valid(self) -> Any:
        """(T, B, 1) bool on the backend's device, or None where every row is full."""
        return self._valid

    @property
    def empty(self) -> bool:
        """Whether there is no time step or no row: nothing to walk over."""
        return self.steps == 0 or self.batch == 0

    def clean(self, values: Any) -> Any:
        """A copy of (T, B, ...) with every pad set to 0 by selection, so that a NaN there goes no further (rule 8)."""
        if self._valid is None:
            if type(values) is np.ndarray and values.nbytes < SMALL:
                return values.copy()
            copy = self._backend.empty(values.shape, values.dtype)
            copy[...] = values
            return copy
        xp = self._backend.xp
        return xp.where(self._valid, values, xp.zeros((), dtype=values.dtype))

    def flip(self, values: Any) -> Any:
        """(T, B, ...) from time order into the reverse direction's processing order, or back: it is its own inverse."""
        if self._order is None:
            return self._backend.xp.flip(values, axis=0)
        return values[self._order, self._rows]

    def chunk(self, start: int, stop: int) -> Any:
        """Lengths (B,) within the processing steps ``start <= t < stop``, or None."""
        if self.lengths is None:
            return None
        return self._backend.xp.clip(self.lengths - start, 0, stop - start)

    def window(self, start: int, stop: int) -> Timeline:
        """The timeline of the steps ``start <= t < stop``."""
        part = object.__new__(Timeline)
        part.steps, part.batch, part._order = stop - start, self.batch, None
        part._backend = self._backend
        part._lengths = self.chunk(start, stop)
        host = self.host_lengths
        part.host_lengths = None if host is None else np.clip(host - start, 0, stop - start)
        part._valid = None if self._valid is None else self._valid[start:stop]
        return part


def timeline_of(backend: Backend, shape: tuple[int, ...], ndim: int, batch_first: bool, lengths: Any) -> Timeline:
    """The timeline of an x whose first two axes are time and batch."""
    if len(shape) != ndim:
        raise bad_input("x", f"{ndim} axes, time and batch first, where lengths are given", f"shape {tuple(shape)}")
    steps, batch = (shape[1], shape[0]) if batch_first else shape[:2]
    return Timeline(backend, steps, batch, lengths)


def clean(xp: Any, values: Any, timeline: Timeline | None, batch_first: bool) -> Any:
    """A copy of (T, B, ...), or (B, T, ...), with pads 0; a plain copy if there are no lengths."""
    if timeline is None:
        return xp.copy(values)
    return timeline.clean(values.swapaxes(0, 1)).swapaxes(0, 1) if batch_first else timeline.clean(values)


def check_lengths(lengths: Any, steps: int, batch: int) -> np.ndarray:
    """Lengths as a host int64 array (B,), or a clear error."""
    if isinstance(lengths, Remaining):
        return lengths.host
    hosted = "a host list or NumPy integer array"
    host = host_integers("lengths", lengths, "integers", "lengths count time steps", hosted)
    if host.shape != (batch,):
        raise bad_input("lengths", f"one for each of the {batch} rows, shape ({batch},)", f"shape {host.shape}")
    wrong = np.flatnonzero((host < 0) | (host > steps))
    if wrong.size:
        first = int(wrong[0])
        raise bad_input("lengths", f"values in 0..{steps} (T = {steps})", f"{int(host[first])} at row {first}")
    return host.astype(np.int64)
