"""A pair of functions that do not follow the course convention, brought into it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.checking.subjects.shapes.arguments import PLACES, is_cache, parameters_of
from engine.checking.subjects.shapes.return_names import outputs_with_gradients, returned_names
from engine.checking.subjects.trees import kind


def with_cache(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any], names: Sequence[str]
) -> tuple[Callable[..., Any], Callable[..., Any], str]:
    """The functions in the course convention, if backward takes forward's own arguments, or the cache unpacked.

    ``f(x)`` and ``df(x)``, ``relu(x)`` and ``relu_grad(dout, x)``, ``backward(dout, x, w)`` for a cache ``(x, w)``, and
    ``backward(da, cache)`` for a forward that ends with ``return a, y, cache``.

    Returns
    -------
    forward, backward, note
        and how they were read, where that needs saying.
    """
    places = [one for one in parameters_of(backward) or [] if one.kind in PLACES]
    needed = [one.name for one in places if one.default is inspect.Parameter.empty]
    own = [name for name in needed if name in names]
    few = len(needed) < 2 or (len(needed) == 2 and len(returned_names(forward) or ()) < 3)
    if not (own and len(needed) - len(own) <= 1) and few:
        return forward, backward, ""
    try:
        found = forward(*copy.deepcopy(list(inputs)))
    except Exception:  # the check itself says what is wrong
        return forward, backward, ""
    if isinstance(found, tuple) and len(found) == len(needed) > 2:
        if needed[0] not in names and set(needed[1:]) <= set(names):  # return y, x, w
            return (lambda *given: (forward(*given)[0], given)), _in_order(backward, names, needed[1:]), ""
    if own and len(needed) - len(own) <= 1 and not isinstance(found, tuple):
        order = [names.index(name) if name in names else None for name in needed]

        def handed(dout: Any, cache: Any) -> Any:
            return backward(*(dout if place is None else cache[place] for place in order))

        if None in order:
            return lambda *given: (forward(*given), given), handed, ""
        if len(inputs) == 1 and kind(found) == "f" and found.ndim and np.shape(found) == np.shape(inputs[0]):
            note = f"took backward({needed[0]}) for the derivative of each entry: dout times it is the gradient"
            return lambda *given: (forward(*given), given), lambda dout, cache: dout * handed(None, cache), note
        return lambda *given: (forward(*given), given), lambda cache: handed(None, cache), ""
    if (
        isinstance(found, tuple)
        and len(found) == 2
        and isinstance(found[1], tuple)
        and len(found[1]) + 1 == len(needed)
    ):
        return forward, lambda dout, cache: backward(dout, *cache), ""
    if isinstance(found, tuple) and len(found) > max(2, len(needed)) and is_cache(needed[-1]):
        return _chosen_outputs(forward, backward, needed[:-1], len(found))
    return forward, backward, ""


def _in_order(backward: Callable[..., Any], names: Sequence[str], own: Sequence[str]) -> Callable[..., Any]:
    """Backward of the gradient and some of forward's arguments."""
    return lambda dout, cache: backward(dout, *(cache[names.index(name)] for name in own))


def _chosen_outputs(
    forward: Callable[..., Any], backward: Callable[..., Any], wanted: Sequence[str], count: int
) -> tuple[Callable[..., Any], Callable[..., Any], str]:
    """Of many outputs those whose gradients backward takes, found by the names in forward's return."""
    names = returned_names(forward)
    chosen = outputs_with_gradients(names[:-1], wanted) if names and len(names) == count else None
    if names is None or chosen is None:
        return forward, backward, ""

    def chosen_forward(*given: Any) -> tuple[Any, Any]:
        found = forward(*given)
        out = tuple(found[k] for k in chosen)
        return (out if len(out) > 1 else out[0]), found[-1]

    def chosen_backward(dout: Any, cache: Any) -> Any:
        return backward(*(dout if len(chosen) > 1 else [dout]), cache)

    rest = ", ".join(name for k, name in enumerate(names[:-1]) if k not in chosen)
    return chosen_forward, chosen_backward, f"not checked, as backward takes no gradient of it: {rest} of the outputs"
