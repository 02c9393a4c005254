"""Find forward, backward, the parameters and their gradients in an object, by a trial on copies."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.checking.subjects.shapes.arguments import (
    argument_names,
    is_cache,
    is_gradient,
    is_number_alone,
    parameters_of,
)
from engine.checking.subjects.shapes.calling import called
from engine.checking.subjects.shapes.loss_methods import LossMethod, with_loss
from engine.checking.subjects.shapes.object_as_functions import STEP, ObjectAsFunctions, Returned
from engine.checking.subjects.shapes.parameters import (
    Parameter,
    aliases,
    as_returned,
    empty_gradient,
    find,
    own_arrays_of_the_class,
    stable_places,
    unmatched,
)
from engine.checking.subjects.shapes.places import Place, get, in_words, lists, numbers, put
from engine.checking.subjects.shapes.returned import key_for, letters
from engine.checking.subjects.shapes.sharing import Shared, copy_with, shared_parts
from engine.checking.subjects.trees import attribute, kind, leaves
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.plain_arrays import refuse_own_rules

FORWARDS = ("forward", "__call__", "fwd", "forward_pass", "forward_propagation", "feedforward", "fprop", "loss")
BACKWARDS = ("backward", "backprop", "bwd", "backward_pass", "backward_propagation", "back_propagation", "bprop",
             "backpropagate", "grad", "gradient")  # fmt: skip
#: Letters of names that nothing but a parameter has.
LEARNT = re.compile(r"(weights?|bias(es)?|kernel|gamma|beta|w|b|[wbu](x|h|xh|hh|hy|hx|ih|[ifogczrn])|[wb][1-9])")
RATES = ("lr", "learning_rate", "alpha", "eta", "learningrate", "step_size", "rate")


def read_object(layer: Any, x: Any, params: Any = "auto", grads: Any = "auto") -> ObjectAsFunctions:
    """Find forward, backward, parameters and gradients of an object, on copies of it; see `engine.check_object`."""
    if isinstance(params, str) and params == "auto" and not (isinstance(grads, str) and grads == "auto"):
        raise bad_input("grads", '"auto" where params is "auto"', describe(grads), "name both")
    given = x if isinstance(x, tuple) and not hasattr(x, "_fields") else (x,)
    layer = with_loss(layer, given, hasattr(layer, "forward"), _has(layer, BACKWARDS) is not None)
    forward, backward = _method(layer, FORWARDS, "forward"), _method(layer, BACKWARDS, "backward")
    _require_copies(given)
    method = layer.method if isinstance(layer, LossMethod) else getattr(layer, forward)
    _require_arguments(method, given)
    shared = _shared(layer)
    names = argument_names(method, len(given))
    functions = ObjectAsFunctions(copy_with(layer, shared), forward, backward, names, given, shared=shared)
    own_arrays_of_the_class(functions.layer)
    trial = functions.fresh()
    with called(_name_of(method), functions.names, given):
        found = getattr(trial, forward)(*copy.deepcopy(given))
    once, lengths = dict(numbers(trial)), {place: len(own) for place, own in lists(trial)}
    getattr(trial, forward)(*copy.deepcopy(given))
    growing = [place for place, own in lists(trial) if len(own) > lengths.get(place, len(own))]
    stable = stable_places(once, trial)
    late = {place for place in stable if get(layer, place) is None}
    trial = functions.fresh()
    if late:  # parameters that the first pass draws must be the same in every copy
        getattr(trial, forward)(*copy.deepcopy(given))
        functions.layer = copy_with(trial, shared)
        for place in growing:  # caches, from pass to pass, begin empty in every copy
            get(functions.layer, place).clear()
        trial = functions.fresh()
    _read_calls(functions, getattr(layer, backward), found)
    out, held = functions.pass_forward(trial, copy.deepcopy(given))
    before = {place: copy.deepcopy(value) for place, value in numbers(trial) if place in stable}
    dout = _cotangent(out)
    with called(backward, ["dout"], [dout], dict(zip(functions.names, given, strict=True))):
        returned = Returned.of(functions.pass_backward(held, dout))
    functions.parameters = find(trial, stable)
    functions.parameters, functions.returned = as_returned(functions.parameters, trial, returned.named, functions.names)
    if "rate" in functions.handed or _set_rates(functions, trial, before):
        _take_steps(functions, trial, before)
    without = [one for one in functions.parameters if one.grad is None and one.name not in functions.returned]
    functions.parameters = [one for one in functions.parameters if one not in without]
    rest = unmatched(trial, stable, [*functions.parameters, *without])
    _read_returned(functions, returned, [*((one.name, one.place) for one in without), *rest])
    functions.parameters += [one for one in without if one.name not in functions.returned]
    _read_forgotten(functions, trial, unmatched(trial, stable, functions.parameters), out)
    if not isinstance(params, str) or params != "auto":
        known, functions.parameters = list(functions.parameters), []
        _take_named(functions, trial, [] if params is None else params, grads, known)
        functions.returned = {
            one.name: functions.returned[one.name] for one in functions.parameters if one.grad is None
        }
    functions.places = {one.name: aliases(functions.layer, one.place) for one in functions.parameters}
    _note_the_rest(functions, unmatched(trial, stable, functions.parameters), out)
    return functions


def _shared(layer: Any) -> Shared:
    """The parts that copies of the object share, because they cannot be copied."""
    try:
        return shared_parts(layer)
    except Exception as error:
        got = f"{describe(layer)} that cannot be copied ({type(error).__name__})"
        raise bad_type("layer", "an object that copy.deepcopy can copy", got) from None


def _require_copies(given: tuple[Any, ...]) -> None:
    """Raise for arguments that hold arrays with rules of their own, or what cannot be copied."""
    try:
        parts = leaves(copy.deepcopy(given))
    except Exception:  # which deepcopy has no way with, or a list that holds itself
        raise bad_type("x", "arrays, and what can be copied", "an object that cannot") from None
    for leaf in parts:
        refuse_own_rules("x", leaf)


def _require_arguments(forward: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """Raise unless forward takes as many arguments."""
    try:
        inspect.signature(forward).bind(*given)
    except TypeError:
        names = ", ".join(one.name for one in parameters_of(forward) or [])
        hint = "a tuple holds one value for each argument"
        raise bad_input("x", f"the arguments of {_name_of(forward)}({names})", f"{len(given)} of them", hint) from None
    except ValueError:  # a function without a signature
        return


def _method(layer: Any, names: Sequence[str], what: str) -> str:
    if isinstance(layer, type):
        raise bad_type("layer", "an object", f"the class {layer.__name__}", f"make one: {layer.__name__}(...)")
    found = _has(layer, names)
    if found is None:
        hint = "for functions of your own, use check_gradients"
        raise bad_type("layer", f"an object with a method {what}", describe(layer), hint)
    return found


def _name_of(method: Callable[..., Any]) -> str:
    return getattr(method, "__name__", "forward")


def _has(layer: Any, names: Sequence[str]) -> str | None:
    return next((name for name in names if callable(attribute(layer, name))), None)


def _read_calls(functions: ObjectAsFunctions, backward: Callable[..., Any], found: Any) -> None:
    """The arguments of backward, found from the names of its parameters and from what forward returned."""
    places = [one for one in parameters_of(backward) or [] if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    needed = [one.name for one in places if one.default is inspect.Parameter.empty]
    optional = [one.name for one in places if one.default is not inspect.Parameter.empty]
    if not places and parameters_of(backward) is None:
        needed = ["dout"]
    handed: list[Any] = []
    for name in needed:
        if name.lower() in RATES:
            handed.append("rate")
        elif is_cache(name) and len(name) > 1:
            handed.append("cache")
        elif name in functions.names and (len(needed) > 1 or is_number_alone(found)):
            handed.append(functions.names.index(name))
        else:
            handed.append("dout")
    if not needed and optional and not is_number_alone(found):
        handed = ["dout"]
    if not needed and optional and is_gradient(optional[0]):
        handed = ["dout"]
    functions.gives_cache = "cache" in handed and isinstance(found, tuple) and len(found) == 2
    if handed.count("dout") > 1:
        if isinstance(found, tuple) and len(found) == len(handed):
            handed = ["douts"]
        elif isinstance(found, tuple) and len(found) == 2 and len(handed) == 2:
            handed, functions.gives_cache = ["dout", "cache"], True
        else:
            got = f"one that takes {', '.join(needed)}"
            raise bad_type("layer", "a backward that takes the gradient of the output", got, "use check_gradients")
    if not {"dout", "douts"} & set(handed) and not is_number_alone(found):
        hint = "only where out is one number, a loss, does backward know dout: it is 1"
        raise bad_input("layer", "a backward(dout)", "one that takes no dout", hint)
    functions.handed = tuple(handed)


def _cotangent(out: Any) -> Any:
    """Ones in the form of the output."""
    if isinstance(out, Mapping):
        return {key: _cotangent(part) for key, part in out.items()}
    if isinstance(out, (tuple, list)):
        return type(out)(_cotangent(part) for part in out)
    return 1.0 if isinstance(out, float) else out * 0 + 1 if kind(out) in ("f", "c") else None


def _set_rates(functions: ObjectAsFunctions, trial: Any, before: Mapping[Place, Any]) -> bool:
    """Whether backward made a step with the object's learning rate; if so, the rate is set to 1 in every copy."""
    rates = [place for place, _ in numbers(trial) if str(place[-1][1]).lower() in RATES]
    known = {one.grad for one in functions.parameters}
    if not any(place not in known and _moved(get(trial, place), value) for place, value in before.items()):
        return False
    for place in rates:
        put(functions.layer, [place], 1.0)
    return bool(rates)


