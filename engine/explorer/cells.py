"""What the page knows of one run of a cell: slots, gates, gradients, norms, shares, and the lines of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.explorer.equations import StepEquations
from engine.explorer.pool import Pool
from engine.explorer.runs import StepRun

Json = dict[str, Any]


def cell_data(run: StepRun, pool: Pool) -> Json:
    """The data of a run for the page.

    Parameters
    ----------
    run : StepRun
        Of `engine.explorer.runs`.
    pool : Pool
        Takes the numbers; the result holds their places.

    Returns
    -------
    dict
        ``slots`` and ``dslots`` by state (T+1 slots), ``gates`` and ``da`` by gate (T steps), ``norms`` of dslots over
        all units, ``shares`` by weight, ``functions`` of a step, and what the run is.
    """
    tape, trace = run.tape, run.trace
    writer = StepEquations(run, pool)

    def slots(states: dict[str, np.ndarray]) -> Json:
        return {name: pool.slots(writer.shown(values[:, 0])) for name, values in states.items()}

    def gates(values: dict[str, np.ndarray]) -> Json:
        return {name: pool.place(writer.shown(value[:, 0])) for name, value in values.items()}

    norms = {name: np.linalg.norm(values[:, 0], axis=1) for name, values in trace.states.items()}
    return {
        "name": run.cell.name,
        "title": run.title or run.cell.title,
        "about": run.about,
        "labels": list(run.labels),
        "steps": run.steps,
        "hidden": int(tape.run.gates.shape[-1]),
        "inputs": int(tape.x.shape[-1]),
        "units": [int(unit) for unit in run.units],
        "states": list(run.cell.states),
        "slots": slots(tape.states),
        "dslots": slots(trace.states),
        "gates": gates(tape.gates),
        "da": gates(trace.gates),
        "norms": {name: pool.place(values[:, None]) for name, values in norms.items()},
        "shares": {name: pool.place(values[:, None]) for name, values in run.shares.items()},
        "functions": writer.functions(),
    }
