"""``bptt train``: train a character model on text, or the model of another task on data of its kind."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from engine.cli.common import (
    FORMAT_OPTIONS,
    ROW_OPTIONS,
    SectionedCommand,
    add_options,
    decimal,
    flag,
    json_option,
    plain_numbers,
    print_json,
    print_table,
    section,
)
from engine.errors import bad_input
from engine.training.config import (
    AVERAGES,
    DEFAULTS,
    LANGUAGE,
    OPTIMIZERS,
    PARTICULAR,
    SCALINGS,
    SCHEDULES,
    TRAINABLE_CELLS,
)
from engine.training.kinds import Option, TaskKind, kind_names, kind_of
from engine.training.team import launched
from kernels.rounding import PRECISIONS

run_ = section("Run")
budget = section("Budget (one of them; a resumed run may be given another)")
form = section("How a file is written, where it cannot be told")
series = section("Series (with --task forecast)")
model = section("Model")
learning = section("Learning")
tuning = section("From a trained model")
rhythm = section("Rhythm, in steps")
technical = section("Numbers")


EXAMPLES = """\b
Examples:
  bptt train --minutes 2
  bptt train novel.txt --cell gru --layers 2 --out runs/novel
  bptt train --task forecast --data co2.csv --column co2 --horizon 13 --season 52
  mpiexec -n 4 bptt train novel.txt --hidden 512 --out runs/novel
  bptt train --task NAME --help      (the options of a task)
