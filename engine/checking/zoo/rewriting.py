"""Planting a bug: a function of the engine, with a few words of its source exchanged, takes the right one's place.

A mistake is a line that reads wrongly, so that is how it is written down here: what the line says, and what it would
say if someone had slipped.  Where the line has been reworded since, planting fails aloud instead of planting nothing.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from engine import truncation
from engine.layers import arguments
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.recurrent import Recurrent
from engine.layers.sequential import Sequential
from engine.layers.tape import DirectionTape
from kernels import products, reference

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
        source = textwrap.dedent(inspect.getsource(right))
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


def equation(name: str) -> Site:
    """A function of `kernels.gates`, as the plain kernels see it.

    They are shown a copy of the module.  The module itself stays as it is: the compiled kernels read it on first use
    and keep on disk what they made of it.
    """

    def put(wrong: Function) -> AbstractContextManager[None]:
        return _exchanged(reference, "gates", SimpleNamespace(**{**vars(reference.gates), name: wrong}))

    return Site(f"kernels.gates.{name}", lambda: getattr(reference.gates, name), put)


def step(cell: str) -> Site:
    """The backward step of a cell in the plain kernels."""

    @contextmanager
    def put(wrong: Function) -> Iterator[None]:
        before = reference._STEPS[cell]
        reference._STEPS[cell] = (before[0], wrong)
        try:
            yield
        finally:
            reference._STEPS[cell] = before

    return Site(f"kernels.reference._{cell}_backward", lambda: reference._STEPS[cell][1], put)


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


RNN_GATES, LSTM_GATES = equation("rnn_backward"), equation("lstm_backward")
GRU_AFTER_GATES = equation("gru_after_backward")
GRU_BEFORE_OUTPUT, GRU_BEFORE_GATES = equation("gru_before_output_backward"), equation("gru_before_gates_backward")
RNN_STEP = attribute(reference, "_rnn_backward")
RELU_STEP, LSTM_STEP = step("rnn_relu"), step("lstm")
GRU_AFTER_STEP, GRU_BEFORE_STEP = step("gru"), step("gru_before")
TIME_LOOP = attribute(reference.ReferenceKernels, "backward")
INPUT_PRODUCTS = attribute(products, "project_backward")
RECURRENT_PRODUCTS = attribute(products, "recurrent_weight_backward")
WALK, ADD_GRADIENTS = attribute(Recurrent, "_walk"), attribute(Recurrent, "backward")
LAYER_WINDOW, DIRECTION_WINDOW = attribute(Recurrent, "window"), attribute(DirectionTape, "window")
ENTER_DY = attribute(arguments, "enter_dy")
LINEAR, EMBEDDING = attribute(Linear, "backward"), attribute(Embedding, "backward")
DROPOUT, SEQUENTIAL = attribute(Dropout, "backward"), attribute(Sequential, "backward")
TRUNCATION = _everywhere()
