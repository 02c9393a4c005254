"""Truncated backpropagation through time as the subject of a gradient check (rule 12).

A truncated gradient is not the gradient of the sequence's loss.  But it is the true gradient of another function: the
newest k1 losses of each chunk, as a function of the parameters, with a constant state at the start of the chunk's
window.  So each chunk's window runs from the state that the unchanged layer has there, without any code of
`engine.truncation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.checking.diagnosis.causes import FIT, TRUNCATION
from engine.checking.oracles import differences
from engine.checking.subjects import batched
from engine.checking.subjects.layer_copies import zero_grads
from engine.checking.subjects.layers import LayerSubject
from engine.checking.subjects.trees import transform
from engine.checking.verdicts.closeness import near
from engine.truncation import truncated_bptt


class TruncatedSubject(LayerSubject):
    """`engine.truncated_bptt` of a layer, with k1 and k2."""

    def __init__(self, layer: Any, x: Any, state: Any, seed: int, dtype: str, k1: int, k2: int) -> None:
        self.k1, self.k2 = k1, k2
        self._held: dict[int, Any] = {}
        super().__init__(layer, x, state, None, seed, dtype)

    def _outputs(self, x: Any, state: Any) -> list[Any]:
        if batched.known(self.original):
            params = {name: param[None] for name, param in self.exact.params.items()}
            return [out[0] for out in self._run_copies(params, x[None], transform(lambda part: part[None], state))]
        windows = [(begin, stop) for begin, _, stop in self._chunks()]
        axis = self.time_axis
        pieces = [
            self.forward(self.exact, _steps(x, axis, begin, stop), state if begin == 0 else self._held[begin])[0]
            for begin, stop in windows
        ]
        return [self._newest(pieces, axis)]

    def _run_copies(self, params: dict[str, Any], x: Any, state: Any) -> list[Any]:
        """The newest k1 outputs of each chunk, from a state held fixed where its window does not start at 0."""
        axis = self.time_axis + 1
        pieces = []
        for begin, _, stop in self._chunks():
            entering = state if begin == 0 else transform(lambda part: part[None], self._held[begin])
            window = _steps(x, axis, begin, stop)
            y, _ = batched.run(self.exact, self.exact_tape, params, window, entering, slice(begin, stop))
            pieces.append(y)
        most = max(len(piece) for piece in pieces)
        return [self._newest([self._spread(piece, most) for piece in pieces], axis)]

    def _spread(self, piece: Any, most: int) -> Any:
        return self.backend.xp.broadcast_to(piece, (most, *piece.shape[1:]))

    def _chunks(self) -> list[tuple[int, int, int]]:
        """Of each chunk: where its window begins, where it starts, where it stops."""
        steps = self.x.shape[self.time_axis]
        stops = [(start, min(start + self.k1, steps)) for start in range(0, max(steps, 1), self.k1)]
        return [(max(0, stop - self.k2), start, stop) for start, stop in stops]

    def _newest(self, pieces: list[Any], axis: int) -> Any:
        """Of each window's output the steps that belong to its chunk, in a row."""
        newest = [
            _steps(piece, axis, start - begin, stop - begin)
            for piece, (begin, start, stop) in zip(pieces, self._chunks(), strict=True)
        ]
        return self.backend.xp.concatenate(newest, axis=axis)

    def _weigh(self, seed: int) -> None:
        names, self.state_names = self.state_names, []  # the final state has no part in it
        super()._weigh(seed)
        self.state_names = names

    def _find_parts(self) -> None:
        super()._find_parts()
        for begin in range(1, self.x.shape[self.time_axis]):  # the states of the unchanged layer
            part = _steps(self.x, self.time_axis, 0, begin)
            self._held[begin] = self.forward(self.exact, part, self.state)[1]

    def _copies_agree(self) -> bool:
        """The outputs do not depend on k1 and k2: they are those of the whole sequence."""
        return near(self.flat(self.outputs), self.flat([self.y]))

    def _knows_tangent(self) -> bool:
        return False

    def pull(self, cotangents: list[Any]) -> dict[str, Any]:
        """The gradients that `truncated_bptt` claims."""
        zero_grads(self.checked)
        if self.counters is not None:
            self.checked.load_call_counters(self.counters)
        x, state = self.cast(self.x, self.dtype), self.cast(self.state, self.dtype)
        (dy,) = self.cast(cotangents, self.dtype)
        found = truncated_bptt(self.checked, x, lambda y: (0.0, dy), self.k1, self.k2, state)
        return self.named(self.checked, found.dx, found.dstate)

    def blur(self, generator: np.random.Generator, group: int = 0, roundings: float = 1.0) -> dict[str, Any]:
        """Backward with moved cotangents; its tape is out of reach."""
        cotangents = self.cast(self.cotangents(group), self.dtype)
        self.jitter(cotangents, generator, 8 * roundings * float(np.finfo(self.dtype).eps))
        return self.pull(cotangents)

    def explain(self, block: Any) -> Iterable[str]:
        """Whether the windows are a step too long or too short."""
        for k2 in (self.k2 - 1, self.k2 + 1):
            if k2 < 1:
                continue
            other = TruncatedSubject.__new__(TruncatedSubject)
            other.__dict__.update(self.__dict__, k2=k2)
            other.outputs = other.evaluate({})
            part = block.finding.part
            numeric, error = differences.central(other, part, np.arange(part.size))
            claimed = self.claimed[part.name].reshape(len(self.groups), -1).T
            size = float(np.max(np.abs(numeric), initial=0.0))
            if (np.abs(claimed - numeric) <= error + FIT * size).all():
                yield TRUNCATION

    def _of(self, layer: Any, x: Any, state: Any) -> TruncatedSubject:
        """The same check of another layer or at another place."""
        return TruncatedSubject(layer, x, state, self.seed, self.dtype, self.k1, self.k2)

    def _claim(self) -> None:
        """It makes its own tape, so there is no second call on one tape to check."""
        self.claim([self.pull(self.cotangents(group)) for group in range(len(self.groups))])


def _steps(array: Any, axis: int, start: int, stop: int) -> Any:
    return array[(slice(None),) * axis + (slice(start, stop),)]