"""


class TrainCommand(SectionedCommand):
    """The command with the options of the task that its arguments name."""

    def for_args(self, args: Sequence[str]) -> TrainCommand:
        """A copy whose help has the options of that task, and not those of others; itself if none is named."""
        task = _task_in(args)
        if task is None:
            return self
        kind = kind_of(task, flag)
        foreign = PARTICULAR - kind.shared
        params = [_hidden(param) if param.name in foreign else _of_task(param, kind) for param in self.params]
        for param in params:
            if param.name == "task":  # of the run that is resumed, or that training starts from
                param.default = task
        own = section(f"Task {kind.name}: {kind.words}")
        added = [_as_click(option, own) for option in kind.own]
        first = next(place for place, param in enumerate(params) if param.name == "steps")  # after the section Run
        params[first:first] = added
        command = type(self)(self.name, params=params, callback=self.callback, epilog=self.epilog, help=self.help)
        plain_numbers(command)
        return command


def _of_task(param: click.Parameter, kind: type[TaskKind]) -> click.Parameter:
    """A copy whose help has the default of one task alone."""
    given = kind.defaults.get(param.name or "", DEFAULTS.get(param.name or ""))
    if not isinstance(param, click.Option) or not param.help:
        return param
    param = copy.copy(param)
    if param.name in ("task", "out"):
        return param
    words = re.sub(r" ?\[[^]]*\]$", "", param.help or "")
    param.help = words if given in (None, False, ()) else f"{words} [{given}]".lstrip()
    return param


def _hidden(param: click.Parameter) -> click.Parameter:
    """A copy that the help leaves out.  It is read all the same: the task says more clearly that it has none such."""
    if not isinstance(param, click.Option):
        return param
    param = copy.copy(param)
    param.hidden = True
    return param


def _task_in(args: Sequence[str]) -> str | None:
    """The task that ``--task`` names, or that of the run that is resumed."""
    found: dict[str, str] = {}
    for place, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name in ("--task", "--out", "--from"):
            found[name] = value if equals else next(iter(args[place + 1 : place + 2]), "")
    run = found.get("--out") if "--resume" in args else found.get("--from")
    if "--task" not in found and run:
        try:
            said = json.loads((Path(run) / "run.json").read_text())
            found["--task"] = str(said["config"]["task"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None  # what is wrong there is told when the run is opened
    return found.get("--task")


def _as_click(option: Option, own: Any) -> click.Option:
    """An option of a task as click has it."""
    kind = option.value_type()
    shown = "" if option.default in (None, False, ()) else f" [{option.default}]"
    settings: dict[str, Any] = {"help": option.help + shown, "default": None}
    if kind is bool:
        settings["is_flag"] = True
    elif kind is tuple:
        settings |= {"multiple": True, "default": ()}
    else:
        settings["type"] = kind
    if option.source:
        settings["metavar"] = "FILE"
    holder = own(flag(option.name), option.name, **settings)(lambda: None)
    param: click.Option = holder.__click_params__[0]
    return param


@click.command(cls=TrainCommand, epilog=EXAMPLES, short_help="Train on a text, a series, or other data.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@run_("--task", metavar="NAME", help=f"{', '.join(kind_names())}, or an own one as module:Class. [{LANGUAGE}]")
@run_("--out", metavar="DIR", help="Directory of the run. [runs/text; runs/NAME of another task]")
@run_("--resume", is_flag=True, help="Continue the run in --out, bit for bit as if it had never stopped.")
@run_(
    "--log",
    "logs",
    type=click.Choice(["csv", "tensorboard"]),
    multiple=True,
    help="The figures for other programs too.",
)
@run_("--quiet", is_flag=True, help="No progress.")
@budget("--steps", type=int, help="Updates to make. [2000; forecast: by epochs]")
@budget("--epochs", type=float, help="Passes over the training part. [forecast: 40]")
@budget("--minutes", type=float, help="Wall-clock time; the schedule follows it. Not repeatable to the bit.")
@budget("--patience", type=int, help="Stop after so many validations without improvement; 0: never. [0]")
@run_("--data", metavar="FILE", help="Data of the task: a file, or a folder of 'bptt prepare'.")
@series("--column", multiple=True, metavar="NAME", help="The column to forecast; given again: one more input.")
@series("--horizon", type=int, help="Values to forecast, counted in rows. [1]")
@series("--season", type=int, help="Period in rows, for the seasonal-naive baseline and the window; 0: none. [0]")
@series("--window", type=int, help="Known values that a forecast starts from. [64, or twice the season]")
@add_options(ROW_OPTIONS, series)
@add_options(FORMAT_OPTIONS, form)
@series("--scaling", type=click.Choice(SCALINGS), help="Measured on the training part alone. [zscore]")
@series("--test", type=float, help="Fraction at the end that is scored at last. [0.15]")
@model("--cell", type=click.Choice(TRAINABLE_CELLS), help="Recurrent cell. [lstm]")
@model("--layers", type=int, help="Recurrent layers. [1]")
@model("--hidden", type=int, help="Units of each. [256; forecast: 32]")
@model("--embed", type=int, help="Numbers that a character is turned into. [64]")
@model("--dropout", type=float, help="Between layers and before the output. [0]")
@model("--precision", type=click.Choice(PRECISIONS), help="Of the recurrent layers' products. [float32]")
@learning("--batch", type=int, help="Rows that are read side by side. [32; forecast: 64]")
@learning("--buckets", type=int, help="Width of the buckets of like length, in steps; 0: no buckets.")
@learning("--bucket-pool", type=int, help="Sort by length within so many shuffled batches; 0: all of them. [0]")
@learning(
    "--batch-steps", type=int, help="Batches of at most so many steps, pads included, whatever --batch; 0: off. [0]"
)
@learning("--sequence", type=int, help="Characters of each row in a step. [64]")
@learning("--k2", type=int, help="Characters that a loss goes back at most; 0: as many as --sequence. [0]")
@learning("--optimizer", type=click.Choice(OPTIMIZERS), help="[adam]")
@learning("--lr", type=float, help="Highest learning rate. [0.003; forecast: 0.01]")
@learning("--schedule", type=click.Choice(SCHEDULES), help="Its course; step: a tenth after each third. [cosine]")
@learning("--warmup", type=int, help="Steps over which it first rises. [0]")
@learning("--clip", type=float, help="Largest norm of the gradient; 0: off. [1]")
@learning("--clip-value", type=float, help="Largest value in the gradient, clipped before the norm; 0: off. [0]")
@learning("--loss-scale", metavar="SCALE", help="dynamic (of fp16 alone), a number, or off. [dynamic]")
@learning("--l1", type=float, help="L1 penalty. [0]")
@learning("--l2", type=float, help="L2 penalty. [0]")
@learning("--momentum", type=float, help="Of sgd and rmsprop. [0]")
@learning("--weight-decay", type=float, help="Of adamw. [0.01]")
@learning("--gradient-noise", type=float, metavar="ETA", help="Its variance at the first step; it falls. [0]")
@learning("--ar", type=float, help="Penalty on the size of the last recurrent layer's output. [0]")
@learning("--tar", type=float, help="Penalty on its change from step to step. [0]")
@learning("--average", type=click.Choice(AVERAGES), help="Validate and keep averages of the weights. [none]")
@learning("--average-decay", type=float, help="Of ema: what an average keeps at a step. [0.999]")
@learning("--average-from", type=int, metavar="STEP", help="Leave out the weights of so many steps. [0]")
@learning("--average-every", type=int, metavar="STEPS", help="Take the weights of every so many steps. [1]")
@learning("--compress", type=float, metavar="SHARE", help="With mpiexec: send only the largest gradients. [off]")
@learning("--find-rate", is_flag=True, help="Do not train: suggest an --lr, and draw DIR/rate.png.")
@tuning("--from", "from_run", metavar="RUN", help="Start with the weights of a trained model, and with its options.")
@tuning("--freeze", multiple=True, metavar="PATTERN", help="Do not train these parameters, such as '0.*'.")
@tuning("--rate", "rates", multiple=True, metavar="PATTERN=FACTOR", help="A rate of their own: '0.*=0.1'.")
@tuning("--unfreeze-every", type=int, help="Train the last layer first, one more after so many steps; 0: all. [0]")
@learning("--validation", type=float, help="Fraction held out to validate on. [0.1; forecast: 0.15]")
@rhythm("--report-every", type=int, help="Steps between two lines of metrics. [20; forecast: 25]")
@rhythm("--validate-every", type=int, help="Steps between two validations. [100; forecast: 25]")
@rhythm("--checkpoint-every", type=int, help="Steps between two checkpoints. [100]")
@technical("--seed", type=int, help="Of weights, dropout and order. [0]")
@technical("--backend", metavar="NAME", help="numpy, cupy, torch, or with kernels: numpy:reference. [numpy]")
@technical("--memory", metavar="SIZE", help="Of a pass, such as 64MiB: recompute gates in backward; same bits.")
@technical("--dtype", type=click.Choice(["float32", "float64"]), help="[float32]")
@json_option
def train(
    files: tuple[str, ...],
    task: str | None,
    out: str | None,
    resume: bool,
    quiet: bool,
    logs: tuple[str, ...],
    find_rate: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a character model on FILEs, or on the manual that every Python carries if none are given.

    With --task NAME another model is trained, on data of its kind. Writes checkpoints (last, best), metrics.jsonl and
    loss.png into the directory of the run. Ctrl-C saves and ends; --resume continues from there, also after a kill.
    Under 'mpiexec -n 4 bptt train ...' four processes share the rows of each batch, with the result of one.
    """
    from engine.training import run_training

    options = {name: value for name, value in given.items() if value not in (None, ())}
    kind = kind_of(task or LANGUAGE, flag)
    given_files(options, files, kind)
    directory = out or kind.out or f"runs/{kind.name}"
    if find_rate:
        _suggest_rate(directory, task, resume, as_json, options)
        return
    several = launched()
    result = run_training(
        directory, task=task, resume=resume, quiet=quiet, logs=logs, parallel=several, label=flag, **options
    )
    if several and "out" not in result:  # the first process says it
        return
    if as_json:
        print_json(result)
    else:
        _summarise(result)
    if "not_drawn" in result:
        click.echo(f"bptt: {result['not_drawn']}", err=True)


