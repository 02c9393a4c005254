"""What the commands share: how options are named, grouped in the help, and how results are printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from engine.errors import EngineError, InputError, InputTypeError, StorageError

_BACKENDS = "numpy, cupy, torch, or with kernels: numpy:reference."

own_backend_option = click.option("--backend", metavar="NAME", help=f"{_BACKENDS} [the one that it was trained on]")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output, nothing else."
)


_Options = tuple[tuple[tuple[str, ...], dict[str, Any]], ...]

#: How a file with data is written, for the commands that read one.
FORMAT_OPTIONS: _Options = (
    (("--decimal",), {"type": click.Choice([".", ","]), "help": "The decimal sign of a series. [told from it]"}),
    (("--delimiter",), {"metavar": "SIGN", "help": "What is between cells; tab; blank: runs of them. [told from it]"}),
    (("--encoding",), {"metavar": "NAME", "help": "Of a text or a series, such as cp1252. [utf-8]"}),
    (("--skip",), {"type": int, "metavar": "N", "help": "Lines to leave out at the top of a series. [0]"}),
)
#: What to do about the gaps and the order of a series' rows.
ROW_OPTIONS: _Options = (
    (
        ("--missing",),
        {"type": click.Choice(["error", "interpolate"]), "help": "Missing cells: refuse or fill. [error]"},
    ),
    (("--time",), {"metavar": "NAME", "help": "The column of times; none: no column. [the one that looks like it]"}),
    (("--sort",), {"is_flag": True, "default": None, "help": "Sort the rows by time."}),
    (
        ("--regular",),
        {"is_flag": True, "default": None, "help": "Insert the rows that the times lack, as missing cells."},
    ),
)


#: What to do about recordings of another form than the model's.
SOUND_OPTIONS: _Options = (
    (
        ("--convert",),
        {"is_flag": True, "default": None, "help": "Recordings: mix channels, change the rate. [refuse such ones]"},
    ),
)


def add_options(options: _Options, option: Callable[..., Callable[[Any], Any]] = click.option) -> Callable[[Any], Any]:
    """Add all of the `options` to a command, with `option` in place of ``click.option``."""

    def add(command: Any) -> Any:
        for names, settings in reversed(options):
            command = option(*names, **settings)(command)
        return command

    return add


class PlainNumber(click.ParamType):
    """A number in the digits 0 to 9 alone: Python also reads digits of other scripts, and underscores."""

    def __init__(self, name: str, kind: click.ParamType, form: str) -> None:
        self.name, self._kind, self._form = name, kind, re.compile(form)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the complaint that click has for what is none."""
        if isinstance(value, str) and not self._form.fullmatch(value.strip(" ")):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return self._kind.convert(value, param, ctx)


_PLAIN = {
    click.INT: PlainNumber("integer", click.INT, r"[+-]?[0-9]{1,300}"),
    click.FLOAT: PlainNumber(
        "float", click.FLOAT, r"(?i:[+-]?([0-9]+\.?[0-9]*(e[+-]?[0-9]+)?|\.[0-9]+(e[+-]?[0-9]+)?|inf(inity)?|nan))"
    ),
}


def plain_numbers(command: click.Command) -> click.Command:
    """Let the options of a command take plain numbers alone."""
    for param in command.params:
        param.type = _PLAIN.get(param.type, param.type)
    return command


#: Fields whose option has another name: `from` is a word of Python, and an option that is repeated is in the singular.
_FLAGS = {
    "files": "FILE",
    "from_run": "--from",
    "rates": "--rate",
    "logs": "--log",
    "ranges": "--range",
    "choices": "--choice",
}


def flag(name: str) -> str:
    """The option that sets a field: ``weight_decay`` becomes ``--weight-decay``."""
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


#: Arguments that no option alone sets: the kernels stand in the name of the backend.
_ALIASES = {"kernels": "backend"}


def in_options(error: Exception, command: click.Command | None) -> str:
    """The message of an error, with the command's name for an argument."""
    words = str(error)
    argument, colon, rest = words.partition(": ")
    # Of the other errors the first word is the name of a file, which may be "out" as well.
    if command is None or not colon or (type(error) not in (InputError, InputTypeError)):
        return words
    argument = _ALIASES.get(argument, argument)
    for param in command.params:
        if param.name in (argument, f"{argument}s"):  # one of several that can be given
            shown = (
                param.opts[0] if isinstance(param, click.Option) else (param.metavar or argument.upper()).strip("[].")
            )
            return f"{shown}: {rest}"
    return words


class Commands(click.Group):
    """A group of commands whose options, where they take one value, are given once: the last one does not win."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, after a look at its options."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            if hasattr(command, "for_args"):  # its options depend on them
                command = command.for_args(rest)
            own = click.Context(command, info_name=name, parent=ctx)
            order = command.make_parser(own).parse_args(list(rest))[2]
            for param in order:
                if isinstance(param, click.Option) and not (param.multiple or param.is_flag) and order.count(param) > 1:
                    raise click.UsageError(f"{param.opts[0]} is given {order.count(param)} times; give it once", own)
        return name, command, rest


class SectionedOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists its options under headings, in the order of their first use."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "section", "Other"), []).append(record)
        for title, records in sorted(sections.items(), key=lambda item: item[0] == "Other"):
            with formatter.section(title):
                formatter.write_dl(records)


def section(title: str) -> Callable[..., Callable[[Any], Any]]:
    """``click.option`` for the options under one heading."""

    def option(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        return click.option(*args, cls=SectionedOption, section=title, **kwargs)

    return option


def decimal(value: float, places: int) -> str:
    """A number with so many decimals, or in powers of ten if it would have too many digits."""
    return f"{value:.{places}f}" if abs(value) < 1e9 else f"{value:.4g}"


def print_json(result: Any) -> None:
    """One JSON object on standard output."""
    click.echo(json.dumps(result, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", numbers: int = 0) -> None:
    """A table on standard output, under a line of its own as title.

    Parameters
    ----------
    numbers : how many of the last columns are aligned to the right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place >= len(columns) - numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: brackets in a cell are no markup
    if title:
        click.echo(title)
    # Without a terminal there is no fixed width, and a wrapped cell would break programs that read the table.
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


def draw_into(path: str, draw: Callable[[], Any]) -> None:
    """Draw a picture into a file; every failure becomes one error of ours."""
    try:
        draw()
    except EngineError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: expected to write the picture, got '{error.strerror or error}'") from error
    except Exception as error:  # whatever matplotlib raises
        raise EngineError(f"{path}: expected to draw the picture, got '{type(error).__name__}: {error}'") from error
