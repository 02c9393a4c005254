"""The tangent of a cell is a cell: its gate functions, differentiated, run in the loops of every kernel set.

`tangent_of` writes them as text, line by line.  There a name stands for the tangent of what it names in the cell.  The
values come in as factors, because a pass along a direction finds them on the tape:

k_v_X   the value of a gate, a state, a kept value or a weight p_X; of S_prev it is k_v_before_S
k_d_S   what state S receives in the backward pass, as a trace shows it
k_e_X, k_u_X   what the tangents of weights and input add to the input side, and to the hidden side, of a pre-activation

Forward is the tangent of forward.  Backward is the tangent of backward: from the tangents of the gradients of the
states after the step to those of all else.  Only the lines that a result needs are written.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
from collections.abc import Callable
from typing import Any

from kernels.cells import Cell
from kernels.equations import LIBRARY, Equation, body
from kernels.phases import Phase, Work
from kernels.steps import makes

_ENDING = "tangent"
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class _Unknown(Exception):  # noqa: N818
    """A value is needed that is neither on the tape nor made of what is there."""


def tangent_of(cell: Cell) -> Cell | None:
    """The tangent of a cell.

    Returns
    -------
    The cell, in no registry; None for one with several phases, row functions, a projection or factors of its own, and
    for one whose derivative needs a value that is not on the tape.
    """
    if len(cell.works) != 1 or cell.works[0].between or cell.projected or cell.given or not cell.works[0].gates:
        return None
    if _ENDING not in cell.variants:
        work = cell.works[0]
        try:
            pair = _forward(cell, work), _backward(cell, work)
        except _Unknown:
            return None
        forward, backward = _function(f"{cell.name}_tangent", pair[0]), _function(f"{cell.name}_second", pair[1])
        source = None if work.source is None else "h_prev"
        phase = Phase(work.gates, forward, backward, source)
        cell.variants[_ENDING] = cell.changed(_ENDING, (phase,), (tangent_of, (cell,)))
    return cell.variants[_ENDING]


def _function(name: str, lines: tuple[list[str], list[str], list[str]]) -> Callable[..., Any]:
    """A function of that text, whose source can be read like that of a file."""
    arguments, written, results = lines
    text = f"def {name}({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in written)
    text += f"    return {', '.join(results)}\n"
    file = f"<{name} {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, file, "exec"), names)
    function: Callable[..., Any] = names[name]
    return function


# -- the two texts -----------------------------------------------------------------------------------------------------


def _forward(cell: Cell, work: Work) -> tuple[list[str], list[str], list[str]]:
    writer = _Writer(cell, work.forward)
    for name in work.forward.arguments:
        kind, _, gate = name.partition("_")
        if gate in work.gates and kind in ("a", "x", "h"):
            part = "u" if kind == "h" else "e"
            value = f"k_v_{name}" if name in cell.kept else None
            writer.enter(name, f"({name} + k_{part}_{gate})", value)
        elif name in LIBRARY:
            writer.enter(name, None, name)
        else:
            writer.enter(name, name, _value_of(name))
    known = {name: f"k_v_{name}" for name in work.forward.results if _on_tape(cell, work, name)}
    return writer.text(known)


def _value_of(name: str) -> str:
    """The factor with the value of a name."""
    return f"k_v_before_{name[:-5]}" if name.endswith("_prev") else f"k_v_{name}"


def _on_tape(cell: Cell, work: Work, name: str) -> bool:
    return name in work.gates or name in cell.states or name in cell.kept


def _backward(cell: Cell, work: Work) -> tuple[list[str], list[str], list[str]]:
    writer = _Writer(cell, work.backward)
    whole = {f"d{name}" for name in work.replaces if makes(work, name) and f"d{name}" in work.backward.results}
    for name in work.backward.arguments:
        kind, _, gate = name.partition("_")
        if gate in work.gates and kind in ("a", "x", "h"):
            part = "u" if kind == "h" else "e"
            writer.enter(name, f"({name} + k_{part}_{gate})", f"k_v_{name}")
        elif name in LIBRARY:
            writer.enter(name, None, name)
        elif name[:1] == "d" and name[1:] in cell.states:
            writer.enter(name, name, None if name in whole else f"k_d_{name[1:]}")
        else:
            writer.enter(name, name, _value_of(name))
    return writer.text({name: f"k_d_{name[1:]}" for name in whole})


class _Writer:
    """The tangent of one gate function.  Every name has a tangent (a text, or None for zero) and a value.

    A value is a text, or a function that writes the lines that make it; None if nothing can make it.
    """

    def __init__(self, cell: Cell, equation: Equation) -> None:
        self.cell, self.equation = cell, equation
        self.dots: dict[str, str | None] = {}
        self.values: dict[str, Any] = {}
        self.lines: list[str] = []
        self.made: dict[str, str] = {}

    def enter(self, name: str, dot: str | None, value: str | None) -> None:
        """An argument."""
        self.dots[name], self.values[name] = dot, value

    def text(self, known: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
        """Arguments, lines and results; `known` has names whose last value lies on the tape."""
        *lines, _ = body(self.equation.tree)
        assigned = [line.targets[0].id for line in lines]  # type: ignore[attr-defined]
        for number, (name, line) in enumerate(zip(assigned, lines, strict=True)):
            value = known.get(name) if name not in assigned[number + 1 :] else None
            self._assign(name, line.value, value)  # type: ignore[attr-defined]
        for name in self.equation.results:
            dot = self.dots[name]
            if dot != name and dot in self.equation.results:
                raise _Unknown(name)  # an argument that has got another value by then
            self.lines.append(f"{name} = {'zero * ' + self._of_name(name) if dot is None else dot}")
        return self._pruned()

    def _pruned(self) -> tuple[list[str], list[str], list[str]]:
        """The lines that a result needs, and the arguments that they ask for."""
        needed, kept = set(self.equation.results), list[str]()
        for line in reversed(self.lines):
            target, _, expression = line.partition(" = ")
            if target in needed:
                needed.discard(target)
                needed |= {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
                kept.insert(0, line)
        return sorted(needed), kept, list(self.equation.results)

    def _new(self, text: str, word: str) -> str:
        """The name of an expression; each is written once, as no name gets a second value."""
        if text.isidentifier():
            return text
        if text not in self.made:
            self.made[text] = f"{word}{len(self.made) + 1}"
            self.lines.append(f"{self.made[text]} = {text}")
        return self.made[text]

    def _assign(self, name: str, expression: ast.expr, value: str | None) -> None:
        """A line of the function.  The value of a name that lies on the tape is not made again."""
        before = dict(self.values)
        found = value if value is not None else lambda: self._new(self._value(expression, before), "value")
        if isinstance(expression, ast.Call):  # its slope is made of its value
            dot = self._of_call(expression, lambda: found if isinstance(found, str) else found())
        else:
            dot = self._dot(expression)
        self.values[name] = found
        self.dots[name] = None if dot is None else self._new(dot, "moved")

    # -- values --------------------------------------------------------------------------------------------------------

    def _of_name(self, name: str, values: dict[str, Any] | None = None) -> str:
        values = self.values if values is None else values
        found = values[name]
        if found is None:
            raise _Unknown(name)
        return found if isinstance(found, str) else str(found())

    def _value(self, node: ast.expr, values: dict[str, Any] | None = None) -> str:
        """The text of an expression's value."""
        match node:
            case ast.Name(id=name):
                return self._of_name(name, values)
            case ast.Constant():
                return ast.unparse(node)
            case ast.Attribute(value=inner):
                return self._value(inner, values)  # .real: nothing is complex here
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return f"(-{self._value(inner, values)})"
            case ast.UnaryOp(operand=inner):
                return self._value(inner, values)
            case ast.BinOp(left=left, op=op, right=right):
                return f"({self._value(left, values)} {_OPERATORS[type(op)]} {self._value(right, values)})"
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                sign = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}[type(op)]
                return f"({self._value(left, values)} {sign} {self._value(right, values)})"
            case ast.Call(func=ast.Name(id=name), args=arguments):
                given = ", ".join(self._value(argument, values) for argument in arguments)
                return self._new(f"{name}({given})", "value")
        raise _Unknown(ast.unparse(node))

    # -- tangents ------------------------------------------------------------------------------------------------------

    def _dot(self, node: ast.expr) -> str | None:
        """The text of an expression's tangent; None where it is zero."""
        match node:
            case ast.Name(id=name):
                return self.dots[name]
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                dot = self._dot(inner)
                return None if dot is None else f"(-{dot})"
            case ast.UnaryOp(operand=inner) | ast.Attribute(value=inner):
                return self._dot(inner)
            case ast.BinOp(left=left, op=op, right=right):
                return self._of_operation(left, op, right)
            case ast.Call():
                value = self._new(self._value(node), "value")
                return self._of_call(node, lambda: value)
        return None  # a number, or a comparison: a step

    def _of_operation(self, left: ast.expr, op: ast.operator, right: ast.expr) -> str | None:
        first, second = self._dot(left), self._dot(right)
        if isinstance(op, ast.Add | ast.Sub):
            if first is None or second is None:
                return first if second is None else second if isinstance(op, ast.Add) else f"(-{second})"
            return f"({first} {_OPERATORS[type(op)]} {second})"
        if isinstance(op, ast.Mult):
            parts = [] if first is None else [f"{first} * {self._value(right)}"]
            parts += [] if second is None else [f"{self._value(left)} * {second}"]
            return f"({' + '.join(parts)})" if parts else None
        if second is None:
            return None if first is None else f"({first} / {self._value(right)})"
        divisor = self._new(self._value(right), "value")
        moved = f"({self._value(left)} / {divisor}) * {second}"
        return f"(-({moved}) / {divisor})" if first is None else f"(({first} - {moved}) / {divisor})"

    def _of_call(self, node: ast.Call, value: Callable[[], str]) -> str | None:
        """The tangent of a function of the library; `value` gives its value."""
        name = ast.unparse(node.func)
        dots = [self._dot(argument) for argument in node.args]
        if all(dot is None for dot in dots):
            return None
        kind = self.cell.act if name == "act" else name
        if name == "act_slope":  # of h, one: 1 - h * h, or a step
            h = node.args[0]
            return None if self.cell.act == "relu" else f"(-({dots[0]} * {self._value(h)} * (one + one)))"
        if kind == "maximum":
            a, b = (self._value(argument) for argument in node.args)
            first = self._new(f"one * ({a} >= {b})", "first")
            parts = [f"{first} * {dots[0]}"] if dots[0] else []
            parts += [f"(one - {first}) * {dots[1]}"] if dots[1] else []
            return f"({' + '.join(parts)})"
        slope = {
            "sigmoid": lambda: f"({value()} * (one - {value()}))",
            "tanh": lambda: f"(one - {value()} * {value()})",
            "relu": lambda: f"(one * ({value()} > zero))",
            "exp": value,
            "log": lambda: f"(one / {self._value(node.args[0])})",
        }[kind]()
        return f"({slope} * {dots[0]})"
