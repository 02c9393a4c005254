"""``bptt evaluate``: measure a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.common import (
    FORMAT_OPTIONS,
    ROW_OPTIONS,
    SOUND_OPTIONS,
    add_options,
    decimal,
    flag,
    json_option,
    own_backend_option,
    print_json,
)
from engine.cli.train import print_results


@click.command(short_help="Measure a trained model.")
@click.argument("run", default="runs/text", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@add_options(ROW_OPTIONS)
@add_options(FORMAT_OPTIONS)
@add_options(SOUND_OPTIONS)
@own_backend_option
@json_option
def evaluate(
    run: Path, files: tuple[str, ...], which: str | None, backend: str | None, as_json: bool, **form: Any
) -> None:
    """Measure the model of RUN, a run's directory or a checkpoint file [default: runs/text].

    It is measured on the held-out part of its own data, or on the whole of other FILEs of the same kind. A character
    model: bits per character and perplexity. A forecaster: beside its baselines, on the last part of its series, or of
    another FILE with the same columns. The rows of a series are read as in training, unless an option changes that.
    """
    from engine.tasks.language import FIGURES
    from engine.training import checkpoint_in
    from engine.training.session import evaluate_run

    given = {name: value for name, value in form.items() if value is not None}
    result = evaluate_run(checkpoint_in(run, which), files, backend=backend, label=flag, **given)
    if as_json:
        print_json(result)
    elif "perplexity" in result and "text" in result:
        tokens = next(name for name in FIGURES if name in result)
        figure, token = FIGURES[tokens]
        bits, perplexity = decimal(result[figure], 4), decimal(result["perplexity"], 3)
        click.echo(f"{bits} bits per {token} (perplexity {perplexity} per {token})")
        click.echo(f"over {result[tokens]:,} {tokens} of {result['text']}, with {result['checkpoint']}")
        if result["worse_than_guessing"]:
            click.echo(f"Worse than guessing, which takes {result['guessing']:.4f} bits per {token}.")
    else:
        print_results(result)
