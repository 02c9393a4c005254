"""``bptt predict``: what a trained model says of new data, or of what comes next."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from engine.cli.common import (
    FORMAT_OPTIONS,
    ROW_OPTIONS,
    SOUND_OPTIONS,
    add_options,
    flag,
    json_option,
    own_backend_option,
    print_json,
    print_table,
)
from engine.errors import StorageError, bad_input

EXAMPLES = """\b
Examples:
  bptt predict runs/forecast
  bptt predict runs/forecast --data newer.csv --json
  bptt predict runs/classify new_sentences.csv --output answers.csv
"""


@click.command(short_help="Use a trained model on new data.", epilog=EXAMPLES)
@click.argument("run", default="runs/forecast", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--data", metavar="FILE", help="The same as FILE.")
@click.option("--text", multiple=True, metavar="TEXT", help="Words in place of a file, for a task that reads text.")
@click.option("--beam", type=int, help="Beams of the search, for a task that writes text. [that of the task]")
@click.option("--output", type=click.Path(path_type=Path), help="A new CSV file for the answers.")
@add_options(ROW_OPTIONS)
@add_options(FORMAT_OPTIONS)
@add_options(SOUND_OPTIONS)
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@own_backend_option
@json_option
def predict(
    run: Path,
    files: tuple[str, ...],
    data: str | None,
    text: tuple[str, ...],
    beam: int | None,
    output: Path | None,
    which: str | None,
    backend: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Use the model of RUN, a run's directory or a checkpoint file [default: runs/forecast], on new data.

    A forecaster says what comes after the last row of its series, or of FILE, in units of the series; the times
    continue in the step of the column of times. Other models answer for each row of the FILEs. Data is read as in
    training, unless an option changes that.
    """
    from engine.training import checkpoint_in
    from engine.training.session import predict_run

    if output is not None and output.exists():
        raise bad_input("--output", "a file that is not there yet", str(output), "choose another name")
    sources = (*files, *([data] if data is not None else []))
    asked = {name: value for name, value in (("text", text), ("beam", beam)) if value not in (None, ())}
    given = {name: value for name, value in reading.items() if value is not None}
    result = predict_run(checkpoint_in(run, which), sources, backend=backend, asked=asked, label=flag, **given)
    if output is not None:
        _write(output, result["next"] if "next" in result else result["rows"])
        result["output"] = str(output)
    if as_json:
        print_json(result)
    elif "next" in result:
        print_next(result)
    else:
        print_rows(result)


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The answers as a CSV file, a column for each entry."""
    try:
        with open(path, "x", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise StorageError(f"{path}: expected to write the answers, got '{error.strerror or error}'") from error


#: So many answers are shown on a terminal; all of them are in ``--output`` and ``--json``.
MOST_SHOWN = 40


def print_rows(result: Mapping[str, Any]) -> None:
    """The table of the answers, one row for each piece of data."""
    rows = result["rows"]
    if rows:
        shown = [tuple(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) for row in rows]
        numbers = len(rows[0]) if all(isinstance(v, float) for v in rows[0].values()) else 0
        print_table(tuple(rows[0]), shown[:MOST_SHOWN], numbers=numbers)
    if len(rows) > MOST_SHOWN:
        click.echo(f"{len(rows) - MOST_SHOWN:,} more answers; see them all with --output FILE or --json.")
    if "output" in result:
        click.echo(f"Answers: {result['output']}")
    for note in result.get("notes", ()):
        click.echo(f"Note: {note}.")


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
