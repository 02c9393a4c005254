"""`engine.trace`: one forward pass, one backward pass, and every number of the microscope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.checks import describe, integer
from engine.errors import bad_input, bad_type
from engine.layers import Recurrent
from engine.layers.base import Layer, check_seed
from engine.layers.timeline import check_lengths
from engine.microscope import gates, jacobians, passes, reading, shares
from engine.microscope.passes import Flow, Record
from engine.microscope.result import DirectionFlow, Trace, Truncation

Array = Any  # of the model's backend


class Objective(NamedTuple):
    """What the gradients are of: the loss if there is one, its gradient at y, and its name."""

    loss: float | None
    dy: Array
    words: str


@np.errstate(all="ignore")
def trace(
    model: Layer,
    x: Any,
    *,
    state: Any = None,
    lengths: Any = None,
    dy: Any = None,
    loss: Callable[[Any], tuple[Any, Any]] | None = None,
    only: str | Sequence[str] | None = None,
    rows: int = 4,
    truncation: tuple[int, int] | None = None,
    seed: int = 0,
) -> Trace:
    """Measure how the gradient flows through the time steps of a model.

    One forward and one backward pass of the model, on its own backend, without dropout; nothing of the model changes.
    Then, on the host in float64, the norms and shares of every step, and Jacobians by power iteration.

    Parameters
    ----------
    model : Layer
        A recurrent layer with any cell, or a `Sequential` with recurrent layers in it.
    x : array
        Its input, (T, B, D) or as the model takes it.
    state : array or tuple, optional
        The initial state, in the structure that ``model.forward`` takes; None is zeros.
    lengths : sequence of int, optional
        The valid steps of each row (B,); None means T.
    dy : array, optional
        The gradient of the loss with respect to the model's output, in its shape.
    loss : callable, optional
        In place of `dy`: from the output y to the pair (loss, dy), as ``lambda y: engine.mse(y, target)``.  With
        neither, the loss is the sum of the output at each row's last step times random weights (standard normal); of a
        bidirectional model, the output at its first step as well.
    only : str or sequence of str, optional
        Names of the layers and directions to measure, such as ``"l0"``, ``"l1_reverse"`` or, in a Sequential,
        ``"0.l0"``; None is all of them.
    rows : int
        For how many rows of the batch Jacobians are measured, the first ones; 0 measures none, which saves most of the
        time.
    truncation : tuple of two int, optional
        (k1, k2): measure the gradients of truncated BPTT (`engine.truncated_bptt`), and compare them with the full
        ones.
    seed : int
        Of the random weights.

    Returns
    -------
    Trace
        ``print(trace)`` is a table, ``trace["l0"]`` the numbers of a layer and direction, ``trace.plot()`` a picture.

    Raises
    ------
    InputError, InputTypeError
        For arguments that are not as described.

    References
    ----------
    Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks"; Karpathy, Johnson and
    Li (2015), "Visualizing and understanding recurrent networks", for saturated gates.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> lstm = engine.LSTM(3, 4, backend="numpy:reference")
    >>> x = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)
    >>> engine.trace(lstm, x).verdict
    'vanishing'
    """
    chosen = _names(model, only)
    count, seed = integer("rows", rows, 0), check_seed(seed)
    windows = None if truncation is None else _windows(model, truncation)
    if dy is not None and loss is not None:
        raise bad_input("loss", "None where dy is given", describe(loss), "give one of the two")
    if loss is not None and not callable(loss):
        raise bad_type("loss", "a function that returns the pair (loss, dy)", describe(loss))
    if windows is not None and lengths is not None:
        raise bad_input("lengths", "None with truncation", describe(lengths), "truncated BPTT takes full rows")
    y, _, tape = model.forward(x, state, lengths, training=False)
    objective = objective_of(model, y, lengths, dy, loss, seed)
    found = passes.leaves(model, tape)
    flows = passes.backward(found, objective.dy)
    full = flows
    if windows is not None:
        flows = passes.truncated(found, objective.dy, 1 if model.batch_first else 0, *windows)
    records = {
        record.name: record
        for leaf in found
        if isinstance(leaf.layer, Recurrent)
        for record in passes.records(leaf)
        if record.name in chosen
    }
    measured = {name: _measured(record, flows[name], count, windows) for name, record in records.items()}
    compared = None if windows is None else _compared(records, flows, full, windows)
    return Trace(measured, objective.loss, objective.words, compared)


# -- arguments ---------------------------------------------------------------------------------------------------------


def _names(model: Any, only: Any) -> set[str]:
    """The names of the layers and directions that were asked for."""
    known = model_names(model)
    if only is None:
        return set(known)
    asked = [only] if isinstance(only, str) else only
    if not isinstance(asked, list | tuple):
        raise bad_type("only", "names of layers and directions, or None", describe(only))
    for name in asked:
        if not isinstance(name, str) or name not in known:
            raise bad_input("only", f"some of {', '.join(known)}", describe(name))
    return set(asked)


def model_names(model: Any) -> list[str]:
    """The names of all layers and directions of a model."""
    if not isinstance(model, Layer):
        raise bad_type("model", "a recurrent layer, or a Sequential with one", describe(model))
    recurrent = [leaf for leaf in passes.leaves(model) if isinstance(leaf.layer, Recurrent)]
    known = [name for leaf in recurrent for name, _ in passes.names_of(leaf)]
    if not known:
        raise bad_input("model", "a model with a recurrent layer", f"a {type(model).__name__} without one")
    return known


def _windows(model: Layer, truncation: Any) -> tuple[int, int]:
    """(k1, k2), checked as `engine.truncated_bptt` does."""
    if not isinstance(truncation, tuple | list) or len(truncation) != 2:
        raise bad_type("truncation", "a pair (k1, k2)", describe(truncation))
    k1, k2 = integer("k1", truncation[0], 1), integer("k2", truncation[1], 1)
    if k2 < k1:
        hint = "fewer would leave the first losses of a chunk uncounted"
        raise bad_input("k2", f"at least k1 = {k1}", describe(k2), hint)
    if _two_ways(model):
        hint = "its reverse half needs the whole future"
        raise bad_input("model", "one direction for truncated BPTT", "a bidirectional layer", hint)
    return k1, k2


def _two_ways(model: Layer) -> bool:
    return any(isinstance(leaf.layer, Recurrent) and leaf.layer.bidirectional for leaf in passes.leaves(model))


def objective_of(model: Layer, y: Array, lengths: Any, dy: Any, loss: Any, seed: int) -> Objective:
    """The gradient that a backward pass starts from, as given or from random weights."""
    axis = 1 if model.batch_first else 0
    pooled = y.ndim == 2  # (B, K), one output a row
    if y.ndim < 2 or 0 in y.shape[: 1 if pooled else 2]:
        raise bad_input("x", "at least one time step and one row", f"an output of shape {tuple(y.shape)}")
    value, words = None, "the given dy"
    if loss is not None:
        pair = loss(y)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise bad_type("loss", "a function that returns the pair (loss, dy)", f"one that returns {describe(pair)}")
        value, dy, words = _number(model, pair[0]), pair[1], "the given loss"
    elif dy is None:
        if pooled:
            weights, words = np.random.default_rng(seed).normal(size=y.shape), "the outputs times random weights"
        else:
            weights, words = _random_weights(y.shape, axis, lengths, seed, both_ends=_two_ways(model))
        dy = model.backend.asarray(weights, dtype=model.dtype)
        kept = np.where(weights != 0, model.backend.to_host(y).astype(np.float64), 0.0)
        value = float((kept * weights).sum())
    name = "dy" if loss is None else "dy of the loss"
    model.backend.require(name, dy, dtype=y.dtype, shape=tuple(y.shape), axes="that of y")
    return Objective(value, dy, words)


def _number(model: Layer, loss: Any) -> float:
    """The value of a loss: a number, or a 0-d array of the backend."""
    value = model.backend.to_host(loss) if model.backend.is_array(loss) else loss
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray) or np.ndim(value):
        raise bad_type("loss", "a function whose first result is a number", f"one that returns {describe(value)}")
    return float(value)


def _random_weights(
    shape: tuple[int, ...], axis: int, lengths: Any, seed: int, both_ends: bool
) -> tuple[np.ndarray, str]:
    """Weights of y: standard normal at each row's last step, 0 elsewhere; and what the loss is, in words."""
    steps, batch = shape[axis], shape[1 - axis]
    last = np.full(batch, steps) if lengths is None else check_lengths(lengths, steps, batch)
    drawn = np.random.default_rng(seed).normal(size=(2, batch, *shape[2:]))
    weights = np.zeros((steps, batch, *shape[2:]))
    rows = np.flatnonzero(last > 0)
    if both_ends:
        weights[0, rows] = drawn[1, rows]
    weights[last[rows] - 1, rows] += drawn[0, rows]
    words = "the outputs at the first and the last step" if both_ends else "the output at the last step"
    return (weights.swapaxes(0, 1) if axis == 1 else weights), f"{words} times random weights"


