"""``bptt export``: write a trained model for another library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.common import json_option, print_json

ENDINGS = (".onnx", ".keras", ".h5", ".hdf5")
#: A file that differs by more than this share of its largest value is not what the model computes.
MOST = 1e-4

EXAMPLES = """\b
Examples:
  bptt export model.onnx
  bptt export runs/forecast forecast.keras
"""


@click.command(short_help="Write a trained model for ONNX or Keras.", epilog=EXAMPLES)
@click.argument("names", nargs=-1, metavar="[RUN] FILE")
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@click.option("--lengths", is_flag=True, help="ONNX: a second input with the valid steps of each row.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
def export(names: tuple[str, ...], which: str | None, lengths: bool, force: bool, as_json: bool) -> None:
    """Write the model of RUN to FILE, which ends with .onnx, .keras or .h5.

    RUN is a run's directory, a checkpoint, or a file of model.save [default: runs/text]. The file is then run by ONNX
    Runtime or Keras, where that is installed, and the largest difference is said. Only the model goes into it: a
    vocabulary or a scaling stays in RUN.
    """
    from engine.errors import EngineError, bad_input
    from engine.exchange import export_keras, export_onnx
    from engine.exchange.trying import Tried, try_file
    from engine.training import checkpoint_in, load

    run, target = _told_apart(names)
    if target.exists() and not force:
        raise bad_input("FILE", "a file that is not there yet", f"{target}", "--force replaces it")
    if lengths and target.suffix.lower() != ".onnx":
        raise bad_input("lengths", "an .onnx file", f"{target.name}", "Keras takes masks in place of lengths")
    place = checkpoint_in(run, which)
    model = load(place, "numpy:reference")  # compiles nothing
    if target.suffix.lower() == ".onnx":
        export_onnx(model, target, lengths=lengths)
    else:
        export_keras(model, target)
    tried: Tried = try_file(target, model, lengths)
    if tried.difference is not None and not tried.difference <= MOST:
        raise EngineError(f"{target}: expected {tried.by} to compute what the model does, got a difference of "
                          f"{tried.difference:.1e} of the largest value; the file is there, do not use it")  # fmt: skip
    _say(place, target, tried, as_json)


def _told_apart(names: tuple[str, ...]) -> tuple[Path, Path]:
    """The run and the file, in whichever order they were given."""
    from engine.errors import bad_input

    targets = [name for name in names if name.lower().endswith(ENDINGS)]
    others = [name for name in names if name not in targets]
    if len(targets) != 1 or len(others) > 1 or "\0" in "".join(names):
        expected = f"[RUN] FILE, where FILE ends with {', '.join(ENDINGS[:3])}"
        raise bad_input("FILE", expected, ", ".join(map(repr, names)) or "nothing")
    return Path(others[0] if others else "runs/text"), Path(targets[0])


def _say(place: Path, target: Path, tried: Any, as_json: bool) -> None:
    size = target.stat().st_size
    if as_json:
        checked = {"checked_by": tried.by or None, "difference": tried.difference, "not_checked": tried.reason or None}
        print_json({"model": str(place), "file": str(target), "bytes": size, **checked})
        return
    click.echo(f"Wrote {target} ({size:,} bytes) from {place}.")
    if tried.difference is None:
        click.echo(f"Not checked: {tried.reason}.")
    else:
        click.echo(
            f"{tried.by} computes the same: the largest difference is {tried.difference:.1e} of the largest value."
        )
