"""The parameters of an object and where it leaves their gradients, found by the names that people give them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.checking.subjects.shapes.abbreviations import abbreviated
from engine.checking.subjects.shapes.insides import attributes
from engine.checking.subjects.shapes.loss_methods import MODEL
from engine.checking.subjects.shapes.places import DEEPEST, Place, get, holders, in_words, is_number, numbers
from engine.checking.subjects.shapes.returned import key_for
from engine.checking.subjects.trees import kind

#: What people call a collection of parameters, and one of gradients.
PARAMS = ("params", "parameters", "_params", "_parameters", "weights", "param", "theta", "learnable", "variables")
GRADS = ("grads", "gradients", "_grads", "_gradients", "dparams", "d_params", "grad", "dweights", "derivatives",
         "gradient", "dtheta", "param_grads", "params_grads", "deltas")  # fmt: skip
#: A parameter that is an object: its numbers, and their gradient.
VALUES = ("data", "value", "val", "values", "array", "weight", "w", "p", "x")
GRADIENTS = ("grad", "gradient", "g", "diff", "dvalue", "ddata", "dw", "grads", "d")
#: Collections that are followed, but not named: a report says ``W``, not ``params.W``.
UNNAMED = frozenset((*PARAMS, *VALUES[:5], MODEL))
#: A running average is not a parameter, although it may lie beside them.
KEPT = ("running", "moving", "mean", "var", "momentum", "velocity", "cache")


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its place, and the place of its gradient; None if no gradient was found."""

    name: str
    place: Place
    grad: Place | None


def find(trial: Any, stable: set[Place]) -> list[Parameter]:
    """The parameters of an object for which it leaves gradients in itself.

    Parameters
    ----------
    trial : a copy of the object after a forward and a backward pass.
    stable : places of numbers that forward leaves alone, as it does parameters and not caches.
    """
    found: list[Parameter] = []
    seen: set[int] = set()
    for search in (_beside, _wrapped, _collected):  # an attribute's name says more than a place in a list
        for place, holder in holders(trial):
            for own, grad in search(holder):
                value, whole = get(holder, own), (*place, *own)
                if id(value) in seen or not (_called(own) or whole in stable):
                    continue
                seen.add(id(value))
                found.append(Parameter(in_words(whole, UNNAMED), whole, None if grad is None else (*place, *grad)))
    return found


def _called(place: Place) -> bool:
    return any(how == "()" for how, _ in place)


def _collected(holder: Any) -> Iterator[tuple[Place, Place | None]]:
    """Parameters in a dict or a list of their own; their gradients in another, or as attributes."""
    own = attributes(holder)
    for name in PARAMS:
        start, collection = _collection(holder, name)
        if collection is None:
            continue
        grads = [(place, one) for place, one in (_collection(holder, grad) for grad in GRADS) if one is not None]
        if name in own:
            yield from _collections_beside(name, collection, own)
        if isinstance(collection, Mapping):
            for key, value in collection.items():
                if is_number(value):
                    grad = _in_dicts(key, value, grads) or _attribute(str(key), value, own)
                    if grad is not None or not any(word in str(key).lower() for word in KEPT):
                        yield (*start, ("[]", key)), grad
        else:
            yield from _in_lists(start, collection, [one for one in grads if not isinstance(one[1], Mapping)])


def _collection(holder: Any, name: str) -> tuple[Place, Any]:
    """A dict or list of this name, also from a method without arguments."""
    value = attributes(holder).get(name)
    if isinstance(value, (Mapping, tuple, list)) and len(value):
        return ((".", name),), value
    method = getattr(type(holder), name, None)
    if callable(method) or isinstance(method, property):
        step = ("." if isinstance(method, property) else "()", name)
        try:
            value = get(holder, (step,))
        except Exception:  # a method that wants more than it is given
            return (), None
        if isinstance(value, (Mapping, tuple, list)) and len(value):
            return (step,), value
    return (), None


