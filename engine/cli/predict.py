"""``bptt predict``: forecast the values after the last row of a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.common import (
    FORMAT_OPTIONS,
    ROW_OPTIONS,
    add_options,
    json_option,
    own_backend_option,
    print_json,
    print_table,
)

EXAMPLES = """\b
Examples:
  bptt predict runs/forecast
  bptt predict runs/forecast --data newer.csv --json
"""


@click.command(short_help="Forecast what comes after the last row.", epilog=EXAMPLES)
@click.argument("run", default="runs/forecast", type=click.Path(path_type=Path))
@click.option("--data", metavar="FILE", help="A series with the same columns. [the one of the run]")
@add_options(ROW_OPTIONS)
@add_options(FORMAT_OPTIONS)
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@own_backend_option
@json_option
def predict(run: Path, which: str | None, backend: str | None, as_json: bool, **reading: Any) -> None:
    """Forecast what comes after the last row with the forecaster of RUN [default: runs/forecast].

    RUN is a run's directory or a checkpoint file. The values are in units of the series; their times continue in the
    step of the column of times. Rows are read as in training, unless an option changes that.
    """
    from engine.training import checkpoint_in, read_checkpoint
    from engine.training.session import predict_next

    checkpoint = read_checkpoint(checkpoint_in(run, which))
    result = predict_next(checkpoint, backend, **{name: value for name, value in reading.items() if value is not None})
    if as_json:
        print_json(result)
    else:
        print_next(result)


def print_next(result: dict[str, Any]) -> None:
    """The table of what comes next, and the notes below it."""
    last = result["last"]
    timed = last["time"] is not None and result["next"][0]["time"] is not None
    behind = f"row {last['row']}" + (f" ({last['time']})" if last["time"] is not None else "")
    title = f"{result['column']}: what comes after {behind}, in units of the series"
    rows = [(str(point["time"] if timed else point["row"]), f"{point['value']:.6g}") for point in result["next"]]
    print_table(("time" if timed else "row", "forecast"), rows, title, numbers=1)
    for note in result["notes"]:
        click.echo(f"Note: {note}.")
