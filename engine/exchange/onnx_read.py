"""`import_onnx`: a graph of ONNX read as a row of layers, without running any of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from engine.checks import file_name
from engine.errors import EngineError, bad_input, one_line
from engine.exchange import onnx_layers as onnx_layers  # enters the rules of the layers
from engine.exchange import onnx_pools as onnx_pools  # and those of poolings
from engine.exchange.onnx_rules import RULES
from engine.exchange.onnx_values import Signal, Tag, Unreadable, Value, signal
from engine.exchange.parts import assembled, optional, refuse_unknown
from engine.training.run_files import opened

_RECURRENT = ("LSTM", "GRU", "RNN")
_EXPECTED = "an ONNX file"
_HINT = "write it again with the program that made it"


def import_onnx(path: Any) -> Any:
    """Read an ONNX file with recurrent layers as a model.

    The graph is read, never run: the nodes that PyTorch's exporters, other converters and `export_onnx` put around the
    operators LSTM, GRU and RNN are understood, and become the layers that they came from.  Its first input is x, its
    first output is what the model returns as y.  Inputs for lengths and first states are left out: give them to
    ``predict``.  It needs the extra ``[onnx]``.

    Parameters
    ----------
    path : str or Path
        The file; weights that lie in a file beside it are found.

    Returns
    -------
    Layer
        A layer or a `Sequential` on the NumPy backend, in the layout and the dtype of the file.

    Raises
    ------
    InputError
        For a damaged file, for one without a recurrent node, and for nodes that no layer here does, named in one
        message.

    Examples
    --------
    >>> import engine
    >>> model = engine.import_onnx("model.onnx")  # doctest: +SKIP
    >>> y, state = model.predict(x)  # doctest: +SKIP
    """
    target = file_name("path", path)
    graph = _loaded(target)
    context = _Reading(target, graph)
    y = context.run()
    if context.time is None:
        raise bad_input(str(target), "an LSTM, GRU or RNN node that y depends on", "none", _hint_of(graph))
    if [axis for axis in y.axes if axis in ("0", "1")] not in (["0", "1"], []):
        raise bad_input(str(target), "y in the layout of x", "time and batch the other way round")
    if y.axes not in (("0", "1", "F"), ("B", "F")):
        raise bad_input(str(target), "y with the axes time, batch and features", f"{len(y.axes)} axes")
    weights = [part.arrays["weight_hh_l0"].dtype for part in y.parts if "weight_hh_l0" in part.arrays]
    dtype = "float64" if weights[0] == np.float64 else "float32"
    return assembled(str(target), y.parts, context.time == "1", dtype)


def _loaded(path: Path) -> Any:
    """The graph of the file, with weights that lie beside it."""
    with opened(path, _EXPECTED, _HINT) as (file, size):
        onnx = optional("onnx", "onnx")
        data = file.read()
    try:
        model = onnx.load_model_from_string(data)
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer):
            onnx.load_external_data_for_model(model, os.fspath(path.parent))
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # of protocol buffers, of a file beside it, of onnx's own checks
        raise bad_input(str(path), _EXPECTED, f"{type(error).__name__}: {one_line(error, 150)}", _HINT) from None
    if not model.graph.node or not model.graph.output or not model.graph.input:
        got = "an empty file" if not size else "a file without nodes, inputs or outputs"
        raise bad_input(str(path), _EXPECTED, got, _HINT)
    return model.graph


def _hint_of(graph: Any) -> str:
    operators = {node.op_type for node in graph.node}
    if not operators & set(_RECURRENT):
        return "a loop that was unrolled is no layer: torch.onnx.export(..., dynamo=False) keeps nn.RNN whole"
    return "the first output of the graph has to be that of the model"


class _Reading:
    """One walk over a graph.

    Parameters
    ----------
    path : for messages.
    graph : the graph of the file.
    """

    def __init__(self, path: Path, graph: Any) -> None:
        self.path, self.graph = path, graph
        #: The letter of the axis that is time, once a recurrent node has told.
        self.time: str | None = None
        #: Whether rows have lengths.
        self.with_lengths = False
        self.values: dict[str, Value] = {"": None}
        self.numpy_helper = optional("onnx", "onnx").numpy_helper
        self.attribute_value = optional("onnx", "onnx").helper.get_attribute_value

    def scope(self, name: str) -> str:
        """What the names of the layers of one stack share: the path of the module that they came from."""
        return name.rpartition("/")[0]

    def run(self) -> Signal:
        """The value of the first output."""
        nodes = self._needed()
        refuse_unknown(
            str(self.path),
            "operators that are layers here, or that stand around them",
            [_called(node) for node in nodes if node.op_type not in (*RULES, "Constant") or node.domain not in _OURS],
            "" if any(node.op_type in _RECURRENT for node in nodes) else _hint_of(self.graph),
        )
        for tensor in self.graph.initializer:
            self.values[tensor.name] = self._array(tensor, tensor.name)
        self._enter_inputs()
        for node in nodes:
            self._enter(node)
        name = self.graph.output[0].name
        try:
            return signal(self.values.get(name))
        except Unreadable:
            got = "something that is not the output of the layers"
            raise bad_input(str(self.path), f"the model's y as the first output, {name!r}", got) from None

    def _needed(self) -> list[Any]:
        """The nodes that the first output depends on, in the order of the file."""
        wanted, found = {self.graph.output[0].name}, []
        for node in reversed(self.graph.node):
            if wanted & set(node.output):
                wanted |= set(node.input)
                found.append(node)
        return found[::-1]

    def _array(self, tensor: Any, name: str) -> np.ndarray:
        try:
            return np.asarray(self.numpy_helper.to_array(tensor))
        except Exception as error:  # a size that does not fit its data, a type that NumPy has not
            got = f"{type(error).__name__}: {one_line(error, 100)}"
            raise bad_input(str(self.path), f"numbers of the stated shape for {name!r}", got, _HINT) from None

    def _enter_inputs(self) -> None:
        """x, lengths, first states."""
        lengths = {node.input[4] for node in self.graph.node if node.op_type in _RECURRENT and len(node.input) > 4}
        inputs = [one for one in self.graph.input if one.name not in self.values]
        for place, one in enumerate(inputs):
            kind = one.type.tensor_type
            rank = len(kind.shape.dim)
            if place == 0:
                ids = kind.elem_type in (5, 6, 7, 12)  # int16, int32, int64, uint32
                several = ids and rank == 3 and kind.shape.dim[2].dim_value > 0
                axes = ("0", "1", "N") if several else ("0", "1") if ids else ("0", "1", "F")
                if rank != len(axes):
                    wanted = "ids (batch, time)" if ids else "numbers (batch, time, features)"
                    raise bad_input(str(self.path), f"{wanted} as the first input, {one.name!r}", f"{rank} axes")
                size = kind.shape.dim[2].dim_value if rank == 3 else 0
                self.values[one.name] = Signal((), axes, None if ids else size or None, size if several else 1)
            else:
                whole = rank == 1 or one.name in lengths
                self.values[one.name] = Tag("lengths" if whole else "given")

    def _enter(self, node: Any) -> None:
        """Set the values of a node's outputs."""
        try:
            attributes = {one.name: self._attribute(one) for one in node.attribute}
            if node.op_type == "Constant":
                self.values[node.output[0]] = _constant_of(attributes)
                return
            missing = [name for name in node.input if name not in self.values]
            if missing:
                raise Unreadable(f"the input {missing[0]!r}, which nothing makes")
            inputs = [self.values[name] for name in node.input]
            attributes |= {"operator": node.op_type, "name": node.name}
            made = RULES[node.op_type](self, inputs, attributes)
        except EngineError:
            raise
        except Unreadable as error:
            expected = f"{_called(node)} to do what a layer here does"
            raise bad_input(str(self.path), expected, str(error)) from None
        except Exception as error:  # inputs or attributes that do not fit the operator
            got = f"{type(error).__name__}: {one_line(error, 100)}"
            raise bad_input(str(self.path), f"{_called(node)} with inputs that fit", got, _HINT) from None
        made = made if isinstance(made, tuple) else (made,)
        self.values |= dict(zip(node.output, made, strict=False))

    def _attribute(self, attribute: Any) -> Any:
        value = self.attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, list) and value and isinstance(value[0], bytes):
            return [one.decode("utf-8", "replace") for one in value]
        return self._array(value, attribute.name) if hasattr(value, "dims") else value


#: The domain of ONNX's own operators, under both of its names.
_OURS = ("", "ai.onnx")


def _constant_of(attributes: dict[str, Any]) -> np.ndarray:
    for name, value in attributes.items():
        if name.startswith("value"):
            return np.asarray(value)
    raise Unreadable("a constant without a value")


def _called(node: Any) -> str:
    """The name of a node for a message."""
    domain = f"{node.domain}." if node.domain not in _OURS else ""
    return f"{domain}{node.op_type}" + (f" ({node.name})" if node.name else "")