# -- measuring ---------------------------------------------------------------------------------------------------------


def _measured(record: Record, flow: Flow, rows: int, windows: tuple[int, int] | None) -> DirectionFlow:
    """Everything about one layer and direction."""
    slots = np.arange(len(record.run.gates) + 1)
    there = slots[:, None] <= record.lengths  # (T+1, B): the rows that have the slot
    states = {
        name: passes.norm(np.where(there[:, :, None], values, 0.0), 1, 2)
        for name, values in zip(record.cell.states, flow.states, strict=True)
    }
    mixing = any(work.between and work.between.mixes_rows(len(work.gates)) for work in record.cell.works)
    found = jacobians.measure(record, rows) if rows and not mixing else None  # a Jacobian is of one row
    verdict, rate, memory, findings = reading.verdict_of(found, record.lengths, states)
    by_gate, by_weight = gates.measure(record, flow), shares.weights(record, flow)
    if verdict not in ("non-finite", "no gradient"):
        findings += [*reading.of_weights(by_weight), *reading.of_gates(by_gate)]
        findings += [] if windows is None else [reading.of_truncation(states, windows[1])]
    steps, batch, _, units = record.run.gates.shape
    return DirectionFlow(
        record.name, record.cell.name, steps, batch, units, record.lengths, states, by_gate, by_weight, found, rate,
        memory, verdict, tuple(findings),
    )  # fmt: skip


def _compared(
    records: dict[str, Record], flows: dict[str, Flow], full: dict[str, Flow], windows: tuple[int, int]
) -> Truncation:
    """The truncated gradient of every parameter beside the full one."""
    captured, cosine, distance = {}, {}, {}
    for name, record in records.items():
        wanted = shares.gradients(record, full[name])
        for weight, part in shares.gradients(record, flows[name]).items():
            whole, size = wanted[weight], float(np.linalg.norm(wanted[weight]))
            captured[weight] = float(np.vdot(part, whole)) / size**2 if size > 0 else float("nan")
            own = float(np.linalg.norm(part))
            cosine[weight] = float(np.vdot(part, whole)) / (size * own) if size * own > 0 else float("nan")
            distance[weight] = float(np.linalg.norm(part - whole)) / size if size > 0 else float("nan")
    return Truncation(*windows, captured, cosine, distance)
