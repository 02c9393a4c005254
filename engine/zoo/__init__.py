"""The bug zoo: mistakes in backward code, each planted for as long as a ``with`` block lasts.

They are the mistakes that people make, and some that are hard to see.  A gradient checker has to find every one; in
class they show what a wrong gradient looks like.

    bug = zoo.find("lstm-final-c-dropped")
    case = bug.case(0)
    with bug.plant():
        report = engine.gradcheck(case.layer, case.x, case.state, case.lengths)

`bug` says what a bug is, `rewriting` how it is planted, `cases` where it shows.  The bugs themselves stand by family:
`lstm`, `gru`, `gru_before` and `rnn` (the equations), `units` (weights of a unit, phases, projection, masks), `states`,
`loop` (time), `lengths`, `stacking` (layers, directions, dropout between them), `weights` (products), `around` (the
other layers), `truncated`, `protocol`.
"""

from __future__ import annotations

import difflib

from engine.checking.diagnosis.causes import CAUSES
from engine.checks import describe
from engine.errors import bad_input
from engine.zoo import (
    around,
    gru,
    gru_before,
    lengths,
    loop,
    lstm,
    protocol,
    rnn,
    stacking,
    states,
    truncated,
    units,
    weights,
)
from engine.zoo.bug import Bug, BugCase

__all__ = ["BUGS", "CAUSES", "Bug", "BugCase", "find"]

_FAMILIES = (lstm, gru, gru_before, rnn, units, states, loop, lengths, stacking, weights, around, truncated, protocol)

#: All bugs by name, in a fixed order.
BUGS: dict[str, Bug] = {bug.name: bug for family in _FAMILIES for bug in family.BUGS}


def find(name: str) -> Bug:
    """The bug of that name.

    Raises
    ------
    InputError
        for an unknown name; the message lists those that look like it.
    """
    if name in BUGS:
        return BUGS[name]
    near = difflib.get_close_matches(str(name), BUGS, n=5, cutoff=0.4)
    hint = f"near it: {', '.join(near)}" if near else "bptt gradcheck --bugs lists them"
    raise bad_input("inject", f"the name of one of the {len(BUGS)} bugs", describe(name), hint)
