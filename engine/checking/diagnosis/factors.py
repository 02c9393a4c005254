"""A factor between two gradients, in words: 0.25 is 1/B if B is 4."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

#: How close a factor must be to the one that is named.
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
    sizes, scalars : lengths of axes, and numbers between 0 and 1, by name; see `pairs.Around`.
    many : whether several entries have the same factor; for a single entry only factors with a name are reported.

    Returns
    -------
    str
        empty if the factor is 1, or belongs to a single entry and has no name.
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
    if _near(size, 2.0) or _near(size, 0.5):
        own = "a term counted twice?" if size > 1.0 else "a factor 2 missing?"
        letters = {name: length for name, length in sizes.items() if len(name) == 1}
        name = next((f"{mean.rstrip('?')}, or {own}" for mean in _means(size, letters)), own)
    else:
        names = itertools.chain(_means(size, sizes), _rates(size, scalars), _roots(size, sizes), _guesses(size))
        name = next(names, "")
    if not many and not name:
        return ""
    amount = f"{size:.4g} times the" if size > 1.0 else f"{size:.4g} of the"
    return f"{sign}{amount} right value {place}" + (f": {name}" if name else "")


def _means(size: float, sizes: Mapping[str, int]) -> Iterator[str]:
    """Means in place of sums, and sums in place of means, over the known axes."""
    known = {name: length for name, length in sizes.items() if length > 1}
    letters = [name for name in known if len(name) == 1]
    products = {f"({one} {other})": known[one] * known[other] for one, other in itertools.combinations(letters, 2)}
    for name, length in {**known, **products}.items():
        lettered = name in letters or name in products
        for wanted, words, number in (
            (1.0 / length, "a mean in place of a sum", "1/"),
            (length, "a sum in place of a mean", ""),
        ):
            if _near(size, wanted):
                whole = f"{name} has length {length}" if name.startswith("axis") else f"{name} is {length}"
                own = f"? {number}{length} is {number}{name}" if lettered else f" ({whole})?"
                yield words + own


def _rates(size: float, scalars: Mapping[str, float]) -> Iterator[str]:
    """Scales that follow from a rate among the inputs."""
    for name, rate in scalars.items():
        if 0.0 < rate < 1.0:
            kept = 1.0 - rate
            wanted = {f"1 - {name}": kept, f"1/(1 - {name})": 1.0 / kept, f"(1 - {name})^2": kept**2}
            for words, number in {**wanted, name: rate, f"1/{name}": 1.0 / rate}.items():
                if _near(size, number):
                    yield f"{size:.4g} is {words}, {name} = {rate:.4g}: a scale left out, or taken twice?"


def _roots(size: float, sizes: Mapping[str, int]) -> Iterator[str]:
    """Roots of lengths, and n - 1 in place of n."""
    for name, length in sizes.items():
        if length > 1:
            root = math.sqrt(length)
            wanted = {f"sqrt({length})": root, f"1/sqrt({length})": 1.0 / root}
            wanted |= {f"{length - 1}/{length}": 1.0 - 1.0 / length, f"{length}/{length - 1}": length / (length - 1)}
            for words, number in wanted.items():
                if _near(size, number):
                    yield f"{words}, and {length} is {name if len(name) == 1 else f'the length of {name}'}?"


def _guesses(size: float) -> Iterator[str]:
    """Guesses for round numbers, if no known number is equal to them."""
    if size < 0.4 and _near(1.0 / size, round(1.0 / size)):
        yield f"1/{round(1.0 / size)}: a mean in place of a sum?"
    rate = 20.0 * (1.0 - min(size, 1.0 / size))
    if abs(rate - round(rate)) < NEAR and not _near(size, round(size)):
        yield f"{'1 - p' if size < 1.0 else '1/(1 - p)'} of a dropout with p = {rate / 20.0:.2g}?"


def _near(size: float, wanted: float) -> bool:
    return abs(size - wanted) <= NEAR * abs(wanted)
