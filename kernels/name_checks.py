"""What must hold between the names of a cell's gate functions; each failure is one sentence with the line."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterable, Sequence

from kernels.equations import LIBRARY, Equation, body, error
from kernels.phases import Phase


def check_phase(cell: str, phase: Phase, forward: Equation) -> None:
    """The arguments of a `Phase`, and the names that its forward function returns."""
    if not (phase.source is None or isinstance(phase.source, str)):
        words = f"source: expected 'h_prev', the name of a value of a phase before, or None, got {phase.source!r}"
        raise error(cell, words, forward)
    if phase.source not in (None, "h_prev") and not phase.gates and not phase.between:
        words = f"a phase without gates multiplies nothing, so it has no source; got {phase.source!r}"
        raise error(cell, words, forward)
    if phase.between and not all(map(callable, phase.between[:2])):
        raise error(cell, f"between: expected two functions, got {tuple(phase.between[:2])!r}", forward)
    for name in forward.results:
        taken = name in LIBRARY or name.endswith("_prev") or name.startswith(("p_", "k_", "between_")) or "__" in name
        if taken or any(name == f"{kind}_{gate}" for gate in phase.gates for kind in "axh"):
            words = f"forward cannot return {name!r}: that name says where an argument lies; choose another"
            raise error(cell, words, forward, forward.last_line)


def check_gate(cell: str, name: str, others: Collection[str], forward: Equation) -> None:
    """The name of a gate, which forward must return."""
    if not (isinstance(name, str) and name.isidentifier()) or name in LIBRARY or name == "prev" or "__" in name:
        raise error(cell, f"a gate cannot be called {name!r}", forward)
    if name in others:
        raise error(cell, f"two gates are called {name!r}", forward)
    if name not in forward.results:
        words = f"gate {name!r} is not returned; got {', '.join(forward.results)}"
        raise error(cell, words, forward, forward.last_line)


def check_narrow(cell: str, phase: Phase, forward: Equation, after: bool) -> None:
    """A phase that works on the P units of the hidden state of a cell with a projection."""
    allowed = [name for name in forward.arguments if name in LIBRARY or name.startswith("k_") or name == "h_prev"]
    allowed += ["h"] if after else []
    wrong = [name for name in forward.arguments if name not in allowed]
    if phase.gates or phase.between or wrong or (after and forward.results != ("h",)):
        words = "the projection makes h, which has units of its own: a phase that asks for h_prev, or follows the"
        words += " projection, can have no gates and ask for h_prev alone" + (", and h, and return h" if after else "")
        raise error(cell, words, forward, forward.places((wrong or ["h_prev"])[0]))


def check_pre_activations(cell: str, phase: Phase, forward: Equation) -> None:
    """Forward must ask for the pre-activation of every gate: for the sum or for both parts."""
    kinds = set()
    for gate in phase.gates:
        whole, x, h = (f"{kind}_{gate}" in forward.arguments for kind in "axh")
        kinds.add(whole)
        line = next((forward.places(f"{kind}_{gate}") for kind in "xh" if f"{kind}_{gate}" in forward.arguments), None)
        if (x or h) and phase.source is None:
            words = f"the phase has no product (source=None), so gate {gate!r} has no two parts; ask for 'a_{gate}'"
            raise error(cell, words, forward, line)
        if (whole, x, h) not in ((True, False, False), (False, True, True)):
            words = f"gate {gate!r}: ask for 'a_{gate}', or for both its parts 'x_{gate}' and 'h_{gate}'"
            raise error(cell, words, forward, line)
    if phase.between and len(kinds) > 1:
        words = "a phase with row functions asks for 'a_X' of all its gates or for 'x_X' and 'h_X' of all"
        raise error(cell, words, forward)


def check_results(
    cell: str, phases: Sequence[Phase], backward: Sequence[Equation], known: Iterable[str], states: Sequence[str]
) -> None:
    """Every result of a backward function must be the gradient of something."""
    gates = [gate for phase in phases for gate in phase.gates]
    good = {f"d{kind}_{gate}" for gate in gates for kind in "axh"} | {f"d{state}_prev" for state in states}
    good |= {f"d{name}" for name in known}
    for phase, equation in zip(phases, backward, strict=True):
        between = f"dbetween_{phase.source}" if phase.between and not phase.gates else None
        for name in equation.results:
            if name not in good and name != between:
                near = difflib.get_close_matches(name, sorted(good), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                words = f"{name!r} is returned, but it is the gradient of nothing in this cell{hint}"
                raise error(cell, words, equation, equation.last_line)
        if between is not None and between not in equation.results:
            raise error(cell, f"backward must return {between!r}", equation, equation.last_line)


def moves(equation: Equation, name: str) -> bool:
    """Whether the last value of a name depends on the arguments, and is no number that stays the same."""
    moving = {argument for argument in equation.arguments if argument not in LIBRARY}
    for line in body(equation.tree):
        if isinstance(line, ast.Assign):
            used = {node.id for node in ast.walk(line.value) if isinstance(node, ast.Name)}
            targets = {node.id for node in line.targets if isinstance(node, ast.Name)}
            moving = moving | targets if used & moving else moving - targets
    return name in moving


def check_sent_back(
    cell: str,
    uses: Iterable[tuple[str, int, int | None]],
    forward: Sequence[Equation],
    backward: Sequence[Equation],
) -> None:
    """A phase that asks for a value of an earlier one returns its gradient, and the earlier one asks for that.

    Parameters
    ----------
    uses : each value with the phase that makes it and the one that asks for it; None for a product.
    """
    for name, maker, user in uses:
        if user is not None and {f"da_{name}", f"dx_{name}"} & {*backward[user].results}:
            continue  # a gate, whose pre-activation has its gradient from there
        if user is not None and f"d{name}" not in backward[user].results:
            words = f"forward asks for {name!r} of an earlier phase, so backward must return 'd{name}'"
            raise error(cell, words, backward[user], backward[user].last_line)
        if moves(forward[maker], name) and f"d{name}" not in backward[maker].arguments:
            words = f"a later phase sends back the gradient of {name!r}, so backward must ask for 'd{name}'"
            raise error(cell, words, backward[maker])


def check_previous(cell: str, states: Sequence[str], forward: Sequence[Equation], backward: Sequence[Equation]) -> None:
    """What backward sends to a state before the step, forward must have asked for."""
    for state in states:
        if any(f"{state}_prev" in equation.arguments for equation in forward):
            continue
        for equation in backward:
            if f"d{state}_prev" in equation.results:
                words = f"'d{state}_prev' is returned, but forward does not ask for '{state}_prev'"
                raise error(cell, words, equation, equation.last_line)


def check_complete(
    cell: str,
    phases: Sequence[Phase],
    forward: Sequence[Equation],
    backward: Sequence[Equation],
    own: Iterable[str],
    separate: Collection[str],
) -> None:
    """Every gate and every weight must have a gradient, and only one."""
    found = [name for equation in backward for name in equation.results]
    for phase, equation in zip(phases, backward, strict=True):
        for gate in phase.gates:
            both, parts = found.count(f"da_{gate}"), (found.count(f"dx_{gate}"), found.count(f"dh_{gate}"))
            if (both, parts) not in ((1, (0, 0)), (0, (1, 1))):
                one_part = not both and sum(parts) == 1
                has = "that of one part" if one_part else "more" if both or any(parts) else "none"
                words = f"gate {gate!r} needs one gradient and has {has}"
                words += f"; backward must return 'da_{gate}', or 'dx_{gate}' and 'dh_{gate}'"
                raise error(cell, words, equation, equation.last_line)
            if parts != (0, 0) and gate not in separate:
                words = f"backward returns 'dx_{gate}' and 'dh_{gate}', but forward does not ask for its parts"
                raise error(cell, words, equation, equation.last_line)
    for name in own:
        count = found.count(f"d{name}")
        if count != 1:
            equation = next(e for e in (*forward, *backward) if name in e.arguments)
            words = f"weight {name!r} needs one gradient 'd{name}' among backward's results, got {count}"
            raise error(cell, words, equation, equation.places(name))
