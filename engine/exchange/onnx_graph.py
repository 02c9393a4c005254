"""A graph of ONNX as it is written: nodes, constants, and the axes of what flows through it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.exchange.parts import Host

#: The version of ONNX's operators that is written: LayerNormalization begins with it.
OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Flow:
    """What flows from one layer to the next.

    Attributes
    ----------
    name : of the tensor.
    axes : ``"TB"`` or ``"BT"`` before the features; ``"B"`` behind a pooling.
    last : the state at each row's last step, (N, B, H), where a recurrent layer has just made it.
    directions : of that layer.
    drops : the name and the probability of each dropout since then.
    clean : whether what lies past a row's end is 0.
    """

    name: str
    axes: str
    last: str | None = None
    directions: int = 0
    drops: tuple[tuple[str, float], ...] = ()
    clean: bool = False


class Graph:
    """Collects nodes and constants.

    Parameters
    ----------
    onnx : the module.
    lengths : the name of the input with the valid steps of each row; None without.
    """

    def __init__(self, onnx: Any, lengths: str | None) -> None:
        self.onnx, self.lengths = onnx, lengths
        self.nodes: list[Any] = []
        self.constants: dict[str, Host] = {}

    def add(self, op: str, inputs: list[str], name: str, outputs: tuple[str, ...] = ("",), **attributes: Any) -> str:
        """Add a node; returns the name of its first output, which is the node's own, or that with an ending."""
        made = [f"{name}{end}" for end in outputs]
        self.nodes.append(self.onnx.helper.make_node(op, inputs, made, name=name, **attributes))
        return made[0]

    def constant(self, name: str, array: Any) -> str:
        """Add a constant; returns its name."""
        self.constants[name] = np.asarray(array, order="C")  # stays without axes where it has none
        return name

    def drop(self, name: str, node: str, p: float) -> str:
        """Add dropout, which does nothing where the file is run; returns the name of its output."""
        return self.add("Dropout", [name, self.constant(f"{node}.ratio", np.float32(p))], node)

    def keep_needed(self, name: str) -> None:
        """Leave out what the tensor of this name does not depend on."""
        wanted, kept = {name}, []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {key: array for key, array in self.constants.items() if key in wanted}

    def numbers(self, *values: int) -> str:
        """The name of a constant row of integers."""
        return self.constant("numbers_" + "_".join(map(str, values)).replace("-", "m"), np.array(values, np.int64))

    def laid_out(self, flow: Flow, axes: str, name: str) -> Flow:
        """The flow with its axes in this order."""
        if flow.axes == axes or len(flow.axes) < 2:
            return flow
        return replace(flow, name=self.add("Transpose", [flow.name], name, perm=[1, 0, 2]), axes=axes)

    def valid(self, flow: Flow, name: str) -> str:
        """The name of a bool tensor: which steps of the flow are valid, with an axis of length one for the features."""
        batch, time = flow.axes.index("B"), flow.axes.index("T")
        shape = self.add("Shape", [flow.name], f"{name}_shape", start=time, end=time + 1)
        steps = self.add("Squeeze", [shape, self.numbers(0)], f"{name}_steps")
        ends = [self.constant("zero", np.int64(0)), steps, self.constant("one", np.int64(1))]
        times = self.add("Range", ends, f"{name}_times")
        times = self.add("Unsqueeze", [times, self.numbers(batch, 2)], f"{name}_times_3d")
        whole = self.add("Cast", [str(self.lengths)], f"{name}_lengths", to=self.onnx.TensorProto.INT64)
        whole = self.add("Unsqueeze", [whole, self.numbers(time, 2)], f"{name}_lengths_3d")
        return self.add("Less", [times, whole], f"{name}_valid")

    def without_pads(self, flow: Flow, name: str, dtype: Any) -> Flow:
        """The flow with zeros past each row's end."""
        if self.lengths is None or flow.clean or len(flow.axes) < 2:
            return flow
        zero = self.constant("pad", np.zeros((), dtype))
        return replace(flow, name=self.add("Where", [self.valid(flow, name), flow.name, zero], name), clean=True)
