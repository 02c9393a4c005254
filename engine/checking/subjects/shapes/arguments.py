"""What the arguments of someone's functions are called, and how the functions want to be called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.checking.subjects.trees import kind, leaves
from engine.checks import describe
from engine.errors import bad_input, bad_type

#: Usual names for the cache of a forward pass.
CACHE_NAMES = {"c", "ctx", "tape", "memory", "residuals", "res"}
#: What they call the gradient that backward is handed, and nothing else.
DOUT_NAMES = {"dout", "dy", "upstream", "grad_output", "grad_out", "dloss", "gradout", "output_gradient"}
PLACES = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Any) -> list[inspect.Parameter] | None:
    """The parameters of a function; None if they are unknown, as for functions written in C."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def argument_names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of the first arguments of a function; ``input k`` for unknown names, as after ``*args``."""
    found = parameters_of(forward) or []
    names = [one.name for one in found if one.kind in PLACES][:count]
    return names + [f"input {k}" for k in range(len(names), count)]


def as_arguments(
    forward: Callable[..., Any], inputs: Any
) -> tuple[Callable[..., Any], Sequence[Any], list[str] | None]:
    """Inputs given as a dict: arguments by their names, or the one dict that the function takes.

    Returns
    -------
    forward, inputs, names
        a function of the inputs in order, and their names; None if the signature has them.
    """
    try:
        leaves(inputs)
    except RecursionError:
        raise bad_input("inputs", "a list of the arguments of forward", "one that holds itself") from None
    if not isinstance(inputs, Mapping):
        if not isinstance(inputs, (tuple, list)):
            hint = "write [x] for a single one"
            raise bad_type("inputs", "a list of the arguments of forward", describe(inputs), hint)
        return forward, inputs, None
    keys = list(inputs)
    try:
        inspect.signature(forward).bind(**inputs)
    except (TypeError, ValueError):
        return forward, [inputs], None
    return (lambda *values: forward(**dict(zip(keys, values, strict=True)))), list(inputs.values()), keys


@dataclass(frozen=True)
class Convention:
    """How a pair of functions is called.

    Attributes
    ----------
    order : the arguments of backward: ``"dout"``, ``"cache"``, both in one order or the other, or neither.
    outputs : how many outputs forward returns before its cache, each with a gradient of its own in backward; 0 for
        one output, which may be a nest.
    alone : whether forward returns its output alone, and no cache.
    """

    order: tuple[str, ...] = ("dout", "cache")
    outputs: int = 0
    alone: bool = False

    def split(self, found: Any) -> tuple[Any, Any]:
        """Output and cache in what forward returned."""
        if self.alone:
            return found, None
        if self.outputs and isinstance(found, tuple) and len(found) == self.outputs + 1:
            return found[:-1], found[-1]
        if not isinstance(found, tuple) or len(found) != 2:
            got, hint = describe(found), ""
            if isinstance(found, tuple) and len(found) > 2:
                got, hint = (
                    f"a tuple of {len(found)}",
                    "return the outputs whose gradients backward takes, and the cache",
                )
            raise bad_type("forward", "a function that returns (out, cache)", f"one that returns {got}", hint)
        return found

    def call(self, backward: Callable[..., Any], dout: Any, cache: Any) -> Any:
        """What backward gives."""
        if self.outputs:
            return backward(*dout, cache)
        return backward(*(dout if name == "dout" else cache for name in self.order))


def convention_of(backward: Callable[..., Any], found: Any) -> Convention:
    """How to call backward, found from its parameters and from what forward returned.

    Parameters
    ----------
    found : what forward returned.
    """
    given = parameters_of(backward)
    if given is None or any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in given):
        return Convention()
    places = [one for one in given if one.kind in PLACES]
    needed = sum(one.default is inspect.Parameter.empty for one in places)
    pair = isinstance(found, tuple) and len(found) == 2
    if isinstance(found, tuple) and len(found) > 2 and needed == len(found):
        return Convention(outputs=len(found) - 1)
    if not pair and (needed > 1 or not _is_output(found)):
        return Convention()  # which says what was expected of forward
    names = [one.name for one in places]
    first = "cache" if any(map(is_cache, names[:1])) else "dout"
    second = "cache" if any(map(is_cache, names[1:2])) else "dout"
    if needed >= 2 or (needed == 0 and len(places) >= 2) or (len(places) >= 2 and first == "dout"):
        swapped = first == "cache" and second == "dout"
        return Convention(("cache", "dout") if swapped else ("dout", "cache"))
    if not places:
        return _without_dout(Convention((), alone=not pair), found)
    if len(places) >= 2 and is_gradient(names[1]):
        return Convention(("cache", "dout"), alone=not pair)
    loss = pair and found[1] is not None and is_number_alone(found[0]) and names[0].lower() not in DOUT_NAMES
    if first == "cache" or loss:
        return _without_dout(Convention(("cache",), alone=not pair), found)
    return Convention(("dout",), alone=not pair)


def _without_dout(convention: Convention, found: Any) -> Convention:
    """The convention if the output is one number, a loss: then the gradient that backward does not get is 1."""
    out, _ = convention.split(found)
    if not is_number_alone(out):
        hint = "only where out is one number, a loss, does backward know dout: it is 1"
        raise bad_input("backward", "a function backward(dout, cache)", "one that takes no dout", hint)
    return convention


def _is_output(found: Any) -> bool:
    parts = leaves(found)
    return bool(parts) and not isinstance(found, tuple) and all(isinstance(p, float) or kind(p) == "f" for p in parts)


def is_number_alone(out: Any) -> bool:
    """Whether an output is a single number, such as a loss."""
    return isinstance(out, float) or (kind(out) == "f" and tuple(out.shape) in ((), (1,)))


def is_cache(name: str) -> bool:
    """Whether it is what people call a cache."""
    plain = name.lower()
    return plain in CACHE_NAMES or "cache" in plain or "saved" in plain


def is_gradient(name: str) -> bool:
    """Whether it may be what people call the gradient of an output."""
    plain = name.lower()
    return plain[:1] in ("d", "g") or any(word in plain for word in ("grad", "upstream", "dout", "delta"))
