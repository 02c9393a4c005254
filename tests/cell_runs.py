"""One layer and direction of any cell on the plain loop: random arguments, all results, all gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.cells import Cell, Pass
from kernels.reference import ReferenceKernels

Array = Any
T, B, D, H, P = 5, 4, 3, 6, 2
LENGTHS = np.array([3, T, 0, 4])


class Problem(NamedTuple):
    """Arguments of a layer, and what multiplies its results to make one number of them.

    Attributes
    ----------
    inputs : x, weights and initial states by name, each with its gradient.
    cotangents : of y, and of each final state.
    lengths, factors : as in `kernels.cells.Pass`.
    """

    cell: Cell
    inputs: dict[str, Array]
    cotangents: tuple[Array, ...]
    lengths: Array
    factors: dict[str, Array]


def problem(cell: Cell, seed: int = 0, lengths: Array = None) -> Problem:
    """Random numbers for everything, none of them zero."""
    rng = np.random.default_rng([seed, sum(map(ord, cell.name))])
    width = P if cell.projected else H
    shapes: dict[str, tuple[int, ...]] = {"x": (T, B, D), "weight_ih": (len(cell.gates) * H, D)}
    if cell.recurrent:
        shapes["weight_hh"] = (len(cell.recurrent) * H, width)
    if cell.biased:
        shapes["bias_ih"] = (len(cell.gates) * H,)
        if cell.recurrent:
            shapes["bias_hh"] = (len(cell.recurrent) * H,)
    if cell.projected:
        shapes["weight_hr"] = (P, H)
    shapes |= dict.fromkeys(cell.own, (H,))
    states = {state: (B, width if state == "h" else H) for state in cell.states}
    inputs = {name: rng.normal(scale=0.7, size=shape) for name, shape in shapes.items()}
    inputs |= {f"{state}_0": rng.normal(size=shape) for state, shape in states.items()}
    if "n" in states:  # a normaliser is a sum of exponentials
        inputs["n_0"] = 0.5 + abs(inputs["n_0"])
    cotangents = (rng.normal(size=(T, B, width)), *(rng.normal(size=shape) for shape in states.values()))
    factors = {name: rng.uniform(size=(T, B, width if name.endswith("_h") else H)) for name in cell.given}
    return Problem(cell, inputs, cotangents, lengths, factors)


def given(problem: Problem) -> Pass:
    """What both passes over the layer take."""
    return Pass(problem.cell, weights(problem), problem.lengths, problem.factors)


def weights(problem: Problem) -> dict[str, Array]:
    """What `forward_layer` takes as weights."""
    return {name: value for name, value in problem.inputs.items() if name != "x" and not name.endswith("_0")}


def forward(problem: Problem) -> tuple[Any, Array, tuple[Array, ...]]:
    """The run, y, and the final states."""
    states = tuple(problem.inputs[f"{state}_0"] for state in problem.cell.states)
    run, y = ReferenceKernels(np).forward_layer(given(problem), problem.inputs["x"], states)
    return run, y, tuple(slots[-1] for slots in run.states)


def value(problem: Problem) -> Any:
    """The number whose gradients are asked for."""
    _, y, last = forward(problem)
    return sum((cotangent * result).sum() for cotangent, result in zip(problem.cotangents, (y, *last), strict=True))


def gradients(problem: Problem) -> dict[str, Array]:
    """Gradient of `value` with respect to every input, by the backward pass."""
    run, _, _ = forward(problem)
    grads = {name: np.zeros_like(weight) for name, weight in weights(problem).items()}
    dy, *dlast = problem.cotangents
    if problem.lengths is not None:
        dy = np.where(np.arange(T)[:, None, None] < problem.lengths[:, None], dy, 0)
    arguments = (given(problem), run, problem.inputs["x"], dy, tuple(dlast), grads)
    adjoints, dx = ReferenceKernels(np).backward_layer(*arguments)
    states = {f"{state}_0": part for state, part in zip(problem.cell.states, adjoints.dstates, strict=True)}
    return {"x": dx} | grads | states


def moved(problem: Problem, name: str, step: Array) -> Problem:
    """The problem with `step` added to one of its inputs."""
    dtype = np.result_type(step)
    inputs = {key: array.astype(dtype) for key, array in problem.inputs.items()}
    inputs[name] = inputs[name] + step
    return problem._replace(inputs=inputs)


def worst(problem: Problem, method: str) -> dict[str, float]:
    """For each input, how far the gradient along random directions is from that of differences, over its size."""
    rng, found = np.random.default_rng(7), {}
    for name, gradient in gradients(problem).items():
        gaps = []
        for _ in range(3):
            direction = rng.normal(size=gradient.shape)
            mine, scale = (gradient * direction).sum(), np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-3
            if method == "complex":
                numeric = value(moved(problem, name, 1e-30j * direction)).imag / 1e-30
            else:
                ahead, behind = (value(moved(problem, name, sign * 1e-5 * direction)) for sign in (1, -1))
                numeric = (ahead - behind) / 2e-5
            gaps.append(abs(numeric - mine) / scale)
        found[name] = float(np.max(gaps))
    return found
