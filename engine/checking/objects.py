"""Gradient checks of objects that hold their own cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.checking.options import FOR_ALL, Options, read_options
from engine.checking.report.report import Report
from engine.checking.reporting import report_on
from engine.checking.subjects.functions import FunctionSubject
from engine.checking.subjects.shapes.arguments import Convention
from engine.checking.subjects.shapes.function_options import Shape, input_names, read_shape
from engine.checking.subjects.shapes.loss_methods import MODEL, LossMethod
from engine.checking.subjects.shapes.object_as_functions import STEP, ObjectAsFunctions
from engine.checking.subjects.shapes.object_search import read_object
from engine.checking.subjects.shapes.places import in_words
from engine.checking.verdicts.budget import Clock


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

    Every pass uses a fresh copy.  So the object itself does not change, its random generators draw the same numbers
    every time, and running averages start from the same values.  The report notes which names were found.

    Parameters
    ----------
    layer : an object with ``forward`` (or ``__call__``, ``fwd``, ...) and ``backward`` (or ``backprop``, ...).  Or a
        model that computes loss and gradients in one method ``loss(x, y)``, which returns ``(loss, gradients)``, or
        only the loss if the model stores the gradients; or that method: ``check_object(model.loss, (x, y))``.
    x : the argument of forward; several in a tuple.
    params : ``"auto"`` finds parameters that have a gradient: in dicts or lists (``params`` and ``grads``, ...), as
        attributes (``W`` and ``dW``, ``weight`` and ``grad_weight``), as objects with ``data`` and ``grad``, in layers
        inside, or by what backward returns beside the gradient of x.  Otherwise a list of names; an empty list checks
        only x.
    grads : ``"auto"``, or the names of the gradients in the order of params.
    names : of the arguments of forward; None takes those of its parameters.
    method, seed and all others : as for `check_gradients`.

    Returns
    -------
    Report
        its tensors have the names of forward's arguments and of the object's attributes.

    Raises
    ------
    InputError, InputTypeError
        for arguments that are not as described, and if the object has no backward or no such parameter.
    """
    options = read_options(FOR_ALL, method, seed, tol, entries, atol, Clock(seconds, progress), allow)
    shape = read_shape(time_axis, gates, gate_axis, check, fixed)
    return report_on(_subject(read_object(layer, x, params, grads), names, shape, options), options)


def _subject(functions: ObjectAsFunctions, names: Any, shape: Shape, options: Options) -> FunctionSubject:
    """The object as a pair of functions of forward's arguments and of the parameters."""
    functions.names = input_names(names, functions.names)
    with_dout = bool({"dout", "douts"} & set(functions.handed))
    convention = Convention() if with_dout else Convention(("cache",))
    shape = dataclasses.replace(shape, names=[*functions.names, *_apart(functions)], convention=convention)
    inputs = [*functions.given, *functions.values()]
    backward = functions.pull if with_dout else lambda held: functions.pull(None, held)
    subject = FunctionSubject(functions.run, backward, inputs, options.seed, shape)
    subject.notes[:0] = [_in_words(functions), *functions.notes]
    return subject


def _apart(functions: ObjectAsFunctions) -> list[str]:
    """The names of the parameters, told from those of forward's arguments."""
    return [f"self.{one.name}" if one.name in functions.names else one.name for one in functions.parameters]


def _in_words(functions: ObjectAsFunctions) -> str:
    """What was taken for what."""
    pairs = []
    for one in functions.parameters:
        where = functions.returned.get(one.name)
        if where is None:
            pairs.append(f"{one.name} <- {'none' if one.grad is None else in_words(one.grad, frozenset({MODEL}))}")
        elif where == STEP:
            pairs.append(f"{one.name} <- the step that {functions.backward} takes")
        else:
            pairs.append(f"{one.name} <- returned{f'[{where}]' if isinstance(where, int) else f' {where}'}")
    call = f"{type(functions.layer).__name__}.{functions.forward}, .{functions.backward}"
    if isinstance(functions.layer, LossMethod):
        method = functions.layer.method
        call = f"{type(method.__self__).__name__}.{method.__name__} for the loss and its gradients"  # type: ignore[attr-defined]
    return f"took {call}; gradients {', '.join(pairs)}" if pairs else f"took {call}; no parameters were found"
