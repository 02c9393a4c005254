"""The names of what a function returns, read from its source: ``return a, y, c, caches``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.checking.subjects.shapes.returned import key_for


def returned_names(function: Callable[..., Any]) -> list[str] | None:
    """The names in its last return of several; None if they cannot be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    found = [one.value for one in _returns(tree.body[0]) if isinstance(one.value, ast.Tuple)]
    if not found or not all(isinstance(one, ast.Name) for one in found[-1].elts):
        return None
    return [one.id for one in found[-1].elts if isinstance(one, ast.Name)]


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    """The return statements of a function, without those of functions inside."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from _returns(child)


def outputs_with_gradients(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """The numbers of the outputs whose gradients backward takes; None unless each is among those returned.

    Parameters
    ----------
    names : of the outputs.
    wanted : the names of the gradients that backward takes.
    """
    keys = [key_for(name, wanted) for name in names]
    if any(keys.count(one) != 1 for one in wanted):
        return None
    return [keys.index(one) for one in wanted]
