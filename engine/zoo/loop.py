"""Bugs in the time loop: at every step, at the first or the last, or in the first five of fifty."""

from __future__ import annotations

from engine.zoo.bug import Bug
from engine.zoo.bug_cases import (
    BEFORE_LAST,
    CELL,
    LAST,
    LONG,
    NO_GATE,
    RECURRENT,
    blocks,
    only,
    recurrent,
)
from engine.zoo.rewriting import STEP, TIME_LOOP, Rewrite, carried, recurrent_weight


def _gates(change: str) -> Rewrite:
    """The step is right, but what it found of its gates, `value` of a `gate`, is changed before it is stored."""
    line = "da[t, :, block] = _select(xp, valid, found.input[gate], 0)"
    return TIME_LOOP.line(line, f"value = found.input[gate]; {change}; {line}")


_LSTM, _GRU, _RNN = recurrent("lstm"), recurrent("gru"), recurrent("rnn_tanh")

_OUTPUTS = (
    Bug(
        "dy-one-step-late",
        "The output of the step before gets its gradient one step too early: y[t] is h[t+1], not h[t+2].",
        _LSTM,
        TIME_LOOP.line("dstates[0] + dy[t]", "dstates[0] + dy[max(t - 1, 0)]"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "dy-of-the-last-step-missing",
        "The loop forgets the gradient of the last output.",
        _GRU,
        TIME_LOOP.line("if dy is not None:", "if dy is not None and t < len(gates) - 1:"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "dy-of-the-first-step-missing",
        "The loop forgets the gradient of the first output.",
        _LSTM,
        TIME_LOOP.line("if dy is not None:", "if dy is not None and t > 0:"),
        CELL,
        NO_GATE,
        0,
    ),
    Bug(
        "dy-overwrites-dh",
        "Each output's gradient overwrites what came back from later steps, in place of being added to it.",
        _LSTM,
        TIME_LOOP.line("dstates[0] + dy[t]", "dy[t]"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
        cause="overwritten, not added",
    ),
    Bug(
        "dy-twice",
        "Each output's gradient is added twice.",
        _RNN,
        TIME_LOOP.line("dstates[0] + dy[t]", "dstates[0] + 2 * dy[t]"),
        CELL,
        NO_GATE,
        LAST,
        cause="factor 2",
    ),
    Bug(
        "dh-cut-in-the-middle",
        "Nothing goes back past the middle of the sequence: truncation that nobody asked for.",
        _LSTM,
        carried("h", "previous * (t != 3)"),
        CELL | {"h0"},
        NO_GATE,
        2,
    ),
    Bug(
        "dh-carried-with-1.001",
        "What goes back to the step before grows by one part in a thousand each time.",
        _GRU,
        carried("h", "1.001 * previous"),
        only("h0"),
        NO_GATE,
        BEFORE_LAST,
    ),
    Bug(
        "dh-carried-with-1.00001",
        "What goes back to the step before grows by one part in a hundred thousand each time.",
        _RNN,
        STEP.line("dsource = ", "dsource = (1 + 1e-5) * "),
        RECURRENT,
        NO_GATE,
        BEFORE_LAST,
    ),
    Bug(
        "first-step-without-weights",
        "The loop leaves the gates' gradients of the first step at zero; the initial state's is right.",
        _LSTM,
        _gates("value[...] *= t > 0"),
        CELL,
        NO_GATE,
        0,
    ),
    Bug(
        "last-step-gate",
        "The update gate's gradient of the last step, and of no other, has the wrong sign.",
        _GRU,
        _gates("value[...] *= 1 - 2 * (gate == 'z' and t == len(gates) - 1)"),
        CELL,
        blocks("z"),
        LAST,
        cause="sign",
    ),
)


def _early(
    name: str, story: str, kind: str, plant: Rewrite, names: frozenset[str], gates: frozenset[str | None], t: int | None
) -> Bug:
    """A bug in the first five of fifty steps: what it spoils is a small part of every weight's gradient."""
    return Bug(name, story, recurrent(kind, steps=LONG), plant, names, gates, t)


_EARLY = (
    _early(
        "early-dc-1.01",
        "In the first five of fifty steps, c receives one hundredth too much.",
        "lstm",
        TIME_LOOP.line("(run, t), dstates)", "(run, t), (dstates[0], dstates[1] * (1.01 if t < 5 else 1.0)))"),
        CELL | {"c0"},
        blocks("i", "f", "g"),
        4,
    ),
    _early(
        "early-dc-carried-1.01",
        "In the first five of fifty steps, c carries back one hundredth too much.",
        "lstm",
        carried("c", "previous * (1.01 if t < 5 else 1.0)"),
        only("c0"),
        NO_GATE,
        3,
    ),
    _early(
        "early-dh-carried-1.01",
        "In the first five of fifty steps, h carries back one hundredth too much.",
        "gru",
        carried("h", "previous * (1.01 if t < 5 else 1.0)"),
        only("h0"),
        NO_GATE,
        3,
    ),
    _early(
        "early-forget-gate",
        "In the first five of fifty steps, the forget gate's gradient is one hundredth too large.",
        "lstm",
        _gates("value[...] *= 1.01 if gate == 'f' and t < 5 else 1.0"),
        CELL,
        blocks("f"),
        4,
    ),
    _early(
        "early-reset-gate-sign",
        "In the first five of fifty steps, the reset gate's gradient has the wrong sign.",
        "gru_before",
        _gates("value[...] *= 1 - 2 * (gate == 'r' and t < 5)"),
        CELL,
        blocks("r"),
        4,
    ),
    _early(
        "early-steps-cut",
        "Nothing goes back into the first five of fifty steps.",
        "rnn_tanh",
        carried("h", "previous * (t != 5)"),
        CELL | {"h0"},
        NO_GATE,
        4,
    ),
    _early(
        "early-weights-left-out",
        "The recurrent weights' gradient leaves out the first five of fifty steps.",
        "gru",
        recurrent_weight("matmul(_rows(da[5:]).T, _rows(source[5:]))"),
        only("weight_hh_l0"),
        NO_GATE,
        None,
    ),
)

BUGS = _OUTPUTS + _EARLY
