"""``python -m benchmarks.studies.hessian``: the curvature of a loss while a network learns, and what a product costs.

Full-batch gradient descent trains a small tanh RNN to smooth noise.  Every fifty steps Lanczos finds the largest
eigenvalue of the Hessian of the loss.  A quadratic loss with that eigenvalue diverges if the rate is more than two
divided by it.

``--cost`` measures Hessian-vector products beside a backward pass instead.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import engine
from engine.losses import curvature_of_mse
from engine.measuring.machine import machine
from engine.second_derivatives import Hessian, largest_eigenvalues

T, B, H, LAGS = 16, 24, 12, (0.5, 0.3, 0.2)
RATES, STEPS, EVERY = (0.2, 0.3, 0.4, 0.8), 1500, 50
RESULTS = Path(__file__).resolve().parents[1] / "results" / "studies" / "hessian.json"
#: Told apart in grey as well, by their marks and lines.
STYLES = (("#1f5f99", "-", "o"), ("#c2500a", "--", "s"), ("#4a7a2c", "-.", "^"), ("#6b4a8a", ":", "D"))


class Run(NamedTuple):
    """One training.

    Attributes
    ----------
    rate : of gradient descent.
    steps : where the eigenvalue was measured.
    largest : the largest eigenvalue there.
    loss : the last loss.
    diverged : the step at which the loss was above 1000, or None.
    products : how many Hessian-vector products the eigenvalues took.
    """

    rate: float
    steps: list[int]
    largest: list[float]
    loss: float
    diverged: int | None
    products: int


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Noise (T, B, 1), and the tanh of twice its moving average."""
    x = np.random.default_rng(0).normal(size=(T, B, 1))
    average = np.zeros_like(x)
    for lag, share in enumerate(LAGS):
        average[lag:] += share * x[: T - lag]
    return x, np.tanh(2 * average)


def model() -> Any:
    """A tanh RNN with a dense layer behind it, in float64."""
    kind = {"dtype": "float64", "backend": "numpy:reference"}
    return engine.Sequential(engine.RNN(1, H, seed=1, **kind), engine.Linear(H, 1, seed=2, **kind))


def trained(rate: float, steps: int) -> Run:
    """Train with a rate, and look at the curvature every `EVERY` steps."""
    (x, target), made = problem(), model()
    optimizer, found = engine.SGD(made, lr=rate), Run(rate, [], [], math.inf, None, 0)
    for step in range(steps + 1):
        y, _, tape = made.forward(x)
        loss, dy = engine.mse(y, target)
        found = found._replace(loss=float(loss))
        if loss > 1000:
            return found._replace(diverged=step)
        if step % EVERY == 0:
            hessian = Hessian(made, tape, dy, curvature_of_mse(y))
            top = largest_eigenvalues(hessian, made.params, steps=40, tol=1e-3)
            found.steps.append(step)
            found.largest.append(round(float(top.values[0]), 3))
            found = found._replace(products=found.products + top.products)
        made.zero_grad()
        made.backward(tape, dy)
        optimizer.step()
    return found


def kept() -> list[Run]:
    """The runs in benchmarks/results."""
    return [Run(**run) for run in json.loads(RESULTS.read_text(encoding="utf-8"))["runs"]]


def picture(runs: list[Run]) -> Any:
    """The largest eigenvalue over the steps, and two over the rate."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for run, (colour, line, mark) in zip([run for run in runs if run.diverged is None], STYLES, strict=False):
        label = f"rate {run.rate:g}: 2/rate = {2 / run.rate:.3g}"
        panel.plot(run.steps, run.largest, color=colour, linestyle=line, marker=mark, ms=4, lw=1.6, label=label)
        panel.axhline(2 / run.rate, color=colour, lw=0.8)
    panel.set(xlabel="step", ylabel="largest eigenvalue of the Hessian", ylim=(0, None))
    panel.grid(color="#dddddd", lw=0.7)
    panel.set_axisbelow(True)
    panel.legend(frameon=False, fontsize=9)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    return figure


def rows(runs: list[Run]) -> list[str]:
    """The table of docs/second_derivatives.md."""
    lines = ["| rate | 2/rate | first eigenvalue | last eigenvalue | loss | |", "|---:|---:|---:|---:|---:|---|"]
    for run in runs:
        end = "" if run.diverged is None else f"diverged at step {run.diverged}"
        last = f"{np.mean(run.largest[-5:]):.2f}" if run.diverged is None else "-"
        loss = f"{run.loss:.5f}" if run.diverged is None else "-"
        lines.append(f"| {run.rate:g} | {2 / run.rate:.2f} | {run.largest[0]:.2f} | {last} | {loss} | {end} |")
    return lines


# -- what a product costs ----------------------------------------------------------------------------------------------

SIZES = ((50, 8, 16, 32), (50, 32, 64, 128), (50, 64, 256, 256))


def seconds(work: Callable[[], Any], least: float = 0.3) -> float:
    """The median time of a call, in calls that follow one another."""
    times: list[float] = []
    work()
    while sum(times) < least or len(times) < 5:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def cost(backend: str, cells: tuple[str, ...], dtype: str = "float32") -> list[str]:
    """A backward pass, one product, and each further product at the same place, one layer of a cell."""
    lines = ["| cell | T, B, D, H | backward (ms) | `hvp` | a further product |", "|---|---|---:|---:|---:|"]
    for size in SIZES:
        steps, batch, features, units = size
        for cell in cells:
            layer = engine.Recurrent(cell, features, units, backend=backend, dtype=dtype)
            rng = np.random.default_rng(0)
            y, _, tape = layer.forward(rng.normal(size=(steps, batch, features)).astype(dtype))
            v = {name: rng.normal(size=value.shape).astype(dtype) for name, value in layer.params.items()}
            hessian = Hessian(layer, tape, y, y)
            plain = seconds(lambda: layer.backward(tape, y))  # noqa: B023
            first = seconds(lambda: engine.hvp(layer, tape, y, v, y)) / plain  # noqa: B023
            further = seconds(lambda: hessian(v)) / plain  # noqa: B023
            lines.append(
                f"| {cell} | {', '.join(map(str, size))} | {plain * 1e3:.2f} | {first:.1f} x | {further:.1f} x |"
            )
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.hessian", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of gradient descent [{STEPS}]")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the eigenvalues into this file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures in this file")
    parser.add_argument("--cost", metavar="BACKEND", help="the cost of a product instead, such as numpy:reference")
    given = parser.parse_args(arguments)
    engine.set_num_threads(1)
    if given.cost is not None:
        print("\n".join(cost(given.cost, ("lstm", "gru", "rnn_tanh"))))
        return
    runs = [trained(rate, given.steps) for rate in RATES]
    print("\n".join(rows(runs)))
    if given.picture is not None:
        picture(runs).savefig(given.picture)
    if given.json is not None:
        found = {"command": "python -m benchmarks.studies.hessian", "machine": machine()}
        found |= {"runs": [run._asdict() for run in runs]}
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
