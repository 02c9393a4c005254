"""Cells of one's own: their declaration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import engine
import kernels.cells
from wrong_calls.calls import Call, Place, call, entry
from wrong_calls.domains import Illegal, absent, choice, either, exactly, mapping, optional, real, text


def forward(a_h: Any, p_u: Any, h_prev: Any, tanh: Any) -> Any:
    """One step of an independent RNN."""
    h = tanh(a_h + p_u * h_prev)
    return h


def backward(dh: Any, h: Any, h_prev: Any, p_u: Any, one: Any) -> Any:
    """Reverse of `forward`."""
    da_h = dh * (one - h * h)
    dp_u = da_h * h_prev
    dh_prev = da_h * p_u
    return da_h, dp_u, dh_prev


@contextmanager
def _registry_as_it_was() -> Iterator[None]:
    before = dict(kernels.cells._CELLS)
    try:
        yield
    finally:
        kernels.cells._CELLS.clear()
        kernels.cells._CELLS.update(before)


def _free_name(value: Any) -> str:
    if not isinstance(value, str) or not value.isidentifier() or "__" in value or value in engine.cells():
        raise Illegal
    return str(value)


@entry("Cell")
def _cell(place: Place) -> Call:
    phase = engine.Phase(["h"], forward, backward, source=None)

    def run(name: Any, phase: Any, **options: Any) -> Any:
        with _registry_as_it_was():
            cell = engine.Cell(name, phase, **options)
            return cell.name, cell.act, cell.title, sorted(cell.initial.items()), cell.states

    return call(
        run,
        name=("mine", _free_name),
        phase=(phase, exactly(phase)),
        act=("tanh", choice("tanh", "relu")),
        initial=({"p_u": 0.5}, optional(either(mapping({"p_u": real()}), mapping({})))),
        title=("My cell", optional(text)),
    )


@entry("Phase")
def _phase(place: Place) -> Call:
    """What a phase holds is read when a cell is declared with it."""

    def run(**options: Any) -> Any:
        with _registry_as_it_was():
            return engine.Cell("mine", engine.Phase(**options)).gates

    return call(
        run,
        gates=(["h"], either(choice("h"), _one_gate)),
        forward=(forward, exactly(forward)),
        backward=(backward, exactly(backward)),
        source=(None, optional(choice("h_prev"))),
        between=(None, absent),
    )


def _one_gate(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 1 or not isinstance(value[0], str) or value[0] != "h":
        raise Illegal
    return value


@entry("Projection")
def _projection(place: Place) -> Call:
    lstm = engine.cells()["projected_lstm"].phases[0]

    def run(source: Any) -> Any:
        with _registry_as_it_was():
            return engine.Cell("mine", lstm, engine.Projection(source)).states

    return call(run, source=("m", choice("m", "c", "i", "f", "g", "o")))
