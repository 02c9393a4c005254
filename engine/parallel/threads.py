"""Ranks that are threads of one process, over a network that can be made slow: for tests and for studies of scaling."""

from __future__ import annotations

import pickle
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import RankError
from engine.parallel.communicator import Communicator, Request


class _Meeting:
    """One operation: what each rank brought, and when."""

    def __init__(self) -> None:
        self.brought: dict[int, Any] = {}
        self.times: dict[int, float] = {}
        self.left = 0


class Network:
    """What threads meet at.

    Parameters
    ----------
    size : how many ranks there are.
    latency : seconds from the start of a message to its arrival, without its bytes.
    bandwidth : bytes a second that each rank can send, and receive; None: no limit.
    """

    def __init__(self, size: int, latency: float = 0.0, bandwidth: float | None = None) -> None:
        self.size, self.latency, self.bandwidth = size, latency, bandwidth
        self.condition = threading.Condition()
        self.meetings: dict[tuple[str, int], _Meeting] = defaultdict(_Meeting)
        self.failed: str | None = None

    def duration(self, sent: int, messages: int) -> float:
        """Seconds that an operation takes in which a rank sends so many bytes to `messages` others."""
        return self.latency * messages + (sent / self.bandwidth if self.bandwidth else 0.0)


class ThreadCommunicator(Communicator):
    """One rank of a `Network`.

    Arrays that are sent are copied when the operation starts.  With a latency or a bandwidth, an operation is done
    when the last rank has started it and as much time has passed as its messages take, one after another; a rank's
    operations take turns, as on one network card.
    """

    def __init__(self, network: Network, rank: int) -> None:
        self._network, self.rank, self.size = network, rank, network.size
        self._counts: dict[str, int] = defaultdict(int)
        self._free = 0.0  # when the network card has done all that was started

    def start_exchange(self, send: np.ndarray, receive: np.ndarray) -> Request:
        """See `Communicator.start_exchange`."""

        def take(brought: dict[int, Any]) -> None:
            for rank in range(self.size):
                receive[rank] = brought[rank][self.rank]

        return self._started("exchange", send.copy(), take, send[0].nbytes * (self.size - 1))

    def start_collect(self, send: np.ndarray, receive: np.ndarray, channel: str = "figures") -> Request:
        """See `Communicator.start_collect`."""

        def take(brought: dict[int, Any]) -> None:
            for rank in range(self.size):
                receive[rank] = brought[rank]

        return self._started(channel, send.copy(), take, send.nbytes * (self.size - 1))

    def broadcast(self, value: Any) -> Any:
        """See `Communicator.broadcast`."""
        return self._exchanged(value if self.rank == 0 else None)[0]

    def gather(self, value: Any) -> list[Any]:
        """See `Communicator.gather`."""
        return self._exchanged(value)

    def hosts(self) -> list[Any]:
        """See `Communicator.hosts`: each thread counts as a host of its own, for all share the process's threads."""
        return list(range(self.size))

    def abort(self, message: str, code: int) -> None:
        """See `Communicator.abort`: all other ranks raise a `RankError`."""
        with self._network.condition:
            self._network.failed = self._network.failed or message
            self._network.condition.notify_all()

    def _exchanged(self, value: Any) -> list[Any]:
        found: list[Any] = []

        def take(brought: dict[int, Any]) -> None:
            found.extend(pickle.loads(brought[rank]) for rank in range(self.size))

        self._started("objects", pickle.dumps(value), take, 0).wait()
        return found

    def _started(self, channel: str, value: Any, take: Callable[[dict[int, Any]], None], sent: int) -> Request:
        network, key = self._network, (channel, self._counts[channel])
        self._counts[channel] += 1
        with network.condition:
            meeting = network.meetings[key]
            meeting.brought[self.rank], meeting.times[self.rank] = value, time.monotonic()
            network.condition.notify_all()
        return _Waiting(self, network, key, take, network.duration(sent, self.size - 1) if sent else 0.0)

    def busy_until(self, begin: float, seconds: float) -> float:
        """When the network card is done with an operation that can begin at `begin`."""
        if seconds:
            self._free = max(self._free, begin) + seconds
            return self._free
        return begin


class _Waiting:
    """An operation of one rank that waits for the others, and for the time that its messages take."""

    def __init__(
        self,
        owner: ThreadCommunicator,
        network: Network,
        key: tuple[str, int],
        take: Callable[[dict[int, Any]], None],
        seconds: float,
    ) -> None:
        self._owner, self._network, self._key, self._take, self._seconds = owner, network, key, take, seconds
        self._ready: float | None = None
        self._done = False

    def _met(self) -> bool:
        meeting = self._network.meetings[self._key]
        if self._network.failed is not None and len(meeting.brought) < self._network.size:
            raise RankError(self._network.failed)
        if len(meeting.brought) < self._network.size:
            return False
        if self._ready is None:
            self._ready = self._owner.busy_until(max(meeting.times.values()), self._seconds)
        return True

    def test(self) -> bool:
        """See `Request.test`."""
        if self._done:
            return True
        with self._network.condition:
            if not self._met() or (self._ready or 0.0) > time.monotonic():
                return False
        self._finish()
        return True

    def wait(self) -> None:
        """See `Request.wait`."""
        if self._done:
            return
        with self._network.condition:
            self._network.condition.wait_for(self._met)
        assert self._ready is not None
        time.sleep(max(0.0, self._ready - time.monotonic()))
        self._finish()

    def _finish(self) -> None:
        self._done = True
        with self._network.condition:
            meeting = self._network.meetings[self._key]
        self._take(meeting.brought)
        with self._network.condition:
            meeting.left += 1
            if meeting.left == self._network.size:
                del self._network.meetings[self._key]


def run_ranks(size: int, work: Callable[[Communicator], Any], **network: Any) -> list[Any]:
    """Run `work` on so many ranks, each a thread; the results in the order of the ranks.

    Parameters
    ----------
    network : options of `Network`.

    Raises
    ------
    Exception
        The first error that a rank raised; the others then end with a `RankError`.
    """
    meeting = Network(size, **network)
    found: list[Any] = [None] * size
    errors: list[tuple[float, BaseException]] = []

    def run(rank: int) -> None:
        communicator = ThreadCommunicator(meeting, rank)
        try:
            found[rank] = work(communicator)
        except BaseException as error:
            errors.append((time.monotonic() + 1e9 * isinstance(error, RankError), error))
            communicator.abort(f"rank {rank}: {error}", 1)

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise min(errors, key=lambda pair: pair[0])[1]
    return found
