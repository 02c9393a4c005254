"""Amounts of memory in words: ``"64MiB"`` is a number of bytes, and the other way round."""

from __future__ import annotations

import re
from typing import Any

from engine.checks import describe, integer
from engine.errors import bad_input, bad_type

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SHAPE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([A-Za-z]+)\s*")


def bytes_of(argument: str, value: Any) -> int:
    """The number of bytes that ``"64MiB"``, ``"1.5 GB"`` or an integer says.

    Parameters
    ----------
    argument : its name in messages.
    value : a text of a number and a unit (B, KB, MB, GB, KiB, MiB, GiB), or a number of bytes.

    Raises
    ------
    InputError, InputTypeError
        for a unit that is none, and for what is no amount.

    Examples
    --------
    >>> bytes_of("memory", "64MiB"), bytes_of("memory", "1.5 KB"), bytes_of("memory", 4096)
    (67108864, 1500, 4096)
    """
    expected = "an amount of memory such as '64MiB', or a number of bytes"
    if not isinstance(value, str):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise bad_type(argument, expected, describe(value))
        return integer(argument, value, 1)
    found = _SHAPE.fullmatch(value)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or float(found[1]) * unit < 1:
        raise bad_input(argument, expected, describe(value), f"the units are {', '.join(_in_words())}")
    return int(float(found[1]) * unit)


def in_words(count: float) -> str:
    """A number of bytes such as ``"20.4 MiB"``."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def _in_words() -> list[str]:
    return [name.replace("I", "i") for name in _UNITS]
