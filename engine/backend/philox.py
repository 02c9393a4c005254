"""Random numbers that are the same on every backend: the counter-based generator Philox4x32-10.

A counter-based generator has no state to carry: the number for (seed, layer path, purpose, call, time step, row, unit)
is a pure function of these, so a mask does not depend on the order of calls, on how rows are spread over devices, or on
the array library.  Only integer arithmetic is used, which every library does alike.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
sections 3.3 and 4.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

ROUNDS = 10
MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57  # odd constants of the two multiply-high steps (section 3.3)
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85  # golden ratio and sqrt(3)-1: the key is raised by these every round
MASK_32 = 0xFFFFFFFF
PIECE = 1 << 14  # numbers drawn at a time


def _digits(seed: int) -> str:
    """The seed as text; Python writes only numbers of some thousand digits in decimal."""
    return str(seed) if seed.bit_length() < 10_000 else hex(seed)


def stream_key(seed: int, path: str, purpose: str) -> tuple[int, int]:
    """Two 32-bit key words for one stream of numbers.

    Parameters
    ----------
    seed : the user's seed, any integer >= 0.
    path : the layer's place in its model, such as ``"0"`` or ``"2.1"``; ``""`` for a layer on its own.
    purpose : what the numbers are for, such as ``"dropout"``; streams of different purpose are independent.
    """
    digest = hashlib.blake2b(f"{_digits(seed)}|{path}|{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def philox4x32(xp: Any, key: tuple[int, int], counter: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Ten rounds of Philox on four counter words, elementwise.

    Parameters
    ----------
    xp : the array library.
    key : two 32-bit words.
    counter : four uint64 arrays (or ints) holding 32-bit words; they broadcast against each other.

    Returns
    -------
    four uint64 arrays holding 32-bit words.
    """
    mask, half = xp.uint64(MASK_32), xp.uint64(32)
    c0, c1, c2, c3 = (xp.asarray(word, dtype=xp.uint64) for word in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        # 32 x 32 -> 64 bit products; the high halves are mixed with the key, the low halves pass on
        product_0 = c0 * xp.uint64(MULTIPLIER_0)
        product_1 = c2 * xp.uint64(MULTIPLIER_1)
        c0, c1, c2, c3 = (
            xp.right_shift(product_1, half) ^ c1 ^ xp.uint64(k0),
            product_1 & mask,
            xp.right_shift(product_0, half) ^ c3 ^ xp.uint64(k1),
            product_0 & mask,
        )
        k0, k1 = (k0 + WEYL_0) & MASK_32, (k1 + WEYL_1) & MASK_32
    return c0, c1, c2, c3


def bits(xp: Any, key: tuple[int, int], call: int, steps: Any, rows: Any, units: int) -> Any:
    """Random 32-bit words for every (time step, row, unit).

    Parameters
    ----------
    call : the call counter; a new value gives fresh numbers.
    steps : (T,) integers, the time step of each slice; a range is made on the device, a list is uploaded.
    rows : (B,) integers, the global row of each local row; likewise.
    units : number of units; unit u takes word u % 4 of block u // 4.

    Returns
    -------
    (T, B, units) uint64 array with values in [0, 2**32).
    """
    blocks = (units + 3) // 4
    step = _words(xp, steps).reshape(-1, 1, 1)
    row = _words(xp, rows).reshape(1, -1, 1)
    block = xp.arange(blocks, dtype=xp.uint64).reshape(1, 1, -1)
    words = philox4x32(xp, key, (call & MASK_32, step, row, block))
    shape = (step.shape[0], row.shape[1], blocks)
    four = xp.stack([xp.broadcast_to(word, shape) for word in words], axis=-1)
    return four.reshape(shape[0], shape[1], 4 * blocks)[:, :, :units]


def _words(xp: Any, numbers: Any) -> Any:
    if isinstance(numbers, range) and numbers.step == 1:
        return xp.arange(numbers.start, numbers.stop, dtype=xp.uint64)
    return xp.asarray(numbers, dtype=xp.uint64)


def keep_mask(xp: Any, key: tuple[int, int], call: int, steps: Any, rows: Any, units: int, p: float, dtype: Any) -> Any:
    """Inverted-dropout mask: 1/(1-p) with probability 1-p, else 0 (rule 14); all zeros for p = 1.

    Returns
    -------
    (T, B, units) array of `dtype`.
    """
    count = len(steps) * len(rows) * units
    if xp is np and count > PIECE and len(steps) > 1 and isinstance(steps, range):  # the temporary arrays stay small
        found, size = np.empty((len(steps), len(rows), units), dtype), max(1, PIECE * len(steps) // count)
        for start in range(0, len(steps), size):
            part = steps[start : start + size]
            found[start : start + size] = keep_mask(xp, key, call, part, rows, units, p, dtype)
        return found
    threshold = xp.uint64(round(p * 2.0**32))  # an integer comparison: no rounding that could differ between libraries
    scale = 0.0 if p >= 1.0 else 1.0 / (1.0 - p)
    keep = bits(xp, key, call, steps, rows, units) >= threshold
    return xp.asarray(keep, dtype=dtype) * np.dtype(dtype).type(scale)


def uniform(key: tuple[int, int], shape: tuple[int, ...], low: float, high: float, dtype: Any = float) -> np.ndarray:
    """Uniform numbers in [low, high) on the host, from 53 random bits each; used for initial weights."""
    return _in_pieces(shape, dtype, lambda start, stop: low + (high - low) * _unit_interval(key, start, stop))


def normal(key: tuple[int, int], shape: tuple[int, ...], dtype: Any = float) -> np.ndarray:
    """Standard normal numbers on the host (Box and Muller 1958)."""
    size = math.prod(shape)

    def piece(start: int, stop: int) -> np.ndarray:
        radius, angle = _unit_interval(key, start, stop), _unit_interval(key, size + start, size + stop)
        found: np.ndarray = np.sqrt(-2.0 * np.log1p(-radius)) * np.cos(2.0 * np.pi * angle)
        return found

    return _in_pieces(shape, dtype, piece)


def _in_pieces(shape: tuple[int, ...], dtype: Any, piece: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """An array filled piece by piece, so that the temporary arrays of float64 and of 64-bit integers stay small."""
    found = np.empty(math.prod(shape), dtype)
    for start in range(0, found.size, PIECE):
        stop = min(start + PIECE, found.size)
        found[start:stop] = piece(start, stop)
    return found.reshape(shape)


def _unit_interval(key: tuple[int, int], start: int, stop: int) -> np.ndarray:
    """The numbers of these places in [0, 1), in float64: 27 bits of one word and 26 of the next."""
    block = np.arange(start // 2, (stop + 1) // 2, dtype=np.uint64)
    w0, w1, w2, w3 = philox4x32(np, key, (block & np.uint64(MASK_32), block >> np.uint64(32), 0, 0))
    high = np.stack([w0, w2], axis=1).ravel() >> np.uint64(5)
    low = np.stack([w1, w3], axis=1).ravel() >> np.uint64(6)
    return ((high * np.uint64(1 << 26) + low) * 2.0**-53)[start % 2 :][: stop - start]
