"""RNN, LSTM and GRU: one step and a sequence."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.classroom.exercises import recurrent_layers
from engine.classroom.exercises.hidden import padding
from engine.classroom.exercises.hidden.forward_mistakes import wrong_lines
from engine.classroom.exercises.hidden.recurrent_mistakes import slots
from engine.classroom.exercises.pair import Arrays, HiddenCase, Pair, Sizes

CELLS = {"rnn": ("rnn_tanh", ("h",)), "lstm": ("lstm", ("i", "f", "g", "o")), "gru": ("gru", ("r", "z", "n"))}
RESET = "the reset gate is applied before the product with weight_hh; here it comes after: r * (h_prev U' + b)"
_PLAIN: Sizes = {"T": 4, "B": 3, "D": 2, "H": 3}
_STEP: Sizes = {"B": 3, "D": 4, "H": 2}


def draw(case: HiddenCase, rng: np.random.Generator, cell: str) -> dict[str, Any]:
    """Arguments of a step, or of a sequence where the case has a T."""
    sizes, gates = case.sizes, len(CELLS[cell][1])
    B, D, H, T = sizes["B"], sizes["D"], sizes["H"], sizes.get("T")

    def normal(*shape: int) -> np.ndarray:
        return case.scale * rng.normal(size=shape)

    state = ("h_prev", "c_prev") if T is None else ("h0", "c0")
    found: dict[str, Any] = {"x": normal(B, D) if T is None else normal(T, B, D), state[0]: normal(B, H)}
    if cell == "lstm":
        found[state[1]] = normal(B, H)
    found |= {"weight_ih": normal(gates * H, D), "weight_hh": normal(gates * H, H)}
    names = ("bias_ih", "bias_hh") if cell == "gru" else ("bias",)
    found |= {name: normal(gates * H) for name in names}
    if "lengths" in case.options:
        found["lengths"] = np.array(case.options["lengths"])
    elif cell == "gru" and T is not None:
        found["lengths"] = np.full(B, T)
    return found


def expected(arguments: dict[str, Any], cell: str) -> tuple[np.ndarray, ...]:
    """h, and c where there is one: of every step for h, of the last for c."""
    h, last = recurrent_layers.run(CELLS[cell][0], arguments)
    return (h if arguments["x"].ndim == 3 else h[0], *last[1:])


# -- mistakes of forward -----------------------------------------------------------------------------------------------


def forward_suspects(arguments: dict[str, Any], cell: str) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """Common mistakes of forward: the same pass over other arguments."""
    sequence = arguments["x"].ndim == 3
    for words, changed in _other_arguments(arguments, cell):
        yield words, expected({**arguments, **changed}, cell)
    h, *rest = expected(arguments, cell)
    if cell == "gru":
        yield (RESET, _reset_before(arguments, sequence))
    yield from wrong_lines(arguments, cell)
    if cell == "lstm":
        (c,) = rest
        yield "h and c are returned in the other order", (c, h if not sequence else h[-1])
    if not sequence:
        return
    before = np.concatenate([arguments["h0"][None], h[:-1]])
    yield "wrong slot: it holds the state before each step; slot t is for the state after step t", (before, *rest)
    yield "the steps stand in reversed order", (h[::-1], *rest)
    alone = [expected({**arguments, "x": x[None], "lengths": np.ones(len(x), int)}, cell) for x in arguments["x"]]
    yield (
        "every step starts from the initial state: hand h on to the next step",
        (
            np.concatenate([one[0] for one in alone]),
            *(alone[-1][1:]),
        ),
    )


def _other_arguments(arguments: dict[str, Any], cell: str) -> Iterator[tuple[str, dict[str, Any]]]:
    gates = CELLS[cell][1]
    for name, words in {"h0": "the initial state h0", "h_prev": "h_prev", "c0": "c0", "c_prev": "c_prev"}.items():
        if name in arguments:
            yield f"{words} is not used", {name: np.zeros_like(arguments[name])}
    biases: list[str] = [name for name in ("bias", "bias_ih", "bias_hh") if name in arguments]
    for name in biases:
        yield f"{name} is missing", {name: np.zeros_like(arguments[name])}
    blocks = np.split(arguments["weight_hh"], len(gates))
    yield "weight_hh is transposed", {"weight_hh": np.concatenate([block.T for block in blocks])}
    weights = ("weight_ih", "weight_hh", *biases)
    for order in itertools.permutations(range(len(gates))):
        if list(order) != sorted(order):
            read = ", ".join(gates[k] for k in np.argsort(order))
            yield (
                f"the gate blocks are read in the order {read}; it is {', '.join(gates)}",
                {name: np.concatenate([np.split(arguments[name], len(gates))[k] for k in order]) for name in weights},
            )
    if cell == "gru":
        sign = np.repeat([1.0, -1.0, 1.0], len(blocks[0]))
        flipped = {name: arguments[name] * (sign[:, None] if arguments[name].ndim == 2 else sign) for name in weights}
        yield "z and 1 - z are exchanged: h = (1 - z) * n + z * h_prev", flipped
        last = slice(-len(blocks[0]), None)
        merged: dict[str, Any] = {name: arguments[name].copy() for name in biases}
        merged["bias_ih"][last] += merged["bias_hh"][last]
        merged["bias_hh"][last] = 0
        yield "bias_hh of n stands outside the product with r", merged
    if "lengths" in arguments:
        yield "the lengths are not used", {"lengths": np.full(len(arguments["lengths"]), len(arguments["x"]))}


def _reset_before(arguments: dict[str, Any], sequence: bool) -> tuple[np.ndarray, ...]:
    h, _ = recurrent_layers.run("gru_before", arguments)
    return (h if sequence else h[0],)


# -- mistakes of backward ----------------------------------------------------------------------------------------------


def backward_suspects(
    arguments: dict[str, Any], douts: tuple[np.ndarray, ...], cell: str
) -> Iterator[tuple[str, Arrays]]:
    """The right gradients under an empty name, then mistakes with what they give."""
    name = CELLS[cell][0]
    dy = douts[0] if arguments["x"].ndim == 3 else douts[0][None]
    dlast = (np.zeros_like(dy[0]), *douts[1:])
    to_start = np.zeros_like(dy[0])
    if recurrent_layers.short_rows(arguments):
        dy, to_start = _at_real_steps(dy, arguments["lengths"])
    made = recurrent_layers.layer(name, arguments)
    right = _started(recurrent_layers.gradients(made, arguments, dy, dlast), to_start)
    yield "", right
    if "lengths" in arguments:
        yield from padding.mistakes(arguments, douts[0])
    for words, wrong in recurrent_layers.planted(name, arguments, dy, dlast):
        yield words, _started(wrong, to_start)
    yield from slots(name, arguments, dy, dlast, right)


def _at_real_steps(dy: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output's gradient with that of padding moved to each row's last real step; for rows without one, to h0.

    The engine's outputs at padding are 0 and have no gradient; those of the exercise repeat the last state.
    """
    moved, to_start = dy.copy(), np.zeros_like(dy[0])
    for row, length in enumerate(lengths):
        late = dy[length:, row].sum(axis=0)
        moved[length:, row] = 0
        if length:
            moved[length - 1, row] += late
        else:
            to_start[row] = late
    return moved, to_start