def given_files(options: dict[str, Any], files: tuple[str, ...], kind: type[TaskKind]) -> None:
    """Put the files that stand on the command line without an option among the options."""
    if files and "files" not in kind.shared and "data" in kind.shared and len(files) == 1 and "data" not in options:
        options["data"] = files[0]  # one file is the data of a task that takes one
    elif files:
        options["files"] = tuple(files)


def _suggest_rate(directory: str, task: str | None, resume: bool, as_json: bool, options: dict[str, Any]) -> None:
    """Find a learning rate for the options, and say it."""
    from engine.search.rates_of_runs import find_rate

    if launched():
        raise bad_input("--find-rate", "one process", "several, started by MPI", "leave mpiexec out")
    if resume:
        raise bad_input("--find-rate", "a new run", "--resume", "leave one of them out")
    result = find_rate(directory, task, options, flag)
    if as_json:
        print_json(result)
        return
    broke = f"{result['rates'][-1]:.2g}, where the loss broke out" if result["diverged"] else "the largest one tried"
    click.echo(f"Tried learning rates from {result['rates'][0]:.2g} to {broke}.")
    click.echo(f"Suggested: --lr {result['suggestion']:.2g}")
    click.echo(f"Picture: {result['picture']}")


def _summarise(result: dict[str, Any]) -> None:
    """The result of a training, in words."""
    from engine.training.progress import clock

    done = f"step {result['step']:,} ({result['epoch']:.2f} epochs) after {clock(result['seconds'])}"
    if result["ending"] == "interrupted":
        click.echo(f"Interrupted at {done}; saved. Continue with: bptt train --resume --out {result['out']}")
        return
    click.echo(f"{result['ending'].capitalize()} at {done}.")
    if result["warning"]:
        click.echo(f"Note: {result['warning']}.")
    best = result["validation"]
    name = next((key for key in best if key not in ("loss", "step")), "loss")
    click.echo(f"Best validation: {decimal(best[name], 3)} {result['unit']}, at step {best['step']:,}.")
    if "wasted_steps" in result:
        click.echo(f"Wasted steps: {100 * result['wasted_steps']:.1f} % of those in the last epoch were pads.")
    print_results(result)
    click.echo(f"Checkpoint: {result['best']}")
    pictures = [result[name] for name in ("picture", "forecast_picture") if result.get(name)]
    pictures += result.get("pictures", {}).values()
    click.echo(f"Pictures: {', '.join(pictures) or 'none'}")
    if result["task"] == LANGUAGE:
        click.echo(f"Let it write: bptt sample {result['out']}")
    else:
        file = "" if "next" in result else " FILE"
        click.echo(f"{'What comes next' if 'next' in result else 'Use it'}: bptt predict {result['out']}{file}")


