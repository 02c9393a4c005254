"""What a recurrent layer's forward pass leaves for its backward pass, by name, to be read by people as well.

Shapes are never batch-first.  Slot 0 of a state buffer is the initial state; the reverse direction's buffers are in
processing order, so that step 0 is each row's last valid step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.errors import bad_input
from engine.layers.timeline import Timeline
from kernels.cells import Adjoints, Cell, Run


@dataclass(frozen=True)
class DirectionTape:
    """One layer, one direction.

    Attributes
    ----------
    x : (T, B, D) the input as this direction met it, pads 0; needed for the gradient of weight_ih.
    h : (T+1, B, H) hidden states; needed for the gradient of weight_hh.
    c : (T+1, B, H) cell states of an LSTM, else None; needed for the forget gate's gradient.
    gates : activated gates by name, each (T, B, H), 0 past a row's end: ``i f g o`` (LSTM), ``r z n`` (GRU), ``h``
    (RNN).
    hidden_n : (T, B, H) U_n h_prev + b_hn of a GRU with reset after, else None; needed for the reset gate's gradient.
    """

    cell: Cell
    x: Any
    run: Run

    @property
    def h(self) -> Any:
        """(T+1, B, H) hidden states."""
        return self.run.h

    @property
    def c(self) -> Any:
        """(T+1, B, H) cell states, or None."""
        return self.run.c

    @property
    def gates(self) -> dict[str, Any]:
        """Activated gates by name, each (T, B, H)."""
        return {name: self.run.gates[:, :, block] for block, name in enumerate(self.cell.gates)}

    @property
    def hidden_n(self) -> Any:
        """(T, B, H) U_n h_prev + b_hn, or None."""
        return self.run.hidden_n

    def check(self, steps: int, batch: int, features: int, hidden: int, dtype: Any) -> None:
        """Raise unless the arrays are as forward left them: compiled code would read past the end of smaller ones."""
        run, rows = self.run, (steps, batch)
        fits = (
            self.x.shape == (*rows, features)
            and run.h.shape == (steps + 1, batch, hidden)
            and run.gates.shape == (*rows, len(self.cell.gates), hidden)
            and (run.c is None or run.c.shape == run.h.shape)
            and (run.hidden_n is None or run.hidden_n.shape == (*rows, hidden))
            and self.x.dtype == run.h.dtype == run.gates.dtype == dtype
        )
        if not fits:
            got = f"x {self.x.shape}, h {run.h.shape}, gates {run.gates.shape} of dtype {run.h.dtype}"
            mend = "a tape is only read: run forward again"
            raise bad_input("tape", f"arrays as forward left them (T = {steps}, B = {batch}, H = {hidden})", got, mend)

    def window(self, start: int, stop: int) -> DirectionTape:
        """The steps ``start <= t < stop``, as views."""
        run = Run(
            self.run.h[start : stop + 1],
            None if self.run.c is None else self.run.c[start : stop + 1],
            self.run.gates[start:stop],
            None if self.run.hidden_n is None else self.run.hidden_n[start:stop],
        )
        return DirectionTape(self.cell, self.x[start:stop], run)


@dataclass(frozen=True)
class RecurrentTape:
    """All layers and directions of one forward pass.

    Attributes
    ----------
    layers : ``layers[l][d]`` is a `DirectionTape`; d is 0 for forward, 1 for reverse.
    masks : the dropout mask (T, B, N*H) on the input of each layer; None where there is none.
    timeline : the valid steps.
    stamp : whose tape it is, and with which parameters it was made.
    """

    layers: tuple[tuple[DirectionTape, ...], ...]
    masks: tuple[Any, ...]
    timeline: Timeline
    stamp: tuple[int, int]


@dataclass(frozen=True)
class DirectionTrace:
    """The adjoints of one layer and direction, step by step, in the tape's layout.

    Attributes
    ----------
    dh : (T+1, B, H) gradient of the loss with respect to every hidden state; slot 0 is that of the initial state.
    dc : (T+1, B, H) likewise for the cell state of an LSTM, its share through h included; else None.
    gates : gradient of every gate's pre-activation by name, each (T, B, H).
    hidden_n : (T, B, H) gradient of U_n h_prev + b_hn of a GRU with reset after (da_n * r), else None.
    """

    cell: Cell
    adjoints: Adjoints

    @property
    def dh(self) -> Any:
        """(T+1, B, H) gradients of the hidden states."""
        return self.adjoints.dh

    @property
    def dc(self) -> Any:
        """(T+1, B, H) gradients of the cell states, or None."""
        return self.adjoints.dc

    @property
    def gates(self) -> dict[str, Any]:
        """Gradients of the pre-activations by gate, each (T, B, H)."""
        return {name: self.adjoints.da[:, :, block] for block, name in enumerate(self.cell.gates)}

    @property
    def hidden_n(self) -> Any:
        """(T, B, H) gradient of U_n h_prev + b_hn, or None."""
        return self.adjoints.da_hidden[:, :, 2] if self.cell.splits_n else None


@dataclass(frozen=True)
class RecurrentTrace:
    """What `backward_trace` returns.

    Attributes
    ----------
    layers : ``layers[l][d]`` is a `DirectionTrace`.
    dx, dstate : what `backward` would have returned.
    grads : what `backward` would have added to the layer's gradients, by name.
    """

    layers: tuple[tuple[DirectionTrace, ...], ...]
    dx: Any
    dstate: Any
    grads: dict[str, Any]
