"""The tape: the values that a recurrent layer's forward pass leaves for its backward pass, by name.  Users read it too.

Shapes are never batch-first.  Slot 0 of a state buffer is the initial state; the reverse direction's buffers are in
processing order, so that step 0 is each row's last valid step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.backend import Backend
from engine.errors import bad_input
from engine.layers.showing import Tape
from engine.layers.timeline import Timeline
from kernels.cells import Adjoints, Cell, Run, factors_of

Array = Any  # of the layer's backend


@dataclass(frozen=True, repr=False)
class DirectionTape(Tape):
    """One layer, one direction.

    Attributes
    ----------
    cell : Cell
        The cell that ran, together with the phases of the layer's options.
    x : array (T, B, D)
        The input in this direction's processing order, pads 0; needed for the gradient of weight_ih.
    run : Run
        The tape of the kernels.
    factors : mapping of str to array
        The masks k_X of zoneout and dropout by name, each (T or 1, B or 1, H).
    weight_mask : array (R*H, P) or None
        The mask on weight_hh of this pass.
    """

    cell: Cell
    x: Array
    run: Run
    factors: Mapping[str, Array] = field(default_factory=dict)
    weight_mask: Array = None

    @property
    def states(self) -> dict[str, Array]:
        """Every state by name, each (T+1, B, H)."""
        return dict(zip(self.cell.states, self.run.states, strict=True))

    @property
    def h(self) -> Array:
        """(T+1, B, H) hidden states; needed for the gradient of weight_hh."""
        return self.run.h

    @property
    def c(self) -> Array:
        """(T+1, B, H) cell states, or None; needed for the forget gate's gradient."""
        return self.states.get("c")

    @property
    def gates(self) -> dict[str, Array]:
        """Activated gates by name, each (T, B, H), 0 past a row's end."""
        return {name: self.run.gates[:, :, block] for block, name in enumerate(self.cell.gates)}

    @property
    def kept(self) -> dict[str, Array]:
        """Other values that backward needs, by name, each (T, B, H), such as ``h_n`` = U_n h_prev + b_hn of a GRU."""
        return self.run.kept

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        yield ".x", self.x
        for name, slots in self.states.items():
            yield f".{name}" if name in ("h", "c") else f".states[{name!r}]", slots
        yield from _by_name(self.gates, ".gates[{!r}]")
        yield from _by_name(self.kept, ".kept[{!r}]")
        yield from _by_name(self.factors, ".factors[{!r}]")
        if self.weight_mask is not None:
            yield ".weight_mask", self.weight_mask

    def check(
        self, backend: Backend, shape: tuple[int, int, int], units: int, widths: tuple[int, ...], dtype: Any
    ) -> None:
        """Raise unless the arrays are as forward left them: compiled code would read past the end of smaller ones.

        Parameters
        ----------
        backend : Backend
            The arrays' own.
        shape : tuple of int
            Of x.
        units : int
            H.
        widths : tuple of int
            Units of each state.
        dtype : dtype
            Of the layer.
        """
        run, (steps, batch, _) = self.run, shape
        fits = self._fits(shape, (steps, batch, len(self.cell.gates), units), widths)
        fits = fits and (self.x.dtype is dtype or backend.dtype_of(self.x) == dtype)
        if not fits:
            got = f"x {self.x.shape}, h {run.h.shape}, gates {run.gates.shape} of dtype {run.h.dtype}"
            hint = "a tape is only read: run forward again"
            raise bad_input("tape", f"arrays as forward left them (T = {steps}, B = {batch}, H = {units})", got, hint)

    def _fits(self, of_x: tuple[int, int, int], of_gates: tuple[int, int, int, int], widths: tuple[int, ...]) -> bool:
        run, x, (steps, batch, _) = self.run, self.x, of_x
        found, gates = x.dtype, run.gates
        if x.shape != of_x or gates.shape != of_gates or gates.dtype != found or len(run.states) != len(widths):
            return False
        for k, slots in enumerate(run.states):
            if slots.shape != (steps + 1, batch, widths[k]) or slots.dtype != found:
                return False
        for values in run.kept.values():
            if values.shape[:2] != (steps, batch) or values.dtype != found:
                return False
        return True

    def masked(self, weights: dict[str, Any]) -> dict[str, Any]:
        """The weights of this direction with the mask of its pass on the recurrent ones."""
        mask = self.weight_mask
        return weights if mask is None else weights | {"weight_hh": weights["weight_hh"] * mask}

    def window(self, start: int, stop: int) -> DirectionTape:
        """The steps ``start <= t < stop``, as views."""
        run = Run(
            tuple(slots[start : stop + 1] for slots in self.run.states),
            self.run.gates[start:stop],
            {name: values[start:stop] for name, values in self.run.kept.items()},
        )
        factors = factors_of(self.factors, slice(start, stop))
        return DirectionTape(self.cell, self.x[start:stop], run, factors, self.weight_mask)


