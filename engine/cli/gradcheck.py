"""``bptt gradcheck``: compare every hand-written gradient with a second opinion; or plant a bug and find it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cell import cells as known_cells
from engine.cli.common import draw_into, json_option, print_json, print_table

if TYPE_CHECKING:
    from engine.checking import Report

#: Methods of `engine.gradcheck`, in words.
METHODS = {
    "central": "central differences",
    "complex": "complex step",
    "rtrl": "forward accumulation",
    "directional": "directional differences",
    "adjoint": "adjoint identity",
    "taylor": "Taylor remainder",
}


@click.command(short_help="Check every gradient of every cell.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    type=click.Choice(["rnn", "gru", "lstm", "others", *known_cells()]),
    help="A family, or one cell; may be given more than once. [all]",
)
@click.option(
    "--method", type=click.Choice(list(METHODS)), default="central", show_default=True, help="The second opinion."
)
@click.option("--seed", default=0, show_default=True, help="Of weights, inputs and cotangents.")
@click.option("--backend", metavar="NAME", help="numpy, cupy, torch, or with kernels: numpy:reference. [every one]")
@click.option("--inject", metavar="BUG", help="Plant a known bug in backward, and see how it is found.")
@click.option("--bugs", is_flag=True, help="List the bugs that can be planted.")
@click.option("--plot", metavar="FILE", type=click.Path(dir_okay=False), help="Draw the first check that fails.")
@click.option("--verbose", is_flag=True, help="Show every tensor of every check.")
@json_option
@click.pass_context
def gradcheck(
    context: click.Context,
    cells: tuple[str, ...],
    method: str,
    seed: int,
    backend: str | None,
    inject: str | None,
    bugs: bool,
    plot: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Check the gradients of every cell, with every option, on every backend, against a second opinion.

    Parameters, inputs and initial states are checked, with random non-zero gradients on outputs and final states.
    Exit code 1 if one does not pass.
    """
    from engine.errors import bad_input

    if seed < 0:
        raise bad_input("--seed", "an integer >= 0", seed)
    if plot is not None and not Path(plot).resolve().parent.is_dir():
        raise bad_input("--plot", "a file in a folder that exists", plot)
    if plot is not None:
        from engine.checking.report.picture import require_a_picture

        require_a_picture(plot, "--plot")
    if bugs:
        _list_bugs(as_json)
        return
    checks = _injected(inject, method, seed) if inject else _all(cells, method, seed, backend)
    records, rows, texts, failed, total = [], [], [], 0, 0
    wrong: Report | None = None
    for title, options, spec, report in checks:
        if isinstance(report, str):  # a backend that is not here: a row, with the reason
            rows.append((title, options, spec, "", "", "", f"not checked: {report}"))
            records.append({"cell": None, "options": None, "backend": spec, "verdict": None, "reason": report})
            continue
        total += 1
        failed += not report.passed
        rows.append(_table_row(title, options, spec, report))
        records.append(_record(title, options, spec, report))
        if verbose or not report.passed:
            texts.append(f"{title}, {options}, {spec}\n{report}\n")
        if not report.passed:
            wrong = wrong or report
    if as_json:
        print_json({"passed": not failed, "method": method, "checks": records})
    else:
        for text in texts:
            click.echo(text)
        if not inject:
            print_table(("cell", "options", "backend", "tensors", "worst error", "at", "verdict"), rows)
        words = f"{failed} of {total} gradient checks FAILED" if failed else f"all {total} gradient checks passed"
        click.echo(f"{words} ({METHODS[method]})")
    if plot is not None and wrong is not None:
        plain = f"gradient check: {wrong.verdict} ({wrong.method})" if inject else None  # the cause is the answer
        draw_into(plot, functools.partial(wrong.plot, plot, plain))
    if inject:
        _tell(inject)
    context.exit(1 if failed else 0)


def _all(cells: tuple[str, ...], method: str, seed: int, backend: str | None) -> Iterator[tuple[str, str, str, Any]]:
    """Title, options, backend and report of every check; if a backend is missing, the reason in place of the report."""
    import engine
    from engine.backend import KERNELS
    from engine.checking.catalogue import catalogue
    from engine.errors import BackendUnavailableError

    # The plain kernels first: nobody has to wait for a compiler to see the first results.
    every = [f"{name}:{kernel}" for name, kernels in KERNELS.items() for kernel in reversed(kernels)]
    specs = [backend] if backend else every
    for spec in specs:
        try:
            chosen = engine.get_backend(spec)
        except BackendUnavailableError as error:
            if backend:
                raise
            yield "every cell", "every option", spec, str(error)
            continue
        if chosen.kernels.name == "numba" and sys.stderr.isatty():
            words = "what is not on disk yet is compiled first, about 5 s for each dtype and 1 s for each cell"
            click.echo(f"{chosen.spec}: {words} (bptt warmup does it ahead)", err=True)
        for case in catalogue(chosen, seed, cells):
            if case.truncation is not None and method in ("rtrl", "adjoint"):
                continue  # forward mode is that of the whole sequence
            yield case.title, case.options, chosen.spec, case.check(method, seed)


def _injected(name: str, method: str, seed: int) -> Iterator[tuple[str, str, str, Any]]:
    """The one check of a planted bug."""
    import engine
    from engine import zoo

    bug = zoo.find(name)
    case = bug.case(seed)
    with bug.plant():
        report = engine.gradcheck(
            case.layer, case.x, case.state, case.lengths, method, seed, truncation=case.truncation
        )
    yield type(case.layer).__name__, f"with {bug.name}", case.layer.backend.spec, report


def _tell(name: str) -> None:
    """What was planted, on standard error; after the report, so that a reader can think first."""
    from engine import zoo

    bug = zoo.find(name)
    click.echo(f"\nplanted: {bug.name}: {bug.story}\n  {bug.change}", err=True)


def _list_bugs(as_json: bool) -> None:
    from engine import zoo

    if as_json:
        print_json({name: bug.story for name, bug in zoo.BUGS.items()})
    else:
        print_table(("bug", "what is wrong"), [(name, bug.story) for name, bug in zoo.BUGS.items()])


def _table_row(title: str, options: str, spec: str, report: Any) -> tuple[str, str, str, str, str, str, str]:
    worst = report.worst
    place = worst.name + (f" gate {worst.gate}" if worst.gate else "")
    return title, options, spec, str(len(report.rows)), f"{worst.error:.1e}", place, report.verdict


def _record(title: str, options: str, spec: str, report: Any) -> dict[str, Any]:
    worst, diagnosis = report.worst, report.diagnosis
    record = {
        "cell": title,
        "options": options,
        "backend": spec,
        "verdict": report.verdict,
        "error": worst.error if abs(worst.error) < float("inf") else None,  # JSON has neither NaN nor infinity
        "worst": {"name": worst.name, "gate": worst.gate, "time_step": worst.time_step, "index": list(worst.index)},
    }
    if diagnosis is not None:
        record["diagnosis"] = {
            "name": diagnosis.name,
            "gate": diagnosis.gate,
            "time_step": diagnosis.time_step,
            "cause": diagnosis.cause or None,
            "pattern": diagnosis.pattern or None,
        }
    record["tensors"] = [
        {"name": row.name, "verdict": row.verdict, "extent": row.extent, "pattern": row.pattern, "why": row.why}
        for row in report.rows
        if row.verdict != "ok"
    ]
    return record | {"cause": report.cause, "warnings": list(report.warnings), "notes": list(report.notes)}
