"""``bptt compare``: the same layer on several backends: differences, time, bytes moved, memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cell import cells
from engine.cli.common import draw_into, json_option, print_json, print_table

if TYPE_CHECKING:
    from engine.measuring.comparing import BackendRow
    from engine.measuring.experiment import Experiment

DEFAULT = "numpy:reference,numpy:numba,cupy:cuda,torch:reference"
#: Columns of the table: tensors that stand together.
GROUPS = {
    "y": ("y",),
    "h, c": ("h_n", "c_n"),
    "dx": ("dx",),
    "dh0, dc0": ("dh_0", "dc_0"),
    "dW_ih": ("weight_ih_l0",),
    "dW_hh": ("weight_hh_l0",),
    "db": ("bias_ih_l0", "bias_hh_l0"),
}


@click.command(short_help="Compare backends: differences, time, memory.")
@click.option(
    "--backends", default=DEFAULT, show_default=True, metavar="NAMES", help="Others are compared with the first."
)
@click.option(
    "--cell",
    type=click.Choice(["rnn", *cells()]),
    default="lstm",
    show_default=True,
    help="gru_before: with the reset gate before the product.",
)
@click.option("--steps", "T", type=int, default=20, show_default=True, metavar="T", help="Time steps.")
@click.option("--batch", "B", type=int, default=8, show_default=True, metavar="B", help="Rows.")
@click.option("--inputs", "D", type=int, default=24, show_default=True, metavar="D", help="Input features.")
@click.option("--size", "H", type=int, default=32, show_default=True, metavar="H", help="Hidden units.")
@click.option("--lengths", metavar="NUMBERS", help="Valid steps of each row, such as 20,3,0,...; 'mixed' draws them.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, input and gradients.")
@click.option("--seconds", type=float, default=1.0, show_default=True, metavar="S", help="For the timing of all.")
@click.option("--memory/--no-memory", default=True, help="Peak memory; a process for each backend. [on]")
@click.option("--out", metavar="FILE", help="Draw the picture into this PNG file.")
@json_option
def compare(backends: str, seconds: float, memory: bool, out: str | None, as_json: bool, **layer: Any) -> int:
    """Run forward and backward of one layer on several backends, with the same numbers, and set them side by side.

    A difference is the largest difference in a tensor, divided by the tensor's largest absolute value; the worst is
    also searched in every single time step. Exit code 1 if two backends differ by more than 1e-10 (float64) or 1e-3
    (float32), or if none could be run; a missing backend is a row with the reason.
    """
    from engine.errors import bad_input
    from engine.measuring.comparing import measure

    specs = [spec.strip() for spec in backends.split(",") if spec.strip()]
    if not specs or len(set(specs)) < len(specs):
        raise bad_input("--backends", "names between commas, each once", repr(backends))
    experiment = _experiment(**layer)
    if not 0 <= seconds < math.inf:
        raise bad_input("--seconds", "a finite number >= 0", seconds)
    if out is not None and (Path(out).suffix.lower() != ".png" or not Path(out).parent.is_dir()):
        raise bad_input("--out", "a PNG file in a directory that exists", repr(out))
    rows = measure(experiment, specs, seconds, memory)
    ran = [row for row in rows if row.reason is None]
    agreed = bool(ran) and all(row.differences.agree(experiment.dtype) for row in ran if row.differences)
    if as_json:
        records = [_record(row, experiment.dtype) for row in rows]
        print_json({"experiment": experiment.as_dict(), "agree": agreed, "rows": records})
    else:
        _print(experiment, rows)
    if out is not None and ran:
        from engine.measuring.comparison_picture import draw

        draw_into(out, lambda: draw(Path(out), experiment, rows))
        if not as_json:
            click.echo(f"picture: {out}")
    return 0 if agreed else 1


def _experiment(*, cell: str, T: int, B: int, D: int, H: int, lengths: str | None, dtype: str, seed: int) -> Experiment:
    """The layer and its arguments, as the options describe them."""
    from engine.checks import integer
    from engine.measuring.experiment import Experiment

    for option, value in (("--steps", T), ("--batch", B), ("--inputs", D), ("--size", H)):
        integer(option, value, 1)
    integer("--seed", seed, 0)
    return Experiment(cell, T, B, D, H, _lengths(lengths, T, B, seed), dtype, seed)


def _lengths(text: str | None, T: int, B: int, seed: int) -> tuple[int, ...] | None:
    """The lengths that were asked for; ``mixed`` draws them from 0 to T."""
    from engine.errors import bad_input

    if text is None:
        return None
    if text == "mixed":
        import numpy as np

        return tuple(int(length) for length in np.random.default_rng(seed).integers(0, T + 1, B))
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != B or not all(0 <= length <= T for length in found):
        raise bad_input("--lengths", f"'mixed', or {B} numbers in 0..{T} between commas", repr(text))
    return found


def _print(experiment: Experiment, rows: list[BackendRow]) -> None:
    from engine.measuring.side_by_side import TOLERANCE

    sizes = ", ".join(f"{letter} = {getattr(experiment, letter)}" for letter in "TBDH")
    title = f"{experiment.cell.upper()}, {experiment.dtype}, {sizes}" + ", mixed lengths" * bool(experiment.lengths)
    columns = ["backend", "", *GROUPS, "worst", "at", "ms", "KiB in", "out", "MiB"]
    print_table(columns, [_cells(row, experiment.dtype) for row in rows], title, numbers=len(columns) - 2)
    click.echo(
        "y to db: largest difference over largest size; worst: the same of every tensor and time step, at most "
        f"{TOLERANCE[experiment.dtype]:g} to agree; ms: median of a step; KiB moved in and out; MiB: peak memory"
    )
    for row in rows:
        if row.memory_unknown:
            click.echo(f"{row.spec}: peak memory unknown: {row.memory_unknown}")
    if all(row.reason is not None for row in rows):
        click.echo("nothing was compared: no backend could be run")


def _cells(row: BackendRow, dtype: str) -> list[str]:
    if row.reason is not None:
        return [row.spec, f"not run: {row.reason}", *["-"] * (len(GROUPS) + 6)]
    found = row.differences
    if found is None:
        verdict, cells = "the first", ["-"] * (len(GROUPS) + 2)
    else:
        verdict = "agrees" if found.agree(dtype) else "DIFFERS"
        cells = [_brief(max(found.whole[name] for name in names if name in found.whole)) for names in GROUPS.values()]
        cells += [_brief(found.worst), found.worst_at if found.worst else "-"]
    memory = "-" if row.memory is None else f"{row.memory / 2**20:.2f}"
    moved = [f"{size / 1024:.1f}" for size in (row.bytes_to_device, row.bytes_to_host)]
    return [row.spec, verdict, *cells, f"{1e3 * row.median:.3g}", *moved, memory]


def _brief(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"


def _record(row: BackendRow, dtype: str) -> dict[str, Any]:
    """A row for JSON, which has no infinity and no NaN: None stands for them."""
    if row.reason is not None:
        return {"backend": row.spec, "reason": row.reason}
    found: dict[str, Any] = {
        "backend": row.spec,
        "reason": None,
        "device": row.device,
        "agrees": None,
        "seconds": row.median,
        "rounds": len(row.seconds),
        "bytes_to_device": row.bytes_to_device,
        "bytes_to_host": row.bytes_to_host,
        "copies_inside_a_step": row.inside,
        "peak_memory": row.memory,
    }
    if row.differences is not None:
        differences = row.differences
        found |= {
            "agrees": differences.agree(dtype),
            "worst": _number(differences.worst),
            "worst_at": differences.worst_at,
            "differences": {name: _number(value) for name, value in differences.whole.items()},
            "by_step": {
                name: [_number(float(value)) for value in values] for name, values in differences.by_step.items()
            },
        }
    return found


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
