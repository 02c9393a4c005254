"""The inputs of someone's functions: private copies, given back in the form they came in."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of
from engine.checking.subjects.trees import copied, dtype_of, kind, leaves, named_leaves, refill, transform
from engine.checks import describe, integer
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, refuse_own_rules


class Inputs:
    """The inputs, each an array, a number or a nest of them.

    Attributes
    ----------
    backend : the library of the arrays.
    values : the inputs; a float is an array without axes.
    names : of the inputs.
    scalars : by the names of the floats, their types.
    """

    def __init__(self, inputs: Sequence[Any], names: Sequence[str]) -> None:
        self.names = list(names)
        self.scalars: dict[str, type] = {}
        floats = [leaf for leaf in leaves(list(inputs)) if isinstance(leaf, (float, np.floating)) or kind(leaf) == "f"]
        if not floats:
            whole = any(isinstance(leaf, int) or kind(leaf) in ("i", "u") for leaf in leaves(list(inputs)))
            hint = "whole numbers have no gradient: pass x.astype(float)" if whole else "there is nothing to check"
            raise bad_input("inputs", "at least one float array", "whole numbers" if whole else "none", hint)
        arrays = [leaf for leaf in floats if not isinstance(leaf, (float, np.floating))]
        for array in arrays:
            refuse_own_rules("inputs", array)
        self.backend: Backend = backend_of(arrays[0] if arrays else np.zeros(()), "inputs")
        try:
            self.values = tuple(self._own(given, name) for given, name in zip(inputs, self.names, strict=True))
        except TypeError:  # deepcopy has no way with it
            raise bad_type("inputs", "arrays, and what can be copied", "an object that cannot") from None
        # most inputs are arrays, and need no walk at every evaluation
        self._plain = [
            self.backend.is_array(one) and name not in self.scalars
            for one, name in zip(self.values, self.names, strict=True)
        ]
        for name, array in self.leaves():
            if kind(array) == "f" and not self.backend.is_array(array):
                raise bad_type(
                    "inputs", f"{name} as an array of {self.backend.name}, as the others are", describe(array)
                )

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """All arrays with their names."""
        for given, name in zip(self.values, self.names, strict=True):
            yield from named_leaves(given, name)

    def given(self, replaced: Mapping[str, Any]) -> tuple[Any, ...]:
        """Fresh copies to call forward with, some replaced; a float is a float again."""
        return tuple(
            copied(replaced.get(name, given)) if plain else self._filled(given, name, replaced)
            for given, name, plain in zip(self.values, self.names, self._plain, strict=True)
        )

    def _filled(self, nest: Any, name: str, replaced: Mapping[str, Any]) -> Any:
        named = named_leaves(nest, name)
        return refill(nest, iter([self._outward(own, replaced.get(own, array)) for own, array in named]))

    def check_precision(self, names: Sequence[str]) -> None:
        """Raise unless the arrays of these names are in one of the two precisions."""
        for name, array in self.leaves():
            if name in names and dtype_of(array) not in (np.float32, np.float64):
                hint = "convert it: np.asarray(x, dtype=np.float64)"
                raise bad_type("inputs", "arrays of float32 or float64", dtype_in_words(array.dtype), hint)

    def _own(self, given: Any, name: str) -> Any:
        for own, leaf in named_leaves(given, name):
            if isinstance(leaf, (float, np.floating)):
                self.scalars[own] = type(leaf)
        return transform(self._inward, given)

    def _inward(self, leaf: Any) -> Any:
        if isinstance(leaf, (float, np.floating)):
            return self.backend.asarray(np.asarray(leaf))
        return self._private(leaf)

    def _outward(self, name: str, array: Any) -> Any:
        scalar = self.scalars.get(name)
        if scalar is None:
            return self._private(array)
        value = self.backend.to_host(array)[()]
        if value.dtype.kind == "c":
            return complex(value) if scalar is float else value
        return scalar(value)

    def _private(self, leaf: Any) -> Any:
        """A contiguous copy: inputs that share memory, or lie in it with gaps, come apart."""
        return copied(leaf) if self.backend.is_array(leaf) else copy.deepcopy(leaf)


def chosen_names(check: Any, inputs: Inputs) -> list[str]:
    """The names of the float arrays to check.

    Parameters
    ----------
    check : None for all, or names and numbers of inputs; a name may be that of an array inside one.
    """
    floats = [(own, name) for name, given in zip(inputs.names, inputs.values, strict=True)
              for own, array in named_leaves(given, name) if kind(array) == "f"]  # fmt: skip
    if check is None:
        return [own for own, _ in floats]
    if isinstance(check, (str, int)):
        check = [check]
    if not isinstance(check, (tuple, list)):
        raise bad_type("check", "a list of names or numbers of inputs", describe(check))
    wanted = []
    for one in check:
        if not isinstance(one, str):
            number = integer("check", one, 0)
            if number >= len(inputs.names):
                raise bad_input("check", f"numbers below {len(inputs.names)}, that of inputs", str(number))
            one = inputs.names[number]
        found = [own for own, name in floats if one in (own, name)]
        if not found:
            known = ", ".join(own for own, _ in floats)
            raise bad_input("check", f"names of float inputs, {known}", repr(one))
        wanted += found
    return [own for own, _ in floats if own in wanted]


def free_entries(fixed: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    """By name, which entries of an array are free to move.

    Parameters
    ----------
    fixed : None, or by name a mask that is true where an entry stays as it is and has no gradient.
    """
    if fixed is None:
        return {}
    if not isinstance(fixed, Mapping):
        raise bad_type("fixed", "a dict of masks by the names of inputs", describe(fixed))
    shapes = {name: tuple(array.shape) for name, array in inputs.leaves() if kind(array) == "f"}
    free = {}
    for name, mask in fixed.items():
        if name not in shapes:
            raise bad_input("fixed", f"names of float inputs, {', '.join(shapes)}", repr(name))
        host = np.asarray(mask)
        if host.dtype != bool:
            raise bad_type("fixed", f"a mask of booleans for {name}", describe(mask))
        try:
            free[name] = ~np.broadcast_to(host, shapes[name])
        except ValueError:
            raise bad_input("fixed", f"a mask of shape {shapes[name]} for {name}", str(host.shape)) from None
    return free
