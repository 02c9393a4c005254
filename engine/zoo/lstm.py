"""Bugs in the equations of the LSTM."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import BEFORE_LAST, CELL, LAST, NO_GATE, RECURRENT, blocks, only, recurrent
from engine.zoo.rewriting import LSTM_GATES, NOTHING_SENT_BACK, STEP, TRANSPOSED, Rewrite, sent_back

_CASE = recurrent("lstm")
_line = LSTM_GATES.line


def _gate(name: str, story: str, plant: Rewrite, *gates: str, cause: str | None = None) -> Bug:
    """A wrong gradient of one or more pre-activations, from the last step on."""
    return Bug(name, story, _CASE, plant, CELL, blocks(*gates), LAST, cause=cause)


def _dc(name: str, story: str, plant: Rewrite, cause: str | None = None) -> Bug:
    """A wrong dc: it reaches i, f and g, but never the output gate of the same step."""
    return Bug(name, story, _CASE, plant, CELL | {"c0"}, blocks("i", "f", "g"), LAST, cause=cause)


def _dc_prev(name: str, story: str, becomes: str, cause: str | None = None) -> Bug:
    """A wrong dc on its way to the step before, where the gates first feel it."""
    return Bug(name, story, _CASE, _line("dc_prev = dc * f", becomes), only("c0"), NO_GATE, BEFORE_LAST, cause=cause)


def _dh_prev(name: str, story: str, plant: Rewrite, gate: str | None = None, cause: str | None = None) -> Bug:
    """A wrong product with the recurrent weights, where the step before first feels it."""
    gates = NO_GATE if gate is None else NO_GATE | {gate}
    return Bug(name, story, _CASE, plant, RECURRENT, gates, BEFORE_LAST, cause=cause)


BUGS = (
    # -- from h to its gates and to c ----------------------------------------------------------------------------------
    _gate(
        "lstm-do-from-c",
        "The output gate's gradient takes c where the forward pass multiplied with tanh(c).",
        _line("do = dh * tanh_c", "do = dh * c"),
        "o",
    ),
    Bug(
        "lstm-tanh-of-c-prev",
        "Everything that needs tanh(c) takes the cell state of the step before.",
        _CASE,
        _line("tanh_c = tanh(c)", "tanh_c = tanh(c_prev)"),
        CELL | {"c0"},
        NO_GATE,
        LAST,
    ),
    _dc(
        "lstm-cell-slope-forgotten",
        "The way from h into c lacks the slope of tanh(c).",
        _line("dc + dh * o * (one - tanh_c * tanh_c)", "dc + dh * o"),
    ),
    _dc(
        "lstm-cell-slope-not-squared",
        "The slope of tanh(c) is taken for 1 - tanh(c): the square is forgotten.",
        _line("(one - tanh_c * tanh_c)", "(one - tanh_c)"),
    ),
    _dc(
        "lstm-dc-without-o",
        "The way from h into c lacks the output gate.",
        _line("dc + dh * o * (one", "dc + dh * (one"),
    ),
    _dc(
        "lstm-dc-without-h",
        "Only what the next step sent reaches c: its share through h is missing.",
        _line("dc = dc + dh * o * (one - tanh_c * tanh_c)", "dc = dc"),
    ),
    _dc(
        "lstm-dc-overwritten",
        "The share through h overwrites what the next step sent to c, in place of being added to it.",
        _line("dc = dc + dh * o", "dc = dh * o"),
        "missing term from c",
    ),
    _dc(
        "lstm-peephole-into-dc",
        "c receives the output gate's gradient as if that gate looked at c through a peephole; here it does not.",
        _line("(one - tanh_c * tanh_c)", "(one - tanh_c * tanh_c) + do * o * (one - o)"),
    ),
    # -- from c to its gates -------------------------------------------------------------------------------------------
    _gate(
        "lstm-c-for-c-prev",
        "The forget gate's gradient takes the new cell state, where the forward pass multiplied with the old one.",
        _line("df = dc * c_prev", "df = dc * c"),
        "f",
    ),
    _gate(
        "lstm-di-from-i",
        "The input gate's gradient is multiplied with the gate itself in place of the candidate.",
        _line("di = dc * g", "di = dc * i"),
        "i",
    ),
    _gate(
        "lstm-dg-through-f",
        "The candidate's gradient comes through the forget gate in place of the input gate.",
        _line("dg = dc * i", "dg = dc * f"),
        "g",
    ),
    _gate(
        "lstm-di-from-dh",
        "The input gate takes the gradient of h, where its way leads through c.",
        _line("di = dc * g", "di = dh * g"),
        "i",
    ),
    _gate("lstm-df-missing", "The forget gate gets no gradient at all.", _line("df = dc * c_prev", "df = dc * 0"), "f"),
    # -- slopes of the gates -------------------------------------------------------------------------------------------
    _gate(
        "lstm-i-slope-forgotten",
        "The slope of the input gate's sigmoid is forgotten.",
        _line("da_i = di * i * (one - i)", "da_i = di"),
        "i",
    ),
    _gate(
        "lstm-f-slope-halved",
        "The forget gate's sigmoid has slope f (1 - f); the factor f is forgotten.",
        _line("da_f = df * f * (one - f)", "da_f = df * (one - f)"),
        "f",
    ),
    _gate(
        "lstm-g-slope-forgotten",
        "The slope of the candidate's tanh is forgotten.",
        _line("da_g = dg * (one - g * g)", "da_g = dg"),
        "g",
    ),
    _gate(
        "lstm-g-slope-of-a-sigmoid",
        "The candidate is a tanh, but gets the slope of a sigmoid.",
        _line("da_g = dg * (one - g * g)", "da_g = dg * g * (one - g)"),
        "g",
    ),
    _gate(
        "lstm-o-slope-of-a-tanh",
        "The output gate is a sigmoid, but gets the slope of a tanh.",
        _line("da_o = do * o * (one - o)", "da_o = do * (one - o * o)"),
        "o",
    ),
    _gate(
        "lstm-o-slope-of-f",
        "The output gate gets the slope of the forget gate: a line was copied and one letter left.",
        _line("da_o = do * o * (one - o)", "da_o = do * f * (one - f)"),
        "o",
    ),
    # -- signs, factors, order -----------------------------------------------------------------------------------------
    _gate(
        "lstm-o-sign",
        "The output gate's gradient has the wrong sign.",
        _line("da_o = do * o", "da_o = -do * o"),
        "o",
        cause="sign",
    ),
    _gate(
        "lstm-f-twice",
        "The forget gate's gradient is counted twice.",
        _line("da_f = df * f", "da_f = 2 * df * f"),
        "f",
        cause="factor 2",
    ),
    _gate(
        "lstm-g-factor-1.001",
        "The candidate's gradient is too large by one part in a thousand.",
        _line("da_g = dg *", "da_g = 1.001 * dg *"),
        "g",
    ),
    _gate(
        "lstm-i-factor-1.00001",
        "The input gate's gradient is too large by one part in a hundred thousand.",
        _line("da_i = di *", "da_i = (1 + 1e-5) * di *"),
        "i",
    ),
    _gate(
        "lstm-i-f-exchanged",
        "The gradients of the input and the forget gate change places.",
        _line("return da_i, da_f,", "return da_f, da_i,"),
        "i",
        "f",
        cause="gates exchanged",
    ),
    _gate(
        "lstm-g-o-exchanged",
        "The gradients stand in the order i, f, o, g of other libraries.",
        _line("da_g, da_o, dc_prev, dc", "da_o, da_g, dc_prev, dc"),
        "g",
        "o",
        cause="gates exchanged",
    ),
    Bug(
        "lstm-gate-order-reversed",
        "The gradients stand in the order o, g, f, i.",
        _CASE,
        _line("return da_i, da_f, da_g, da_o", "return da_o, da_g, da_f, da_i"),
        CELL,
        NO_GATE,
        LAST,
        cause="gates exchanged",
    ),
    _gate(
        "lstm-one-unit",
        "One of the hidden units gets half as much again for its candidate; all others are right.",
        _line("da_g = dg * (one - g * g)", "da_g = dg * (one - g * g); da_g[:, 1] *= 1.5"),
        "g",
    ),
    _gate(
        "lstm-one-row",
        "One row of the batch gets nothing for its forget gate; all others are right.",
        _line("da_f = df * f * (one - f)", "da_f = df * f * (one - f); da_f[1] = 0"),
        "f",
    ),
    # -- to the step before --------------------------------------------------------------------------------------------
    _dc_prev("lstm-dc-through-i", "c is carried back through the input gate.", "dc_prev = dc * i"),
    _dc_prev("lstm-dc-without-f", "c is carried back as if the forget gate stood at 1.", "dc_prev = dc"),
    _dc_prev(
        "lstm-dc-not-carried",
        "No gradient of c reaches the step before.",
        "dc_prev = dc * 0",
        "missing term from c",
    ),
    _dc_prev(
        "lstm-peephole-into-dc-prev",
        "The old cell state receives the forget gate's gradient as if through a peephole; there is none.",
        "dc_prev = dc * f + df * f * (one - f)",
    ),
    _dh_prev(
        "lstm-recurrent-weight-transposed",
        "Each block of the recurrent weights is transposed on the way back to the step before.",
        TRANSPOSED,
        cause="transposed",
    ),
    _dh_prev(
        "lstm-o-block-transposed",
        "The recurrent weights of the output gate alone are transposed on the way back.",
        STEP.line(
            "self.weight_hh[..., self._rows(work), :]",
            "self.xp.concatenate([block.T if gate == 'o' else block"
            " for gate, block in zip(work.gates, self.xp.split(self.weight_hh, 4))])",
        ),
        "o",
        "transposed",
    ),
    _dh_prev(
        "lstm-recurrent-path-missing",
        "Nothing goes back through the recurrent weights.",
        NOTHING_SENT_BACK,
    ),
    _dh_prev(
        "lstm-recurrent-path-without-i",
        "The input gate sends nothing back through the recurrent weights.",
        sent_back('found.hidden[gate] * (gate != "i") for gate in work.gates'),
        "i",
    ),
    Bug(
        "lstm-recurrent-blocks-exchanged",
        "On the way back, the gradients of f and g meet each other's recurrent weights.",
        _CASE,
        sent_back('found.hidden[gate] for gate in "igfo"'),
        RECURRENT,
        blocks("f", "g"),
        BEFORE_LAST,
        cause="gates exchanged",
    ),
)
