"""Inverted dropout (Srivastava et al. 2014) with counter-based masks that are the same on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.backend import Backend
from engine.errors import bad_input
from engine.layers.base import Layer, check_no_state, check_probability


@dataclass(frozen=True)
class DropoutTape:
    """The mask that forward multiplied with, 1/(1-p) or 0; None where dropout was off."""

    mask: Any
    shape: tuple[int, ...]
    stamp: tuple[int, int, int | None]


class Dropout(Layer):
    """y = x * mask with mask 1/(1-p) or 0 in training, y = x else (rule 14).

    Parameters
    ----------
    p : probability of dropping a unit; 1 gives zeros.
    variational : one mask for the whole sequence (Gal and Ghahramani 2016) instead of a fresh one each time step.
    batch_first : whether x is (B, T, F) instead of (T, B, F).  A 2-d x is (B, F), one time step.
    backend, dtype, seed : see `engine.layers.base.Layer`.
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        variational: bool = False,
        batch_first: bool = False,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.p, self.variational, self.batch_first = check_probability("p", p), bool(variational), bool(batch_first)

    def _arguments(self) -> dict[str, Any]:
        return {"p": self.p, "variational": self.variational, "batch_first": self.batch_first}

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, DropoutTape]:
        """y in the shape of x (T, B, F); the call counter rises by one where a mask is drawn."""
        check_no_state(state)
        self._check(x)
        if not training or self.p == 0.0:
            return x.copy(), None, DropoutTape(None, x.shape, self._stamp())
        mask = self._mask(x.shape)
        self.call_counter += 1
        return self._apply(x, mask), None, DropoutTape(mask, x.shape, self._stamp())

    def backward(self, tape: DropoutTape, dy: Any = None, dstate: Any = None) -> tuple[Any, None]:
        """dx = dy * mask."""
        check_no_state(None, dstate)
        self._check_stamp(tape, DropoutTape)
        if dy is None:
            return self.backend.xp.zeros(tape.shape, dtype=self.dtype), None
        self.backend.require("dy", dy, dtype=self.dtype, shape=tape.shape, axes="that of y")
        return dy.copy() if tape.mask is None else self._apply(dy, tape.mask), None  # y = x * mask

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """x itself, as a copy."""
        check_no_state(state)
        self._check(x)
        return x.copy(), None

    def window(self, tape: DropoutTape, start: int, stop: int) -> DropoutTape:
        """The time steps ``start <= t < stop`` of a tape."""
        part = (slice(None), slice(start, stop)) if self.batch_first else (slice(start, stop),)
        shape = list(tape.shape)
        shape[1 if self.batch_first else 0] = stop - start
        return DropoutTape(None if tape.mask is None else tape.mask[part], tuple(shape), tape.stamp)

    def _mask(self, shape: tuple[int, ...]) -> Any:
        if len(shape) == 2:
            steps, (batch, units) = 1, shape
        else:
            steps, batch = (shape[1], shape[0]) if self.batch_first else (shape[0], shape[1])
            units = shape[2]
        rows = list(range(self.row_offset, self.row_offset + batch))
        drawn = list(range(1 if self.variational else steps))
        mask = self.backend.dropout_mask(
            self.seed, self.path, "dropout", self.call_counter, drawn, rows, units, self.p, self.dtype
        )
        if len(shape) == 2:
            return mask[0]
        mask = self.backend.xp.broadcast_to(mask, (steps, batch, units))
        return mask.swapaxes(0, 1) if self.batch_first else mask

    def _apply(self, values: Any, mask: Any) -> Any:
        """By selection: a dropped unit is 0 whatever stood there."""
        return self.backend.xp.where(mask != 0, values, self.backend.xp.zeros_like(values)) * mask

    def _check(self, x: Any) -> None:
        self.backend.require("x", x, dtype=self.dtype)
        if x.ndim not in (2, 3):
            raise bad_input("x", "shape (T, B, F) or (B, F)", f"shape {tuple(x.shape)}")
