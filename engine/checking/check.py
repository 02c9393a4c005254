"""Gradient checks of the engine's layers and of anyone's own pair of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.backend import Backend, backend_of, check_dtype
from engine.checking import oracles
from engine.checking.forward_mode import jvp
from engine.checking.report import Departure, Report, Row, compare
from engine.checking.subject import Part, Subject, complex_twin, gates_of, leaves, state_names, transform
from engine.checks import describe, number
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer

#: The largest error that passes, by method: what is exact to round-off is held to more than what is not.
TOLERANCE = {"central": 1e-6, "directional": 1e-6, "complex": 1e-10, "adjoint": 1e-10, "rtrl": 1e-10, "taylor": 0.4}
FLOAT32_TOLERANCE = 1e-4
#: Methods that need forward-mode derivatives, which the engine has for its own layers.
FORWARD_MODE = ("adjoint", "rtrl")
#: More departing entries than this are no kinks, and are not looked at one by one.
KINKS = 200


def gradcheck(
    layer: Layer,
    x: Any,
    state: Any = None,
    lengths: Any = None,
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    dtype: Any = "float64",
) -> Report:
    """Check every gradient of a layer: parameters, input, initial state.

    The loss is a random weighting of the output and of the final state, so that both gradients that backward takes are
    tried.  Dropout is on, with the call counter frozen, so that every evaluation draws the same masks.

    Parameters
    ----------
    layer : any layer of the engine; it is copied and left alone.
    x, state, lengths : arguments for its forward pass; floats of either precision, integer ids for an Embedding.
    method : entry by entry ``"central"`` (differences), ``"complex"`` (complex step, exact to round-off) or ``"rtrl"``
        (forward accumulation, small nets); along random directions, at any size, ``"directional"`` (differences),
        ``"adjoint"`` (against forward mode, exact to round-off) or ``"taylor"`` (order of the remainder).
    seed : of the random weighting and directions.
    tol : largest error, relative to each tensor's largest value; None takes that of the method, or 1e-4 for float32.
    dtype : ``"float64"`` checks a float64 copy; ``"float32"`` runs backward in float32 and the other side in float64.

    Returns
    -------
    Report
        ``.passed``, ``.verdict``, ``.worst``; ``print(report)`` shows a table.
    """
    _check_method(method, tuple(TOLERANCE))
    if not isinstance(layer, Layer):
        raise bad_type("layer", "a layer of engine", describe(layer), "for functions of your own, use check_gradients")
    dtype = check_dtype(dtype).name
    subject = _layer_subject(layer, x, state, lengths, seed, dtype, method == "complex")
    return _judge(subject, method, seed, tol if tol is not None else FLOAT32_TOLERANCE if dtype == "float32" else None)


def check_gradients(
    forward: Callable[..., tuple[Any, Any]],
    backward: Callable[[Any, Any], Any],
    inputs: Sequence[Any],
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
) -> Report:
    """Check a hand-written pair of functions.

    Parameters
    ----------
    forward : ``forward(*inputs) -> (out, cache)``; out is an array or a tuple of arrays.
    backward : ``backward(dout, cache) -> gradients``, one for each input, in order.
    inputs : float64 arrays; integer inputs are passed on and not checked.
    method : ``"central"``, ``"complex"`` (for functions that take complex arrays), ``"directional"`` or ``"taylor"``.
    seed, tol : as for `gradcheck`.

    Returns
    -------
    Report
        its tensors are called ``input 0``, ``input 1``, ...
    """
    _check_method(method, tuple(name for name in TOLERANCE if name not in FORWARD_MODE))
    floats = [value for value in inputs if _kind(value) == "f"]
    if not floats:
        raise bad_input("inputs", "at least one float64 array", "none", "there is nothing to check")
    backend = backend_of(floats[0], "inputs")
    arrays = [value.copy() if backend.is_array(value) else value for value in inputs]
    for position, array in enumerate(arrays):
        if _kind(array) == "f" and array.dtype != np.float64:
            raise bad_type(f"inputs[{position}]", "float64", str(array.dtype), "differences need the digits")

    def evaluate(replaced: dict[str, Any]) -> list[Any]:
        given = [replaced.get(f"input {position}", array) for position, array in enumerate(arrays)]
        return [backend.xp.asarray(leaf) for leaf in leaves(forward(*given)[0])]

    frozen = [array.copy() if backend.is_array(array) else array for array in arrays]
    out, cache = forward(*arrays)
    subject = Subject(backend, evaluate=evaluate)
    out = transform(backend.xp.asarray, out)
    subject.cotangents = _random_like(seed, leaves(out), backend)
    weights = iter(subject.cotangents)
    gradients = backward(transform(lambda _: next(weights).copy(), out), cache)
    for array, before in zip(arrays, frozen, strict=True):
        if backend.is_array(array) and not np.array_equal(
            backend.to_host(array), backend.to_host(before), equal_nan=_kind(array) == "f"
        ):
            subject.trouble = "input mutated"
            array[...] = before
    gradients = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    if len(gradients) != len(arrays):
        raise bad_input("backward", f"{len(arrays)} gradients, one for each input", f"{len(gradients)}")
    for position, (array, analytic) in enumerate(zip(arrays, gradients, strict=True)):
        if _kind(array) == "f":
            if analytic is None:
                raise bad_type("backward", f"a gradient for input {position}", "None", "only integer inputs have none")
            host = np.asarray(backend.to_host(backend.xp.asarray(analytic)), dtype=np.float64)
            subject.parts.append(Part(f"input {position}", array, host))
    return _judge(subject, method, seed, tol)


# -- the subject that a layer makes ----------------------------------------------------------------------------------


def _layer_subject(
    layer: Layer, x: Any, state: Any, lengths: Any, seed: int, dtype: str, with_complex: bool
) -> Subject:
    backend = layer.backend
    exact: Layer = layer.to(dtype="float64")
    counters = exact.call_counters()
    x64, state64 = _copy(backend, x, "float64"), _copy(backend, state, "float64")
    last = exact.forward(x64, state64, lengths)[1]
    if state64 is None:  # the gradient with respect to zeros is checked at zeros
        state64 = transform(backend.xp.zeros_like, last)
    names = state_names(exact, last)
    twin = complex_twin(layer) if with_complex else exact

    def run(replaced: dict[str, Any], model: Layer) -> tuple[Any, Any, Any]:
        own = {name: value for name, value in replaced.items() if name in model.params}
        before = {name: model.params[name].copy() for name in own}
        given = iter([replaced.get(name, part) for name, part in zip(names, leaves(state64), strict=True)])
        start = transform(lambda _: next(given), state64)
        entering = replaced.get("x", x64)
        if model is not exact:
            start = transform(lambda part: part.astype(model.dtype), start)
            entering = entering if entering.dtype.kind in "iu" else entering.astype(model.dtype)
        for name, value in own.items():
            model.params[name][...] = value
        try:
            model.load_call_counters(counters)
            return model.forward(entering, start, lengths)
        finally:
            for name, value in before.items():
                model.params[name][...] = value

    def evaluate(replaced: dict[str, Any]) -> list[Any]:
        imaginary = any(value.dtype.kind == "c" for value in replaced.values())
        y, final, _ = run(replaced, twin if imaginary else exact)
        return [y, *leaves(final)]

    _, _, tape64 = run({}, exact)

    def tangent(directions: dict[str, Any]) -> list[Any]:
        zeros = backend.xp.zeros_like
        params_dot = {name: directions.get(name, zeros(param)) for name, param in exact.params.items()}
        moved = iter([directions.get(name, zeros(part)) for name, part in zip(names, leaves(state64), strict=True)])
        state_dot = transform(lambda _: next(moved), state64)
        x_dot = directions.get("x", None if x64.dtype.kind in "iu" else zeros(x64))
        y_dot, last_dot = jvp(exact, tape64, params_dot, x_dot, state_dot)
        return [y_dot, *leaves(last_dot)]

    subject = Subject(backend, evaluate=evaluate, tangent=tangent)
    subject.cotangents = _random_like(seed, evaluate({}), backend)

    checked: Layer = layer.to(dtype=dtype)
    checked.load_call_counters(counters)
    _, last, tape = checked.forward(_copy(backend, x, dtype), _copy(backend, state64, dtype), lengths)
    weights = iter([_copy(backend, cotangent, dtype) for cotangent in subject.cotangents])
    dy = next(weights)
    dx, dstate = checked.backward(tape, dy, transform(lambda _: next(weights), last))

    def add(name: str, array: Any, analytic: Any, gates: tuple[str, ...] = (), time_axis: int | None = None) -> None:
        host = backend.to_host(analytic).astype(np.float64)
        subject.parts.append(Part(name, array, host, gates, time_axis))

    for name, param in exact.params.items():
        add(name, param.copy(), checked.grads[name], gates_of(exact, name))
    if dx is not None:
        add("x", x64, dx, time_axis=(1 if layer.batch_first else 0) if x64.ndim > 2 else None)
    for name, array, analytic in zip(names, leaves(state64), leaves(dstate), strict=True):
        add(name, array, analytic)
    return subject


# -- the judgement ---------------------------------------------------------------------------------------------------


def _judge(subject: Subject, method: str, seed: int, tol: float | None) -> Report:
    tol = TOLERANCE[method] if tol is None else number("tol", tol)
    outputs, again = subject.evaluate({}), subject.evaluate({})
    to_host = subject.backend.to_host
    if not all(np.array_equal(to_host(a), to_host(b), equal_nan=True) for a, b in zip(outputs, again, strict=True)):
        subject.trouble = subject.trouble or "non-deterministic"
    size = sum(float(abs(out * w).sum()) for out, w in zip(outputs, subject.cotangents, strict=True))
    roundoff = 0.5 * oracles.EPS * size  # how far rounding alone can move the weighted outputs
    return Report(
        tuple(_row(subject, part, method, seed, tol, roundoff) for part in subject.parts), tol, method, subject.trouble
    )


def _row(subject: Subject, part: Part, method: str, seed: int, tol: float, roundoff: float) -> Row:
    gates, axis = part.gates, part.time_axis
    if part.analytic.shape != part.array.shape:  # compare() says so
        return compare(part.name, part.analytic, np.zeros(part.array.shape), tol)
    if method == "central":
        numeric = oracles.central(subject, part)
        row = compare(part.name, part.analytic, numeric, tol, gates, axis, roundoff / oracles.STEP)
        if row.verdict == "wrong" and _only_kinks(subject, part, numeric, tol, roundoff / oracles.STEP):
            return Row(row.name, row.shape, row.worst, "kink")
        return row
    if method == "rtrl":
        return compare(part.name, part.analytic, oracles.rtrl(subject, part), tol, gates, axis)
    if method == "complex":
        numeric = oracles.complex_step(subject, part)
        lost = numeric.size > 0 and np.isnan(numeric).all() and np.isfinite(part.analytic).all()
        row = compare(part.name, part.analytic, numeric, tol, gates, axis)
        return Row(row.name, row.shape, row.worst, "cannot tell") if lost else row
    if method == "taylor":
        slope = oracles.taylor(subject, part, seed, roundoff)
        finite = np.isfinite(part.analytic).all()
        verdict = "non-finite" if not finite else "cannot tell" if np.isnan(slope) else "ok"
        short = max(0.0, 2.0 - slope)
        if verdict == "ok" and not short <= tol:
            verdict = "wrong"
        return Row(part.name, part.array.shape, Departure(part.name, None, None, (), slope, 2.0, short), verdict)
    along = oracles.directional if method == "directional" else oracles.adjoint
    claimed, numeric = along(subject, part, seed)
    allowed = roundoff / oracles.STEP if method == "directional" else 0.0
    row = compare(part.name, claimed, numeric, tol, roundoff=allowed)
    return Row(part.name, part.array.shape, row.worst, row.verdict)


def _only_kinks(subject: Subject, part: Part, numeric: np.ndarray, tol: float, roundoff: float) -> bool:
    """Whether every entry that departs stands at a kink, with its claimed slope between those of the two sides."""
    scale = max(float(np.abs(numeric).max(initial=0.0)), float(np.abs(part.analytic).max(initial=0.0)))
    allowed = tol * scale + roundoff
    departing = np.flatnonzero(~(np.abs(part.analytic - numeric) <= allowed))
    for index in departing[:KINKS]:
        left, right = oracles.one_sided(subject, part, int(index))
        claimed = float(part.analytic.reshape(-1)[index])
        low, high = min(left, right), max(left, right)
        # where a function is smooth the two slopes differ by the step times its curvature: next to nothing
        if not (high - low > 1e3 * allowed and low - 10.0 * allowed <= claimed <= high + 10.0 * allowed):
            return False
    return departing.size <= KINKS


def _check_method(method: str, known: tuple[str, ...]) -> None:
    if method not in known:
        raise bad_input("method", f"one of {', '.join(map(repr, known))}", describe(method))


def _random_like(seed: int, outputs: Sequence[Any], backend: Backend) -> list[Any]:
    """Random weights for every output, never ones: a sum of plain ones cannot tell one output from another."""
    generator = np.random.default_rng(seed)
    return [backend.asarray(generator.normal(size=output.shape), dtype=np.float64) for output in outputs]


def _copy(backend: Backend, value: Any, dtype: str) -> Any:
    """A contiguous copy of an array or a nest of arrays, floats in the dtype asked for."""

    def one(array: Any) -> Any:
        host = backend.to_host(array) if backend.is_array(array) else np.asarray(array)
        return host if host.dtype.kind in "iu" else backend.asarray(np.ascontiguousarray(host), dtype=dtype)

    return transform(one, value)


def _kind(value: Any) -> str:
    return getattr(getattr(value, "dtype", None), "kind", "")
