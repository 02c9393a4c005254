"""Checks of plain arguments that all floors share; each raises the project's one-sentence error."""

from __future__ import annotations

import contextlib
import math
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import bad_input, bad_type


def describe(obj: Any) -> str:
    """A short description of an object for an error message; never its contents, which may be long."""
    try:
        if isinstance(obj, int) and abs(obj) >= 10**20:
            return f"an integer of about {math.log10(abs(obj)):.0f} digits"
        if isinstance(obj, np.generic) and isinstance(obj, np.bool_ | np.number):
            return str(obj)
        if obj is None or isinstance(obj, bool | int | float):
            return repr(obj)
        if isinstance(obj, str):
            return repr(obj if len(obj) <= 60 else obj[:57] + "...")
    except Exception:  # a subclass that does not let itself be shown
        pass
    kind = type(obj)
    return (
        f"a {kind.__name__}"
        if kind.__module__ == "builtins"
        else f"a {kind.__module__.partition('.')[0]}.{kind.__name__}"
    )


def integer(argument: str, value: Any, minimum: int, hint: str = "") -> int:
    """The value as an int of at least `minimum`; a bool or a float is a wrong type, not a number of things."""
    expected = f"an integer >= {minimum}"
    if isinstance(value, bool | np.bool_):
        raise bad_type(argument, expected, describe(value), hint)
    try:
        found = operator.index(value)
    except Exception:  # an object of someone's own may raise anything
        raise bad_type(argument, expected, describe(value), hint) from None
    if found < minimum:
        raise bad_input(argument, expected, describe(found), hint)
    return found


def number(argument: str, value: Any, *, low: float = 0.0, below: float = math.inf, hint: str = "") -> float:
    """The value as a Python float with ``low <= value < below``; anything else, NaN too, is an error."""
    expected = f"a number >= {low:g}" if low > -math.inf else "a finite number"
    expected += f" and < {below:g}" if below < math.inf else ""
    if not _is_real(value):
        raise bad_type(argument, expected, describe(value), hint)
    try:
        found = float(value)
    except OverflowError:  # an int beyond the floats
        found = math.inf
    if not low <= found < below or math.isinf(found):
        raise bad_input(argument, expected, describe(value), hint)
    return found


def one_of(argument: str, value: Any, names: Iterable[str], hint: str = "") -> str:
    """The value, which must be one of these names."""
    known = tuple(names)
    if not isinstance(value, str) or value not in known:
        raise bad_input(argument, f"one of {', '.join(map(repr, known))}", describe(value), hint)
    return value


def fraction(argument: str, value: Any, *, zero_allowed: bool) -> float:
    """The value as a float in (0, 1), or in [0, 1) where zero is allowed."""
    expected = f"a fraction {'>= 0' if zero_allowed else '> 0'} and < 1"
    if not _is_real(value):
        raise bad_type(argument, expected, describe(value), "give a number such as 0.1")
    if not (value < 1.0 and (value > 0.0 or (zero_allowed and value == 0.0))):  # written so that NaN fails
        raise bad_input(argument, expected, describe(value), "give a number such as 0.1")
    return float(value)


def probability(argument: str, value: Any) -> float:
    """The value as a float in 0..1, both ends included."""
    if not _is_real(value):
        raise bad_type(argument, "a probability in 0..1", describe(value))
    if not 0.0 <= value <= 1.0:
        raise bad_input(argument, "a probability in 0..1", describe(value))
    return float(value)


def switch(argument: str, value: Any) -> bool:
    """The value, which must be True or False: the string "False" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise bad_type(argument, "True or False", describe(value))
    return bool(value)


def instance(argument: str, value: Any, kind: type | tuple[type, ...], expected: str, hint: str = "") -> Any:
    """The value, which must be an object of this class."""
    if not isinstance(value, kind):
        raise bad_type(argument, expected, describe(value), hint)
    return value


def file_name(argument: str, value: Any) -> Path:
    """The value as a path; it must be a string or a path object that names something."""
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(name, str):
        raise bad_type(argument, "a file name (str or Path)", describe(value))
    if not name or "\0" in name:
        raise bad_input(argument, "a name that a file can have", describe(name))
    return Path(name)


def machine_memory() -> int:
    """The most bytes of memory that this process can have; a petabyte where the system does not tell."""
    limits = [1 << 50]
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no sysconf on Windows
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            limits.append(int(Path(name).read_text()))
    return min(limits)


def require_room(argument: str, what: str, size: int, sizes: str) -> None:
    """Raise before anything is made if `what` would take more bytes than the machine has; `sizes` says why."""
    there = machine_memory()
    if size > there:
        got = f"{size / 2**30:,.0f} GiB" if size < 2**60 else f"about 2^{size.bit_length()} bytes"
        expected = f"{what} that fit into {there / 2**30:.1f} GiB of memory"
        raise bad_input(argument, expected, f"{got} ({sizes})", "lower its sizes")


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
