"""Hypothesis strategies for sizes, lengths, dtypes and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from hypothesis import strategies as st

from engine.backend import check_dtype
from engine.checks import describe, integer, number, switch
from engine.errors import bad_input

LARGEST = 100_000  # of any axis

#: A size, or the smallest and the largest one.
Range: TypeAlias = int | tuple[int, int]


class Sizes(NamedTuple):
    """Time steps, rows, input features, hidden units."""

    T: int
    B: int
    D: int
    H: int


def sizes(
    T: Range = (3, 7), B: Range = (1, 5), D: Range = (1, 5), H: Range = (2, 6), distinct: bool = True
) -> st.SearchStrategy[Sizes]:
    """Draw sizes of a small problem.

    Parameters
    ----------
    T, B, D, H : the smallest and the largest value, or the only one.
    distinct : whether the four differ, so that no swap of two axes goes unseen.

    Returns
    -------
    SearchStrategy
        of `Sizes`, a named tuple ``(T, B, D, H)``.

    Raises
    ------
    InputError, InputTypeError
        for a range that holds no size, or ranges that hold no four different ones.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(sizes(T=(3, 20), B=4))
    ... def test(size):
    ...     assert size.T >= 3 and size.B == 4 and size.D != size.H
    >>> test()
    """
    ranges = [size_range(name, value) for name, value in (("T", T), ("B", B), ("D", D), ("H", H))]
    if switch("distinct", distinct) and not _differ(ranges, set()):
        raise bad_input("sizes", "ranges with four different sizes", str(ranges), "widen one, or give distinct=False")
    return _sizes(ranges, distinct)


def lengths(T: int, B: int, zero: bool = True) -> st.SearchStrategy[list[int]]:
    """Draw the number of valid steps of each row; the two ends come up more often than all between.

    Parameters
    ----------
    T, B : time steps and rows.
    zero : whether a row may have no step at all; the shortest has 1 otherwise.

    Returns
    -------
    SearchStrategy
        of lists of B integers in 0..T.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(lengths(T=5, B=3))
    ... def test(rows):
    ...     assert len(rows) == 3 and all(0 <= row <= 5 for row in rows)
    >>> test()
    """
    T, B = integer("T", T, 1), integer("B", B, 1)
    shortest = 0 if switch("zero", zero) else 1
    return st.lists(st.sampled_from((T, shortest)) | st.integers(shortest, T), min_size=B, max_size=B)


def dtypes() -> st.SearchStrategy[str]:
    """Draw the name of a dtype that layers come in, ``"float64"`` or ``"float32"``.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(dtypes().flatmap(lambda dtype: problems("lstm", dtype=dtype)))
    ... def test(problem):
    ...     assert problem.layer.dtype == problem.x.dtype
    >>> test()
    """
    return st.sampled_from(("float64", "float32"))


def arrays(shape: int | Sequence[int], dtype: Any = "float64", scale: float = 1.0) -> st.SearchStrategy[np.ndarray]:
    """Draw a NumPy array of normally distributed numbers: finite, all different, symmetric in no axes.

    Two draws in one example may give the same numbers, since hypothesis likes to repeat itself; draw one array and
    split it where that would hide something.

    Parameters
    ----------
    shape : length, or length of each axis.
    dtype : ``"float64"`` or ``"float32"``.
    scale : standard deviation.

    Returns
    -------
    SearchStrategy
        of arrays.

    Examples
    --------
    >>> from hypothesis import given
    >>> @given(arrays((7, 3, 2), "float32"))
    ... def test(x):
    ...     assert x.shape == (7, 3, 2) and np.isfinite(x).all()
    >>> test()
    """
    axes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    axes = tuple(integer("shape", axis, 0) for axis in axes)
    dtype = check_dtype(dtype)
    scale = number("scale", scale, low=1e-30, below=1e30)  # float32 holds no more
    return generators().map(lambda rng: rng.normal(scale=scale, size=axes).astype(dtype))


# -- how they are drawn ------------------------------------------------------------------------------------------------


@st.composite
def _sizes(draw: st.DrawFn, ranges: list[tuple[int, int]], distinct: bool) -> Sizes:
    found: list[int] = []
    for position, (low, high) in enumerate(ranges):
        choices: Sequence[int] = range(low, high + 1)
        if distinct:  # only what leaves a choice to those that follow
            choices = [n for n in choices if n not in found and _differ(ranges[position + 1 :], {*found, n})]
        found.append(draw(st.sampled_from(choices)))
    return Sizes(*found)


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Draw a generator of random numbers."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def size_range(name: str, value: Any) -> tuple[int, int]:
    """The smallest and the largest size."""
    if not isinstance(value, tuple | list):
        value = (value, value)
    if len(value) != 2:
        raise bad_input(name, "a size, or the smallest and the largest one", f"{len(value)} numbers")
    for size in value:
        if integer(name, size, 1) > LARGEST:
            raise bad_input(name, f"sizes up to {LARGEST:,}", describe(size), "a test of larger ones would find no end")
    low = integer(name, value[0], 1)
    return low, integer(name, value[1], low)


def _differ(ranges: Iterable[tuple[int, int]], taken: set[int]) -> bool:
    """Whether each range can give a number that is not taken and that no other gives."""
    taken = set(taken)
    for low, high in sorted(ranges, key=lambda ends: ends[1]):  # who ends first is served first, with the least
        size = next((n for n in range(low, high + 1) if n not in taken), None)
        if size is None:
            return False
        taken.add(size)
    return True
