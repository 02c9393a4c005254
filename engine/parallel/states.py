"""Carried states (L*N, B, H), in nests of tuples, cut and joined along their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def own_rows(state: Any, rows: Callable[[int], slice], convert: Callable[[Any], Any] = lambda part: part) -> Any:
    """The rows of a state that `rows` gives for their number, each array through `convert`."""
    if state is None:
        return None
    if isinstance(state, tuple | list):
        return tuple(own_rows(part, rows, convert) for part in state)
    own = state[:, rows(int(state.shape[1]))]
    return convert(own if own.shape == state.shape else own.copy())


def join_rows(states: Sequence[Any], convert: Callable[[Any], Any]) -> Any:
    """The state of all rows from those of neighbouring parts, on the host; each array through `convert`."""
    first = states[0]
    if first is None:
        return None
    if isinstance(first, tuple):
        return tuple(join_rows([state[index] for state in states], convert) for index in range(len(first)))
    return convert(np.concatenate(states, axis=1))
