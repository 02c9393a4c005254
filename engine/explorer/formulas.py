"""Lines of gate functions as formulas, derived from the code.

A formula is a list of parts: text, or a name whose number can be put in its place.  So one derivation gives the formula
in letters and the same formula in numbers.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

from kernels.equations import LIBRARY


class Name(NamedTuple):
    """A name in a formula."""

    name: str


Part = str | Name

_SUM, _PRODUCT, _SIGN, _ATOM = 1, 2, 3, 4
_OPERATORS = {ast.Add: (" + ", _SUM), ast.Sub: (" − ", _SUM), ast.Mult: (" · ", _PRODUCT), ast.Div: (" / ", _PRODUCT)}
_COMPARISONS = {ast.Gt: " > ", ast.GtE: " ≥ ", ast.Lt: " < ", ast.LtE: " ≤ "}
_CALLED = {"sigmoid": "σ", "log": "ln", "maximum": "max"}
_NUMBERS = {"one": "1", "zero": "0"}


def formula(expression: ast.expr, act: str) -> list[Part]:
    """The formula of an expression of a gate function.

    Parameters
    ----------
    expression : ast.expr
        What stands to the right of ``name =``.
    act : str
        The cell's nonlinearity, for ``act`` and ``act_slope``.

    Returns
    -------
    list of str or Name
        The parts in order; neighbouring texts are joined.

    Examples
    --------
    >>> import ast
    >>> plain(formula(ast.parse("di * i * (one - i)", mode="eval").body, "tanh"))
    'di · i · (1 − i)'
    """
    joined: list[Part] = []
    for part in _Writer(act).write(expression)[0]:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def plain(parts: list[Part]) -> str:
    """The formula as one text."""
    return "".join(part if isinstance(part, str) else part.name for part in parts)


class _Writer:
    """Writes expressions; each with how tightly its outermost operation binds."""

    def __init__(self, act: str) -> None:
        self.act = act

    def write(self, node: ast.expr) -> tuple[list[Part], int]:
        match node:
            case ast.Name(id=name):
                return [_NUMBERS.get(name) or Name(name)], _ATOM
            case ast.Constant(value=value):
                return [str(value)], _ATOM
            case ast.Attribute(value=inner):  # .real: what a comparison of complex numbers looks at
                return self.write(inner)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return ["−", *self._within(inner, _SIGN)], _SIGN
            case ast.UnaryOp(operand=inner):
                return self.write(inner)
            case ast.BinOp(left=left, op=ast.Mult(), right=right) if ast.dump(left) == ast.dump(right):
                return [*self._within(left, _ATOM), "²"], _ATOM
            case ast.BinOp(left=ast.Name(id="one"), op=ast.Mult(), right=right):
                return self.write(right)  # one * x: `one` only gives the number its dtype
            case ast.BinOp(left=left, op=op, right=right):
                sign, strength = _OPERATORS[type(op)]
                tighter = strength + isinstance(op, ast.Sub | ast.Div)
                return [*self._within(left, strength), sign, *self._within(right, tighter)], strength
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                sign = _COMPARISONS[type(op)]
                return ["[", *self.write(left)[0], sign, *self.write(right)[0], "]"], _ATOM
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._call(name, arguments), _ATOM
        raise NotImplementedError(ast.unparse(node))  # `kernels.equations` lets nothing else into a gate function

    def _within(self, node: ast.expr, strength: int) -> list[Part]:
        parts, own = self.write(node)
        return parts if own >= strength else ["(", *parts, ")"]

    def _call(self, name: str, arguments: list[ast.expr]) -> list[Part]:
        if name == "act_slope":  # act'(a), found from act(a)
            inner = self.write(arguments[0])[0]
            return [f"slope of {self.act} at ", *(inner if len(inner) == 1 else ["(", *inner, ")"])]
        shown = self.act if name == "act" else _CALLED.get(name, name)
        inside: list[Part] = []
        for argument in arguments:
            inside += [", "] * bool(inside) + self.write(argument)[0]
        return [f"{shown}(", *inside, ")"]


def names_in(expression: ast.expr) -> list[str]:
    """The names of an expression in order of their first use, those of the library left out."""
    found = [node.id for node in ast.walk(expression) if isinstance(node, ast.Name) and node.id not in LIBRARY]
    return list(dict.fromkeys(found))