def _started(gradients: Arrays, to_start: np.ndarray) -> Arrays:
    """The gradients, with what goes to h0 past all steps."""
    return gradients | {"h0": gradients["h0"] + to_start} if "h0" in gradients else gradients


def pair(cell: str, sequence: bool) -> Pair:
    """The pair of functions of a cell."""
    states = ("h", "c") if cell == "lstm" else ("h",)
    first = tuple(f"{name}0" if sequence else f"{name}_prev" for name in states)
    biases = ("bias_ih", "bias_hh") if cell == "gru" else ("bias",)
    stem = cell if sequence else f"{cell}_step"
    cases: tuple[HiddenCase, ...] = (
        HiddenCase("an ordinary case", _PLAIN if sequence else _STEP),
        HiddenCase("other sizes, one row", {"B": 1, "D": 3, "H": 2} | ({"T": 5} if sequence else {})),
    )
    if sequence:
        cases += (HiddenCase("one time step", {**_PLAIN, "T": 1, "B": 2}),)
        if cell == "gru":
            cases += (HiddenCase("rows of different length", {**_PLAIN, "T": 5}, options={"lengths": (3, 5, 0)}),)
    else:
        cases += (HiddenCase("one hidden unit", {"B": 4, "D": 3, "H": 1}),)
    return Pair(
        f"{stem}_forward",
        f"{stem}_backward",
        ("x", *first, "weight_ih", "weight_hh", *biases),
        ("h", *(("c_last" if sequence else "c",) if cell == "lstm" else ())),
        functools.partial(draw, cell=cell),
        functools.partial(expected, cell=cell),
        cases,
        CELLS[cell][1] if len(CELLS[cell][1]) > 1 else (),
        sequence,
        functools.partial(forward_suspects, cell=cell),
        functools.partial(backward_suspects, cell=cell),
    )
