"""Inverted dropout (Srivastava et al. 2014) with counter-based masks that are the same on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.backend import Backend
from engine.checks import probability, switch
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.building import check_no_state
from engine.layers.masks import apply_mask
from engine.layers.showing import Tape
from engine.layers.timeline import Timeline, clean, timeline_of


@dataclass(frozen=True, repr=False)
class DropoutTape(Tape):
    """What `Dropout` keeps for its backward pass.

    Attributes
    ----------
    mask : array or None
        The mask of forward, 1/(1-p) or 0; None if dropout was off.
    shape : tuple of int
        That of x.
    timeline : Timeline or None
        The valid steps, if there were lengths.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    mask: Any
    shape: tuple[int, ...]
    timeline: Timeline | None
    stamp: tuple[int, int]


class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014): y = x * mask with mask 1/(1-p) or 0 in training, y = x else.

    Parameters
    ----------
    p : float
        Probability of dropping a unit; 1 gives zeros.
    variational : bool
        One mask for the whole sequence (Gal and Ghahramani 2016) instead of a fresh one each time step.
    batch_first : bool or None
        Whether x is (B, T, F) instead of (T, B, F); None follows the layers around it in a `Sequential`.
        A 2-d x is (B, F), one time step.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights and dropout masks; None means 0.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> dropout = engine.Dropout(0.25)
    >>> x = np.ones((50, 4, 30), np.float32)
    >>> y, state, tape = dropout.forward(x)
    >>> bool(0.2 < (y == 0).mean() < 0.3), bool((dropout.predict(x)[0] == x).all())
    (True, True)
    """

    tape_type = DropoutTape
    always_shown = frozenset({"p"})
    settings = Layer.settings | {"p": probability, "variational": switch}

    def __init__(
        self,
        p: float = 0.5,
        *,
        variational: bool = False,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.p, self.variational, self.batch_first = p, variational, self._layout(batch_first)

    def _arguments(self) -> dict[str, Any]:
        return {"p": self.p, "variational": self.variational, "batch_first": self.batch_first}

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, DropoutTape]:
        """Multiply by a mask: y in the shape of x (T, B, F); the call counter rises by one if a mask is drawn."""
        check_no_state(state)
        x, timeline = self._enter(x, lengths)
        if not switch("training", training) or self.p == 0.0:
            return x, None, DropoutTape(None, x.shape, timeline, self._stamp())
        mask = self._mask(x.shape, self._take_call())
        return apply_mask(self.backend.xp, x, mask), None, DropoutTape(mask, x.shape, timeline, self._stamp())

    def backward(self, tape: DropoutTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Multiply by the same mask: dx = dy * mask."""
        check_no_state(None, dstate)
        self.check_tape(tape)
        if dy is None:
            return self.backend.xp.zeros(tape.shape, dtype=self.dtype), None
        self.backend.require("dy", dy, dtype=self.dtype, shape=tape.shape, axes="that of y")
        dy = clean(self.backend.xp, dy, tape.timeline, self.batch_first)
        return dy if tape.mask is None else apply_mask(self.backend.xp, dy, tape.mask), None  # y = apply_mask(x, mask)

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """Return x itself, as a copy, pads 0."""
        check_no_state(state)
        return self._enter(x, lengths)[0], None

    def window(self, tape: DropoutTape, start: int, stop: int) -> DropoutTape:
        """The time steps ``start <= t < stop`` of a tape."""
        self.check_kind(tape)
        self.check_window(tape.shape, start, stop)
        part = (slice(None), slice(start, stop)) if self.batch_first else (slice(start, stop),)
        shape = list(tape.shape)
        shape[1 if self.batch_first else 0] = stop - start
        timeline = None if tape.timeline is None else tape.timeline.window(start, stop)
        return DropoutTape(None if tape.mask is None else tape.mask[part], tuple(shape), timeline, tape.stamp)

    def _mask(self, shape: tuple[int, ...], call: int) -> Any:
        if len(shape) == 2:
            steps, (batch, units) = 1, shape
        else:
            steps, batch = (shape[1], shape[0]) if self.batch_first else (shape[0], shape[1])
            units = shape[2]
        rows = range(self.row_offset, self.row_offset + batch)
        drawn = range(1 if self.variational else steps)
        mask = self.backend.dropout_mask(self.seed, self.path, "dropout", call, drawn, rows, units, self.p, self.dtype)
        if len(shape) == 2:
            return mask[0]
        mask = self.backend.xp.broadcast_to(mask, (steps, batch, units))
        return mask.swapaxes(0, 1) if self.batch_first else mask

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        """Check x; it comes back as a copy, pads 0."""
        self.backend.require("x", x, dtype=self.dtype)
        if x.ndim not in (2, 3):
            raise bad_input("x", "shape (T, B, F) or (B, F)", f"shape {tuple(x.shape)}")
        timeline = None
        if lengths is not None:
            timeline = timeline_of(self.backend, "x", x.shape, 3, self.batch_first, lengths)
        return clean(self.backend.xp, x, timeline, self.batch_first), timeline
