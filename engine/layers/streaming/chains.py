"""Steps of several layers: one after another, side by side, and neighbours that a kernel set runs in one call."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import bad_input
from engine.layers.streaming.steps import EmbeddingStep, RecurrentStep, Step

if TYPE_CHECKING:
    from engine.layers.base import Layer

Array = Any  # of the layers' backend


class Chain(Step):
    """Steps one after another: those of a `Sequential`.

    Attributes
    ----------
    steps : one for each layer; working : those that do something, and are no chains themselves.
    """

    working: list[Step]

    def __init__(self, layer: Layer, batch: int, parts: list[Step]) -> None:
        inputs = next((part.inputs for part in parts if part.inputs is not None), None)
        super().__init__(layer, batch, inputs, _require_fitting(parts))
        self.steps = parts
        self.working = [step for part in parts for step in _working(part) if type(step) is not Step]

    def check(self, x: Any) -> Array:
        """See `Step.check`."""
        first = self.working[0] if self.working else self.steps[0]
        return first.check(x)

    def state(self) -> Any:
        """See `Step.state`."""
        return tuple([part.state() for part in self.steps])

    def reset(self, rows: Any) -> None:
        """See `Step.reset`."""
        for part in self.working:
            part.reset(rows)


class StreamStep(Step):
    """Neighbouring steps that the kernel set runs in one call; y_t is the stream's own array."""

    def __init__(self, steps: list[Step], stream: Any) -> None:
        first = steps[0]
        super().__init__(first.layer, first.batch, first.inputs, steps[-1].outputs)
        self.stream, states = stream, iter(stream.states)
        for step in steps:
            if isinstance(step, RecurrentStep):
                step.now = [next(states) for _ in step.now]

    def __call__(self, x: Any) -> Any:
        """See `Step.__call__`."""
        self.stream.x[...] = x
        self.stream.run()
        return self.stream.y


class SideBySide(Step):
    """Steps that read the same x_t: those of `Heads`; y_t is a dict of their outputs."""

    def __init__(self, layer: Layer, batch: int, parts: Mapping[str, Step]) -> None:
        wide = {name: part.inputs for name, part in parts.items() if part.inputs is not None}
        super().__init__(layer, batch, next(iter(wide.values()), None))
        self.heads = dict(parts)
        self._prepare()

    def _prepare(self) -> None:
        self.runs = {name: runs_of(part) for name, part in self.heads.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "runs": None}  # see `Stepper._prepare`

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def check(self, x: Any) -> Array:
        """See `Step.check`."""
        found = [part.check(x) for part in self.heads.values()]
        return found[0]

    def __call__(self, x: Any) -> dict[str, Any]:
        """See `Step.__call__`."""
        found = {}
        for name, runs in self.runs.items():
            found[name] = x
            for run in runs:
                found[name] = run(found[name])
        return found

    def state(self) -> Any:
        """See `Step.state`."""
        return tuple([part.state() for part in self.heads.values()])

    def reset(self, rows: Any) -> None:
        """See `Step.reset`."""
        for part in self.heads.values():
            part.reset(rows)


def runs_of(step: Step) -> list[Step]:
    """What is called at each time step, one after another: neighbours as one where the kernel set can."""
    found: list[Step] = []
    for does, group in itertools.groupby(_working(step), lambda one: bool(one.parts())):
        steps = list(group)
        whole = _streamed(steps) if does else None
        found += [whole] if whole else [_streamed([one]) or one for one in steps] if does else steps
    return found


def _working(step: Step) -> list[Step]:
    """The steps of a chain that do something; of another step itself."""
    return step.working if isinstance(step, Chain) else [step]


def _streamed(steps: list[Step]) -> Step | None:
    """Neighbouring steps as one; None where the kernel set has no stream for them."""
    layer, parts = steps[0].layer, [part for step in steps for part in step.parts()]
    stream = layer.backend.kernels.stream(parts, steps[0].batch, layer.dtype)
    return None if stream is None else StreamStep(steps, stream)


def _require_fitting(parts: list[Step]) -> int | None:
    """Raise unless each step takes what the one before gives; returns the features of the last."""
    wide: int | None = None
    for before, part in zip([None, *parts], parts, strict=False):
        if isinstance(before, SideBySide):
            raise bad_input("model", "several heads at its end alone", f"{part.title} behind them")
        if before is not None and isinstance(part, EmbeddingStep):
            raise bad_input("model", "ids for an Embedding", f"{part.title} behind {before.title}")
        if wide is not None and part.inputs is not None and part.inputs != wide:
            expected = f"{part.inputs} features for {part.title}"
            raise bad_input("model", expected, f"{wide} from the layers before it")
        wide = wide if part.outputs is None else part.outputs
    return wide
