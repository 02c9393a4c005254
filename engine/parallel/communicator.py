"""What data-parallel training needs of a network: four operations, of which everything else is made.

A sum over ranks is made here, not by the library, so that its order is fixed: of each bucket every rank adds up one
part, in the order of the ranks, and hands the sum to all others.

    exchange:  part k of rank r  ->  rank k, at place r
    add:       the parts that came, from rank 0 upwards
    collect:   the sum of part k ->  all ranks, at place k

So a rank sends (n-1)/n of the bucket twice, which is the least that any sum over n ranks can send (Patarasuk and Yuan
2009), all ranks get the same bits, and each repetition of a training gets them again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np


class Request(Protocol):
    """An operation on its way."""

    def test(self) -> bool:
        """Whether it is done; moves it on."""

    def wait(self) -> None:
        """Return when it is done."""


class Communicator(ABC):
    """A group of ranks, each a process or a thread.

    All ranks call the same operations in the same order; those that only start something return at once.  Arrays are
    NumPy's: gradients on a GPU go through host memory.  For a communicator of a GPU's own library (NCCL has the same
    operations on device memory) the two operations on arrays are enough, and `buffer`, which makes the arrays.

    Attributes
    ----------
    rank : int
        The number of this one, from 0.
    size : int
        How many there are.
    sent : int
        Bytes of arrays that this rank has sent to others.
    """

    rank: int
    size: int
    sent: int = 0

    def buffer(self, length: int, dtype: Any) -> np.ndarray:
        """Memory for arrays that are exchanged, zeros (length,)."""
        return np.zeros(length, dtype)

    @abstractmethod
    def start_exchange(self, send: np.ndarray, receive: np.ndarray) -> Request:
        """Send row k of `send` (n, m) to rank k, and put what rank r sends into row r of `receive` (n, m)."""

    @abstractmethod
    def start_collect(self, send: np.ndarray, receive: np.ndarray, channel: str = "figures") -> Request:
        """Send `send` (m,) to all ranks, and put what rank r sends into row r of `receive` (n, m).

        Parameters
        ----------
        channel : operations of one channel are in the same order on all ranks; two channels do not wait for each other.
        """

    @abstractmethod
    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, on all ranks."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks in order, on all ranks."""

    @abstractmethod
    def hosts(self) -> list[Any]:
        """For each rank what tells the host that it runs on: equal for ranks of one host."""

    @abstractmethod
    def abort(self, message: str, code: int) -> None:
        """End all ranks at once, with this exit code."""

    # -- made of these -------------------------------------------------------------------------------------------------

    def start_sum(self, array: np.ndarray) -> Sum:
        """Begin to replace an array (m,), m a multiple of n, by its sum over the ranks.

        It must not be touched until the sum is done.
        """
        return Sum(self, array)

    def sum_of(self, figures: np.ndarray) -> np.ndarray:
        """The sum of a few numbers (m,) over the ranks, in float64 and in the order of the ranks."""
        own = np.ascontiguousarray(figures, np.float64)
        found = np.empty((self.size, len(own)))
        self.count(own.nbytes * (self.size - 1))
        self.start_collect(own, found).wait()
        return added(found)

    def count(self, sent: int) -> None:
        """Note bytes that were sent."""
        self.sent += sent


class Sum:
    """A sum over ranks on its way: exchange, add, collect."""

    def __init__(self, communicator: Communicator, array: np.ndarray) -> None:
        self._communicator, self._array, n = communicator, array, communicator.size
        self._parts = array.reshape(n, -1)
        self._received = np.empty_like(self._parts)
        self._own: np.ndarray | None = None
        communicator.count(self._parts[0].nbytes * (n - 1))
        self._request: Request | None = communicator.start_exchange(self._parts, self._received)

    def added(self) -> bool:
        """Whether the sum of the own part is on its way; begins to send it when the parts have come.

        Of several sums the first one must have been added before this is called for the next: all ranks then send
        sums in one order.
        """
        if self._own is None:
            assert self._request is not None
            if not self._request.test():
                return False
            self._collect()
        return True

    def wait(self) -> None:
        """Return when the array holds the sum.  Of several sums the first one must be waited for first."""
        if self._request is None:
            return
        if self._own is None:
            self._request.wait()
            self._collect()
        self._request.wait()
        self._request = None

    def _collect(self) -> None:
        communicator = self._communicator
        self._own = added(self._received)
        communicator.count(self._own.nbytes * (communicator.size - 1))
        self._request = communicator.start_collect(self._own, self._parts, "sums")


def added(parts: np.ndarray) -> np.ndarray:
    """The sum of the rows of (n, m), from the first one on."""
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total
