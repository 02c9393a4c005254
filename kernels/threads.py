"""Who owns the threads: the one place that decides how many work on a pass, and that runs them.

A pass over a layer is one compiled call for each thread of a small team, from its first time step to its last.  The
calling thread is one of the team; the others are plain Python threads that sleep between passes (compiled code
holds no Python object, so they truly run side by side).  There is no second pool, neither BLAS's nor OpenMP's.

How many: ``engine.set_num_threads(n)``, else the environment's ``BPTT_NUM_THREADS``, else its ``OMP_NUM_THREADS``
(the one that data scientists, job queues and joblib's workers set), else the cores that this process may use.  Inside a
worker of pytest-xdist or multiprocessing it is 1 unless one of these says otherwise: the workers have the cores.

The numbers do not depend on it: every sum runs in one order, whoever computes it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

_chosen: int | None = None


def set_num_threads(count: int | None) -> None:
    """Use at most `count` threads from now on, in this process; None goes back to what the environment says."""
    global _chosen
    _chosen = count


def get_num_threads() -> int:
    """How many threads a pass may use."""
    if _chosen is not None:
        return _chosen
    for name in ("BPTT_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").partition(",")[0].strip()  # OpenMP allows one number a level, "4,2"
        if value.isdigit() and int(value) > 0:
            return int(value)
    if "PYTEST_XDIST_WORKER" in os.environ or multiprocessing.parent_process() is not None:
        return 1
    return cores()


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker(threading.Thread):
    """A thread that sleeps until it is handed a function, and sleeps again."""

    def __init__(self) -> None:
        super().__init__(name="bptt-engine", daemon=True)
        self._wake, self._done = threading.Lock(), threading.Lock()
        self._wake.acquire()
        self._done.acquire()
        self._work: Callable[[], Any] | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        while True:
            self._wake.acquire()
            try:
                assert self._work is not None
                self._work()
            except BaseException as error:  # handed to the caller, whose call this was
                self._error = error
            self._work = None
            self._done.release()

    def begin(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._wake.release()

    def end(self) -> BaseException | None:
        self._done.acquire()
        error, self._error = self._error, None
        return error


class _Pool:
    """The workers of one process.  After a fork the child has none of its parent's threads: it starts afresh."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.workers: list[_Worker] = []

    def take(self, count: int) -> list[_Worker]:
        while len(self.workers) < count:
            self.workers.append(_Worker())
        return self.workers[:count]


_pool = _Pool()


def _after_fork() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Team:
    """The threads of one pass, held from its making to its end, so that no two passes wait for each other's workers.

    Used as a context.  Where another thread of this process has the workers, the team is the caller alone.

    Attributes
    ----------
    size : how many threads there are, the caller's included.
    """

    def __init__(self, wanted: int) -> None:
        self._pool = _pool
        self._holds = wanted > 1 and self._pool.busy.acquire(blocking=False)
        self.size = wanted if self._holds else 1

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: object) -> None:
        if self._holds:
            self._pool.busy.release()

    def run(self, work: Callable[[int], Any]) -> None:
        """Call ``work(rank)`` for every rank at the same time; rank 0 runs in the calling thread."""
        workers = self._pool.take(self.size - 1) if self.size > 1 else []
        for rank, worker in enumerate(workers, 1):
            worker.begin(lambda rank=rank: work(rank))  # type: ignore[misc]
        error: BaseException | None = None
        try:
            work(0)
        except BaseException as raised:  # the others are waited for first: they write into the same arrays
            error = raised
        for worker in workers:
            error = worker.end() or error
        if error is not None:
            raise error
