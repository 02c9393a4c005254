"""Rule 16's second half: after a refused update, run its batch again, slowly, to find what became non-finite first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.errors import NonFiniteError
from engine.layers.base import Layer
from engine.layers.container import Container
from engine.layers.recurrent import Recurrent
from engine.optimizers.loss_scaling import LossScaler
from engine.training.task import Task


@dataclass(frozen=True)
class Recorded:
    """All that is needed to run a step again: its number, its first state, and the dropout counters."""

    step: int
    state: Any
    counters: dict[str, int]


def diagnose(task: Task, recorded: Recorded, hint: str, scaler: LossScaler | None = None) -> NonFiniteError:
    """Run the step again, with the weights as they are (a refused update has not changed them), and name the cause.

    Parameters
    ----------
    scaler : of the loss, if it was scaled.

    Returns
    -------
    NonFiniteError
        names the first tensor, in the order of computation, that is NaN or infinite, and its first bad time step: in
        the forward pass the earliest one; in the backward pass the latest, which that pass meets first.
    """
    overflowed = overflow(task, recorded.step, hint)
    if overflowed is not None:  # an update before this step was made, and was too large
        return overflowed
    task.model.load_call_counters(recorded.counters)
    with np.errstate(all="ignore"):
        found = next(_suspects(task, recorded, scaler), None)
    epoch, batch = divmod(recorded.step, task.batches)
    where = f"step {recorded.step + 1} (epoch {epoch + 1}, batch {batch + 1} of {task.batches})"
    got = found or "a loss or gradient that was not finite and could not be reproduced"
    if scaler is not None and scaler.value != 1:
        got += f", with the loss scale {scaler.value:g}"
    return NonFiniteError(f"{where}: expected finite numbers, got {got}; the update was not made: {hint}")


def finite_weights(task: Task) -> bool:
    """Whether all weights are finite.  Waits for the device, once."""
    xp = task.model.backend.xp
    ok = xp.ones((), dtype=bool)
    for param in task.model.params.values():
        xp.logical_and(ok, xp.isfinite(param).all(), out=ok)
    return bool(task.model.backend.to_host(ok))


def overflow(task: Task, step: int, hint: str) -> NonFiniteError | None:
    """The error for weights that became non-finite although loss and gradients were finite; else None.

    Parameters
    ----------
    step : how many updates have been made.
    """
    for name, param in task.model.params.items():
        host = task.model.backend.to_host(param)
        wrong = ~np.isfinite(host)
        if wrong.any():
            at = [int(i) for i in np.argwhere(wrong)[0]]
            got = f"{_word(host[tuple(at)])} in parameter {name!r} at index {at}"
            return NonFiniteError(
                f"step {step}: expected finite weights, got {got}; loss and gradient were finite, the update itself "
                f"overflowed: {hint}"
            )
    return None


def _suspects(task: Task, recorded: Recorded, scaler: LossScaler | None) -> Iterator[str]:
    """All non-finite results of a step, in the order of computation."""
    model = task.model
    to_host = model.backend.to_host
    batch = task.batch(recorded.step)
    x, lengths = batch.x, batch.lengths
    layers = list(_layers(model, task.carried(recorded.step, recorded.state)))
    y, tapes = x, []
    if model.backend.is_array(x):
        yield from _bad("the input x", to_host(x), _time_axis(model, x))
    for where, layer, state in layers:
        for leaf in _leaves(state):
            yield from _bad(f"the carried state of {where.words}", to_host(leaf))
        y, _, tape = layer.forward(y, state, lengths)
        lengths = lengths if layer.keeps_time else None
        tapes.append(tape)
        if isinstance(layer, Recurrent):
            yield from _in_tape(where.words, layer, tape)
        for title, part in _outputs(y):
            yield from _bad(f"the output{title} of {where.words}", to_host(part), _time_axis(model, part))
    loss, dy, _ = task.loss(y, batch)
    yield from _bad("the loss", to_host(loss))
    for title, part in _outputs(dy):
        words = f"the gradient of the model's output{title}"
        yield from _bad(words, to_host(part), _time_axis(model, part), last=True)
    model.zero_grad()
    if scaler is not None:
        dy = scaler.scale(dy)
    for (where, layer, _), tape in zip(reversed(layers), reversed(tapes), strict=True):
        if isinstance(layer, Recurrent):
            yield from _in_trace(where.words, layer, layer.backward_trace(tape, dy))
        dy, _ = layer.backward(tape, dy)
        for name, grad in layer.grads.items():
            yield from _bad(f"the gradient of parameter '{where.prefix}{name}'", to_host(grad))
        if dy is not None:
            words = f"the gradient of the input of {where.words}"
            yield from _bad(words, to_host(dy), _time_axis(model, dy), last=True)
    norm = np.sqrt(sum(np.square(to_host(grad), dtype=np.float64).sum() for grad in model.grads.values()))
    yield from _bad("the norm of the gradient", np.asarray(norm))


class _Place(NamedTuple):
    """Where a layer stands: in words, and what its parameters' names begin with."""

    words: str
    prefix: str


