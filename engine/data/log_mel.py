"""Log-mel features: what a recogniser of speech sees of a sound.

A window of 25 ms moves over the samples in hops of 10 ms.  Each window gives one frame: the power of its frequencies,
summed within overlapping triangles that are equally wide on the mel scale (that of hearing), and the logarithm of each
sum.

    mel(f) = 2595 log10(1 + f / 700)                                  (O'Shaughnessy 1987)
    frame[m] = log(max(sum over k of bank[m, k] |spectrum[k]|^2, FLOOR))
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from engine.checks import integer
from engine.errors import bad_input

WINDOW_S, HOP_S = 0.025, 0.010
#: Power below this counts as silence: its logarithm would say more about rounding than about sound.
FLOOR = 1e-7


def log_mel(samples: NDArray[np.floating], rate: int, mels: int = 40) -> NDArray[np.float32]:
    """Return the log-mel frames of a sound.

    Parameters
    ----------
    samples : float array (n,)
        One channel, n >= 1.  A sound shorter than one window is filled up with zeros.
    rate : int
        Samples a second.
    mels : int
        Features of a frame, M.

    Returns
    -------
    float32 (T, M)
        T = 1 + (n - window) // hop frames; what is left at the end is not looked at.

    Raises
    ------
    InputError
        `mels` is too large for the rate: a triangle would lie between two frequencies.

    References
    ----------
    Davis and Mermelstein (1980), *Comparison of parametric representations for monosyllabic word recognition*.

    Examples
    --------
    >>> import numpy as np
    >>> seconds = np.arange(8000) / 8000
    >>> frames = log_mel(np.sin(2 * np.pi * 440 * seconds), 8000)
    >>> frames.shape, int(frames[50].argmax())  # the triangle around 440 Hz
    ((98, 40), 9)
    """
    width, hop = window_and_hop(rate)
    if len(samples) < width:
        samples = np.pad(samples, (0, width - len(samples)))
    size = transform_size(width)
    window = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(width) / width)  # Hann
    frames = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2
    return np.log(np.maximum(power @ mel_bank(mels, rate, size).T, FLOOR)).astype(np.float32)


def window_and_hop(rate: int) -> tuple[int, int]:
    """Return the samples in a window and in a hop; the rate is at least 1000 samples a second."""
    integer("rate", rate, 1000, "speech needs 8000 samples a second or more")
    return round(WINDOW_S * rate), round(HOP_S * rate)


def transform_size(width: int) -> int:
    """Return the length of the Fourier transform: twice the next power of two, so that narrow triangles meet a bin."""
    return 2 << (width - 1).bit_length()


@functools.lru_cache(maxsize=8)
def mel_bank(mels: int, rate: int, size: int) -> NDArray[np.float64]:
    """Return the triangles (M, size // 2 + 1) over the frequencies 0 .. rate / 2; read-only.

    Triangle m rises from point m to 1 at point m+1 and falls to 0 at point m+2, where the M+2 points are equally far
    apart on the mel scale.

    Parameters
    ----------
    mels : int
        M, the number of triangles.
    rate : int
        Samples a second.
    size : int
        Length of the Fourier transform.
    """
    integer("mels", mels, 1)
    top = 2595 * math.log10(1 + rate / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)  # in Hz
    frequencies = np.arange(size // 2 + 1) * rate / size
    left, middle, right = points[:-2, None], points[1:-1, None], points[2:, None]
    rising = (frequencies - left) / (middle - left)
    falling = (right - frequencies) / (right - middle)
    bank = np.maximum(np.minimum(rising, falling), 0.0)
    if not bank.any(axis=1).all():
        empty = int(np.flatnonzero(~bank.any(axis=1))[0])
        got = f"{mels}, of which number {empty} lies between two frequencies"
        raise bad_input("mels", f"few enough triangles for {rate} samples a second", got, "try 40")
    bank.flags.writeable = False
    return bank
