"""Bugs in the time loop: at every step, at the first or the last, or in the first five of fifty."""

from __future__ import annotations

from engine.checking.zoo.bug import Bug
from engine.checking.zoo.cases import (
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
from engine.checking.zoo.rewriting import RECURRENT_PRODUCTS, RNN_STEP, TIME_LOOP, Rewrite

_LSTM, _GRU, _RNN = recurrent("lstm"), recurrent("gru"), recurrent("rnn_tanh")

_OUTPUTS = (
    Bug(
        "dy-one-step-late",
        "The output of the step before gets its gradient one step too early: y[t] is h[t+1], not h[t+2].",
        _LSTM,
        TIME_LOOP.line("dh = dh + dy[t]", "dh = dh + dy[max(t - 1, 0)]"),
        CELL,
        NO_GATE,
        LAST,
    ),
    Bug(
        "dy-of-the-last-step-missing",
        "The loop forgets the gradient of the last output.",
        _GRU,
        TIME_LOOP.line("if dy is not None:", "if dy is not None and t < T - 1:"),
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
        TIME_LOOP.line("dh = dh + dy[t]", "dh = dy[t]"),
        CELL | {"h0"},
        NO_GATE,
        LAST,
        cause="overwritten, not added",
    ),
    Bug(
        "dy-twice",
        "Each output's gradient is added twice.",
        _RNN,
        TIME_LOOP.line("dh = dh + dy[t]", "dh = dh + 2 * dy[t]"),
        CELL,
        NO_GATE,
        LAST,
        cause="factor 2",
    ),
    Bug(
        "dh-cut-in-the-middle",
        "Nothing goes back past the middle of the sequence: truncation that nobody asked for.",
        _LSTM,
        TIME_LOOP.line("dh = _select(xp, valid, dh_prev, dh)", "dh = _select(xp, valid, dh_prev * (t != 3), dh)"),
        CELL | {"h0"},
        NO_GATE,
        2,
    ),
    Bug(
        "dh-carried-with-1.001",
        "What goes back to the step before grows by one part in a thousand each time.",
        _GRU,
        TIME_LOOP.line("dh = _select(xp, valid, dh_prev, dh)", "dh = _select(xp, valid, 1.001 * dh_prev, dh)"),
        only("h0"),
        NO_GATE,
        BEFORE_LAST,
    ),
    Bug(
        "dh-carried-with-1.00001",
        "What goes back to the step before grows by one part in a hundred thousand each time.",
        _RNN,
        RNN_STEP.line("da @ step.weight", "da @ step.weight * (1 + 1e-5)"),
        RECURRENT,
        NO_GATE,
        BEFORE_LAST,
    ),
    Bug(
        "first-step-without-weights",
        "The loop leaves the gates' gradients of the first step at zero; the initial state's is right.",
        _LSTM,
        TIME_LOOP.line("in enumerate(da_t):", "in enumerate(da_t if t else [0 * value for value in da_t]):"),
        CELL,
        NO_GATE,
        0,
    ),
    Bug(
        "last-step-gate",
        "The update gate's gradient of the last step, and of no other, has the wrong sign.",
        _GRU,
        TIME_LOOP.line("in enumerate(da_t):", "in enumerate(da_t if t < T - 1 else (da_t[0], -da_t[1], da_t[2])):"),
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
        TIME_LOOP.line("step_backward(step, dh, dc,", "step_backward(step, dh, dc * (1.01 if t < 5 else 1.0),"),
        CELL | {"c0"},
        blocks("i", "f", "g"),
        4,
    ),
    _early(
        "early-dc-carried-1.01",
        "In the first five of fifty steps, c carries back one hundredth too much.",
        "lstm",
        TIME_LOOP.line(
            "dc = _select(xp, valid, dc_prev, dc)",
            "dc = _select(xp, valid, dc_prev * (1.01 if t < 5 else 1.0), dc)",
        ),
        only("c0"),
        NO_GATE,
        3,
    ),
    _early(
        "early-dh-carried-1.01",
        "In the first five of fifty steps, h carries back one hundredth too much.",
        "gru",
        TIME_LOOP.line(
            "dh = _select(xp, valid, dh_prev, dh)",
            "dh = _select(xp, valid, dh_prev * (1.01 if t < 5 else 1.0), dh)",
        ),
        only("h0"),
        NO_GATE,
        3,
    ),
    _early(
        "early-forget-gate",
        "In the first five of fifty steps, the forget gate's gradient is one hundredth too large.",
        "lstm",
        TIME_LOOP.line(
            "in enumerate(da_t):", "in enumerate(da_t if t >= 5 else (da_t[0], 1.01 * da_t[1], *da_t[2:])):"
        ),
        CELL,
        blocks("f"),
        4,
    ),
    _early(
        "early-reset-gate-sign",
        "In the first five of fifty steps, the reset gate's gradient has the wrong sign.",
        "gru_before",
        TIME_LOOP.line("in enumerate(da_t):", "in enumerate(da_t if t >= 5 else (-da_t[0], *da_t[1:])):"),
        CELL,
        blocks("r"),
        4,
    ),
    _early(
        "early-steps-cut",
        "Nothing goes back into the first five of fifty steps.",
        "rnn_tanh",
        TIME_LOOP.line("dh = _select(xp, valid, dh_prev, dh)", "dh = _select(xp, valid, dh_prev * (t != 5), dh)"),
        CELL | {"h0"},
        NO_GATE,
        4,
    ),
    _early(
        "early-weights-left-out",
        "The recurrent weights' gradient leaves out the first five of fifty steps.",
        "gru",
        RECURRENT_PRODUCTS.line(
            "dweight = matmul(rows.T, h_prev)", "dweight = matmul(rows[5 * batch :].T, h_prev[5 * batch :])"
        ),
        only("weight_hh_l0"),
        NO_GATE,
        None,
    ),
)

BUGS = _OUTPUTS + _EARLY
