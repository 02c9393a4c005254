"""``bptt tune``: search for the options with which ``bptt train`` learns best."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import click

from engine.cli.common import decimal, flag, json_option, print_json, print_table, section
from engine.cli.train import TrainCommand, given_files, train
from engine.training.config import LANGUAGE
from engine.training.kinds import kind_of

search_ = section("Search")

EXAMPLES = """\b
Examples:
  bptt tune --steps 300 --trials 20
  bptt tune --range lr=1e-4:1e-1:log --choice cell=lstm,gru --range hidden=32:256
  bptt tune --task forecast --data co2.csv --season 52 --range lr=1e-3:1e-1:log --sampler grid
  bptt tune --storage postgresql://USER@HOST/NAME --study text      (on each of several machines)
  bptt tune --task NAME --help                                      (the options of a task)
"""
#: Options of ``bptt train`` that a search has not, or has in its own way.
_NOT_HERE = {"out", "resume", "logs", "quiet", "find_rate", "as_json"}
#: The exit code of a search that was interrupted: what is saved is no result yet.
_INTERRUPTED = 130
_SHOWN = 10


@click.command(cls=TrainCommand, epilog=EXAMPLES, short_help="Search for the options that learn best.")
@search_("--range", "ranges", multiple=True, metavar="NAME=LOW:HIGH", help="Vary it; behind it :log, :int or :STEP.")
@search_("--choice", "choices", multiple=True, metavar="NAME=A,B", help="Vary it among these.")
@search_("--trials", type=int, help="Trials of the study in all. [20; all points of a grid]")
@search_("--within", type=float, metavar="MINUTES", help="Begin no trial later.")
@search_("--sampler", type=click.Choice(["tpe", "random", "grid"]), default="tpe", help="How values are drawn. [tpe]")
@search_("--points", type=int, default=4, help="Points of a range on a grid. [4]")
@search_(
    "--pruner",
    type=click.Choice(["median", "hyperband", "none"]),
    default="median",
    help="What ends bad trials early. [median]",
)
@search_("--figure", metavar="NAME", help="Compare trials by it, such as accuracy. [that of the task]")
@search_("--study", metavar="NAME", help="Its name in the storage. [the task's]")
@search_("--storage", metavar="URL", help="Database, SQLite file or journal:FILE. [OUT/study.db]")
@search_("--out", metavar="DIR", default="runs/tune", help="DIR/STUDY has the runs of the trials. [runs/tune]")
@search_("--plots/--no-plots", "draw", default=True, help="Draw Optuna's pictures into DIR/STUDY/plots. [plots]")
@search_("--quiet", is_flag=True, help="No line for each trial.")
@json_option
def tune(
    files: tuple[str, ...],
    task: str | None,
    ranges: tuple[str, ...],
    choices: tuple[str, ...],
    draw: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Search for the options with which `bptt train` learns best, with Optuna (pip install 'bptt-engine[tune]').

    All options of `bptt train` can be given; they are the same in all trials, and --range and --choice say what varies
    (the learning rate, the cell, the units and dropout, if nothing is said). Each trial is a run in DIR/STUDY, and best
    leads to the best one. The same command, given again or on another machine, goes on with the study. Ends with 130
    if it was interrupted, and with 1 if no trial was trained to its end.
    """
    from engine.search.runs import Plan, run_tuning
    from engine.search.tune import line_of

    own = {name: given.pop(name) for name in (*Plan.__dataclass_fields__,)}
    options = {name: value for name, value in given.items() if value not in (None, ())}
    given_files(options, files, kind_of(task or LANGUAGE, flag))

    def told(found: Any, figure: str) -> None:
        if not quiet:
            click.echo(line_of(found, figure), err=True)

    found, result = run_tuning(Plan(**own), ranges, choices, task=task, label=flag, told=told, **options)
    result["plots"] = found.plots(f"{result['out']}/plots") if draw and found.best else {}
    if as_json:
        print_json(result)
    else:
        _summarise(found, result)
    if found.interrupted:
        return _INTERRUPTED
    return 0 if found.best else 1


tune.params += [copy.copy(param) for param in train.params if param.name not in _NOT_HERE]


def _summarise(found: Any, result: Mapping[str, Any]) -> None:
    """The result of a search, in words."""
    from engine.search.tune import shown

    ranked = found.ranked()
    names = list(dict.fromkeys(name for one in ranked for name in one.values))
    rows = [
        (
            str(one.number),
            one.state,
            *(shown(one.values[name]) if name in one.values else "" for name in names),
            "" if one.figure is None else decimal(one.figure, 4),
            "" if one.seconds is None else f"{one.seconds:.1f}",
        )
        for one in ranked[:_SHOWN]
    ]
    counts: dict[str, int] = {}
    for one in ranked:
        counts[one.state] = counts.get(one.state, 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    better = "higher" if found.higher else "lower"
    count = f"{len(ranked)} trial{'s' * (len(ranked) != 1)}"
    title = f"Study {result['study']}: {count} ({told}); {better} {found.figure} is better"
    print_table(("trial", "state", *names, found.figure, "seconds"), rows, title, numbers=len(names) + 2)
    if result["importances"]:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in result["importances"].items())
        click.echo(f"Importance: {shares}")
    if found.interrupted:
        click.echo("Interrupted; what was trained is saved. Give the same command again to go on.")
    if found.best is None:
        click.echo("No trial was trained to its end.")
        return
    if result["plots"]:
        click.echo(f"Pictures: {', '.join(result['plots'].values())}")
    where = result["best_folder"] or f"{found.best.folder}, on another machine"
    verb = "sample" if result["task"] == LANGUAGE else "evaluate"
    click.echo(f"Best: trial {found.best.number}, in {where}. Use it: bptt {verb} {where}")
