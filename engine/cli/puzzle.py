"""``bptt puzzle``: a planted bug without its name; guess its gate, step and line."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.common import draw_into, json_option, print_json

if TYPE_CHECKING:
    from engine.classroom.puzzle import Judgement, Puzzle


@click.command(short_help="Find a planted bug: its gate, step and line.")
@click.option("--seed", default=0, show_default=True, help="Which puzzle; each seed up to 89 has a bug of its own.")
@click.option("--cell", type=click.Choice(["rnn", "lstm", "gru"]), help="Puzzles about this cell alone. [all]")
@click.option("--gate", metavar="NAME", help="Guess: the gate with the fault; none: no single gate has it.")
@click.option("--step", type=int, metavar="T", help="Guess: the time step at which backward meets it first.")
@click.option("--line", type=int, metavar="N", help="Guess: the line of the listing that is another in the wrong code.")
@click.option("--reveal", is_flag=True, help="Show the answer: the story, the changed line, the diagnosis.")
@click.option("--plot", metavar="FILE", type=click.Path(dir_okay=False), help="Draw the map of errors, without names.")
@json_option
@click.pass_context
def puzzle(
    context: click.Context,
    seed: int,
    cell: str | None,
    gate: str | None,
    step: int | None,
    line: int | None,
    reveal: bool,
    plot: str | None,
    as_json: bool,
) -> None:
    """Show a backward pass with a planted bug, as a gradient check sees it, and judge a guess.

    Without a guess the puzzle is shown; in a terminal you are then asked for one. Exit code 0 for a right guess, and
    where nothing was guessed; 1 for a wrong one.
    """
    from engine.classroom.puzzle import Guess, judge, make
    from engine.classroom.puzzle import puzzle_text as words
    from engine.errors import bad_input

    if not 0 <= seed < 2**32:
        raise bad_input("--seed", "an integer from 0 to 4294967295", seed)
    if plot is not None:
        if not Path(plot).resolve().parent.is_dir():
            raise bad_input("--plot", "a file in a folder that exists", plot)
        from engine.checking.report.picture import require_a_picture

        require_a_picture(plot, "--plot")
    made = make(seed, cell)
    guess = Guess(gate, step, line)
    judgement = None if guess == Guess() else judge(made, guess)
    if plot is not None:
        from engine.classroom.puzzle.puzzle_picture import draw

        draw_into(plot, functools.partial(draw, made, plot))
    if as_json:
        found = {
            "puzzle": words.puzzle_data(made),
            "guess": None if judgement is None else words.judgement_data(judgement),
        }
        print_json(found | ({"answer": words.answer_data(made)} if reveal else {}))
    elif judgement is not None:
        click.echo("\n".join(judgement.words.values()))
    elif not reveal:
        click.echo(words.puzzle_text(made))
        if sys.stdin.isatty() and sys.stdout.isatty():
            judgement = _ask(made)
    if reveal and not as_json:
        click.echo(words.answer_text(made))
    context.exit(0 if judgement is None or judgement.right else 1)


def _ask(made: Puzzle) -> Judgement | None:
    """Ask for guesses until one is right or the person gives up; the last judgement."""
    from engine.classroom.puzzle import Guess, judge
    from engine.errors import InputError

    click.echo("\nAn empty answer leaves a question open; three empty answers end the puzzle.")
    last: Judgement | None = None
    while last is None or not last.complete:
        answers = [
            click.prompt(f"your guess: {name}", default="", show_default=False) for name in ("gate", "step", "line")
        ]
        gate, step, line = (answer.strip() or None for answer in answers)
        if gate is None and step is None and line is None:
            break
        try:
            last = judge(made, Guess(gate, _number("step", step), _number("line", line)))
        except InputError as error:
            click.echo(str(error))
            continue
        click.echo("\n".join(last.words.values()))
    else:
        click.echo("All three are right.")
    click.echo(f"The answer: bptt puzzle --seed {made.seed}{f' --cell {made.family}' if made.family else ''} --reveal")
    return last


def _number(name: str, answer: str | None) -> int | None:
    from engine.errors import bad_input

    if answer is None or (answer.isascii() and answer.isdigit() and len(answer) < 10):
        return None if answer is None else int(answer)
    raise bad_input(name, "a whole number", answer)
