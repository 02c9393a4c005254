"""A stream: one time step a call, with the state carried from call to call."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backend.device_errors import explained
from engine.checks import describe, integer
from engine.errors import bad_input
from engine.layers.building import quiet
from engine.layers.showing import one_line
from engine.layers.streaming.chains import StreamStep, runs_of
from engine.plain_arrays import host_integers

if TYPE_CHECKING:
    from engine.layers.base import Layer


class Stepper:
    """A model that takes one time step at a time and carries its state; `Layer.stepper` makes it.

    It has the weights that the model had when it was made: what is written into the model's parameters later does not
    change it.  A row of the batch is a stream of its own.  A stepper belongs to one thread at a time.
    `copy.copy`, `copy.deepcopy` and `pickle` make a stepper that goes on from the same state by itself.

    Parameters
    ----------
    model : Layer
        What it steps through, with weights that nobody changes.
    batch : int
        B, the streams that run side by side.
    state : array, tuple or None
        The state before the first step, in the structure of `predict`'s; None means zeros.

    Attributes
    ----------
    batch : int
        B.

    Raises
    ------
    InputError, InputTypeError
        For a layer that needs more than one step, a batch that is none, and a state that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Sequential(engine.GRU(1, 8), engine.Linear(8, 1))
    >>> x = np.sin(np.arange(20, dtype=np.float32))[:, None, None]
    >>> stepper = model.stepper()
    >>> found = [float(stepper(x_t)[0, 0]) for x_t in x]
    >>> y, state = model.predict(x)
    >>> bool(np.allclose(found, y[:, 0, 0], atol=1e-6))
    True
    """

    def __init__(self, model: Layer, batch: int = 1, state: Any = None) -> None:
        self.batch = integer("batch", batch, 1)
        self._backend, self._text = model.backend, one_line(model)
        self._step = model._step(self.batch, state)
        self._prepare()

    def _prepare(self) -> None:
        """Make what runs the steps; it holds addresses of arrays, so every copy of a stepper makes its own."""
        self._runs, self._y = runs_of(self._step), None
        only = self._runs[0] if len(self._runs) == 1 else None
        self._stream: Any = only.stream if isinstance(only, StreamStep) else None
        if self._stream is not None:
            self._y, self._into = self._stream.y, self._stream.x
            self._kind, self._shape = self._into.dtype, self._into.shape

    def __call__(self, x_t: Any) -> Any:
        """Take one time step.

        Parameters
        ----------
        x_t : array (B, D)
            The input of this step: (B, D), or ids (B,) on the host where the model begins with an `Embedding`.  There
            is no time axis, whatever the model's layout.

        Returns
        -------
        y : array (B, N*H)
            The output of this step, or (B, K) of a model that ends with a `Linear`; a dict of such arrays of `Heads`.
            The next call writes into the same array: copy what you want to keep.

        Raises
        ------
        InputError, InputTypeError
            For a wrong shape, dtype or library, or an id that is out of range; no state has changed then.
        """
        # One compiled call for an array as it should be; anything else, and a wrong id, takes the long way.
        right = self._stream is not None and type(x_t) is np.ndarray
        if right and x_t.dtype == self._kind and x_t.shape == self._shape:
            self._into[...] = x_t
            if not self._stream.run():
                return self._y
        return self._by_arrays(x_t)

    @quiet
    @explained()
    def _by_arrays(self, x_t: Any) -> Any:
        found = self._step.check(x_t)
        for run in self._runs:
            found = run(found)
        if self._stream is not None:
            return found  # the stream's own
        if self._y is None:
            self._y = _like(self._backend, found)
        _copy(found, self._y)
        return self._y

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("batch", "_backend", "_text", "_step")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __copy__(self) -> Stepper:
        return copy.deepcopy(self)  # two steppers with one state would disturb each other

    @property
    def state(self) -> Any:
        """The state after the last step, a copy: array or tuple, in the structure and the shapes of `predict`'s."""
        return self._step.state()

    @explained()
    def reset(self, rows: Any = None) -> None:
        """Set rows to the initial state: their next step is the first one of a new stream.

        Parameters
        ----------
        rows : int, sequence of int or None
            Which rows, in 0..B-1; None means all.

        Raises
        ------
        InputError, InputTypeError
            For a row that is not there, and for what is no integer.
        """
        if rows is not None:
            rows = self._backend.asarray(self._checked_rows(rows))
        self._step.reset(rows)

    def _checked_rows(self, rows: Any) -> np.ndarray:
        """The numbers of the rows, each in 0..B-1."""
        hint = "such as [0, 2]; of a mask, np.flatnonzero(mask)"
        found = host_integers("rows", rows, "numbers of rows", hint, hosted="numbers of rows on the host")
        if found.ndim > 1:
            raise bad_input("rows", "one number, or a list of them", f"shape {found.shape}")
        found = found.reshape(-1).astype(np.int64)
        wrong = found[(found < 0) | (found >= self.batch)]
        if wrong.size:
            raise bad_input("rows", f"rows in 0..{self.batch - 1} (B = {self.batch})", describe(int(wrong[0])))
        return found

    def __repr__(self) -> str:
        return f"Stepper({self._text}, batch={self.batch})"


def _like(backend: Any, found: Any) -> Any:
    """Room for an output, or for each of several."""
    if isinstance(found, dict):
        return {name: _like(backend, value) for name, value in found.items()}
    return backend.xp.empty(tuple(found.shape), dtype=found.dtype)


def _copy(found: Any, target: Any) -> None:
    if isinstance(found, dict):
        for name, value in found.items():
            _copy(value, target[name])
    else:
        target[...] = found
