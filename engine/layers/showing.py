"""How layers and tapes are shown: as one line of Python, as a table, and as HTML in a notebook."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from engine.backend import get_backend
from engine.html_tables import table

if TYPE_CHECKING:
    from engine.layers.base import Layer

HEADS = ("layer", "output", "parameters")


class SummaryRow(NamedTuple):
    """One layer of a model.

    Attributes
    ----------
    path : str
        Its place, such as ``"0"``; empty for a layer that stands alone.
    layer : str
        The call that builds it.
    output : str
        The shape of its output.
    parameters : int
        How many numbers its parameters have.
    """

    path: str
    layer: str
    output: str
    parameters: int


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """What `summary` of a layer or model returns; printed, it is a table.

    Attributes
    ----------
    rows : tuple of SummaryRow
        One for each layer, in order.
    parameters : int
        The sum over all rows.
    note : str
        Memory, dtype and backend in words.
    """

    rows: tuple[SummaryRow, ...]
    parameters: int
    note: str

    def __str__(self) -> str:
        lines: list[tuple[str, ...]] = [("", *HEADS), *((*row[:3], f"{row.parameters:,}") for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        if not widths[0]:  # a layer that stands alone has no path
            lines, widths = [line[1:] for line in lines], widths[1:]
        *lefts, right = widths
        texts = [
            "  ".join([*(f"{word:<{width}}" for word, width in zip(line, lefts, strict=False)), f"{line[-1]:>{right}}"])
            for line in lines
        ]
        return "\n".join([*texts, f"{self.parameters:,} parameters, {self.note}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        rows = [(f"{row.path} {row.layer}".strip(), row.output, f"{row.parameters:,}") for row in self.rows]
        return table(f"{self.parameters:,} parameters", HEADS, rows, self.note)


class Tape:
    """Base of all tapes and traces: a short `repr`, and a table of its arrays in a notebook."""

    #: What the table calls the object.
    word: ClassVar[str] = "tape"

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Every array with its name, as one writes it after ``tape`` or ``trace``."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            parts = value._asdict().items() if hasattr(value, "_asdict") else [("", value)]
            for name, part in parts:
                if hasattr(part, "shape") and hasattr(part, "dtype"):
                    yield f".{field.name}" + f".{name}" * bool(name), part

    def __repr__(self) -> str:
        arrays = [array for _, array in self.entries()]
        return f"<{type(self).__name__}: {len(arrays)} arrays, {in_bytes(sum(map(_size, arrays)))}>"

    def _repr_html_(self) -> str:
        """A table of the arrays by name, with their shapes."""
        entries = list(self.entries())
        rows = [(f"{self.word}{name}", tuple(array.shape), _dtype(array)) for name, array in entries]
        size = in_bytes(sum(_size(array) for _, array in entries))
        return table(f"{type(self).__name__}: {size}", ("array", "shape", "dtype"), rows)


def call_of(layer: Layer) -> str:
    """The call that builds the layer, without arguments that have their default value."""
    arguments = layer._arguments()
    words = []
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        value = arguments.get(name)
        if name not in arguments or (name == "batch_first" and not value):  # None and False are the same layout
            continue
        if parameter.default is parameter.empty:
            words.append(repr(value))
        elif value != parameter.default or name in layer.always_shown:
            words.append(f"{name}={value!r}")
    if layer.dtype.name != "float32":
        words.append(f"dtype={layer.dtype.name!r}")
    if layer.backend.spec != get_backend("numpy").spec:
        words.append(f"backend={layer.backend.spec!r}")
    return f"{type(layer).__name__}({', '.join(words)})"


def one_line(layer: Layer) -> str:
    """The call that builds a layer or a model, with all inside it, in one line."""
    inner = getattr(layer, "layers", None)
    if inner is None:
        return call_of(layer)
    if layer.side_by_side:  # type: ignore[attr-defined]
        names = layer.names  # type: ignore[attr-defined]
        parts = (f"{name!r}: {one_line(part)}" for name, part in zip(names, inner, strict=True))
        return f"Heads({{{', '.join(parts)}}})"
    return f"Sequential({', '.join(map(one_line, inner))})"


def shape_of(layer: Layer, width: int | None, timed: bool = True) -> str:
    """The shape of a layer's values whose last axis has `width` entries; F where that is not known."""
    axes = ("B, T" if layer.batch_first else "T, B") if timed else "B"
    return f"({axes}, {'F' if width is None else width})"


def parameters_of(layer: Layer) -> int:
    """How many numbers the parameters of a layer have."""
    return sum(math.prod(param.shape) for param in layer.params.values())


def text_of(layer: Layer) -> str:
    """The layer as Python, a line for each layer, with its shapes and its number of parameters in a comment."""
    return "\n".join(_texts(layer, None, "", True))


def _texts(layer: Layer, width: int | None, end: str, timed: bool) -> list[str]:
    inner = getattr(layer, "layers", None)
    if inner is not None and layer.side_by_side:  # type: ignore[attr-defined]
        return _texts_of_heads(layer, width, end, timed)
    if inner is None:
        entering = layer.input_shape(width) if timed else shape_of(layer, width, False)
        shapes = f"{entering} -> {layer.output_shape(width, timed)}"
        return [f"{call_of(layer)}{end}  # {shapes}, {parameters_of(layer):,} parameters"]
    texts = []
    for part in inner:
        texts += [f"    {text}" for text in _texts(part, width, ",", timed)]
        width, timed = part.width_after(width), timed and part.keeps_time
    return ["Sequential(", *texts, f"){end}  # {parameters_of(layer):,} parameters"]


def _texts_of_heads(layer: Any, width: int | None, end: str, timed: bool) -> list[str]:
    texts = []
    for name, part in zip(layer.names, layer.layers, strict=True):
        first, *others = _texts(part, width, ",", timed)
        texts += [f"    {name!r}: {first}", *(f"    {text}" for text in others)]
    return ["Heads({", *texts, "}" + f"){end}  # {parameters_of(layer):,} parameters"]


def summary(layer: Layer) -> Summary:
    """The rows of a layer, or of all layers inside it."""
    rows = tuple(_rows(layer, "", None, True))
    count = sum(row.parameters for row in rows)
    size = in_bytes(count * layer.dtype.itemsize)
    return Summary(rows, count, f"{size} in {layer.dtype.name} on {layer.backend.spec}")


def _rows(layer: Layer, path: str, width: int | None, timed: bool) -> Iterator[SummaryRow]:
    inner = getattr(layer, "layers", None)
    if inner is None:
        output = layer.output_shape(width, timed)
        yield SummaryRow(path, call_of(layer), output, parameters_of(layer))
        return
    for name, part in zip(layer.names, inner, strict=True):  # type: ignore[attr-defined]
        yield from _rows(part, f"{path}.{name}" if path else name, width, timed)
        if not layer.side_by_side:  # type: ignore[attr-defined]
            width, timed = part.width_after(width), timed and part.keeps_time


def in_bytes(count: int) -> str:
    """A number of bytes in words, such as ``"1.5 KiB"``."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _size(array: Any) -> int:
    return int(math.prod(array.shape) * array.dtype.itemsize)


def _dtype(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")
