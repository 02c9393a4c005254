"""What each operator means for the layers: from the values of its inputs to the values of its outputs.

Torch's exporters, the converters of other libraries and `export_onnx` put these around the recurrent nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from engine.exchange.onnx_values import Shape, Signal, States, Tag, Unreadable, Value, constant, shape, short, signal
from engine.exchange.parts import Part

Rule = Callable[..., Value]
#: The rules by the name of the operator: each takes the context, the inputs and the attributes.
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a function as the rule of these operators."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def axis_of(value: Any, given: int) -> str:
    """The letter of an axis that is given by its number."""
    if not -len(value.axes) <= given < len(value.axes):
        raise Unreadable(f"axis {given} of a tensor with {len(value.axes)}")
    return str(value.axes[given])


def axes_given(inputs: list[Value], attributes: dict[str, Any]) -> list[int] | None:
    """The axes of Squeeze and others: an attribute in old files, the second input in new ones."""
    if len(inputs) > 1 and inputs[1] is not None:
        return [int(axis) for axis in np.atleast_1d(constant(inputs[1], "an axis"))]
    found = attributes.get("axes")
    return None if found is None else [int(axis) for axis in found]


@rule("Identity", "Cast")
def same(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """The value itself; dtypes are told by the weights."""
    return inputs[0]


@rule("Dropout")
def dropout(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A layer that does nothing when the model is used, but is there for training."""
    ratio = (
        constant(inputs[1], "a ratio") if len(inputs) > 1 and inputs[1] is not None else attributes.get("ratio", 0.5)
    )
    x = signal(inputs[0])
    return x.then(Part("Dropout", {"p": short(ratio)}), x.features)


