"""One row of one time step, for the compiled loops: a function for each stage and direction, from the cell's places.

A row function applies the gate functions of a stage (`kernels.cpu.scalar`: the very same source) to hidden units
`first` to `last` of one row, and knows where in the arrays a value lies; nothing else.  ``print(make_rows(cell).text)``
shows them.

Forward (R rows of a chunk of steps, S slots: T+1 of a tape, or the two that `predict` swaps):
pre (R, G, H) pre-activations, the recurrent product included unless its gate's hidden part is apart; states (S, B, H)
each; gate (S, B, G, H); kept (S, B, H) each.  ``r`` is the row in pre, ``b`` the row of the batch, ``s`` and
``s_next`` the slots of the states before and after, ``g`` the slot of gates and kept values, ``t`` the step.

Backward: dstates (B, H) each, what the states of this step receive on entry, what the states before it receive on
leaving (less what comes through the products); values, spares (B, H) each, see `kernels.cpu.flow`; da, da_hidden
(R, G*H and some padding); down (R, n*H) gradients of the cell's own weights, row by row.

``first`` and ``last`` are unsigned.  If an index might be negative, Numba adds the length of the axis at every access,
and the loop stays scalar (ten times slower).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.activations import relu_slope, tanh_slope
from kernels.cells import Cell
from kernels.cpu import activations
from kernels.cpu.compiling import inlined
from kernels.cpu.flow import Flow, Target, flow
from kernels.cpu.row_texts import row_texts
from kernels.cpu.scalar import scalar_text_of

Row = Callable[..., Any]
#: `act_slope` of each nonlinearity, as a text.
_SLOPES = {"tanh": scalar_text_of(tanh_slope, "one"), "relu": scalar_text_of(relu_slope, "one")}


class Rows(NamedTuple):
    """The compiled row functions of a cell.

    Attributes
    ----------
    forward, backward : one a stage.
    targets : for each stage, what takes the gradient of what its product multiplied; projected : of the projection.
    flow : the arrays of a backward step.
    carry : past a row's end: the state before is the state after, gates and kept values are 0.
    note : the gradients of the states after a step, for a trace.
    leave : spare arrays take their place among the states' gradients.
    flatten : a tuple of arrays as a tuple of lines; one function for each number of arrays.
    text : all that they are made of.
    """

    forward: tuple[Row, ...]
    backward: tuple[Row, ...]
    targets: tuple[Target | None, ...]
    projected: Target | None
    flow: Flow
    carry: Row
    note: Row
    leave: Row
    flatten: Callable[[int], Row]
    text: str


def make_rows(cell: Cell) -> Rows:
    """Write out and mark for compilation the row functions of a cell."""
    arrays = flow(cell)
    texts = row_texts(cell, arrays)
    slope = _SLOPES[cell.act]
    names: dict[str, Any] = {
        "__name__": __name__,  # where Numba looks for the globals of a function that it loads from disk
        "np": np,
        "number__": activations.number,
    }
    names |= {name: getattr(activations, name) for name in ("sigmoid", "tanh", "relu", "exp", "log", "maximum")}
    names["act"] = names[cell.act]
    names["act_slope"] = _define(slope, names)
    for text in texts.functions:
        _define(text, names)
    return Rows(
        tuple(_define(text, names) for text in texts.forward),
        tuple(_define(text, names) for text in texts.backward),
        texts.targets,
        texts.projected,
        arrays,
        _define(texts.carry, names),
        _define(texts.note, names),
        _define(texts.leave, names),
        _flatten,
        "\n".join(
            [cell.act, slope, *texts.functions, *texts.forward, *texts.backward, texts.carry, texts.note, texts.leave]
        ),
    )


def _define(text: str, names: dict[str, Any]) -> Row:
    """Run the text of one function, mark it as inlined and enter it among the names."""
    name = text[len("def ") : text.index("(")]
    exec(text, names)
    names[name] = inlined(names[name])
    return names[name]


def _flatten(count: int) -> Row:
    """A function that gives each of `count` arrays as a line."""
    parts = "".join(f"arrays[{k}].reshape(-1), " for k in range(count))
    return _define(f"def flatten_{count}(arrays):\n    return ({parts})\n", {"__name__": __name__})
