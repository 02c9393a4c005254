"""Searching the likeliest sequence of tokens, step by step: greedy search and beam search, many sentences at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

#: From tokens (n,), the state before them and the number (n,) of each one's sentence: logits (n, V), and the new state.
Step = Callable[[np.ndarray, Any, np.ndarray], tuple[np.ndarray, Any]]


class Translation(NamedTuple):
    """A sequence that a search found.

    Attributes
    ----------
    ids : tuple of int
        The tokens between start and end.
    log_probability : float
        The natural logarithm of its probability, that of its end included.
    ended : bool
        Whether the end came, before the most tokens that were allowed.
    """

    ids: tuple[int, ...]
    log_probability: float
    ended: bool


class Beam(NamedTuple):
    """A candidate that still grows: the number of its sentence, its tokens, the sum of their log p."""

    row: int
    ids: tuple[int, ...]
    total: float


class Search:
    """How sequences grow.

    Parameters
    ----------
    step : the model's step, see `Step`.
    take : from a state and places (n,): the state of those rows.
    start, end : the tokens around a sequence.
    never : tokens that no sequence has.
    most : a sequence that has not ended after so many tokens is returned as it is.
    """

    def __init__(
        self,
        step: Step,
        take: Callable[[Any, np.ndarray], Any],
        start: int,
        end: int,
        never: Sequence[int],
        most: int,
    ) -> None:
        self.step, self.take = step, take
        self.start, self.end, self.never, self.most = start, end, list(never), most

    def greedy(self, state: Any, sentences: int) -> list[Translation]:
        """Take the likeliest token at each step; `state` is that of the first step, for each sentence."""
        ids: list[list[int]] = [[] for _ in range(sentences)]
        total, ended = np.zeros(sentences), np.zeros(sentences, dtype=bool)
        rows, tokens = np.arange(sentences), np.full(sentences, self.start)
        for _ in range(self.most):
            if not rows.size:
                break
            log_p, state = self._log_probabilities(tokens, state, rows)
            tokens = log_p.argmax(axis=1)
            total[rows] += log_p[np.arange(len(rows)), tokens]
            going = tokens != self.end
            ended[rows[~going]] = True
            rows, tokens, state = rows[going], tokens[going], self.take(state, np.flatnonzero(going))
            for row, token in zip(rows, tokens, strict=True):
                ids[row].append(int(token))
        return [Translation(tuple(ids[k]), float(total[k]), bool(ended[k])) for k in range(sentences)]

    def beams(self, state: Any, sentences: int, width: int, penalty: float) -> list[Translation]:
        """Let `width` candidates of each sentence grow, and return the best by `rank` of those that ended.

        A sentence is done when as many candidates have ended as there are beams.
        """
        done: list[list[Translation]] = [[] for _ in range(sentences)]
        alive = [Beam(row, (), 0.0) for row in range(sentences)]
        for _ in range(self.most):
            if not alive:
                break
            tokens = np.array([beam.ids[-1] if beam.ids else self.start for beam in alive])
            log_p, state = self._log_probabilities(tokens, state, np.array([beam.row for beam in alive]))
            log_p += np.array([beam.total for beam in alive])[:, None]
            grown: list[Beam] = []
            parents: list[int] = []
            for row, places in _by_sentence(alive):
                further = []
                for order, (place, token) in enumerate(_largest(log_p[places], 2 * width)):
                    parent = places.start + place
                    found = Beam(row, (*alive[parent].ids, token), float(log_p[parent, token]))
                    if token != self.end:
                        further.append((found, parent))
                    elif order < width:  # an end among the best as they stand; a later one has not won yet
                        done[row].append(Translation(found.ids[:-1], found.total, True))
                for found, parent in further[:width] if len(done[row]) < width else ():
                    grown.append(found)
                    parents.append(parent)
            alive, state = grown, self.take(state, np.array(parents, dtype=np.int64))
        for beam in alive:
            if not any(one.ended for one in done[beam.row]):
                done[beam.row].append(Translation(beam.ids, beam.total, False))
        return [max(found, key=lambda one: rank(one, penalty)) for found in done]

    def _log_probabilities(self, tokens: np.ndarray, state: Any, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        """log p (n, V) of every next token; minus infinity for those that no sequence has."""
        logits, state = self.step(tokens, state, rows)
        s = logits.astype(np.float64)
        s -= s.max(axis=1, keepdims=True)
        s -= np.log(np.exp(s).sum(axis=1, keepdims=True))
        s[:, self.never] = -np.inf
        return s, state


def rank(found: Translation, penalty: float) -> float:
    """What candidates are compared by: long ones have more factors below 1 (Wu et al. 2016, equation 14)."""
    length = len(found.ids) + found.ended
    return float(found.log_probability / ((5 + length) / 6) ** penalty)


def _by_sentence(beams: Sequence[Beam]) -> Iterator[tuple[int, slice]]:
    """The sentences of beams that stand in their order, each with its places."""
    start = 0
    for row, group in groupby(beam.row for beam in beams):
        stop = start + len(list(group))
        yield row, slice(start, stop)
        start = stop


def _largest(values: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Row and column of the largest finite numbers, in order; of equal ones the first comes first."""
    flat = values.reshape(-1)
    chosen = np.argpartition(-flat, min(count, len(flat)) - 1)[:count]
    chosen = chosen[np.isfinite(flat[chosen])]
    chosen = chosen[np.lexsort((chosen, -flat[chosen]))]
    return [divmod(int(place), values.shape[1]) for place in chosen]
