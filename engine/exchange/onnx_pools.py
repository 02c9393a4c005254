"""From a sequence to one vector in a graph of ONNX: the operators around a pooling, with lengths and without.

A pooling of rows with lengths is several operators: a choice between steps and pads, a reduction over time, and what
makes zeros of a row without steps.  What stands between them is a `Stage`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.exchange.onnx_rules import axes_given, axis_of, rule
from engine.exchange.onnx_values import Shape, Signal, Tag, Unreadable, Value, constant, shape, signal
from engine.exchange.parts import Part


@dataclass(frozen=True)
class Stage:
    """A tensor within a pooling.

    Attributes
    ----------
    meaning : ``"low"`` (the pads of x are -inf), ``"max"`` and ``"sum"`` (over the steps of each row), ``"weights"``
        (a softmax over the steps), ``"weighted"`` (x times these).
    x : what is pooled; of "max" and "sum" what comes out of the whole pooling; of "weights" the scores of the steps.
    weight : (H,) of attention.
    """

    meaning: str
    x: Signal
    weight: np.ndarray | None = None


@rule("Less")
def less(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Which steps are valid; which rows have one."""
    first, second = inputs
    if isinstance(second, Tag) and second.meaning == "lengths":
        if isinstance(first, Tag) and first.meaning == "steps":
            return Tag("valid", first.axis)
        if isinstance(first, np.ndarray) and not np.any(first):
            return Tag("some")
    raise Unreadable("a comparison that is not of steps with lengths")


@rule("Max")
def at_least(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """The number of steps to divide by, which is 1 for a row without any."""
    tags, rest = ([one for one in inputs if isinstance(one, Tag) == tag] for tag in (True, False))
    if len(tags) == len(rest) == 1 and tags[0].meaning == "lengths" and np.all(constant(rest[0], "a bound") == 1):
        return Tag("counts")
    raise Unreadable("a larger one of two that are not lengths and 1")


@rule("Where")
def where(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Zeros past each row's end, as every layer here leaves them; -inf there before a pooling."""
    mask, x, other = inputs
    meaning = mask.meaning if isinstance(mask, Tag) else ""
    if isinstance(other, np.ndarray) and meaning in ("valid", "some"):
        if isinstance(x, Stage) and not np.any(other):
            if (meaning, x.meaning) == ("valid", "weights"):
                return x
            if (meaning, x.meaning) == ("some", "max"):
                return x.x
        elif meaning == "valid" and not np.any(other):
            return signal(x)
        elif meaning == "valid" and np.all(np.isneginf(other)):
            return Stage("low", signal(x))
    raise Unreadable("a choice that is not between steps and pads")


@rule("ReduceMean", "ReduceMax", "ReduceSum")
def pool(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """The mean, the largest value or the sum over the steps."""
    operator, axes, keep = attributes["operator"], axes_given(inputs, attributes), bool(attributes.get("keepdims", 1))
    given = inputs[0]
    x = given.x if isinstance(given, Stage) else signal(given)
    if axes is None or [axis_of(x, axis) for axis in axes] != [context.time]:
        raise Unreadable("a reduction that is not over all steps")
    if operator == "ReduceSum":
        if not isinstance(given, Stage):
            return Stage("sum", _pooled(context, x, Part("Pool", {"kind": "mean"}), keep))
        if given.meaning == "weighted" and given.weight is not None:
            args = {"kind": "attention", "input_size": len(given.weight)}
            return _pooled(context, x, Part("Pool", args, {"weight": given.weight}), keep)
    elif operator == "ReduceMax" and isinstance(given, Stage) and given.meaning == "low":
        return Stage("max", _pooled(context, x, Part("Pool", {"kind": "max"}), keep))
    elif not isinstance(given, Stage) and not context.with_lengths:
        return _pooled(context, x, Part("Pool", {"kind": "mean" if operator == "ReduceMean" else "max"}), keep)
    raise Unreadable("a reduction over the pads of rows with lengths")


def _pooled(context: Any, x: Signal, part: Part, keep: bool) -> Signal:
    """What comes out of a pooling over time."""
    axes_left = [("-" if axis == context.time else axis) for axis in x.axes if keep or axis != context.time]
    left = tuple("B" if axis in ("0", "1") else axis for axis in axes_left)
    return replace(x, parts=(*x.parts, part), axes=left)


@rule("Softmax")
def softmax(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """A function of the features; or the weights of the steps in a row's vector."""
    given = inputs[0]
    masked = isinstance(given, Stage) and given.meaning == "low"
    x = given.x if masked else signal(given)
    if not masked and axis_of(x, attributes.get("axis", -1)) == "F":
        return x.then(Part("Activation", {"kind": "softmax"}), x.features)
    if axis_of(x, attributes.get("axis", -1)) != context.time or (context.with_lengths and not masked):
        raise Unreadable("a softmax that is not over the features or the valid steps")
    return Stage("weights", x)


@rule("Mul", "Div", "Sub")
def arithmetic(context: Any, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    """Of sizes; and within a pooling."""
    operator = attributes["operator"]
    if operator == "Mul" and all(isinstance(one, Shape | np.ndarray) for one in inputs):
        (first,), (second,) = (shape(one).entries for one in inputs)
        if isinstance(first, int) and isinstance(second, int):
            return Shape((first * second,))
        if {first, second} == {"0", "1"}:
            return Shape((f"P{first}{second}",))
    stages = [one for one in inputs if isinstance(one, Stage)]
    if operator == "Div" and inputs[0] in stages and inputs[0].meaning == "sum" and inputs[1] == Tag("counts"):
        return inputs[0].x
    if operator == "Mul" and len(stages) == 1 and stages[0].meaning == "weights":
        return _weighted(stages[0].x, signal(inputs[1 if inputs[0] is stages[0] else 0]))
    raise Unreadable("arithmetic between layers")


def _weighted(scores: Signal, x: Signal) -> Stage:
    """x times the softmax of its product with a vector."""
    below, last = scores.parts[:-1], scores.parts[-1] if scores.parts else None
    same = len(below) == len(x.parts) and all(a is b for a, b in zip(below, x.parts, strict=True))
    if last is None or not same or last.kind != "Linear" or last.args["bias"] or last.args["out_features"] != 1:
        raise Unreadable("weights of the steps that are no product of them with a vector")
    return Stage("weighted", x, last.arrays["weight"][0])
