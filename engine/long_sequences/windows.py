"""Truncated BPTT that keeps the tape of a window only: a ring of the tapes of the newest steps (rule 12).

The parameters are held for the whole sequence, as in `engine.truncated_bptt`, and the gradient is the same.  What is
kept does not grow with T: the tapes of the last k2 steps, one chunk's output, and the state.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from engine.checks import describe, integer, switch
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.long_sequences.parts import Loss, Reader, each_state, require_loss
from engine.truncation import checked_steps


class WindowedResult(NamedTuple):
    """What `windowed_bptt` returns.

    Attributes
    ----------
    loss : array
        The sum of the chunks' losses, 0-d.
    state : array or tuple
        The final state.
    dx : array or None
        Gradient of x, if it was wanted and x has one.
    dstate : array, tuple or None
        Gradient of the initial state, from the passes that reach it; None if there is no state.
    """

    loss: Any
    state: Any
    dx: Any
    dstate: Any


class _Piece(NamedTuple):
    """The tape of the steps ``start <= t < stop``; the state of `reset` rows began with zeros at `start`."""

    start: int
    stop: int
    tape: Any
    reset: Any


def windowed_bptt(
    model: Layer,
    x: Any,
    loss: Loss,
    k1: int,
    k2: int,
    state: Any = None,
    *,
    resets: Any = None,
    lengths: Any = None,
    wants_dx: bool = False,
    training: bool = True,
) -> WindowedResult:
    """Add the truncated gradient of a sequence's loss to ``model.grads``, with the tapes of k2 steps at a time.

    Every k1 steps the newest k1 losses go back through at most k2 steps, counted from the last step of their chunk
    (Williams and Peng 1990): what `engine.truncated_bptt` does, with the loss called chunk by chunk, in memory that
    does not depend on T.

    Parameters
    ----------
    model : Layer
        A layer or `Sequential` of one direction.
    x : array (T, B, ...)
        The input in the model's layout.  It is read part by part: a memory map will do.
    loss : callable
        From (y, start, stop), the output of the chunk ``start <= t < stop``, to the pair (loss, dy).  It is called for
        one chunk after another; the losses are added up, so divide by the count of the whole sequence.
    k1 : int
        Steps between two backward passes.
    k2 : int
        The largest number of steps that a loss goes back, counted from its chunk's last step; at least k1.
    state : array, tuple or None
        The initial state; None is zeros.
    resets : array of bool (T, B) on the host, or sequence of B sequences of int, or None
        Where a new document begins: before these steps, the state of the row is set to zero, and no gradient goes back
        past them.  A sequence names the steps of each row.
    lengths : sequence of int or None
        (B,) valid steps of each row.
    wants_dx : bool
        Whether the gradient of x is wanted: an array as large as x.
    training : bool
        Whether masks are drawn.

    Returns
    -------
    WindowedResult
        The loss, the final state, and the gradients of x and of the initial state.

    Raises
    ------
    InputError, InputTypeError
        If k2 < k1 (losses would be left out), for a model of two directions, and for resets that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> gru, x = engine.GRU(2, 3), np.ones((60, 4, 2), np.float32)
    >>> def loss(y, start, stop):
    ...     return engine.mse(y, np.zeros_like(y), normalizer=60 * 4)
    >>> result = engine.windowed_bptt(gru, x, loss, k1=5, k2=20, resets=[[30], [], [7, 41], []])
    >>> result.state.shape, bool(gru.grads["weight_hh_l0"].any())
    ((1, 4, 3), True)
    """
    require_loss(loss)
    wants_dx = switch("wants_dx", wants_dx)
    k1, k2 = checked_steps(k1, k2)
    reader = Reader(model, x, lengths, training)
    begins = _resets(resets, reader.steps, reader.batch)
    with reader.one_pass():
        return _walk(reader, loss, k1, k2, state, begins, wants_dx)


def _walk(
    reader: Reader, loss: Loss, k1: int, k2: int, state: Any, begins: np.ndarray | None, wants_dx: bool
) -> WindowedResult:
    pieces: deque[_Piece] = deque()
    total: Any = None
    first: Any = None
    dx: Any = None
    for start in range(0, max(reader.steps, 1), k1):  # of no steps there is one chunk, with nothing in it
        stop = min(start + k1, reader.steps)
        y, state = _forward(reader, start, stop, state, begins, pieces)
        value, dy = reader.loss(loss, y, start, stop)
        del y
        total = value if total is None else total + value
        begin = max(0, stop - k2)
        while len(pieces) > 1 and pieces[0].stop <= begin:
            pieces.popleft()
        parts, dstate = _backward(reader, pieces, begin, start, dy)
        for at, part in parts if wants_dx else ():
            dx = reader.room_for(part) if dx is None else dx
            reader.part(dx, at, at + part.shape[reader.axis])[...] += part
        if begin == 0:
            first = dstate if first is None else each_state(lambda a, b: a + b, first, dstate)
        del parts, dstate, dy
    return WindowedResult(total, state, dx, first)


def _forward(
    reader: Reader, start: int, stop: int, state: Any, begins: np.ndarray | None, pieces: deque[_Piece]
) -> tuple[Any, Any]:
    """y of a chunk and the state after it; its tapes are appended, cut where a row begins anew."""
    cuts = [] if begins is None else [t for t in range(start + 1, stop) if begins[t].any()]
    outputs = []
    for a, b in zip([start, *cuts], [*cuts, stop], strict=True):
        reset = None if begins is None or a == b or not begins[a].any() else begins[a]
        if reset is not None:
            state = _zeroed(reader, state, reset)
        y, state, tape = reader.forward(a, b, state)
        pieces.append(_Piece(a, b, tape, reset))
        outputs.append(y)
    whole = outputs[0] if len(outputs) == 1 else reader.model.backend.xp.concatenate(outputs, axis=reader.axis)
    return whole, state


def _backward(
    reader: Reader, pieces: deque[_Piece], begin: int, chunk: int, dy: Any
) -> tuple[list[tuple[int, Any]], Any]:
    """The losses of a chunk go back to the step `begin`: the gradients of x by their first steps, and dstate."""
    model, found = reader.model, []
    dstate: Any = None
    for piece in reversed(pieces):
        start = max(piece.start, begin)
        tape = piece.tape
        if start > piece.start:
            tape = model.window(tape, start - piece.start, piece.stop - piece.start)
        part = reader.part(dy, piece.start - chunk, piece.stop - chunk) if piece.start >= chunk else None
        part = part if part is None or reader.axis == 0 else model.backend.xp.ascontiguousarray(part)
        dx, dstate = model.backward(tape, part, dstate)
        if start == piece.start and piece.reset is not None:
            dstate = _zeroed(reader, dstate, piece.reset)
        if dx is not None:
            found.append((start, dx))
    return found, dstate


def _zeroed(reader: Reader, state: Any, rows: np.ndarray) -> Any:
    """The state with zeros in these rows, by selection."""
    xp, gone = reader.model.backend.xp, reader.model.backend.asarray(rows[:, None])
    return each_state(lambda part: xp.where(gone, xp.zeros_like(part), part), state)


def _resets(given: Any, steps: int, batch: int) -> np.ndarray | None:
    """(T, B) bool: the steps before which a row begins anew; None if there are none."""
    if given is None:
        return None
    expected = f"a bool array ({steps}, {batch}), or for each of the {batch} rows a list of steps"
    if type(given) is np.ndarray:
        if given.shape != (steps, batch) or given.dtype != bool:
            raise bad_input("resets", expected, f"shape {tuple(given.shape)} of dtype {given.dtype}")
        return np.array(given)
    if not isinstance(given, (list, tuple)) or len(given) != batch:
        got = f"{describe(given)} of {len(given)}" if isinstance(given, (list, tuple)) else describe(given)
        raise bad_type("resets", expected, got)
    found = np.zeros((steps, batch), bool)
    for row, at in enumerate(given):
        for step in at if isinstance(at, (list, tuple, np.ndarray)) else [at]:
            t = integer(f"resets of row {row}", step, 0)
            if t >= steps:
                raise bad_input(f"resets of row {row}", f"steps in 0..{steps - 1}", describe(t))
            found[t, row] = True
    return found
