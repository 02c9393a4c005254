"""Gradient checks of objects that keep their cache in themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.checking.check import FORWARD_MODE, TOLERANCE, judge, time_axis_of, tolerance_of
from engine.checking.report.report import Report
from engine.checking.subjects.functions import FunctionSubject, Shape
from engine.checking.subjects.shapes.arguments import Convention
from engine.checking.subjects.shapes.loss_methods import MODEL, LossMethod
from engine.checking.subjects.shapes.object_search import read_object
from engine.checking.subjects.shapes.objects import STEP, Reading
from engine.checking.subjects.shapes.options import allowed, gate_names, input_names
from engine.checking.subjects.shapes.places import in_words
from engine.checking.verdicts.budget import Clock
from engine.checks import integer, number, one_of


@np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")  # a trial may leave a function's domain
def check_object(
    layer: Any,
    x: Any,
    params: Any = "auto",
    grads: Any = "auto",
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    *,
    entries: int | None = None,
    time_axis: int | None = None,
    names: Sequence[str] | None = None,
    gates: Sequence[str] | None = None,
    gate_axis: int | None = None,
    check: Sequence[str | int] | None = None,
    fixed: Mapping[str, Any] | None = None,
    allow: Sequence[str] = (),
    seconds: float | None = None,
    progress: Any = None,
    atol: float = 0.0,
) -> Report:
    """Check an object that keeps what backward needs in itself: ``forward(x)``, then ``backward(dout)``.

    Every pass is made by a fresh copy, so the object is left alone, random generators that it holds draw the same
    numbers every time, and running averages start from the same values.  The report notes what was taken for what.

    Parameters
    ----------
    layer : an object with ``forward`` (or ``__call__``, ``fwd``, ...) and ``backward`` (or ``backprop``, ...).  Or a
        model that works out loss and gradients in one method ``loss(x, y)``, which returns ``(loss, gradients)``, or
        the loss where it leaves the gradients in itself; or that method: ``check_object(model.loss, (x, y))``.
    x : the argument of forward; several in a tuple.
    params : ``"auto"`` finds parameters that have a gradient: in dicts or lists (``params`` and ``grads``, ...), as
        attributes (``W`` and ``dW``, ``weight`` and ``grad_weight``), as objects with ``data`` and ``grad``, in layers
        inside, or by what backward returns beside the gradient of x.  Else a list of names; an empty one checks x
        alone.
    grads : ``"auto"``, or the names of the gradients in the order of params.
    names : of the arguments of forward; None takes those of its parameters.
    method, seed, tol, entries, time_axis, gates, gate_axis, check, fixed, allow : as for `check_gradients`.
    seconds, progress, atol : likewise.

    Returns
    -------
    Report
        its tensors are called as the arguments of forward and the attributes of the object are.

    Raises
    ------
    InputError, InputTypeError
        for arguments that are not as described, and for an object of which no backward or no such parameter is found.
    """
    clock = Clock(seconds, progress)
    one_of("method", method, [name for name in TOLERANCE if name not in FORWARD_MODE])
    seed = integer("seed", seed, 0)
    entries = None if entries is None else integer("entries", entries, 1)
    reading = read_object(layer, x, params, grads)
    reading.names = input_names(names, reading.names)
    with_dout = bool({"dout", "douts"} & set(reading.handed))
    shape = Shape(
        [*reading.names, *_apart(reading)],
        time_axis_of(time_axis),
        gate_names(gates),
        None if gate_axis is None else integer("gate_axis", gate_axis, -2),
        check,
        fixed,
        Convention() if with_dout else Convention(("cache",)),
    )
    inputs = [*reading.given, *reading.values()]
    backward = reading.pull if with_dout else lambda held: reading.pull(None, held)
    subject = FunctionSubject(reading.run, backward, inputs, seed, shape)
    subject.atol = number("atol", atol)
    subject.notes[:0] = [_in_words(reading), *reading.notes]
    return judge(subject, method, seed, tolerance_of(method, tol, subject.narrow), entries, allowed(allow), clock)


def _apart(reading: Reading) -> list[str]:
    """The names of the parameters, told from those of forward's arguments."""
    return [f"self.{one.name}" if one.name in reading.names else one.name for one in reading.parameters]


def _in_words(reading: Reading) -> str:
    """What was taken for what."""
    pairs = []
    for one in reading.parameters:
        where = reading.returned.get(one.name)
        if where is None:
            pairs.append(f"{one.name} <- {'none' if one.grad is None else in_words(one.grad, frozenset({MODEL}))}")
        elif where == STEP:
            pairs.append(f"{one.name} <- the step that {reading.backward} takes")
        else:
            pairs.append(f"{one.name} <- returned{f'[{where}]' if isinstance(where, int) else f' {where}'}")
    call = f"{type(reading.layer).__name__}.{reading.forward}, .{reading.backward}"
    if isinstance(reading.layer, LossMethod):
        method = reading.layer.method
        call = f"{type(method.__self__).__name__}.{method.__name__} for the loss and its gradients"  # type: ignore[attr-defined]
    return f"took {call}; gradients {', '.join(pairs)}" if pairs else f"took {call}; no parameters were found"
