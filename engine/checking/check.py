"""Gradient checks of layers and of users' own pairs of functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.backend import FLOATS, check_dtype
from engine.checking.options import FOR_ALL, FORWARD_MODE, TOLERANCE, Options, read_options
from engine.checking.report.report import Report
from engine.checking.reporting import report_on
from engine.checking.subjects import complex_inputs, cotangent_forms, wide_inputs
from engine.checking.subjects.functions import FunctionSubject
from engine.checking.subjects.layers import LayerSubject
from engine.checking.subjects.shapes.arguments import argument_names, as_arguments
from engine.checking.subjects.shapes.function_options import Shape, input_names, read_shape
from engine.checking.subjects.shapes.pairing import with_cache
from engine.checking.subjects.trees import dtype_of, kind, named_leaves
from engine.checking.subjects.truncated import TruncatedSubject
from engine.checking.verdicts.budget import Clock
from engine.checks import describe, integer
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, refuse_own_rules, refuse_unreadable


def gradcheck(
    layer: Any,
    x: Any,
    state: Any = None,
    lengths: Any = None,
    method: str = "central",
    seed: int = 0,
    tol: float | None = None,
    dtype: Any = "float64",
    *,
    entries: int | None = None,
    truncation: tuple[int, int] | None = None,
    seconds: float | None = None,
    progress: Any = None,
    atol: float = 0.0,
) -> Report:
    """Check every gradient of a layer: parameters, input, initial state.

    The loss is a random weighting of the output and of the final state, so that both gradients that backward takes are
    tested, together and in parts.  Dropout is on, with the call counter frozen, so that every evaluation draws the same
    masks.  docs/gradient_checking.md explains the methods and the report.

    Parameters
    ----------
    layer : Layer
        A layer of the engine, or any object with ``forward(x, state, lengths) -> (y, state, tape)``, ``backward(tape,
        dy, dstate) -> (dx, dstate)``, and the dicts ``params`` and ``grads``; the check works on copies of it.
    x : array
        Argument of its forward pass; floats of either precision, ids for an Embedding.
    state : array, tuple of array or None
        Argument of its forward pass.
    lengths : sequence of int or None
        Argument of its forward pass.
    method : {"central", "complex", "rtrl", "directional", "adjoint", "taylor"}
        Entry by entry ``"central"`` (differences), ``"complex"`` (complex step, exact to round-off) or ``"rtrl"``
        (forward accumulation, small nets); along random directions, at any size, ``"directional"`` (differences),
        ``"adjoint"`` (against forward mode, exact to round-off) or ``"taylor"`` (order of the remainder).
    seed : int
        Of the random weighting and directions.
    tol : float or None
        Largest error, relative to the largest value of each time step or gate block; None takes that of the method, or
        1e-4 for float32.  The possible effect of rounding is computed and allowed on top.
    dtype : str or dtype
        ``"float64"`` checks a float64 copy; ``"float32"`` runs backward in float32 and the other side in float64.
        A layer with ``precision="bf16"`` is checked in float64, where nothing is rounded.
    entries : int or None
        Check at most so many entries of each tensor, spread over gate blocks and time steps; None checks all.
    truncation : tuple of int or None
        The pair (k1, k2) checks `engine.truncated_bptt` in place of ``layer.backward``.
    seconds : float or None
        A time limit.  Random directions are checked first, then as many entries as the time allows, doubtful ones
        before the others; the report says what was covered.
    progress : callable, bool or None
        A function that is called with an `engine.checking.Progress` now and then; True for a line on stderr, False for
        none, None for one if stderr is a terminal.
    atol : float
        An absolute error that also passes, whatever the size of a gradient.  You do not need it, and with it a wrong
        gradient that has vanished passes too.

    Returns
    -------
    Report
        ``.passed``, ``.verdict``, ``.worst``, ``.diagnosis``; ``print(report)`` shows a table, ``.plot()`` a picture.

    Raises
    ------
    InputError, InputTypeError
        For arguments that are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> x = np.random.default_rng(0).normal(size=(5, 3, 2))
    >>> report = engine.gradcheck(engine.GRU(2, 4), x, lengths=[5, 0, 3], method="adjoint")
    >>> report.verdict, len(report.rows)
    ('ok', 6)
    """
    options = read_options(TOLERANCE, method, seed, tol, entries, atol, Clock(seconds, progress))
    subject = _layer(layer, x, state, lengths, truncation, check_dtype(dtype).name, options)
    return report_on(subject, options)


def check_gradients(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
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
    batched: bool = False,
    undefined: bool = False,
) -> Report:
    """Check a hand-written pair of functions.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs) -> (out, cache)``; out is an array or a nest of arrays in tuples, lists and dicts.
        ``(out1, out2, cache)`` will do where backward takes a gradient for each, and out alone where there is no cache.
        Arrays of whole numbers in out have no gradient: backward is handed None in their place.
    backward : callable
        ``backward(dout, cache) -> gradients``, one for each input, in order and in its structure, or by name in a dict
        or as attributes (``dx``, ``x``, ``grad_x``, ``x_grad``, ...).  None means zeros.  If out is one number, a loss,
        ``backward(cache)`` and ``backward()`` are enough.
    inputs : sequence or mapping
        Float arrays and floats, or nests of them; whole numbers are passed on and not checked.  The functions get
        copies.  A dict holds arguments by name.  The gradient with respect to a complex array a + ib is dL/da + i
        dL/db, as in PyTorch; a complex dout is the same for an output.
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
        Of the inputs, for the report; None takes those of forward's parameters, else ``input 0``, ...
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
    batched : bool
        Whether backward must take a stack of cotangents, with an axis in front, and return stacked gradients.
    undefined : bool
        Whether backward must take None for one of several cotangents, as zeros.

    Returns
    -------
    Report
        ``.passed``, ``.verdict``, ``.worst``, ``.diagnosis``; ``print(report)`` shows a table, ``.plot()`` a picture.

    Raises
    ------
    InputError, InputTypeError
        For arguments, or results of the functions, that are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> def forward(x, w):
    ...     return np.tanh(x @ w), (x, w)
    >>> def backward(dout, cache):
    ...     x, w = cache
    ...     da = dout * (1 - np.tanh(x @ w) ** 2)
    ...     return da @ w.T, x.T @ da
    >>> x, w = np.array([[0.3, -1.2]]), np.array([[0.7, 0.1, -0.8], [-0.4, 0.9, 0.2]])
    >>> engine.check_gradients(forward, backward, [x, w]).verdict
    'ok'
    """
    _require_pair(forward, backward, method)
    options = read_options(FOR_ALL, method, seed, tol, entries, atol, Clock(seconds, progress), allow)
    shape = read_shape(time_axis, gates, gate_axis, check, fixed)
    subject = _functions(forward, backward, inputs, names, shape, options)
    cotangent_forms.check_forms(subject, batched, undefined)
    return report_on(subject, options)


# -- subjects from arguments -------------------------------------------------------------------------------------------


def _layer(layer: Any, x: Any, state: Any, lengths: Any, truncation: Any, dtype: str, options: Options) -> LayerSubject:
    """The layer with its arguments, made sure of."""
    for name, array in [*named_leaves(x, "x"), *named_leaves(state, "state")]:
        _require_numbers(name, array)
    if truncation is not None:
        if lengths is not None:
            raise bad_input("lengths", "None with truncation", describe(lengths), "truncated BPTT takes full rows")
        subject: LayerSubject = TruncatedSubject(layer, x, state, options.seed, dtype, *_windows(truncation))
    else:
        subject = LayerSubject(layer, x, state, lengths, options.seed, dtype)
    if options.method in FORWARD_MODE and not subject.has_tangent:
        known = ", ".join(map(repr, FOR_ALL))
        hint = "forward mode is known for the engine's layers alone"
        raise bad_input("method", f"one of {known}", repr(options.method), hint)
    return subject


def _require_numbers(name: str, array: Any) -> None:
    """Raise unless it is a plain array of floats in one of the engine's precisions, or of integers."""
    refuse_own_rules(name, array)
    refuse_unreadable(name, array)
    of_floats = kind(array) == "f" and dtype_of(array) in FLOATS
    if not of_floats and kind(array) not in ("i", "u"):
        got = describe(array) + (f" of {dtype_in_words(array.dtype)}" if kind(array) else "")
        raise bad_type(name, "an array of float32, float64 or integers", got)


