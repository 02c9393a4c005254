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

    Examples
    --------
    >>> import numpy as np
    >>> from engine.parallel import run_ranks
    >>> run_ranks(3, lambda communicator: communicator.sum_of(np.array([communicator.rank, 1.0])).tolist())
    [[3.0, 3.0], [3.0, 3.0], [3.0, 3.0]]
    """

    rank: int
    size: int
    sent: int = 0

    def buffer(self, length: int, dtype: Any) -> np.ndarray:
        """Memory for arrays that are exchanged, zeros.

        Parameters
        ----------
        length : int
            How many numbers.
        dtype : dtype
            Of which kind.

        Returns
        -------
        array
            (length,).
        """
        return np.zeros(length, dtype)

    @abstractmethod
    def start_exchange(self, send: np.ndarray, receive: np.ndarray) -> Request:
        """Begin to send each rank its row, and to take one from each.

        Parameters
        ----------
        send : array (n, m)
            Row k goes to rank k.
        receive : array (n, m)
            Row r comes from rank r.

        Returns
        -------
        Request
            The arrays must not be touched until it is done.
        """

    @abstractmethod
    def start_collect(self, send: np.ndarray, receive: np.ndarray, channel: str = "figures") -> Request:
        """Begin to send all ranks the same, and to take it from each.

        Parameters
        ----------
        send : array (m,)
            Goes to all ranks.
        receive : array (n, m)
            Row r comes from rank r.
        channel : str
            Operations of one channel are in the same order on all ranks; two channels do not wait for each other.

        Returns
        -------
        Request
            The arrays must not be touched until it is done.
        """

    @abstractmethod
    def broadcast(self, value: Any) -> Any:
        """Give all ranks the value of the first one.

        Parameters
        ----------
        value : object
            Of rank 0; that of others is not looked at.

        Returns
        -------
        object
            The value of rank 0.
        """

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """Give all ranks the values of all.

        Parameters
        ----------
        value : object
            Of this rank.

        Returns
        -------
        list
            In the order of the ranks.
        """

    @abstractmethod
    def hosts(self) -> list[Any]:
        """Tell which ranks share a host.

        Returns
        -------
        list
            For each rank the name of its host.
        """

    @abstractmethod
    def abort(self, message: str, code: int) -> None:
        """End all ranks at once.

        Parameters
        ----------
        message : str
            What to say.
        code : int
            The exit code.
        """

    # -- made of these -------------------------------------------------------------------------------------------------

    def start_sum(self, array: np.ndarray) -> Sum:
        """Begin to replace an array by its sum over the ranks, in the order of the ranks.

        Parameters
        ----------
        array : array (m,)
            A multiple of n numbers, which must not be touched until the sum is done.

        Returns
        -------
        Sum
            To be waited for.
        """
        return Sum(self, array)

    def sum_of(self, figures: np.ndarray) -> np.ndarray:
        """Add up a few numbers over the ranks, in float64 and in the order of the ranks.

        Parameters
        ----------
        figures : array (m,)
            Of this rank.

        Returns
        -------
        array
            (m,), the same on all ranks.
        """
        own = np.ascontiguousarray(figures, np.float64)
        found = np.empty((self.size, len(own)))
        self.count(own.nbytes * (self.size - 1))
        self.start_collect(own, found).wait()
        return added(found)

    def count(self, sent: int) -> None:
        """Note bytes that were sent.

        Parameters
        ----------
        sent : int
            How many.
        """
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
