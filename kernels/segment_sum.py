"""The sum of all rows that share an id: the gradient of a table from which rows were looked up.

Atomic additions would add in another order at every run, and CuPy's ``add.reduceat`` takes differences of one running
sum over everything, which loses the digits of the small sums and lets one NaN into all that follow.  So the places are
sorted on the host, where the ids are, and added by a tree: up to `FAN` places into one sum, then up to `FAN` of these
sums, until each id has one.  That takes gathers and plain sums only, which every array library has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: How many rows are added at once.  More means fewer levels, and more padding: up to FAN - 1 rows an id and level.
FAN = 8


def plan(ids: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which rows to add, level by level.

    Parameters
    ----------
    ids : (n,) integers on the host.
    order : (m,) the positions in `ids` that count, sorted by id; m >= 1.

    Returns
    -------
    unique : (R,) the ids that occur, ascending.
    tables : integers (M, width), width <= FAN: each row holds the places of its summands among the sums of the table
        before (for the first table: among the n rows), filled up with -1.  The last table has R rows.
    """
    unique, counts = np.unique(ids[order], return_counts=True)
    tables: list[np.ndarray] = []
    while not tables or counts.max() > 1:
        width = min(FAN, int(counts.max()))
        parts = -(-counts // width)  # sums of this level for each id
        owner = np.repeat(np.arange(len(counts)), parts)  # of each such sum: the number of its id
        part = np.arange(len(owner)) - (np.cumsum(parts) - parts)[owner]
        summand = part[:, None] * width + np.arange(width)  # number of the summand within its id
        place = (np.cumsum(counts) - counts)[owner, None] + summand
        inside = summand < counts[owner, None]
        tables.append(np.where(inside, order[np.where(inside, place, 0)], -1))
        order, counts = np.arange(len(owner)), parts
    return unique, tables


def upload(asarray: Callable[[np.ndarray], Any], tables: list[np.ndarray]) -> list[Any]:
    """The tables on the device, all in one copy."""
    flat, start, views = asarray(np.concatenate([table.reshape(-1) for table in tables])), 0, []
    for table in tables:
        views.append(flat[start : start + table.size].reshape(table.shape))
        start += table.size
    return views


def add_up(xp: Any, values: Any, tables: list[Any]) -> Any:
    """The sums (R, E) of the rows of `values` (n, E), by the tables of a `plan` on the device of the values."""
    for table in tables:
        values = xp.concatenate((values, xp.zeros_like(values[:1])))  # a last row of zeros: -1 stands for it
        values = values[table].sum(axis=1)
    return values
