"""Ground floor: arithmetic and time loops.  Imports nothing of ``engine``.

Read `gates` (the equations), then `reference` (the time loop in plain array code), then `numba_loops` (the same,
compiled) and `numba_tiles` (what makes its products fast).
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

from kernels.cells import Adjoints, Cell, Run

#: The distribution this package belongs to; lets ``engine`` notice another package of the same import name.
DISTRIBUTION = "bptt-engine"


class Kernels(Protocol):
    """What every kernel set offers.  It is a `StepKernels` or, with `whole_layers`, a `WholeLayerKernels`.

    Every set runs every cell with every option; none falls back to another.  The arrays are those of its library.
    """

    name: str
    whole_layers: bool

    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix product of two 2-d arrays."""


class StepKernels(Kernels, Protocol):
    """The two time loops of a layer and direction; the products around them are `kernels.products`."""

    def forward(self, cell: Cell, pre: Any, weight_hh: Any, bias_hh: Any, h0: Any, c0: Any, lengths: Any = None) -> Run:
        """Run one layer and direction over all steps.

        Parameters
        ----------
        pre : (T, B, G*H) input projection with bias_ih.
        weight_hh : (G*H, H) recurrent weights.
        bias_hh : (G*H,) or None.
        h0, c0 : (B, H) initial state; c0 is None unless the cell has a cell state.
        lengths : (B,) integers on the same device, the number of valid steps of each row; None means T for all.
        """

    def backward(
        self,
        cell: Cell,
        run: Run,
        weight_hh: Any,
        dy: Any,
        dh_last: Any,
        dc_last: Any,
        lengths: Any = None,
        trace: bool = False,
    ) -> Adjoints:
        """Walk the same steps from the end.

        Parameters
        ----------
        run : what `forward` returned; it is only read.
        dy : (T, B, H) gradient of every output, 0 past a row's end; or None.
        dh_last, dc_last : (B, H) gradient of the final state; None means zeros.
        trace : also keep the gradient of every h and c.
        """


class WholeLayerKernels(Kernels, Protocol):
    """A layer and direction in one call: projection, time loop and every gradient."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new array with anything in it."""

    def checksum(self, arrays: Any) -> int:
        """A number that changes when anything in the arrays does."""

    def forward_layer(
        self, cell: Cell, x: Any, weights: Any, h0: Any, c0: Any, lengths: Any = None, keep: bool = True
    ) -> tuple[Run, Any]:
        """Run one layer and direction over all steps.

        Parameters
        ----------
        x : (T, B, D) in processing order.
        weights : weight_ih (G*H, D), weight_hh (G*H, H), bias_ih (G*H,), bias_hh (G*H,), the biases perhaps None.
        h0, c0, lengths : as in `StepKernels.forward`.
        keep : whether backward will follow; without it the `Run` holds the last state only.

        Returns
        -------
        run, y : y (T, B, H) is h[1:] with pads 0.
        """

    def backward_layer(
        self,
        cell: Cell,
        run: Run,
        x: Any,
        weights: Any,
        dy: Any,
        dh_last: Any,
        dc_last: Any,
        grads: Any,
        lengths: Any = None,
        trace: bool = False,
    ) -> tuple[Adjoints, Any]:
        """Walk the same steps from the end; returns the adjoints (those of single steps for a trace only) and dx.

        Parameters
        ----------
        run, dy, dh_last, dc_last, lengths, trace : as in `StepKernels.backward`.
        grads : where the gradients of `weights` are added.
        """


def reason_missing(name: str) -> str | None:
    """Why the kernel set cannot be used here; None where it can."""
    if name == "numba" and importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    if name == "cuda" and importlib.util.find_spec("kernels.cuda") is None:
        return "the files of the CUDA kernels are missing (install bptt-engine anew)"
    return None


def load(name: str, xp: Any) -> Kernels:
    """The kernel set of that name over the array library `xp`."""
    if name == "reference":
        from kernels.reference import ReferenceKernels

        return ReferenceKernels(xp)
    if name == "numba":
        from kernels.cpu.numba_kernels import NumbaKernels

        return NumbaKernels()
    if name == "cuda":
        from kernels.cuda.cuda_kernels import CudaKernels

        return CudaKernels(xp)
    raise ValueError(f"no kernel set is called {name!r}")