def _in_lists(start: Place, values: Any, grads: list[tuple[Place, Any]]) -> Iterator[tuple[Place, Place | None]]:
    """Parameters and gradients in two lists, or in one list of pairs."""
    for k, value in enumerate(values):
        place = (*start, ("[]", k))
        if is_number(value):
            beside = [(one, other[k]) for one, other in grads if len(other) == len(values)]
            fitting = [one for one, grad in beside if _alike(value, grad)] or [
                one
                for one, grad in beside
                if is_number(grad)  # of a wrong form
            ]
            if fitting:
                yield place, (*fitting[0], ("[]", k))
        elif isinstance(value, (tuple, list)) and len(value) == 2 and _alike(*value):
            yield (*place, ("[]", 0)), (*place, ("[]", 1))
        elif attributes(value):
            yield from (((*place, *own), None if grad is None else (*place, *grad)) for own, grad in _wrapped(value))


def _in_dicts(key: Any, value: Any, grads: list[tuple[Place, Any]]) -> Place | None:
    for place, grad in grads:
        if isinstance(grad, Mapping):
            found = key if key in grad and not isinstance(key, str) else key_for(str(key), grad)
            if found is not None and (_alike(value, grad[found]) or kind(grad[found])):
                return (*place, ("[]", found))
    return None


def _attribute(name: str, value: Any, own: Mapping[str, Any]) -> Place | None:
    """The attribute that holds the gradient of a parameter, by its name."""
    others = {key: other for key, other in own.items() if key != name and is_number(other)}
    found = key_for(name, {key: other for key, other in others.items() if _alike(value, other)})
    if found is None:
        found = key_for(name, [key for key in others if key.lower() != name.lower()])
    if found is None:
        alike = {key: other for key, other in others.items() if np.size(other) == np.size(value)}
        found = _short_name(name, {**alike, name: value})
    return None if found is None else ((".", found),)


def _short_name(name: str, alike: Mapping[str, Any]) -> str | None:
    """A short name for the gradient of a parameter, if it can be meant for no other one of its form."""
    chosen = abbreviated(name, [key for key in alike if key != name])
    if len(chosen) != 1:
        return None
    rivals = [key for key in alike if key not in (name, chosen[0])]
    meant = any(key_for(key, chosen) or abbreviated(key, chosen) for key in rivals)
    return None if meant or key_for(chosen[0], [name]) else chosen[0]


def _beside(holder: Any) -> Iterator[tuple[Place, Place | None]]:
    """Parameters that are attributes, with gradients beside them or in a dict."""
    own = attributes(holder)
    grads = [(place, one) for place, one in (_collection(holder, grad) for grad in GRADS) if one is not None]
    for name, value in own.items():
        if is_number(value):
            whole = (one for one in GRADS if name in PARAMS and _alike(value, own.get(one)))
            named = next((((".", one),) for one in whole), None)
            grad = named or _attribute(name, value, own) or _in_dicts(name, value, grads)
            if grad is not None:
                yield ((".", name),), grad
        elif isinstance(value, (Mapping, tuple, list)) and name not in PARAMS:
            yield from _collections_beside(name, value, own)


def _collections_beside(name: str, value: Any, own: Mapping[str, Any]) -> Iterator[tuple[Place, Place | None]]:
    """``biases`` and ``dbiases``, both lists or dicts."""
    others = {key: other for key, other in own.items() if key != name and type(other) is type(value)}
    found = key_for(name, others)
    if found is None:
        found = _short_name(name, {key: other for key, other in own.items() if key == name or _nested(value, other)})
    if found is None or len(others[found]) != len(value):
        return
    for steps, _, grad in _pairs(value, others[found]):
        if is_number(grad):
            yield ((".", name), *steps), ((".", found), *steps)


def _pairs(value: Any, other: Any, depth: int = 0) -> Iterator[tuple[Place, Any, Any]]:
    """The numbers of two nests of lists and dicts side by side, with the steps that lead to them."""
    if is_number(value):
        yield (), value, other
    elif isinstance(value, (Mapping, tuple, list)) and depth < DEEPEST:  # a list may hold itself
        for key in value if isinstance(value, Mapping) else range(len(value)):
            for steps, one, grad in _pairs(value[key], get(other, (("[]", key),)), depth + 1):
                yield (("[]", key), *steps), one, grad


