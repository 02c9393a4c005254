"""Small mistakes planted in every backward line of the kernels, one at a time, to try the gradient checks on.

A mutant differs from the right code in one expression of one line: a sign, a factor left out, one gate in place of
another, a step too far.  `generate` finds them in the syntax trees of the cells' pages and of what is derived from
them; `Mutant.plant` puts one in place for a while.  Only what runs from the plain source sees it: what Numba has
compiled stays as it was.  Every loop mutated here runs over a finite range, so no mutant runs forever.
"""

from __future__ import annotations

import ast
import copy
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, TypeVar

from kernels import activations, options, products, reference, steps
from kernels.cells import Cell, cells
from kernels.gates import normalising

#: What is tried under a mutant, the one with most to go wrong first: a cell, and options of the layer.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    name: (name, {})
    for name in (
        "lstm", "gru", "gru_before", "peephole_lstm", "layernorm_gru", "rnn_tanh", "rnn_relu", "layernorm_lstm", "mgu",
        "coupled_lstm", "slstm", "indrnn",
    )
} | {
    "projected_lstm": ("projected_lstm", {"proj_size": 2}),
    "zoneout": ("lstm", {"zoneout": (0.3, 0.4)}),
    "projected zoneout": ("projected_lstm", {"proj_size": 2, "zoneout": (0.3, 0.4)}),
    "recurrent mask": ("gru", {"recurrent_dropout": 0.4}),
    "odd": ("odd", {}),
}  # fmt: skip
#: Those that between them run every line that all cells share.
SHARED = (
    "lstm", "gru", "gru_before", "projected_lstm", "layernorm_gru", "layernorm_lstm", "zoneout", "peephole_lstm",
    "indrnn", "odd", "projected zoneout",
)  # fmt: skip

#: The cells that come with the package, whatever others have been declared.
_BUILT_IN = [cell for cell in cells().values() if cell.works[0].forward.function.__module__.startswith("kernels.gates")]
_PAGES = {work.backward.function.__module__ for cell in _BUILT_IN for work in cell.works}
MODULES: dict[str, ModuleType] = {name: sys.modules[name] for name in sorted(_PAGES)} | {
    module.__name__: module for module in (normalising, options, activations, steps, reference, products)
}

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


class Change(NamedTuple):
    """In a function's tree, one node and what stands in its place."""

    tree: ast.FunctionDef
    site: ast.AST
    new: ast.AST


@dataclass(frozen=True)
class Mutant:
    """One small mistake.

    Attributes
    ----------
    module, function, line : where it stands, such as ``"kernels.gates.lstm"``, ``"backward"`` and 30.
    before, after : the statement, or the head of it, right and wrong.
    operator : what kind of mistake it is, such as ``"arithmetic"`` or ``"variable"``.
    settings : those of `SETTINGS` that run the line, the one to try first in front.
    gates : the gates that a right diagnosis may name, in a cell's page; empty elsewhere.  They are the gates whose
        gradient the mistake reaches within its own step.  None among them stands for "no gate": the mistake spoils
        several gates from outside, or none at all, or the cell has but one.
    """

    module: str
    function: str
    line: int
    before: str
    after: str
    operator: str
    settings: tuple[str, ...]
    gates: frozenset[str | None]
    _change: Change = field(repr=False, compare=False)

    def __str__(self) -> str:
        place = f"{self.module.replace('.', '/')}.py:{self.line}"
        return f"{place} {self.function}: {self.before}  ->  {self.after}  ({self.operator})"

    @contextmanager
    def plant(self) -> Iterator[None]:
        """Put the mistake in place, and take it out on leaving.

        The function keeps its identity and changes its code, so that tables, methods and decorators that hold it see
        the mistake too.
        """
        function = _function(self.module, self.function)
        right = function.__code__
        function.__code__ = _compile(self._change, MODULES[self.module])
        try:
            yield
        finally:
            function.__code__ = right


