"""Recomputation as a setting of a model, and its memory, predicted."""

from __future__ import annotations

from typing import NamedTuple

from engine.checks import describe, integer, switch
from engine.errors import bad_input, bad_type
from engine.layers import Recurrent
from engine.layers.base import Layer
from engine.layers.segment_sizes import need_of, recompute_of, segments_for
from engine.long_sequences.parts import leaves_of
from engine.memory_sizes import bytes_of, in_words


class MemoryPlan(NamedTuple):
    """The memory of a recurrent layer's forward and backward, as `memory_of` predicts it.

    Attributes
    ----------
    peak : int
        Bytes of the arrays that the layer makes, at the highest point; y and dx are among them.
    kept : int
        Bytes that live from forward to backward.
    segments : int
        How many segments there are; 1 means that all gates are kept.
    steps : int
        The time steps of a segment.
    """

    peak: int
    kept: int
    segments: int
    steps: int

    def __str__(self) -> str:
        words = "1 segment" if self.segments == 1 else f"{self.segments} segments"
        return f"{in_words(self.peak)}, of which {in_words(self.kept)} are kept for backward; {words} of {self.steps}"


def recompute(model: Layer, segments: int | None = None, memory: int | str | None = None) -> None:
    """Let the recurrent layers of a model run forward again in backward, and keep less in between.

    Forward keeps the input and the states at the borders of segments; backward makes one segment's gates at a time.
    Gradients, and so a whole training, keep their bits.  It is a setting of the running program: no file has it.

    Parameters
    ----------
    model : Layer
        A layer, or a model of several; directions, layers, lengths and masks do not matter.
    segments : int or None
        How many segments a sequence is cut into; about the square root of its steps keeps least.
    memory : int, str or None
        In place of `segments`, a budget such as ``"64MiB"`` for each pass: as few segments as fit into it.  Of several
        recurrent layers, each gets an equal part.  With neither, all gates are kept again.

    Raises
    ------
    InputError, InputTypeError
        For a model without a recurrent layer, and for what is no number or no amount.  A budget below the least
        possible is an error of `forward`, which knows the sizes.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> gru = engine.GRU(2, 8, bidirectional=True, backend="numpy:reference")
    >>> print(engine.memory_of(gru, 1000, 4))
    2.0 MiB, of which 1.3 MiB are kept for backward; 1 segment of 1000
    >>> engine.recompute(gru, segments=15)
    >>> print(engine.memory_of(gru, 1000, 4))
    525.1 KiB, of which 33.2 KiB are kept for backward; 8 segments of 128
    >>> y, state, tape = gru.forward(np.ones((1000, 4, 2), np.float32))
    >>> dx, dstate = gru.backward(tape, np.ones_like(y))  # the bits of full storage
    """
    if not isinstance(model, Layer):
        raise bad_type("model", "a layer of engine", describe(model))
    if segments is not None and memory is not None:
        raise bad_input("memory", "None beside segments", describe(memory), "one of the two says how long segments are")
    found = [leaf for leaf in leaves_of(model) if isinstance(leaf, Recurrent)]
    if not found:
        raise bad_input("model", "a model with a recurrent layer", describe(model))
    setting = None if segments is None else integer("segments", segments, 1)
    for layer in found:
        layer.recompute = setting if memory is None else f"{bytes_of('memory', memory) // len(found)} B"


def memory_of(
    layer: Recurrent, steps: int, batch: int, *, lengths: bool = False, recompute: int | str | None = "as set"
) -> MemoryPlan:
    """Predict what forward and backward of a recurrent layer take.

    Parameters
    ----------
    layer : Recurrent
        The layer, with its setting `recompute`.
    steps, batch : int
        T and B.
    lengths : bool
        Whether rows are shorter than T.
    recompute : int, str or None
        Another setting to try: a number of segments, an amount of memory, or None.

    Returns
    -------
    MemoryPlan
        The bytes and the segments.

    Raises
    ------
    InputError, InputTypeError
        For what is no recurrent layer, and for a budget below the least possible, which it names.

    Examples
    --------
    >>> import engine
    >>> lstm = engine.LSTM(8, 32, backend="numpy:reference")
    >>> print(engine.memory_of(lstm, 500, 16, recompute="6MiB"))
    5.7 MiB, of which 262.0 KiB are kept for backward; 3 segments of 192
    """
    if not isinstance(layer, Recurrent):
        raise bad_type("layer", "a recurrent layer", describe(layer))
    steps, batch, ragged = integer("steps", steps, 1), integer("batch", batch, 1), switch("lengths", lengths)
    before = layer.recompute
    try:
        layer.recompute = (
            before if isinstance(recompute, str) and recompute == "as set" else recompute_of("recompute", recompute)
        )
        spans = segments_for(layer, steps, batch, ragged)
    finally:
        layer.recompute = before
    size = max(span.stop - span.start for span in spans)
    need = need_of(layer, steps, batch, size, ragged)
    return MemoryPlan(need.whole, need.kept, len(spans), size)