def _nested(value: Any, other: Any) -> bool:
    """Whether two nests hold numbers at the same places, and not none."""
    pairs = list(_pairs(value, other))
    return type(value) is type(other) and bool(pairs) and all(is_number(grad) for _, _, grad in pairs)


def _wrapped(holder: Any) -> Iterator[tuple[Place, Place | None]]:
    """A parameter that is an object of its own, with its numbers and their gradient as attributes."""
    own = attributes(holder)
    for value in VALUES:
        for grad in GRADIENTS:
            if value != grad and is_number(own.get(value)) and _alike(own[value], own.get(grad)):
                yield ((".", value),), ((".", grad),)
                return


def own_arrays_of_the_class(layer: Any) -> None:
    """Give a copy of an object the float arrays that stand in its class as its own, so that they are found there."""
    own = getattr(layer, "__dict__", None)
    for base in type(layer).__mro__ if own is not None else ():
        for name, value in vars(base).items():
            if kind(value) == "f" and name not in attributes(layer):
                setattr(layer, name, copy.deepcopy(value))


def empty_gradient(trial: Any, place: Place) -> Place | None:
    """The place for the gradient of the numbers at a place, if an attribute with such a name exists and is None."""
    holder, name = get(trial, place[:-1]), place[-1][1]
    own = holder if isinstance(holder, Mapping) else attributes(holder)
    empty = [key for key, value in own.items() if value is None]
    if name in VALUES and any(key in empty for key in GRADIENTS):
        return (*place[:-1], (".", next(key for key in GRADIENTS if key in empty)))
    found = key_for(name, [key for key in empty if key != name]) if isinstance(name, str) else None
    return None if found is None else (*place[:-1], (place[-1][0], found))


def _alike(value: Any, gradient: Any) -> bool:
    return is_number(gradient) and np.shape(value) == np.shape(gradient)


def stable_places(once: Mapping[Place, Any], twice: Any) -> set[Place]:
    """Places whose numbers are the same objects after another forward pass.

    Parameters
    ----------
    once : all numbers by their places, after one pass.
    twice : the object after another one.
    """
    return {place for place, value in numbers(twice) if once.get(place) is value}


def aliases(value: Any, place: Place) -> list[Place]:
    """All places that hold the same numbers as this one, this one first."""
    wanted = get(value, place)
    return [place, *(other for other, found in numbers(value) if found is wanted and other != place and kind(found))]


def as_returned(
    parameters: Sequence[Parameter], trial: Any, returned: Mapping[str, Any], arguments: Sequence[str]
) -> tuple[list[Parameter], dict[str, str]]:
    """Parameters whose gradients backward returns by name: these count, not those in the layers inside.

    ``params["W1"]`` may be the W of a layer, whose dW is handed on under the name W1, or under a wrong one.

    Parameters
    ----------
    returned : gradients by name, as backward returned them.
    arguments : names of forward's arguments, whose gradients may stand among them.

    Returns
    -------
    parameters, names
        and by name of a parameter the name of its gradient.
    """
    own = {key_for(name, returned) for name in arguments}
    keys = [key for key in returned if key not in own]
    found: dict[int, tuple[Parameter, str]] = {}
    for k, one in enumerate(parameters if keys else ()):
        for place in aliases(trial, one.place):
            key = key_for(str(place[-1][1]), keys)
            if key is not None:
                found[k] = Parameter(in_words(place, UNNAMED), place, None), key
                break
    taken = [key for _, key in found.values()]
    found = {k: pair for k, pair in found.items() if taken.count(pair[1]) == 1}
    chosen = [found[k][0] if k in found else one for k, one in enumerate(parameters)]
    return chosen, {parameter.name: key for parameter, key in found.values()}


def unmatched(trial: Any, stable: set[Place], known: Sequence[Parameter]) -> list[tuple[str, Place]]:
    """Arrays that may be parameters without a gradient in the object, in the order in which it made them."""
    taken = {id(get(trial, one.place)) for one in known} | {id(get(trial, one.grad)) for one in known if one.grad}
    found = []
    for place, value in numbers(trial):
        if place in stable and kind(value) in ("f", "c") and id(value) not in taken:
            taken.add(id(value))
            found.append((in_words(place, UNNAMED), place))
    return found
