"""A trace as a table that a person can read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from engine.microscope.passes import ALL

if TYPE_CHECKING:
    from engine.microscope.result import DirectionFlow, GateFlow, Trace, Truncation

WIDTH = 96
#: So many steps of a long sequence have a row, evenly spread.
ROWS = 13


def table(trace: Trace) -> str:
    """All layers and directions, the comparison with the full gradient, and the verdict."""
    loss = "" if trace.loss is None else f" = {trace.loss:.6g}"
    lines = [f"gradients of {trace.objective}{loss}", ""]
    for flow in trace.layers.values():
        lines += [*of_direction(flow), ""]
    if trace.truncation is not None:
        lines += [*_of_truncation(trace.truncation), ""]
    return "\n".join([*lines, f"{trace.verdict}: {_count(len(trace.layers))}"])


def _count(number: int) -> str:
    return f"{number} layer{'s' * (number != 1)} and direction{'s' * (number != 1)}"


def of_direction(flow: DirectionFlow) -> Iterator[str]:
    """The tables and sentences of one layer and direction."""
    sizes = f"{flow.steps} steps, {flow.batch} row{'s' * (flow.batch != 1)}, {flow.units} units"
    yield f"{flow.name}: {flow.cell}, {sizes}"
    yield from _over_time(flow)
    yield ""
    yield f"  {'gate':<8} {'mean':>8} {'spread':>8} {'near low':>9} {'near high':>10} {'|da|':>10}"
    for name, gate in flow.gates.items():
        yield _gate(name, gate)
    for sentence in flow.findings:
        yield from textwrap.wrap(sentence, WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _over_time(flow: DirectionFlow) -> Iterator[str]:
    """A row for each slot: gradients of the states there, and what the step that starts there gives."""
    shown = next((name for name in flow.weights if "weight_hh" in name), next(iter(flow.weights)))
    columns = [f"|d{state}|" for state in flow.states] + [f"share of {shown}"]
    values = [*flow.states.values(), flow.weights[shown].share]
    if flow.jacobians is not None:
        columns += ["step Jacobian", "dh[end]/dS[t]"]
        known = dict(zip(flow.jacobians.slots.tolist(), _over_rows(flow.jacobians.to_h), strict=True))
        reach = np.array([known.get(t, np.nan) for t in range(flow.steps + 1)])
        values += [_over_rows(flow.jacobians.step[ALL]), reach]
    widths = [max(len(column), 10) for column in columns]
    yield "  " + " ".join(["slot t", *(f"{column:>{w}}" for column, w in zip(columns, widths, strict=True))])
    for t in np.unique(np.linspace(0, flow.steps, min(ROWS, flow.steps + 1)).round().astype(int)):
        cells = [_number(series[t]) if t < len(series) else "" for series in values]
        yield "  " + " ".join([f"{t:>6}", *(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))]).rstrip()


def _over_rows(values: np.ndarray) -> np.ndarray:
    """The mean over the rows that have a value; NaN where none has."""
    count = np.count_nonzero(~np.isnan(values), axis=1)
    return np.where(count > 0, np.nansum(values, axis=1) / np.maximum(count, 1), np.nan)


def _gate(name: str, gate: GateFlow) -> str:
    mean, spread, low, high = (
        float(np.nanmean(values)) if not np.isnan(values).all() else np.nan
        for values in (gate.mean, gate.spread, gate.near_low, gate.near_high)
    )
    shares = [f"{share:.0%}" if np.isfinite(share) else "-" for share in (low, high)]
    total = float(np.linalg.norm(gate.adjoint))
    return f"  {name:<8} {mean:>8.3f} {spread:>8.3f} {shares[0]:>9} {shares[1]:>10} {_number(total):>10}"


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "-"


def _of_truncation(found: Truncation) -> Iterator[str]:
    yield f"truncated BPTT with k1 = {found.k1}, k2 = {found.k2}, beside the full gradient"
    width = max(map(len, found.captured))
    yield f"  {'parameter':<{width}} {'left of it':>10} {'cosine':>8} {'distance':>9}"
    for name, part in found.captured.items():
        numbers = f"{part:>10.3f} {found.cosine[name]:>8.3f} {found.distance[name]:>9.3f}"
        yield f"  {name:<{width}} {numbers}"
