"""Options of every cell, as changes to its phases: zoneout, and a mask on the recurrent input.

The factors k_X are drawn by the layer.  A changed cell is in no registry, and one cell with one option is one object.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.cells import Cell
from kernels.equations import error
from kernels.gates.types import Array
from kernels.phases import Phase, Projection

MASKED = "masked_h"


def zoneout_forward(S: Array, S_prev: Array, k_zone_S: Array, one: Array) -> Array:
    """Zoneout (Krueger et al. 2016): a unit keeps its old state where k is 1; k is the rate itself in evaluation."""
    S = k_zone_S * S_prev + (one - k_zone_S) * S
    return S


def zoneout_backward(dS: Array, k_zone_S: Array, one: Array) -> Array:
    """Reverse of `zoneout_forward`."""
    dS_prev = dS * k_zone_S  # S = k_zone_S * S_prev + (one - k_zone_S) * S
    dS = dS * (one - k_zone_S)  # S = k_zone_S * S_prev + (one - k_zone_S) * S
    return dS_prev, dS


def mask_forward(h_prev: Array, k_h: Array) -> Array:
    """Variational dropout of the recurrent input (Gal and Ghahramani 2016): one mask for all steps of a row."""
    masked_h = h_prev * k_h
    return masked_h


def mask_backward(dmasked_h: Array, k_h: Array) -> Array:
    """Reverse of `mask_forward`."""
    dh_prev = dmasked_h * k_h  # masked_h = h_prev * k_h
    return dh_prev


def with_zoneout(cell: Cell, states: Sequence[str]) -> Cell:
    """The cell with zoneout of these states, in phases after its own; the new c makes h, not the zoned one.

    Parameters
    ----------
    states : which of its states; each asks the layer for a factor k_zone_S (T, B, width of S).

    Raises
    ------
    CellError
        if one is no state of the cell.
    """
    for state in states:
        if state not in cell.states:
            words = f"zoneout: {state!r} is no state; expected some of {', '.join(cell.states)}"
            raise error(cell.name, words, cell.works[0].forward)
    chosen = tuple(state for state in cell.states if state in states)  # whatever their order and number
    if not chosen:
        return cell
    ending = "zoneout_" + "_".join(chosen)
    if ending not in cell.variants:
        zones = {state: Phase("", zoneout_forward, zoneout_backward, None, names={"S": state}) for state in chosen}
        after = [zones.pop("h")] if cell.projected and "h" in zones else []  # the projection makes h
        own = [phase for phase in cell.phases if isinstance(phase, Phase)]
        projection = [phase for phase in cell.phases if isinstance(phase, Projection)]
        phases: tuple[Phase | Projection, ...] = (*own, *zones.values(), *projection, *after)
        cell.variants[ending] = cell.changed(ending, phases, (with_zoneout, (cell, chosen)))
    return cell.variants[ending]


def with_recurrent_mask(cell: Cell) -> Cell:
    """The cell with recurrent weights that multiply h_prev * k_h instead of h_prev; all else sees h_prev itself.

    A product of something else, such as that of r * h_prev (GRU, reset before), stays as it is.

    Raises
    ------
    CellError
        if the cell has no product with h_prev.
    """
    if not any(isinstance(phase, Phase) and _multiplies_h(phase) for phase in cell.phases):
        raise error(
            cell.name, "no recurrent weights multiply h_prev, so there is nothing to mask", cell.works[0].forward
        )
    if "mask" not in cell.variants:
        changed: list[Phase | Projection] = [
            phase.multiplying(MASKED) if isinstance(phase, Phase) and _multiplies_h(phase) else phase
            for phase in cell.phases
        ]
        first = Phase("", mask_forward, mask_backward, None)
        cell.variants["mask"] = cell.changed("mask", (first, *changed), (with_recurrent_mask, (cell,)))
    return cell.variants["mask"]


def _multiplies_h(phase: Phase) -> bool:
    return bool(phase.gates) and phase.source == "h_prev"
