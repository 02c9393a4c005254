"""Ranks that are threads of one process, over a network that can be made slow: for tests and for studies of scaling."""

from __future__ import annotations

import pickle
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.checks import describe, integer, number
from engine.errors import RankError, bad_input, bad_type
from engine.parallel.communicator import Communicator, Request

#: More threads than this in one process are a slip.
MOST = 256


class _Meeting:
    """One operation: what each rank brought, and, once the last one has come, when each is done with it."""

    def __init__(self) -> None:
        self.brought: dict[int, Any] = {}
        self.done: dict[int, float] = {}
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
        self.free = [0.0] * size  # when each rank's network card has done all that was started

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
        seconds = network.duration(sent, self.size - 1) if sent else 0.0
        with network.condition:
            meeting = network.meetings[key]
            meeting.brought[self.rank] = value
            if len(meeting.brought) == self.size:
                now = time.monotonic()
                for rank in range(self.size):
                    meeting.done[rank] = max(network.free[rank], now) + seconds if seconds else now
                    network.free[rank] = max(network.free[rank], meeting.done[rank])
                network.condition.notify_all()
        return _Waiting(self.rank, network, key, take)


class _Waiting:
    """An operation of one rank that waits for the others, and for the time that its messages take."""

    def __init__(
        self, rank: int, network: Network, key: tuple[str, int], take: Callable[[dict[int, Any]], None]
    ) -> None:
        self._rank, self._network, self._key, self._take = rank, network, key, take
        self._done = False

    def _met(self) -> bool:
        meeting = self._network.meetings[self._key]
        if self._network.failed is not None and not meeting.done:
            raise RankError(self._network.failed)
        return bool(meeting.done)

    def test(self) -> bool:
        """See `Request.test`."""
        if self._done:
            return True
        with self._network.condition:
            if not self._met() or self._network.meetings[self._key].done[self._rank] > time.monotonic():
                return False
        self._finish()
        return True

    def wait(self) -> None:
        """See `Request.wait`."""
        if self._done:
            return
        with self._network.condition:
            self._network.condition.wait_for(self._met)
            done = self._network.meetings[self._key].done[self._rank]
        time.sleep(max(0.0, done - time.monotonic()))
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


def run_ranks(
    size: int, work: Callable[[Communicator], Any], *, latency: float = 0.0, bandwidth: float | None = None
) -> list[Any]:
    """Run a function on several ranks, each a thread of this process: to try what a parallel training does.

    Parameters
    ----------
    size : int
        How many ranks.
    work : callable
        Gets the rank's `Communicator`; what it returns is the rank's result.
    latency : float
        Seconds that a message takes without its bytes.
    bandwidth : float or None
        Bytes a second that each rank can send; None is no limit.

    Returns
    -------
    list
        The results in the order of the ranks.

    Raises
    ------
    InputError, InputTypeError
        For a number of ranks that is none, or what is no function.
    Exception
        The first error that a rank raised; the others then end with a `RankError`.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> from engine.parallel import run_ranks
    >>> x = np.random.default_rng(0).random((5, 4, 2))
    >>> def train(communicator):
    ...     model = engine.Sequential(engine.GRU(2, 3), engine.Linear(3, 1))
    ...     return engine.fit(model, x, x[:, -1, :1], parallel=communicator, epochs=2, quiet=True).loss
    >>> one, two = run_ranks(2, train)
    >>> one == two, np.allclose(one, run_ranks(1, train)[0])
    (True, True)
    """
    size = integer("size", size, 1)
    if size > MOST:
        raise bad_input("size", f"at most {MOST} ranks", describe(size), "each one is a thread")
    if not callable(work) or isinstance(work, type):
        raise bad_type("work", "a function of a Communicator", describe(work))
    rate = None if bandwidth is None else number("bandwidth", bandwidth)
    if rate == 0:
        raise bad_input("bandwidth", "a number > 0, or None", describe(bandwidth))
    return _run(Network(size, number("latency", latency), rate), work)


def _run(network: Network, work: Callable[[Communicator], Any]) -> list[Any]:
    """The results of all ranks of a network; raises the first error of one."""
    found: list[Any] = [None] * network.size
    errors: list[tuple[float, BaseException]] = []

    def run(rank: int) -> None:
        communicator = ThreadCommunicator(network, rank)
        try:
            found[rank] = work(communicator)
        except BaseException as error:
            errors.append((time.monotonic() + 1e9 * isinstance(error, RankError), error))
            communicator.abort(f"rank {rank}: {error}", 1)

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(network.size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise min(errors, key=lambda pair: pair[0])[1]
    return found
