"""The small mistakes that can be made in a statement of backward code: what stands in the place of which node."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import TypeVar

#: Variables that may stand in for one another: the same shape and much the same meaning.  Sizes are left out, as a
#: wrong size is a wrong shape and raises.
MUTATIONS = tuple(
    tuple(names.split())
    for names in (
        "i f g o r z n",
        "h h_prev h_n hidden c c_prev tanh_c ratio divisor n_prev rows out centred",
        "dh dc do df di dg dn dm dz dr dc_prev dh_prev dn_prev dm_prev dh_n dx_n dreset_h dcarried dS dS_prev dout "
        "da_i da_f da_g da_o da_r da_z da_n dp_i dp_f dp_o",
        "p_i p_f p_o",
        "da da_hidden",
        "dx rows",
        "value dstate",
    )
)
MOST_OTHERS = 1
KIND = {name: kind for kind in MUTATIONS for name in kind}
#: Attributes that may stand in for one another.
ATTRIBUTES = {"da_hidden": "da", "input": "hidden", "hidden": "input", "totals": "values", "previous": "totals"}
SWAPPED: dict[type[ast.operator], tuple[ast.operator, ...]] = {
    ast.Add: (ast.Sub(),),
    ast.Sub: (ast.Add(),),
    ast.Mult: (ast.Add(), ast.Div()),
    ast.Div: (ast.Mult(),),
}
COMPARED: dict[type[ast.cmpop], tuple[ast.cmpop, ...]] = {
    ast.Is: (ast.IsNot(),),
    ast.IsNot: (ast.Is(),),
    ast.Eq: (ast.NotEq(),),
    ast.NotEq: (ast.Eq(),),
    ast.In: (ast.NotIn(),),
    ast.Gt: (ast.GtE(), ast.Lt()),
    ast.Lt: (ast.LtE(), ast.Gt()),
    ast.LtE: (ast.Lt(), ast.GtE()),
}

_Tree = TypeVar("_Tree", bound=ast.AST)


def statements(tree: ast.FunctionDef) -> Iterator[tuple[ast.stmt, list[str]]]:
    """Every statement in order, with the names that are bound before it."""
    scope = [argument.arg for argument in tree.args.args]

    def walk(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, list[str]]]:
        for statement in body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):  # the docstring
                continue
            yield statement, list(scope)
            scope.extend(sorted(names_in(statement, ast.Store) - set(scope)) if _parts(statement) else [])
            for inner in ("body", "orelse"):
                yield from walk(getattr(statement, inner, []))

    return walk(tree.body)


def _parts(statement: ast.stmt) -> list[ast.expr]:
    """The expressions of a statement itself, without the statements inside it."""
    match statement:
        case ast.Assign(targets=targets, value=value):
            return [value, *targets]
        case ast.AugAssign(target=target, value=value):
            return [value, target]
        case ast.Expr(value=ast.Call(args=arguments)):
            return arguments
        case ast.Return(value=ast.expr() as value):
            return [value]
        case ast.If(test=test):
            return [test]
        case ast.For(target=target, iter=over):
            return [over, target]
    return []


def names_in(statement: ast.AST, context: type[ast.expr_context] = ast.Load) -> set[str]:
    """The names read (or bound) in a statement or expression."""
    parts: list[ast.AST] = [*_parts(statement)] if isinstance(statement, ast.stmt) else [statement]
    nodes = (node for part in parts for node in ast.walk(part))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def head(statement: ast.stmt) -> str:
    """The statement as text, without the statements inside it."""
    shallow = copy.copy(statement)
    if isinstance(shallow, (ast.If, ast.For)):
        shallow.body, shallow.orelse = [ast.Pass()], []
    return ast.unparse(ast.fix_missing_locations(shallow)).splitlines()[0]


def mistakes(statement: ast.stmt, scope: list[str]) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """(node, kind of mistake, what stands in its place instead), for every mistake that can be made here."""
    parts = _parts(statement)
    for part in _signed(statement):
        yield part, "sign", ast.UnaryOp(ast.USub(), part)
    if isinstance(statement, ast.AugAssign):
        yield statement, "overwritten", ast.Assign([statement.target], statement.value, lineno=statement.lineno)
    if isinstance(statement, (ast.AugAssign, ast.Expr)) and not _is_event(statement):
        yield statement, "left out", ast.Pass(lineno=statement.lineno)
    if isinstance(statement, ast.If) and not isinstance(statement.test, ast.Compare):
        yield statement.test, "condition", ast.UnaryOp(ast.Not(), statement.test)
    nodes = [node for part in parts for node in ast.walk(part)]
    # whose shape or dtype is asked for does not matter
    silent = {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in ("shape", "dtype")}
    for node in nodes:
        for operator, new in _in_place_of(node):
            yield node, operator, new
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in silent:
            for name in _others(node.id, scope):
                yield node, "variable", ast.Name(name, ast.Load())


def _others(name: str, scope: list[str]) -> list[str]:
    """Names of the same kind that are bound here: those that follow the name in its kind, `MOST_OTHERS` at most."""
    kind = KIND.get(name, ())
    start = kind.index(name) + 1 if kind else 0
    return [other for other in (*kind[start:], *kind[: max(0, start - 1)]) if other in scope][:MOST_OTHERS]


def _is_event(statement: ast.stmt) -> bool:
    """Whether it only tells a ledger what happens."""
    return ast.unparse(statement).startswith("events.")


def _in_place_of(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a mistake may put in the place of one node, whatever stands around it."""
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            for other in SWAPPED.get(type(op), ()):
                yield "arithmetic", ast.BinOp(left, other, right)
            yield "operand dropped", left
            yield "operand dropped", right
            if isinstance(op, ast.MatMult) and isinstance(right, ast.Attribute):
                yield "transposed", ast.BinOp(left, op, ast.Attribute(right, "T", ast.Load()))
        case ast.BoolOp(op=op, values=values):
            for value in values:
                yield "condition", value
            yield "condition", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.Compare(left=left, ops=[compared], comparators=right_side):
            for instead in COMPARED.get(type(compared), ()):
                yield "condition", ast.Compare(left, [instead], right_side)
        case ast.IfExp(test=test, body=body, orelse=orelse) if not isinstance(test, ast.Compare):
            yield "condition", ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            yield "off by one", ast.Constant(value + 1)
            if value > 0:
                yield "off by one", ast.Constant(value - 1)
        case ast.Slice(lower=None, upper=ast.UnaryOp(op=ast.USub(), operand=bound)):
            yield "slice", ast.Slice(bound, None)  # h[:-1] -> h[1:]
        case ast.Slice(lower=lower, upper=upper) if (lower is None) != (upper is None):
            yield "slice", ast.Slice(upper, lower)
        case ast.Attribute(value=value, attr="T"):
            yield "not transposed", value
        case ast.Attribute(value=value, attr=attr, ctx=ctx) if attr in ATTRIBUTES:
            yield "variable", ast.Attribute(value, ATTRIBUTES[attr], ctx)
        case ast.Call(func=ast.Name(id="_select"), args=[_, _, chosen, otherwise]):
            yield "mask forgotten", chosen
            yield "mask forgotten", otherwise
        case ast.Call(func=ast.Attribute(attr="concatenate") as function, args=[blocks, *rest], keywords=keywords):
            for order in _other_orders(blocks):
                yield "order", ast.Call(function, [order, *rest], keywords)