def print_results(result: Mapping[str, Any]) -> None:
    """What a task says of its model: a table of scores, a verdict, notes."""
    if "horizon" in result:
        print_scores(result)
        return
    if "scores" in result:
        figures = list(dict.fromkeys(name for score in result["scores"].values() for name in score))
        rows = [
            (name, *(decimal(score[figure], 4) if figure in score else "" for figure in figures))
            for name, score in result["scores"].items()
        ]
        print_table(
            ("model", *figures), rows, f"On {result.get('held_out', 'the held-out part')}:", numbers=len(figures)
        )
    if "verdict" in result:
        click.echo(result["verdict"])
    for note in result.get("notes", ()):
        click.echo(f"Note: {note}.")


def print_scores(result: Mapping[str, Any]) -> None:
    """The table of a forecaster and its baselines, the number of points behind it, and notes."""
    scores = sorted(result["scores"].items(), key=lambda item: item[1]["rmse"])
    held_out = result["held_out"]
    title = (
        f"{result['column']}, {result['horizon']} ahead, season {result['season'] or 'none'}: "
        f"errors on the last {held_out['rows']} rows, in units of the series"
    )
    rows = [(name, f"{score['rmse']:.4f}", f"{score['mae']:.4f}") for name, score in scores]
    print_table(("forecast", "RMSE", "MAE"), rows, title, numbers=2)
    if "verdict" in result:
        click.echo(result["verdict"])
    if result["filled_cells"]:
        click.echo(
            f"Filled: {result['filled_cells']:,} missing cells, {held_out['filled']:,} of them to be forecast in these "
            f"rows. Errors are over {held_out['points']:,} measured points; {held_out['points_left_out']:,} that were "
            "filled are left out."
        )
    for note in result["notes"]:
        click.echo(f"Note: {note}.")
