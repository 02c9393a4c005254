"""``bptt bench``: how long a training step takes on this machine, beside PyTorch's if that is installed."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import click

from engine.cli.common import json_option, print_json, print_table

TITLES = {"engine": "ours", "torch": "PyTorch"}


@click.command(short_help="Time training steps beside PyTorch's.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    type=click.Choice(["rnn", "gru", "lstm"]),
    help="May be given more than once, as may --batch, --steps and --size. [all]",
)
@click.option("--batch", "batches", multiple=True, type=int, metavar="B", help="Rows of a batch. [1 and 32]")
@click.option("--steps", "lengths", multiple=True, type=int, metavar="T", help="Time steps. [50]")
@click.option("--size", "sizes", multiple=True, type=int, metavar="H", help="Hidden units and inputs. [64 and 256]")
@click.option("--threads", type=int, default=1, show_default=True, metavar="N", help="Threads and cores of each.")
@click.option(
    "--seconds", type=float, default=1.0, show_default=True, metavar="S", help="Time for each size; 3 rounds at least."
)
@json_option
@click.pass_context
def bench(
    context: click.Context,
    cells: tuple[str, ...],
    batches: tuple[int, ...],
    lengths: tuple[int, ...],
    sizes: tuple[int, ...],
    threads: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Time a training step: forward, and backward to the input and to every parameter, in float32.

    The engine and PyTorch have a process each, on the same cores, and take turns. The ratio is PyTorch's time divided
    by ours, with a 95 % interval; "of sgemm" compares our speed with that of a large matrix product on these cores.
    For repeatable figures run nothing else on the machine.
    """
    from engine.checks import integer
    from engine.errors import bad_input
    from engine.measuring.machine import cores, machine
    from engine.measuring.rounds import TOLERANCE, Workers, time_case
    from engine.measuring.timed_step import TimedStep

    batches, lengths, sizes = batches or (1, 32), lengths or (50,), sizes or (64, 256)
    for option, values in (("--batch", batches), ("--steps", lengths), ("--size", sizes), ("--threads", (threads,))):
        for value in values:
            integer(option, value, 1)
    if threads > cores():
        raise bad_input("--threads", f"at most the {cores()} cores that this process may use", threads)
    if not 0 <= seconds < float("inf"):
        raise bad_input("--seconds", "a finite number >= 0", seconds)
    grid = [
        TimedStep(cell.upper(), T, B, H, H)
        for cell, B, T, H in itertools.product(cells or ("lstm", "gru", "rnn"), batches, lengths, sizes)
    ]
    with Workers(("engine", "torch", "sgemm"), threads) as workers:
        if not as_json:
            _say_what(workers, machine())
        rows = []
        for number, case in enumerate(grid, 1):
            if sys.stderr.isatty():
                click.echo(f"\r{number} of {len(grid)}: {case!s:<40}", nl=False, err=True)
            row = time_case(workers, case, seconds)
            rows.append({**row, **_figures(row)})
        if sys.stderr.isatty():
            click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
    if as_json:
        versions, absent = workers.versions, workers.absent
        print_json({"machine": machine(), "versions": versions, "absent": absent, "rows": rows})
        return
    columns = ["cell", "B", "T", "H", "ours, ms", "PyTorch, ms", "ratio", "95 %", "of sgemm"]
    print_table(columns, [_cells(row) for row in rows], numbers=len(columns) - 1)
    for row in rows:
        name = f"{row['cell']} B={row['B']} T={row['T']} H={row['H']}"
        for library, reason in row["failed"].items():
            click.echo(f"{TITLES.get(library, library)} could not be timed, {name}: {reason}")
        for library, apart in row["difference"].items():
            if library in TITLES and (apart is None or apart > TOLERANCE):
                click.echo(f"{TITLES[library]} computes something else than ours, {name}")


def _say_what(workers: Any, where: dict[str, Any]) -> None:
    click.echo(f"{where['cpu']}, {workers.threads} of {where['cores']} cores, Python {where['python']}")
    for library, version in workers.versions.items():
        if library in TITLES:
            click.echo(f"{TITLES[library]}: {version}")
    for library, reason in workers.absent.items():
        click.echo(f"{TITLES.get(library, library)}: not here, so not timed ({reason})")


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """What a row's times come to."""
    from engine.measuring import figures

    found: dict[str, Any] = {
        "median": {library: figures.median(row, library) for library in row["seconds"]},
        "of_sgemm": figures.fraction(row),
    }
    if "torch" in row["seconds"]:
        found |= {"ratio": figures.ratio(row, "torch"), "interval": list(figures.interval(row, "torch"))}
    return found


def _cells(row: dict[str, Any]) -> list[str]:
    median, share = row["median"], row["of_sgemm"]
    cells = [row["cell"], str(row["B"]), str(row["T"]), str(row["H"]), f"{1e3 * median['engine']:.3g}"]
    if "torch" in median:
        low, high = row["interval"]
        cells += [f"{1e3 * median['torch']:.3g}", f"{row['ratio']:.2f}", f"{low:.2f} to {high:.2f}"]
    else:
        cells += ["-", "-", "-"]
    return [*cells, "-" if share is None else f"{100 * share:.0f} %"]
