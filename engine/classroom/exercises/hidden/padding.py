"""Mistakes of a GRU's backward at padding, where rows of a batch have different lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.classroom.exercises import recurrent_layers
from engine.classroom.exercises.pair import Arrays


@dataclass(frozen=True)
class Walk:
    """Backward over padded rows as a student may write it; each field is one place for a mistake.

    Attributes
    ----------
    du, dv : whether the gradients of the pre-activations on the two sides are set to 0 at padding.
    sent : what padding sends to the state before: "all", "z" (multiplied with z) or "none".
    dh : whether the output's gradient counts at padding.
    shift : what is added to the lengths.
    """

    du: bool = True
    dv: bool = True
    sent: str = "all"
    dh: bool = True
    shift: int = 0

    def gradients(self, arguments: dict[str, Any], dh: np.ndarray) -> Arrays:
        """All gradients by the names of the inputs."""
        steps, states = _forward(arguments)
        weight_ih, weight_hh, x = arguments["weight_ih"], arguments["weight_hh"], arguments["x"]
        sums: Arrays = {name: np.zeros_like(arguments[name]) for name in arguments if name not in ("h0", "lengths")}
        carried = np.zeros_like(arguments["h0"])
        for t in range(len(x) - 1, -1, -1):
            valid = (t < arguments["lengths"] + self.shift)[:, None]
            r, z, n, v_n = steps[t]
            total = carried + (dh[t] if self.dh else np.where(valid, dh[t], 0.0))
            da_n = total * (1 - z) * (1 - n**2)
            shared = [da_n * v_n * r * (1 - r), total * (states[t] - n) * z * (1 - z)]
            du, dv = np.hstack([*shared, da_n]), np.hstack([*shared, da_n * r])
            du, dv = np.where(valid | (not self.du), du, 0.0), np.where(valid | (not self.dv), dv, 0.0)
            sent = {"all": total, "z": total * z, "none": 0.0 * total}[self.sent]
            carried = np.where(valid, total * z, sent) + dv @ weight_hh
            sums["x"][t] = du @ weight_ih
            parts = {
                "weight_ih": du.T @ x[t],
                "weight_hh": dv.T @ states[t],
                "bias_ih": du.sum(0),
                "bias_hh": dv.sum(0),
            }
            for name, part in parts.items():
                sums[name] += part
        return {**sums, "h0": carried}


def _forward(arguments: dict[str, Any]) -> tuple[list[tuple[np.ndarray, ...]], list[np.ndarray]]:
    """r, z, n and v_n of each step, and the states from h0 on."""
    h, _ = recurrent_layers.run("gru", arguments)
    states = [arguments["h0"], *h]
    steps: list[tuple[np.ndarray, ...]] = []
    for x, before in zip(arguments["x"], states, strict=False):
        u = np.split(x @ arguments["weight_ih"].T + arguments["bias_ih"], 3, axis=1)
        v = np.split(before @ arguments["weight_hh"].T + arguments["bias_hh"], 3, axis=1)
        r, z = (0.5 + 0.5 * np.tanh((one + other) / 2) for one, other in zip(u[:2], v[:2], strict=True))
        steps.append((r, z, np.tanh(u[2] + r * v[2]), v[2]))
    return steps, states


MISTAKES = [
    ("lengths are not used on the way back: padding is walked through as if it were steps", Walk(False, False, "z")),
    (
        "padding sends z times its gradient back: h[t] is h[t-1] there, so the whole of it goes back",
        Walk(sent="z"),
    ),
    ("padding sends nothing back: h[t] is h[t-1] there, so the whole gradient goes back", Walk(sent="none")),
    ("dh at padding is left out: h[t] is an output there too, and its gradient goes to h[t-1]", Walk(dh=False)),
    ("du is not 0 at padding: padding counts for x and the weights", Walk(du=False)),
    ("dv is not 0 at padding: padding counts for weight_hh, and is sent back through it", Walk(dv=False)),
    ("du and dv are not 0 at padding: padding counts for x and the weights", Walk(du=False, dv=False)),
    ("off by one: the first padding of a row is taken for a step; a step is real if t < lengths", Walk(shift=1)),
    ("off by one: the last step of a row is taken for padding; a step is real if t < lengths", Walk(shift=-1)),
]


def mistakes(arguments: dict[str, Any], dh: np.ndarray) -> Iterator[tuple[str, Arrays]]:
    """Each mistake with the gradients that it gives."""
    for words, walk in MISTAKES:
        yield words, walk.gradients(arguments, dh)
