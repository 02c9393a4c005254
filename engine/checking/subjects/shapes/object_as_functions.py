"""An object that holds its own cache, read as a pair of functions of its input and its parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.checking.subjects.shapes.insides import attributes
from engine.checking.subjects.shapes.parameters import Parameter
from engine.checking.subjects.shapes.places import Place, get, is_number, put
from engine.checking.subjects.shapes.returned import NOT_GIVEN, as_fields, key_for, letters
from engine.checking.subjects.shapes.sharing import Shared, copy_with
from engine.checking.subjects.trees import kind
from engine.errors import bad_type

OUTPUTS = ("output", "out", "outputs", "y", "result", "a", "activation", "h", "z")
#: The gradient is the step by which backward itself moves the parameter.
STEP = "its step"


@dataclass
class Held:
    """A copy of the object after a forward pass, which is the cache for one backward pass."""

    layer: Any
    cache: Any
    given: tuple[Any, ...]
    shared: Shared = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Held:
        memo.update(self.shared)
        return Held(*copy.deepcopy((self.layer, self.cache, self.given), memo), self.shared)


@dataclass
class ObjectAsFunctions:
    """The roles that were found in an object.

    Attributes
    ----------
    layer : a private copy, before any pass.
    forward, backward : names of its methods.
    names : of the arguments of forward.
    given : values of those arguments.
    parameters : those to check.
    returned : by name of a parameter, the place or the name of its gradient in what backward returns, or `STEP`.
    handed : the arguments of backward: ``"dout"``, ``"cache"``, ``"rate"``, or the number of an input; ``("douts",)``
        if it takes a gradient for each output.
    gives_cache : whether forward returns its output and a cache.
    places : by name of a parameter, all places that hold it.
    shared : the parts that copies of the object share.
    notes : further remarks.
    """

    layer: Any
    forward: str
    backward: str
    names: list[str]
    given: tuple[Any, ...]
    parameters: list[Parameter] = field(default_factory=list)
    returned: dict[str, Any] = field(default_factory=dict)
    handed: tuple[Any, ...] = ("dout",)
    gives_cache: bool = False
    places: dict[str, list[Place]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    shared: Shared = field(default_factory=dict)

    def fresh(self) -> Any:
        """Another copy of the object before any pass."""
        return copy_with(self.layer, self.shared)

    def values(self) -> list[Any]:
        """The values of the parameters."""
        return [get(self.layer, one.place) for one in self.parameters]

    def run(self, *values: Any) -> tuple[Any, Held]:
        """Forward of a fresh copy with these arguments and parameters; the copy is the cache."""
        layer, count = self.fresh(), len(self.given)
        for one, value in zip(self.parameters, values[count:], strict=False):
            put(layer, self.places[one.name], value)
        return self.pass_forward(layer, values[:count])

    def pass_forward(self, layer: Any, given: tuple[Any, ...]) -> tuple[Any, Held]:
        """Forward of this very copy."""
        found, cache = getattr(layer, self.forward)(*given), None
        if found is None:
            found = next((one for one in map(attributes(layer).get, OUTPUTS) if is_number(one)), None)
            if found is None:
                raise bad_type("layer", "a forward that returns its output", "one that returns None")
        elif self.gives_cache:
            found, cache = found
        return _without_nones(found), Held(layer, cache, given, self.shared)

    def pull(self, dout: Any, held: Held) -> list[Any]:
        """The gradients of arguments and parameters after backward."""
        layer = held.layer
        for one in self.parameters:
            old: Any = None if one.grad is None else get(layer, one.grad)
            if one.grad is not None and kind(old) in ("f", "c"):
                put(layer, [one.grad], old * 0)
        before = {one.name: copy.deepcopy(get(layer, one.place)) for one in self.parameters}
        found = Returned.of(self.pass_backward(held, dout))
        return [*self._of_arguments(found, layer), *(self._of(one, found, layer, before) for one in self.parameters)]

    def pass_backward(self, held: Held, dout: Any) -> Any:
        """What backward returns."""
        choices = {"cache": held.cache, "dout": dout, "rate": 1.0}
        if self.handed == ("douts",):
            return getattr(held.layer, self.backward)(*dout)
        handed = [held.given[one] if isinstance(one, int) else choices[one] for one in self.handed]
        return getattr(held.layer, self.backward)(*handed)

    def _of_arguments(self, found: Returned, layer: Any) -> list[Any]:
        """The gradients of forward's arguments: returned by name or in order, or left as attributes."""
        taken = [where for where in self.returned.values() if isinstance(where, int)]
        rest = iter([part for k, part in enumerate(found.parts) if k not in taken])
        gradients: list[Any] = []
        for name, given in zip(self.names, self.given, strict=True):
            key = key_for(name, found.named)
            if key is not None:
                gradients.append(found.named[key])
            elif len(self.names) == 1 and isinstance(given, (tuple, list)) and len(found.parts) == len(given):
                gradients.append(found.parts)  # a list over time steps
            else:
                gradients.append(next(rest, None))
        own = {key: one for key, one in attributes(layer).items() if kind(one) in ("f", "c")}
        for k, (name, given) in enumerate(zip(self.names, self.given, strict=True)):
            if gradients[k] is None:
                key = _input_attribute(name, given, own, first=k == 0)
                gradients[k] = NOT_GIVEN if key is None else own[key]
        return gradients

    def _of(self, one: Parameter, found: Returned, layer: Any, before: Mapping[str, Any]) -> Any:
        """The gradient of a parameter: returned, the step that backward took, or left in the object."""
        where = self.returned.get(one.name)
        if where == STEP:  # with a learning rate of 1
            gradient = before[one.name] - get(layer, one.place)
            put(layer, self.places[one.name], before[one.name])
            return gradient
        if where is not None:
            return found.parts[where] if isinstance(where, int) else found.named[where]
        gradient = None if one.grad is None else get(layer, one.grad)
        return copy.deepcopy(gradient) if is_number(gradient) else None