def _moved(now: Any, value: Any) -> bool:
    """Whether an array holds other numbers than before."""
    return kind(value) in ("f", "c") and np.shape(now) == np.shape(value) and bool((now != value).any())


def _take_steps(functions: ObjectAsFunctions, trial: Any, before: Mapping[Place, Any]) -> None:
    """Parameters that backward itself updates: with a learning rate of 1 the step that it takes is the gradient."""
    taken = {place for one in functions.parameters for place in (one.place, one.grad)}
    for place, value in before.items():
        now = get(trial, place)
        if place not in taken and _moved(now, value):
            _add(functions, in_words(place), place, STEP)


def _add(functions: ObjectAsFunctions, name: str, place: Place, where: Any) -> None:
    functions.parameters.append(Parameter(name, place, None))
    functions.returned[name] = where


def _read_returned(functions: ObjectAsFunctions, returned: Returned, candidates: list[tuple[str, Place]]) -> None:
    """Parameters whose gradients backward returns, by name or in order, behind that of the input or before it."""
    own = {key_for(name, returned.named) for name in functions.names}
    for name, place in candidates:
        key = key_for(name.rpartition(".")[2], [one for one in returned.named if one not in own])
        if key is not None:
            _add(functions, name, place, key)
            own.add(key)
    extra = len(returned.parts) - sum(key_for(name, returned.named) is None for name in functions.names)
    if extra <= 0 or returned.named:
        return
    for start in (len(returned.parts) - extra, 0):
        values = [(name, place, get(functions.layer, place)) for name, place in candidates]
        chosen = _in_order(returned.parts[start : start + extra], values)
        if chosen is not None:
            for k, (name, place) in enumerate(chosen):
                _add(functions, name, place, start + k)
            return


