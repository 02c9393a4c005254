"""``bptt evaluate``: measure a trained model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.common import (
    FORMAT_OPTIONS,
    ROW_OPTIONS,
    add_options,
    decimal,
    flag,
    json_option,
    own_backend_option,
    print_json,
)

if TYPE_CHECKING:
    from engine.training import Checkpoint, TrainConfig


@click.command(short_help="Measure a trained model.")
@click.argument("run", default="runs/text", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@add_options(ROW_OPTIONS)
@add_options(FORMAT_OPTIONS)
@own_backend_option
@json_option
def evaluate(
    run: Path, files: tuple[str, ...], which: str | None, backend: str | None, as_json: bool, **form: Any
) -> None:
    """Measure the model of RUN, a run's directory or a checkpoint file [default: runs/text].

    A character model is measured on the validation part of its own text, or on the whole of other FILEs: bits per
    character and perplexity. A forecaster is scored beside its baselines on the held-out last part of its series, or of
    another FILE with the same columns. The rows of a series are read as in training, unless an option changes that.
    """
    from engine.training import TrainConfig, checkpoint_in, read_checkpoint
    from engine.training.config import FORECAST, elsewhere

    path = checkpoint_in(run, which)
    checkpoint = read_checkpoint(path)
    config = TrainConfig.from_json(checkpoint.meta["config"])
    given = {name: value for name, value in form.items() if value is not None}
    config = elsewhere(config, given) if files else replace(config, **given)
    config.check(flag)
    measure = _forecaster if config.task == FORECAST else _language
    result = {"checkpoint": str(path), "task": config.task, **measure(checkpoint, config, files, backend)}
    if as_json:
        print_json(result)
    elif config.task == FORECAST:
        from engine.cli.train import print_scores

        print_scores(result)
    else:
        bpc, perplexity = decimal(result["bpc"], 4), decimal(result["perplexity"], 3)
        click.echo(f"{bpc} bits per character (perplexity {perplexity} per character)")
        click.echo(f"over {result['characters']:,} characters of {result['text']}, with {path}")
        if result["worse_than_guessing"]:
            click.echo(f"Worse than guessing, which takes {result['guessing']:.4f} bits per character.")


def _language(
    checkpoint: Checkpoint, config: TrainConfig, files: tuple[str, ...], backend: str | None
) -> dict[str, Any]:
    from engine.data import split
    from engine.data.data_checks import bad_data
    from engine.errors import NonFiniteError
    from engine.training import load_model
    from engine.training.language_model import mean_loss, name_of, read_text
    from engine.training.session import backend_for, vocabulary_of
    from engine.training.task import fingerprint
    from engine.training.verdict import beside_guessing

    vocabulary = vocabulary_of(checkpoint)
    text = read_text(files or config.files, config.encoding)
    source = ", ".join(files) or "the validation part"
    if not files:
        if fingerprint(text) != checkpoint.meta["data"]:
            hint = "name the files to measure on"
            raise bad_data(name_of(config.files), f"the text that {checkpoint.path} was trained on", "another", hint)
        text = split(text, config.validation)[1]
    if len(text) < 2:
        raise bad_data(source, "at least 2 characters", len(text), "give more text")
    ids = vocabulary.encode(text, source)
    loss = mean_loss(load_model(checkpoint, backend_for(checkpoint, backend)), ids)
    bpc, perplexity = loss / math.log(2), math.exp(min(loss, 700.0))
    if not math.isfinite(bpc):
        hint = "use an earlier checkpoint, or train anew with a lower --lr"
        raise NonFiniteError(
            f"{checkpoint.path}: expected a finite loss, got {loss}: the weights are too large; {hint}"
        )
    return {
        "text": source,
        "characters": len(ids) - 1,
        "loss": loss,
        "bpc": bpc,
        "perplexity": perplexity,
        **beside_guessing(bpc, len(vocabulary)),
    }


def _forecaster(
    checkpoint: Checkpoint, config: TrainConfig, files: tuple[str, ...], backend: str | None
) -> dict[str, Any]:
    from engine.data.data_checks import bad_data
    from engine.errors import bad_input
    from engine.training.forecaster import Forecaster
    from engine.training.session import backend_for, score_forecasts
    from engine.training.task import load_weights

    if len(files) > 1:
        raise bad_input("FILE", "one series", f"{len(files)} files", "name one")
    config = replace(config, data=files[0] if files else config.data)
    job = Forecaster(config, backend_for(checkpoint, backend))
    if not files and job.fingerprint != checkpoint.meta["data"]:
        expected = f"the series that {checkpoint.path} was trained on"
        raise bad_data(str(config.data), expected, "another", "name the file to measure on")
    job.restore_scaling(checkpoint)
    load_weights(job.model, checkpoint)
    return score_forecasts(job)
