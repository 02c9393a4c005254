"""Planting a bug: a function of the engine, with a few words of its source exchanged, takes the right one's place.

A mistake is a line that reads wrongly, so that is how it is written down here: what the line says, and what it would
say if someone had slipped.  Where the line has been reworded since, planting fails aloud instead of planting nothing.
"""

from __future__ import annotations
import __future__

import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from engine import truncation
from engine.layers import arguments, recurrent_passes
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.recurrent import Recurrent
from engine.layers.recurrent_passes import RecurrentPasses
from engine.layers.sequential import Sequential
from engine.layers.tape import DirectionTape, RecurrentTape
from kernels import gates, options, products, reference
from kernels.cells import Cell
from kernels.phases import Work
from kernels.steps import Steps

Function = Callable[..., Any]


@dataclass(frozen=True)
class Site:
    """A function that bugs are planted in.

    Attributes
    ----------
    title : where it stands, for people.
    read : gives the function that is there now.
    put : a context manager that puts another there.
    """

    title: str
    read: Callable[[], Function]
    put: Callable[[Function], AbstractContextManager[None]]

    def line(self, was: str, becomes: str) -> Rewrite:
        """The function with one piece of its source exchanged; the piece occurs in it once."""
        return self.lines((was, becomes))

    def lines(self, *edits: tuple[str, str]) -> Rewrite:
        """The function with several pieces of its source exchanged, one after the other."""
        return Rewrite(self, edits)


@dataclass(frozen=True)
class Rewrite:
    """Call it for a context manager inside which the wrong function stands at the site."""

    site: Site
    edits: tuple[tuple[str, str], ...]

    def __call__(self) -> AbstractContextManager[None]:
        """The context manager."""
        return self.site.put(self.wrong())

    def __str__(self) -> str:
        return f"{self.site.title}: " + "; ".join(f"`{was}` becomes `{becomes}`" for was, becomes in self.edits)

    def wrong(self) -> Function:
        """The function, rewritten."""
        right = inspect.unwrap(self.site.read())
        source = _source(right)
        for was, becomes in self.edits:
            if source.count(was) != 1:
                raise LookupError(f"{self.site.title}: expected {was!r} once, found it {source.count(was)} times")
            source = source.replace(was, becomes)
        flags = __future__.annotations.compiler_flag  # as in the file it comes from: type hints stay unevaluated
        code = compile(source, f"<{self.site.title}, rewritten>", "exec", flags, dont_inherit=True)
        found: dict[str, Any] = {}
        exec(code, right.__globals__, found)
        function: Function = found[right.__name__]
        return function


@functools.cache
def _source(function: Function) -> str:
    """What it says; finding that takes longer than rewriting it."""
    return textwrap.dedent(inspect.getsource(function))


# -- the sites ---------------------------------------------------------------------------------------------------------


@contextmanager
def _exchanged(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def attribute(owner: Any, name: str) -> Site:
    """A function of a module or a method of a class."""
    return Site(f"{owner.__name__}.{name}", lambda: vars(owner)[name], lambda wrong: _exchanged(owner, name, wrong))


def equation(name: str, *cells: Cell) -> Site:
    """The backward function of that name in a cell's page, as the plain kernels see it.

    What the cell calls is exchanged, not what it says: the compiled kernels read the text of the page, which stays as
    it is.  A function that several cells share is exchanged in all of them.
    """

    @contextmanager
    def put(wrong: Function) -> Iterator[None]:
        with ExitStack() as stack:
            for cell in cells:
                stack.enter_context(_exchanged(cell, "works", tuple(_calling(wrong, work) for work in cell.works)))
            yield

    def _calling(wrong: Function, work: Work) -> Work:
        ours = work.backward.name == name
        return work._replace(backward=work.backward._replace(function=wrong)) if ours else work

    def read() -> Function:
        return next(work.backward.function for work in cells[0].works if work.backward.name == name)

    return Site(f"{read().__module__}.{name}", read, put)


def _everywhere() -> Site:
    """`truncated_bptt`, in every module of ours that holds it by its name."""

    @contextmanager
    def put(wrong: Function) -> Iterator[None]:
        right = truncation.truncated_bptt
        ours = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "engine"]
        holders = [module for module in ours if vars(module).get("truncated_bptt") is right]
        for module in holders:
            vars(module)["truncated_bptt"] = wrong
        try:
            yield
        finally:
            for module in holders:
                vars(module)["truncated_bptt"] = right

    return Site("engine.truncation.truncated_bptt", lambda: truncation.truncated_bptt, put)


