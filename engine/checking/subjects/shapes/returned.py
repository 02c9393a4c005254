"""The gradient of each input in what backward returned: in order, by name, in a dict or as attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine.checking.subjects.shapes.insides import attributes
from engine.checking.subjects.trees import is_record, kind, leaves
from engine.checks import describe
from engine.errors import bad_input

#: Prefixes and suffixes that turn the name of an input into the name of its gradient.
BEFORE = (
    "d", "d_", "grad_", "grad", "dL_d", "dLd", "dl_d", "dL_", "dJ_d", "dE_d", "dC_d", "dloss_d", "D", "delta_",
    "del_", "nabla_", "gradient_", "g_", "g", "diff_", "dL", "grad_of_", "gradients_", "grads_", "bar_",
)  # fmt: skip
BEHIND = ("_grad", "_gradient", "grad", "_g", "_bar", "_diff", "_grads", "_gradients", "Grad", "_delta", "_dot")


class NotGiven:
    """Stands for a gradient that backward does not give."""


NOT_GIVEN = NotGiven()


def gradient_names(name: str) -> Iterator[str]:
    """Usual names for the gradient of an input, the likeliest first."""
    yield from (before + name for before in BEFORE[:2])
    yield from (name + behind for behind in BEHIND[:1])
    yield name
    yield from (before + name for before in BEFORE[2:])
    yield from (name + behind for behind in BEHIND[1:])


def key_for(name: str, keys: Iterable[Any]) -> Any:
    """The key under which the gradient of an input stands; None if there is none."""
    known = [key for key in keys if isinstance(key, str)]
    exact = next((one for one in gradient_names(name) if one in known), None)
    if exact is not None:
        return exact
    plain: dict[str, str] = {}
    for key in known:
        plain.setdefault(letters(key), key)
    return next((plain[letters(one)] for one in gradient_names(name) if letters(one) in plain), None)


def letters(name: str) -> str:
    """A name without the parts that people write in different ways."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def by_argument(found: Any, names: Sequence[str], inputs: Sequence[Any], checked: Sequence[bool]) -> list[Any]:
    """The gradient of each argument in what backward returned; `NOT_GIVEN` where it gives none.

    Parameters
    ----------
    found : what backward returned.
    names : of the arguments.
    inputs : their values, arrays or nests.
    checked : whether each argument is one whose gradient is looked at.
    """
    fields = as_fields(found)
    only = _opened(inputs[0])
    if len(names) == 1 and isinstance(only, (Mapping, tuple, list)) and not _wraps(found, names[0], only):
        return [found]
    if fields is not None:
        return _by_name(fields, names, inputs, checked)
    if not isinstance(found, (tuple, list)):
        found = (found,)
    for chosen in _choices(inputs, checked):
        if len(found) == sum(chosen):
            own = iter(found)
            return [next(own) if one else NOT_GIVEN for one in chosen]
    return _mixed(found, names, inputs, checked)


def as_fields(found: Any) -> Mapping[str, Any] | None:
    """What backward returned as names and values, if it has names."""
    if isinstance(found, Mapping):
        return found
    if isinstance(found, tuple) and hasattr(found, "_fields"):
        return dict(zip(found._fields, found, strict=True))
    if isinstance(found, (tuple, list)) or kind(found):
        return None
    return attributes(found) or None


def _opened(given: Any) -> Any:
    return vars(given) if is_record(given) else given


def _wraps(found: Any, name: str, given: Any) -> bool:
    """Whether the gradient of a single nest stands in a tuple of one, or under the argument's name."""
    fields = as_fields(found)
    if fields is not None:
        return key_for(name, fields) is not None and not (isinstance(given, Mapping) and len(given) == len(fields))
    return isinstance(found, (tuple, list)) and len(found) == 1 and not (
        isinstance(given, (tuple, list)) and len(given) == 1 and not isinstance(found[0], (tuple, list))
    )  # fmt: skip


def _choices(inputs: Sequence[Any], checked: Sequence[bool]) -> Iterator[list[bool]]:
    """Which inputs a tuple of gradients may be meant for, the likeliest first."""
    yield [True] * len(inputs)
    yield [any(_is_float(leaf) for leaf in leaves(given)) for given in inputs]
    yield list(checked)
    yield [any(kind(leaf) == "f" for leaf in leaves(given)) for given in inputs]
    yield [kind(given) == "f" for given in inputs]


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, float) or kind(leaf) == "f"


