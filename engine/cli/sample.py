"""``bptt sample``: let a trained character model write."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.common import json_option, own_backend_option, print_json


@click.command(short_help="Let a trained character model write.")
@click.argument("run", default="runs/text", type=click.Path(path_type=Path))
@click.option("--length", default=500, show_default=True, help="Characters (or bytes, or words) to write.")
@click.option("--prompt", default="", help="Text to go on from.")
@click.option(
    "--temperature", default=0.7, show_default=True, help="Lower: safer; 0: always the likeliest; 1: as learnt."
)
@click.option("--top-k", default=0, show_default=True, help="Draw among so many of the likeliest; 0: among all.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same text.")
@click.option("--checkpoint", "which", type=click.Choice(["best", "last"]), help="Of a directory. [best]")
@own_backend_option
@json_option
def sample(
    run: Path,
    length: int,
    prompt: str,
    temperature: float,
    top_k: int,
    seed: int,
    which: str | None,
    backend: str | None,
    as_json: bool,
) -> None:
    """Write text with the model of RUN, a run's directory or a checkpoint file [default: runs/text]."""
    from engine.training import checkpoint_in, load_model, read_checkpoint
    from engine.training import sample as draw
    from engine.training.session import backend_for, vocabulary_of

    path = checkpoint_in(run, which)
    checkpoint = read_checkpoint(path)
    vocabulary = vocabulary_of(checkpoint)
    model = load_model(checkpoint, backend_for(checkpoint, backend))
    characters = draw(model, vocabulary, length, prompt=prompt, temperature=temperature, top_k=top_k, seed=seed)
    if as_json:
        text = "".join(characters)
        options = {"temperature": temperature, "top_k": top_k, "seed": seed, "checkpoint": str(path)}
        print_json({"prompt": prompt, "text": text, **options})
        return
    click.echo(prompt, nl=False)
    for character in characters:
        click.echo(character, nl=False)
    click.echo()
