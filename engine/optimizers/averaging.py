"""Averages of a model's weights over the steps of training: exponential (EMA), or plain (SWA).

Both are one recursion,  average += share * (weight - average),  with

    EMA:  share_n = (1 - decay) / (1 - decay^n)     the exact weighted mean of n weights, without a bias to the first
    SWA:  share_n = 1 / n                           the plain mean of n weights

Source of SWA: P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson, "Averaging weights leads to wider
optima and better generalization", UAI 2018, algorithm 1.  The correction of the EMA is that of Adam (Kingma and Ba
2015, section 3), applied to the share instead of the sum.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from engine.backend import backend_of
from engine.checks import describe, fraction, instance, integer, number
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer

_NUMBERS = ("decay", "start", "every", "seen", "count")


class WeightAverage:
    """Averages the weights of a model while it is trained.

    Running statistics of batch normalisation are averaged like weights.  Izmailov et al. measure them anew after SWA,
    with a pass over the training data: `apply`, and then ``model.forward(x)`` for every batch, which moves them.

    Parameters
    ----------
    model : Layer
        The model; it is not changed before `apply` or `applied`.
    decay : float or None
        Share of the old average, > 0 and < 1, such as 0.999: an exponential average over about 1 / (1 - decay) updates.
        None is the plain mean of all weights taken (SWA).
    start : int
        Updates that are left out at the beginning.
    every : int
        After these, the weights of every so many updates are taken.

    Attributes
    ----------
    count : int
        How many weights the average is over; 0: there is none yet, and the weights themselves stand for it.
    seen : int
        Updates told.
    averages : dict of str to array
        The averages by name.

    Raises
    ------
    InputError, InputTypeError
        For arguments that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Linear(1, 1, bias=False, dtype="float64")
    >>> average = engine.WeightAverage(model, start=1)
    >>> for weight in (7.0, 1.0, 2.0):  # where optimizer.step() would be
    ...     model.params["weight"] = np.array([[weight]])
    ...     average.update()
    >>> with average.applied():
    ...     print(model.predict(np.ones((1, 1, 1)))[0].item())
    1.5
    >>> model.params["weight"].item()
    2.0
    """

    def __init__(self, model: Layer, decay: float | None = None, *, start: int = 0, every: int = 1) -> None:
        self.model = instance("model", model, Layer, "a layer or Sequential of engine")
        self.decay = None if decay is None else fraction("decay", decay, zero_allowed=False)
        self.start, self.every = integer("start", start, 0), integer("every", every, 1)
        self.seen = self.count = 0
        xp = model.backend.xp
        self.averages = {name: xp.copy(array) for name, array in self._arrays().items()}

    def update(self) -> None:
        """Take the weights as they are now.  Call it after each ``optimizer.step()``."""
        self.seen += 1
        late = self.seen - self.start
        if late < 1 or (late - 1) % self.every:
            return
        self.count += 1
        share = 1 / self.count if self.decay is None else (1 - self.decay) / (1 - self.decay**self.count)
        for name, array in self._arrays().items():
            if self.model.backend.dtype_of(array).kind == "f":
                self.averages[name] += share * (array - self.averages[name])
            else:  # a count of batches
                self.averages[name][...] = array

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """A block in which the model has the averages as its weights; afterwards it has its own again."""
        if not self.count:
            yield
            return
        xp = self.model.backend.xp
        own = {name: xp.copy(array) for name, array in self._arrays().items()}
        self.apply()
        try:
            yield
        finally:
            self._set(own)

    def apply(self) -> None:
        """Give the model the averages for good, where there are any."""
        if self.count:
            self._set(self.averages)

    def state_dict(self) -> dict[str, Any]:
        """Copy all that is needed to go on exactly.

        Returns
        -------
        dict
            Numbers by name, and copies of the averages under ``"average."``.
        """
        xp = self.model.backend.xp
        return self.numbers() | {f"average.{name}": xp.copy(array) for name, array in self.averages.items()}

    def numbers(self) -> dict[str, Any]:
        """The numbers of the state by name, JSON-able."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Go on from a saved state; its arrays may come from the host or another backend.

        Parameters
        ----------
        mapping : mapping of str to array
            What `state_dict` returned.

        Raises
        ------
        InputError
            For the state of another average or another model.  Nothing has changed then.
        """
        if not isinstance(mapping, Mapping):
            raise bad_type("state_dict", "what state_dict() returned", describe(mapping))
        wanted = {*_NUMBERS, *(f"average.{name}" for name in self.averages)}
        if wanted != mapping.keys():
            odd = ", ".join(sorted(map(str, wanted ^ mapping.keys())))
            raise bad_input("state_dict", "the names of this average's state", f"a difference in {odd}")
        for name in ("decay", "start", "every"):
            own, given = getattr(self, name), mapping[name]
            if (own is None) != (given is None) or (own is not None and number(name, given) != own):
                raise bad_input(name, f"{own}, as of this average", describe(given))
        seen, count = integer("seen", mapping["seen"], 0), integer("count", mapping["count"], 0)
        backend, values = self.model.backend, {}
        for name, array in self.averages.items():
            value = mapping[f"average.{name}"]
            host = np.asarray(backend_of(value, name).to_host(value))
            wanted = backend.dtype_of(array)
            if host.dtype.kind != wanted.kind:
                raise bad_type(name, f"dtype {wanted}", f"dtype {host.dtype}")
            if host.shape != tuple(array.shape) and not (array.ndim == 0 and host.shape == (1,)):
                raise bad_input(name, f"shape {tuple(array.shape)}", f"shape {host.shape}")
            values[name] = backend.asarray(host.reshape(tuple(array.shape)).astype(wanted))
        self.seen, self.count = seen, count
        for name, value in values.items():
            self.averages[name][...] = value

    def _arrays(self) -> dict[str, Any]:
        """The weights and the running statistics, the model's own arrays."""
        return self.model.saved_arrays()

    def _set(self, values: Mapping[str, Any]) -> None:
        for name, array in self._arrays().items():
            array[...] = values[name]
        self.model.touch()

    def __repr__(self) -> str:
        kind = "SWA" if self.decay is None else f"EMA, decay={self.decay}"
        return f"WeightAverage({kind}, start={self.start}, every={self.every}, count={self.count})"
