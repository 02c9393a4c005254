"""The weights of one layer and direction, as compiled passes want them: where they lie, and packed.

A pass multiplies by packed weights (`kernels.cpu.products`).  To pack them takes as long as a few time steps, so it is
worth keeping them for passes without a tape, as long as the weights stay the same.  Who writes into the weights says
so by another `version`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.cells import Cell
from kernels.cpu import precisions
from kernels.cpu.arrays import nothing, rows
from kernels.cpu.plan import Plan, Sizes, room_for_packs
from kernels.cpu.table import place

Array = np.ndarray
NAMES = "weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"
MOST_FORMS = 64  # of batches of ever another length; then all are made anew


class Packs:
    """The weights of one layer and direction for compiled passes.

    Parameters
    ----------
    cell : whose weights they are; one that has loops (`kernels.cpu.loops.loops_of`).
    weights, grads : the arrays by name.  The entries must stay the same arrays; what is in the weights may change, see
        `keep_for`.
    precision : of the products, see `kernels.cells.Pass`.

    Attributes
    ----------
    precision, slots, in_pairs : of the products; the room of a pair of rounded numbers; whether weight_ih, weight_hh
        and weight_hr are packed as such pairs (`kernels.cpu.half`).
    units, dtype : H, and the dtype of all arrays.
    version : of the weights whose packed copies are kept.
    targets : where the gradients lie, see `places_of`.
    small : the short ways into small passes (`kernels.cpu.small`), by the shape of x and whether there is a tape.
    arrays, places : weight_ih, weight_hh, weight_hr, bias_ih, bias_hh, then the cell's own weights, and where they lie.

    Examples
    --------
    >>> import numpy as np
    >>> from kernels.cells import Pass
    >>> from kernels.cpu.numba_kernels import NumbaKernels
    >>> from kernels.gates import find
    >>> kernels, rnn = NumbaKernels(), find("rnn_tanh")
    >>> weights = {"weight_ih": np.ones((4, 3)), "weight_hh": np.ones((4, 4))}
    >>> packs = kernels.packs(rnn, weights, {})
    >>> given, x, h = Pass(rnn, weights, packs=packs), np.ones((2, 1, 3)), (np.zeros((1, 4)),)
    >>> _, y = kernels.forward_layer(given, x, h, keep=False)  # packs the weights and keeps them so
    >>> weights["weight_ih"] *= 0  # not seen: the packed ones are used
    >>> bool((kernels.forward_layer(given, x, h, keep=False)[1] == y).all())
    True
    >>> packs.keep_for("new")  # the weights are another version
    >>> bool((kernels.forward_layer(given, x, h, keep=False)[1] == y).all())
    False
    """

    def __init__(
        self,
        cell: Cell,
        weights: Mapping[str, Array],
        grads: Mapping[str, Array] | None = None,
        precision: str = "float32",
    ) -> None:
        self.precision, self.slots = precision, precisions.slots(precision)
        self.in_pairs = precisions.in_pairs(precision)
        first = weights["weight_ih"]
        self.cell, self.weights, self.dtype = cell, weights, first.dtype
        self.version: Any = None
        G, R, H = len(cell.gates), len(cell.recurrent), len(first) // len(cell.gates)
        P = len(weights["weight_hr"]) if cell.projected else H
        self.units, self._numbers = H, (first.shape[1], G, R, H, P, int(cell.projected is not None))
        none = nothing(1, self.dtype)
        self.arrays = [rows(weights.get(name, none)) for name in (*NAMES, *cell.own)]
        self.places = [place(array) for array in self.arrays]
        self._forms: dict[Any, Any] = {}
        self._packed: dict[int, Array] = {}
        self.grads: Mapping[str, Array] | None = None
        self.targets = [] if grads is None else self.places_of(grads)
        self.grads = grads
        self.small: dict[Any, Any] = {}

    def keep_for(self, version: Any) -> None:
        """Forget packed copies of weights of any other version."""
        if self.version != version:
            if self._packed:
                self._packed, self._forms, self.small = {}, {}, {}  # their tables have the addresses of the packed ones
            self.version = version

    def sizes(self, x: Array) -> Sizes:
        """The sizes of a pass over x (T, B, D)."""
        T, B, _ = x.shape
        return Sizes(T, B, *self._numbers)

    def packed(self, division: Plan) -> Array | None:
        """The packed weights for a division of the work, a row for each part of the units; None if none are kept."""
        return self._packed.get(_parts(division))

    def room(self, size: Sizes, division: Plan) -> Array:
        """Room for them."""
        return np.empty(
            (_parts(division), room_for_packs(size, self.dtype, division, False, self.in_pairs)), self.dtype
        )

    def keep(self, division: Plan, packed: Array) -> None:
        """Keep them."""
        self._packed[_parts(division)] = packed
        self.small = {}  # from now on, passes with a tape use them too

    def places_of(self, grads: Mapping[str, Array]) -> list[Any]:
        """Where the gradients lie to which a pass adds, in the order of the matrices and biases; None for none."""
        if grads is self.grads:
            return self.targets
        found = [grads.get(name) for name in NAMES]
        return [None if array is None else place(array) for array in found]

    def keep_small(self, key: Any, small: Any) -> None:
        """Keep a short way; None if the passes are too large for it."""
        self.small[key] = small if small.fits else None

    def form(self, key: Any) -> Any:
        """The form (`kernels.cpu.forms.Form`) that is kept under this key; None if there is none."""
        return self._forms.get(key)

    def keep_form(self, key: Any, form: Any) -> Any:
        """Keep a form."""
        if len(self._forms) >= MOST_FORMS:
            self._forms, self.small = {}, {}
        self._forms[key] = form
        return form


def _parts(division: Plan) -> int:
    """How many parts of the units are packed apart."""
    return division.team if division.by_units else 1