def _other_orders(blocks: ast.expr) -> Iterator[ast.expr]:
    """Two neighbours exchanged; or all reversed, where the blocks are not written out."""
    if isinstance(blocks, (ast.Tuple, ast.List)):
        for k in range(len(blocks.elts) - 1):
            order = list(blocks.elts)
            order[k : k + 2] = order[k + 1], order[k]
            yield type(blocks)(order, ast.Load())
    else:
        backwards = ast.Slice(None, None, ast.UnaryOp(ast.USub(), ast.Constant(1)))
        yield ast.Subscript(blocks, backwards, ast.Load())


def _signed(statement: ast.stmt) -> Iterator[ast.expr]:
    """Every number or array that the statement assigns or returns."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in KIND or name.startswith("d"):
            yield from flat(value)
        case ast.AugAssign(op=ast.Add(), value=value) | ast.Expr(value=ast.Call(args=[_, value])):
            yield value
        case ast.Assign(targets=[ast.Subscript()], value=value) | ast.Return(value=ast.expr() as value):
            yield from flat(value)
        case ast.Assign(targets=[ast.Tuple()], value=ast.Tuple() as value):
            yield from flat(value)


def flat(value: ast.expr) -> Iterator[ast.expr]:
    """The values of a nest of tuples and choices that can take a sign."""
    match value:
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from flat(part)
        case ast.IfExp(body=body, orelse=orelse):
            yield from flat(body)
            yield from flat(orelse)
        case ast.Constant(value=None) | ast.Starred() | ast.Call(func=ast.Name(id="tuple" | "dict" | "Adjoints")):
            pass
        case ast.Call(
            func=ast.Attribute(attr="zeros" | "empty" | "empty_like" | "zeros_like")
        ):  # a sign changes nothing there
            pass
        case _:
            yield value


def replaced(tree: _Tree, site: ast.AST, new: ast.AST) -> _Tree:
    """A copy of the tree with one node replaced: the memo puts `new` wherever `site` stood."""
    return copy.deepcopy(tree, {id(site): new})
