"""The engine's layers with a case's weights: they say what is right, and with planted bugs what is wrong and how."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.classroom.exercises.pair import Arrays
from engine.layers.recurrent import Recurrent
from engine.layers.rnn import layer_of
from engine.zoo import BUGS, Bug
from engine.zoo.rewriting import GRU_GATES, LSTM_GATES

Plant = Callable[[], contextlib.AbstractContextManager[None]]
#: Mistakes that students make and the zoo does not have.
MORE: dict[str, list[tuple[str, Plant]]] = {
    "lstm": [
        (
            "The slope of tanh(c) is 1 - tanh(c)**2; it is taken for 1 - c**2",
            LSTM_GATES.line("(one - tanh_c * tanh_c)", "(one - c * c)"),
        ),
        ("The slope of a sigmoid with value i is i * (1 - i)", LSTM_GATES.line("di * i * (one - i)", "di * (one - i)")),
    ],
    "gru": [
        ("n gets dh * (1 - z); it is given dh * z", GRU_GATES.line("dn = dh * (one - z)", "dn = dh * z")),
        (
            "The slope of the reset gate's sigmoid, r * (1 - r), is forgotten",
            GRU_GATES.line("dr * r * (one - r)", "dr"),
        ),
        ("r gets da_n * v_n: the factor v_n is forgotten", GRU_GATES.line("dr = dx_n * h_n", "dr = dx_n")),
        ("r gets da_n * v_n: v_n is taken for h_prev", GRU_GATES.line("dr = dx_n * h_n", "dr = dx_n * h_prev")),
        (
            "r gets da_n * v_n: the slope of the tanh is forgotten there",
            GRU_GATES.line("dr = dx_n * h_n", "dr = dn * h_n"),
        ),
        ("The slope of a sigmoid with value z is z * (1 - z)", GRU_GATES.line("dz * z * (one - z)", "dz * (one - z)")),
        (
            "u_n gets da_n alone: the factor r belongs to v_n",
            GRU_GATES.line("    dh_n = dx_n * r", "    dh_n = dx_n = dx_n * r"),
        ),
    ],
}
#: Whose bugs are tried for a cell: those of the loop and of the products are the same for all cells, and those of other
#: equations change nothing.
ALIKE = {
    "rnn_tanh": ("rnn_tanh", "lstm", "gru"),
    "lstm": ("lstm", "gru", "rnn_tanh"),
    "gru": ("gru", "lstm", "rnn_tanh"),
}


def layer(cell: str, arguments: dict[str, Any]) -> Recurrent:
    """A layer with the weights of a case; with one bias, bias_hh is zero."""
    D, H = arguments["weight_ih"].shape[1], arguments["weight_hh"].shape[1]
    made = layer_of(cell, D, H, dtype="float64", backend="numpy:reference")
    bias = arguments.get("bias", arguments.get("bias_ih"))
    values = {
        "weight_ih_l0": arguments["weight_ih"],
        "weight_hh_l0": arguments["weight_hh"],
        "bias_ih_l0": bias,
        "bias_hh_l0": arguments.get("bias_hh", np.zeros_like(bias)),
    }
    made.load_state_dict(values)
    return made


def start(arguments: dict[str, Any]) -> Any:
    """The initial state as the engine takes it."""
    states = [arguments[name] for name in ("h0", "h_prev", "c0", "c_prev") if name in arguments]
    shaped = tuple(np.ascontiguousarray(state)[None] for state in states)
    return shaped if len(shaped) > 1 else shaped[0]


def sequence(arguments: dict[str, Any]) -> np.ndarray:
    """x with an axis of time."""
    x: np.ndarray = arguments["x"]
    return x if x.ndim == 3 else x[None]


def short_rows(arguments: dict[str, Any]) -> list[int] | None:
    """The lengths of the rows; None where all are whole."""
    x, lengths = sequence(arguments), arguments.get("lengths")
    return None if lengths is None or all(length == len(x) for length in lengths) else list(lengths)


def run(cell: str, arguments: dict[str, Any]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The states h after each step, (T, B, H), pads included, and the final states, each (B, H)."""
    made = layer(cell, arguments)
    lengths = short_rows(arguments)
    y, last, tape = made.forward(sequence(arguments), start(arguments), lengths)
    parts = last if isinstance(last, tuple) else (last,)
    return (y if lengths is None else np.array(tape.layers[0][0].h[1:])), tuple(part[0] for part in parts)


def gradients(
    made: Recurrent,
    arguments: dict[str, Any],
    dy: np.ndarray,
    dlast: tuple[np.ndarray, ...],
    plant: Plant = contextlib.nullcontext,
) -> Arrays:
    """The gradients by the names of an exercise's arguments, right, or with a mistake planted; `made` is a `layer`."""
    made.zero_grad()
    dstate: Any = tuple(part[None] for part in dlast)
    dstate = dstate if len(dstate) > 1 else dstate[0]

    def walk() -> Arrays:
        _, _, tape = made.forward(sequence(arguments), start(arguments), short_rows(arguments))
        dx, dfirst = made.backward(tape, dy, dstate)
        parts = dfirst if isinstance(dfirst, tuple) else (dfirst,)
        names = [name for name in ("h0", "h_prev", "c0", "c_prev") if name in arguments]
        found = {"x": dx.reshape(arguments["x"].shape)}
        found |= {name: part[0] for name, part in zip(names, parts, strict=True)}
        found |= {name: np.array(made.grads[f"{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        found["bias"] = found["bias_ih"]
        return {name: value for name, value in found.items() if name in arguments}

    with plant():
        return walk()


@functools.cache
def bugs_of(cell: str) -> tuple[Bug, ...]:
    """The bugs of the zoo that can be planted in one plain layer with this cell, and whose error can be seen."""
    found = []
    for bug in BUGS.values():
        if "1.0" in bug.name or bug.verdicts != {"wrong"}:
            continue
        case = bug.case(0)
        plain = isinstance(case.layer, Recurrent) and case.layer.num_layers * case.layer.num_directions == 1
        if plain and case.lengths is None and case.truncation is None and case.layer.cell.name in ALIKE[cell]:
            found.append(bug)
    # first those of the cell itself: of two bugs with the same numbers, its words fit better
    return tuple(sorted(found, key=lambda bug: bug.case(0).layer.cell.name != cell))


def planted(cell: str, arguments: dict[str, Any], dy: np.ndarray, dlast: tuple[np.ndarray, ...]) -> Iterator[Any]:
    """Each bug's story with the gradients that it gives."""
    found = [(bug.story.rstrip("."), bug.plant) for bug in bugs_of(cell)] + MORE.get(cell, [])
    made = layer(cell, arguments)
    for words, plant in found:
        try:
            yield words, gradients(made, arguments, dy, dlast, plant)
        except (KeyError, IndexError, ValueError):  # a bug that needs more than this case has, such as a second step
            continue
