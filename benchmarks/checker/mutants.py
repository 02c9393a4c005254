"""Small mistakes planted in every backward line of the kernels, one at a time, to try the gradient checks on.

A mutant differs from the right code in one expression of one line: a sign, a factor left out, one gate in place of
another, a step too far.  `generate` finds them in the syntax trees of the cells' pages and of what is derived from
them; `Mutant.plant` puts one in place for a while.  Only what runs from the plain source sees it: what Numba has
compiled stays as it was.  Every loop mutated here runs over a finite range, so no mutant runs forever.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from benchmarks.checker.mutant_blame import Flow
from benchmarks.checker.mutant_mistakes import head, mistakes, replaced, statements
from kernels import activations, options, products, reference, steps
from kernels.cells import Cell, cells
from kernels.gates import normalising

#: What is tried under a mutant, the one with most to go wrong first: a cell, and options of the layer.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    name: (name, {})
    for name in (
        "lstm", "gru", "gru_before", "peephole_lstm", "layernorm_gru", "rnn_tanh", "rnn_relu", "layernorm_lstm", "mgu",
        "coupled_lstm", "slstm", "indrnn", "leaky_rnn",
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
        function = function_of(self.module, self.function)
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
            for statement, scope in statements(tree):
                for site, operator, new in mistakes(statement, scope):
                    before, after = head(statement), head(replaced(statement, site, new))
                    if after == before or (statement.lineno, after) in seen:
                        continue
                    seen.add((statement.lineno, after))
                    blame = flow.blame(tree, statement, site) if flow else frozenset()
                    line = getattr(site, "lineno", statement.lineno)
                    change = Change(tree, site, new)
                    found.append(Mutant(module, name, line, before, after, operator, settings, blame, change))
    return found


# -- functions ---------------------------------------------------------------------------------------------------------


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


def function_of(module: str, name: str) -> FunctionType:
    """The function itself, below its decorators."""
    found: object = MODULES[module]
    for part in name.split("."):
        found = getattr(found, part)
    found = inspect.unwrap(found)  # type: ignore[arg-type]
    assert isinstance(found, FunctionType)
    return found


def _compile(change: Change, module: ModuleType) -> CodeType:
    wrong = replaced(*change)
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


def _flow_of(module: str, name: str) -> Flow | None:
    found = _cell_of(module, name)
    return None if found is None else Flow(*found)
