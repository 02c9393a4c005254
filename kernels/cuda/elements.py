"""One hidden unit of one row at one step, as CUDA text, for any cell: which numbers its gate functions get and give.

`text` writes it from the places that `kernels.names` has read off the names, as `kernels.steps` walks them for whole
arrays; every kernel ends in these functions.  It has the buffers of a layer, as structs ``Forward`` and ``Backward``,
and a struct ``Cell``:

forward_N(k, t, b, j, product)    part N of a step (`parts`); `product` has U source of its gates, without bias
backward_N(k, t, b, j, product)   its reverse, from the last part to the first; `product` is what the source of part
                                  N + 1 received
absorb_H(k, t, b, j, product)     what a state before step t receives through a product; absorb_P where it has P numbers

A step past a row's end carries the states by selection; its gates and gradients are 0.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from kernels.cells import Cell
from kernels.cuda import translate
from kernels.cuda.parts import Part, call, parts, spread_of, value
from kernels.cuda.reverse import reverse
from kernels.cuda.translate import identifier, symbol
from kernels.phases import Place

_FUNCTION = "  static __device__ __forceinline__"


class Field(NamedTuple):
    """A member of ``Forward`` or ``Backward``, and an argument of every kernel."""

    type: str
    name: str
    words: str


@functools.cache
def forward_fields(cell: Cell) -> list[Field]:
    """The buffers of forward, in the order of the kernels' arguments."""
    fields = [
        Field("const real*", "pre", "(T, B, G, H) input projection with bias_ih"),
        Field("const real*", "bias", "(R*H,) bias_hh, or null"),
        *_tape(cell, "real*"),  # not `const __restrict__` anywhere: other blocks write it
    ]
    return fields + _common(cell)


@functools.cache
def backward_fields(cell: Cell) -> list[Field]:
    """The buffers of backward, likewise."""
    fields = _tape(cell, "const real*")
    fields.append(Field("const real*", "dy", f"(T, B, {_width(cell, 'h')}), or null"))
    fields.append(Field("real*", "da", "(T, B, G, H)"))
    fields.append(Field("real*", "da_hidden", "(T, B, G, H); the same array as da unless a gate has two gradients"))
    for name in cell.states:
        state, width = symbol(name), _width(cell, name)
        fields.append(
            Field("real*", f"d{state}_next", f"(B, {width}) gradient at the step that stands next: at last d0")
        )
        fields.append(Field("real*", f"d{state}_all", f"(T+1, B, {width}), or null without a trace"))
    fields += [Field("real*", f"d{symbol(name)}", "(T, B, H) gradient of the weight, row by row") for name in cell.own]
    for name, width in passed(cell).items():
        fields.append(Field("real*", f"d{symbol(name)}_passed", f"(B, {width}) from part to part"))
    if cell.projected is not None:
        fields.append(Field("real*", "dprojected", "(T, B, P) gradient of the projection's product"))
    return fields + _common(cell)


def passed(cell: Cell) -> dict[str, str]:
    """The values whose gradients wait in memory from one part to an earlier one, each with its number of units."""
    return reverse(cell).passed


def _tape(cell: Cell, kind: str) -> list[Field]:
    fields = [Field(kind, f"{symbol(state)}_all", f"(T+1, B, {_width(cell, state)})") for state in cell.states]
    fields.append(Field(kind, "gates", "(T, B, G, H)"))
    return fields + [Field(kind, f"kept_{symbol(name)}", f"(T, B, {_width(cell, name)})") for name in cell.kept]


def _common(cell: Cell) -> list[Field]:
    fields = [Field("const real*", symbol(name), "(H,) weight of a unit") for name in cell.own]
    for name in map(symbol, cell.given):
        fields.append(Field("const real*", name, "(T or 1, B or 1, units) factor"))
        fields.append(Field("int", f"steps_{name}", "whether it has one for each step"))
        fields.append(Field("int", f"rows_{name}", "whether it has one for each row"))
    fields.append(Field("const int*", "lengths", "(B,), or null"))
    return fields + [Field("int", size, "as above") for size in ("B", "H", *("P" * bool(cell.projected)))]