@dataclass(frozen=True, repr=False)
class RecurrentTape(Tape):
    """All layers and directions of one forward pass.

    Attributes
    ----------
    layers : tuple of tuple of DirectionTape
        ``layers[l][d]``; d is 0 for forward, 1 for reverse.
    masks : tuple of array
        The dropout mask (T, B, N*H) on the input of each layer; None if there is none.
    timeline : Timeline
        The valid steps.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    layers: tuple[tuple[DirectionTape, ...], ...]
    masks: tuple[Any, ...]
    timeline: Timeline
    stamp: tuple[int, int]

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        yield from _of_layers(self.layers)
        yield from ((f".masks[{index}]", mask) for index, mask in enumerate(self.masks) if mask is not None)

    def window(self, start: int, stop: int) -> RecurrentTape:
        """The steps ``start <= t < stop``, as views."""
        return RecurrentTape(
            tuple(tuple(direction.window(start, stop) for direction in layer) for layer in self.layers),
            tuple(None if mask is None else mask[start:stop] for mask in self.masks),
            self.timeline.window(start, stop),
            self.stamp,
        )


@dataclass(frozen=True, repr=False)
class DirectionTrace(Tape):
    """The adjoints of one layer and direction, step by step, in the tape's layout.

    For the cell state of an LSTM, the share of its gradient through h is included.  ``hidden`` differs from ``gates``
    for gates with two gradients, such as n of a GRU (da_n * r).

    Attributes
    ----------
    cell : Cell
        The cell that ran.
    adjoints : Adjoints
        What the time loop of the kernels returned.
    """

    word = "trace"

    cell: Cell
    adjoints: Adjoints

    @property
    def states(self) -> dict[str, Array]:
        """Gradients of every state by name, each (T+1, B, H)."""
        return dict(zip(self.cell.states, self.adjoints.traces or (), strict=True))

    @property
    def dh(self) -> Array:
        """(T+1, B, H) gradients of the hidden states."""
        return self.states["h"]

    @property
    def dc(self) -> Array:
        """(T+1, B, H) gradients of the cell states, or None."""
        return self.states.get("c")

    @property
    def gates(self) -> dict[str, Array]:
        """Gradients of the pre-activations by gate, each (T, B, H)."""
        return {name: self.adjoints.da[:, :, block] for block, name in enumerate(self.cell.gates)}

    @property
    def hidden(self) -> dict[str, Array]:
        """Gradients of the hidden part of the pre-activations by gate, each (T, B, H)."""
        return {name: self.adjoints.da_hidden[:, :, block] for block, name in enumerate(self.cell.gates)}

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        yield from _by_name(self.states, ".states[{!r}]")
        yield from _by_name(self.gates, ".gates[{!r}]")
        yield from _by_name(self.hidden, ".hidden[{!r}]")


@dataclass(frozen=True, repr=False)
class RecurrentTrace(Tape):
    """What `backward_trace` returns.

    Attributes
    ----------
    layers : tuple of tuple of DirectionTrace
        ``layers[l][d]``, as on the tape.
    dx : array
        Gradient of x, as `backward` returns it.
    dstate : array or tuple of array
        Gradient of the initial state, as `backward` returns it.
    grads : dict of str to array
        The gradients that `backward` adds to those of the layer, by name.
    """

    word = "trace"

    layers: tuple[tuple[DirectionTrace, ...], ...]
    dx: Any
    dstate: Any
    grads: dict[str, Any]

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        yield from _of_layers(self.layers)
        yield ".dx", self.dx
        several = isinstance(self.dstate, tuple)
        yield from ((f".dstate[{index}]", part) for index, part in enumerate(self.dstate if several else ()))
        if not several:
            yield ".dstate", self.dstate
        yield from _by_name(self.grads, ".grads[{!r}]")


def _by_name(arrays: Mapping[str, Array], place: str) -> Iterator[tuple[str, Array]]:
    yield from ((place.format(name), array) for name, array in arrays.items())


def _of_layers(layers: tuple[tuple[Tape, ...], ...]) -> Iterator[tuple[str, Array]]:
    for index, layer in enumerate(layers):
        for d, direction in enumerate(layer):
            yield from ((f".layers[{index}][{d}]{name}", array) for name, array in direction.entries())
