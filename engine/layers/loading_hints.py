"""Hints for weights that do not fit: what is likely wrong and how to repair it (prefixes, options, transposes).

Nothing here decides which weights are accepted.  Each function returns the end of an error message, or nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

_SEPARATORS = (".", "/", ":", "_", "-")
_BLOCKS = {1: "an RNN", 3: "a GRU", 4: "an LSTM"}


def not_a_mapping(given: Any) -> str:
    """Hint for an argument that is no mapping."""
    if callable(getattr(given, "state_dict", None)):
        return "pass model.state_dict(), not the model"
    if isinstance(given, str | bytes) or hasattr(given, "__fspath__"):
        return "read the file first, for example with torch.load(path, map_location='cpu') or safetensors"
    if callable(given):
        return "call it: model.state_dict()"
    if isinstance(given, list | tuple):
        return "pass dict(...) of the pairs"
    return ""


def of_names(wanted: Shapes, given: Mapping[Any, Any]) -> str:
    """Hint for names that differ."""
    nested = _nested(wanted, given)
    if nested:
        return nested
    return _prefix(wanted, given) or _renamed(wanted, given) or _options(wanted, given)


def of_shape(name: str, got: tuple[int, ...], wanted: Shapes, given: Mapping[str, Any]) -> str:
    """Hint for an array of another shape."""
    shape = wanted[name]
    if len(shape) == 2 and got == shape[::-1]:
        square = any(len(other) == 2 and other[0] == other[1] for other in wanted.values())
        too = ", and of square ones, whose shape cannot tell" if square else ""
        return f"it is transposed (inputs by outputs, as in Keras or JAX): pass the .T of every such matrix{too}"
    if tuple(size for size in got if size != 1) == tuple(size for size in shape if size != 1):
        return f"drop or add the axes of length 1: .reshape({shape})"
    size = _sizes(name, given)
    return f"the weights are of another size: {size}" if size else "the weights are of another size"


# -- names -------------------------------------------------------------------------------------------------------------


def _nested(wanted: Shapes, given: Mapping[Any, Any]) -> str:
    """A checkpoint around the state dict, such as {"epoch": 3, "model_state_dict": {...}}."""
    if any(key in wanted for key in given):
        return ""
    inner = {key: part for key, part in given.items() if isinstance(part, Mapping)}
    fits = {key: sum(_ends_in(name, wanted) for name in part) for key, part in inner.items()}
    best = max(fits, key=lambda key: fits[key], default=None)
    if best is not None and fits[best]:
        return f"it is a checkpoint around the state dict: pass state_dict[{best!r}]"
    holders = [key for key, part in given.items() if callable(getattr(part, "state_dict", None))]
    return f"pass state_dict[{holders[0]!r}].state_dict()" if holders else ""


def _prefix(wanted: Shapes, given: Mapping[Any, Any]) -> str:
    """One prefix before all wanted names, or before all names of a Sequential that should have none."""
    found = Counter(_prefixes(wanted, given))
    best = [prefix for prefix, count in found.items() if count == max(found.values())]
    fitting = [prefix for prefix in best if _same_shapes(prefix, wanted, given)]
    best = fitting or best
    if not best or found[best[0]] <= sum(name in given for name in wanted):
        return _added_prefix(wanted, given)
    if len(best) > 1:
        return f"the names have several prefixes, {', '.join(map(repr, best))}: choose one, then {_strip(best[0])}"
    rest = {key[len(best[0]) :]: value for key, value in given.items() if _starts(key, best[0])}
    more = _options(wanted, rest) if rest.keys() != wanted.keys() else ""
    return f"the names have the prefix {best[0]!r}: {_strip(best[0])}" + (f"; then {more}" if more else "")


def _same_shapes(prefix: str, wanted: Shapes, given: Mapping[Any, Any]) -> bool:
    return all(tuple(getattr(given.get(prefix + name), "shape", ())) == shape for name, shape in wanted.items())


def _strip(prefix: str) -> str:
    return f"pass {{k.removeprefix({prefix!r}): v for k, v in state.items() if k.startswith({prefix!r})}}"


def _prefixes(wanted: Shapes, given: Mapping[Any, Any]) -> Iterator[str]:
    for key in given:
        if isinstance(key, str):
            for name in wanted:
                if len(key) > len(name) and key.endswith(name) and key[: -len(name)].endswith(_SEPARATORS):
                    yield key[: -len(name)]


def _ends_in(key: Any, wanted: Shapes) -> bool:
    return isinstance(key, str) and any(key.endswith(name.rpartition(".")[2]) for name in wanted)


def _starts(key: Any, prefix: str) -> bool:
    return isinstance(key, str) and key.startswith(prefix)


def _added_prefix(wanted: Shapes, given: Mapping[Any, Any]) -> str:
    """The weights of a single layer for a Sequential around such a layer."""
    missing = Counter(
        name[: -len(key)] for key in given if isinstance(key, str) for name in wanted if name.endswith("." + key)
    )
    fits = [prefix for prefix, count in missing.items() if count == len(given) == len(wanted)]
    return f"the prefix {fits[0]!r} is missing: pass {{{fits[0]!r} + k: v for k, v in state.items()}}" if fits else ""


def _renamed(wanted: Shapes, given: Mapping[Any, Any]) -> str:
    """The parts of a model under other prefixes: {"lstm.": "0.", "fc.": "1."}."""
    ours, theirs = _by_prefix(wanted), _by_prefix(given)
    shapes = {key: tuple(getattr(value, "shape", ())) for key, value in given.items()}
    pairs = {}
    for prefix, names in ours.items():
        fits = [
            other
            for other, found in theirs.items()
            if found == names and all(shapes[other + name] == wanted[prefix + name] for name in names)
        ]
        if len(fits) != 1:
            return ""
        pairs[fits[0]] = prefix
    if len(pairs) != len(ours) or all(old == new for old, new in pairs.items()):
        return ""
    renamed = ", ".join(f"the prefix {old!r} to {new!r}" for old, new in pairs.items() if old != new)
    return f"the layers have other names: change {renamed}"


def _by_prefix(names: Any) -> dict[str, set[str]]:
    """The names behind their last dot, by what stands before."""
    groups: dict[str, set[str]] = {}
    for name in names:
        if isinstance(name, str):
            head, dot, tail = name.rpartition(".")
            groups.setdefault(head + dot, set()).add(tail)
    return groups


# -- options -----------------------------------------------------------------------------------------------------------


def _options(wanted: Shapes, given: Mapping[Any, Any]) -> str:
    """Weights of a layer that was built with other options."""
    ours, theirs = _by_prefix(wanted), _by_prefix(given)
    for prefix, names in ours.items():
        if prefix in theirs and theirs[prefix] != names:
            place = f"layer {prefix!r} " if prefix else ""
            found = ", ".join(_differing(names, theirs[prefix]))
            if found:
                return f"the weights are those of another model: build {place}with {found}"
    if all(name + "_l0" in wanted for name in given if isinstance(name, str)) and given:
        return "these are the names of a single cell: add '_l0' to each"
    return ""


def _differing(names: set[str], found: set[str]) -> Iterator[str]:
    depth, other = _depth(names), _depth(found)
    if depth and other and depth != other:
        yield f"num_layers={other}"
    if depth and other:
        reverse = any(name.endswith("_reverse") for name in found)
        if reverse != any(name.endswith("_reverse") for name in names):
            yield f"bidirectional={reverse}"
    biased = any(name.startswith("bias") for name in found)
    if biased != any(name.startswith("bias") for name in names):
        yield f"bias={biased}"
    if any(name.startswith("weight_hr") for name in found - names):
        yield "a projection (proj_size)"


def _depth(names: set[str]) -> int:
    """How many layers have weights; 0 for what is no recurrent layer."""
    return 1 + max((int(found[1]) for name in names if (found := re.search(r"_l(\d+)", name))), default=-1)


def _sizes(name: str, given: Mapping[str, Any]) -> str:
    """Cell and sizes of a recurrent layer, from the shapes of its weights."""
    prefix = name.rpartition(".")[0]
    prefix += "." if prefix else ""
    shapes = [tuple(getattr(given.get(f"{prefix}weight_{side}_l0"), "shape", ())) for side in ("ih", "hh")]
    if any(len(shape) != 2 for shape in shapes):
        return ""
    (_, D), (rows, H) = shapes
    cell = _BLOCKS.get(rows // H) if H and rows % H == 0 else None
    return f"{cell} with input_size={D}, hidden_size={H}" if cell else ""
