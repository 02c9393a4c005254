"""``bptt gradcheck``: compare every hand-written gradient with numerical differences."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.common import backend_option, json_option, print_json, print_table

#: Small enough to be quick, and no two sizes equal, so that swapped axes cannot pass.
STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 4, 5

#: Cells by the option that names them: title, class, and its own arguments.
CELLS: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "rnn": [("RNN tanh", "RNN", {"nonlinearity": "tanh"}), ("RNN relu", "RNN", {"nonlinearity": "relu"})],
    "gru": [("GRU reset after", "GRU", {"reset_after": True}), ("GRU reset before", "GRU", {"reset_after": False})],
    "lstm": [("LSTM", "LSTM", {})],
}

#: Methods of `engine.gradcheck`, in words.
METHODS = {
    "central": "central differences",
    "complex": "complex step",
    "rtrl": "forward accumulation",
    "directional": "directional differences",
    "adjoint": "adjoint identity",
    "taylor": "Taylor remainder",
}

#: What is tried with each cell: title, the layer's arguments, and whether the rows differ in length.
OPTIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("plain", {}, False),
    ("no bias", {"bias": False}, False),
    ("batch first", {"batch_first": True}, False),
    ("lengths", {}, True),
    ("bidirectional, lengths", {"bidirectional": True}, True),
    ("2 layers, dropout, bidirectional, lengths", {"num_layers": 2, "dropout": 0.3, "bidirectional": True}, True),
]


@click.command(short_help="Check every gradient of every cell.")
@click.option(
    "--cell", "cells", multiple=True, type=click.Choice(list(CELLS)), help="May be given more than once. [all]"
)
@click.option(
    "--method", type=click.Choice(list(METHODS)), default="central", show_default=True, help="The second opinion."
)
@click.option("--seed", default=0, show_default=True, help="Of weights, inputs and cotangents.")
@click.option("--verbose", is_flag=True, help="Show every tensor of every check.")
@backend_option
@json_option
@click.pass_context
def gradcheck(
    context: click.Context, cells: tuple[str, ...], method: str, seed: int, verbose: bool, backend: str, as_json: bool
) -> None:
    """Check the gradients of every cell, with every option, against a second opinion in float64.

    Parameters, inputs and initial states are checked, with random non-zero gradients on outputs and final states.
    Exit code 1 if one does not pass.
    """
    from engine import get_backend
    from engine.errors import bad_input

    if seed < 0:
        raise bad_input("--seed", "an integer >= 0", seed)
    chosen = get_backend(backend)
    rows, records, reports = [], [], []
    for title, kind, arguments in [cell for name in cells or CELLS for cell in CELLS[name]]:
        for options, extra, ragged in OPTIONS:
            report = _check(kind, {**arguments, **extra}, ragged, chosen, method, seed)
            worst = report.worst
            place = worst.name + (f" gate {worst.gate}" if worst.gate else "")
            rows.append((title, options, str(len(report.rows)), f"{worst.error:.1e}", place, report.verdict))
            where = {"name": worst.name, "gate": worst.gate, "time_step": worst.time_step, "index": list(worst.index)}
            error = worst.error if worst.error == worst.error else None  # JSON has no NaN
            records.append(
                {"cell": title, "options": options, "verdict": report.verdict, "error": error, "worst": where}
            )
            if verbose or not report.passed:
                reports.append(f"{title}, {options}\n{report}\n")
    failed = sum(record["verdict"] != "ok" for record in records)
    if as_json:
        print_json({"passed": not failed, "backend": chosen.spec, "method": method, "checks": records})
    else:
        for text in reports:
            click.echo(text)
        print_table(("cell", "options", "tensors", "worst error", "at", "verdict"), rows)
        verdict = (
            f"{failed} of {len(records)} gradient checks FAILED"
            if failed
            else f"all {len(records)} gradient checks passed"
        )
        click.echo(f"{verdict} ({chosen.spec}, float64, {METHODS[method]})")
    context.exit(1 if failed else 0)


def _check(kind: str, arguments: dict[str, Any], ragged: bool, backend: Any, method: str, seed: int) -> Any:
    """The report of one layer, with random inputs and a non-zero initial state."""
    import numpy as np

    import engine

    rng = np.random.Generator(np.random.PCG64(seed))
    layer = getattr(engine, kind)(INPUTS, HIDDEN, backend=backend, dtype="float64", seed=seed, **arguments)
    shape = (BATCH, STEPS, INPUTS) if arguments.get("batch_first") else (STEPS, BATCH, INPUTS)
    slots = arguments.get("num_layers", 1) * (2 if arguments.get("bidirectional") else 1)
    state = [backend.asarray(rng.normal(size=(slots, BATCH, HIDDEN))) for _ in range(2)]
    lengths = [STEPS, 0, STEPS - 2] if ragged else None
    x = backend.asarray(rng.normal(size=shape))
    return engine.gradcheck(layer, x, tuple(state) if kind == "LSTM" else state[0], lengths, method, seed)
