"""Gradient checks of objects that hold their own cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.checking.options import FOR_ALL, Options, read_options
from engine.checking.report.report import Report
from engine.checking.reporting import report_on
from engine.checking.subjects import complex_inputs, wide_inputs
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
    layer : object
        It has ``forward`` (or ``__call__``, ``fwd``, ...) and ``backward`` (or ``backprop``, ...).  Or a model that
        computes loss and gradients in one method ``loss(x, y)``, which returns ``(loss, gradients)``, or only the loss
        if the model stores the gradients; or that method: ``check_object(model.loss, (x, y))``.
    x : array or tuple
        The argument of forward; several in a tuple.
    params : {"auto"} or sequence of str
        ``"auto"`` finds parameters that have a gradient: in dicts or lists (``params`` and ``grads``, ...), as
        attributes (``W`` and ``dW``, ``weight`` and ``grad_weight``), as objects with ``data`` and ``grad``, in layers
        inside, or by what backward returns beside the gradient of x.  Otherwise a list of names; an empty list checks
        only x.
    grads : {"auto"} or sequence of str
        ``"auto"``, or the names of the gradients in the order of params.
    method : {"central", "complex", "directional", "taylor"}
        The second opinion; ``"complex"`` is for functions that take complex arrays.
    seed : int
        Of the random weighting and directions.
    tol : float or None
        Largest error that passes, as for `gradcheck`; for float32 arrays it is 1e-4.
    entries : int or None
        Check at most so many entries of each tensor; None checks all.
    time_axis : int or None
        Which axis counts time in arrays of three or more axes, for reports that name a time step.
    names : sequence of str or None
        Of the arguments of forward; None takes those of its parameters.
    gates : sequence of str or None
        The names of gate blocks, such as ``"ifgo"``.  Without names the blocks of a recurrent function are guessed from
        their shapes, and numbered.
    gate_axis : int or None
        The axis along which the gate blocks lie side by side in the weights.
    check : sequence of str or int, or None
        Names or numbers of the inputs to check; None is all.
    fixed : mapping of str to array, or None
        By name of an input a mask that is true where an entry has no gradient, such as the row of a padding token.
    allow : sequence of str
        ``("mutation",)`` passes functions that write into their arguments; the report notes it.
    seconds : float or None
        A time limit, as for `gradcheck`.
    progress : callable, bool or None
        Who is told how far the check has come, as for `gradcheck`.
    atol : float
        An absolute error that also passes; you do not need it.

    Returns
    -------
    Report
        Its tensors have the names of forward's arguments and of the object's attributes.

    Raises
    ------
    InputError, InputTypeError
        For arguments that are not as described, and if the object has no backward or no such parameter.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> class Dense:
    ...     def __init__(self):
    ...         self.W = np.array([[0.7, 0.1, -0.8], [-0.4, 0.9, 0.2]])
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x @ self.W
    ...     def backward(self, dout):
    ...         self.dW = self.x.T @ dout
    ...         return dout @ self.W.T
    >>> report = engine.check_object(Dense(), np.array([[0.3, -1.2]]))
    >>> report.verdict, [row.name for row in report.rows]
    ('ok', ['x', 'W'])
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
    inputs: Sequence[Any] = [*functions.given, *functions.values()]
    backward = functions.pull if with_dout else lambda held: functions.pull(None, held)
    forward: Callable[..., Any] = functions.run
    notes = [_in_words(functions), *functions.notes]
    if complex_inputs.is_complex(inputs) or complex_inputs.gives_complex(forward, inputs):
        complex_inputs.refuse_complex_step(options.method)
        forward, backward, inputs = complex_inputs.as_real(forward, backward, inputs, shape.names)
        shape = dataclasses.replace(shape, convention=None)
        notes.append(complex_inputs.NOTE)
    else:
        forward, backward, inputs, shape = wide_inputs.in_both_precisions(forward, backward, inputs, shape)
    subject = FunctionSubject(forward, backward, inputs, options.seed, shape)
    subject.notes[:0] = notes
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