RNN_GATES = equation("backward", gates.RNN_TANH, gates.RNN_RELU)
LSTM_GATES, GRU_GATES = equation("backward", gates.LSTM), equation("backward", gates.GRU)
GRU_BEFORE_OUTPUT = equation("output_backward", gates.GRU_BEFORE)
GRU_BEFORE_GATES = equation("gates_backward", gates.GRU_BEFORE)
PEEPHOLES, INDRNN = equation("backward", gates.PEEPHOLE_LSTM), equation("backward", gates.INDRNN)
MGU_OUTPUT, MGU_GATE = equation("output_backward", gates.MGU), equation("gate_backward", gates.MGU)
ZONEOUT = equation("zoneout_backward", options.with_zoneout(gates.LSTM, gates.LSTM.states))
MASK = equation("mask_backward", options.with_recurrent_mask(gates.GRU))
STEP, TAPE, PROJECT = attribute(Steps, "backward"), attribute(Steps, "tape"), attribute(Steps, "_project_backward")
TIME_LOOP = attribute(reference.ReferenceKernels, "backward")
INPUT_PRODUCTS = attribute(products, "project_backward")
RECURRENT_PRODUCTS, OPERAND = attribute(products, "recurrent_weight_backward"), attribute(products, "operand")
LAYER = attribute(reference.ReferenceKernels, "backward_layer")
STACK = attribute(recurrent_passes, "backward_walk")
WALK, WALK_DIRECTION = attribute(RecurrentPasses, "_walk"), attribute(RecurrentPasses, "_walk_direction")
BACKWARD = attribute(Recurrent, "backward")
LAYER_WINDOW, DIRECTION_WINDOW = attribute(RecurrentTape, "window"), attribute(DirectionTape, "window")
ENTER_DY = attribute(arguments, "enter_dy")
LINEAR, EMBEDDING = attribute(Linear, "backward"), attribute(Embedding, "backward")
DROPOUT, SEQUENTIAL = attribute(Dropout, "backward"), attribute(Sequential, "backward")
TRUNCATION = _everywhere()

#: Mistakes that several cells share: a = x + U source + b is reversed wrongly.
TRANSPOSED = STEP.line(
    "self.weight_hh[..., self._rows(work), :]",
    "self.weight_hh[self._rows(work)].reshape(len(work.gates), *dstates[0].shape[1:] * 2).swapaxes(1, 2)"
    ".reshape(side.shape[1], -1)",
)
NOTHING_SENT_BACK = STEP.line("dsource = ", "dsource = 0 * ")


def sent_back(blocks: str) -> Rewrite:
    """Other gradients go back through the recurrent weights."""
    return STEP.line("found.hidden[gate] for gate in work.gates", blocks)


def carried(state: str, becomes: str, otherwise: str = "dstate") -> Rewrite:
    """What one of the states sends to the slot before is another, where the right one is `previous`.

    Parameters
    ----------
    otherwise : what it sends at a pad.
    """
    right = "_select(xp, valid, _or_zeros(xp, found.previous[name], dstate), dstate)"
    wrong = f"(lambda previous: _select(xp, valid, {becomes}, {otherwise}))(found.previous[name])"
    return TIME_LOOP.line(right, f"({wrong} if name == {state!r} else {right})")


def recurrent_weight(becomes: str) -> Rewrite:
    """The gradient of weight_hh, where the right one is ``matmul(_rows(da).T, _rows(source))``."""
    right = "matmul(rows.T, _rows(operand(cell, run, stage.source)))"
    return RECURRENT_PRODUCTS.line(right, f"(lambda source: {becomes})(operand(cell, run, stage.source))")
