"""A whole layer and direction, for a kernel set that has only the two time loops.

Only the product with the recurrent weights has to wait for the step before it.  The input projection of all T steps,
and every weight gradient, are single products over T*B rows and are hoisted out of the loop (`kernels.products`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kernels import products
from kernels.cells import Adjoints, Pass, Run, factors_of

Array = Any  # of the kernel set's library
Weights = Mapping[str, Any]

CHUNK = 64  # steps that are held at a time where no tape is kept: enough for one good matrix product


class LayerOfSteps:
    """`forward_layer` and `backward_layer` for a kernel set that has the two time loops and `matmul`.

    Parameters
    ----------
    xp : the array library.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""
        raise NotImplementedError

    def forward(self, given: Pass, pre: Array, states: tuple[Array, ...]) -> Run:
        """Run one layer and direction over all steps.

        Parameters
        ----------
        given, states : as in `kernels.Kernels.forward_layer`.
        pre : (T, B, G*H) input projection with bias_ih.
        """
        raise NotImplementedError

    def backward(self, given: Pass, run: Run, dy: Array, dlast: tuple[Array, ...], trace: bool = False) -> Adjoints:
        """Walk the same steps from the end.

        Parameters
        ----------
        run : what `forward` returned; it is only read.
        given, dy, dlast, trace : as in `kernels.Kernels.backward_layer`.
        """
        raise NotImplementedError

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

    def forward_layer(self, given: Pass, x: Array, states: tuple[Array, ...], keep: bool = True) -> tuple[Run, Array]:
        """Run one layer and direction over all steps; see `kernels.Kernels.forward_layer`."""
        lengths = given.lengths
        if keep:
            run = self._forward_chunk(given, x, states)
            # y = h[1:], pads 0, in an array of its own: writing into y cannot spoil the tape
            return run, self.xp.copy(run.h[1:]) if lengths is None else _clean(self.xp, run.h[1:], lengths)
        (T, B), P = x.shape[:2], states[0].shape[-1]
        y = self.empty((T, B, P), x.dtype)
        for start in range(0, T, CHUNK):
            steps = slice(start, min(T, start + CHUNK))
            left = None if lengths is None else self.xp.clip(lengths - start, 0, steps.stop - start)
            part = given._replace(lengths=left, factors=factors_of(given.factors, steps))
            run = self._forward_chunk(part, _clean(self.xp, x[steps], left), states)
            y[steps] = _clean(self.xp, run.h[1:], left)
            states = tuple(slots[-1] for slots in run.states)
        return run, y

    def _forward_chunk(self, given: Pass, x: Array, states: tuple[Array, ...]) -> Run:
        """Projection and time loop of some steps."""
        weights = given.weights
        pre = products.project_forward(self.matmul, x, weights["weight_ih"], weights.get("bias_ih"))
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
    ) -> tuple[Adjoints, Array]:
        """Walk the same steps from the end; see `kernels.Kernels.backward_layer`."""
        adjoints = self.backward(given, run, dy, dlast, trace)
        dx, found = products.project_backward(self.matmul, adjoints.da, x, given.weights["weight_ih"])
        found |= products.recurrent_weight_backward(self.matmul, self.xp, given.cell, run, adjoints)
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
