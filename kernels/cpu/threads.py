"""Who owns the threads: the one place that decides how many work on a pass, and that runs them.

A pass over a layer is one compiled call for each thread of a small team, from its first time step to its last.  The
calling thread is one of the team; the others are plain Python threads that sleep between passes (compiled code
holds no Python object, so they truly run side by side).  There is no second pool, neither BLAS's nor OpenMP's.

How many: ``engine.set_num_threads(n)``, else the environment's ``BPTT_NUM_THREADS``, else its ``OMP_NUM_THREADS``
(the one that data scientists, job queues and joblib's workers set), else the cores that this process may use.  Inside a
worker of pytest-xdist or multiprocessing it is 1 unless one of these says otherwise: the workers have the cores.

The numbers do not depend on it: every sum runs in one order, whoever computes it.  See docs/threads.md.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import queue
import re
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# -- how many ------------------------------------------------------------------------------------------------------

_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")
_chosen: int | None = None
_inherited = False  # whether the choice was made before this process was forked off


def set_num_threads(count: int | None) -> None:
    """Use at most `count` threads from now on, in this process; None goes back to what the environment says."""
    global _chosen, _inherited
    _chosen, _inherited = count, False


def get_num_threads() -> int:
    """How many threads a pass may use.

    Raises
    ------
    ValueError
        if ``BPTT_NUM_THREADS`` is no number of threads.  ``OMP_NUM_THREADS`` is meant for other programs too, so a
        value that is no number is ignored, and it never gives more threads than cores.
    """
    worker = _is_worker()
    if _chosen is not None and not (_inherited and worker):
        return _chosen
    ours = _ours()
    if ours is not None:
        return ours
    everyones = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # OpenMP: one number a level, "4,2"
    if _COUNT.fullmatch(everyones):
        return min(int(everyones), cores())
    return 1 if worker else cores()


def just_one() -> int:
    """Always 1, for a pass too small to look up the number of threads; still raises if BPTT_NUM_THREADS is invalid."""
    if _chosen is None:
        _ours()
    return 1


def _ours() -> int | None:
    """What ``BPTT_NUM_THREADS`` says, if anything."""
    ours = os.environ.get("BPTT_NUM_THREADS", "").strip()
    if ours and not _COUNT.fullmatch(ours):
        hint = "unset it, or set it to a number such as 2"
        raise ValueError(f"BPTT_NUM_THREADS: expected an integer >= 1, got {ours[:60]!r}; {hint}")
    return int(ours) if ours else None


def cores() -> int:
    """The cores that this process may run on; fewer if its container has a limit of processor time below that."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, _quota() or found)


