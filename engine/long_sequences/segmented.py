"""BPTT over a sequence that does not fit into memory: forward keeps the states at the borders of segments, no more.

Backward takes the segments from the last to the first, and runs each one forward again, with its head and its loss, so
that neither y nor dy of all steps exists (Chen et al. 2016, for time in place of depth).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any, NamedTuple

from engine.checks import describe, integer, switch
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.segment_sizes import in_words_up
from engine.long_sequences.parts import Loss, Reader, each_state, leaves_of, require_loss
from engine.memory_sizes import bytes_of, in_words
from kernels.reference import blocks_of


class SegmentedResult(NamedTuple):
    """What `segmented_bptt` returns.

    Attributes
    ----------
    loss : array
        The sum of the segments' losses, 0-d.
    state : array or tuple
        The final state.
    dx : array or None
        Gradient of x, if it was wanted and x has one.
    dstate : array, tuple or None
        Gradient of the initial state.
    segments : int
        How many there were; 1 means that nothing was run twice.
    predicted : int
        The bytes that the pass was expected to hold at its highest point, without x, dx and the parameters.
    """

    loss: Any
    state: Any
    dx: Any
    dstate: Any
    segments: int
    predicted: int


def segmented_bptt(
    model: Layer,
    x: Any,
    loss: Loss,
    *,
    segments: int | None = None,
    memory: int | str | None = None,
    state: Any = None,
    lengths: Any = None,
    wants_dx: bool = False,
    training: bool = True,
) -> SegmentedResult:
    """Add the full gradient of a sequence's loss to ``model.grads``, with the tape of one segment at a time.

    The recurrent layers' gradients have the bits of one forward and one backward over the whole sequence, for the same
    dy.  Layers without a state (`Linear`, `Embedding`) sum segment by segment, and agree to round-off.

    Parameters
    ----------
    model : Layer
        A layer or `Sequential` of one direction.
    x : array (T, B, ...)
        The input in the model's layout.  It is read part by part: a memory map will do.
    loss : callable
        From (y, start, stop), the output of the steps ``start <= t < stop``, to the pair (loss, dy).  It is called once
        for each segment, from the last to the first; the losses are added up, so divide by the count of the whole
        sequence: ``engine.mse(y, target[start:stop], normalizer=T * B)``.
    segments : int or None
        How many; their borders are moved to where sums may be broken off.  None with `memory` None: about sqrt(T).
    memory : int, str or None
        A budget such as ``"64MiB"`` in place of `segments`: as few segments as fit into it.  Not counted are x, dx,
        the parameters and what `loss` makes on its way.
    state : array, tuple or None
        The initial state; None is zeros.
    lengths : sequence of int or None
        (B,) valid steps of each row.
    wants_dx : bool
        Whether the gradient of x is wanted: an array as large as x.
    training : bool
        Whether masks are drawn.

    Returns
    -------
    SegmentedResult
        The loss, the final state, the gradients of x and of the initial state, the segments and the predicted bytes.

    Raises
    ------
    InputError, InputTypeError
        For a model of two directions, a budget below the least possible, and what `Layer.forward` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> gru, x = engine.GRU(2, 3), np.ones((1000, 4, 2), np.float32)
    >>> def loss(y, start, stop):
    ...     return engine.mse(y, np.zeros_like(y), normalizer=1000 * 4)
    >>> result = engine.segmented_bptt(gru, x, loss, segments=4)
    >>> result.segments, bool(gru.grads["weight_hh_l0"].any())
    (4, True)
    """
    require_loss(loss)
    wants_dx = switch("wants_dx", wants_dx)
    if segments is not None and memory is not None:
        raise bad_input("memory", "None beside segments", describe(memory), "one of the two says how long segments are")
    reader = Reader(model, x, lengths, training)
    with reader.one_pass():
        spans, predicted = _spans(reader, state, segments, memory)
        with contextlib.ExitStack() as passes:
            for layer in reader.recurrent if len(spans) > 1 else ():  # one segment is an ordinary pass
                passes.enter_context(layer.summing())
            found = _walk(reader, spans, loss, state, wants_dx)
    return SegmentedResult(*found, len(spans), predicted)


def _walk(reader: Reader, spans: list[slice], loss: Loss, state: Any, wants_dx: bool) -> tuple[Any, Any, Any, Any]:
    """Loss, final state, dx and dstate."""
    model = reader.model
    borders = [state]
    for span in spans[:-1]:
        borders.append(reader.advance(span.start, span.stop, borders[-1]))
    total: Any = None
    last: Any = None
    dx: Any = None
    dstate: Any = None
    for span in reversed(spans):
        y, after, tape = reader.forward(span.start, span.stop, borders.pop())
        last = after if last is None else last
        value, dy = reader.loss(loss, y, span.start, span.stop)
        del y, after
        part, dstate = model.backward(tape, dy, dstate)
        del tape, dy
        total = value if total is None else total + value
        if wants_dx and part is not None:
            dx = reader.room_for(part) if dx is None else dx
            reader.part(dx, span.start, span.stop)[...] = part
    return total, last, dx, dstate


def _spans(reader: Reader, state: Any, segments: Any, memory: Any) -> tuple[list[slice], int]:
    """The segments, and the bytes that they will take."""
    T, block = (
        reader.steps,
        math.lcm(*(one.backend.kernels.block(one._noisy, reader.batch) for one in reader.recurrent)),
    )
    budget = None if memory is None else bytes_of("memory", memory)
    count = None if segments is None else integer("segments", segments, 1)
    if T <= block or not reader.recurrent:
        return [slice(0, T)], 0 if T == 0 or reader.batch == 0 else round(_rates(reader, state, T)[0] * T)
    rate, border = _rates(reader, state, block)
    always = sum(_always(layer, block, reader.batch) for layer in reader.recurrent)

    def need(size: int) -> int:
        return round(min(size, T) * rate + (-(-T // size) if size < T else 0) * border + always)

    sizes = [*range(block, T, block), T]
    if budget is not None:
        fitting = [size for size in sizes if need(size) <= budget]
        if not fitting:
            raise _too_little(reader, budget, min(map(need, sizes)))
        size = max(fitting)
    else:
        count = round(math.sqrt(T)) if count is None else count
        size = min(T, -(-T // (count * block)) * block)
    return blocks_of(T, size), need(size)


def _too_little(reader: Reader, budget: int, least: int) -> Exception:
    what = f"{reader.steps:,} steps of {reader.batch:,} rows"
    hint = "a smaller batch takes less"
    return bad_input("memory", f"at least {in_words_up(least)} for {what}", in_words(budget), hint)


def _rates(reader: Reader, state: Any, steps: int) -> tuple[float, int]:
    """Bytes of a step of a segment, and of a border; counted on a short pass.

    A segment's tape is alive while backward goes through the layers from the top: with it dy, and then of one layer at
    a time the gradients of its output and of its input.
    """
    x, layers = reader._input(0, steps), leaves_of(reader.model)
    parts, left = _flat_states(reader.model, state), reader._left(0)
    tapes, border, working, waiting, sizes = 0, 0, 0, 0, [_bytes(x)]
    for layer, part in zip(layers, parts, strict=True):
        x, after, tape = layer.forward(x, part, left, reader.training)
        tapes += _taped(tape)
        sizes.append(_bytes(x))
        each = each_state(_bytes, after)
        border += sum(each) if isinstance(each, tuple) else each or 0
        if layer in reader.recurrent:
            working = max(working, _running(layer, steps, reader.batch))
            waiting += _bytes(x) if layer is not layers[-1] else 0  # an output's memory waits for the next segment's
    *inner, dy = sizes
    backward = dy + max(map(sum, itertools.pairwise([*inner, 0])))  # dy, and of one layer dx with what it is made of
    return (tapes + waiting + max(2 * dy, backward, working + max(sizes))) / steps, border


def _always(layer: Any, block: int, batch: int) -> int:
    """Bytes that a recurrent layer's passes take however short a segment is.

    These are its weights, packed for both ways, the sums of their gradients, and the pre-activations of a block with
    their gradients on both sides.
    """
    weights = sum(_bytes(array) for array in layer.params.values())
    return 4 * weights + 3 * block * batch * len(layer.cell.gates) * layer.hidden_size * layer.dtype.itemsize


def _running(layer: Any, steps: int, batch: int) -> int:
    """Bytes that a recurrent layer's forward makes on its way."""
    numbers = layer.backend.kernels.numbers(layer._noisy, layer.hidden_size, layer.widths[0], True)[1]
    return int(numbers * steps * batch * layer.dtype.itemsize)


def _flat_states(model: Layer, state: Any) -> list[Any]:
    """The state of each leaf."""
    inside = getattr(model, "layers", None)
    if inside is None:
        return [state]
    parts = model._split("state", state)  # type: ignore[attr-defined]
    return [leaf for layer, part in zip(inside, parts, strict=True) for leaf in _flat_states(layer, part)]


def _bytes(array: Any) -> int:
    return int(math.prod(array.shape) * array.dtype.itemsize)


def _taped(tape: Any) -> int:
    """The bytes of the arrays on a tape, each once: a gate is a part of an array."""
    owners: dict[int, int] = {}
    for _, array in tape.entries():
        if hasattr(array, "dtype"):
            owners[id(_owner(array))] = _bytes(_owner(array))
    return sum(owners.values())


def _owner(array: Any) -> Any:
    while getattr(array, "base", None) is not None and hasattr(array.base, "dtype") and hasattr(array.base, "shape"):
        array = array.base
    return array
