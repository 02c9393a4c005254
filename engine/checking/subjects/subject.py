"""What is being checked: a function whose inputs can be moved, and the gradients that are claimed for it.

The function's outputs are weighted by fixed random cotangents into one number, and backward claims to know its
gradient.  The same is done for parts of the outputs, with the same cotangents: single time steps, or the final state
alone.  Backward is linear in its cotangents, so it must be right for each of these `Group`s as well.  Groups keep large
values from hiding small ones (the loss of step 0 does not depend on the length of the sequence), and they show where an
error comes from.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.checking.subjects.roundings import jitter
from engine.checking.subjects.trees import dtype_of
from engine.checking.verdicts import precision

#: Names our own stream of random numbers.
STREAM = 0x6B70747467726164
#: Beyond so many output values the groups would cost more than they show.
MANY = 200_000


@dataclass(frozen=True)
class Part:
    """One tensor whose gradient is checked.

    Attributes
    ----------
    name : parameter, ``x``, part of the state, or ``input k``.
    array : its values, which `Subject.evaluate` may replace by others.
    gates : names of the blocks along one axis, if it has blocks.
    time_axis : the axis that counts time steps, if there is one.
    own_axes : whether gradients may shrink along any axis (for a tensor of unknown meaning).
    gate_axis : the axis along which the gate blocks lie.
    free : where entries are checked; None is everywhere.
    """

    name: str
    array: Any
    gates: tuple[str, ...] = ()
    time_axis: int | None = None
    own_axes: bool = False
    gate_axis: int = 0
    free: np.ndarray | None = None

    def blocks(self, values: np.ndarray) -> list[np.ndarray]:
        """The gate blocks of (..., *shape) values; all of them where there are no gates."""
        axis = values.ndim - len(self.shape) + self.gate_axis
        return np.array_split(values, len(self.gates), axis=axis) if self.gates else [values]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        """Its dtype as NumPy names it."""
        found = dtype_of(self.array)
        assert found is not None
        return found

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.array.shape)


@dataclass(frozen=True)
class Group:
    """Some of the outputs.

    Attributes
    ----------
    name : in words.
    steps : the time steps ``start, stop`` of the output that it holds, where it is a span of time.
    state : whether it is a part of the final state.
    """

    name: str
    steps: tuple[int, int] | None = None
    state: bool = False

    @property
    def together(self) -> bool:
        """Whether it holds all outputs."""
        return self.steps is None and not self.state


ALL = Group("all outputs")
#: A second weighting: a wrong gradient that fits one weighting by chance does not fit another.
ANEW = Group("all outputs, weighted anew")


class Subject(abc.ABC):
    """A function of several tensors, and its claimed gradients.

    Attributes
    ----------
    backend : where the arrays live.
    parts : the tensors.
    outputs : what the function returns, as it is.
    groups, weights : the groups, and for each the weights (G, N) of all N output values.  The first is everything.
    claimed : gradients by name, each (G, ...), float64 on the host.
    trouble : a finding about the function as a whole, or empty; it goes into the report.
    causes : faults that were seen before the comparison, by name, or under ``""`` for all tensors.
    warnings : sentences on mistakes that this check cannot see.
    notes : how the functions were read, in sentences.
    mutated : which of its arguments a function writes into, in words, if the gradients can be checked all the same.
    narrow : whether backward works in float32.
    atol : an error that passes whatever the size of the gradient.
    on_rows : is told how many times the function was evaluated.
    is_second : whether it is the second place of another subject, which needs none itself.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.parts: list[Part] = []
        self.outputs: list[Any] = []
        self.groups: list[Group] = [ALL]
        self.weights = np.zeros((1, 0))
        self.claimed: dict[str, np.ndarray] = {}
        self.trouble = ""
        self.causes: dict[str, str] = {}
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.mutated = ""
        self.narrow = False
        self.atol = 0.0
        self.on_rows: Callable[[int], None] = lambda rows: None
        self._here: np.ndarray | None = None
        self._output_noise: np.ndarray | None = None
        self._moderate: Subject | None = None
        self._tried_moderate = False
        self._nearby_subject: Subject | None = None
        self._tried_nearby = False
        self.is_second = False

    # -- what a subject can do -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def evaluate(self, replaced: dict[str, Any]) -> list[Any]:
        """Run the function with some tensors replaced, ``{name: array}``; returns its outputs."""

    def probe(self, replaced: dict[str, Any]) -> np.ndarray:
        """Output values (N,) with some tensors replaced, NaN where the function is not defined for these."""
        return self.flat(self.evaluate(replaced))

    @abc.abstractmethod
    def pull(self, cotangents: list[Any]) -> dict[str, Any]:
        """Run backward; returns the claimed gradients by name."""

    def pull_again(self) -> dict[str, Any] | None:
        """What backward gives at the second call on one cache; None if a cache is good for one use."""
        return None

    @abc.abstractmethod
    def blur(self, generator: np.random.Generator, group: int = 0, roundings: float = 1.0) -> dict[str, Any]:
        """Run backward for a group with every number that it reads moved by about one rounding, or by so many."""

    @abc.abstractmethod
    def displaced(self) -> Subject:
        """The same function at a place nearby, off any kink that this one stands on."""

    def off_kinks(self) -> Subject | None:
        """The subject at a place nearby; None if the function is not defined there."""
        if not self._tried_nearby:
            self._tried_nearby = True
            try:
                self._nearby_subject = self.displaced()
                self._nearby_subject.is_second = True
            except Exception:
                self._nearby_subject = None
        return self._nearby_subject

    def moderate(self) -> Subject | None:
        """The same function at a place with no entry larger than about 1; None if that cannot be reached."""
        if not self._tried_moderate:
            self._tried_moderate = True
            try:
                found = self.moderated()
                self._moderate = found if found is not None and np.isfinite(found.here()).all() else None
            except Exception:  # the function may not be defined there
                self._moderate = None
            if self._moderate is not None:
                self._moderate._tried_moderate = self._moderate.is_second = True  # it is there
        return self._moderate

    @abc.abstractmethod
    def moderated(self) -> Subject | None:
        """A new subject, its tensors made `smaller`; None if that is impossible."""

    @staticmethod
    def smaller(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Values scaled down to at most about 1, each moved by a few percent, so that ties come apart."""
        size = max(1.0, float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values))))
        return values / size * generator.uniform(0.95, 1.05, size=values.shape)

    def put_back(self) -> None:
        """Leave what was given as it was; called when the check is over."""
        return None

    def copies(self, name: str, stack: Any) -> list[Any] | None:
        """Outputs (K, ...) for K values (K, ...) of one tensor; None if they must run one by one."""
        return None

    #: Whether `copies` is known.
    can_copy = False
    #: Whether `tangent` is known.
    has_tangent = False
    #: Whether a gradient that is 0 on both sides, and stays 0 under `blur`, is sure to be 0.
    zeros_are_zeros = False

    def tangent(self, directions: dict[str, Any]) -> list[Any]:
        """The outputs' tangents along ``{name: direction}``."""
        raise NotImplementedError

    def beside(self) -> dict[str, np.ndarray]:
        """Arguments and options that no gradient belongs to, by name: indices, rates."""
        return {}

    def explain(self, block: Any) -> Iterable[str]:
        """Likely causes for a `diagnosis.Block` that departs, from what is known of the function's inside."""
        return ()

    # -- numbers on the host -------------------------------------------------------------------------------------------

    def host(self, part: Part) -> np.ndarray:
        """A copy of a part's values, 0 in place of a NaN that stands in a pad."""
        values = np.array(self.backend.to_host(part.array), order="C")
        return np.where(np.isfinite(values), values, values.dtype.type(0))

    def run(self, part: Part, stack: np.ndarray) -> np.ndarray:
        """Output values (K, N) for K values (K, ...) of one part, in place of its own."""
        moved = self.backend.asarray(stack)
        together = self.copies(part.name, moved)
        if together is not None:
            self.on_rows(len(stack))
            return self._flat(together, (len(stack),))
        rows = []
        for k in range(len(stack)):
            rows.append(self.probe({part.name: moved[k, ...]}))  # an array, without axes too
            self.on_rows(1)
        return np.stack(rows) if rows else np.zeros((0, self.weights.shape[1]))

    def here(self) -> np.ndarray:
        """Output values (N,) of the unchanged function, computed as `run` computes those of changed ones."""
        if self._here is None:
            self._here = self.run(self.parts[0], self.host(self.parts[0])[None])[0].astype(np.float64)
        return self._here

    def output_noise(self) -> np.ndarray:
        """(N,) by how much rounding may move each output."""
        if self._output_noise is None:
            self._output_noise = precision.output_noise(self)
        return self._output_noise

    def flat(self, outputs: Sequence[Any]) -> np.ndarray:
        """All output values in a row, (N,)."""
        return self._flat(outputs, ())

    def _flat(self, outputs: Sequence[Any], lead: tuple[int, ...]) -> np.ndarray:
        to_host = self.backend.to_host
        hosts = [out if type(out) is np.ndarray else to_host(out) for out in outputs]
        return np.concatenate([host.reshape(*lead, -1) for host in hosts], axis=-1)

    def cotangents(self, group: int = 0) -> list[Any]:
        """The cotangents of a group, in the outputs' shapes."""
        found, start = [], 0
        for out in self.outputs:
            stop = start + math.prod(out.shape)
            row = self.weights[group, start:stop].reshape(tuple(out.shape))
            found.append(self.backend.asarray(row, dtype_of(out)))
            start = stop
        return found

    def jitter(
        self, arrays: Iterable[Any], generator: np.random.Generator, eps: float | None = None, roundings: float = 1.0
    ) -> None:
        """Move every number of the float arrays up or down by one rounding, `eps`, or by so many, in place; 0 stays."""
        jitter(self.backend, arrays, generator, eps, roundings)

    def claim(self, pulled: Sequence[dict[str, Any]]) -> None:
        """Keep the gradients that backward gave for each group, in order."""
        for part in self.parts:
            values = [np.asarray(self.backend.to_host(one[part.name]), dtype=np.float64) for one in pulled]
            self.claimed[part.name] = np.stack(values)


def draw_weights(seed: int, outputs: Sequence[Any]) -> np.ndarray:
    """Two random weightings (2, N) of all output values, never ones: a plain sum cannot tell one from another.

    They come from a random stream of their own, so they never equal an x of ``default_rng(0).normal``.  If they did, a
    backward that uses x in place of the cotangent would pass.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([STREAM, seed])))
    size = (2, sum(math.prod(out.shape) for out in outputs))
    return generator.choice((-1.0, 1.0), size=size) * generator.uniform(0.5, 1.5, size=size)


def split_weights(
    everything: np.ndarray, outputs: Sequence[Any], time_axes: Sequence[int | None], names: Sequence[str]
) -> tuple[list[Group], np.ndarray]:
    """Groups of the outputs: spans of time that grow with the step they start at, and each output without time.

    Parameters
    ----------
    everything : (2, N) two weightings of all outputs; the groups take theirs from the first.
    time_axes : for each output the axis that counts time, or None.
    names : of the outputs, in words.
    """
    groups, rows = [ALL], [everything[0]]
    if everything.shape[1] > MANY:
        return [ALL, ANEW], everything
    start = 0
    for out, axis, name in zip(outputs, time_axes, names, strict=True):
        size = math.prod(out.shape)
        places = np.arange(start, start + size).reshape(tuple(out.shape))
        spans: list[tuple[int, int] | None] = [None] if axis is None else list(_spans(out.shape[axis]))
        for span in spans:
            if size == 0 or (len(outputs) == 1 and (span is None or out.shape[axis] == 1)):
                continue
            chosen = places if span is None or axis is None else np.take(places, range(*span), axis=axis)
            row = np.zeros_like(everything[0])
            row[chosen.reshape(-1)] = everything[0][chosen.reshape(-1)]
            label = name if span is None else f"{name} at step {span[0]}" + f"..{span[1] - 1}" * (span[1] - span[0] > 1)
            groups.append(Group(label, span, span is None))
            rows.append(row)
        start += size
    return [*groups, ANEW], np.stack([*rows, everything[1]])


def _spans(steps: int) -> Sequence[tuple[int, int]]:
    """0, 1, 2, 3, 4-5, 6-7, 8-11, 12-15, 16-23, ...: two spans for every doubling."""
    edges, width = [0, 1, 2, 3, 4], 2
    while edges[-1] < steps:
        edges += [edges[-1] + width, edges[-1] + 2 * width]
        width *= 2
    edges = sorted({min(edge, steps) for edge in edges})
    return list(itertools.pairwise(edges))
