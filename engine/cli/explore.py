"""``bptt explore``: one offline page that shows backpropagation through time, step by step."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

import click


@click.command(short_help="See backpropagation step by step, in a browser.")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--cell", "cells", multiple=True, metavar="NAME", help="A cell to show; may be given more than once. [all]"
)
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False), help="Write the page there and open nothing.")
@click.option("--text", default="", help="What a character model of RUN reads. [it writes its own]")
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@click.option("--seed", default=0, show_default=True, help="Of the small runs' weights and inputs.")
@click.option("--no-bugs", is_flag=True, help="Leave the mystery bugs out: the page is made in half the time.")
def explore(
    run: Path | None, cells: tuple[str, ...], out: str | None, text: str, which: str | None, seed: int, no_bugs: bool
) -> None:
    """Make one page with every gate, state and gradient of a small run of each cell; of RUN, a trained model, too.

    The page needs no network. It shows the strip of time, the inside of a step line by line, heat maps, cells side by
    side, each step's share of a weight's gradient, and bugs to be found. Making it takes about ten seconds.
    """
    from engine.errors import bad_input
    from engine.explorer import write

    if seed < 0:
        raise bad_input("--seed", "an integer >= 0", seed)
    if out is not None and not Path(out).resolve().parent.is_dir():
        raise bad_input("--out", "a file in a folder that exists", out)
    if run is None and (text or which):
        raise bad_input("--text" if text else "--checkpoint", "a RUN before it", text or which)
    runs = []
    if run is not None:
        from engine.explorer.trained import trained_runs

        runs = trained_runs(run, which, text)
    file = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="bptt-")) / "explorer.html"
    write(file, list(cells) or None, runs=runs, seed=seed, mysteries=not no_bugs)
    click.echo(f"{file}: {file.stat().st_size / 1024:.0f} KiB, open it in any browser; it needs no network")
    if out is None and not webbrowser.open(file.resolve().as_uri()):
        click.echo("No browser could be started here; open the file yourself.")
