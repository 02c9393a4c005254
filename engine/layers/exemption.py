"""The option ``exempt`` of recurrent layers: matrices whose products stay in float32 in a layer of half precision."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from engine.checks import describe
from engine.errors import bad_input, bad_type
from kernels.rounding import MATRICES, without


def checked_exempt(given: Any, precision: str, names: Iterable[str]) -> tuple[str, ...]:
    """The patterns, each of which fits a matrix among the names of the parameters.

    Raises
    ------
    InputError, InputTypeError
        For anything else, and for patterns in a layer where nothing is rounded.
    """
    patterns = (given,) if isinstance(given, str) else given
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise bad_type("exempt", "patterns of the names of weights, as texts", describe(given))
    known = [name for name in names if name.startswith(MATRICES)]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in known):
            raise bad_input("exempt", f"patterns that fit some of {', '.join(known)}", describe(pattern))
    if patterns and precision == "float32":
        hint = "products of this layer stay in float32 as it is"
        raise bad_input("exempt", "() for a layer of precision 'float32'", describe(given), hint)
    return tuple(patterns)


def precision_at(precision: str, exempt: tuple[str, ...], end: str) -> str:
    """The precision of one layer and direction, whose parameters' names end with `end`, as kernels take it."""
    return without(
        precision, [name for name in MATRICES if any(fnmatch.fnmatchcase(name + end, pattern) for pattern in exempt)]
    )