def generate() -> list[Mutant]:
    """Every mutant, in the order of the source; the same list on every call.

    Returns
    -------
    list of Mutant
        no two of them alike.
    """
    found: list[Mutant] = []
    for module in MODULES:
        for name, tree in _backward_functions(module):
            settings, flow = _settings(module, name), _flow_of(module, name)
            seen = set()
            for statement, scope in _statements(tree):
                for site, operator, new in _mistakes(statement, scope):
                    before, after = _head(statement), _head(_replaced(statement, site, new))
                    if after == before or (statement.lineno, after) in seen:
                        continue
                    seen.add((statement.lineno, after))
                    blame = flow.blame(tree, statement, site) if flow else frozenset()
                    line = getattr(site, "lineno", statement.lineno)
                    change = Change(tree, site, new)
                    found.append(Mutant(module, name, line, before, after, operator, settings, blame, change))
    return found


# -- functions and statements ----------------------------------------------------------------------------------------


_ALSO = ("take", "add", "add_place", "operand")  # backward code by other names


def _backward_functions(module: str) -> list[tuple[str, ast.FunctionDef]]:
    """The backward functions and methods of a module, with their syntax trees."""
    found = []
    for node in ast.parse(inspect.getsource(MODULES[module])).body:
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef) and (
                inner.name.endswith(("backward", "_slope", "backward_layer", "_of_value")) or inner.name in _ALSO
            ):
                if "forward" not in inner.name:
                    found.append((owner + inner.name, inner))
    return found


def _cell_of(module: str, name: str) -> tuple[Cell, int] | None:
    """A cell that has the function in its page, and the number of the phase."""
    for cell in _BUILT_IN:
        for k, work in enumerate(cell.works):
            if (work.backward.function.__module__, work.backward.name) == (module, name):
                return cell, k
    return None


def _function(module: str, name: str) -> FunctionType:
    """The function itself, below its decorators."""
    found: object = MODULES[module]
    for part in name.split("."):
        found = getattr(found, part)
    found = inspect.unwrap(found)  # type: ignore[arg-type]
    assert isinstance(found, FunctionType)
    return found


def _replaced(tree: _Tree, site: ast.AST, new: ast.AST) -> _Tree:
    """A copy of the tree with one node replaced: the memo puts `new` wherever `site` stood."""
    return copy.deepcopy(tree, {id(site): new})


def _compile(change: Change, module: ModuleType) -> CodeType:
    wrong = _replaced(*change)
    wrong.decorator_list = []  # the code goes into the function below its decorators
    whole = ast.fix_missing_locations(ast.Module([wrong], []))
    made: dict[str, FunctionType] = {}
    exec(compile(whole, f"<mutant of {module.__name__}>", "exec"), vars(module), made)
    return made[wrong.name].__code__


def _settings(module: str, name: str) -> tuple[str, ...]:
    """The settings that run a function."""
    if name.endswith("_slope"):
        return ("rnn_" + name.removesuffix("_slope"),)
    if module == options.__name__:
        return ("recurrent mask",) if name.startswith("mask") else ("zoneout", "projected zoneout")
    if module == normalising.__name__:
        return ("layernorm_lstm", "layernorm_gru")
    page = tuple(
        setting
        for setting, (cell, more) in SETTINGS.items()
        if cell != "odd"
        and not more.keys() - {"proj_size"}
        and any(work.backward.function.__module__ == module for work in cells()[cell].works)
    )
    return page or SHARED


def _statements(tree: ast.FunctionDef) -> Iterator[tuple[ast.stmt, list[str]]]:
    """Every statement in order, with the names that are bound before it."""
    scope = [argument.arg for argument in tree.args.args]

    def walk(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, list[str]]]:
        for statement in body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):  # the docstring
                continue
            yield statement, list(scope)
            scope.extend(sorted(_names(statement, ast.Store) - set(scope)) if _parts(statement) else [])
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


def _names(statement: ast.AST, context: type[ast.expr_context] = ast.Load) -> set[str]:
    """The names read (or bound) in a statement or expression."""
    parts: list[ast.AST] = [*_parts(statement)] if isinstance(statement, ast.stmt) else [statement]
    nodes = (node for part in parts for node in ast.walk(part))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def _head(statement: ast.stmt) -> str:
    """The statement as text, without the statements inside it."""
    shallow = copy.copy(statement)
    if isinstance(shallow, (ast.If, ast.For)):
        shallow.body, shallow.orelse = [ast.Pass()], []
    return ast.unparse(ast.fix_missing_locations(shallow)).splitlines()[0]


# -- the mistakes ----------------------------------------------------------------------------------------------------


