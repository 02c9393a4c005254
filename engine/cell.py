"""Users' own cells: `Cell` and `Phase` of the kernels, with the engine's errors, and the registry."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kernels.cells
import kernels.gates
import kernels.phases
from engine.checks import describe, number, one_of
from engine.errors import InputError, bad_input, bad_type
from kernels.phases import Projection

__all__ = ["Cell", "Phase", "Projection", "cells", "known_cell"]


LONGEST = 100  # characters of a name, so that a message with one stays a sentence


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


class Cell(kernels.cells.Cell):
    """A recurrent cell, declared by the functions of one step; docs/your_own_cell.md shows how.

    Parameters
    ----------
    name : str
        Its name in the registry, in checkpoints and on the command line.
    *phases : Phase or Projection
        One `Phase` or several, in order; a `Projection` may come last.
    act : {"tanh", "relu"}
        What gate functions get as ``act`` and ``act_slope``.
    initial : mapping of str to float, or None
        First values of weights ``p_X``, by name; the others start as all weights do.
    title : str or None
        Its name in messages; None means `name`.

    Raises
    ------
    InputError
        If the functions disagree: one sentence with the cell, the function and the line.

    Examples
    --------
    >>> import engine
    >>> engine.cells()["lstm"].gates, engine.cells()["lstm"].states
    (('i', 'f', 'g', 'o'), ('h', 'c'))

    A cell of your own is a pair of functions, which have to stand in a file (their text is read):

    >>> def forward(a_h, tanh):                                   # doctest: +SKIP
    ...     h = tanh(a_h)
    ...     return h
    >>> def backward(dh, h, one):                                 # doctest: +SKIP
    ...     da_h = dh * (one - h * h)
    ...     return da_h
    >>> cell = engine.Cell("my_rnn", engine.Phase("h", forward, backward))  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str,
        *phases: kernels.phases.Phase | Projection,
        act: str = "tanh",
        initial: Mapping[str, float] | None = None,
        title: str | None = None,
    ) -> None:
        if not _is_name(name):
            raise bad_type("name", "letters, digits and single _", describe(name))
        for phase in phases:
            if not isinstance(phase, kernels.phases.Phase | Projection):
                raise bad_type("phase", "an engine.Phase, or an engine.Projection after one", describe(phase))
            if isinstance(phase, Projection) and not _is_name(phase.source):
                raise bad_type("source", "the name of a value of a phase before", describe(phase.source))
        one_of("act", act, ("tanh", "relu"))
        if initial is not None and not isinstance(initial, Mapping):
            raise bad_type("initial", "first values by the names of weights p_X", describe(initial))
        if title is not None and not (isinstance(title, str) and title):
            raise bad_type("title", "a text, or None", describe(title))
        first = {str(key): number(f"initial of {key}", value, low=-math.inf) for key, value in (initial or {}).items()}
        try:
            super().__init__(name, *phases, act=str(act), initial=first, title=title)
        except kernels.cells.CellError as error:
            raise InputError(str(error)) from None


class Phase(kernels.phases.Phase):
    """A product with recurrent weights, and the gate functions after it.

    Parameters
    ----------
    gates : str or sequence of str
        The names of its gates, as one string of letters or as a sequence of names; the order of their blocks in the
        weights.  Empty for a phase that only uses values of other phases.
    forward : callable
        The gate function of the forward pass; the names of its arguments and results say where each value lies.
    backward : callable
        The gate function of the backward pass.
    source : str or None
        What the recurrent weights multiply: ``"h_prev"`` or a value that a phase before returned.  None for a phase
        without a recurrent product.
    between : tuple of callable, or None
        Row functions (forward, backward) on all rows of a step, between the product and the gate functions: for
        normalisation.

    Raises
    ------
    InputTypeError
        For an argument of the wrong kind.  `Cell` checks what the names mean.

    Examples
    --------
    >>> import engine
    >>> from kernels.gates import gru
    >>> phase = engine.Phase("rzn", gru.forward, gru.backward)
    >>> phase.gates, phase.source
    (('r', 'z', 'n'), 'h_prev')
    """

    def __init__(
        self,
        gates: str | Sequence[str],
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        source: str | None = "h_prev",
        between: tuple[Any, ...] | None = None,
    ) -> None:
        if not isinstance(gates, str | list | tuple) or not all(map(_is_name, gates)):
            raise bad_type("gates", "a string of letters, or a list of names", describe(gates))
        for name, function in (("forward", forward), ("backward", backward)):
            if not inspect.isfunction(function):
                raise bad_type(name, "a function written with def", describe(function))
        if source is not None and not _is_name(source):
            raise bad_type("source", "the name of what is multiplied, or None", describe(source))
        pair = isinstance(between, list | tuple) and len(between) == 2 and all(map(callable, between))
        pair = pair or isinstance(between, kernels.phases.Between)
        if between is not None and not pair:
            raise bad_type("between", "row functions (forward, backward), or None", describe(between))
        super().__init__(gates, forward, backward, source, between)


def cells() -> Mapping[str, kernels.cells.Cell]:
    """List every known cell by name: those of the package, then those declared.

    Returns
    -------
    mapping of str to Cell
        It cannot be written to; `Cell` enters new ones.

    Examples
    --------
    >>> import engine
    >>> sorted(engine.cells())[:4]
    ['coupled_lstm', 'gru', 'gru_before', 'indrnn']
    """
    return kernels.gates.cells()


def known_cell(cell: Any) -> kernels.cells.Cell:
    """The cell itself, or the one of that name.

    Raises
    ------
    InputError, InputTypeError
        for a name that nobody has declared, or an object that is neither a cell nor a name.
    """
    if isinstance(cell, kernels.cells.Cell):
        return cell
    if not isinstance(cell, str):
        raise bad_type("cell", "an engine.Cell or the name of one", describe(cell))
    known = cells()
    if cell not in known:
        hint = "declare it with engine.Cell(...) first: a file never brings its own functions"
        raise bad_input("cell", f"one of {', '.join(known)}", describe(cell), hint)
    return known[cell]