def _layers(model: Layer, states: Any, prefix: str = "") -> Iterator[tuple[_Place, Layer, Any]]:
    """The layers of a model in order, those within another too, each with its first state; heads are one layer."""
    if not isinstance(model, Container) or model.side_by_side:
        words = f"layer {prefix[:-1]} of the model" if prefix else "the model"
        yield _Place(f"{type(model).__name__} ({words})", prefix), model, states
        return
    parts = zip(model.names, model.layers, states or (None,) * len(model.layers), strict=True)
    for name, layer, state in parts:
        yield from _layers(layer, state, f"{prefix}{name}.")


def _outputs(y: Any) -> list[tuple[str, Any]]:
    """An output or its gradient; of heads each one, with its name in words."""
    return [(f" {name!r}", part) for name, part in y.items()] if isinstance(y, Mapping) else [("", y)]


def _time_axis(model: Layer, array: Any) -> int | None:
    """The axis of time steps; None of an array that has none, such as one output a row."""
    return int(model.batch_first) if array.ndim > 2 else None


def _in_tape(where: str, layer: Recurrent, tape: Any) -> Iterator[str]:
    """The earliest bad step among the gates and states of a forward pass, layer by layer."""
    for level, directions in enumerate(tape.layers):
        for record in directions:
            buffers = {f"gate {name!r}": gate for name, gate in record.gates.items()}
            buffers |= {_title(name): slots[1:] for name, slots in reversed(record.states.items())}
            yield from _first(where, layer, level, buffers, last=False)


def _in_trace(where: str, layer: Recurrent, trace: Any) -> Iterator[str]:
    """The latest bad step among the adjoints of a backward pass, from the top layer down."""
    for level, directions in reversed(list(enumerate(trace.layers))):
        for record in directions:
            buffers = {f"gradient d{name}": slots[1:] for name, slots in record.states.items()}
            buffers |= {f"gradient of gate {name!r}": gate for name, gate in record.gates.items()}
            yield from _first(where, layer, level, buffers, last=True)


def _first(where: str, layer: Recurrent, level: int, buffers: dict[str, Any], last: bool) -> Iterator[str]:
    """Of several buffers (T, ...) the one that is bad at the first step (the last one where time runs backwards)."""
    found: list[tuple[int, str]] = []
    for name, buffer in buffers.items():
        host = layer.backend.to_host(buffer)
        steps = np.flatnonzero(~np.isfinite(host).reshape(len(host), -1).all(axis=1))
        if steps.size:
            t = int(steps[-1] if last else steps[0])
            title = f"{name} of {where}, layer {level}"
            found.append((-t if last else t, next(_bad(title, host, time_axis=0, last=last))))
    if found:
        yield min(found, key=lambda pair: pair[0])[1]  # min keeps the order of the buffers among equals


def _bad(name: str, host: np.ndarray, time_axis: int | None = None, last: bool = False) -> Iterator[str]:
    """One description if `host` holds NaN or infinity, else nothing."""
    wrong = ~np.isfinite(host)
    if not wrong.any():
        return
    if time_axis is None or host.ndim == 0:
        yield f"{_word(host[wrong].reshape(-1)[0])} in {name}"
        return
    host, wrong = np.moveaxis(host, time_axis, 0), np.moveaxis(wrong, time_axis, 0)
    steps = np.flatnonzero(wrong.reshape(len(host), -1).any(axis=1))
    t = int(steps[-1] if last else steps[0])
    yield f"{_word(host[t][wrong[t]].reshape(-1)[0])} in {name} at time step {t}"


def _title(state: str) -> str:
    return {"h": "hidden state h", "c": "cell state c"}.get(state, f"state {state}")


def _word(value: Any) -> str:
    return "NaN" if np.isnan(value) else "infinity"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [] if value is None else [value]
