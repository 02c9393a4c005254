"""Dynamic loss scaling: gradients that half precision would flush to 0 are made larger on their way (rules 15 and 16).

Backward is linear in the gradient of the loss.  Multiplied by a scale at the start, every gradient on the way is that
many times as large; divided by it at the end, the gradients of the weights are what they would have been.  The largest
scale that overflows nothing is found by trying (Micikevicius et al. 2018, Mixed Precision Training): it grows after a
number of good steps, and a step with a gradient that is not finite is skipped and makes it smaller.

Nothing here waits for the device: scale, counts and decisions are 0-d arrays there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of
from engine.backend.device_errors import explained
from engine.checks import describe, integer, number
from engine.errors import EngineError, bad_input, bad_type
from engine.optimizers.base import Optimizer
from engine.optimizers.parameters import parameters_of

#: The scale grows no further: float32 gradients have to stay finite.
LARGEST = 2.0**30
#: What a state holds, with the type of each entry.
_STATE: dict[str, type] = {"scale": float, "good": int, "skipped": int}


class LossScaler:
    """Scales the gradient of a loss before backward, and the gradients of weights back after it.

    A step whose gradients are not finite is skipped: weights, buffers and the optimiser's count of steps stay as they
    are, and the scale is multiplied by `backoff`.  After `interval` steps without one it is multiplied by `growth`.  At
    the scale `minimum` nothing is skipped any more: what is not finite there does not come from the scale, and the
    optimiser refuses it (`engine.optimizers.base.Optimizer.nonfinite`).  A loss that is not finite is never forgiven.

    Powers of two as factors change no digit of a gradient, but of those that are subnormal in float32.

    Parameters
    ----------
    initial : float
        The first scale.
    growth : float
        Factor >= 1; 1 leaves the scale as it is.
    backoff : float
        Factor between 0 and 1, both excluded.
    interval : int
        Good steps until the scale grows.
    minimum : float
        The smallest scale.

    Attributes
    ----------
    value : float
        The scale.  Reading it waits for the device.
    skipped : int
        Steps that were skipped in all.  Reading it waits for the device.

    Raises
    ------
    InputError, InputTypeError
        For a factor or number out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> lstm = engine.LSTM(3, 4, precision="fp16")
    >>> optimizer, scaler = engine.Adam(lstm, lr=0.01), engine.LossScaler()
    >>> x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    >>> for step in range(3):
    ...     y, _, tape = lstm.forward(x)
    ...     loss, dy = engine.mse(y, np.zeros_like(y))
    ...     lstm.zero_grad()
    ...     _ = lstm.backward(tape, scaler.scale(dy))  # 1: backward from a larger gradient
    ...     scaler.unscale(optimizer)  # 2: as they would have been
    ...     _ = engine.clip_grad_norm(optimizer, 1.0)
    ...     scaler.step(optimizer, guard=loss)  # 3: update, or skip the step and lower the scale
    >>> scaler.value, scaler.skipped, int(optimizer.steps)
    (65536.0, 0, 3)
    """

    def __init__(
        self,
        initial: float = 2.0**16,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
        minimum: float = 1.0,
    ) -> None:
        self.minimum = _positive("minimum", minimum)
        self.initial = _positive("initial", initial)
        if self.initial < self.minimum:
            raise bad_input("initial", f"a scale >= minimum, {self.minimum:g}", describe(initial))
        self.growth, self.backoff = number("growth", growth), number("backoff", backoff)
        if self.growth < 1:
            raise bad_input("growth", "a factor >= 1", describe(growth))
        if not 0 < self.backoff < 1:
            raise bad_input("backoff", "a factor between 0 and 1", describe(backoff))
        self.interval = integer("interval", interval, 1)
        self._host: dict[str, Any] = {"scale": self.initial, "good": 0, "skipped": 0}
        self._backend: Backend | None = None
        self._on_device: dict[str, Any] = {}
        self._scaled = False

    @classmethod
    def fixed(cls, scale: float) -> LossScaler:
        """A scale that never changes; gradients that are not finite are refused, none is skipped.

        Parameters
        ----------
        scale : float
            A number > 0, best a power of two.
        """
        return cls(scale, growth=1.0, minimum=scale)

    # -- a step --------------------------------------------------------------------------------------------------------

    @explained()
    def scale(self, dy: Any) -> Any:
        """The gradient of the loss, times the scale.

        Parameters
        ----------
        dy : array, dict of arrays, or None
            What the loss returned, of heads by name; it is not changed.

        Returns
        -------
        array, dict of arrays, or None
            The same structure, in the same dtypes.
        """
        if isinstance(dy, Mapping):
            return {name: self._times_scale(part) for name, part in dy.items()}
        return None if dy is None else self._times_scale(dy)

    def _times_scale(self, dy: Any) -> Any:
        backend = backend_of(dy, "dy")
        if backend.dtype_of(dy) not in (np.float32, np.float64):
            raise bad_type("dy", "an array of float32 or float64, as a loss returns it", describe(dy))
        self._scaled = True
        with np.errstate(over="ignore"):
            return dy * backend.xp.asarray(self._state(backend)["scale"], dtype=dy.dtype)

    @explained()
    def unscale(self, model: Any) -> None:
        """Divide all gradients by the scale, in place: before they are reduced, checked or clipped.

        Parameters
        ----------
        model : Layer, sequence of Layer or Optimizer
            As for `engine.clip_grad_norm`.

        Raises
        ------
        EngineError
            If nothing was scaled since the last call.
        """
        if not self._scaled:
            raise EngineError(
                "unscale: expected gradients of a scaled loss, got a second call, or no call of scale; each step calls "
                "scale, backward, unscale and step, in this order"
            )
        backend, parameters = parameters_of(model)
        self._scaled = False
        inverse = 1.0 / self._state(backend)["scale"]
        with np.errstate(all="ignore"):
            for parameter in parameters:
                grad = parameter.arrays(backend)[1]
                grad *= backend.xp.asarray(inverse, dtype=grad.dtype)

    @explained()
    def step(self, optimizer: Optimizer, guard: Any = None) -> None:
        """Let an optimiser make its step, or skip it, and choose the next scale.

        Parameters
        ----------
        optimizer : Optimizer
            Of the model whose gradients were scaled; gradients that are still scaled are unscaled first.
        guard : array, float or None
            As for `Optimizer.step`, such as the loss.  If it is not finite the step is refused, not skipped.
        """
        if not isinstance(optimizer, Optimizer):
            raise bad_type("optimizer", "an optimizer of engine", describe(optimizer))
        if self._scaled:
            self.unscale(optimizer)
        backend = optimizer.backend
        xp, state = backend.xp, self._state(backend)
        scale, good = state["scale"], state["good"]
        optimizer.step(guard, forgive=scale > self.minimum)
        skipped, made = optimizer.skipped, optimizer.made
        xp.add(state["skipped"], skipped, out=state["skipped"])
        xp.add(good, made, out=good)
        due = good >= self.interval
        larger = xp.where(due, xp.minimum(scale * self.growth, max(LARGEST, self.initial)), scale)
        scale[...] = xp.where(skipped, xp.maximum(scale * self.backoff, self.minimum), larger)
        good[...] = xp.where(xp.logical_or(skipped, due), 0, good)

    # -- its state -----------------------------------------------------------------------------------------------------

    @property
    def value(self) -> float:
        """The scale."""
        return float(self.state_dict()["scale"])

    @property
    def skipped(self) -> int:
        """Steps that were skipped in all."""
        return int(self.state_dict()["skipped"])

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue: plain numbers.  Waits for the device.

        Returns
        -------
        dict
            ``"scale"``, ``"good"`` (steps since the scale has changed) and ``"skipped"``.
        """
        if self._backend is not None:
            to_host = self._backend.to_host
            self._host = {name: kind(to_host(self._on_device[name])) for name, kind in _STATE.items()}
        return dict(self._host)

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Parameters
        ----------
        mapping : mapping of str to number
            What `state_dict` returned.

        Raises
        ------
        InputError, InputTypeError
            For missing or unknown names and impossible values.  Nothing has changed then.
        """
        if not isinstance(mapping, Mapping):
            raise bad_type("state_dict", "what state_dict() returned", describe(mapping))
        if set(mapping) != set(_STATE):
            raise bad_input("state_dict", f"the names {sorted(_STATE)}", f"{sorted(map(str, mapping))}")
        counts = {name: integer(name, mapping[name], 0) for name in ("good", "skipped")}
        self._host = {"scale": _positive("scale", mapping["scale"]), **counts}
        self._backend, self._on_device, self._scaled = None, {}, False

    def _state(self, backend: Backend) -> dict[str, Any]:
        """The state as 0-d arrays of a backend."""
        if self._backend is not backend:
            host, xp = self.state_dict(), backend.xp
            kinds = {float: np.float64, int: np.int64}
            self._on_device = {name: xp.asarray(host[name], dtype=kinds[kind]) for name, kind in _STATE.items()}
            self._backend = backend
        return self._on_device

    def __repr__(self) -> str:
        names = ("initial", "growth", "backoff", "interval", "minimum")
        return f"LossScaler({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def _positive(argument: str, value: Any) -> float:
    found = number(argument, value)
    if found == 0:
        raise bad_input(argument, "a number > 0", describe(value))
    if found > LARGEST:
        raise bad_input(argument, "a number <= 2**30", describe(value))
    return found
