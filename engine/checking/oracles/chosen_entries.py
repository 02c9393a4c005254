"""Which entries of a large tensor to look at, so that no gate block and no time step is missed."""

from __future__ import annotations

import numpy as np

from engine.checking.subjects.subject import Part


def choose(part: Part, entries: int | None, seed: int) -> np.ndarray | None:
    """Flat indices of at most `entries` entries, an equal share from every gate block or time step; None is all.

    A plain random sample could leave out whole blocks, and a bug in one of them would pass.  At least one entry of each
    block or step is taken, even if that makes more than `entries`.
    """
    if part.free is not None:
        places = np.flatnonzero(part.free)
        if entries is None or places.size <= entries:
            return places
        return np.sort(np.random.default_rng([seed, 3]).choice(places, entries, replace=False))
    if entries is None or part.size <= entries:
        return None
    generator = np.random.default_rng([seed, 3])
    places = np.arange(part.size).reshape(part.shape)
    if part.gates:
        blocks = part.blocks(places)
    elif part.time_axis is not None:
        blocks = np.split(places, part.shape[part.time_axis], axis=part.time_axis)
    else:
        blocks = np.array_split(places.reshape(-1), min(entries, 8))
    share = max(1, entries // len(blocks))
    chosen = [generator.choice(block.reshape(-1), min(share, block.size), replace=False) for block in blocks]
    return np.sort(np.concatenate(chosen))
