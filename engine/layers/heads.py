"""Several heads on one trunk: layers side by side that read the same x, each with an output of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.backend import Backend
from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.layers.container import Container, ContainerTape
from engine.layers.streaming import chains
from engine.layers.streaming.steps import Step


@dataclass(frozen=True, repr=False)
class HeadsTape(ContainerTape):
    """What `Heads` keep for their backward pass.

    Attributes
    ----------
    tapes : tuple of Tape
        The tapes of the heads, in order.
    stamp : tuple of int
        Whose tape it is.
    """


class Heads(Container):
    """Several heads on one trunk: each gets the same x, and y is a dict of their outputs.

    For tasks beside the main one, whose gradients shape the trunk too (Caruana 1997).  A head is any layer, so a
    `Sequential` too: one may pool over time and give a class for the row, another a tag for each step.  The trunk's
    gradient is the sum of the heads'.  `engine.losses.weighted_sum` makes one loss of several, and `engine.fit` takes
    targets, losses and metrics by the heads' names.

    Parameters
    ----------
    heads : mapping of str to Layer
        The heads by name; a name is a word without a dot, and what the names of the head's parameters begin with.
    backend : str, Backend or None
        That of the heads; given only to be checked against them.
    dtype : str, dtype or None
        That of the heads; given only to be checked against them.
    seed : int or None
        Replaces the seeds of all heads; None leaves each its own.

    Raises
    ------
    InputError, InputTypeError
        For names that are none, what is no layer, a layer with a place already, or two backends or dtypes.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> from engine.losses import weighted_sum
    >>> topic = engine.Sequential(engine.Pool("mean"), engine.Linear(8, 2))
    >>> model = engine.Sequential(engine.GRU(3, 8), engine.Heads({"topic": topic, "tag": engine.Linear(8, 4)}))
    >>> y, state, tape = model.forward(np.ones((5, 2, 3), np.float32))
    >>> {name: value.shape for name, value in y.items()}
    {'topic': (2, 2), 'tag': (5, 2, 4)}
    >>> loss = weighted_sum({"topic": (engine.cross_entropy, 1.0), "tag": (engine.cross_entropy, 0.2)})
    >>> value, dy = loss(y, {"topic": np.array([0, 1]), "tag": np.zeros((5, 2), int)})
    >>> dx, _ = model.backward(tape, dy)
    >>> sorted(name for name in model.params if name.startswith("1.t"))
    ['1.tag.bias', '1.tag.weight', '1.topic.1.bias', '1.topic.1.weight']
    """

    tape_type = HeadsTape
    part = "head"
    side_by_side = True

    def __init__(
        self,
        heads: Mapping[str, Layer],
        *,
        backend: str | Backend | None = None,
        dtype: Any = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(heads, Mapping):
            raise bad_type("heads", "a mapping from names to layers", describe(heads))
        heads_named(list(heads), len(heads))
        self._hold(heads, backend, dtype, seed)

    def width_after(self, width: int | None) -> None:
        """See `Layer.width_after`; a dict of outputs has no width."""
        return

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return self.layers[0].input_shape(width)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[dict[str, Any], tuple[Any, ...], HeadsTape]:
        """Run every head on the same x.

        Parameters
        ----------
        x : array
            Input of all heads.
        state : tuple or None
            The state of each head (None for a head that has none); None means zeros for all.
        lengths : sequence of int or None
            (B,) host integers, handed to every head.
        training : bool
            Handed to every head.

        Returns
        -------
        y : dict of str to array
            The heads' outputs by name.
        state : tuple
            The heads' new states.
        tape : HeadsTape
            What backward needs.
        """
        outputs, states, tapes = {}, [], []
        for name, head, head_state in zip(self.names, self.layers, self._split("state", state), strict=True):
            outputs[name], head_state, tape = head.forward(x, head_state, lengths, training)
            states.append(head_state)
            tapes.append(tape)
        return outputs, tuple(states), HeadsTape(tuple(tapes), self._stamp())

    def backward(self, tape: HeadsTape, dy: Any = None, dstate: Any = None) -> tuple[Any, tuple[Any, ...]]:
        """Run every head's backward pass; dx is the sum of theirs.

        Parameters
        ----------
        tape : HeadsTape
            What forward returned; it is only read.
        dy : mapping of str to array, or None
            The gradients of the outputs by name; None, and a name that is left out, mean zeros.
        dstate : tuple or None
            The gradient of each head's state.

        Returns
        -------
        dx : array or None
            Gradient of x; None where x is integers.
        dstate : tuple
            Gradient of each head's first state.
        """
        self.check_tape(tape)
        if dy is not None and not isinstance(dy, Mapping):
            raise bad_type("dy", f"a mapping from {list(self.names)} to gradients, or None", describe(dy))
        unknown = [name for name in dy or {} if name not in self.names]
        if unknown:
            raise bad_input("dy", f"some of the heads {list(self.names)}", describe(unknown[0]))
        dx, dstates = None, []
        parts = zip(self.names, self.layers, tape.tapes, self._split("dstate", dstate), strict=True)
        for name, head, head_tape, head_dstate in parts:
            with head.already_checked(head_tape):
                part, head_dstate = head.backward(head_tape, None if dy is None else dy.get(name), head_dstate)
            dstates.append(head_dstate)
            if part is not None:
                dx = part if dx is None else dx + part  # y_1 = head_1(x), y_2 = head_2(x), ...
        return dx, tuple(dstates)

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """Run every head without dropout and tapes."""
        outputs, states = {}, []
        for name, head, head_state in zip(self.names, self.layers, self._split("state", state), strict=True):
            outputs[name], head_state = head.predict(x, head_state, lengths)
            states.append(head_state)
        return outputs, tuple(states)

    def _step(self, batch: int, state: Any) -> Step:
        triples = zip(self.names, self.layers, self._split("state", state), strict=True)
        return chains.SideBySide(self, batch, {name: layer._step(batch, part) for name, layer, part in triples})

    def window(self, tape: HeadsTape, start: int, stop: int) -> HeadsTape:
        """Refused: truncated BPTT takes one loss of one output."""
        raise bad_input("layer", "a layer with one output for truncated BPTT", "several heads")

    def config(self) -> dict[str, Any]:
        """A JSON-able description, nested; the names keep their order there."""
        return {"type": "Heads", "args": {"names": list(self.names), "layers": [one.config() for one in self.layers]}}

    def _with(self, layers: list[Any]) -> Heads:
        return type(self)(dict(zip(self.names, layers, strict=True)), seed=self._seed_argument)


def heads_named(names: Any, count: int) -> list[str]:
    """The names of `count` heads, or a clear error."""
    fault = fault_of_names(names, count)
    if fault:
        raise bad_input("heads", "a name for each head, words without a dot", fault, 'such as {"label": ...}')
    found: list[str] = names
    return found


def fault_of_names(names: Any, count: int) -> str:
    """What is wrong with the names of `count` heads, in words; nothing if all is right."""
    if not isinstance(names, list) or len(names) != count or count == 0:
        return describe(names) if not isinstance(names, list) else f"{len(names)} names of {count} heads"
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            return describe(name)
    return "one name twice" if len(set(names)) < count else ""
