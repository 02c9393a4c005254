"""Mistakes in the sums over time steps: what a wrong slot, a forgotten accumulation or a missing row gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.classroom.exercises import recurrent_layers
from engine.classroom.exercises.pair import Arrays

FIRST = "each step overwrites it, so that step 0 alone is left: start from zeros and add with +="
LAST = "it holds the last step alone: add up all steps"
MEAN = "a mean over the rows of the batch in place of their sum"


def slots(
    cell: str, arguments: dict[str, Any], dy: np.ndarray, dlast: tuple[np.ndarray, ...], right: Arrays
) -> Iterator[tuple[str, Arrays]]:
    """Mistakes that spoil one gradient alone, whichever they are."""
    da, da_hidden, h = _pre_activations(cell, arguments, dy, dlast)
    x = recurrent_layers.sequence(arguments)
    B = x.shape[1]
    sums = {
        "weight_ih": [one.T @ row for one, row in zip(da, x, strict=True)],
        "weight_hh": [one.T @ row for one, row in zip(da_hidden, h[:-1], strict=True)],
        "bias": [one.sum(axis=0) for one in da],
        "bias_ih": [one.sum(axis=0) for one in da],
        "bias_hh": [one.sum(axis=0) for one in da_hidden],
    }
    for name, parts in sums.items():
        if name not in right:
            continue
        if len(parts) > 1:
            yield FIRST, {name: parts[0]}
            yield LAST, {name: parts[-1]}
        yield MEAN, {name: sum(parts) / B}
        yield "it is zero: no step adds to it", {name: np.zeros_like(right[name])}
    yield (
        "wrong slot: forward multiplied weight_hh with the state before the step, not after it",
        {"weight_hh": np.einsum("tbk,tbh->kh", da_hidden, h[1:])},
    )
    blocks = np.split(right["weight_hh"], len(right["weight_hh"]) // right["weight_hh"].shape[1])
    yield "weight_hh's blocks are transposed", {"weight_hh": np.concatenate([block.T for block in blocks])}
    if "bias_hh" in right:
        words = "the gradient of n on the hidden side is da_n * r: the factor r is missing"
        yield words, {"bias_hh": right["bias_ih"]}
        yield words, {"weight_hh": np.einsum("tbk,tbh->kh", da, h[:-1])}
        words = "the gradient of n on the input side is da_n: the factor r belongs to the hidden side"
        yield words, {"bias_ih": right["bias_hh"]}
        yield words, {"weight_ih": np.einsum("tbk,tbd->kd", da_hidden, x)}
    for name in ("h0", "h_prev", "c0", "c_prev"):
        if name in right:
            yield "nothing is sent to the state before the first step", {name: np.zeros_like(right[name])}


def _pre_activations(
    cell: str, arguments: dict[str, Any], dy: np.ndarray, dlast: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of the pre-activations, (T, B, G H), on the input side and the hidden side; h, (T + 1, B, H)."""
    made, short = recurrent_layers.layer(cell, arguments), recurrent_layers.short_rows(arguments)
    _, _, tape = made.forward(recurrent_layers.sequence(arguments), recurrent_layers.start(arguments), short)
    dstate: Any = tuple(part[None] for part in dlast)
    trace = made.backward_trace(tape, dy, dstate if len(dstate) > 1 else dstate[0])
    kept, found = tape.layers[0][0], trace.layers[0][0].gates
    sides = [dict(found), dict(found)]
    if cell == "gru":
        sides[1]["n"] = found["n"] * kept.gates["r"]
    da, da_hidden = (np.concatenate(list(side.values()), axis=-1) for side in sides)
    return da, da_hidden, np.array(kept.h)
