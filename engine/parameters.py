"""What optimisers, schedules and clipping share: a model's parameters with their gradients, and checked numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.backend import FLOATS, Backend, backend_of
from engine.checks import describe, number, switch
from engine.errors import bad_input, bad_type


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
        return w, g


def parameters_of(model: Any) -> tuple[Backend, list[Parameter]]:
    """The backend and the parameters of a model, or of a list of models (names then start with the place in the list).

    Raises
    ------
    InputError
        if there is no parameter, one has no gradient, one comes twice, or the models live on two backends.
    InputTypeError
        if something has no params and grads, or they are not float32 or float64 arrays of a backend.
    """
    models = list(model) if isinstance(model, list | tuple) else [model]
    found: list[Parameter] = []
    seen: dict[int, str] = {}
    backend: Backend | None = None
    for place, owner in enumerate(models):
        if not all(isinstance(getattr(owner, dicts, None), Mapping) for dicts in ("params", "grads")):
            expected = "an object with dicts params and grads, or a list of these"
            raise bad_type("model", expected, describe(owner))
        for key, w in owner.params.items():
            name = key if owner is model else f"{place}.{key}"
            home = backend_of(w, f"params[{key!r}]")
            backend = backend or home
            if home.name != backend.name:
                raise bad_input("model", f"parameters on one backend ({backend.name})", f"{name!r} on {home.name}")
            if home.dtype_of(w) not in FLOATS:
                raise bad_type(f"params[{key!r}]", "dtype float32 or float64", f"dtype {w.dtype}")
            if key not in owner.grads:
                raise bad_input("model", f"a gradient for every parameter, {name!r} too", "none")
            if id(w) in seen:
                raise bad_input("model", "every parameter once", f"one array as {seen[id(w)]!r} and {name!r}")
            seen[id(w)] = name
            found.append(Parameter(name, owner, key))
    if backend is None:
        raise bad_input("model", "at least one parameter", "none", "there is nothing to train")
    for parameter in found:
        parameter.arrays(backend)
    return backend, found


class Number:
    """A hyper-parameter ``0 <= value < below``, always a Python float.

    A np.float64 would promote float32 arrays (rule 22).  All but the learning rate are set once, since the buffers are
    laid out for them.
    """

    def __init__(self, below: float = math.inf, settable: bool = False) -> None:
        self.below, self.settable = below, settable

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        if not self.settable and self.name in instance.__dict__:
            raise bad_input(self.name, "no change after construction", repr(value), "make a new optimiser")
        instance.__dict__[self.name] = self.checked(value)

    def checked(self, value: Any) -> Any:
        """The value as a Python float."""
        return number(self.name, value, below=self.below)


class Switch(Number):
    """A hyper-parameter that is True or False."""

    def checked(self, value: Any) -> Any:
        """The value, which must be a bool."""
        return switch(self.name, value)
