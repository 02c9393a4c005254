"""What a gradient check cannot see because of the numbers it was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from engine.checking.subjects.subject import Part, Subject
from engine.checking.subjects.trees import kind


def blind_spots(subject: Subject, parts: Iterable[Part]) -> Iterator[str]:
    """Sentences about tensors in which a mistake would hide."""
    for part in parts:
        values = subject.host(part)
        if values.size > 1 and (values == values.flat[0]).all():
            if values.flat[0] != 0 or part.name.rpartition(".")[2].startswith("weight"):
                yield f"{part.name} is constant: swapped gates, units or axes would not be seen; take random numbers"
            continue
        blocks = part.blocks(values)
        square = [block for block in blocks if block.ndim == 2 and block.shape[0] == block.shape[1] > 1]
        if square and all(np.array_equal(block, block.T) for block in square):
            yield f"{part.name} is symmetric: a transposed product would not be seen; take random numbers"
        elif len(blocks) > 1 and any(
            np.array_equal(one, other) and one.any() for k, one in enumerate(blocks) for other in blocks[:k]
        ):
            yield f"two gate blocks of {part.name} are equal: exchanged gates would not be seen"


def tokens(x: Any) -> Iterator[str]:
    """A warning if no token id occurs twice."""
    if kind(x) in ("i", "u") and x.size > 1 and np.unique(np.asarray(x)).size == x.size:
        yield "no token occurs twice in x: rows that are assigned in place of added would not be seen; repeat some"
