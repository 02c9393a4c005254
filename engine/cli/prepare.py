"""``bptt prepare``: make a corpus of token ids of texts, to train on without reading them into memory."""

from __future__ import annotations

import sys
import time

import click

from engine.cli.common import json_option, print_json
from engine.data.corpus import LEVELS
from engine.streams import Forgiving
from engine.training.progress import PLAIN_PAUSE

EXAMPLES = """\b
Examples:
  bptt prepare novel.txt notes.txt --out corpus
  zcat news.gz | bptt prepare - --level words --out news
  bptt train --data corpus --out runs/corpus
"""


@click.command(epilog=EXAMPLES, short_help="Make a corpus of texts that need not fit into memory.")
@click.argument("sources", nargs=-1, required=True, metavar="TEXT...")
@click.option("--out", default="corpus", show_default=True, metavar="DIR", help="Folder of the corpus.")
@click.option("--level", default="characters", show_default=True, type=click.Choice(LEVELS), help="What a token is.")
@click.option("--encoding", metavar="NAME", help="Of the texts, such as cp1252. [utf-8]")
@click.option("--minimum-count", default=2, show_default=True, help="Words that are rarer are unknown words.")
@click.option("--vocabulary", default=20_000, show_default=True, help="The most words that are known.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def prepare(
    sources: tuple[str, ...],
    out: str,
    level: str,
    encoding: str | None,
    minimum_count: int,
    vocabulary: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Turn TEXTs, files or - for standard input, into a corpus that training maps into memory.

    A text is read once, piece by piece. The folder gets its files when all is written: a preparation that is cut off or
    runs out of disk leaves no corpus, and one that is there is not replaced. 'bptt train --data DIR' trains on it.
    """
    from engine.data.corpus import prepare_tokens

    shown = [time.monotonic()]

    def tell(tokens: int) -> None:
        if not quiet and time.monotonic() - shown[0] >= PLAIN_PAUSE:
            shown[0] = time.monotonic()
            print(f"{tokens:,} {level} read", file=Forgiving(sys.stderr), flush=True)

    limits = {"minimum_count": minimum_count, "vocabulary": vocabulary}
    found = prepare_tokens(list(sources), out, level=level, encoding=encoding, tell=tell, **limits)
    if as_json:
        print_json({**found._asdict(), "folder": str(found.folder)})
        return
    unknown = f", {100 * found.unknown:.1f} % of them unknown" if level == "words" else ""
    click.echo(f"{found.tokens:,} {level}{unknown}; {found.kinds:,} different ids, as {found.dtype}, in {found.folder}")
    click.echo(f"Train on it: bptt train --data {found.folder}")
