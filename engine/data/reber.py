"""Strings of the Reber grammar, and of the embedded one: which symbol comes next? (Hochreiter and Schmidhuber 1997).

The grammar is a graph of six nodes; a string is B, the symbols along a walk from the first node to the last, and E.
An embedded string is B, then T or P, a string of the grammar, the same T or P once more, and E: who foretells the last
symbol but one must remember the second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, integer, switch
from engine.data.synthetic import one_hot
from engine.errors import bad_input, bad_type

#: The symbols in the order of the inputs.
REBER_ALPHABET = "BTPSXVE"
#: For each node the two ways out: a symbol, and the node that it leads to.  Node 5 is the end.
GRAPH: tuple[dict[str, int], ...] = (
    {"T": 1, "P": 2},
    {"S": 1, "X": 3},
    {"T": 2, "V": 4},
    {"X": 2, "S": 5},
    {"P": 3, "V": 5},
    {},
)


class ReberRows(NamedTuple):
    """Strings as a network reads them.

    Attributes
    ----------
    x : array (N, T, 7)
        All symbols but the last, one-hot in the order of `REBER_ALPHABET`; zeros past a row's end.
    targets : array (N, T)
        The symbol that came next, 0..6; 0 past a row's end.
    allowed : bool array (N, T, 7)
        The symbols that the grammar lets come next; none past a row's end.
    lengths : array (N,)
        The steps of each row: its symbols less one.
    """

    x: NDArray[np.float32]
    targets: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    lengths: NDArray[np.int64]


def reber_strings(rows: int, embedded: bool = True, seed: int = 0, besides: list[str] | None = None) -> list[str]:
    """Draw strings of the grammar; at each node both ways are as likely.

    Parameters
    ----------
    rows : int
        How many strings; the same may come twice.
    embedded : bool
        Whether they are of the embedded grammar.
    seed : int
        Other seeds give other strings.
    besides : list of str, optional
        Strings that must not come: those of the training set, for a test set.

    Returns
    -------
    list of str
        Strings such as ``"BTBPVVETE"``.

    Raises
    ------
    InputError, InputTypeError
        For fewer rows than one, or an argument of another type.

    Examples
    --------
    >>> from engine.data.reber import reber_strings
    >>> reber_strings(3, seed=1)
    ['BTBPVVETE', 'BTBTXSETE', 'BTBTXXTVPXVVETE']
    """
    rows, embedded = integer("rows", rows, 1), switch("embedded", embedded)
    rng, strings, seen = np.random.default_rng(integer("seed", seed, 0)), list[str](), set(besides or ())
    while len(strings) < rows:
        outer = "TP"[rng.integers(2)] if embedded else ""
        node, inner = 0, "B"
        while GRAPH[node]:
            symbol = list(GRAPH[node])[rng.integers(2)]
            inner, node = inner + symbol, GRAPH[node][symbol]
        found = f"B{outer}{inner}E{outer}E" if embedded else inner + "E"
        if found not in seen:
            strings.append(found)
    return strings


def reber_rows(strings: list[str], embedded: bool = True) -> ReberRows:
    """What a network reads, what came next, and what could have come next.

    Parameters
    ----------
    strings : list of str
        Strings of the grammar, as `reber_strings` draws them.
    embedded : bool
        Whether they are of the embedded grammar.

    Returns
    -------
    ReberRows
        All rows, padded to the longest.

    Raises
    ------
    InputError, InputTypeError
        For a string that is not of the grammar, or no list of strings.

    Examples
    --------
    >>> from engine.data.reber import REBER_ALPHABET, reber_rows
    >>> rows = reber_rows(["BTBPVVETE"])
    >>> ["".join(s for s, may in zip(REBER_ALPHABET, step) if may) for step in rows.allowed[0]]
    ['TP', 'B', 'TP', 'TV', 'PV', 'E', 'T', 'E']
    """
    if not isinstance(strings, list | tuple) or not strings or not all(isinstance(s, str) for s in strings):
        raise bad_type("strings", "a list of strings, at least one", describe(strings))
    lengths = np.array([len(string) - 1 for string in strings])
    longest = max(int(lengths.max()), 1)
    ids, targets = (np.zeros((len(strings), longest), np.int64) for _ in range(2))
    allowed = np.zeros((len(strings), longest, len(REBER_ALPHABET)), bool)
    for row, string in enumerate(strings):
        ways = _ways(string, embedded)
        ids[row, : len(ways)] = [REBER_ALPHABET.index(symbol) for symbol in string[:-1]]
        targets[row, : len(ways)] = [REBER_ALPHABET.index(symbol) for symbol in string[1:]]
        for step, symbols in enumerate(ways):
            allowed[row, step, [REBER_ALPHABET.index(symbol) for symbol in symbols]] = True
    return ReberRows(one_hot(ids, len(REBER_ALPHABET), lengths), targets, allowed, lengths)


def _ways(string: str, embedded: bool) -> list[str]:
    """For each symbol but the last: the symbols that may follow; raise where the string does otherwise."""
    inner = string[2:-2] if embedded else string
    node, ways = 0, []
    for symbol in inner[1:]:
        ways.append("".join(GRAPH[node]) or "E")
        node = GRAPH[node].get(symbol, 5)
    if embedded:
        ways = ["TP", "B", *ways, string[1:2], "E"]
    wrong = [step for step, (symbols, came) in enumerate(zip(ways, string[1:], strict=False)) if came not in symbols]
    if wrong or len(string) < 2 or string[0] != "B" or len(ways) != len(string) - 1 or ways[-1] != "E":
        place = f"symbol {wrong[0] + 2} of {describe(string)}" if wrong else describe(string)
        kind = "the embedded Reber grammar" if embedded else "the Reber grammar"
        raise bad_input("strings", f"strings of {kind}", place)
    return ways
