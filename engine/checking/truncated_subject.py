"""Truncated backpropagation through time as the subject of a gradient check (rule 12).

A truncated gradient is no gradient of the sequence's loss, yet it is the true gradient of something: of the newest k1
losses of each chunk, as a function of the parameters, while the state at the start of the chunk's window is a constant.
So each chunk's window is run from the state that the unchanged layer has there, and nothing of `engine.truncation` is
used on this side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.checking import differences
from engine.checking.diagnosis import FIT, TRUNCATION
from engine.checking.layer_subject import LayerSubject, zero_grads
from engine.truncation import truncated_bptt


class TruncatedSubject(LayerSubject):
    """`engine.truncated_bptt` of a layer, with k1 and k2."""

    def __init__(self, layer: Any, x: Any, state: Any, seed: int, dtype: str, k1: int, k2: int) -> None:
        self.k1, self.k2 = k1, k2
        self._held: dict[int, Any] = {}
        super().__init__(layer, x, state, None, seed, dtype)

    def _outputs(self, x: Any, state: Any) -> list[Any]:
        axis = self.time_axis
        steps = x.shape[axis]
        pieces = []
        for start in range(0, steps, self.k1):
            stop = min(start + self.k1, steps)
            begin = max(0, stop - self.k2)
            y, _, _ = self.forward(self.exact, _steps(x, axis, begin, stop), self._state_at(begin, state))
            pieces.append(_steps(y, axis, start - begin, stop - begin))
        return [self.backend.xp.concatenate(pieces, axis=axis)]

    def _state_at(self, begin: int, state: Any) -> Any:
        if begin == 0:
            return state
        if begin not in self._held:  # first asked for with the layer as it is
            self._held[begin] = self.forward(self.exact, _steps(self.x, self.time_axis, 0, begin), self.state)[1]
        return self._held[begin]

    def _weigh(self, seed: int) -> None:
        names, self.state_names = self.state_names, []  # the final state has no part in it
        super()._weigh(seed)
        self.state_names = names

    def _find_parts(self) -> None:
        super()._find_parts()
        self.evaluate({})  # holds the states at the starts of the windows

    def copies(self, name: str, stack: Any) -> list[Any] | None:
        """Windows are run one by one."""
        return None

    def _copies_agree(self) -> bool:
        return False

    def _knows_tangent(self) -> bool:
        return False

    def pull(self, cotangents: list[Any]) -> dict[str, Any]:
        """The gradients that `truncated_bptt` claims."""
        zero_grads(self.checked)
        x, state = self._cast(self.x, self.dtype), self._cast(self.state, self.dtype)
        (dy,) = self._cast(cotangents, self.dtype)
        found = truncated_bptt(self.checked, x, lambda y: (0.0, dy), self.k1, self.k2, state)
        return self.named(self.checked, found.dx, found.dstate)

    def blur(self, generator: np.random.Generator) -> dict[str, Any]:
        """Backward with moved cotangents; its tape is out of reach."""
        cotangents = self._cast(self.cotangents(), self.dtype)
        for array in cotangents:
            self.jitter(array, 8 * float(np.finfo(self.dtype).eps), generator)
        return self.pull(cotangents)

    def explain(self, block: Any) -> Iterable[str]:
        """Whether the windows are a step too long or too short."""
        for k2 in (self.k2 - 1, self.k2 + 1):
            if k2 < 1:
                continue
            other = TruncatedSubject.__new__(TruncatedSubject)
            other.__dict__.update(self.__dict__, k2=k2, _held={})
            other.outputs = other.evaluate({})
            part = block.finding.part
            numeric, error = differences.central(other, part, np.arange(part.size))
            claimed = self.claimed[part.name].reshape(len(self.groups), -1).T
            size = float(np.max(np.abs(numeric), initial=0.0))
            if (np.abs(claimed - numeric) <= error + FIT * size).all():
                yield TRUNCATION

    def _promises(self, first: dict[str, Any]) -> None:
        """It makes its own tape; there is nothing to look at twice."""


def _steps(array: Any, axis: int, start: int, stop: int) -> Any:
    return array[:, start:stop] if axis == 1 else array[start:stop]
