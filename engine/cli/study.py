"""``bptt study``: one measurement that ends in a table and a picture."""

from __future__ import annotations

import click

from engine.cli.common import draw_into, json_option, print_json, print_table
from engine.studies.study import STUDIES, run_study

_LIST = "\b\nStudies:\n" + "\n".join(f"  {name:16}{words}" for name, words in STUDIES.items())


@click.command(epilog=_LIST, short_help="Measure what a technique buys: a table and a picture.")
@click.argument("name", metavar="NAME")
@click.option("--quick", is_flag=True, help="A small version, in a few seconds; its figures mean little.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--out", metavar="DIR", default="runs/studies", show_default=True, help="For NAME.json, NAME.md and NAME.png."
)
@json_option
def study(name: str, quick: bool, seed: int, out: str, as_json: bool) -> int:
    """Run one study and show its table; record, table and picture are files in DIR.

    A study takes up to three minutes. Files of an earlier run stay: the next ones are NAME-2, NAME-3 and so on.
    """
    from engine.studies.study_files import folder_for, write_study

    folder = folder_for(out)
    result, record = run_study(name, quick, seed, lambda line: click.echo(line, err=True))
    if not as_json:
        print_table([column.name for column in result.columns], result.shown(), result.title, len(result.columns))
        for note in result.notes:
            click.echo(note)
    files: dict[str, str] = {}
    draw_into(str(folder), lambda: files.update(write_study(folder, result, record)))
    if as_json:
        print_json(record | {"files": files})
    else:
        click.echo(f"Files: {', '.join(files.values())}")
    return 0
