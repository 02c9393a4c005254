"""What surrounds a layer's constructor and passes: names of arguments, seeds, warnings."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import numpy as np

from engine.backend.device_errors import explain
from engine.checks import describe, integer
from engine.errors import OptionWarning, bad_input, bad_type, sentence


def text(name: str, value: Any) -> str:
    """The value, which must be a text."""
    if not isinstance(value, str):
        raise bad_type(name, "a text", describe(value))
    return value


def quiet(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method without NumPy's warnings of non-finite numbers: the result shows them, and a step refuses them."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return method(self, *args, **kwargs)

    return call


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """A pass of a layer: `quiet`, and with a GPU's errors as the engine's own."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._silent:
                return method(self, *args, **kwargs)
            with np.errstate(all="ignore"):
                return method(self, *args, **kwargs)
        except Exception as error:
            better = explain(error)
            if better is None:
                raise
            raise better from error

    return call


def known_names(constructor: Callable[..., Any], base: Callable[..., Any]) -> Callable[..., Any]:
    """The constructor with a clear error for an argument that it does not have.

    ``**options: Unpack[...]`` stands for the arguments of `base` that the TypedDict names: `help` shows them too.  Any
    other ``**options`` are left to the class that they are handed on to.
    """
    signature = inspect.signature(constructor)
    *own, last = signature.parameters.values()
    if last.kind is last.VAR_KEYWORD:
        if "Unpack" not in str(last.annotation):
            return constructor
        (options,) = get_args(get_type_hints(constructor)[last.name])
        shared = inspect.signature(base).parameters
        signature = signature.replace(parameters=[*own, *(shared[name] for name in options.__annotations__)])
    names = [name for name in signature.parameters if name != "self"]

    @functools.wraps(constructor)
    def build(self: Any, *args: Any, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if name not in names]
        if unknown:
            near = difflib.get_close_matches(unknown[0], names, 1)
            hint = f"did you mean {near[0]}?" if near else "see help() of the class"
            raise bad_type("options", f"some of {', '.join(names)}", ", ".join(unknown), hint)
        constructor(self, *args, **kwargs)

    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def without_arrays(kind: type[Any]) -> type[Any]:
    """The class of a layer that makes no arrays: it tells names, shapes and arguments."""
    bare: type[Any] = type(kind.__name__, (kind,), {"_allocate": lambda self: None})
    return bare


def check_seed(seed: int | None) -> int:
    """The seed as an int >= 0; None means 0."""
    return 0 if seed is None else integer("seed", seed, 0)


def check_no_state(state: Any, dstate: Any = None) -> None:
    """Raise if a state, or a gradient of one, reaches a layer that has none."""
    for name, value in (("state", state), ("dstate", dstate)):
        if value is not None:
            raise bad_input(name, "None, this layer carries no state", describe(value))


def warn_of_option(argument: str, expected: str, got: object, hint: str) -> None:
    """Warn that an option does nothing, at the line that builds the layer: the first one outside of the layers."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("engine.layers."):
        frame, level = frame.f_back, level + 1
    warnings.warn(OptionWarning(sentence(argument, expected, got, hint)), stacklevel=level)
