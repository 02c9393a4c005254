"""Bugs in the equations of the GRU whose reset gate acts before the product."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import BEFORE_LAST, CELL, LAST, NO_GATE, RECURRENT, blocks, only, recurrent
from engine.zoo.rewriting import (
    GRU_BEFORE_GATES,
    GRU_BEFORE_OUTPUT,
    OPERAND,
    STEP,
    Rewrite,
)

_CASE = recurrent("gru_before")


def _gate(name: str, story: str, plant: Rewrite, *gates: str, cause: str | None = None) -> Bug:
    """A wrong gradient of one or more pre-activations, from the last step on."""
    return Bug(name, story, _CASE, plant, CELL, blocks(*gates), LAST, cause=cause)


def _dh_prev(
    name: str,
    story: str,
    plant: Rewrite,
    names: frozenset[str] = RECURRENT,
    gate: str | None = None,
    cause: str | None = None,
) -> Bug:
    """A wrong gradient on its way to the step before, where the gates first feel it."""
    gates = NO_GATE if gate is None else NO_GATE | {gate}
    return Bug(name, story, _CASE, plant, names, gates, BEFORE_LAST, cause=cause)


_H0 = only("h0")


BUGS = (
    _dh_prev(
        "gru-before-direct-path-missing",
        "The direct way back, z dh, is missing.",
        GRU_BEFORE_OUTPUT.line("dh_prev = dh * z", "dh_prev = dh * 0"),
        _H0,
    ),
    _gate(
        "gru-before-z-sign",
        "The update gate's gradient takes n - h_prev in place of h_prev - n.",
        GRU_BEFORE_OUTPUT.line("dz = dh * (h_prev - n)", "dz = dh * (n - h_prev)"),
        "z",
        cause="sign",
    ),
    _gate(
        "gru-before-n-twice",
        "The candidate's gradient is counted twice.",
        GRU_BEFORE_OUTPUT.line("da_n = dn * (one", "da_n = 2 * dn * (one"),
        "r",
        "n",
        cause="factor 2",
    ),
    _gate(
        "gru-before-reset-from-r",
        "The reset gate's gradient is multiplied with the gate itself in place of h_prev.",
        GRU_BEFORE_GATES.line("dr = dreset_h * h_prev", "dr = dreset_h * r"),
        "r",
    ),
    _dh_prev(
        "gru-before-reset-path-without-r",
        "On the way back through r h_prev the factor r is forgotten.",
        GRU_BEFORE_GATES.line("dh_prev = dreset_h * r", "dh_prev = dreset_h"),
        _H0,
    ),
    _dh_prev(
        "gru-before-reset-path-missing",
        "The way back through r h_prev is missing.",
        GRU_BEFORE_GATES.line("dh_prev = dreset_h * r", "dh_prev = dreset_h * 0"),
        _H0,
        "n",
    ),
    _dh_prev(
        "gru-before-gates-path-missing",
        "The way back through the products of r and z is missing.",
        STEP.line("dsource = ", "dsource = (work.gates == ('n',)) * "),
    ),
    Bug(
        "gru-before-reset-outside",
        "The candidate is sent back as if r multiplied the product U_n h; here r multiplies h itself.",
        _CASE,
        STEP.line(
            "self._results(work.backward.function(*values), shape)",
            "self._results(work.backward.function(*values) if 'n' not in found.input else "
            "(lambda da_n, r, h_prev, U_n: (da_n * (h_prev @ U_n.T) * r * (1 - r), (da_n * r) @ U_n))("
            "found.input['n'], at[Place('gate', 'r')], at[Place('prev', 'h')], "
            "self.weight_hh[2 * shape[-1] :]), shape)",
        ),
        CELL | _H0,
        blocks("r"),
        LAST,
    ),
    Bug(
        "gru-before-weight-without-r",
        "The candidate's recurrent weights get the product with h_prev, where forward multiplied with r h_prev.",
        _CASE,
        OPERAND.line("run.kept[place.name]", "run.h[:-1]"),
        only("weight_hh_l0"),
        blocks("n"),
        None,
    ),
    # The reset gate is what goes wrong, the candidate's weights are what is used wrongly: both may be named.
    Bug(
        "gru-before-n-block-transposed",
        "The candidate's recurrent weights are transposed on the way back to r h_prev.",
        _CASE,
        STEP.line(
            "self.weight_hh[..., self._rows(work), :]",
            "(self.weight_hh[self._rows(work)].T if work.gates == ('n',) else self.weight_hh[self._rows(work)])",
        ),
        CELL | _H0,
        blocks("r", "n"),
        LAST,
        cause="transposed",
    ),
    _dh_prev(
        "gru-before-r-z-blocks-transposed",
        "The recurrent weights of r and z are transposed, block by block, on the way back.",
        STEP.line(
            "self.weight_hh[..., self._rows(work), :]",
            "(self.weight_hh[self._rows(work)] if work.gates == ('n',) else self.xp.concatenate("
            "[block.T for block in self.xp.split(self.weight_hh[self._rows(work)], 2)]))",
        ),
        cause="transposed",
    ),
    _gate(
        "gru-before-r-z-exchanged",
        "The gradients of the reset and the update gate change places.",
        STEP.line(
            "return found",
            "found.input |= dict(r=found.input['z'], z=found.input['r']); "
            "found.hidden.update(found.input); return found",
        ),
        "r",
        "z",
        cause="gates exchanged",
    ),
)
