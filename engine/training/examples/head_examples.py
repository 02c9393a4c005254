"""Rows with several targets, one for each head of the model: for tasks beside the main one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.checks import describe
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.training.examples.example_set import BY_HEAD, Examples, ExampleSet, output_shape
from engine.training.examples.head_losses import HeadLosses, require_heads
from engine.training.examples.objectives import Objective
from engine.training.examples.rows import Rows, read_rows


class HeadExamples(ExampleSet):
    """Rows with targets by head, checked against a model that ends in `Heads`, and its losses.

    Parameters
    ----------
    model, loss : what will be trained, and on what.
    x, lengths : as for `Examples`.
    y : dict of str to targets, one entry for each head; each as for `Examples`.
    mask : dict of str to mask, of heads whose targets do not all count; or None.
    weights : (N,) a weight for each row, in all losses; or a dict by head of such arrays or of class weights.
    names : of x and y, for messages.
    output : shapes of the heads' outputs for one row by name, if they are known; else a row is tried.

    Attributes
    ----------
    heads : dict of str to `Examples`.
    by_row : dict of str to bool: whether the head has one target for each row.
    """

    position = "rows"

    def __init__(
        self,
        model: Layer,
        loss: Objective | HeadLosses,
        x: Any,
        y: Any,
        *,
        lengths: Any = None,
        mask: Any = None,
        weights: Any = None,
        names: tuple[str, str] = ("x", "y"),
        output: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.rows = x if isinstance(x, Rows) else read_rows(names[0], x, lengths)
        self.output = output or _outputs_of_heads(model, self.rows, names[0])
        heads = list(self.output)
        if not isinstance(loss, HeadLosses):
            raise bad_type("loss", f"a dict with the loss of each head {heads}", repr(loss.name), BY_HEAD)
        require_heads("loss", loss.heads, heads, "a loss")
        if not isinstance(y, Mapping):
            raise bad_type(names[1], f"a dict with the targets of each head {heads}", describe(y), BY_HEAD)
        require_heads(names[1], y, heads, "targets")
        if mask is not None and not isinstance(mask, Mapping):
            hint = f"such as mask={{{heads[0]!r}: ...}}; heads that are left out have none"
            raise bad_type("mask", f"a dict by heads of {heads}", describe(mask), hint)
        require_heads("mask", mask or {}, heads)
        by_head = isinstance(weights, Mapping)
        require_heads("weights", weights if by_head else {}, heads)
        self.heads = {
            head: Examples(
                model,
                loss.heads[head][0],
                self.rows,
                y[head],
                mask=(mask or {}).get(head),
                weights=weights.get(head) if by_head else weights,
                names=(names[0], f"{names[1]}[{head!r}]"),
                output=self.output[head],
                place=f"[{head!r}]",
            )
            for head in heads
        }
        self.by_row = {head: examples.by_row for head, examples in self.heads.items()}

    def answers(self, index: np.ndarray | slice, steps: int, lengths: np.ndarray | None) -> tuple[Any, Any]:
        """See `ExampleSet.answers`: each a dict by head."""
        found = {head: examples.answers(index, steps, lengths) for head, examples in self.heads.items()}
        return {head: pair[0] for head, pair in found.items()}, {head: pair[1] for head, pair in found.items()}

    def parts(self) -> list[np.ndarray]:
        """See `ExampleSet.parts`."""
        whole = [] if self.index is None else [self.index]
        return whole + [part for examples in self.heads.values() for part in examples.parts()]


def _outputs_of_heads(model: Layer, rows: Rows, name: str) -> dict[str, Any]:
    """The shapes of the heads' outputs for one row."""
    found = output_shape(model, rows, name)
    if not isinstance(found, Mapping):
        hint = "give one y and one loss, or let the model end in engine.Heads"
        raise bad_input("model", "one that ends in Heads, for targets by name", "one with a single output", hint)
    for head, shape in found.items():
        if shape is None:
            raise bad_input("model", "heads with one array as output each", f"something else from {head!r}")
    return dict(found)


__all__ = ["HeadExamples"]
