"""The made-up tasks on which papers compare recurrent networks, drawn anew from a seed.

Rows come first, as `engine.fit` takes them: x (N, T, D), lengths (N,), and targets of a row or of a step.  Steps past a
row's length hold zeros.  A symbol is one-hot; the alphabets stand beside the functions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.checks import integer, number
from engine.errors import bad_input

#: The symbols of `temporal_order`: the first of all, the trigger, four that mean nothing, two whose order counts.
ORDER_ALPHABET = "EBabcdXY"
#: What `temporal_order` asks for: the pair of the two symbols, as a class of 0..3.
ORDER_CLASSES = ("XX", "XY", "YX", "YY")
#: The ids of `copy_memory` beside the symbols 0..7.
BLANK, MARKER = 8, 9


class Sequences(NamedTuple):
    """Rows of a task.

    Attributes
    ----------
    x : array (N, T, D)
        The input, float32; zeros past a row's end.
    targets : array
        What is asked for: (N, K) numbers or (N,) classes of a row, or (N, T) classes of its steps.
    lengths : array (N,)
        The valid steps of each row.
    """

    x: NDArray[np.float32]
    targets: NDArray[Any]
    lengths: NDArray[np.int64]


def adding_problem(rows: int, steps: int, seed: int = 0) -> Sequences:
    """Add two numbers that are far apart (Hochreiter and Schmidhuber 1997, section 5.4, experiment 4).

    A step is a pair: a number of [-1, 1], and a marker.  The marker is 1 at two steps, one among the first ten and one
    among the first ``steps / 2``; it is -1 at the first and at the last step, and 0 else.  The target is
    0.5 + (X1 + X2) / 4, where X1 and X2 are the two marked numbers.  If the first step itself is drawn as the first of
    the two, X1 counts as 0, as in the paper.

    Parameters
    ----------
    rows : int
        N, how many sequences.
    steps : int
        The least length, at least 22; lengths are drawn from ``steps`` to ``steps + steps // 10``.
    seed : int
        Other seeds give other sequences.

    Returns
    -------
    Sequences
        x (N, T, 2), targets (N, 1) float32.

    Raises
    ------
    InputError
        For fewer rows or steps.

    Examples
    --------
    >>> from engine.data.synthetic import adding_problem
    >>> x, targets, lengths = adding_problem(3, 100)
    >>> x.shape, targets.shape, bool((lengths >= 100).all())
    ((3, 110, 2), (3, 1), True)
    """
    rows, steps, rng = integer("rows", rows, 1), integer("steps", steps, 22), _generator(seed)
    lengths = rng.integers(steps, steps + steps // 10 + 1, size=rows)
    x = np.zeros((rows, steps + steps // 10, 2), np.float32)
    x[:, :, 0] = rng.uniform(-1.0, 1.0, size=x.shape[:2])
    every = np.arange(rows)
    first = rng.integers(0, 10, size=rows)
    second = rng.integers(1, steps // 2, size=rows)
    second += (second >= first) & (first > 0)  # a step that is not marked yet
    x[every, first, 1] = x[every, second, 1] = 1.0
    x[:, 0, 1] = x[every, lengths - 1, 1] = -1.0
    sums = np.where(first > 0, x[every, first, 0], 0.0) + x[every, second, 0]
    x[np.arange(x.shape[1]) >= lengths[:, np.newaxis]] = 0.0
    return Sequences(x, (0.5 + sums / 4.0).astype(np.float32)[:, np.newaxis], lengths)


def temporal_order(rows: int, seed: int = 0) -> Sequences:
    """Tell the order of two symbols that are far apart (Hochreiter and Schmidhuber 1997, experiment 6a).

    A sequence begins with E and ends with B.  One symbol at a step of 10..20 and one at a step of 50..60 is X or Y, the
    others are a, b, c or d.  The class is XX, XY, YX or YY.

    Parameters
    ----------
    rows : int
        N, how many sequences; their lengths are drawn from 100..110.
    seed : int
        Other seeds give other sequences.

    Returns
    -------
    Sequences
        x (N, 110, 8) one-hot in the order of `ORDER_ALPHABET`, targets (N,) in the order of `ORDER_CLASSES`.

    Raises
    ------
    InputError
        For fewer rows than one.

    Examples
    --------
    >>> from engine.data.synthetic import ORDER_ALPHABET, temporal_order
    >>> x, targets, lengths = temporal_order(2)
    >>> ORDER_ALPHABET[x[0, 0].argmax()], ORDER_ALPHABET[x[0, lengths[0] - 1].argmax()]
    ('E', 'B')
    """
    rows, rng = integer("rows", rows, 1), _generator(seed)
    lengths = rng.integers(100, 111, size=rows)
    ids = rng.integers(2, 6, size=(rows, 110))
    every = np.arange(rows)
    pair = rng.integers(0, 2, size=(2, rows))
    ids[every, rng.integers(10, 21, size=rows)] = 6 + pair[0]
    ids[every, rng.integers(50, 61, size=rows)] = 6 + pair[1]
    ids[:, 0], ids[every, lengths - 1] = 0, 1
    return Sequences(one_hot(ids, len(ORDER_ALPHABET), lengths), 2 * pair[0] + pair[1], lengths)


def copy_memory(rows: int, delay: int, seed: int = 0) -> Sequences:
    """Repeat ten symbols after a delay (Arjovsky, Shah and Bengio 2016; first Hochreiter and Schmidhuber 1997).

    A row has ten symbols of 0..7, then blanks, a marker ``delay`` steps after the last symbol, and ten more blanks.
    The target is blank until the marker has come, and then the ten symbols.  Who remembers nothing and knows the
    rules has the cross-entropy ``10 ln 8 / (delay + 20)`` a step.

    Parameters
    ----------
    rows : int
        N, how many sequences.
    delay : int
        T of the paper, at least 1; a row has ``delay + 20`` steps.
    seed : int
        Other seeds give other sequences.

    Returns
    -------
    Sequences
        x (N, delay + 20, 10) one-hot with `BLANK` and `MARKER`, targets (N, delay + 20) of 0..8.

    Raises
    ------
    InputError
        For fewer rows or steps than one.

    Examples
    --------
    >>> from engine.data.synthetic import copy_memory
    >>> x, targets, lengths = copy_memory(1, delay=3)
    >>> ids = x[0].argmax(axis=-1)
    >>> ids[10:].tolist(), bool((targets[0, -10:] == ids[:10]).all())
    ([8, 8, 9, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8], True)
    """
    rows, delay, rng = integer("rows", rows, 1), integer("delay", delay, 1), _generator(seed)
    ids = np.full((rows, delay + 20), BLANK)
    targets = ids.copy()
    ids[:, :10] = targets[:, -10:] = rng.integers(0, 8, size=(rows, 10))
    ids[:, -11] = MARKER
    return Sequences(one_hot(ids, 10), targets, np.full(rows, delay + 20))


def parity(rows: int, shortest: int, longest: int, seed: int = 0) -> Sequences:
    """Say after each bit whether the number of ones so far is odd (the parity problem of Bengio and others 1994).

    Parameters
    ----------
    rows : int
        N, how many sequences.
    shortest, longest : int
        Lengths are drawn from ``shortest`` to ``longest``.
    seed : int
        Other seeds give other sequences.

    Returns
    -------
    Sequences
        x (N, longest, 1), the bits as 0 and 1; targets (N, longest), 0 for even and 1 for odd.

    Raises
    ------
    InputError
        For fewer rows or steps than one, or ``longest`` below ``shortest``.

    Examples
    --------
    >>> from engine.data.synthetic import parity
    >>> x, targets, lengths = parity(1, 6, 6, seed=4)
    >>> x[0, :, 0].astype(int).tolist(), targets[0].tolist()
    ([1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0])
    """
    rows, shortest, rng = integer("rows", rows, 1), integer("shortest", shortest, 1), _generator(seed)
    longest = integer("longest", longest, shortest, "no length is shorter than `shortest`")
    lengths = rng.integers(shortest, longest + 1, size=rows)
    bits = rng.integers(0, 2, size=(rows, longest))
    bits[np.arange(longest) >= lengths[:, np.newaxis]] = 0
    return Sequences(bits[:, :, np.newaxis].astype(np.float32), bits.cumsum(axis=1) % 2, lengths)


def mackey_glass(steps: int, tau: float = 17.0, seed: int = 0, substeps: int = 10) -> NDArray[np.float64]:
    """A series of the Mackey-Glass equation, which is chaotic for tau above 16.8.

    ``dy/dt = 0.2 y(t - tau) / (1 + y(t - tau)^10) - 0.1 y(t)``, by Euler's steps of ``1 / substeps``, of which every
    ``substeps``-th is kept: the data of Jaeger (2001, equation 23).  It starts from values near 1.2, and the first
    1000 units of time are thrown away.

    Parameters
    ----------
    steps : int
        How many values, one a unit of time.
    tau : float
        The delay, a multiple of ``1 / substeps``.
    seed : int
        Other seeds start from other values, and give other parts of the attractor.
    substeps : int
        Steps of the integrator in a unit of time.

    Returns
    -------
    array (steps,)
        float64.

    Raises
    ------
    InputError
        For fewer steps than one, or a tau that is no multiple of the integrator's step.

    Examples
    --------
    >>> from engine.data.synthetic import mackey_glass
    >>> series = mackey_glass(2000)
    >>> bool(0.2 < series.min() < 0.5), bool(1.2 < series.max() < 1.4)
    (True, True)
    """
    steps, substeps, rng = integer("steps", steps, 1), integer("substeps", substeps, 1), _generator(seed)
    delay = round(number("tau", tau) * substeps)
    if delay < 1 or abs(delay - tau * substeps) > 1e-9:
        raise bad_input("tau", f"a positive multiple of 1 / substeps = {1 / substeps:g}", tau)
    values = (1.2 + rng.uniform(-0.1, 0.1, size=delay + 1)).tolist()
    for n in range(delay, delay + (1000 + steps) * substeps):
        late = values[n - delay]
        values.append(values[n] + (0.2 * late / (1.0 + late**10) - 0.1 * values[n]) / substeps)
    return np.array(values[-steps * substeps :][substeps - 1 :: substeps])


def one_hot(ids: NDArray[np.int64], size: int, lengths: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """The ids (N, T) as rows of ``size`` numbers, 1 at the id and 0 else; all 0 past a row's length."""
    x = np.eye(size, dtype=np.float32)[ids]
    if lengths is not None:
        x[np.arange(ids.shape[1]) >= lengths[:, np.newaxis]] = 0.0
    return x


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(integer("seed", seed, 0))
