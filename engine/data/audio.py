"""One recording: from the bytes of a WAV file to samples in -1..1.  SciPy reads the file.

What a model cannot use is refused in one sentence.  Several channels and another rate can also be converted: the
channels are averaged, and SciPy's polyphase filter changes the rate.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.data_checks import bad_data
from engine.errors import BackendUnavailableError, DataError

WAV = "a WAV file with one channel of sound"
#: A recording whose samples stay this close to their mean is silent: three steps of 16 bits.
SILENCE = 1e-4
_AGAIN = "record or copy it again, or leave it out"


@dataclass(frozen=True)
class Sound:
    """Samples of one recording.

    Attributes
    ----------
    samples : float32 (n,)
        One channel, full scale is -1..1.
    rate : int
        Samples a second.
    changes : tuple of str
        What was converted, such as ``"2 channels mixed to one"``.
    """

    samples: NDArray[np.float32]
    rate: int
    changes: tuple[str, ...] = ()


def read_wav(raw: bytes, name: str, rate: int = 0, convert: bool = False) -> Sound:
    """Return the sound in the bytes of a WAV file.

    Parameters
    ----------
    raw : bytes
        The file: PCM of 8 to 64 bits, or floats.
    name : str
        What a message calls it.
    rate : int
        The rate that is wanted, in samples a second; 0 takes the file's own.
    convert : bool
        Average several channels and change another rate, in place of refusing them.

    Raises
    ------
    DataError
        The file is no WAV file, is cut short, empty or silent, or has several channels or another rate (without
        `convert`).
    BackendUnavailableError
        SciPy is not installed.

    Examples
    --------
    >>> import io, numpy as np
    >>> from scipy.io import wavfile
    >>> file = io.BytesIO()
    >>> wavfile.write(file, 8000, np.sin(np.arange(800) / 5).astype(np.float32))
    >>> sound = read_wav(file.getvalue(), "tone.wav")
    >>> sound.samples.shape, sound.rate
    ((800,), 8000)
    """
    found, samples = _decoded(raw, name)
    changes = []
    if samples.ndim > 1:
        channels = samples.shape[1]
        if not convert:
            hint = "--convert takes the mean of its channels"
            raise bad_data(name, WAV, f"{channels} channels", hint)
        samples = samples.mean(axis=1)
        changes.append(f"{channels} channels mixed to one")
    if len(samples) == 0:
        raise bad_data(name, WAV, "no samples at all", _AGAIN)
    if not np.isfinite(samples).all():
        raise bad_data(name, WAV, "NaN or infinity among its samples", _AGAIN)
    if np.abs(samples - samples.mean()).max() <= SILENCE:
        raise bad_data(name, "a recording with sound in it", f"{len(samples)} samples of silence", _AGAIN)
    if rate and found != rate:
        if not convert:
            hint = "--convert changes the rate"
            raise bad_data(name, f"{rate} samples a second as in the other recordings", found, hint)
        samples = _resampled(samples, found, rate)
        changes.append(f"resampled from {found} to {rate} samples a second")
    return Sound(samples.astype(np.float32), rate or found, tuple(changes))


def _scipy() -> ModuleType:
    """SciPy's reader, which is an extra of the package."""
    try:
        from scipy.io import wavfile
    except ImportError:
        raise BackendUnavailableError(
            "scipy: expected SciPy, which reads WAV files, got none; install bptt-engine[audio]"
        ) from None
    return wavfile


def _decoded(raw: bytes, name: str) -> tuple[int, NDArray[np.float64]]:
    """Rate and samples (n,) or (n, channels) of a WAV file, full scale -1..1."""
    wavfile = _scipy()
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            rate, samples = wavfile.read(io.BytesIO(raw))
    except (ValueError, struct.error, ZeroDivisionError, EOFError, MemoryError) as error:
        raise _not_read(raw, name, error) from None
    except UnboundLocalError:  # SciPy met no data
        raise bad_data(name, WAV, "a WAV file without samples", _AGAIN) from None
    if any("EOF" in str(warning.message) for warning in seen):
        raise bad_data(name, WAV, "one that is cut short: its header promises more samples", _AGAIN)
    if rate < 1:
        raise bad_data(name, WAV, f"a rate of {rate} samples a second", _AGAIN)
    return int(rate), _full_scale(samples)


def _not_read(raw: bytes, name: str, error: Exception) -> DataError:
    """The error for bytes that SciPy cannot read: another format, or a damaged file."""
    words = str(error)
    if raw[:4] not in (b"RIFF", b"RIFX", b"RF64"):
        return bad_data(name, WAV, "another kind of file", "convert it first, for example with ffmpeg -i IN OUT.wav")
    if "Unknown wave file format" in words:
        kind = words.partition(": ")[2].partition(".")[0]
        return bad_data(name, "samples as plain integers or floats", kind, "convert it with ffmpeg -c:a pcm_s16le")
    return bad_data(name, WAV, f"a damaged one ({words})", _AGAIN)


def _full_scale(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Samples of any of SciPy's types as float64 with full scale -1..1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    return samples.astype(np.float64) / 2.0 ** (8 * samples.dtype.itemsize - 1)


def _resampled(samples: NDArray[np.float64], old: int, new: int) -> NDArray[np.float64]:
    from scipy.signal import resample_poly

    shared = math.gcd(old, new)
    found: NDArray[np.float64] = resample_poly(samples, new // shared, old // shared)
    return found
