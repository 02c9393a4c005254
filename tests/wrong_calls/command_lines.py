"""Wrong command lines: options with texts that they cannot take, absurd numbers, missing files, options twice.

A command line is drawn from what the commands themselves declare, so a new option is tried without a word here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
from hypothesis import strategies as st

from engine.cli import bptt, run
from wrong_calls.calls import Place

#: Seconds after which a refusal is late; and what a command may end with.
PATIENCE, CODES = 2.0, (0, 1, 2)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

#: Texts that stand where a number, a name or a file should.  The paths lie in the folder of the place.
TEXTS = {
    "empty": "",
    "blank": " ",
    "0": "0",
    "-1": "-1",
    "1": "1",
    "2": "2",
    "1.5": "1.5",
    "-0": "-0",
    "nan": "nan",
    "inf": "inf",
    "-inf": "-inf",
    "1e300": "1e300",
    "1e400": "1e400",
    "10**12": "1" + "0" * 12,
    "10**20": "1" + "0" * 20,
    "5000 digits": "9" * 5000,
    "underscore": "1_0",
    "plus": "+1",
    "hex": "0x10",
    "leading blank": " 1",
    "trailing newline": "1\n",
    "Arabic digit": "١",
    "wide digit": "３",
    "superscript": "²",
    "half": "½",
    "minus sign": "−1",
    "comma": "1,5",
    "None": "None",
    "true": "true",
    "list": "[1]",
    "word": "banana",
    "unicode": "naïve 雪 🙂",
    "surrogate": "a\ud800b",
    "control": "a\x1b[31mb",
    "two lines": "a\nb",
    "long": "x" * 100_000,
    "dashes": "--",
    "dash": "-",
    "option": "--steps",
    "quote": "'\"",
    "percent": "%s %d {0}",
    "markup": "[red]x[/]",
    "folder": ".",
    "root": "/",
    "no file": "no/such/file",
    "null": "/dev/null",
    "zero": "/dev/zero",
    "text": "text.txt",
    "series": "series.csv",
    "array": "series.npy",
    "nothing": "empty.txt",
    "binary": "binary.bin",
    "run": "trained",
    "checkpoint": "trained/best.safetensors",
    "numpy": "numpy",
    "reference": "numpy:reference",
    "cupy": "cupy",
    "no kernels": "numpy:",
    "no backend": "tensorflow:gpu",
}

#: A command line of each command that takes a moment.
BASES = {
    "train": ["text.txt", "--out", "new", "--steps", "1", "--hidden", "4", "--embed", "3", "--batch", "2",
              "--sequence", "4"],
    "train a forecaster": ["--task", "forecast", "--data", "series.csv", "--column", "level", "--out", "new",
                           "--steps", "1", "--hidden", "4", "--window", "5", "--batch", "4"],
    "prepare": ["text.txt", "--out", "corpus"],
    "sample": ["trained", "--length", "3"],
    "evaluate": ["trained", "text.txt"],
    "predict": ["trained", "--data", "series.csv"],
    "gradcheck": ["--bugs"],
    "trace": ["--steps", "3", "--hidden", "3", "--inputs", "2", "--batch", "2", "--rows", "1"],
    "trace of a run": ["trained", "--steps", "3", "--batch", "2", "--rows", "1"],
    "compare": ["--backends", "numpy:reference", "--seconds", "0", "--no-memory", "--steps", "2", "--batch", "2",
                "--inputs", "2", "--size", "3"],
    "backends": [],
}  # fmt: skip
#: Legal numbers here would make a long run of it, and are no wrong command line.
LONG = {"--length": 1000, "--seconds": 0.1, "--epochs": 1, "--minutes": 0.01}


class Line(NamedTuple):
    """A command of `BASES`, and what is put behind it: options with names of `TEXTS`, None for no value."""

    base: str
    extra: tuple[tuple[str, str | None], ...]


class Ending(NamedTuple):
    """How a command ended, and what is wrong with that, if anything."""

    code: int
    fault: str
    said: str


def lines() -> st.SearchStrategy[Line]:
    """Command lines with one to three options more than the base."""
    return st.sampled_from(sorted(BASES)).flatmap(
        lambda base: st.lists(_options(base), min_size=1, max_size=3).map(lambda extra: Line(base, tuple(extra)))
    )


def _options(base: str) -> st.SearchStrategy[tuple[str, str | None]]:
    names = [max(param.opts, key=len) for param in command_of(base).params if isinstance(param, click.Option)]
    values = st.none() | st.sampled_from(sorted(TEXTS))
    return st.tuples(st.sampled_from([*sorted(names), "", "--nonsense", "-z"]), values)


def command_of(base: str) -> click.Command:
    """The command that a base is of."""
    return bptt.commands[base.partition(" ")[0]]


def arguments(line: Line) -> list[str]:
    """The words of the command line."""
    words = [line.base.partition(" ")[0], *BASES[line.base]]
    for name, value in line.extra:
        words += [name] if name else []
        words += [] if value is None else [TEXTS[value]]
    return words


def is_long(line: Line) -> bool:
    """Whether a number in it is legal and asks for much."""
    for name, value in line.extra:
        if name in LONG and value is not None and NUMBER.fullmatch(TEXTS[value]):
            if float(TEXTS[value]) > LONG[name]:
                return True
    return False


def make(line: Line, place: Place) -> Ending:
    """Run the command in this process, in a folder of its own."""
    with _folder(place):
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", "replace"), io.StringIO()
        start = time.perf_counter()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: Any = run(arguments(line))
        seconds = time.perf_counter() - start
    return Ending(code, _fault(line, code, err.getvalue(), seconds), err.getvalue())


def _fault(line: Line, code: int, said: str, seconds: float) -> str:
    """What is wrong with how the command ended."""
    if code not in CODES:
        return f"ended with {code}"
    if "Traceback" in said or "Warning" in said:
        return "printed a traceback or a warning"
    if code == 0:
        return _taken_for_numbers(line)
    if said.count("\n") != 1 and not line.base == "gradcheck":
        return f"said {said.count(chr(10))} lines"
    if len(said) > 1500:
        return f"said a line of {len(said)} characters"
    return f"took {seconds:.1f} s to refuse" if seconds > PATIENCE else ""


def _taken_for_numbers(line: Line) -> str:
    """Whether an option for a number took a text that is none."""
    kinds = {max(p.opts, key=len): p.type.name for p in command_of(line.base).params if isinstance(p, click.Option)}
    for name, value in line.extra:
        if value is not None and kinds.get(name) in ("integer", "float") and not NUMBER.fullmatch(TEXTS[value]):
            return f"{name} took {TEXTS[value]!r}"
    return ""


@contextlib.contextmanager
def _folder(place: Place) -> Iterator[None]:
    """A copy of the place's files as working directory."""
    folder, before = place.folder / "commands", os.getcwd()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("text.txt", "series.csv", "series.npy"):
        shutil.copy(place.folder / name, folder)
    shutil.copytree(place.folder / "trained", folder / "trained")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "binary.bin").write_bytes(bytes(range(256)))
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
