"""A cell: what one time step computes, given as gate functions; everything else is read off their names.

A step is one `Phase` or several.  A phase is a product with recurrent weights and the gate functions after it.  The
names of a function's arguments and results say where each value lies (docs/your_own_cell.md lists them):

a_X, x_X, h_X   pre-activation of gate X, its input part (with bias_ih), its hidden part (with bias_hh)
S_prev, S       a state before and after the step; h always, others such as c
p_X             a weight of each unit (H,)
k_X             a factor of each unit and step that the layer supplies (dropout and zoneout masks)
dV              gradient of the loss with respect to V; ``dS_prev`` is the direct part, the engine adds what comes
                through the recurrent product
da_X; dx_X, dh_X   gradient of a gate's pre-activation; of its two parts where they differ
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from kernels.equations import CellError, error
from kernels.names import read_phases
from kernels.phases import Phase, Projection

__all__ = ["Adjoints", "Cell", "CellError", "Pass", "Phase", "Projection", "Run", "cells", "factors_of", "find"]

Array = Any  # of any array library


class Pass(NamedTuple):
    """What all steps of one layer and direction share in a pass.

    Attributes
    ----------
    cell : whose steps they are.
    weights : weight_ih (G*H, D), weight_hh (R*H, P), bias_ih (G*H,), bias_hh (R*H,), weight_hr (P, H) and every p_X
        (H,) by name; those that the layer does not have are absent.
    lengths : (B,) integers on the same device, the number of valid steps of each row; None means all of them.
    factors : k_X by name, each (T or 1, B or 1, H), for a cell that asks for them.
    precision : what the products are computed in, and which matrices are exempt (`kernels.rounding.without`); anything
        but "float32" takes float32 arrays.
    packs : what a kernel set keeps of these weights from pass to pass (`kernels.Kernels.packs`); None if nothing.
    """

    cell: Cell
    weights: Mapping[str, Array]
    lengths: Array = None
    factors: Mapping[str, Array] = MappingProxyType({})
    precision: str = "float32"
    packs: Any = None


class Run(NamedTuple):
    """What the forward time loop of one layer and direction leaves for its backward (G gate blocks; rule 6).

    Attributes
    ----------
    states : for each state (T+1, B, H), slot 0 the initial one; a step past a row's end repeats the state before it.
        The hidden state of a projected cell is (T+1, B, P).
    gates : (T, B, G, H) activated gates, 0 past a row's end.
    kept : the further values that backward asks for, by name, each (T, B, H); 0 past a row's end.
    """

    states: tuple[Array, ...]
    gates: Array
    kept: dict[str, Array]

    @property
    def h(self) -> Array:
        """(T+1, B, H) hidden states."""
        return self.states[0]

    def window(self, start: int, stop: int) -> Run:
        """The steps ``start <= t < stop``, as views."""
        kept = {name: values[start:stop] for name, values in self.kept.items()}
        return Run(tuple(slots[start : stop + 1] for slots in self.states), self.gates[start:stop], kept)


class Adjoints(NamedTuple):
    """What the backward time loop returns.

    Attributes
    ----------
    da : (T, B, G, H) gradients of the pre-activations on the input side; 0 past a row's end.
    da_hidden : the same on the hidden side; it is `da` itself unless some gate has two different gradients.
    dstates : for each state (B, H), the gradient of the initial one.
    traces : for each state (T+1, B, H), the gradient of every slot; None unless a trace was asked for.
    own : gradient of every weight p_X (H,), summed over rows and steps.
    dprojected : (T, B, P) gradient of the projection's product; None without a projection.
    """

    da: Array
    da_hidden: Array
    dstates: tuple[Array, ...]
    traces: tuple[Array, ...] | None
    own: dict[str, Array]
    dprojected: Array


def factors_of(factors: Mapping[str, Array], steps: slice) -> dict[str, Array]:
    """The factors k_X of some time steps; one that has a single step holds for all."""
    return {name: factor[steps] if len(factor) > 1 else factor for name, factor in factors.items()}


class Cell:
    """A recurrent cell, declared by the functions of one step.

    Parameters
    ----------
    name : str
        Its name in the registry, in checkpoints and on the command line.
    *phases : Phase or Projection
        One `Phase` or several, in order; a `Projection` may come last.  Kept as an attribute, as is `initial`.
    act : {"tanh", "relu"}
        What gate functions get as ``act`` and ``act_slope``.
    initial : dict of str to float, or None
        First values of weights ``p_X``, by name; the others start as all weights do (rule 4).
    title : str or None
        Its name in messages; None means `name`.

    Attributes
    ----------
    gates : tuple of str
        Names of the gates, in the order of their blocks in the weights (rule 1).
    recurrent : tuple of str
        Those of them that have recurrent weights: the blocks of weight_hh.
    states : tuple of str
        h, then every other state in the order in which forward returns them (rule 25).
    own : tuple of str
        Names p_X of the weights of a unit.
    given : tuple of str
        Names k_X of the factors that the layer supplies.
    kept : tuple of str
        Names of the values on the tape beside states and gates.
    separate : tuple of str
        Gates whose hidden part is kept apart from the input part.
    splits : tuple of str
        Gates whose two parts have gradients of their own.
    biased : bool
        Whether the products have biases.
    projected : str or None
        What the projection multiplies to make the hidden state (of width P); None without one.
    projected_at : int
        How many of the works stand before the projection.
    works, stages : tuple
        The phases as they were read, and the passes over the units that they make.

    Raises
    ------
    CellError
        If the functions disagree; it names the function and the line.
    """

    def __init__(
        self,
        name: str,
        *phases: Phase | Projection,
        act: str = "tanh",
        initial: dict[str, float] | None = None,
        title: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.isidentifier() or "__" in name:
            raise CellError(f"cell: expected a name of letters, digits and single _, got {name!r}")
        self._read(name, phases, act, initial or {}, title or name)
        if self.given:
            words = f"{self.given[0]!r} is asked for, but names k_X belong to the options that the layer supplies"
            raise error(name, words, self.works[0].forward)
        self._origin: tuple[Any, ...] = (find, (name,))
        _register(self)

    def changed(self, ending: str, phases: tuple[Phase | Projection, ...], origin: tuple[Any, ...]) -> Cell:
        """Make a cell from this one, for a layer's own use: it is in no registry.

        Parameters
        ----------
        ending : str
            What is added to the name, after ``__``, which no public name has.
        phases : tuple of Phase or Projection
            Its phases.
        origin : tuple
            The pair (function, arguments) that makes it again, for copies and other processes.

        Returns
        -------
        Cell
            The new one.
        """
        found = Cell.__new__(Cell)
        found._read(f"{self.name}__{ending}", phases, self.act, self.initial, f"{self.title} ({ending})")
        found._origin = origin
        return found

    def _read(
        self, name: str, phases: tuple[Phase | Projection, ...], act: str, initial: dict[str, float], title: str
    ) -> None:
        """Set every attribute from what the phases say."""
        if act not in ("tanh", "relu"):
            raise error(name, f"act: expected 'tanh' or 'relu', got {act!r}")
        self.name, self.phases, self.act, self.title = name, phases, act, title
        layout = read_phases(name, phases)
        self.gates, self.recurrent, self.states, self.kept = layout.gates, layout.recurrent, layout.states, layout.kept
        self.own, self.given = layout.own, layout.given
        self.separate, self.splits, self.biased = layout.separate, layout.splits, layout.biased
        self.projected, self.projected_at = layout.projected, layout.projected_at
        self.works, self.stages = layout.works, layout.stages
        self.initial = layout.initial | self._first_values(initial)
        self.variants: dict[str, Cell] = {}  # this cell with options (`kernels.options`), made once

    def _first_values(self, initial: dict[str, float]) -> dict[str, float]:
        for name in initial:
            if name not in self.own:
                raise error(self.name, f"initial: {name!r} is no weight of this cell; it has {self.own or 'none'}")
        return dict(initial)

    def is_narrow(self, name: str) -> bool:
        """Whether a state, or a value on the tape, has the P numbers of a projected hidden state."""
        if self.projected is None:
            return False
        return name == "h" or any(name in work.labels for work in self.works if work.narrow)

    @property
    def source(self) -> str:
        """The text of all its gate functions: two cells of one text compute the same."""
        return "\n\n".join(text for work in self.works for text in (work.forward.source, work.backward.source))

    def __repr__(self) -> str:
        return f"Cell({self.name!r}, gates={self.gates}, states={self.states})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._origin  # a cell is its name: its functions are never taken from a file


_CELLS: dict[str, Cell] = {}
_BUILT_IN = "kernels.gates"


def _register(cell: Cell) -> None:
    """Enter the cell under its name; a cell whose functions were defined again replaces the old one."""
    there = _CELLS.get(cell.name)
    if there is not None and not _rewritten(there, cell):
        words = f"the name is taken; choose another (engine.cells()[{cell.name!r}] is that cell)"
        raise error(cell.name, words, cell.works[0].forward)
    _CELLS[cell.name] = cell


def _rewritten(old: Cell, new: Cell) -> bool:
    """Whether `new` is `old` defined again, perhaps edited: running a notebook cell twice does that."""
    pairs = [
        (before.function, after.function)
        for one, other in zip(old.works, new.works, strict=False)
        for before, after in ((one.forward, other.forward), (one.backward, other.backward))
    ]
    named_alike = all((a.__module__, a.__qualname__) == (b.__module__, b.__qualname__) for a, b in pairs)
    edited = any(a is not b for a, b in pairs)
    same = _declaration(old) == _declaration(new)
    return named_alike and (edited or same) and not pairs[0][0].__module__.startswith(_BUILT_IN)


def _declaration(cell: Cell) -> tuple[Any, ...]:
    """What a declaration says beside the gate functions."""
    return cell.act, cell.initial, cell.projected, [(work.gates, work.source, work.between) for work in cell.works]


def cells() -> MappingProxyType[str, Cell]:
    """Every known cell by name; importing `kernels.gates` enters those that come with the package."""
    return MappingProxyType(_CELLS)


def find(name: str) -> Cell:
    """The cell of that name; KeyError if none is registered."""
    return cells()[name]