def _mistakes(statement: ast.stmt, scope: list[str]) -> Iterator[tuple[ast.AST, str, ast.AST]]:
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
            yield from _flat(value)
        case ast.AugAssign(op=ast.Add(), value=value) | ast.Expr(value=ast.Call(args=[_, value])):
            yield value
        case ast.Assign(targets=[ast.Subscript()], value=value) | ast.Return(value=ast.expr() as value):
            yield from _flat(value)
        case ast.Assign(targets=[ast.Tuple()], value=ast.Tuple() as value):
            yield from _flat(value)


def _flat(value: ast.expr) -> Iterator[ast.expr]:
    """The values of a nest of tuples and choices that can take a sign."""
    match value:
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from _flat(part)
        case ast.IfExp(body=body, orelse=orelse):
            yield from _flat(body)
            yield from _flat(orelse)
        case ast.Constant(value=None) | ast.Starred() | ast.Call(func=ast.Name(id="tuple" | "dict" | "Adjoints")):
            pass
        case ast.Call(
            func=ast.Attribute(attr="zeros" | "empty" | "empty_like" | "zeros_like")
        ):  # a sign changes nothing there
            pass
        case _:
            yield value


# -- which gate is to blame ------------------------------------------------------------------------------------------


def _flow_of(module: str, name: str) -> _Flow | None:
    found = _cell_of(module, name)
    return None if found is None else _Flow(*found)


class _Flow:
    """Where a wrong value of one phase goes within a step of a cell.

    Parameters
    ----------
    cell, phase : the cell, and the number of the phase whose backward function is wrong.
    """

    def __init__(self, cell: Cell, phase: int) -> None:
        self.cell, self.phase = cell, phase

    def blame(self, tree: ast.FunctionDef, statement: ast.stmt, site: ast.AST) -> frozenset[str | None]:
        """The gates that a right diagnosis may name; see `Mutant.gates`."""
        letters = self.cell.gates
        if len(letters) == 1:
            return frozenset({None})

        def holds(expression: ast.AST) -> bool:
            return any(node is site for node in ast.walk(expression))

        if isinstance(statement, ast.Assign):
            spoilt = self._assign(statement, set(), holds)
            at_end = self._follow(tree, spoilt, tree.body.index(statement) + 1)
        else:
            assert isinstance(statement, ast.Return)
            assert statement.value is not None
            parts = [part for part in _flat(statement.value) if holds(part) and isinstance(part, ast.Name)]
            spoilt = at_end = {part.id for part in parts}
        reached = self._gates(at_end) | self._onwards(at_end)
        own = self._gates(spoilt) | {letter for letter in letters if "d" + letter in spoilt}
        return frozenset(reached) if len(reached) == 1 or own else frozenset({None, *reached})

    def _onwards(self, wrong: set[str]) -> set[str]:
        """The gates reached in the phases before, if this one returns these names wrong."""
        reached: set[str] = set()
        for k in range(self.phase, 0, -1):
            work = self.cell.works[k]
            if work.source is not None and self._gates(wrong) & set(work.gates):
                wrong = wrong | {"d" + work.source.name}
            tree = self.cell.works[k - 1].backward.tree
            wrong = wrong | self._follow(tree, wrong & set(self.cell.works[k - 1].backward.arguments), 0)
            reached |= self._gates(wrong)
        return reached

    def _follow(self, tree: ast.FunctionDef, wrong: set[str], start: int) -> set[str]:
        """The names that are wrong at the end, if these names are wrong at a statement."""
        for statement in tree.body[start:]:
            if isinstance(statement, ast.Assign):
                before = frozenset(wrong)
                wrong = self._assign(statement, wrong, lambda part, before=before: bool(_names(part) & before))
        return wrong

    @staticmethod
    def _assign(statement: ast.Assign, wrong: set[str], spoils: Callable[[ast.AST], bool]) -> set[str]:
        """The same after one assignment."""
        targets = _names(statement, ast.Store)
        return (wrong - targets) | (targets if spoils(statement.value) else set())

    def _gates(self, names: set[str]) -> set[str]:
        """The gates whose gradients these are: da_i is that of i; dh_n is the hidden side's of n."""
        return {gate for gate in self.cell.gates for kind in "axh" if f"d{kind}_{gate}" in names}