@rule("Transpose")
def transpose(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """The axes in another order."""
    x = inputs[0]
    if isinstance(x, np.ndarray):
        return x.transpose(attributes.get("perm"))
    if not isinstance(x, Signal | States):
        raise Unreadable("a transposed shape")
    order = attributes.get("perm", range(len(x.axes))[::-1])
    if sorted(order) != list(range(len(x.axes))):
        raise Unreadable(f"an order of axes {list(order)} for a tensor with {len(x.axes)}")
    return replace(x, axes=tuple(x.axes[axis] for axis in order))


@rule("Squeeze")
def squeeze(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Axes of length one taken out."""
    x, axes = inputs[0], axes_given(inputs, attributes)
    if isinstance(x, Tag):
        return x
    if isinstance(x, np.ndarray):
        return np.squeeze(x, None if axes is None else tuple(axes))
    if isinstance(x, Shape):
        return replace(x, scalar=len(x.entries) == 1)
    if axes is None:
        raise Unreadable("a squeeze without axes, which depends on the batch")
    for letter in [axis_of(x, axis) for axis in axes]:
        if x.size(letter) != 1:
            raise Unreadable("a squeeze of an axis that is longer than one")
        x = replace(x, axes=tuple(axis for axis in x.axes if axis != letter))
    return x


@rule("Unsqueeze")
def unsqueeze(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Axes of length one put in: around sizes, and around what says which steps are valid."""
    x, axes = inputs[0], axes_given(inputs, attributes)
    if isinstance(x, Tag):
        return x
    if isinstance(x, Shape) and x.scalar:
        return replace(x, scalar=False)
    if isinstance(x, np.ndarray | np.generic) and axes is not None:
        return np.expand_dims(x, tuple(axes))
    raise Unreadable("an axis that no layer here puts in")


@rule("Reshape")
def reshape(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Directions joined to the features, an axis of length one taken out, both leading axes as one."""
    x = inputs[0]
    if isinstance(x, Tag):
        return x
    target = shape(inputs[1]).entries
    if isinstance(x, Shape):
        return replace(x, scalar=False)
    if isinstance(x, np.ndarray):
        return x.reshape([int(size) for size in constant(inputs[1], "a shape")])
    for form in x.forms():
        if _fits(x, form, target, bool(attributes.get("allowzero"))):
            return form
    raise Unreadable(f"a shape {list(target)} that no layer here makes")


def _fits(x: Any, form: Any, target: tuple[int | str, ...], zero_is_empty: bool) -> bool:
    """Whether a form has the shape that a Reshape asks for."""
    if len(form.axes) != len(target):
        return False
    for place, (wanted, axis) in enumerate(zip(target, form.axes, strict=True)):
        size = form.size(axis)
        if wanted == 0 and not zero_is_empty:
            if place >= len(x.axes) or x.axes[place] != axis:
                return False
        elif wanted != -1 and wanted != size and not (isinstance(wanted, int) and isinstance(size, str)):
            return False
    return True


@rule("Flatten")
def flatten(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Nothing, of a tensor of two axes."""
    x = signal(inputs[0])
    if len(x.axes) != 2 or attributes.get("axis", 1) not in (1, -1):
        raise Unreadable("steps joined to the features")
    return x


@rule("Shape")
def shape_of(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Sizes, by the letters of the axes."""
    x = inputs[0]
    sizes = x.shape if isinstance(x, np.ndarray) else [x.size(axis) for axis in signal(x).axes]
    return Shape(tuple(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))]))


@rule("Gather")
def gather(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A table of vectors; one entry of a shape; the last step; one of several states."""
    x, index, axis = inputs[0], inputs[1], attributes.get("axis", 0)
    if isinstance(x, np.ndarray) and isinstance(index, Signal):
        if index.features is not None or index.parts or axis != 0 or x.ndim != 2:
            raise Unreadable("a table that is not of one vector for each id of x")
        sizes = {"num_embeddings": len(x), "embedding_dim": x.shape[1]}
        sizes |= {"features": index.directions} if "N" in index.axes else {}
        part = Part("Embedding", sizes, {"weight": x})
        return Signal((part,), (*index.axes, "F"), x.shape[1], index.directions)
    if isinstance(x, Tag):
        return x
    place = constant(index, "an index")
    if isinstance(x, np.ndarray):
        return np.take(x, place, axis)
    if place.ndim:
        raise Unreadable("several steps of a sequence")
    if isinstance(x, Shape):
        return Shape((_entry(x.entries, int(place)),), scalar=True)
    return _picked(context, x, axis_of(x, axis), int(place), keep=False)


def _entry(entries: tuple[Any, ...], place: int) -> Any:
    if not -len(entries) <= place < len(entries):
        raise Unreadable(f"entry {place} of {len(entries)}")
    return entries[place]


def _picked(context: Any, x: Any, letter: str, place: int, keep: bool) -> Value:
    """One place along an axis: the last step of a sequence, or one of several states."""
    left = tuple(("-" if axis == letter else axis) for axis in x.axes if keep or axis != letter)
    if isinstance(x, States) and letter == "S":
        return replace(x, items=(_entry(x.items, place),), axes=x.axes if keep else left)
    if isinstance(x, Signal) and letter == context.time:
        if place != -1:
            raise Unreadable(f"step {place} alone, where a layer here takes the last one")
        if context.with_lengths:
            raise Unreadable("the last step of rows with lengths, which is a pad in the shorter rows")
        pool = Part("Pool", {"kind": "last", "directions": 1})
        left = tuple("B" if axis in ("0", "1") else axis for axis in left)
        return replace(x, parts=(*x.parts, pool), axes=left)
    if isinstance(x, Signal) and letter == "N" and x.directions == 2 and x.parts and -2 <= place < 2:
        return replace(x, axes=left, directions=1, half=place % 2)
    if x.size(letter) == 1 and place in (0, -1):
        return replace(x, axes=left)
    raise Unreadable("a part of the features, of the directions or of the batch")


@rule("Slice")
def cut(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A part of a shape, of several states, of first states; the last step."""
    x = inputs[0]
    if isinstance(x, Tag):
        return x
    starts, ends, axes, steps = _bounds(inputs, attributes)
    if isinstance(x, Shape):
        return replace(x, entries=x.entries[starts[0] : ends[0] : steps[0]])
    if isinstance(x, np.ndarray):
        slices = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            slices[axis] = slice(start, end, step)
        return x[tuple(slices)]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        letter = axis_of(x, axis)
        size = x.size(letter)
        whole = start == 0 and end >= (size if isinstance(size, int) else 2**31 - 1)
        if step != 1:
            raise Unreadable("every second step, or steps in reverse")
        if whole:
            continue
        if isinstance(x, States) and letter == "S":
            x = replace(x, items=x.items[start:end])
            if not x.items:
                raise Unreadable("no state at all")
        elif letter == "N" and (start, min(end, 2)) in ((0, 1), (1, 2)):
            x = _picked(context, x, letter, start, keep=True)
        elif start == -1 and end >= 2**31 - 1:
            x = _picked(context, x, letter, -1, keep=True)
        else:
            raise Unreadable(f"the part {start}:{end} of an axis")
    return x


def _bounds(inputs: list[Value], attributes: dict[str, Any]) -> list[list[int]]:
    """Starts, ends, axes and steps of a Slice: attributes in old files, inputs in new ones."""
    found: list[list[int]] = []
    for place, name in enumerate(("starts", "ends", "axes", "steps"), start=1):
        given = inputs[place] if len(inputs) > place else None
        value = attributes.get(name) if given is None else np.atleast_1d(constant(given, "a bound")).tolist()
        if value is None:
            value = list(range(len(found[0]))) if name == "axes" else [1] * len(found[0])
        found.append([int(one) for one in value])
    return found


@rule("Concat")
def concat(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Sizes one after another; states of several layers; the states of two directions."""
    axis = attributes["axis"]
    if all(isinstance(one, np.ndarray) for one in inputs):
        return np.concatenate(inputs, axis)
    if all(isinstance(one, States) for one in inputs):
        letter, first = axis_of(inputs[0], axis), inputs[0]
        items = tuple(item for one in inputs for item in one.items)
        if letter == "S":
            return replace(first, items=items)
        if letter == "F" and "S" not in first.axes and all(one.axes == first.axes for one in inputs):
            return replace(first, items=items).joined()
    if all(isinstance(one, Signal) for one in inputs) and axis_of(inputs[0], axis) == "F":
        return _both_directions(inputs)
    if all(isinstance(one, Shape | np.ndarray) for one in inputs):
        return Shape(tuple(entry for one in inputs for entry in shape(one).entries))
    if all(isinstance(one, Tag) and one.meaning in ("zeros", "given") for one in inputs):
        return inputs[0]
    raise Unreadable("several tensors joined")


def _both_directions(inputs: list[Signal]) -> Signal:
    """The output of a layer from its two directions, which were taken apart before."""
    first = inputs[0]
    if inputs != [replace(first, half=0), replace(first, half=1)] or first.features is None:
        raise Unreadable("outputs joined that are not both directions of one layer")
    return replace(first, half=None, features=2 * first.features)


@rule("Split")
def split(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Two directions taken apart."""
    x = inputs[0]
    if not isinstance(x, Signal) or axis_of(x, attributes.get("axis", 0)) != "N" or x.directions != 2:
        raise Unreadable("a tensor cut into parts that are not the two directions")
    return tuple(_picked(context, x, "N", place, keep=True) for place in (0, 1))


@rule("ConstantOfShape")
def filled(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Zeros of any shape."""
    value = attributes.get("value")
    if value is not None and np.any(value):
        raise Unreadable("a tensor of numbers that are not 0")
    return Tag("zeros")


@rule("Expand", "Tile")
def expand(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Zeros of any shape; the number of steps for each row."""
    x = inputs[0]
    if isinstance(x, Tag):
        return x
    if isinstance(x, Shape) and len(x.entries) == 1 and isinstance(x.entries[0], str):
        return Tag("all", x.entries[0])
    if isinstance(x, np.ndarray) and not np.any(x):
        return Tag("zeros")
    raise Unreadable("a tensor of numbers that are not 0")


@rule("Range")
def steps(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """The numbers of the steps."""
    start, stop, by = inputs
    bound = shape(stop).entries[0]
    if np.any(constant(start, "a start")) or constant(by, "a step") != 1 or not isinstance(bound, str):
        raise Unreadable("numbers that are not those of the steps")
    return Tag("steps", bound)
