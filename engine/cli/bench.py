"""``bptt bench``: how long a pass takes on this machine, beside other libraries that are installed."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import click

from engine.cli.common import json_option, print_json, print_table

#: What is timed beside the engine, where it is installed.
PEERS = {"torch": "PyTorch", "jax": "JAX", "onnxruntime": "ONNX Runtime"}
#: Whether a kind of pass has a backward half.
PASSES = {"training": True, "predict": False}


@click.command(short_help="Time training steps and predictions beside other libraries'.")
@click.option(
    "--pass",
    "passes",
    multiple=True,
    type=click.Choice(list(PASSES)),
    help="May be given more than once, as may --cell, --batch, --steps, --size and --beside. [both]",
)
@click.option("--cell", "cells", multiple=True, type=click.Choice(["rnn", "gru", "lstm"]), help="[all]")
@click.option("--batch", "batches", multiple=True, type=int, metavar="B", help="Rows of a batch. [1 and 32]")
@click.option("--steps", "lengths", multiple=True, type=int, metavar="T", help="Time steps. [50]")
@click.option("--size", "sizes", multiple=True, type=int, metavar="H", help="Hidden units and inputs. [64 and 256]")
@click.option(
    "--beside", "peers", multiple=True, type=click.Choice(list(PEERS)), help="[each of them that is installed]"
)
@click.option("--threads", type=int, default=1, show_default=True, metavar="N", help="Threads and cores of each.")
@click.option(
    "--seconds", type=float, default=0.4, show_default=True, metavar="S", help="Time for each size; 3 rounds at least."
)
@json_option
@click.pass_context
def bench(
    context: click.Context,
    passes: tuple[str, ...],
    cells: tuple[str, ...],
    batches: tuple[int, ...],
    lengths: tuple[int, ...],
    sizes: tuple[int, ...],
    peers: tuple[str, ...],
    threads: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Time passes in float32: training steps (forward, and backward to input and parameters), and predictions.

    The engine and each library have a process of their own, on the same cores, and take turns. A ratio is the
    library's time divided by ours: above 1, ours is faster; --json has its 95 % interval. "of sgemm" compares our
    speed with that of a large matrix product on these cores. It takes less than a minute. For repeatable figures run
    nothing else on the machine.
    """
    from engine.measuring.machine import machine
    from engine.measuring.rounds import Workers, time_case

    batches, lengths, sizes = batches or (1, 32), lengths or (50,), sizes or (64, 256)
    _check(batches, lengths, sizes, threads, seconds)
    grid = _grid(passes or tuple(PASSES), cells or ("lstm", "gru", "rnn"), batches, lengths, sizes)
    with Workers(("engine", *(peers or PEERS), "sgemm"), threads) as workers:
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
    _show(rows, [peer for peer in PEERS if peer in workers.versions])


def _check(
    batches: tuple[int, ...], lengths: tuple[int, ...], sizes: tuple[int, ...], threads: int, seconds: float
) -> None:
    """Refuse what cannot be timed."""
    from engine.checks import integer
    from engine.errors import bad_input
    from engine.measuring.machine import cores

    for option, values in (("--batch", batches), ("--steps", lengths), ("--size", sizes), ("--threads", (threads,))):
        for value in values:
            integer(option, value, 1)
    if threads > cores():
        raise bad_input("--threads", f"at most the {cores()} cores that this process may use", threads)
    if not 0 <= seconds < float("inf"):
        raise bad_input("--seconds", "a finite number >= 0", seconds)


def _grid(passes: Any, cells: Any, batches: Any, lengths: Any, sizes: Any) -> list[Any]:
    """Every case that the options span."""
    from engine.measuring.timed_step import TimedStep

    found = itertools.product(passes, cells, batches, lengths, sizes)
    return [TimedStep(cell.upper(), T, B, H, H, training=PASSES[kind]) for kind, cell, B, T, H in found]


def _say_what(workers: Any, where: dict[str, Any]) -> None:
    click.echo(f"{where['cpu']}, {workers.threads} of {where['cores']} cores, Python {where['python']}")
    for library, version in workers.versions.items():
        if library in PEERS:
            click.echo(f"{PEERS[library]}: {version}")
    for library, reason in workers.absent.items():
        click.echo(f"{PEERS.get(library, library)}: not here, so not timed ({reason})")


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """What a row's times come to; ``ratio`` and ``interval`` are PyTorch's, ``ratios`` has every library's."""
    from engine.measuring import figures

    ratios = {
        peer: {"ratio": figures.ratio(row, peer), "interval": list(figures.interval(row, peer))}
        for peer in PEERS
        if peer in row["seconds"]
    }
    return {
        "median": {library: figures.median(row, library) for library in row["seconds"]},
        "of_sgemm": figures.fraction(row),
        "ratios": ratios,
        **ratios.get("torch", {}),
    }


def _show(rows: list[dict[str, Any]], peers: list[str]) -> None:
    """The table; then the geometric mean and the worst case of each library, and what could not be compared."""
    from engine.measuring import figures
    from engine.measuring.rounds import TOLERANCE

    columns = ["pass", "cell", "B", "T", "H", "ours, ms", *(PEERS[peer] for peer in peers), "of sgemm"]
    print_table(columns, [_cells(row, peers) for row in rows], numbers=len(columns) - 2)
    for peer, kind in itertools.product(peers, PASSES):
        found = [row for row in rows if row["training"] == PASSES[kind] and peer in row["ratios"]]
        if found:
            ratios = [row["ratios"][peer]["ratio"] for row in found]
            mean, below = figures.geometric_mean(ratios), sum(ratio < 1 for ratio in ratios)
            worst = _name(found[ratios.index(min(ratios))])
            words = f"{kind}: mean {mean:.2f}, worst {min(ratios):.2f} ({worst}), below 1.0: {below} of {len(ratios)}"
            click.echo(f"{PEERS[peer]} / ours, {words}")
    for row in rows:
        for library, reason in row["failed"].items():
            if library != "onnxruntime" or not row["training"]:  # it has no training
                click.echo(f"{PEERS.get(library, library)} could not be timed, {_name(row)}: {reason}")
        for library, apart in row["difference"].items():
            if library in PEERS and (apart is None or apart > TOLERANCE):
                click.echo(f"{PEERS[library]} computes something else than ours, {_name(row)}")


def _name(row: dict[str, Any]) -> str:
    return f"{row['cell']} B={row['B']} T={row['T']} H={row['H']}"


def _cells(row: dict[str, Any], peers: list[str]) -> list[str]:
    share = row["of_sgemm"]
    cells = [next(kind for kind in PASSES if PASSES[kind] == row["training"]), row["cell"]]
    cells += [*(str(row[name]) for name in "BTH"), f"{1e3 * row['median']['engine']:.3g}"]
    for peer in peers:
        found = row["ratios"].get(peer)
        cells.append("-" if found is None else f"{found['ratio']:.2f}")
    return [*cells, "-" if share is None else f"{100 * share:.0f} %"]
