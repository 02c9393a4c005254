"""Mistakes inside one step of forward: a cell's page with a piece of one line exchanged, walked over all steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.classroom.exercises import recurrent_layers
from engine.zoo.rewriting import attribute
from kernels.gates import gru, lstm, rnn

Outputs = tuple[np.ndarray, ...]
PAGES = {"rnn": rnn, "lstm": lstm, "gru": gru}
#: Words, what a line of the page says, and what it becomes.
MISTAKES = {
    "rnn": [
        ("the tanh is missing", "act(a_h)", "a_h"),
        ("a sigmoid stands in place of the tanh", "act(a_h)", "0.5 + 0.5 * act(a_h / 2)"),
        ("a relu stands in place of the tanh", "act(a_h)", "a_h * (a_h > 0)"),
    ],
    "lstm": [
        ("the tanh of g is missing", "tanh(a_g)", "a_g"),
        ("g has a sigmoid in place of a tanh", "tanh(a_g)", "sigmoid(a_g)"),
        ("h = o * c: the tanh of c is missing", "tanh(c)", "c"),
        ("h = o * tanh(c): it takes the old cell state in place of the new one", "tanh(c)", "tanh(c_prev)"),
        ("h = o * tanh(c): it takes g in place of c", "tanh(c)", "g"),
        ("h = o * tanh(c): o is forgotten", "o * tanh(c)", "tanh(c)"),
        ("c = f * c_prev + i * g: f * c_prev is forgotten", "f * c_prev + ", ""),
        ("c = f * c_prev + i * g: f is forgotten", "f * c_prev", "c_prev"),
        ("c = f * c_prev + i * g: i is forgotten", "i * g", "g"),
        ("c = f * c_prev + i * g: 1 - f stands in place of i", "i * g", "(1 - f) * g"),
    ],
    "gru": [
        ("the tanh of n is missing", "tanh(x_n + r * h_n)", "x_n + r * h_n"),
        ("n has a sigmoid in place of a tanh", "tanh(x_n", "sigmoid(x_n"),
        ("n = tanh(u_n + r * v_n): r is forgotten", "r * h_n", "h_n"),
        ("n = tanh(u_n + r * v_n): r * v_n is forgotten", "x_n + r * h_n", "x_n"),
        ("n = tanh(u_n + r * v_n): r multiplies u_n as well", "x_n + r * h_n", "r * (x_n + h_n)"),
        ("n = tanh(u_n + r * v_n): r multiplies u_n in place of v_n", "x_n + r * h_n", "r * x_n + h_n"),
        ("n = tanh(u_n + r * v_n): z stands in place of r", "r * h_n", "z * h_n"),
        ("n = tanh(u_n + r * v_n): r multiplies h_prev in place of v_n", "r * h_n", "r * h_prev"),
        ("h = (1 - z) * n + z * h_prev: 1 - z is forgotten", "(one - z) * n", "n"),
        ("h = (1 - z) * n + z * h_prev: z is forgotten", "z * h_prev", "h_prev"),
        ("h = (1 - z) * n + z * h_prev: z * h_prev is forgotten", " + z * h_prev", ""),
        (
            "h = (1 - z) * n + z * h_prev: r stands in place of z",
            "(one - z) * n + z * h_prev",
            "(1 - r) * n + r * h_prev",
        ),
    ],
}
for _cell, _gates in {"lstm": "ifo", "gru": "rz"}.items():
    for _gate in _gates:
        MISTAKES[_cell] += [
            (f"the sigmoid of {_gate} is missing", f"sigmoid(a_{_gate})", f"a_{_gate}"),
            (f"{_gate} has a tanh in place of a sigmoid", f"sigmoid(a_{_gate})", f"tanh(a_{_gate})"),
        ]


def wrong_lines(arguments: dict[str, Any], cell: str) -> Iterator[tuple[str, Outputs]]:
    """Each mistake with what forward then returns."""
    for words, was, becomes in MISTAKES[cell]:
        yield words, outputs(arguments, cell, (was, becomes))


def outputs(arguments: dict[str, Any], cell: str, *edits: tuple[str, str]) -> Outputs:
    """What forward returns, in the exercise's form, with these pieces of the page exchanged."""
    step = attribute(PAGES[cell], "forward").lines(*edits).wrong()
    x = recurrent_layers.sequence(arguments)
    h, c = (arguments.get(f"{name}0", arguments.get(f"{name}_prev", np.zeros(0))) for name in "hc")
    lengths = arguments.get("lengths", np.full(x.shape[1], len(x)))
    states = []
    for t, row in enumerate(x):
        new = _step(arguments, cell, step, row, h, c)
        h = np.where((t < lengths)[:, None], new["h"], h)
        c = new.get("c", c)
        states.append(h)
    found = np.stack(states) if arguments["x"].ndim == 3 else h
    return (found, c) if cell == "lstm" else (found,)


def _step(arguments: dict[str, Any], cell: str, step: Any, x: np.ndarray, h: np.ndarray, c: Any) -> dict[str, Any]:
    """One step: the new states by name."""
    u = x @ arguments["weight_ih"].T + arguments.get("bias", arguments.get("bias_ih"))
    v = h @ arguments["weight_hh"].T + arguments.get("bias_hh", 0.0)
    if cell == "rnn":
        return {"h": step(u + v, np.tanh)}
    if cell == "lstm":
        *_, c_new, h_new = step(*np.split(u + v, 4, axis=1), c, _sigmoid, np.tanh)
        return {"h": h_new, "c": c_new}
    (u_r, u_z, u_n), (v_r, v_z, v_n) = (np.split(side, 3, axis=1) for side in (u, v))
    *_, h_new = step(u_r + v_r, u_z + v_z, u_n, v_n, h, _sigmoid, np.tanh, 1.0)
    return {"h": h_new}


def _sigmoid(a: np.ndarray) -> np.ndarray:
    found: np.ndarray = 0.5 + 0.5 * np.tanh(a / 2)
    return found
