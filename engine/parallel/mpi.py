"""The communicator over MPI, through mpi4py."""

from __future__ import annotations

import importlib
import socket
import sys
import time
from typing import Any

import numpy as np

from engine.errors import BackendUnavailableError
from engine.parallel.communicator import Communicator, Request

#: Seconds for which a rank that waits looks again and again, and seconds for which it then sleeps between two looks.
SPIN, NAP = 0.002, 0.0005
#: What to do where mpi4py is not there.
INSTALL = "pip install 'bptt-engine[mpi]'"


class MPICommunicator(Communicator):
    """All processes that MPI's launcher has started, or those of a communicator of mpi4py.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        The processes; None is all of them.

    Raises
    ------
    BackendUnavailableError
        Without mpi4py, or without an MPI library for it.
    """

    def __init__(self, comm: Any = None) -> None:
        mpi = library()
        self._all = mpi.COMM_WORLD if comm is None else comm
        # Operations of one communicator must come in one order on all ranks: each channel has its own.
        self._comm, self._exchange = self._all.Dup(), self._all.Dup()
        self._channels = {"sums": self._all.Dup(), "figures": self._all.Dup()}
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()

    def start_exchange(self, send: np.ndarray, receive: np.ndarray) -> Request:
        """See `Communicator.start_exchange`."""
        return _Started(self._exchange.Ialltoall(send, receive))

    def start_collect(self, send: np.ndarray, receive: np.ndarray, channel: str = "figures") -> Request:
        """See `Communicator.start_collect`."""
        return _Started(self._channels[channel].Iallgather(send, receive))

    def broadcast(self, value: Any) -> Any:
        """See `Communicator.broadcast`."""
        self._meet()
        return self._comm.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        """See `Communicator.gather`."""
        self._meet()
        found: list[Any] = self._comm.allgather(value)
        return found

    def _meet(self) -> None:
        """Wait for all others; MPI's own waiting would keep a core busy, and one may be writing a file meanwhile."""
        _Started(self._comm.Ibarrier()).wait()

    def hosts(self) -> list[Any]:
        """See `Communicator.hosts`."""
        return self.gather(socket.gethostname())

    def abort(self, message: str, code: int) -> None:
        """See `Communicator.abort`."""
        print(message, file=sys.stderr, flush=True)
        self._all.Abort(code)


class _Started:
    """A request of mpi4py."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def test(self) -> bool:
        """See `Request.test`."""
        return bool(self._request.Test())

    def wait(self) -> None:
        """See `Request.wait`: after a while it sleeps between its looks, so that the others have the processor."""
        begun = time.monotonic()
        while not self._request.Test():
            if time.monotonic() - begun > SPIN:
                time.sleep(NAP)


def library() -> Any:
    """The module ``mpi4py.MPI``, imported when it is first needed: importing it starts MPI."""
    try:
        return importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        words = f"parallel: expected mpi4py and an MPI library, got '{reason}'; {INSTALL}"
        raise BackendUnavailableError(words) from error