@functools.cache
def _quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """A container's limit of processor time, in cores, rounded up; None if there is no limit."""
    groups = [root]
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            if line.startswith("0::"):  # every group on the way up may have a limit of its own
                own = root / line[3:].lstrip("/")
                groups = [own, *own.parents]
    old_form = (root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us")
    limits = []
    for files in (*((group / "cpu.max",) for group in groups), old_form):
        with contextlib.suppress(OSError, ValueError):  # no such file, or the word "max" in it
            time, period = map(float, " ".join(file.read_text() for file in files).split())
            if time > 0 and period > 0:
                limits.append(math.ceil(time / period))
    return min(limits, default=None)


def _is_worker() -> bool:
    """Whether this process is one of several that were started to share the cores."""
    process = sys.modules.get("multiprocessing.process")  # a worker of multiprocessing has it
    return "PYTEST_XDIST_WORKER" in os.environ or (process is not None and process.parent_process() is not None)


# -- the threads ---------------------------------------------------------------------------------------------------


class _Job:
    """One rank's part of a pass.  It is run once, or not at all if it is called off before."""

    def __init__(
        self, rank: int, number: int, work: Callable[[int], Any], give_up: Callable[[], Any], errors: list[Any]
    ) -> None:
        self.number = number
        self._rank, self._errors, self._give_up = rank, errors, give_up
        self._work: Callable[[int], Any] | None = work
        self._claim, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()
        self._finished = False

    def run(self) -> None:
        if self._claim.acquire(blocking=False):
            assert self._work is not None
            try:
                self._work(self._rank)
            except BaseException as error:  # the caller raises it
                self._errors.append(error)
                self._give_up()
            self._work = None  # before the caller continues: it holds the pass's arrays, whose memory is needed again
            self._finished = True
            self._done.release()

    def call_off(self) -> None:
        """Make sure that it does not start."""
        if self._claim.acquire(blocking=False):
            self._work = None
            self._finished = True

    def wait(self) -> None:
        """Return when it has ended.  May be interrupted, and called again."""
        while not self._finished:
            self._done.acquire()


class _Worker(threading.Thread):
    """A thread that sleeps until it is handed a job, and sleeps again.  It ends with the process.

    Between two jobs it first watches the bell for a while, because a sleeping thread is slow to wake.

    Attributes
    ----------
    done : the number of the last pass that it has ended; written when it no longer needs Python's lock.
    """

    def __init__(self, bell: np.ndarray) -> None:
        super().__init__(name="bptt-engine", daemon=True)
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._bell, self.done = bell, _flag()
        self.begin = self._jobs.put
        self.start()

    def run(self) -> None:
        while True:
            job = self._jobs.get()
            number = job.number
            job.run()
            del job
            _watch(self._bell, number + 1, self.done, number)


def _flag() -> np.ndarray:
    """A number in a cache line of its own, and its neighbour's."""
    return np.zeros(32, np.int64)


#: `kernels.cpu.barrier.watch`, once there are compiled loops; without them a worker sleeps at once.
_watch: Callable[[np.ndarray, int, np.ndarray, int], Any] = lambda *_: None  # noqa: E731


def watch_with(function: Callable[[np.ndarray, int, np.ndarray, int], Any]) -> None:
    """Have threads watch before they sleep."""
    global _watch
    _watch = function


class _Pool:
    """The workers of one process, and the passes that run in it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may run a pass of its own while this thread begins one
        self.workers: list[_Worker] = []
        self.bell, self.number = _flag(), 0  # of the last pass on several threads
        self.nobodys = _flag()  # for a caller that watches and has nothing to announce
        self.passes: weakref.WeakSet[Team] = weakref.WeakSet()  # weak: a pass that an interrupt broke off drops out

    def hire(self, count: int) -> int:
        """Start workers until there are `count`, or as many as the system gives; returns how many, at most `count`."""
        with self.lock, contextlib.suppress(RuntimeError):  # the system gives no more, or the interpreter is ending
            while len(self.workers) < count:
                self.workers.append(_Worker(self.bell))
        return min(count, len(self.workers))


class Team:
    """The threads of one pass.  Used as a context, from the planning of the pass to its end.

    One pass at a time has the workers, so that no two passes wait for each other.  While a pass of another thread has
    them, the team is the caller alone.  If other threads run passes without workers, the team leaves them their cores.

    Parameters
    ----------
    wanted : the most threads that it may have.

    Attributes
    ----------
    size : how many threads there are, the caller's included.  It may be lowered.
    bell, number : rank 0 rings with this number when its compiled loop begins (`kernels.cpu.barrier.ring`).
    """

    def __init__(self, wanted: int) -> None:
        self._wanted, self._pool = wanted, _pool
        self.size, self.bell, self.number, self._own = 1, _pool.bell, 0, _pool.nobodys

    def __enter__(self) -> Team:
        if self._wanted == 1:  # it needs no worker; it ends soon, or no pass may have a second thread
            return self
        pool = self._pool
        with pool.lock:
            if not sys.is_finalizing():
                others = list(pool.passes)
                if all(other.size == 1 for other in others):
                    self.size = max(1, self._wanted - len(others))
            pool.passes.add(self)
        return self

    def __exit__(self, *error: object) -> None:
        if self._wanted > 1:
            with self._pool.lock:
                self._pool.passes.discard(self)

    def hire(self, size: int) -> int:
        """Set the size, and have a thread ready for every rank; returns the size, which is less if threads lack."""
        self.size = 1 + (self._pool.hire(size - 1) if size > 1 else 0)
        return self.size

    def run(self, work: Callable[[int], Any], give_up: Callable[[], Any] = lambda: None) -> None:
        """Call ``work(rank)`` for every rank at the same time; rank 0 runs in the calling thread.

        It returns, or raises the first error, when all have ended: they write into the same arrays.

        Parameters
        ----------
        work : called with the rank.
        give_up : called if a rank has failed or will never begin, perhaps more than once and by any thread.  It must
            release the other ranks that wait for that rank, and must not fail.
        """
        size = self.size
        if size == 1:
            work(0)
            return
        if self.hire(size) < size:
            raise RuntimeError(f"expected {size} threads for a pass, got {self.size}; set BPTT_NUM_THREADS=1")
        errors: list[BaseException] = []
        self._pool.number += 1  # the workers are lent to this pass alone
        self.number = self._pool.number
        jobs = [_Job(rank, self.number, work, give_up, errors) for rank in range(1, size)]
        try:
            for job, worker in zip(jobs, self._pool.workers, strict=False):
                worker.begin(job)
            work(0)
        except BaseException as error:  # also Ctrl-C, which may come at any line here
            errors.append(error)
        waiting = True
        while waiting:
            try:
                if errors:
                    give_up()
                    for job in jobs:
                        job.call_off()
                for job, worker in zip(jobs, self._pool.workers, strict=False):
                    _watch(worker.done, self.number, self._own, 0)
                    job.wait()
                waiting = False
            except BaseException as error:  # a second one does not cut the waiting short either
                errors.append(error)
        try:
            if errors:
                raise errors[0]
        finally:
            errors.clear()  # the error's frames hold this list: this breaks the circle, which would keep the arrays


_pool = _Pool()


def _after_fork() -> None:
    """A child has none of its parent's threads, and none of the passes that ran in them."""
    global _pool, _inherited
    _pool, _inherited = _Pool(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
