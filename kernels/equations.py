"""Reading a gate function: its arguments, its results, and whether it is plain arithmetic.

A gate function is called with whole arrays by `kernels.steps`, compiled for one number of one hidden unit by
`kernels.cpu.rows`, and translated into CUDA by `kernels.cuda.translate`.  All three understand straight arithmetic:
``name = expression`` line by line and one ``return`` of names at the end.  Anything else is refused here, when the cell
is declared, with the line.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

#: The functions and numbers that a gate function may use beside states, gates and weights -> how many arguments a call
#: takes (None: it is a number).  ``act`` and ``act_slope`` are those of the cell's nonlinearity.
LIBRARY: dict[str, int | None] = {
    "sigmoid": 1, "tanh": 1, "relu": 1, "exp": 1, "log": 1, "maximum": 2, "act": 1, "act_slope": 2, "one": None,
    "zero": None,
}  # fmt: skip
LARGEST = 3.4e38  # the largest float32, nearly
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_COMPARISONS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)


class CellError(ValueError):
    """A cell that does not fit: one sentence that names the cell, the function and the line."""


class Equation(NamedTuple):
    """A gate function as it was read.

    Attributes
    ----------
    function : the function itself.
    name : its name.
    arguments, results : names, in order.
    tree : its syntax tree; line numbers are those of the file.
    file : where it stands.
    words : words of its names that the phase replaces (`kernels.phases.Phase`).
    """

    function: Callable[..., Any]
    name: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    tree: ast.FunctionDef
    file: str
    words: Mapping[str, str] = MappingProxyType({})

    def text(self, line: str) -> str:
        """A line of the function's source with the names that the phase has for its values."""
        return _renamed(line, self.words)

    @property
    def source(self) -> str:
        """The text of the arithmetic alone: two functions with one text are the same function."""
        return ast.unparse(self.tree)

    @property
    def last_line(self) -> int:
        """The line of the ``return``."""
        return self.tree.body[-1].lineno

    def places(self, name: str) -> int:
        """The line in which a name is first given a value or stands among the arguments."""
        for node in ast.walk(self.tree):
            if (isinstance(node, ast.arg) and node.arg == name) or (isinstance(node, ast.Name) and node.id == name):
                return node.lineno
        return self.tree.lineno


def error(cell: str, words: str, equation: Equation | None = None, line: int | None = None) -> CellError:
    """The error for a cell, with the function and the line where they are known."""
    if equation is None:
        return CellError(f"cell {cell!r}: {words}")
    at = equation.tree.lineno if line is None else line
    return CellError(f"cell {cell!r}, function {equation.name!r} ({equation.file}, line {at}): {words}")


def read(cell: str, function: Any, names: Mapping[str, str] = MappingProxyType({})) -> Equation:
    """Read a gate function of the cell of that name.

    Parameters
    ----------
    names : words of its names that stand for others, such as S for c.

    Raises
    ------
    CellError
        if it is not a function whose source can be read, or not plain arithmetic.
    """
    if not inspect.isfunction(function):
        raise error(cell, f"a gate function is written with `def`, got a {type(function).__name__}")
    code = function.__code__
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        words = f"the source of {function.__name__!r} cannot be read; write it in a file or a notebook"
        raise error(cell, words) from None
    file = code.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
    tree = _definition(lines)
    if tree is None or hasattr(function, "__wrapped__"):  # the text would be that of the function within
        within = "a function around another" if tree else "something else"
        what = "a lambda" if code.co_name == "<lambda>" and not tree else within
        words = f"a gate function is written with `def`, got {what}"
        raise CellError(f"cell {cell!r}, function {function.__name__!r} ({file}, line {first}): {words}")
    ast.increment_lineno(tree, first - 1)
    replaced = {prefix + old: prefix + new for old, new in names.items() for prefix in ("", "d")}
    _rename(tree, replaced)
    arguments = tuple(argument.arg for argument in tree.args.args)
    bare = Equation(function, function.__name__, arguments, (), tree, file, replaced)
    return bare._replace(results=_check(cell, bare))


def _definition(lines: list[str]) -> ast.FunctionDef | None:
    """The ``def`` in these lines; None if they are anything else."""
    try:
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except SyntaxError:  # a lambda in the middle of a call
        return None
    return tree if isinstance(tree, ast.FunctionDef) else None


def _renamed(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\w+", lambda found: "_".join(words.get(part, part) for part in found[0].split("_")), text)


def _rename(tree: ast.FunctionDef, words: Mapping[str, str]) -> None:
    """Replace words of every name: dS_prev -> dc_prev."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = _renamed(node.id, words)
        elif isinstance(node, ast.arg):
            node.arg = _renamed(node.arg, words)


def body(tree: ast.FunctionDef) -> list[ast.stmt]:
    """The statements of a function, its docstring left out."""
    first = tree.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return tree.body[1:] if docstring else tree.body


def _check(cell: str, equation: Equation) -> tuple[str, ...]:
    """The names that the function returns; raises if it is anything but straight arithmetic."""
    tree, known = equation.tree, set(equation.arguments)

    def refuse(node: ast.AST, words: str) -> CellError:
        return error(cell, words, equation, getattr(node, "lineno", tree.lineno))

    extra = tree.args
    if extra.vararg or extra.kwarg or extra.kwonlyargs or extra.defaults or extra.posonlyargs or tree.decorator_list:
        raise refuse(tree, "expected plain arguments by name, without *, /, defaults or decorators")
    if not body(tree):
        raise refuse(tree, "the function is empty; its last line must return names")
    *lines, last = body(tree)
    for line in lines:
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            check_expression(line.value, known, refuse)
            if line.targets[0].id in LIBRARY:
                raise refuse(line, f"{line.targets[0].id!r} is a name of the library; choose another for this value")
            known.add(line.targets[0].id)
        elif isinstance(line, ast.AugAssign) or (isinstance(line, ast.Assign) and _into_arrays(line.targets)):
            raise refuse(line, f"`{ast.unparse(line)}` writes in place; write `name = expression` instead")
        else:
            shown = ast.unparse(line).splitlines()[0]
            raise refuse(line, f"`{shown}` is not arithmetic; only lines `name = expression` have a compiled form")
    values = last.value if isinstance(last, ast.Return) else None
    returned = values.elts if isinstance(values, ast.Tuple) else [values]
    if values is None or not returned or not all(isinstance(value, ast.Name) for value in returned):
        raise refuse(last, "the last line must return names, such as `return i, f, c, h`; give each value a name first")
    names = tuple(value.id for value in returned if isinstance(value, ast.Name))
    for name in names:
        if name not in known:
            raise refuse(last, f"{name!r} is returned but has no value")
        if names.count(name) > 1:
            raise refuse(last, f"{name!r} is returned twice")
    return names


def _into_arrays(targets: Iterable[ast.expr]) -> bool:
    return any(isinstance(target, (ast.Subscript, ast.Attribute)) for target in targets)


def check_expression(node: ast.expr, known: set[str], refuse: Callable[[ast.AST, str], CellError]) -> None:
    """Raise unless the expression is arithmetic on known names, with calls of the library's functions."""
    match node:
        case ast.Name(id=name):
            if name not in known:
                hint = "; ask for it as an argument" if name in LIBRARY else "; a gate function sees its arguments only"
                raise refuse(node, f"{name!r} is a free variable{hint}")
            if LIBRARY.get(name) is not None:
                raise refuse(node, f"{name!r} is a function; call it")
        case ast.Constant(value=bool()):
            raise refuse(node, f"`{ast.unparse(node)}` is not a number")
        case ast.Constant(value=int() | float() as value):
            if not abs(value) <= LARGEST:
                raise refuse(node, f"`{ast.unparse(node)}` is a number that float32 does not hold")
            if isinstance(value, int) and abs(value) >= 2**53:
                raise refuse(node, f"`{ast.unparse(node)}` is a long integer; write it with a point, such as 1.0e20")
        case ast.Attribute(value=inner, attr="real"):  # what a comparison of complex numbers looks at
            check_expression(inner, known, refuse)
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            check_expression(left, known, refuse)
            check_expression(right, known, refuse)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            check_expression(inner, known, refuse)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARISONS):
            check_expression(left, known, refuse)
            check_expression(right, known, refuse)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in known and LIBRARY.get(name):
            if len(arguments) != LIBRARY[name]:
                raise refuse(node, f"{name!r} takes {LIBRARY[name]} argument(s), got {len(arguments)}")
            for argument in arguments:
                check_expression(argument, known, refuse)
        case ast.Call(func=ast.Name(id=name), keywords=[_, *_]) if name in known and LIBRARY.get(name):
            raise refuse(node, f"`{ast.unparse(node)}` has arguments by name; write {name}(x), without them")
        case ast.Call(func=function):
            name = ast.unparse(function)
            more = f"; ask for {name!r} as an argument" if name in LIBRARY else f"; there are {', '.join(_functions())}"
            raise refuse(node, f"`{name}(...)` has no compiled form{more}")
        case _:
            raise refuse(node, f"`{ast.unparse(node)}` has no compiled form; use + - * /, > < and calls by name")


def _functions() -> list[str]:
    return [name for name, count in LIBRARY.items() if count is not None]