def _by_name(
    fields: Mapping[str, Any], names: Sequence[str], inputs: Sequence[Any], checked: Sequence[bool]
) -> list[Any]:
    """Gradients by the names of the arguments, or by those of the arrays inside them."""
    arranged: list[Any] = []
    for name, given, wanted in zip(names, map(_opened, inputs), checked, strict=True):
        key = key_for(name, fields)
        if key is not None:
            arranged.append(fields[key])
        elif isinstance(given, Mapping) and any(key_for(str(part), fields) is not None for part in given):
            arranged.append(fields)
        else:
            arranged.append(NOT_GIVEN)
            if wanted:
                known = ", ".join(map(str, fields))
                hint = f"name it d{name}, or leave it out with check=[...]"
                raise bad_input("backward", f"a gradient for {name}", f"gradients named {known}"[:200], hint)
    return arranged


def _mixed(found: Sequence[Any], names: Sequence[str], inputs: Sequence[Any], checked: Sequence[bool]) -> list[Any]:
    """A tuple in which dicts hold several gradients by name, and the others stand in order: ``dx, {"dW": ...}``."""
    fields: dict[str, Any] = {}
    for part in found:
        if isinstance(part, Mapping):
            fields.update(part)
    ordered = [part for part in found if not isinstance(part, Mapping)]
    by_name = [key_for(name, fields) for name in names]
    rest = [k for k, key in enumerate(by_name) if key is None and checked[k]]
    if not fields or len(rest) != len(ordered):
        expected = f"{len(inputs)} gradients, one for each input ({', '.join(names)})"
        if len(inputs) == 1:
            expected = "1 gradient, for the one input"
        got = f"{len(found)}" if len(found) != 1 else f"{describe(found[0])} alone"
        hint = "say which are meant with check=[names]" if len(found) < len(inputs) else ""
        raise bad_input("backward", expected, got, hint)
    own = iter(ordered)
    return [fields[key] if key is not None else next(own) if k in rest else NOT_GIVEN for k, key in enumerate(by_name)]


def by_leaf(given: Any, gradient: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The gradient of every array of a nest, under the array's name; None and `NOT_GIVEN` for those without."""
    if given is None:
        return
    given = vars(given) if is_record(given) else given
    if isinstance(given, Mapping):
        parts = [(f"{name}.{key}" if name else str(key), part, key) for key, part in given.items()]
        fields = as_fields(gradient)
        for own, part, key in parts:
            found = fields.get(key, NOT_GIVEN) if fields is not None else _nothing(gradient, name, given)
            if fields is not None and isinstance(found, NotGiven):
                other = key_for(str(key), fields)
                found = NOT_GIVEN if other is None else fields[other]
            yield from by_leaf(part, found, own)
    elif isinstance(given, (tuple, list)):
        fields = getattr(given, "_fields", None)
        members = _members(gradient, len(given), name, given)
        for k, (part, found) in enumerate(zip(given, members, strict=True)):
            yield from by_leaf(part, found, f"{name}.{fields[k]}" if fields else f"{name}[{k}]")
    else:
        yield name, gradient


def _members(gradient: Any, count: int, name: str, given: Any) -> Sequence[Any]:
    """The gradient of a tuple or list, part by part; an array with an axis over the parts will do."""
    if isinstance(gradient, Mapping):
        names = getattr(given, "_fields", range(count))
        return [gradient.get(one, NOT_GIVEN) for one in names]
    if isinstance(gradient, (tuple, list)) or (kind(gradient) and gradient.ndim):
        if len(gradient) != count:
            raise bad_input("backward", f"{count} gradients for {name}, one for each part", f"{len(gradient)}")
        return [gradient[k] for k in range(count)]
    return [_nothing(gradient, name, given)] * count


def _nothing(gradient: Any, name: str, given: Any) -> Any:
    """None for a whole nest; anything else does not fit it."""
    if gradient is None or isinstance(gradient, NotGiven):
        return gradient
    raise bad_input("backward", f"a gradient for {name} in its own structure, {describe(given)}", describe(gradient))
