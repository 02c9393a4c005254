"""``bptt exercise``: hand out exercises, and judge what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.common import Commands, json_option, plain_numbers, print_json, print_table

if TYPE_CHECKING:
    from engine.classroom.exercises.checking_in import Result


@click.group(cls=Commands, short_help="Exercises: write a function, have it judged.")
def exercise() -> None:
    """Twelve functions to write: steps and sequences of RNN, LSTM and GRU, and what stands around them.

    `new` writes a file with a task and holes, and visible tests. `check` judges it with hidden cases.
    """


@exercise.command("list", short_help="List the exercises.")
@json_option
def listing(as_json: bool) -> None:
    """List the exercises in the order in which a course may take them."""
    from engine.classroom.exercises.catalogue import EXERCISES

    if as_json:
        print_json({name: found.title for name, found in EXERCISES.items()})
    else:
        print_table(("name", "what is to be written"), [(name, found.title) for name, found in EXERCISES.items()])


@exercise.command(short_help="Write an exercise's files.")
@click.argument("name")
@click.option("--out", default=".", show_default=True, metavar="DIR", help="Where to; made if it is not there.")
def new(name: str, out: str) -> None:
    """Write NAME.py, with the task and holes, and test_NAME.py, the visible tests. Nothing is overwritten."""
    from engine.classroom.exercises.handing_out import hand_out

    sheet, tests = hand_out(name, Path(out))
    click.echo(f"the task, to be filled in: {sheet}\nvisible tests:              {tests}   (python -m pytest {tests})")
    click.echo(f"have it judged:             bptt exercise check {sheet}")


@exercise.command(short_help="Judge a file, or all files of a folder.")
@click.argument("place", default=".", metavar="[FILE|DIR]")
@click.option("--results", metavar="FILE", help="The results, in Gradescope's form. [results.json beside]")
@click.option("--seed", default=0, show_default=True, help="Of the hidden cases: another one gives other numbers.")
@click.option("--seconds", default=60.0, show_default=True, help="Time that each file may take.")
@json_option
@click.pass_context
def check(context: click.Context, place: str, results: str | None, seed: int, seconds: float, as_json: bool) -> None:
    """Judge with hidden cases, and say what is wrong. Exit code 0 if every test passes, 1 if one fails."""
    from engine.classroom.exercises.checking_in import (
        as_results,
        check_in,
        files_in,
        require_results_file,
        write_results,
    )
    from engine.errors import bad_input

    if not 0 <= seed < 2**32:
        raise bad_input("--seed", "an integer from 0 to 4294967295", seed)
    if not 0 < seconds <= 86400:
        raise bad_input("--seconds", "a number above 0, at most 86400", seconds)
    files = files_in(Path(place))
    target = Path(results) if results else files[0].parent / "results.json"
    require_results_file(target)
    judged = []
    for file in files:
        judged.append(check_in(file, seconds, seed))
        if not as_json:
            _show(judged[-1])
    found = as_results(judged)
    write_results(found, target)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['score']} of {found['max_score']} points; results for a course system: {target}")
    context.exit(0 if all(result.passed for result in judged) else 1)


def _show(result: Result) -> None:
    click.echo(f"{result.exercise}: {result.points} of {result.most} points")
    before = ""
    for outcome in result.outcomes:
        click.echo(f"  {'right' if not outcome.words else 'WRONG'}  {outcome.points}/{outcome.most}  {outcome.name}")
        lines = outcome.words.splitlines() if outcome.words != before or not outcome.words else ["as above"]
        before = outcome.words
        for line in lines:
            click.echo(f"           {line}")


for _command in exercise.commands.values():
    plain_numbers(_command)
