"""Gradient checks of layers and of anyone's own pair of functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from engine.backend import FLOATS, check_dtype
from engine.checking.diagnosis import wording
from engine.checking.diagnosis.causes import diagnose
from engine.checking.oracles import methods
from engine.checking.oracles.sampling import choose
from engine.checking.report.report import Report
from engine.checking.report.rows import row, unread
from engine.checking.subjects import complex_inputs, cotangent_forms
from engine.checking.subjects.functions import FunctionSubject, Shape
from engine.checking.subjects.layers import LayerSubject
from engine.checking.subjects.shapes.arguments import argument_names, as_arguments, with_cache
from engine.checking.subjects.shapes.options import allowed, gate_names, input_names
from engine.checking.subjects.subject import Subject
from engine.checking.subjects.trees import dtype_of, kind, named_leaves
from engine.checking.subjects.truncated import TruncatedSubject
from engine.checking.verdicts import judging, linearity
from engine.checking.verdicts.budget import Clock
from engine.checking.verdicts.closeness import same
from engine.checking.verdicts.finding import Finding
from engine.checking.verdicts.locating import entries_of
from engine.checking.verdicts.looking import ENTRYWISE, coverage, look_at_all
from engine.checks import describe, integer, number, one_of, switch
from engine.errors import bad_input, bad_type
from engine.plain_arrays import dtype_in_words, refuse_own_rules, refuse_unreadable

#: The largest error that passes, by method: what is exact to round-off is held to more than what is not.
TOLERANCE = {"central": 1e-6, "directional": 1e-6, "complex": 1e-10, "adjoint": 1e-10, "rtrl": 1e-10, "taylor": 0.4}
#: Methods that need forward-mode derivatives, which the engine has for its own layers.
FORWARD_MODE = ("adjoint", "rtrl")
#: A diagnosis looks at every entry; beyond so many at some of them.
DIAGNOSED = 6000


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
    tried, together and in parts.  Dropout is on, with the call counter frozen, so that every evaluation draws the same
    masks.

    Parameters
    ----------
    layer : a layer of the engine, or any object with ``forward(x, state, lengths) -> (y, state, tape)``,
        ``backward(tape, dy, dstate) -> (dx, dstate)``, and the dicts ``params`` and ``grads``; it is copied and left
        alone.
    x, state, lengths : arguments for its forward pass; floats of either precision, integer ids for an Embedding.
    method : entry by entry ``"central"`` (differences), ``"complex"`` (complex step, exact to round-off) or ``"rtrl"``
        (forward accumulation, small nets); along random directions, at any size, ``"directional"`` (differences),
        ``"adjoint"`` (against forward mode, exact to round-off) or ``"taylor"`` (order of the remainder).
    seed : of the random weighting and directions.
    tol : largest error, relative to the largest value of each time step or gate block; None takes that of the method,
        or 1e-4 for float32.  What rounding can do is computed and allowed on top.
    dtype : ``"float64"`` checks a float64 copy; ``"float32"`` runs backward in float32 and the other side in float64.
    entries : look at so many entries of each tensor at most, spread over gate blocks and time steps; None looks at
        all.
    truncation : (k1, k2) checks `engine.truncated_bptt` in place of ``layer.backward``.
    seconds : look along random directions first, then at as many entries as there is time for, those in doubt before
        the others; the report says what was covered.
    progress : a function that is called with an `engine.checking.Progress` now and then; True for a line on stderr,
        False for none, None for one where stderr is a terminal.
    atol : an error that passes on top, whatever the size of a gradient.  None is needed: a vanished gradient that is
        wrong passes too.

    Returns
    -------
    Report
        ``.passed``, ``.verdict``, ``.worst``, ``.diagnosis``; ``print(report)`` shows a table, ``.plot()`` a picture.

    Raises
    ------
    InputError, InputTypeError
        for arguments that are not as described.
    """
    dtype, seed = check_dtype(dtype).name, integer("seed", seed, 0)
    one_of("method", method, TOLERANCE)
    clock = Clock(seconds, progress)
    entries = None if entries is None else integer("entries", entries, 1)
    for name, array in [*named_leaves(x, "x"), *named_leaves(state, "state")]:
        _require_numbers(name, array)
    subject: Subject
    if truncation is not None:
        if lengths is not None:
            raise bad_input("lengths", "None with truncation", describe(lengths), "truncated BPTT takes full rows")
        subject = TruncatedSubject(layer, x, state, seed, dtype, *_windows(truncation))
    else:
        subject = LayerSubject(layer, x, state, lengths, seed, dtype)
    if method in FORWARD_MODE and not subject.has_tangent:
        known = ", ".join(repr(name) for name in TOLERANCE if name not in FORWARD_MODE)
        raise bad_input(
            "method", f"one of {known}", repr(method), "forward mode is known for the engine's layers alone"
        )
    subject.atol = number("atol", atol)
    try:
        return judge(subject, method, seed, tolerance_of(method, tol, subject.narrow), entries, clock=clock)
    finally:
        subject.put_back()


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
    forward : ``forward(*inputs) -> (out, cache)``; out is an array or a nest of arrays in tuples, lists and dicts.
        ``(out1, out2, cache)`` will do for a backward that takes a gradient for each, and out alone where there is no
        cache.  Arrays of whole numbers in out have no gradient: backward is handed None in their place.
    backward : ``backward(dout, cache) -> gradients``, one for each input, in order and in its structure, or by name in
        a dict or as attributes (``dx``, ``x``, ``grad_x``, ``x_grad``, ...).  None stands for zeros.  Where out is one
        number, a loss, ``backward(cache)`` and ``backward()`` will do.
    inputs : float arrays and floats, or nests of them; whole numbers are passed on and not checked.  The functions get
        copies.  A dict holds arguments by name.  The gradient by a complex array a + ib is dL/da + i dL/db, and a dout
        that is complex is the same of an output, as in PyTorch.
    method : ``"central"``, ``"complex"`` (for functions that take complex arrays), ``"directional"`` or ``"taylor"``.
    seed, tol, entries, seconds, progress, atol : as for `gradcheck`; for float32 arrays the tolerance is 1e-4.
    time_axis : which axis counts time in arrays of three or more axes, for reports that name a time step.
    names : of the inputs; None takes those of forward's parameters.
    gates, gate_axis : the names of gate blocks, such as ``"ifgo"``, and the axis along which they lie side by side in
        the weights; without names the blocks of a recurrent function are told by their shapes, and called by place.
    check : names or numbers of the inputs to check; None is all.
    fixed : by name of an input a mask that is true where an entry has no gradient, such as the row of a padding token.
    allow : ``("mutation",)`` passes functions that write into their arguments; the report notes it.
    batched : whether backward is to take a stack of cotangents, with an axis in front, and to stack the gradients.
    undefined : whether backward is to take None for one of several cotangents, as zeros.

    Returns
    -------
    Report
        its tensors are called as forward's parameters are, ``x``, ``params.w``, ``states[0]``, or ``input 0``, ...
        where those have no names.

    Raises
    ------
    InputError, InputTypeError
        for arguments, or results of the functions, that are not as described.
    """
    clock = Clock(seconds, progress)
    if not isinstance(method, str):
        hint = "all arguments of forward stand in one list: [x, w, b]"
        raise bad_type("method", "a name, such as 'central'", describe(method), hint)
    one_of("method", method, [name for name in TOLERANCE if name not in FORWARD_MODE])
    seed = integer("seed", seed, 0)
    entries = None if entries is None else integer("entries", entries, 1)
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function) or isinstance(function, type):
            got = f"the class {function.__name__}" if isinstance(function, type) else describe(function)
            raise bad_type(name, "a function", got)
    forward, inputs, own = as_arguments(forward, inputs)
    own = own or argument_names(forward, len(inputs))
    called = input_names(names, own)
    forward, backward = with_cache(forward, backward, inputs, own)
    complex_ones = complex_inputs.is_complex(inputs) or complex_inputs.gives_complex(forward, inputs)
    if complex_ones:
        if method == "complex":
            raise bad_input("method", "another than 'complex' for complex arrays", "'complex'", "take 'central'")
        forward, backward, inputs = complex_inputs.as_real(forward, backward, inputs, called)
    shape = Shape(
        called,
        time_axis_of(time_axis),
        gate_names(gates),
        None if gate_axis is None else integer("gate_axis", gate_axis, -2),
        check,
        fixed,
    )
    subject = FunctionSubject(forward, backward, inputs, seed, shape)
    subject.atol = number("atol", atol)
    if complex_ones:
        subject.notes.append(complex_inputs.NOTE)
    if switch("batched", batched):
        cotangent_forms.check_batched(subject)
    if switch("undefined", undefined):
        cotangent_forms.check_undefined(subject)
    return judge(subject, method, seed, tolerance_of(method, tol, subject.narrow), entries, allowed(allow), clock)


def time_axis_of(axis: Any) -> int | None:
    """The axis that counts time, made sure of."""
    if axis is not None and integer("time_axis", axis, 0) > 2:
        raise bad_input("time_axis", "0, 1 or 2", describe(axis))
    return axis


@np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")  # probes may leave a function's domain
def judge(
    subject: Subject,
    method: str,
    seed: int,
    tol: float,
    entries: int | None = None,
    allow: Collection[str] = (),
    clock: Clock | None = None,
) -> Report:
    """Compare a subject's claims with a second opinion."""
    clock = clock or Clock(progress=False)
    _evaluate_twice(subject)
    findings = []
    if not subject.trouble:
        noise = judging.noise_of(subject, seed)
        linearity.check_linearity(subject, noise)
        reach = methods.complex_reach(subject, seed) if method == "complex" else ""
        findings = look_at_all(subject, method, seed, tol, noise, entries, clock)
        for finding in findings:
            if reach and finding.verdict != "non-finite":
                finding.verdict, subject.causes[""] = "cannot tell", reach
        _evaluate_twice(subject)  # a state that leaks from one evaluation into the next shows by now
    for finding in findings:
        if finding.part.name in subject.causes:
            finding.verdict = "wrong"
    if findings and not subject.trouble and not subject.mutated and linearity.spoils_cache(subject, noise):
        subject.mutated = linearity.SPOILS
    diagnosis, detailed = None, findings
    if not subject.trouble and any(finding.verdict == "wrong" for finding in findings):
        if method not in ENTRYWISE and clock.seconds is None:
            detailed = _closer(subject, findings, min(tol, 1e-6), noise, seed)
        diagnosis = diagnose(subject, detailed if any(f.departs.any() for f in detailed) else findings)
    names = [group.name for group in subject.groups]
    seen = names.index(diagnosis.seen_in) if diagnosis is not None and diagnosis.seen_in in names else None
    alone = sum(finding.verdict == "wrong" for finding in findings) == 1
    rows = tuple(
        wording.worded(row(finding, seen), finding, detail, subject, alone)
        for finding, detail in zip(findings, detailed, strict=True)
    ) or unread(subject)
    if diagnosis is not None:
        diagnosis = wording.with_pattern(diagnosis, detailed, subject, rows)
    trouble, cause, notes = subject.trouble, subject.causes.get("", ""), list(subject.notes)
    if subject.mutated and not trouble:
        if "mutation" in allow or any(finding.verdict == "wrong" for finding in findings):
            notes.insert(0, subject.mutated)
        else:
            trouble, cause = "input mutated", subject.mutated
    covered = coverage(findings)
    if covered:
        notes.append(f"covered {covered}")
    return Report(rows, tol, method, trouble, diagnosis, cause, tuple(subject.warnings), tuple(notes))


def _closer(
    subject: Subject, findings: list[Finding], tol: float, noise: dict[str, np.ndarray], seed: int
) -> list[Finding]:
    """What was found along directions, entry by entry: every one, or those of a large tensor that tell most."""
    closer = "complex" if subject.can_copy else "central"
    if sum(part.size for part in subject.parts) > DIAGNOSED:
        return entries_of(subject, findings, tol, noise, closer, seed)
    return [
        judging.entrywise(subject, part, closer, tol, noise[part.name], choose(part, None, seed))
        for part in subject.parts
    ]


def _evaluate_twice(subject: Subject) -> None:
    again = subject.evaluate({})
    to_host = subject.backend.to_host
    pairs = list(zip(subject.outputs, again, strict=False))
    if len(again) != len(subject.outputs) or not all(same(to_host(a), to_host(b)) for a, b in pairs):
        if not subject.trouble:
            subject.trouble = "non-deterministic"
            subject.causes[""] = "two evaluations of forward at the same place differ"


def tolerance_of(method: str, tol: float | None, narrow: bool) -> float:
    """The largest error that passes."""
    if tol is not None:
        return number("tol", tol)
    return max(TOLERANCE[method], judging.FLOAT32_TOLERANCE) if narrow else TOLERANCE[method]


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