def _in_order(parts: list[Any], candidates: list[tuple[str, Place, Any]]) -> list[tuple[str, Place]] | None:
    """Candidates in order whose shapes are those of the parts; None if a part has no candidate."""
    chosen, rest = [], iter(candidates)
    for part in parts:
        fitting = next(((name, place) for name, place, value in rest if np.shape(value) == np.shape(part)), None)
        if fitting is None:
            return None
        chosen.append(fitting)
    return chosen


def _take_named(functions: ObjectAsFunctions, trial: Any, params: Any, grads: Any, known: Sequence[Parameter]) -> None:
    """The parameters that the caller names, and their gradients."""
    if isinstance(params, str):
        params = [params]
    if not isinstance(params, (tuple, list)) or not all(isinstance(one, str) for one in params):
        raise bad_type("params", 'names of attributes or of entries of a dict, or "auto"', describe(params))
    everything = [(in_words(place), place) for place, _ in numbers(trial)]
    by_grad = _names_of_gradients(params, grads)
    for name in params:
        found = next((one for one in known if one.name == name or in_words(one.place) == name), None)
        place = found.place if found is not None else _place(name, everything, "params")
        if by_grad is not None:
            grad = _place(by_grad[name], everything, "grads")
        elif found is not None and found.grad is not None:
            grad = found.grad
        elif name in functions.returned:
            functions.parameters.append(Parameter(name, place, None))
            continue
        else:
            hint = "name it in grads=[...], in the order of params"
            raise bad_input("grads", f"a gradient of {name} in the object", "none by a common name", hint)
        functions.parameters.append(Parameter(name, place, grad))


