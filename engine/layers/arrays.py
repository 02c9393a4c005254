"""Parameters and gradients by name.  Assigning an entry writes into its array; no array is replaced or removed.

So an optimiser, a Sequential around the layer and a loop of the user's own all change the same memory.  The compiled
kernels check nothing, and they only get arrays that the layer has made itself.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from engine.backend import Backend
from engine.checks import describe
from engine.errors import InputError, bad_input, bad_type


class NamedArrays(MutableMapping[str, Any]):
    """The parameters or the gradients of one layer.

    ``arrays[name] = value`` copies `value` into the array that is there; it stays the same array.

    Parameters
    ----------
    title : ``"params"`` or ``"grads"``, for error messages.
    backend : whose arrays these are.

    Attributes
    ----------
    own : the same memory by name, in arrays that nobody outside the layer holds.  Someone may change the shape or dtype
        of an array that was handed out.  These arrays keep theirs, so kernels get these.
    version : how often entries were assigned, or `touch` was called.
    """

    def __init__(self, title: str, backend: Backend) -> None:
        self._title, self._backend = title, backend
        self._arrays: dict[str, Any] = {}
        self.own: dict[str, Any] = {}
        self.version = 0

    def add(self, name: str, array: Any) -> None:
        """Add an array that the layer has made."""
        self._arrays[name], self.own[name] = array, _own(array)

    def touch(self) -> None:
        """Note that something was written into the arrays."""
        self.version += 1

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        array = self._arrays.get(name) if isinstance(name, str) else None
        if array is None:
            raise _unknown_name(self._title, name, self)
        own = self.own[name]
        argument = f"{self._title}[{name!r}]"
        if value is None:  # PyTorch's way to clear a gradient
            hint = "gradients are cleared by zero_grad()" if self._title == "grads" else ""
            raise bad_type(argument, f"a {self._backend.name} array of shape {tuple(own.shape)}", "None", hint)
        self._backend.require(argument, value, dtype=own.dtype, shape=tuple(own.shape))
        if value is not array:  # `arrays[name] *= 2` has written already, and assigns the array itself
            own[...] = value
        self.touch()

    def lend(self, name: str, array: Any) -> None:
        """Replace an array by another one, unchecked, until the first one is lent back.

        For the gradient check alone: a real array cannot hold the complex numbers of the complex step.
        """
        self._arrays[name], self.own[name] = array, _own(array)

    def __delitem__(self, name: str) -> None:
        raise _no_removal(self._title, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __repr__(self) -> str:
        return _shown(self._title, self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "own": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.own = {name: _own(array) for name, array in self._arrays.items()}  # a copy's arrays have other memory


class JoinedArrays(MutableMapping[str, Any]):
    """The entries of several layers in one mapping, such as ``"0.weight"`` for ``"weight"`` of the first.

    Parameters
    ----------
    title : ``"params"`` or ``"grads"``, for error messages.
    parts : a prefix and the mapping that its entries live in; reading and assigning go there.
    """

    def __init__(self, title: str, parts: list[tuple[str, NamedArrays | JoinedArrays]]) -> None:
        self._title = title
        self._places = {prefix + name: (part, name) for prefix, part in parts for name in part}

    def __getitem__(self, name: str) -> Any:
        part, key = self._places[name]
        return part[key]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str) or name not in self._places:
            raise _unknown_name(self._title, name, self)
        part, key = self._places[name]
        part[key] = value

    def __delitem__(self, name: str) -> None:
        raise _no_removal(self._title, name)

    def lend(self, name: str, array: Any) -> None:
        """See `NamedArrays.lend`."""
        part, key = self._places[name]
        part.lend(key, array)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return _shown(self._title, self)


def _own(array: Any) -> Any:
    """Another array over the same memory; of torch the tensor itself: ``tensor.data = value`` replaces its memory."""
    return array if hasattr(array, "data_ptr") else array[...]


def _no_removal(title: str, name: str) -> InputError:
    hint = "assign zeros, or call zero_grad()" if title == "grads" else "a layer needs all of them"
    return bad_input(f"{title}[{name!r}]", "an entry that stays", "its deletion", hint)


def _unknown_name(title: str, name: object, known: MutableMapping[str, Any]) -> InputError:
    """The error for an entry that is not there."""
    shown = repr(name) if isinstance(name, str) else describe(name)
    return bad_input(title, f"one of the names {sorted(known)}", shown)


def _shown(title: str, arrays: MutableMapping[str, Any]) -> str:
    return f"{title}({', '.join(f'{name} {tuple(array.shape)}' for name, array in arrays.items())})"
