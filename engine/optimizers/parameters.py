"""What optimisers, schedules and clipping share: a model's parameters with their gradients, and checked numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from engine.backend import FLOATS, Backend, backend_of
from engine.checks import describe, number, switch
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words


class Parameter(NamedTuple):
    """A parameter of a model: `name` is unique in the list, `key` is its name in its owner's dicts."""

    name: str
    owner: Any
    key: str

    def arrays(self, backend: Backend) -> tuple[Any, Any]:
        """The parameter and its gradient as they stand in the owner's dicts now, checked to belong together."""
        w, g = self.owner.params[self.key], self.owner.grads[self.key]
        backend.require(f"params[{self.key!r}]", w)
        backend.require(f"grads[{self.key!r}]", g, dtype=w.dtype, shape=tuple(w.shape))
        if backend.name == "numpy" and not (w.flags.writeable and g.flags.writeable):
            raise bad_input(f"params and grads[{self.key!r}]", "arrays that can be written to", "a read-only one")
        return w, g


def parameters_of(model: Any) -> tuple[Backend, list[Parameter]]:
    """The backend and the parameters of a model, or of a list of models (names then start with the place in the list).

    For an optimiser, these are the parameters that it updates: they were checked when it was made.

    Raises
    ------
    InputError
        if there is no parameter, one has no gradient, one comes twice, or the models live on two backends.
    InputTypeError
        if something has no params and grads, or they are not float32 or float64 arrays of a backend.
    """
    known = getattr(model, "parameters", None)
    if isinstance(known, list) and known and all(isinstance(parameter, Parameter) for parameter in known):
        return model.backend, known
    models = list(model) if isinstance(model, list | tuple) else [model]
    found: list[Parameter] = []
    seen: dict[int, str] = {}
    backend: Backend | None = None
    for place, owner in enumerate(models):
        if not all(isinstance(getattr(owner, dicts, None), Mapping) for dicts in ("params", "grads")):
            expected = "an object with dicts params and grads, or a list of these"
            raise bad_type("model", expected, describe(owner))
        for key, w in owner.params.items():
            if not isinstance(key, str):
                raise bad_type("model", "texts as the names of its parameters", describe(key))
            name = key if owner is model else f"{place}.{key}"
            home = backend_of(w, f"params[{key!r}]")
            backend = backend or home
            if home.name != backend.name:
                raise bad_input("model", f"parameters on one backend ({backend.name})", f"{name!r} on {home.name}")
            if home.dtype_of(w) not in FLOATS:
                raise bad_type(f"params[{key!r}]", "dtype float32 or float64", dtype_in_words(w.dtype))
            if key not in owner.grads:
                raise bad_input("model", f"a gradient for every parameter, {name!r} too", "none")
            if id(w) in seen:
                raise bad_input("model", "every parameter once", f"one array as {seen[id(w)]!r} and {name!r}")
            seen[id(w)] = name
            found.append(Parameter(name, owner, key))
    if backend is None:
        raise bad_input("model", "at least one parameter", "none", "there is nothing to train")
    pairs = [(parameter.name, *parameter.arrays(backend)) for parameter in found]
    _require_apart([(name, w) for name, w, _ in pairs])
    return backend, found


def _require_apart(arrays: list[tuple[str, Any]]) -> None:
    """Raise if two of the arrays, or two entries of one, share memory: an update would reach them twice."""
    spans = sorted(
        (*byte_bounds(array), name) for name, array in arrays if isinstance(array, np.ndarray) and array.size
    )
    known = dict(arrays)
    for (_, end, name), (start, _, other) in pairwise(spans):
        if start < end and np.shares_memory(known[name], known[other]):
            raise bad_input("model", "parameters in memory of their own", f"{name!r} and {other!r} in the same")
    for _, _, name in spans:
        if not known[name].flags.forc and _overlaps_itself(known[name]):
            raise bad_input("model", "parameters in memory of their own", f"{name!r} with entries in the same place")


def _overlaps_itself(array: np.ndarray) -> bool:
    """Whether two entries of an array may share a place: each axis must step over all that the finer axes span."""
    reach = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)):
        if size > 1:
            if stride < reach:
                return True
            reach += stride * (size - 1)
    return False


class Number:
    """A hyper-parameter ``0 <= value < below``, always a Python float.

    A np.float64 would promote float32 arrays (rule 22).  All but the learning rate are set only once, because the
    buffers are made for them.
    """

    def __init__(self, below: float = math.inf, settable: bool = False) -> None:
        self.below, self.settable = below, settable

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        if not self.settable and self.name in instance.__dict__:
            raise bad_input(self.name, "no change after construction", describe(value), "make a new optimiser")
        instance.__dict__[self.name] = self.checked(value)

    def checked(self, value: Any) -> Any:
        """The value as a Python float."""
        return number(self.name, value, below=self.below)


class Switch(Number):
    """A hyper-parameter that is True or False."""

    def checked(self, value: Any) -> Any:
        """The value, which must be a bool."""
        return switch(self.name, value)
