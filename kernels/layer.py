"""A whole layer and direction, for a kernel set that has only the two time loops.

Only the product with the recurrent weights has to wait for the step before it.  The input projection of all T steps,
and every weight gradient, are single products over T*B rows and are hoisted out of the loop (`kernels.products`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from kernels import products
from kernels.cells import Adjoints, Cell, Run, factors_of

Array = Any  # of the kernel set's library
Weights = Mapping[str, Any]

CHUNK = 64  # steps that are held at a time where no tape is kept: enough for one good matrix product


class StepKernels(Protocol):
    """What `LayerOfSteps` is built on."""

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""

    def forward(
        self,
        cell: Cell,
        pre: Array,
        weights: Weights,
        states: tuple[Array, ...],
        lengths: Array = None,
        factors: Weights | None = None,
    ) -> Run:
        """Run one layer and direction over all steps.

        Parameters
        ----------
        pre : (T, B, G*H) input projection with bias_ih.
        weights, states, lengths, factors : as in `kernels.Kernels.forward_layer`.
        """

    def backward(
        self,
        cell: Cell,
        run: Run,
        weights: Weights,
        dy: Array,
        dlast: tuple[Array, ...],
        lengths: Array = None,
        trace: bool = False,
        factors: Weights | None = None,
    ) -> Adjoints:
        """Walk the same steps from the end.

        Parameters
        ----------
        run : what `forward` returned; it is only read.
        dy, dlast, lengths, trace, factors : as in `kernels.Kernels.backward_layer`.
        """


class LayerOfSteps:
    """`forward_layer` and `backward_layer` for a kernel set with `forward`, `backward` and `matmul`.

    Parameters
    ----------
    xp : the array library.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp

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

    def forward_layer(
        self: Any,
        cell: Cell,
        x: Array,
        weights: Weights,
        states: tuple[Array, ...],
        lengths: Array = None,
        keep: bool = True,
        factors: Weights | None = None,
    ) -> tuple[Run, Array]:
        """Run one layer and direction over all steps; see `kernels.Kernels.forward_layer`."""
        if keep:
            run = self._forward_chunk(cell, x, weights, states, lengths, factors)
            # y = h[1:], pads 0, in an array of its own: writing into y cannot spoil the tape
            return run, self.xp.copy(run.h[1:]) if lengths is None else _clean(self.xp, run.h[1:], lengths)
        (T, B), P = x.shape[:2], states[0].shape[-1]
        y = self.empty((T, B, P), x.dtype)
        for start in range(0, T, CHUNK):
            stop = min(T, start + CHUNK)
            left = None if lengths is None else self.xp.clip(lengths - start, 0, stop - start)
            part = _clean(self.xp, x[start:stop], left)
            run = self._forward_chunk(cell, part, weights, states, left, factors_of(factors or {}, slice(start, stop)))
            y[start:stop] = _clean(self.xp, run.h[1:], left)
            states = tuple(slots[-1] for slots in run.states)
        return run, y

    def _forward_chunk(
        self: Any,
        cell: Cell,
        x: Array,
        weights: Weights,
        states: tuple[Array, ...],
        lengths: Array,
        factors: Weights | None,
    ) -> Run:
        """Projection and time loop of some steps."""
        pre = products.project_forward(self.matmul, x, weights["weight_ih"], weights.get("bias_ih"))
        run: Run = self.forward(cell, pre, weights, states, lengths, factors)
        return run

    def backward_layer(
        self: Any,
        cell: Cell,
        run: Run,
        x: Array,
        weights: Weights,
        dy: Array,
        dlast: tuple[Array, ...],
        grads: Weights,
        lengths: Array = None,
        trace: bool = False,
        factors: Weights | None = None,
    ) -> tuple[Adjoints, Array]:
        """Walk the same steps from the end; see `kernels.Kernels.backward_layer`."""
        adjoints = self.backward(cell, run, weights, dy, dlast, lengths, trace, factors)
        dx, found = products.project_backward(self.matmul, adjoints.da, x, weights["weight_ih"])
        found |= products.recurrent_weight_backward(self.matmul, self.xp, cell, run, adjoints)
        for name, value in found.items():
            grad = grads.get(name)
            if grad is not None:
                grad += value
        return adjoints, dx


def _clean(xp: Any, values: Array, lengths: Array) -> Array:
    """(T, B, ...) with pads 0; a pad may hold NaN."""
    if lengths is None:
        return values
    valid = xp.arange(values.shape[0])[:, None, None] < lengths[:, None]
    return xp.where(valid, values, xp.zeros_like(values))
