"""Rule 16's second half: after a refused update, run its batch again, slowly, to find what became non-finite first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import NonFiniteError
from engine.layers import Layer
from engine.layers.recurrent import Recurrent
from engine.training.task import Task


@dataclass(frozen=True)
class Recorded:
    """All that is needed to run a step again: its number, its first state, and the dropout counters."""

    step: int
    state: Any
    counters: dict[str, int]


def diagnose(task: Task, recorded: Recorded, hint: str) -> NonFiniteError:
    """Run the step again, with the weights as they are (a refused update has not changed them), and name the cause.

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
        found = next(_suspects(task, recorded), None)
    epoch, batch = divmod(recorded.step, task.batches)
    where = f"step {recorded.step + 1} (epoch {epoch + 1}, batch {batch + 1} of {task.batches})"
    got = found or "a loss or gradient that was not finite and could not be reproduced"
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


def _suspects(task: Task, recorded: Recorded) -> Iterator[str]:
    """All non-finite results of a step, in the order of computation."""
    model = task.model
    to_host = model.backend.to_host
    x, targets = task.batch(recorded.step)
    y, tapes, starts = x, [], task.carried(recorded.step, recorded.state) or (None,) * len(model.layers)
    if model.backend.is_array(x):
        yield from _bad("the input x", to_host(x), time_axis=0)
    for index, (layer, state) in enumerate(zip(model.layers, starts, strict=True)):
        for leaf in _leaves(state):
            yield from _bad(f"the carried state of {_label(index, layer)}", to_host(leaf))
        y, _, tape = layer.forward(y, state)
        tapes.append(tape)
        if isinstance(layer, Recurrent):
            yield from _in_tape(index, layer, tape)
        yield from _bad(f"the output of {_label(index, layer)}", to_host(y), time_axis=0)
    loss, dy, _ = task.loss(y, targets)
    yield from _bad("the loss", to_host(loss))
    yield from _bad("the gradient of the model's output", to_host(dy), time_axis=0, last=True)
    model.zero_grad()
    for index, layer in reversed(list(enumerate(model.layers))):
        if isinstance(layer, Recurrent):
            yield from _in_trace(index, layer, layer.backward_trace(tapes[index], dy))
        dy, _ = layer.backward(tapes[index], dy)
        for name, grad in layer.grads.items():
            yield from _bad(f"the gradient of parameter '{index}.{name}'", to_host(grad))
        if dy is not None:
            yield from _bad(f"the gradient of the input of {_label(index, layer)}", to_host(dy), time_axis=0, last=True)
    norm = np.sqrt(sum(np.square(to_host(grad), dtype=np.float64).sum() for grad in model.grads.values()))
    yield from _bad("the norm of the gradient", np.asarray(norm))


def _in_tape(index: int, layer: Recurrent, tape: Any) -> Iterator[str]:
    """The earliest bad step among the gates and states of a forward pass, layer by layer."""
    for level, directions in enumerate(tape.layers):
        for record in directions:
            buffers = {f"gate {name!r}": gate for name, gate in record.gates.items()}
            buffers |= {_title(name): slots[1:] for name, slots in reversed(record.states.items())}
            yield from _first(index, layer, level, buffers, last=False)


def _in_trace(index: int, layer: Recurrent, trace: Any) -> Iterator[str]:
    """The latest bad step among the adjoints of a backward pass, from the top layer down."""
    for level, directions in reversed(list(enumerate(trace.layers))):
        for record in directions:
            buffers = {f"gradient d{name}": slots[1:] for name, slots in record.states.items()}
            buffers |= {f"gradient of gate {name!r}": gate for name, gate in record.gates.items()}
            yield from _first(index, layer, level, buffers, last=True)


def _first(index: int, layer: Recurrent, level: int, buffers: dict[str, Any], last: bool) -> Iterator[str]:
    """Of several buffers (T, ...) the one that is bad at the first step (the last one where time runs backwards)."""
    found: list[tuple[int, str]] = []
    for name, buffer in buffers.items():
        host = layer.backend.to_host(buffer)
        steps = np.flatnonzero(~np.isfinite(host).reshape(len(host), -1).all(axis=1))
        if steps.size:
            t = int(steps[-1] if last else steps[0])
            title = f"{name} of {_label(index, layer)}, layer {level}"
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
    steps = np.flatnonzero(wrong.reshape(len(host), -1).any(axis=1))
    t = int(steps[-1] if last else steps[0])
    yield f"{_word(host[t][wrong[t]].reshape(-1)[0])} in {name} at time step {t}"


def _title(state: str) -> str:
    return {"h": "hidden state h", "c": "cell state c"}.get(state, f"state {state}")


def _word(value: Any) -> str:
    return "NaN" if np.isnan(value) else "infinity"


def _label(index: int, layer: Layer) -> str:
    return f"{type(layer).__name__} (layer {index} of the model)"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [] if value is None else [value]