def _windows(truncation: Any) -> tuple[int, int]:
    if not isinstance(truncation, (tuple, list)) or len(truncation) != 2:
        raise bad_type("truncation", "a pair (k1, k2)", describe(truncation))
    k1, k2 = integer("k1", truncation[0], 1), integer("k2", truncation[1], 1)
    if k2 < k1:
        raise bad_input("k2", f"at least k1 = {k1}", str(k2), "fewer would leave the first losses of a chunk uncounted")
    return k1, k2


def _require_pair(forward: Any, backward: Any, method: Any) -> None:
    """Raise unless both are functions, and the method is not an argument of forward that fell out of the list."""
    if not isinstance(method, str):
        hint = "all arguments of forward stand in one list: [x, w, b]"
        raise bad_type("method", "a name, such as 'central'", describe(method), hint)
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function) or isinstance(function, type):
            got = f"the class {function.__name__}" if isinstance(function, type) else describe(function)
            raise bad_type(name, "a function", got)


def _functions(forward: Any, backward: Any, inputs: Any, names: Any, shape: Shape, options: Options) -> FunctionSubject:
    """The pair with its inputs by name; complex ones are taken apart into real ones."""
    forward, inputs, own = as_arguments(forward, inputs)
    own = own or argument_names(forward, len(inputs))
    shape = dataclasses.replace(shape, names=input_names(names, own))
    forward, backward, note = with_cache(forward, backward, inputs, own)
    is_complex = complex_inputs.is_complex(inputs) or complex_inputs.gives_complex(forward, inputs)
    if is_complex:
        complex_inputs.refuse_complex_step(options.method)
        forward, backward, inputs = complex_inputs.as_real(forward, backward, inputs, shape.names)
    else:
        forward, backward, inputs, shape = wide_inputs.in_both_precisions(forward, backward, inputs, shape)
    subject = FunctionSubject(forward, backward, inputs, options.seed, shape)
    subject.notes += [complex_inputs.NOTE] * is_complex + [note] * bool(note)
    return subject
