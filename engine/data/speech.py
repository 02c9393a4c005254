"""What a recogniser of speech sees of a recording: log-mel frames without the silence around the words.

Speakers sit in other rooms, speak louder and leave other pauses.  So frames at both ends that are `TRIM_DB` quieter
than the loudest one are cut off, and everything `RANGE_DB` below the loudest band counts as equally silent.  The mean
of all features over the recording is taken away, so that loudness makes no difference; and half of what each feature
has on top of it, so that a microphone makes less difference, and a steady sound is still what it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.checks import integer
from engine.data.log_mel import log_mel

#: In decibels below the loudest band of the loudest frame.
TRIM_DB, RANGE_DB = 20.0, 35.0
#: The share of each feature's own mean that is taken away.
TAKEN = 0.5
_NATS = math.log(10) / 10  # of a decibel of power


def speech_frames(
    samples: NDArray[np.floating], rate: int, mels: int = 20, trim_db: float = TRIM_DB
) -> NDArray[np.float32]:
    """Return the frames of a recording, with the mean 0 over all of them.

    Parameters
    ----------
    samples : float array (n,)
        One channel.
    rate : int
        Samples a second.
    mels : int
        Features of a frame, M.
    trim_db : float
        Frames at both ends that are so much quieter than the loudest one are cut off.

    Returns
    -------
    float32 (T, M)
        At least one frame.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(np.arange(4000) * 0.3)
    >>> quiet = np.zeros(4000)
    >>> speech_frames(np.concatenate([quiet, tone, quiet]), 8000).shape  # half a second of a second and a half
    (52, 20)
    """
    frames = log_mel(samples, rate, mels)
    start, stop = sounding(frames, trim_db)
    frames = frames[start:stop]
    frames = np.maximum(frames, frames.max() - RANGE_DB * _NATS)
    level = frames.mean()
    return frames - level - TAKEN * (frames.mean(axis=0) - level)


def sounding(frames: NDArray[np.floating], trim_db: float = TRIM_DB) -> tuple[int, int]:
    """Return the first frame that is not silent, and the one after the last."""
    loudness = frames.max(axis=1)
    places = np.flatnonzero(loudness >= loudness.max() - trim_db * _NATS)
    return int(places[0]), int(places[-1]) + 1


def stacked(frames: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Return `count` neighbouring frames (T, M) as one step each, (ceil(T / count), count * M).

    A recurrent layer takes its time by the step: three frames in one are three times as fast, and each step sees how
    the sound changes.  The last step is filled up with its last frame.

    Examples
    --------
    >>> import numpy as np
    >>> stacked(np.arange(5.0)[:, None], 2).tolist()
    [[0.0, 1.0], [2.0, 3.0], [4.0, 4.0]]
    """
    size = integer("count", count, 1)
    rest = -len(frames) % size
    whole = np.concatenate([frames, np.repeat(frames[-1:], rest, axis=0)]) if rest else frames
    return whole.reshape(-1, size * frames.shape[1])
