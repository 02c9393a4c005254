"""Ground floor: arithmetic and time loops.  Imports nothing of ``engine``.

Read `gates` (one page of equations a cell), then `steps` and `reference` (the time loop in plain array code), then
`cpu` (the same, compiled) and `cuda`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from kernels.cells import Adjoints, Cell, Pass, Run
from kernels.streams import Part

#: The distribution this package belongs to; lets ``engine`` notice another package of the same import name.
DISTRIBUTION = "bptt-engine"

Array = Any  # of the kernel set's library
#: Arrays by name, without the ending of layer and direction: ``weight_ih``, ``p_i``.
Weights = Mapping[str, Any]


class Kernels(Protocol):
    """What every kernel set offers: a layer and direction in one call.  The arrays are those of its library.

    Every set runs every cell with every option.  A set that has no kernel of its own for a cell runs the array steps
    (`kernels.reference`) for it.
    """

    name: str

    def block(self, cell: Cell, batch: int) -> int:
        """The steps, counted from the end of a pass, after which its sums may be broken off and gone on with."""

    def release(self) -> None:
        """Give memory that waits for arrays of the same size back to the system."""

    def numbers(self, cell: Cell, units: int, width: int, full: bool) -> tuple[int, int]:
        """What a row of a step takes: the numbers on the tape beside its states, and those forward makes on its way.

        Parameters
        ----------
        units, width : H and P.
        full : whether all rows have all steps.
        """

    def matmul(self, a: Array, b: Array) -> Array:
        """Matrix product of two 2-d arrays."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A new array; its values are not set."""

    def checksum(self, arrays: Iterable[Array]) -> int:
        """A number that changes when a value in the arrays changes."""

    def watch(self, arrays: Iterable[Array]) -> Callable[[], int]:
        """A function that returns the checksum of these arrays as they are when it is called."""

    def packs(self, cell: Cell, weights: Weights, grads: Weights, precision: str = "float32") -> Any:
        """What passes with these weights may share, for `Pass.packs`; None if this set keeps nothing.

        A pass forward without a tape then keeps the weights packed as it needs them, and every later pass forward uses
        these, until ``packs.keep_for(version)`` says that the weights are another version.

        Parameters
        ----------
        cell : whose weights they are.
        weights, grads : arrays by name that stay the same arrays as long as the packs are used.
        precision : that of the passes, see `kernels.cells.Pass`.
        """

    def stream(self, parts: Sequence[Part], batch: int, dtype: Any) -> Any:
        """A chain of layers that takes one time step a call, as `kernels.cpu.stream.Stream`; None if this set has none.

        Parameters
        ----------
        parts : what the layers do, in order; their weights must not change.
        batch : B.
        dtype : of all numbers.
        """

    def forward_layer(self, given: Pass, x: Array, states: tuple[Array, ...], keep: bool = True) -> tuple[Run, Array]:
        """Run one layer and direction over all steps; T and B are at least 1.

        Parameters
        ----------
        given : cell, weights, lengths and factors.
        x : (T, B, D) in processing order.  Without `keep` its pads may hold anything.
        states : for each state of the cell, the initial one (B, H); h is (B, P).
        keep : whether backward will follow; if not, the `Run` holds the last states only.

        Returns
        -------
        run, y : y (T, B, P) is h[1:] with pads 0.
        """

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
        """Walk the same steps from the end; returns the adjoints and dx.  Only a trace has those of single steps.

        Parameters
        ----------
        given, x : as `forward_layer` had them.
        run : what it returned; it is only read.
        dy : (T, B, P) gradient of every output, 0 past a row's end; or None.
        dlast : for each state, the gradient of the final one; None means zeros.
        grads : where the gradients of `weights` are added, by the same names.
        trace : also keep the gradient of every state and of every pre-activation.
        going_on : whether these steps are a part of a longer pass: `grads` hold the sums over the steps behind them and
            the sums go on from there.  Parts whose borders are whole numbers of `block` before the end give the bits of
            one pass, where the sums begin with zeros and are added to the gradients after the last part.
        """


def reason_missing(name: str) -> str | None:
    """Why the kernel set cannot be used here; None if it can."""
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
