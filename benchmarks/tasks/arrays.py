"""Cases of ``--task speech`` and ``--task rows``: spoken digits, strings of them, and 8x8 digits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.case import Case
from engine.data.recordings import read_recordings

#: The speaker who is held out.
HELD_OUT = "theo"
#: Strings of digits that each speaker says, and the least and the most digits of one.
STRINGS, FEWEST, MOST = 400, 3, 5


def spoken(folder: Path, _: Path) -> dict[str, Any]:
    """The recordings of the digits."""
    return {"data": str(folder / "spoken_digits.zip"), "hold_out": HELD_OUT}


def strings(folder: Path, scratch: Path) -> dict[str, Any]:
    """Write strings of digits: recordings of one speaker, one after the other, and a table of what was said."""
    path = scratch / "strings.zip"
    write_strings(folder / "spoken_digits.zip", path)
    return {"data": str(path), "hold_out": HELD_OUT}


def write_strings(source: Path, path: Path, count: int = STRINGS) -> None:
    """Write a zip file with `count` strings of each speaker, from the recordings of single digits made equally loud.

    Parameters
    ----------
    source : the recordings, ``{digit}_{speaker}_{take}.wav``.
    path : the file that is written.
    """
    from scipy.io import wavfile

    found = read_recordings(source)
    rng = np.random.default_rng(0)
    lines = []
    with zipfile.ZipFile(path, "w") as archive:
        for speaker in sorted(set(found.speakers)):
            own = [k for k, name in enumerate(found.speakers) if name == speaker]
            for number in range(count):
                chosen = rng.choice(own, size=rng.integers(FEWEST, MOST + 1))
                file = io.BytesIO()
                sound = np.concatenate([found.sounds[k] / np.abs(found.sounds[k]).max() for k in chosen])
                wavfile.write(file, found.rate, np.round(sound * 32767).astype(np.int16))
                archive.writestr(f"{speaker}_{number}.wav", file.getvalue())
                said = "".join(found.labels[k] for k in chosen)
                lines.append(f"{speaker}_{number}.wav\t{said}\t{speaker}\n")
        archive.writestr("strings.tsv", "".join(lines))


def nearest(task: Any) -> tuple[str, float]:
    """The class whose mean example is nearest."""
    return "nearest mean", task.baseline()["nearest mean"]["accuracy"]


def usual(task: Any) -> tuple[str, float]:
    """The most frequent text, whatever was said."""
    from engine.training.examples.figures import edit_distance

    wanted = [task.answers.text(row.tolist()) for row in task.test.targets.labels]
    edits = sum(edit_distance(task.answers.usual, text) for text in wanted)
    return "most frequent string", edits / sum(map(len, wanted))


CASES = (
    Case(
        name="spoken-digits",
        title=f"spoken digits, speaker {HELD_OUT} held out",
        task="speech",
        options={},
        data=spoken,
        figure="accuracy",
        baseline=nearest,
        torch="benchmarks.tasks.arrays_torch",
        measure="validate_test",
    ),
    Case(
        name="digit-strings",
        title=f"strings of {FEWEST} to {MOST} spoken digits by CTC, speaker {HELD_OUT} held out",
        task="speech",
        options={"by": "characters", "epochs": 20.0},
        data=strings,
        figure="edit_distance",
        baseline=usual,
        torch="benchmarks.tasks.arrays_torch",
        unit="% of the characters wrong",
        higher=False,
        measure="validate_test",
    ),
    Case(
        name="image-rows",
        title="8x8 digits by rows",
        task="rows",
        options={"data": "digits"},
        data=lambda folder, scratch: {},
        figure="accuracy",
        baseline=nearest,
        torch="benchmarks.tasks.arrays_torch",
        measure="validate_test",
    ),
)
