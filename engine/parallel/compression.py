"""Gradients of which each rank sends the largest entries alone, and keeps the rest for later steps.

What a rank has not sent stays in its memory and is added to its gradient of the next step, so that each entry arrives
at last (Stich, Cordonnier and Jaggi 2018, Algorithm 1; Lin et al. 2018).  For each parameter, on each rank:

    waiting += gradient
    sent     = the k entries of `waiting` with the largest absolute values
    waiting -= sent                      these k entries are 0 now: nothing is rounded
    gradient = the sum of what all ranks sent, in the order of the ranks

The entries of two ranks lie at different places, so their sum cannot be made in parts as for whole buckets: every rank
gets the places and values of all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.parallel.communicator import Communicator

_PLACE = np.dtype(np.uint32)


class Piece(NamedTuple):
    """Where the gradient of a parameter lies in its bucket."""

    name: str
    start: int
    stop: int


def entries_sent(size: int, share: float) -> int:
    """How many of a parameter's entries a rank sends: at least one."""
    return min(size, math.ceil(share * size))


class LargestEntries:
    """What a rank sends of its gradients, and what it keeps.

    Attributes
    ----------
    waiting : (size,) by the name of each parameter: what has not been sent yet.
    """

    def __init__(self, communicator: Communicator, share: float, model: Any) -> None:
        self._communicator, self._share = communicator, share
        self._shapes = {name: tuple(grad.shape) for name, grad in model.grads.items()}
        dtype_of = model.backend.dtype_of
        self.waiting = {
            name: np.zeros(math.prod(grad.shape), str(dtype_of(grad))) for name, grad in model.grads.items()
        }

    def start_sum(self, array: np.ndarray, pieces: Sequence[Piece]) -> SparseSum:
        """Begin to replace the gradients of a bucket by the sum of what the ranks send of them.

        Parameters
        ----------
        array : (m,) the bucket; it must not be touched until the sum is done.
        pieces : the places of the gradients in it.
        """
        places, values = [], []
        for piece in pieces:
            waiting = self.waiting[piece.name]
            waiting += array[piece.start : piece.stop]
            chosen = _largest(waiting, entries_sent(len(waiting), self._share))
            places.append(chosen + piece.start)
            values.append(waiting[chosen])
            waiting[chosen] = 0
        return SparseSum(self._communicator, array, np.concatenate(places), np.concatenate(values))

    def restore(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go on from what all ranks of an earlier training kept, (ranks, ...) by name.

        With as many ranks as before each gets its own; with another number each gets an equal part of the sum.
        """
        rank, size = self._communicator.rank, self._communicator.size
        for name, all_ranks in saved.items():
            own = all_ranks[rank] if len(all_ranks) == size else all_ranks.sum(axis=0) / size
            self.waiting[name][:] = own.reshape(-1)

    def of_all_ranks(self) -> dict[str, np.ndarray]:
        """What all ranks keep, (ranks, ...) by the name of each parameter, on all ranks."""
        found = self._communicator.gather(self.waiting)
        return {name: np.stack([of[name] for of in found]).reshape(-1, *shape) for name, shape in self._shapes.items()}


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the entries with the largest absolute values, rising.  NaN counts as larger than any number."""
    if count == len(values):
        return np.arange(count)
    return np.sort(np.argpartition(np.abs(values), len(values) - count)[len(values) - count :])


class SparseSum:
    """A sum over ranks of a few entries each, on its way."""

    def __init__(self, communicator: Communicator, array: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
        self._array, self._count = array, len(places)
        # Places and values go in one message: a message costs more than its first bytes.
        self._sent = np.concatenate([places.astype(_PLACE).view(np.uint8), values.view(np.uint8)])
        self._received = np.empty((communicator.size, len(self._sent)), np.uint8)
        communicator.count(self._sent.nbytes * (communicator.size - 1))
        self._request = communicator.start_collect(self._sent, self._received, "sums")

    def added(self) -> bool:
        """Whether all entries have come; moves the message on."""
        return self._request.test()

    def wait(self) -> None:
        """Return when the array holds the sum."""
        self._request.wait()
        self._array[:] = 0
        split = self._count * _PLACE.itemsize
        for row in self._received:
            self._array[row[:split].view(_PLACE)] += row[split:].view(self._array.dtype)
