"""Made-up recordings for tests: tones of a pitch for each label, as the bytes of WAV files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from scipy.io import wavfile

RATE = 8000
#: Hz of each label.
PITCHES = {"low": 250.0, "middle": 700.0, "high": 1900.0}


def tone(pitch: float, seconds: float = 0.12, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone with a little noise, full scale -1..1."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave: np.ndarray = 0.4 * np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6)) + 0.003 * rng.normal(size=len(time))
    return wave


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    """The bytes of a WAV file of 16 bits; samples (n,) or (n, channels)."""
    file = io.BytesIO()
    wavfile.write(file, rate, np.round(samples * 32767).astype(np.int16))
    return file.getvalue()


def tones(path: Path, takes: int = 8, speakers: tuple[str, ...] = ("anna", "ben", "cleo")) -> Path:
    """A zip file with recordings of each label by each speaker, who differ a little in pitch and length."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, speaker in enumerate(speakers):
            for label, pitch in PITCHES.items():
                for take in range(takes):
                    seed = 1000 * number + take
                    seconds = 0.1 + 0.01 * number + 0.004 * take
                    sound = tone(pitch * (1 + 0.03 * number), seconds, seed=seed)
                    archive.writestr(f"{label}_{speaker}_{take}.wav", wav(sound))
    return path


def spelled(folder: Path, rows: int = 60, seed: int = 3) -> Path:
    """A folder with a table of recordings that spell words of a, b and c, each letter a tone."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    lines = []
    for row in range(rows):
        word = "".join(rng.choice(list("abc"), size=rng.integers(1, 4)))
        gap = np.zeros(round(0.05 * RATE))
        pitches = dict(zip("abc", PITCHES.values(), strict=True))
        parts = [part for k, letter in enumerate(word) for part in (gap, tone(pitches[letter], 0.1, seed=9 * row + k))]
        (folder / f"{row}.wav").write_bytes(wav(np.concatenate(parts[1:])))
        lines.append(f"{row}.wav\t{word}\t{'even' if row % 2 == 0 else 'odd'}")
    (folder / "words.tsv").write_text("file\ttext\tspeaker\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder
