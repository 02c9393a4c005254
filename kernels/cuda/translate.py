"""The gate equations for the GPU: `kernels.gates`, translated line by line into CUDA device functions.

The equations stand once, in Python; the kernels are compiled from the text that `translate` makes of them, so an edit
of `gates.py` changes the GPU as well.  What is understood is what straight-line arithmetic needs: assignments, + - *,
a comparison (1 or 0), calls of an activation, and a return of one value or of a tuple of names, which becomes a struct
``<name>_result``.  Anything else is an error that names the line.

An array library's own functions are arguments in Python.  Here ``sigmoid`` and ``tanh`` are the device functions
`sigmoid_real` and `tanh_real`, ``one`` is a constant, and ``act`` and ``act_slope`` are template arguments.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re

from kernels import gates

#: Arguments in Python that are device functions here.
_ACTIVATIONS = {"sigmoid": "sigmoid_real", "tanh": "tanh_real"}
#: Arguments that are template parameters here: a function is compiled for each cell that it serves.
_TEMPLATES = ("act", "act_slope")
#: Names of the mathematics that C++ keeps for itself: the gradient of o is one.
_KEYWORDS = {"do"}
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISONS: dict[type[ast.cmpop], str] = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}


@functools.cache
def header() -> str:
    """The device functions of all gate equations, as CUDA source."""
    return translate(inspect.getsource(gates))


def translate(source: str) -> str:
    """CUDA source of every function in the Python `source`.

    Raises
    ------
    SyntaxError
        for Python that has no translation here, with the line.
    """
    lines = source.splitlines()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    head = "// Generated from kernels/gates.py, which is where to read and to edit the equations."
    return "\n\n".join([head, *(_function(node, lines) for node in functions)]) + "\n"


def _function(node: ast.FunctionDef, lines: list[str]) -> str:
    names = [argument.arg for argument in node.args.args]
    numbers = [name for name in names if name not in (*_ACTIVATIONS, *_TEMPLATES, "one")]
    *body, last = [line for line in node.body if not _is_docstring(line)]
    if not isinstance(last, ast.Return) or last.value is None:
        raise _error(node, "a gate function ends in its one return")

    out = []
    result = "real"
    if isinstance(last.value, ast.Tuple):
        result = f"{node.name}_result"
        fields = ", ".join(_expression(value) for value in last.value.elts)
        out.append(f"struct {result} {{ real {fields}; }};")
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    out += [f"// {summary}"] if summary else []
    out += [f"template <real (*{name})(real)>" for name in names if name in _TEMPLATES]
    arguments = ", ".join(f"real {_name(name)}" for name in numbers)
    out.append(f"__device__ __forceinline__ {result} {node.name}({arguments}) {{")
    known = set(numbers)
    if "one" in names and any(isinstance(n, ast.Name) and n.id == "one" for line in node.body for n in _values(line)):
        out.append("  const real one = 1;")
    for line in body:
        if not (isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name)):
            raise _error(line, "only `name = expression` is translated")
        target = line.targets[0].id
        declare = "" if target in known else "real "
        known.add(target)
        out.append(f"  {declare}{_name(target)} = {_expression(line.value)};{_comment(lines[line.end_lineno - 1])}")  # type: ignore[operator]
    value = _expression(last.value)
    out.append(f"  return {value};{_comment(lines[last.end_lineno - 1])}")  # type: ignore[operator]
    return "\n".join([*out, "}"])


def _name(name: str) -> str:
    return f"{name}_" if name in _KEYWORDS else name


def _values(line: ast.stmt) -> list[ast.AST]:
    """What is computed with: every part of a statement but the `one` that is handed on to a slope."""
    handed = {id(n) for call in ast.walk(line) if isinstance(call, ast.Call) for n in call.args if _is_one(n)}
    return [part for part in ast.walk(line) if id(part) not in handed]


def _expression(node: ast.expr) -> str:
    match node:
        case ast.Name():
            return _name(node.id)
        case ast.Constant(value=int() | float() as number):
            return f"real({number})"
        case ast.Attribute(attr="real"):  # numbers are real here
            return _expression(node.value)
        case ast.Tuple():
            return f"{{{', '.join(_expression(value) for value in node.elts)}}}"
        case ast.BinOp() if type(node.op) in _OPERATORS:
            # Brackets where Python's tree has them: round-off follows the order of the operations.
            product = isinstance(node.op, ast.Mult)
            left = _bracketed(node.left, product and _is_sum(node.left))
            right = _bracketed(node.right, _is_sum(node.right) or (product and isinstance(node.right, ast.BinOp)))
            return f"{left} {_OPERATORS[type(node.op)]} {right}"
        case ast.UnaryOp(op=ast.USub()):
            return f"-({_expression(node.operand)})"
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            sides = [_expression(side) for side in (node.left, node.comparators[0])]
            return f"real({sides[0]} {_COMPARISONS[type(op)]} {sides[1]})"
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _ACTIVATIONS or name in _TEMPLATES:
            arguments = ", ".join(_expression(argument) for argument in node.args if not _is_one(argument))
            return f"{_ACTIVATIONS.get(name, name)}({arguments})"
    raise _error(node, f"`{ast.unparse(node)}` has no translation")


def _bracketed(node: ast.expr, brackets: bool) -> str:
    return f"({_expression(node)})" if brackets else _expression(node)


def _is_sum(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Mult)


def _is_one(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "one"


def _is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def _comment(line: str) -> str:
    """The comment of a source line, which quotes the forward line that it reverses."""
    found = re.search(r"\s#\s*(.*)", line)
    return f"  // {found[1]}" if found else ""


def _error(node: ast.AST, words: str) -> SyntaxError:
    return SyntaxError(f"kernels/gates.py, line {getattr(node, 'lineno', '?')}: {words} (kernels/cuda/translate.py)")
