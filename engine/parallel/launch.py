"""The ranks of a training, and the share of a host's cores that each of them gets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import bad_type
from engine.parallel.communicator import Communicator
from engine.parallel.mpi import MPICommunicator
from engine.parallel.ranks import Ranks
from engine.thread_count import set_num_threads
from kernels.cpu.threads import cores


def ranks_of(parallel: Any) -> Ranks:
    """The ranks that a training asks for: True is all processes that MPI's launcher has started.

    Raises
    ------
    InputTypeError
        for what is neither True nor a communicator.
    BackendUnavailableError
        if there is no MPI.
    """
    if isinstance(parallel, Communicator):
        return Ranks(parallel)
    if not isinstance(parallel, bool | np.bool_):
        raise bad_type("parallel", "True, False or an engine.parallel.Communicator", describe(parallel))
    communicator = MPICommunicator()
    share_cores(communicator)
    return Ranks(communicator)


def share_cores(communicator: Communicator) -> None:
    """Use as many threads as this host has cores for each of its ranks, unless the environment says otherwise.

    Ranks that the launcher has bound to cores of their own keep these; ranks that may use the same cores share them.
    """
    if communicator.size == 1 or os.environ.get("BPTT_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS"):
        return
    may_use = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset[int]()
    all_sets = communicator.gather(may_use)
    hosts = communicator.hosts()
    pairs = zip(hosts, all_sets, strict=True)
    own = hosts[communicator.rank]
    sharing = sum(host == own and (not may_use or bool(may_use & other)) for host, other in pairs)
    set_num_threads(max(1, cores() // max(1, sharing)))
