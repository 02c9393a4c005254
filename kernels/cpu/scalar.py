"""A gate function as compiled code wants it: the same arithmetic, on one number of one hidden unit.

The source is the one that `kernels.steps` calls with whole arrays.  Three things mean something else for a compiled
number, and are rewritten:

- a literal takes the type of the numbers: ``0.5 * h`` in float64 would widen all that it meets;
- a comparison gives 1 or 0 in that type, not a bool;
- ``.real``, what a comparison of complex numbers looks at, is the number itself.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable
from typing import Any

from kernels.equations import body

#: The name under which a gate function gets the number 1, whatever its own arguments are; no name of a user's.
UNIT = "unit__"


class _ForOneNumber(ast.NodeTransformer):
    """The three changes; `unit` is the name of the number 1."""

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        assert isinstance(node.value, int | float)
        return ast.Call(ast.Name("number__"), [ast.Constant(float(node.value)), ast.Name(self.unit)], [])

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        test = self.generic_visit(node)
        assert isinstance(test, ast.expr)
        unit = ast.Name(self.unit)
        return ast.IfExp(test, unit, ast.BinOp(unit, ast.Sub(), unit))

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        if isinstance(node.value, ast.Tuple) and len(node.value.elts) == 1:  # one result is no tuple in a row
            return ast.Return(self.visit(node.value.elts[0]))
        return super().generic_visit(node)  # type: ignore[return-value]

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        inner = self.visit(node.value)
        assert isinstance(inner, ast.expr)
        return inner


def scalar_text(tree: ast.FunctionDef, name: str, unit: str | None = None) -> str:
    """The text of a function `name` that computes what `tree` does for one number.

    Parameters
    ----------
    unit : which of its arguments is the number 1; None adds the number 1 as the last argument.
    """
    arguments = [argument.arg for argument in tree.args.args] + ([UNIT] if unit is None else [])
    change = _ForOneNumber(unit or UNIT)
    lines = [ast.unparse(ast.fix_missing_locations(change.visit(copy.deepcopy(line)))) for line in body(tree)]
    return "\n    ".join([f"def {name}({', '.join(arguments)}):", *lines]) + "\n"


def scalar_text_of(function: Callable[..., Any], unit: str) -> str:
    """`scalar_text` of a function of `kernels.activations`."""
    tree = ast.parse(inspect.getsource(function)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return scalar_text(tree, function.__name__, unit)
