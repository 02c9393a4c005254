"""A cell's gate functions for the GPU: each syntax tree becomes a CUDA device function, line by line.

The equations stand once, in Python; the kernels are compiled from the text that is made of them here, so an edit of a
cell changes the GPU as well.  `kernels.equations` has read the functions and refused what is not plain arithmetic.

What a Python function gets from its array library is not handed over here: activations are the device functions of
``src/prelude.cuh``, ``one`` and ``zero`` are constants, ``act`` and ``act_slope`` those of the cell's nonlinearity.
The results come back as a struct of numbers, ``<function>_result``.
"""

from __future__ import annotations

import ast
import re
from typing import Literal

from kernels.cells import Cell
from kernels.equations import LIBRARY, Equation, body

_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS: dict[type[ast.cmpop], str] = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
_NUMBERS = {"one": 1, "zero": 0}
#: Names that can mean nothing else in C++: one letter or two, and those with the prefixes and endings of a cell.
_SAFE = re.compile("(?!do$)[A-Za-z]{1,2}|d?[axhpk]_[a-z]+|[a-z]+_prev")


Way = Literal["forward", "backward"]


def identifier(name: str) -> str:
    """A name of Python's as a name of C++'s: a keyword, a macro or a Greek letter would be none."""
    return name if _SAFE.fullmatch(name) else symbol(name) + "_"


def symbol(name: str) -> str:
    """A name, its letters beyond ASCII spelled out."""
    return "".join(letter if letter.isascii() else f"U{ord(letter):X}" for letter in name)


def function_name(cell: Cell, phase: int, way: Way) -> str:
    """What the device function is called of a phase, counted from 0."""
    return f"{symbol(cell.name)}_phase{phase + 1}_{way}"


def arguments(equation: Equation) -> list[str]:
    """The arguments that are numbers here too: all that do not come from the library."""
    return [name for name in equation.arguments if name not in LIBRARY]


def functions(cell: Cell) -> str:
    """The device functions of all gate functions of a cell."""
    found = []
    for phase, work in enumerate(cell.works):
        found.append(translate(function_name(cell, phase, "forward"), work.forward, cell.act))
        found.append(translate(function_name(cell, phase, "backward"), work.backward, cell.act))
    return "\n\n".join(found)


def translate(name: str, equation: Equation, act: str) -> str:
    """One device function and the struct of its results."""
    *lines, _ = body(equation.tree)
    results = ", ".join(map(identifier, equation.results))
    given = ", ".join(f"real {identifier(argument)}" for argument in arguments(equation))
    used = {node.id for line in body(equation.tree) for node in ast.walk(line) if isinstance(node, ast.Name)}
    out = [f"struct {name}_result {{ real {results}; }};"]
    out.append(f"__device__ __forceinline__ {name}_result {name}({given}) {{")
    out += [f"  real {constant} = {value};" for constant, value in _NUMBERS.items() if constant in used]
    known = set(equation.arguments)
    for line in lines:
        assert isinstance(line, ast.Assign)
        assert isinstance(line.targets[0], ast.Name)
        target = line.targets[0].id
        declare = "" if target in known else "real "
        known.add(target)
        out.append(f"  {declare}{_name(target)} = {_expression(line.value, act)};")
    returned = ", ".join(map(_name, equation.results))
    return "\n".join([*out, f"  return {{{returned}}};", "}"])


def _name(name: str) -> str:
    return name if name in _NUMBERS else identifier(name)


def _expression(node: ast.expr, act: str) -> str:
    def inner(node: ast.expr) -> str:
        return _expression(node, act)

    match node:
        case ast.Name(id=name):
            return _name(name)
        case ast.Constant(value=int() | float() as number):
            return f"real({float(number)!r})"
        case ast.Attribute(value=value):  # .real: numbers are real here
            return inner(value)
        case ast.BinOp(left=left, op=op, right=right):
            # Brackets where Python's tree has them: round-off follows the order of the operations.
            product = not _is_sum(node)
            left_side, right_side = inner(left), inner(right)
            if product and _is_sum(left):
                left_side = f"({left_side})"
            if _is_sum(right) or (product and isinstance(right, ast.BinOp)):
                right_side = f"({right_side})"
            return f"{left_side} {_OPERATORS[type(op)]} {right_side}"
        case ast.UnaryOp(op=op, operand=operand):
            return f"-({inner(operand)})" if isinstance(op, ast.USub) else f"({inner(operand)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return f"real({inner(left)} {_COMPARISONS[type(op)]} {inner(right)})"
        case ast.Call(func=ast.Name(id=name), args=given):
            called = name.replace("act", act) if name.startswith("act") else name
            values = ", ".join(map(inner, given))
            return f"{called}({values})" if called.endswith("_slope") else f"{called}_real({values})"
    raise AssertionError(f"kernels.equations let `{ast.unparse(node)}` pass")


def _is_sum(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)
