"""A factor between two gradients, in words: 0.25 is 1/B where B is 4."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

#: How closely a factor must be the one that is named.
NEAR = 1e-4
#: A factor this close to 1 is a constant cut short, or an epsilon.
SLIGHT = 1e-3


def factor_in_words(
    factor: float, place: str, sizes: Mapping[str, int], scalars: Mapping[str, float], many: bool = True
) -> str:
    """Words for a gradient that is a multiple of the right one.

    Parameters
    ----------
    place : ``"everywhere"`` or ``"there"``.
    sizes, scalars : lengths of axes, and numbers between 0 and 1, by name; see `engine.checking.patterns.Around`.
    many : whether several entries have the same factor; of a single one only factors that have a name are told.

    Returns
    -------
    str
        nothing where it is 1, or belongs to a single entry and has no name.
    """
    slight = abs(factor - 1.0)
    if slight == 0.0:
        return ""
    size, sign = abs(factor), "-" if factor < 0 else ""
    if slight < SLIGHT:
        if not many:
            return ""
        digits = max(4, 2 - math.floor(math.log10(slight)))
        words = f"{factor:.{digits}g} times the right value {place}"
        return f"{words}, off by {slight:.0e}: a constant cut short, or an epsilon missing or doubled?"
    if _near(size, 1.0):
        return f"minus the right value {place}: a sign"
    name = next(_names(size, sizes, scalars), "")
    if _near(size, 2.0) or _near(size, 0.5):
        name += ", or a factor 2" if name else "a term counted twice?" if size > 1.0 else "a factor 2 missing?"
    if not many and not name:
        return ""
    amount = f"{size:.4g} times the" if size > 1.0 else f"{size:.4g} of the"
    return f"{sign}{amount} right value {place}" + (f": {name}" if name else "")


def _names(size: float, sizes: Mapping[str, int], scalars: Mapping[str, float]) -> Iterator[str]:
    """What is equal to this factor, the likeliest first."""
    known = {name: length for name, length in sizes.items() if length > 1}
    short = [name for name in known if len(name) == 1][:4]
    products = {f"({one} {other})": known[one] * known[other] for one, other in itertools.combinations(short, 2)}
    for name, length in {**known, **products}.items():
        if _near(size, 1.0 / length):
            yield "a mean in place of a sum" + _same(f"1/{length}", f"1/{name}", name, length)
        if _near(size, length):
            yield "a sum in place of a mean" + _same(f"{length}", name, name, length)
    for name, value in scalars.items():
        if not 0.0 < value < 1.0:
            continue
        wanted = {
            f"1 - {name}": 1.0 - value,
            f"1/(1 - {name})": 1.0 / (1.0 - value),
            f"(1 - {name})^2": (1.0 - value) ** 2,
            name: value,
            f"1/{name}": 1.0 / value,
        }
        for words, number in wanted.items():
            if _near(size, number):
                yield f"{size:.4g} is {words}, {name} = {value:.4g}: a scale left out, or taken twice?"
    for name, length in known.items():
        name = name if len(name) == 1 else f"the length of {name}"
        roots = {f"sqrt({name})": math.sqrt(length), f"1/sqrt({name})": 1.0 / math.sqrt(length)}
        less = {f"({name} - 1)/{name}": (length - 1) / length, f"{name}/({name} - 1)": length / max(length - 1, 0.5)}
        for words, number in {**roots, **less}.items():
            if _near(size, number):
                yield f"{words}, {name} = {length}?"
    rate = min(1.0 - min(size, 1.0 / size), 1.0)
    if not _near(size, 0.5) and not _near(size, 2.0) and 0.0 < rate < 1.0 and abs(rate * 20 - round(rate * 20)) < NEAR:
        if not abs(size - round(size)) < NEAR:
            words = "1 - p" if size < 1.0 else "1/(1 - p)"
            yield f"{words} of a dropout with p = {rate:.2g}?"


def _same(number: str, symbol: str, name: str, length: int) -> str:
    """``? 1/4 is 1/B``; of an axis without a letter, how long it is."""
    lettered = len(name) == 1 or name[0] == "("
    return f"? {number} is {symbol}" if lettered else f" ({name} has length {length})?"


def _near(size: float, wanted: float) -> bool:
    return abs(size - wanted) <= NEAR * wanted