def _without_nones(found: Any) -> Any:
    """The outputs of a tuple that has None where an object gives nothing out, such as ``(y, None)`` for no mask."""
    if type(found) is not tuple or all(part is not None for part in found):
        return found
    outputs = tuple([part for part in found if part is not None])
    return outputs[0] if len(outputs) == 1 else outputs


@dataclass(frozen=True)
class Returned:
    """The results of backward: those with a name, and the others in order."""

    parts: list[Any]
    named: dict[str, Any]

    @classmethod
    def of(cls, found: Any) -> Returned:
        """Tuples inside a tuple are opened, and so are dicts; arrays are not."""
        laid_out = cls([], {})
        laid_out._add(found)
        return laid_out

    def _add(self, found: Any) -> None:
        fields = as_fields(found)
        if fields is not None:
            for name, part in fields.items():
                if isinstance(part, Mapping):
                    self._add(part)
                else:
                    self.named[str(name)] = part
        elif isinstance(found, (tuple, list)):
            for part in found:
                if isinstance(part, (Mapping, tuple, list)):
                    self._add(part)
                else:
                    self.parts.append(part)
        elif found is not None:
            self.parts.append(found)


def _input_attribute(name: str, given: Any, own: Mapping[str, Any], first: bool) -> str | None:
    """The attribute in which an object leaves the gradient of its input."""
    fitting = [key for key, one in own.items() if tuple(one.shape) == tuple(np.shape(given))] if kind(given) else []
    known_names = (name, "inputs", "input", "x", "X") if first else (name,)
    caches = {letters(one) for one in known_names}  # an attribute x holds the input, not its gradient
    for known in known_names:
        key = key_for(known, [one for one in fitting if letters(one) not in caches])
        if key is not None:
            return str(key)
    return None
