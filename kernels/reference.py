"""The time loop in plain array code, for any array library: this file defines what is true.

`kernels.steps` makes one step of a cell from its gate functions; the loop owns time.  Forward walks t = 0..T-1 and
fills state buffers of T+1 slots; backward walks the same slots from the end.  A step past a row's end carries the state
by selection (``where``), never by multiplication, so nothing that stands in a pad can reach a result (rule 8).

Shapes: T time steps, B batch, H hidden units, G gate blocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kernels import events, products
from kernels.activations import matmul
from kernels.cells import Adjoints, Cell, Pass, Run, factors_of
from kernels.phases import Place
from kernels.rounding import MATRICES, product_in
from kernels.steps import Steps
from kernels.streams import Part

Array = Any  # of the kernel set's library
Weights = Mapping[str, Any]

#: A product too small for the dtype is rightly 0 and needs no warning; every other floating-point warning stays.
_quiet = np.errstate(under="ignore")


class ReferenceKernels:
    """The plain kernel set over the array library `xp`.  See `kernels.Kernels` for what a kernel set offers.

    A kernel set that has two time loops of its own, or a product, puts them in place of `forward`, `backward` and
    `matmul`: what is around them stays.
    """

    name = "reference"
    #: Whether no pass makes NumPy warn of numbers that are not finite, for a cell without row functions.
    silent = False
    #: Steps whose products are one: where no tape is kept, no more are held at a time.  Blocks are counted from the
    #: end of a pass, and sums over steps go from block to block, so that a pass in parts has the bits of a whole one.
    steps_at_once = 64

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    @_quiet
    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""
        events.launched()
        return matmul(self.xp, a, b)

    def packs(self, cell: Cell, weights: Weights, grads: Weights, precision: str = "float32") -> Any:
        """Nothing is kept: array code reads the weights as they stand."""
        return None

    def stream(self, parts: Sequence[Part], batch: int, dtype: Any) -> Any:
        """None: array code has one call for each layer at the best."""
        return None

    @_quiet
    def forward(self, given: Pass, pre: Array, states: tuple[Array, ...]) -> Run:
        """Run one layer and direction over all T steps.

        Parameters
        ----------
        given, states : as in `kernels.Kernels.forward_layer`.
        pre : (T, B, G*H) input projection with bias_ih.
        """
        events.launched()
        xp, cell, lengths = self.xp, given.cell, given.lengths
        T, G, steps = len(pre), len(cell.gates), self._steps(given, pre.dtype)
        pre = pre.reshape(*pre.shape[:-1], G, pre.shape[-1] // G)  # (T, B, G, H); with copies (T, K, B, G, H)
        rows = pre.shape[1:-2]
        slots = tuple(xp.empty((T + 1, *rows, state.shape[-1]), dtype=pre.dtype) for state in states)
        for buffer, state in zip(slots, states, strict=True):
            buffer[0] = state
        gates, kept = xp.empty(pre.shape, dtype=pre.dtype), {}
        for t in () if 0 in pre.shape else range(T):  # without rows there is nothing to fill
            at = steps.forward(pre[t], tuple(buffer[t] for buffer in slots), t)
            valid = None if lengths is None else (lengths > t)[:, None]  # (B, 1)
            for name, buffer in zip(cell.states, slots, strict=True):
                buffer[t + 1] = _select(xp, valid, at[Place("new", name)], buffer[t])
            for block, gate in enumerate(cell.gates):
                gates[t, ..., block, :] = _select(xp, valid, at[Place("gate", gate)], 0)
            for place in [place for place in at if place.kind == "kept"]:
                if t == 0:
                    kept[place.name] = xp.empty((T, *at[place].shape), dtype=pre.dtype)
                kept[place.name][t] = _select(xp, valid, at[place], 0)
        if 0 in pre.shape:
            H, P = pre.shape[-1], states[0].shape[-1]
            kept = {name: xp.empty((T, *rows, P if cell.is_narrow(name) else H), dtype=pre.dtype) for name in cell.kept}
        return Run(slots, gates, kept)

    @_quiet
    def backward(self, given: Pass, run: Run, dy: Array, dlast: tuple[Array, ...], trace: bool = False) -> Adjoints:
        """Walk the slots of `run` from the end to the start.

        Parameters
        ----------
        run : what `forward` returned; it is only read.
        given, dy, dlast, trace : as in `kernels.Kernels.backward_layer`.
        """
        events.launched()
        xp, gates, cell, lengths = self.xp, run.gates, given.cell, given.lengths
        steps = self._steps(given, gates.dtype)
        da = xp.empty(gates.shape, dtype=gates.dtype)
        da_hidden = xp.empty(gates.shape, dtype=gates.dtype) if cell.splits else da
        dstates = tuple(_or_zeros(xp, part, slots[0]) for slots, part in zip(run.states, dlast, strict=True))
        traces = tuple(xp.empty(slots.shape, dtype=slots.dtype) for slots in run.states) if trace else None
        own = {name: xp.zeros_like(given.weights[name]) for name in cell.own}
        dprojected = xp.empty(run.h[1:].shape, dtype=gates.dtype) if cell.projected else None
        T = 0 if 0 in gates.shape else len(gates)  # without rows there is nothing to walk
        for t in range(T - 1, -1, -1):
            valid = None if lengths is None else (lengths > t)[:, None]
            if dy is not None:
                dstates = (dstates[0] + dy[t], *dstates[1:])  # y[t] = h[t+1]
            found = steps.backward(steps.tape(run, t), dstates)
            for block, gate in enumerate(cell.gates):
                da[t, :, block] = _select(xp, valid, found.input[gate], 0)
                if cell.splits:
                    da_hidden[t, :, block] = _select(xp, valid, found.hidden.get(gate, found.input[gate]), 0)
            for name, value in found.own.items():
                own[name] += _select(xp, valid, value, 0).sum(axis=0)
            if dprojected is not None:
                dprojected[t] = _select(xp, valid, found.projected, 0)
            for name, slots, dstate in zip(cell.states, traces or (), dstates, strict=False):
                slots[t + 1] = _select(xp, valid, found.totals[name], dstate)
            dstates = tuple(  # S[t+1] = where(valid, S_new, S[t])
                _select(xp, valid, _or_zeros(xp, found.previous[name], dstate), dstate)
                for name, dstate in zip(cell.states, dstates, strict=True)
            )
        for slots, dstate in zip(traces or (), dstates, strict=False):
            slots[0] = dstate
        return Adjoints(da, da_hidden, dstates, traces, own, dprojected)

    def _steps(self, given: Pass, dtype: Any) -> Steps:
        one = self.xp.dtype(dtype).type(1)  # a Python or float64 scalar could widen a product
        plain = lambda a, b: matmul(self.xp, a, b)  # noqa: E731
        _, multiply, project = (product_in(self.xp, given.precision, name, plain) for name in MATRICES)
        return Steps(self.xp, given, one, multiply, project=project)

    # -- a whole layer and direction -----------------------------------------------------------------------------------
    # Only the product with the recurrent weights has to wait for the step before it.  The input projection of all T
    # steps, and every weight gradient, are single products over T*B rows and are hoisted out of the loop.

    def block(self, cell: Cell, batch: int) -> int:
        """See `kernels.Kernels.block`."""
        return self.steps_at_once

    def numbers(self, cell: Cell, units: int, width: int, full: bool) -> tuple[int, int]:
        """See `kernels.Kernels.numbers`."""
        gates = len(cell.gates) * units
        return gates + sum(width if cell.is_narrow(name) else units for name in cell.kept), gates

    def release(self) -> None:
        """Give memory that waits for arrays of the same size back: here none does."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new array; its values are not set."""
        return self.xp.empty(shape, dtype=dtype)

    def checksum(self, arrays: Iterable[Array]) -> int:
        """A number that changes when a value in the arrays changes."""
        value = 0
        for array in arrays:
            memory = array if isinstance(array, np.ndarray) else self.xp.asnumpy(array)  # on the CPU: nothing is copied
            value = zlib.crc32(np.ascontiguousarray(memory).reshape(-1).view(np.uint8).data, value)
        return value

    def watch(self, arrays: Iterable[Array]) -> Callable[[], int]:
        """A function that returns the checksum of these arrays as they are when it is called."""
        held = list(arrays)
        return lambda: self.checksum(held)

    def forward_layer(self, given: Pass, x: Array, states: tuple[Array, ...], keep: bool = True) -> tuple[Run, Array]:
        """Run one layer and direction over all steps; see `kernels.Kernels.forward_layer`."""
        lengths = given.lengths
        if keep:
            run = self._forward_part(given, x, states)
            # y = h[1:], pads 0, in an array of its own: writing into y cannot spoil the tape
            return run, self.xp.copy(run.h[1:]) if lengths is None else _clean(self.xp, run.h[1:], lengths)
        (T, B), P = x.shape[:2], states[0].shape[-1]
        y = self.empty((T, B, P), x.dtype)
        for steps in blocks_of(T, self.steps_at_once):
            part = part_of(given, steps)
            run = self._forward_part(part, _clean(self.xp, x[steps], part.lengths), states)
            y[steps] = _clean(self.xp, run.h[1:], part.lengths)
            states = tuple(slots[-1] for slots in run.states)
        return run, y

    def _forward_part(self, given: Pass, x: Array, states: tuple[Array, ...]) -> Run:
        """Projection and time loop of some steps."""
        weights, T = given.weights, len(x)
        multiply = product_in(self.xp, given.precision, "weight_ih", self.matmul)
        parts = [
            products.project_forward(multiply, x[steps], weights["weight_ih"], weights.get("bias_ih"))
            for steps in blocks_of(T, self.steps_at_once)
        ]
        pre = parts[0] if len(parts) == 1 else self.xp.concatenate(parts)
        del parts
        return self.forward(given, pre, states)

    def backward_layer(
        self,
        given: Pass,
        run: Run,
        x: Array,
        dy: Array,
        dlast: tuple[Array, ...],
        grads: Weights,
        trace: bool = False,
        going_on: bool = False,
    ) -> tuple[Adjoints, Array]:
        """Walk the same steps from the end; see `kernels.Kernels.backward_layer`."""
        if len(x) > self.steps_at_once and not trace:
            return self._backward_in_blocks(given, run, x, dy, dlast, grads, going_on)
        adjoints = self.backward(given, run, dy, dlast, trace)
        inward, recurrent, project = (product_in(self.xp, given.precision, name, self.matmul) for name in MATRICES)
        dx, found = products.project_backward(inward, adjoints.da, x, given.weights["weight_ih"])
        found |= products.recurrent_weight_backward(recurrent, project, self.xp, given.cell, run, adjoints)
        for name, value in found.items():
            grad = grads.get(name)
            if grad is not None:
                grad += value
        return adjoints, dx

    def _backward_in_blocks(
        self, given: Pass, run: Run, x: Array, dy: Array, dlast: tuple[Array, ...], grads: Weights, going_on: bool
    ) -> tuple[Adjoints, Array]:
        """`backward_layer`, block by block from the end."""
        sums = grads if going_on else {name: self.xp.zeros_like(grad) for name, grad in grads.items()}
        dx: Array = None
        for steps in reversed(blocks_of(len(x), self.steps_at_once)):
            part, dy_part = part_of(given, steps), None if dy is None else dy[steps]
            taped, x_part = run.window(steps.start, steps.stop), x[steps]
            adjoints, dx_part = self.backward_layer(part, taped, x_part, dy_part, dlast, sums, False, True)
            dx = self.empty(x.shape, dx_part.dtype) if dx is None else dx
            dx[steps], dlast = dx_part, adjoints.dstates
            del adjoints, dx_part  # before the next block makes its own
        if not going_on:
            for name, value in sums.items():
                grad = grads[name]
                grad += value
        return Adjoints(None, None, dlast, None, {}, None), dx


def blocks_of(steps: int, size: int) -> list[slice]:
    """The blocks of so many steps, counted from the end: only the first may be shorter."""
    stops = [*range(steps, 0, -size)][::-1]
    return [slice(max(0, stop - size), stop) for stop in stops] or [slice(0, 0)]


def part_of(given: Pass, steps: slice) -> Pass:
    """What some of the steps of a pass share.

    What is left of a row's steps may be more than there are here, or less than none: so the rows keep their order.
    """
    left = None if given.lengths is None else given.lengths - steps.start
    return given._replace(lengths=left, factors=factors_of(given.factors, steps))


def _select(xp: Any, valid: Array, value: Array, otherwise: Array) -> Array:
    return value if valid is None else xp.where(valid, value, otherwise)


def _or_zeros(xp: Any, value: Array, like: Array) -> Array:
    return xp.zeros_like(like) if value is None else value


def _clean(xp: Any, values: Array, lengths: Array) -> Array:
    """(T, B, ...) with pads 0; a pad may hold NaN."""
    if lengths is None:
        return values
    valid = xp.arange(values.shape[0])[:, None, None] < lengths[:, None]
    return xp.where(valid, values, xp.zeros_like(values))