def _width(cell: Cell, name: str) -> str:
    return "P" if cell.is_narrow(name) else "H"


def text(cell: Cell) -> str:
    """Everything of a cell that its kernels are compiled from."""
    out = [translate.functions(cell)]
    out += [_struct("Forward", forward_fields(cell)), _struct("Backward", backward_fields(cell))]
    out += [f"#define STAGES {len(cell.stages)}", "", "struct Cell {", f"  static const int G = {len(cell.gates)};"]
    out.append(f"  static const int UNITS = {spread_of(cell)};  // of a thread of the forward product")
    out += [f"  static const int COLUMNS_{part.name} = {part.columns};  // of its product" for part in parts(cell)]
    for part in parts(cell):
        out += _operand(cell, part) + _forward(cell, part)
    return "\n".join([*out, *reverse(cell).lines, "};", ""])


def _struct(name: str, fields: list[Field]) -> str:
    """The struct, and two macros: a kernel's parameters, and the struct's members from them."""
    lines = [f"struct {name} {{", *(f"  {field.type} {field.name};  // {field.words}" for field in fields), "};"]
    lines.append(f"#define {name.upper()}_PARAMETERS " + ", ".join(f"{field.type} {field.name}" for field in fields))
    lines.append(f"#define {name.upper()}_FIELDS " + ", ".join(field.name for field in fields))
    return "\n".join([*lines, ""])


def _operand(cell: Cell, part: Part) -> list[str]:
    """Where the kernel of a whole sequence finds the source: row 0 of step t, and the distance to the next row."""
    place = part.source
    if place is None:
        return []
    start, pitch = f"k.{symbol(place.name)}_all", "k.H"
    step = "t + 1" if place.kind == "new" else "t"
    if place.kind == "gate":
        start, pitch = f"k.gates + {cell.gates.index(place.name)} * k.H", "G * k.H"
    elif place.kind == "kept":
        start = f"k.kept_{symbol(place.name)}"
    return [
        f"{_FUNCTION} int pitch_{part.name}(const Forward& k) {{ return {pitch}; }}",
        f"{_FUNCTION} const real* operand_{part.name}(const Forward& k, int t) {{",
        f"    return {start} + (size_t)({step}) * k.B * pitch_{part.name}(k);",
        "  }",
    ]


def _forward(cell: Cell, part: Part) -> list[str]:
    """The function of one part."""
    out = [f"{_FUNCTION} void forward_{part.name}(const Forward& k, int t, int b, int j, const real* product) {{"]
    out.append(f"    const At<Forward> at(k, k.{part.width}, G, t, b, j);")
    known: dict[Place, str] = {}
    for block in range(part.first, part.last):
        gate, x = cell.gates[block], f"k.pre[at.block({block})]"
        known |= {Place("a", gate): x, Place("x", gate): x}
        if part.source is not None:
            row = cell.recurrent.index(gate)
            out.append(f"    const real u{block} = hidden(k, product[{block - part.first}], {row}, j);")
            known |= {Place("h", gate): f"u{block}", Place("a", gate): f"{x} + u{block}"}
        for place in [place for place in known if place.name == gate]:
            if f"{place.kind}_{gate}" in cell.kept:
                out.append(_select(cell, Place("kept", f"{place.kind}_{gate}"), known[place]))
    for work in part.works:
        places = [place for place in work.inputs if place.kind != "library"]
        out.append(call(cell, work, "forward", [known.get(place) or value(cell, place) for place in places]))
        for name, label, stored in zip(work.forward.results, work.labels, work.outputs, strict=True):
            known[Place("local", label)] = result = f"s{cell.works.index(work)}.{identifier(name)}"
            out += [_select(cell, place, result) for place in stored]
    if part.name == "projection":
        out.append(_select(cell, Place("new", "h"), "product[0]"))
    return [*out, "  }"]


def _select(cell: Cell, place: Place, result: str) -> str:
    """Past a row's end a state stays and everything else is 0."""
    otherwise = value(cell, Place("prev", place.name)) if place.kind == "new" else "real(0)"
    return f"    {value(cell, place)} = at.valid ? {result} : {otherwise};"
