"""The forward and the backward pass that the microscope looks at, and their arrays in host memory.

The passes are the layers' own, on their own backend.  What they leave is copied to the host in float64, where all
further numbers are worked out.  No layer is changed: gradients that a backward pass adds are taken away again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from engine.layers import Recurrent, Sequential, arguments
from engine.layers.cell_parameters import of_direction
from engine.layers.tape import RecurrentTrace
from engine.layers.timeline import Timeline
from engine.layers.walk import Direction, backward_walk, every_direction
from kernels.activations import matmul
from kernels.cells import Cell, Pass, Run
from kernels.steps import Steps

Array = Any  # of a layer's backend
#: A number 1 in the dtype of all arrays here.
ONE = np.float64(1.0)
#: The name of all states together.
ALL = "all"


def norm(values: np.ndarray, *axes: int) -> Any:
    """Norm along the axes; squares of very small or large numbers do not underflow or overflow."""
    largest = np.max(np.abs(values), axis=axes, keepdims=True, initial=0.0)
    divisor = np.where((largest > 0) & (largest < np.inf), largest, 1.0)
    scaled = values / divisor
    return np.sqrt((scaled * scaled).sum(axis=axes)) * divisor.reshape(np.delete(values.shape, axes))


class Leaf(NamedTuple):
    """A layer that holds no others, with its tape and its place in the model."""

    path: str
    layer: Any
    tape: Any


class Record(NamedTuple):
    """What a forward pass left of one layer and direction, in host memory and float64.

    Attributes
    ----------
    name, end : its name, and how its parameters' names end; `prefix` stands before these in the model's names.
    cell, x, run, factors : as on the tape.
    weights : by name without the ending.
    lengths : (B,) valid steps.
    """

    name: str
    end: str
    prefix: str
    cell: Cell
    x: np.ndarray
    run: Run
    factors: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    lengths: np.ndarray

    @property
    def steps(self) -> Steps:
        """The steps of this layer and direction, on arrays of the host."""
        return Steps(np, Pass(self.cell, self.weights, factors=self.factors), ONE, lambda a, b: matmul(np, a, b))


class Flow(NamedTuple):
    """Gradients of one layer and direction, step by step, in host memory and float64.

    Attributes
    ----------
    da, da_hidden : (T, B, G, H) of the pre-activations, on the input side and on the hidden side: one array where no
        gate has two gradients.
    states : for each state (T+1, B, width), of every slot.
    own : of the weights p_X by name, each (T, H): the part of each step, summed over rows.
    dprojected : (T, B, P) of the projection's product; None without one.
    """

    da: np.ndarray
    da_hidden: np.ndarray
    states: tuple[np.ndarray, ...]
    own: dict[str, np.ndarray]
    dprojected: np.ndarray | None

    def add(self, other: Flow, start: int) -> None:
        """Add the gradients of a window that begins at step `start`."""
        stop = start + len(other.da)
        self.da[start:stop] += other.da
        if self.da_hidden is not self.da:
            self.da_hidden[start:stop] += other.da_hidden
        for mine, part in zip(self.states, other.states, strict=True):
            mine[start : stop + 1] += part
        for name, part in other.own.items():
            self.own[name][start:stop] += part
        if self.dprojected is not None:
            self.dprojected[start:stop] += other.dprojected


def leaves(layer: Any, tape: Any = None, path: str = "") -> list[Leaf]:
    """The layers of a model in order, with their tapes."""
    if not isinstance(layer, Sequential):
        return [Leaf(path, layer, tape)]
    tapes = [None] * len(layer.layers) if tape is None else tape.tapes
    found: list[Leaf] = []
    for number, (part, part_tape) in enumerate(zip(layer.layers, tapes, strict=True)):
        found += leaves(part, part_tape, f"{path}.{number}" if path else str(number))
    return found


def names_of(leaf: Leaf) -> Iterator[tuple[str, Direction]]:
    """Name and place of every layer and direction of a recurrent leaf."""
    prefix = f"{leaf.path}." if leaf.path else ""
    for direction in every_direction(leaf.layer.num_layers, leaf.layer.num_directions):
        yield prefix + direction.end.removeprefix("_"), direction


def records(leaf: Leaf) -> Iterator[Record]:
    """What the forward pass of a recurrent leaf left."""
    layer, timeline = leaf.layer, leaf.tape.timeline
    lengths = _lengths(layer, timeline)
    for name, direction in names_of(leaf):
        part = leaf.tape.layers[direction.layer][direction.reverse]
        run = Run(
            tuple(_host(layer, slots) for slots in part.run.states),
            _host(layer, part.run.gates),
            {key: _host(layer, values) for key, values in part.run.kept.items()},
        )
        weights = {key: _host(layer, value) for key, value in of_direction(part.cell, direction, layer.params).items()}
        factors = {key: _host(layer, value) for key, value in part.factors.items()}
        prefix = f"{leaf.path}." if leaf.path else ""
        yield Record(name, direction.end, prefix, part.cell, _host(layer, part.x), run, factors, weights, lengths)


def backward(found: list[Leaf], dy: Array) -> dict[str, Flow]:
    """The backward pass through all leaves, down to the lowest recurrent one: gradients by name."""
    flows: dict[str, Flow] = {}
    lowest = next(number for number, leaf in enumerate(found) if isinstance(leaf.layer, Recurrent))
    for leaf in reversed(found[lowest:]):
        if isinstance(leaf.layer, Recurrent):
            trace = leaf.layer.backward_trace(leaf.tape, dy)
            flows |= _flows(leaf, trace, dy)
            dy = trace.dx
        else:
            with _gradients_kept(leaf.layer):
                dy = leaf.layer.backward(leaf.tape, dy)[0]
    return flows


def truncated(found: list[Leaf], dy: Array, axis: int, k1: int, k2: int) -> dict[str, Flow]:
    """The backward passes of `engine.truncated_bptt`, added up; a window without a loss is left out."""
    steps = dy.shape[axis]
    total: dict[str, Flow] = {}
    for chunk_start in range(0, steps, k1):
        stop = min(chunk_start + k1, steps)
        start = max(0, stop - k2)
        window_dy = _span(dy, axis, start, stop) * 1  # a copy
        _span(window_dy, axis, 0, chunk_start - start)[...] = 0
        if not bool((window_dy != 0).any()) and total:
            continue
        window = [leaf._replace(tape=leaf.layer.window(leaf.tape, start, stop)) for leaf in found]
        for name, flow in backward(window, window_dy).items():
            total.setdefault(name, _empty(flow, steps)).add(flow, start)
    return total


def _empty(flow: Flow, steps: int) -> Flow:
    """Zeros for all steps, in the shapes of the gradients of a window."""

    def zeros(array: np.ndarray, more: int = 0) -> np.ndarray:
        return np.zeros((steps + more, *array.shape[1:]))

    da = zeros(flow.da)
    return Flow(
        da,
        da if flow.da_hidden is flow.da else zeros(flow.da_hidden),
        tuple(zeros(slots, 1) for slots in flow.states),
        {name: zeros(part) for name, part in flow.own.items()},
        None if flow.dprojected is None else zeros(flow.dprojected),
    )


def _flows(leaf: Leaf, trace: RecurrentTrace, dy: Array) -> dict[str, Flow]:
    """The gradients of a recurrent leaf by name, from its trace and the gradient of its output."""
    layer, found = leaf.layer, {}
    own = _own_by_step(leaf, dy) if layer.cell.own else {}
    for name, direction in names_of(leaf):
        adjoints = trace.layers[direction.layer][direction.reverse].adjoints
        da = _host(layer, adjoints.da)
        found[name] = Flow(
            da,
            da if adjoints.da_hidden is adjoints.da else _host(layer, adjoints.da_hidden),
            tuple(_host(layer, slots) for slots in adjoints.traces or ()),
            own.get(name, {}),
            None if adjoints.dprojected is None else _host(layer, adjoints.dprojected),
        )
    return found


def _own_by_step(leaf: Leaf, dy: Array) -> dict[str, dict[str, np.ndarray]]:
    """Gradients of the weights p_X step by step, each (T, H).  Kernels add them up, so the steps are walked once more.

    The walk is that of `kernels.reference`, from the gradient of the output down through layers and directions.
    """
    layer, timeline = leaf.layer, leaf.tape.timeline
    lengths = _lengths(layer, timeline)
    host = Timeline(_numpy(), timeline.steps, timeline.batch, lengths)
    by_end = {record.end: record for record in records(leaf)}
    found: dict[str, dict[str, np.ndarray]] = {}

    def run(direction: Direction, part: np.ndarray) -> np.ndarray:
        record = by_end[direction.end]
        da, found[record.name] = _walk(record, part)
        return da.reshape(*da.shape[:2], -1) @ record.weights["weight_ih"]

    entered = _host(layer, arguments.enter_dy(layer, dy, timeline))
    counts = layer.num_layers, layer.num_directions
    backward_walk(*counts, entered, lambda number, values: values, run, host.flip, layer.widths[0])
    return found


def _walk(record: Record, dy: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The gradients da (T, B, G, H) of one layer and direction, and those of p_X by step."""
    steps, run = record.steps, record.run
    da = np.zeros_like(run.gates)
    own = {name: np.zeros((len(da), len(record.weights[name]))) for name in record.cell.own}
    dstates = tuple(np.zeros_like(slots[0]) for slots in run.states)
    for t in range(len(da) - 1, -1, -1):
        valid = (record.lengths > t)[:, None]
        dstates = (dstates[0] + dy[t], *dstates[1:])
        found = steps.backward(steps.tape(run, t), dstates)
        for block, gate in enumerate(record.cell.gates):
            da[t, :, block] = np.where(valid, found.input[gate], 0)
        for name, value in found.own.items():
            own[name][t] = np.where(valid, value, 0).sum(axis=0)
        dstates = tuple(
            np.where(valid, 0.0 if found.previous[name] is None else found.previous[name], dstate)
            for name, dstate in zip(record.cell.states, dstates, strict=True)
        )
    return da, own


@contextlib.contextmanager
def _gradients_kept(layer: Any) -> Iterator[None]:
    """Take what a backward pass adds to ``grads`` away again."""
    before = {name: layer.backend.xp.copy(grad) for name, grad in layer.grads.items()}
    try:
        yield
    finally:
        for name, grad in before.items():
            layer.grads[name] = grad


def _span(array: Array, axis: int, start: int, stop: int) -> Array:
    return array[:, start:stop] if axis == 1 else array[start:stop]


def _host(layer: Any, array: Array) -> np.ndarray:
    return layer.backend.to_host(array).astype(np.float64)


def _lengths(layer: Any, timeline: Timeline) -> np.ndarray:
    if timeline.lengths is None:
        return np.full(timeline.batch, timeline.steps)
    return np.asarray(layer.backend.to_host(timeline.lengths)).astype(np.int64)


def _numpy() -> Any:
    from engine.backend import get_backend

    return get_backend("numpy:reference")