def _names_of_gradients(params: Sequence[str], grads: Any) -> dict[str, str] | None:
    if isinstance(grads, str) and grads == "auto":
        return None
    if isinstance(grads, Mapping) and set(grads) == set(params):
        return dict(grads)
    if not isinstance(grads, (tuple, list)) or len(grads) != len(params):
        expected = f'{len(params)} names of gradients, in the order of params, or "auto"'
        raise bad_type("grads", expected, describe(grads))
    return dict(zip(params, grads, strict=True))


def _place(name: str, everything: Sequence[tuple[str, Place]], argument: str) -> Place:
    """Where a name leads: the whole way, or its last step."""
    for words, place in everything:
        if words == name:
            return place
    found = [place for words, place in everything if words.rpartition(".")[2] == name]
    if not found:
        known = ", ".join(words for words, _ in everything)
        raise bad_input(argument, f"names in the object: {known}", repr(name))
    return found[0]


def _note_the_rest(functions: ObjectAsFunctions, rest: Sequence[tuple[str, Place]], out: Any) -> None:
    """Say which arrays forward reads that are not checked."""
    read = [name for name, place in rest if _is_read(functions, place, out)]
    if read:
        what = f"forward reads {', '.join(read)} too, of which no gradient was found"
        known = f"d{read[0].rpartition('.')[2]}"
        functions.notes.append(f"{what}: not checked; is {known} forgotten, or is {read[0]} no parameter?")


def _read_forgotten(functions: ObjectAsFunctions, trial: Any, rest: Sequence[tuple[str, Place]], out: Any) -> None:
    """Parameters without a gradient: its place is still None after backward, or those beside them have theirs."""
    beside = {one.place[:-1] for one in functions.parameters}
    for name, place in rest:
        grad = empty_gradient(trial, place)
        missed = place[:-1] in beside and LEARNT.fullmatch(letters(str(place[-1][1]))) is not None
        if (grad is not None or missed) and _is_read(functions, place, out):
            functions.parameters.append(Parameter(name, place, grad))
            said = "is None after backward" if grad else "has no gradient, and those beside it have theirs"
            functions.notes.append(f"{in_words(grad or place)} {said}: forgotten?")


def _is_read(functions: ObjectAsFunctions, place: Place, out: Any) -> bool:
    """Whether the output moves with the numbers at a place."""
    layer = functions.fresh()
    value = get(layer, place)
    if value is None or not value.size:
        return False
    put(layer, aliases(layer, place), value * 1.01 + 0.01)
    try:
        return not _same(functions.pass_forward(layer, copy.deepcopy(functions.given))[0], out)
    except Exception:  # forward may refuse other numbers there
        return False


def _same(one: Any, other: Any) -> bool:
    pairs = zip(leaves(one), leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in pairs)
