"""Which processes train together."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from engine.checks import describe, number
from engine.errors import bad_input
from engine.training.alone import ALONE, Alone


def team_of(parallel: Any) -> Alone:
    """The processes that train together: this one alone, those of MPI, or those of a communicator.

    Raises
    ------
    InputTypeError
        for what is neither a bool nor a communicator.
    BackendUnavailableError
        if there is no MPI.
    """
    if isinstance(parallel, bool | np.bool_) and not parallel:
        return ALONE
    from engine.parallel.launch import ranks_of

    return ranks_of(parallel)


def read_share(value: Any, name: str = "compress") -> float | None:
    """The share of the entries that is sent, or None.

    Raises
    ------
    InputError, InputTypeError
        For anything else than None or a number > 0 and at most 1.
    """
    if value is None:
        return None
    share = number(name, value)
    if not 0 < share <= 1:
        raise bad_input(name, "None, or a number > 0 and at most 1", describe(value), "such as 0.01")
    return share


#: Set by the launchers of MPI in the processes that they start: how many there are, and the number of each.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


def launched() -> bool:
    """Whether a launcher of MPI has started this process beside others."""
    sizes = [os.environ[name] for name in _SIZES if name in os.environ]
    if sizes:
        return any(size not in ("", "1") for size in sizes)
    return "PMIX_RANK" in os.environ


def launched_as() -> int:
    """The number that the launcher gave this process; 0 if there is none."""
    numbers = [os.environ[name] for name in _NUMBERS if name in os.environ]
    return int(numbers[0]) if numbers and numbers[0].isdigit() else 0
