"""Parameters, gradients and buffers by name.

Assigning an entry writes into its array; no array is replaced or removed.  So an optimiser, a Sequential around the
layer and a loop of the user's own all change the same memory.  The compiled kernels check nothing, and they only get
arrays that the layer has made itself.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from engine.backend import Backend
from engine.checks import describe
from engine.errors import bad_input, bad_type


class _Entries(MutableMapping[str, Any]):
    """Names that stay: none is added or removed from outside.

    Attributes
    ----------
    places : what stands behind each name.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self.places: dict[str, Any] = {}

    def __delitem__(self, name: str) -> None:
        hint = "assign zeros, or call zero_grad()" if self._title == "grads" else "a layer needs all of them"
        raise bad_input(f"{self._title}[{name!r}]", "an entry that stays", "its deletion", hint)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __repr__(self) -> str:
        return f"{self._title}({', '.join(f'{name} {tuple(array.shape)}' for name, array in self.items())})"

    def _place(self, name: object) -> Any:
        """What stands behind a name that is assigned to."""
        if not isinstance(name, str) or name not in self.places:
            shown = repr(name) if isinstance(name, str) else describe(name)
            raise bad_input(self._title, f"one of the names {sorted(self)}", shown)
        return self.places[name]


class NamedArrays(_Entries):
    """The parameters, the gradients or the buffers of one layer.

    ``arrays[name] = value`` copies `value` into the array that is there; it stays the same array.

    Parameters
    ----------
    title : ``"params"``, ``"grads"`` or ``"buffers"``, for error messages.
    backend : whose arrays these are.

    Attributes
    ----------
    own : the same memory by name, in arrays that nobody outside the layer holds.  Someone may change the shape or dtype
        of an array that was handed out.  These arrays keep theirs, so kernels get these.
    version : how often entries were assigned, or `touch` was called.
    memo : what was derived from `own`, such as the addresses of its arrays; emptied when one of these is replaced.
    """

    def __init__(self, title: str, backend: Backend) -> None:
        super().__init__(title)
        self._backend = backend
        self.own: dict[str, Any] = {}
        self.memo: dict[Any, Any] = {}
        self.version = 0

    def add(self, name: str, array: Any) -> None:
        """Add an array that the layer has made."""
        self.places[name], self.own[name], self.memo = array, _own(array), {}

    def touch(self) -> None:
        """Note that something was written into the arrays."""
        self.version += 1

    def __getitem__(self, name: str) -> Any:
        return self.places[name]

    def __setitem__(self, name: str, value: Any) -> None:
        array, own = self._place(name), self.own[name]
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
        self.places[name], self.own[name], self.memo = array, _own(array), {}

    def fingerprint(self) -> int | None:
        """A number that changes with what is in the arrays; None if reading them would wait for a device."""
        found = self.memo.get("fingerprint")
        if found is None:
            found = self.memo["fingerprint"] = self._backend.watch(self.own.values())
        return found()

    def copied(self) -> NamedArrays:
        """The same names with arrays of their own that hold the same numbers, and that nobody will change."""
        twin = NamedArrays(self._title, self._backend)
        for name, array in self.own.items():
            twin.add(name, self._backend.xp.copy(array))
        if self._backend.device == "CPU":
            twin.memo["fingerprint"] = lambda: 0  # so it need not be looked at
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "own": None, "memo": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.own = {name: _own(array) for name, array in self.places.items()}  # a copy's arrays have other memory


class JoinedArrays(_Entries):
    """The entries of several layers in one mapping, such as ``"0.weight"`` for ``"weight"`` of the first.

    Parameters
    ----------
    title : ``"params"``, ``"grads"`` or ``"buffers"``, for error messages.
    parts : a prefix and the mapping that its entries live in; reading and assigning go there.
    """

    def __init__(self, title: str, parts: list[tuple[str, NamedArrays | JoinedArrays]]) -> None:
        super().__init__(title)
        self.places = {prefix + name: (part, name) for prefix, part in parts for name in part}

    def __getitem__(self, name: str) -> Any:
        part, key = self.places[name]
        return part[key]

    def __setitem__(self, name: str, value: Any) -> None:
        part, key = self._place(name)
        part[key] = value

    def lend(self, name: str, array: Any) -> None:
        """See `NamedArrays.lend`."""
        part, key = self.places[name]
        part.lend(key, array)


def _own(array: Any) -> Any:
    """Another array over the same memory; of torch the tensor itself: ``tensor.data = value`` replaces its memory."""
    return array if hasattr(array, "data_ptr") else array[...]
