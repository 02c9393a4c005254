"""The house's rules of size: a file is a room, a function a screen, a call a line or two."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from test_packaging import ROOT, SOURCES, relative, source

import engine

LINES, SCREEN, PARAMETERS = 350, 60, 10

#: Product code in every language, and the benchmarks; a file of tests is a list and may be longer.
FILES = [
    *SOURCES,
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    *sorted(path for ending in ("cu", "cuh") for path in (ROOT / "kernels").rglob(f"*.{ending}")),
    *sorted(path for ending in ("js", "css", "html") for path in (ROOT / "engine/explorer/web").rglob(f"*.{ending}")),
]
#: Its signature, a parameter a line, is the table of its options.
LONG_SIGNATURE = {"fit"}
#: Called from compiled code by its address, with flat arrays.
COMPILED = {"half_gradient"}


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function with its name, that of a method or an inner one after the name of what it stands in."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue  # no expression holds a function of its own name
        name = f"{within}{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else within.rstrip(".")
        if isinstance(node, ast.FunctionDef):
            yield name, node
        yield from functions(node, name + "." if name else "")


def lines_of(function: ast.FunctionDef) -> int:
    """The lines of a function without its docstring."""
    first, last = function.body[0], function.end_lineno or function.lineno
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return last - function.lineno + 1 - documented * ((first.end_lineno or 0) - first.lineno + 1)


def parameters_of(function: ast.FunctionDef) -> int:
    """The parameters of a function without ``self``."""
    names = [part.arg for part in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def too_long(tree: ast.AST) -> list[tuple[str, int]]:
    found = ((name, lines_of(node)) for name, node in functions(tree) if name not in LONG_SIGNATURE)
    return [(name, count) for name, count in found if count > SCREEN]


def too_wide(tree: ast.AST) -> list[tuple[str, int]]:
    """Functions of too many parameters; public ones and constructors, which are called by keyword, may have more."""
    free = {*engine.__all__, *COMPILED}
    found = ((name, parameters_of(node)) for name, node in functions(tree))
    return [(name, n) for name, n in found if n > PARAMETERS and name not in free and not name.endswith("__init__")]


def test_no_file_is_too_long() -> None:
    counts = {relative(path): path.read_text(encoding="utf-8").count("\n") for path in FILES}
    assert {name: count for name, count in counts.items() if count > LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    found = {relative(path): too_long(source(path).tree) for path in FILES if path.suffix == ".py"}
    assert {name: long for name, long in found.items() if long} == {}


def test_no_function_has_too_many_parameters() -> None:
    gates = ROOT / "kernels" / "gates"  # a gate function asks for what its equation has
    found = {relative(path): too_wide(source(path).tree) for path in SOURCES if path.parent != gates}
    assert {name: wide for name, wide in found.items() if wide} == {}


@pytest.mark.parametrize("extra", [0, 1])
def test_the_rules_see_what_breaks_them(extra: int) -> None:
    names = ", ".join(f"x{k}" for k in range(PARAMETERS + extra))
    body = "\n        ".join(['"""One line."""', *("x0 += 1" for _ in range(SCREEN - 1 + extra))])
    tree = ast.parse(f"class A:\n    def f(self, {names}):\n        {body}\n")
    assert too_long(tree) == [("A.f", SCREEN + extra)] * extra
    assert too_wide(tree) == [("A.f", PARAMETERS + extra)] * extra
