"""Many copies of someone's function in one call: one of its inputs stacked along a new first axis.

Functions of elementwise operations, products with ``@`` and axes counted from the end accept an axis in front.  Then
the thousands of evaluations that differences need cost only a few calls.  A trial finds out whether a function is of
this kind: the stacked call must give the results of single calls to the last bit, because an entry that does not move
an output must not seem to move it by a rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.verdicts.closeness import same

#: Copies in the first trial, and how far they are moved.
COPIES, MOVED = 3, 0.1

Evaluate = Callable[[dict[str, Any]], list[Any]]


class LeadingAxis:
    """Runs copies together if that gives the same as running them one by one.

    Parameters
    ----------
    evaluate : gives the outputs on the host, with some inputs replaced by name.
    """

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._takes: dict[tuple[str, str], bool] = {}

    def run(self, name: str, stack: np.ndarray) -> list[np.ndarray] | None:
        """Outputs (K, ...) for values (K, ...) of one input; None if they have to be run one by one."""
        key = (name, stack.dtype.kind)
        if key not in self._takes:
            shift = MOVED * np.random.default_rng(7).normal(size=(COPIES, *stack.shape[1:]))
            trial = (stack[:1] + shift).astype(stack.dtype)
            self._takes[key] = bool(stack[:1].size) and self._together(name, trial, range(COPIES)) is not None
        if len(stack) < 2 or not self._takes[key]:
            return None
        found = self._together(name, stack, [len(stack) - 1])
        self._takes[key] = found is not None
        return found

    def _together(self, name: str, stack: np.ndarray, rows: Sequence[int]) -> list[np.ndarray] | None:
        """Outputs of the stacked call; None unless some of its rows are the same when they run alone."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = self._evaluate({name: stack})
            if any(out.shape[:1] != stack.shape[:1] for out in found):
                return None
            alone = [self._evaluate({name: stack[row]}) for row in rows]
        except Exception:  # whatever a function makes of an axis, or of a place, that it does not expect
            return None
        for row, own in zip(rows, alone, strict=True):
            pairs = zip(found, own, strict=False)
            if len(own) != len(found) or not all(same(all_[row], one) for all_, one in pairs):
                return None
        return found
