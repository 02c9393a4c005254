"""Which gate a right diagnosis may blame for a mutant in a cell's page: those that the mistake reaches."""

from __future__ import annotations

import ast
from collections.abc import Callable

from benchmarks.checker.mutant_mistakes import flat, names_in
from kernels.cells import Cell


class Flow:
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
            parts = [part for part in flat(statement.value) if holds(part) and isinstance(part, ast.Name)]
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
                wrong = self._assign(statement, wrong, lambda part, before=before: bool(names_in(part) & before))
        return wrong

    @staticmethod
    def _assign(statement: ast.Assign, wrong: set[str], spoils: Callable[[ast.AST], bool]) -> set[str]:
        """The same after one assignment."""
        targets = names_in(statement, ast.Store)
        return (wrong - targets) | (targets if spoils(statement.value) else set())

    def _gates(self, names: set[str]) -> set[str]:
        """The gates whose gradients these are: da_i is that of i; dh_n is the hidden side's of n."""
        return {gate for gate in self.cell.gates for kind in "axh" if f"d{kind}_{gate}" in names}
