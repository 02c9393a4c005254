"""Inverted dropout (Srivastava et al. 2014) with counter-based masks that are the same on every backend."""

from __future__ import annotations

from typing import Any

from engine.backend import Backend
from engine.checks import probability, switch
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.masks import apply_mask
from engine.layers.pointwise import Pointwise, PointwiseTape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline, clean


class Dropout(Pointwise):
    """Inverted dropout (Srivastava et al. 2014): y = x * mask with mask 1/(1-p) or 0 in training, y = x else.

    The call counter rises by one with each mask that is drawn.

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

    shaping = ("p", "variational", "batch_first")
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

    def _step(self, batch: int, state: Any) -> steps.Step:
        return steps.without_state(steps.Step(self, batch), state)

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        self.backend.require("x", x, dtype=self.dtype)
        if x.ndim not in (2, 3):
            raise bad_input("x", "shape (T, B, F) or (B, F)", f"shape {tuple(x.shape)}")
        return self._enter_array(x, lengths)

    def _run(self, x: Any, timeline: Timeline | None, training: bool) -> tuple[Any, Any]:
        if not training or self.p == 0.0:
            return x, None
        mask = self._mask(x.shape, self._take_call())
        return apply_mask(self.backend.xp, x, mask), mask

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """Multiply by the same mask: dx = dy * mask."""
        dy = self._enter_dy(tape, dy, dstate)
        mask = tape.kept
        if dy is None:
            return self.backend.xp.zeros(tape.shape, dtype=self.dtype), None
        dy = clean(self.backend.xp, dy, tape.timeline, self.batch_first)
        return dy if mask is None else apply_mask(self.backend.xp, dy, mask), None  # y = apply_mask(x, mask)

    def _mask(self, shape: tuple[int, ...], call: int) -> Any:
        """The mask of a pass; a 2-d x is one time step."""
        whole = (1, *shape) if len(shape) == 2 else shape
        steps, batch = (whole[1], whole[0]) if self.batch_first and len(shape) == 3 else whole[:2]
        first = self.step_offset
        rows, drawn = range(self.row_offset, self.row_offset + batch), range(first, first + steps)
        drawn = range(1) if self.variational else drawn
        mask = self.backend.dropout_mask(
            self.seed, self.path, "dropout", call, drawn, rows, whole[2], self.p, self.dtype
        )
        if len(shape) == 2:
            return mask[0]
        mask = self.backend.xp.broadcast_to(mask, (steps, batch, whole[2]))
        return mask.swapaxes(0, 1) if self.batch_first else mask
