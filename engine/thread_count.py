"""How many threads the compiled kernels use: the public door, with its checks.  `kernels.cpu.threads` decides."""

from __future__ import annotations

from engine.checks import describe, integer
from engine.errors import InputError, bad_input
from kernels.cpu import threads

#: No machine has more cores.
MOST = 10_000


def set_num_threads(count: int | None) -> None:
    """Use at most `count` threads in this process from now on.

    Results do not depend on it: every sum runs in one order, whoever computes it.

    Parameters
    ----------
    count : int or None
        1 or more; None goes back to the environment: ``BPTT_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the cores
        that this process may use (1 inside a worker process of pytest-xdist or multiprocessing).  More than the cores
        is allowed, and slow.

    Raises
    ------
    InputError
        For a count below 1.

    Examples
    --------
    >>> import engine
    >>> engine.set_num_threads(1)
    >>> engine.get_num_threads()
    1
    >>> engine.set_num_threads(None)
    """
    if count is not None and integer("count", count, 1) > MOST:
        raise bad_input("count", f"at most {MOST:,}", describe(count), "more than the cores is slow")
    threads.set_num_threads(None if count is None else int(count))


def get_num_threads() -> int:
    """Return the most threads that a pass over a layer uses; small passes use fewer.

    Returns
    -------
    int
        1 or more.

    Raises
    ------
    InputError
        Where ``BPTT_NUM_THREADS`` is no number of threads.

    Examples
    --------
    >>> import engine
    >>> engine.get_num_threads() >= 1
    True
    """
    try:
        return threads.get_num_threads()
    except ValueError as error:
        raise InputError(str(error)) from None
