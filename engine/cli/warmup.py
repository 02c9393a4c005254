"""``bptt warmup``: compile the kernels ahead of their first use."""

from __future__ import annotations

import click

from engine.cell import cells as known_cells
from engine.cli.common import json_option, print_json

DTYPES = ("float32", "float64")
#: The cells of `engine.RNN`, `engine.GRU` and `engine.LSTM`.
USUAL = ("rnn_tanh", "rnn_relu", "gru", "gru_before", "lstm")


@click.command(short_help="Compile the kernels ahead of their first use.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    type=click.Choice(list(known_cells())),
    help="May be given more than once. [those of RNN, GRU and LSTM]",
)
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="May be given more than once. [both]")
@json_option
def warmup(cells: tuple[str, ...], dtypes: tuple[str, ...], as_json: bool) -> None:
    """Compile the kernels now and keep them on disk, so that no first training step waits for the compiler.

    Compiling takes about 5 s for each dtype and 1 s more for each cell; what is on disk already takes a moment.
    Do this after an installation, or when you build a container. NUMBA_CACHE_DIR names the folder.
    """
    import engine
    from engine.errors import BackendUnavailableError

    try:
        engine.get_backend("numpy", kernels="numba")
    except BackendUnavailableError as error:
        raise BackendUnavailableError(f"{error}; there is nothing to compile without them") from None
    from kernels.cpu.compiling import JIT
    from kernels.cpu.warmup import warm

    records = []
    for cell in cells or USUAL:
        for dtype in dtypes or DTYPES:
            warmed = warm(cell, dtype)
            records.append(warmed._asdict())
            if not as_json:
                done = "compiled" if warmed.compiled else "on disk already" if JIT else "not compiled"
                click.echo(f"{cell:<12}{dtype:<10}{done:<18}{warmed.seconds:6.1f} s")
    total = sum(record["seconds"] for record in records)
    compiled = sum(record["compiled"] > 0 for record in records)
    if as_json:
        print_json({"compiled": compiled, "seconds": total, "kernels": records})
    elif not JIT:
        click.echo("Nothing to compile: NUMBA_DISABLE_JIT is set.")
    else:
        click.echo(f"{compiled} of {len(records)} compiled, in {total:.1f} s.")
