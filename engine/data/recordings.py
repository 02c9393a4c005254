"""Labelled recordings: a folder or a zip file of WAV files, and what was said in each.

What was said is found in one of three ways:

- a table, the only ``.tsv`` file, or one given in place of the folder: ``file TAB what was said [TAB speaker]``;
- names, where all recordings lie side by side: ``{label}_{speaker}_{take}.wav``;
- folders, one a label: ``yes/anna_3.wav``; the speaker is what stands before the first ``_`` of the name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from engine.data.audio import Sound, read_wav
from engine.data.data_checks import bad_data
from engine.data.files import file_name, read_bytes
from engine.data.labelled import LabelledTexts
from engine.data.members import Members, members_of

EXPECTED = "a folder, a zip file or a table (.tsv) of WAV files"
_LAYOUTS = "name them {label}_{speaker}_{take}.wav, or give a folder for each label, or a table file TAB label"


@dataclass(frozen=True)
class Recordings:
    """N recordings of one rate.

    Attributes
    ----------
    names : list of str
        The file of each.
    sounds : list of float32 arrays (n,)
        The samples of each.
    labels : list of str
        What was said in each; empty if that was not asked for.
    speakers : list of str
        Who said it, "" where that is not known; empty like the labels.
    rate : int
        Samples a second.
    source : str
        Where they lie.
    notes : tuple of str
        What was converted in how many recordings.
    """

    names: list[str]
    sounds: list[NDArray[np.float32]]
    labels: list[str]
    speakers: list[str]
    rate: int
    source: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.names)

    def rows(self) -> LabelledTexts:
        """Return names and labels as rows that `class_names` and `three_parts` take."""
        return LabelledTexts(self.names, self.labels, self.names, self.source)


@dataclass(frozen=True)
class _Entry:
    """A recording before it is read."""

    name: str
    label: str
    speaker: str


def read_recordings(
    path: str | os.PathLike[str], rate: int = 0, *, convert: bool = False, labelled: bool = True
) -> Recordings:
    """Read all recordings of a folder, a zip file or a table; without labels, also one WAV file.

    Parameters
    ----------
    path : str or Path
        Where they lie.
    rate : int
        Samples a second of all of them; 0 takes the rate of the first one.
    convert : bool
        Mix several channels and change other rates, in place of refusing such recordings.
    labelled : bool
        Whether to find out what was said.

    Raises
    ------
    DataError
        There are no recordings, one of them has no label or cannot be used (see `read_wav`).

    Examples
    --------
    >>> import os, numpy as np
    >>> from scipy.io import wavfile
    >>> os.mkdir("tones")
    >>> for label, step in (("low", 0.2), ("high", 0.9)):
    ...     wave = np.sin(step * np.arange(800)).astype(np.float32)
    ...     wavfile.write(f"tones/{label}_anna_0.wav", 8000, wave)
    >>> found = read_recordings("tones")
    >>> found.labels, found.speakers, found.rate
    (['high', 'low'], ['anna', 'anna'], 8000)
    """
    name = file_name(path)
    if not labelled and Path(name).suffix.lower() == ".wav" and not os.path.isdir(name):
        sound = read_wav(read_bytes(name, "a WAV file"), name, rate, convert)
        return Recordings([name], [sound.samples], [], [], sound.rate, name, _notes([sound]))
    if Path(name).suffix.lower() == ".tsv":
        members = members_of(Path(name).parent, EXPECTED)
        entries = _by_table(members, Path(name).name) if labelled else _unlabelled(members)
    else:
        members = members_of(name, EXPECTED)
        entries = _entries(members) if labelled else _unlabelled(members)
    sounds: list[Sound] = []
    for entry in entries:
        sounds.append(read_wav(members.read(entry.name), f"{members.source}: {entry.name}", rate, convert))
        rate = rate or sounds[0].rate
    return Recordings(
        [entry.name for entry in entries],
        [sound.samples for sound in sounds],
        [entry.label for entry in entries if labelled],
        [entry.speaker for entry in entries if labelled],
        rate,
        name,
        _notes(sounds),
    )


def _notes(sounds: Sequence[Sound]) -> tuple[str, ...]:
    """What was changed, with the number of recordings."""
    counts = Counter(change for sound in sounds for change in sound.changes)
    return tuple(f"{count} of {len(sounds)} recordings: {change}" for change, count in sorted(counts.items()))


def _wav_names(members: Members) -> list[str]:
    names = members.ending(".wav")
    if not names:
        got = "no file of that kind" if members.names else "no files at all"
        raise bad_data(members.source, EXPECTED, got, "convert other kinds with ffmpeg -i IN OUT.wav")
    return names


def _unlabelled(members: Members) -> list[_Entry]:
    return [_Entry(name, "", "") for name in _wav_names(members)]


def _entries(members: Members) -> list[_Entry]:
    """The recordings with their labels, by the one of the three layouts that is there."""
    tables = members.ending(".tsv")
    if len(tables) > 1:
        got = f"{len(tables)} tables: {', '.join(tables)}"
        raise bad_data(members.source, "one table (.tsv) at most", got, "name the table in place of the folder")
    if tables:
        return _by_table(members, tables[0])
    names = _wav_names(members)
    shared = os.path.commonpath([PurePosixPath(name).parent for name in names])
    inner = {name: PurePosixPath(name).relative_to(shared).parts for name in names}
    flat = [name for name, parts in inner.items() if len(parts) == 1]
    if len(flat) == len(names):
        return [_by_name(members, name) for name in names]
    if flat:
        got = f"{flat[0]} beside folders of recordings"
        raise bad_data(members.source, "every recording in the folder of its label", got, "move it into one")
    return [_Entry(name, parts[0], _before_underscore(name)) for name, parts in inner.items()]


def _by_name(members: Members, name: str) -> _Entry:
    """Label and speaker of ``{label}_{speaker}_{take}.wav``."""
    parts = PurePosixPath(name).stem.split("_")
    if len(parts) != 3 or not parts[0]:
        raise bad_data(members.source, "a label for every recording", f"none for {name}", _LAYOUTS)
    return _Entry(name, parts[0], parts[1])


def _before_underscore(name: str) -> str:
    stem = PurePosixPath(name).stem
    return stem.partition("_")[0] if "_" in stem else ""


def _by_table(members: Members, table: str) -> list[_Entry]:
    """The recordings of a table, whose file names count from its own folder."""
    source = f"{members.source}: {table}"
    try:
        text = members.read(table).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"bytes of another encoding at byte {error.start}"
        raise bad_data(source, "a table in UTF-8", got, "save it as UTF-8") from None
    folder, there = PurePosixPath(table).parent, set(members.names)
    entries: list[_Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        name = (folder / cells[0]).as_posix()
        if number == 1 and name not in there and PurePosixPath(name).suffix.lower() != ".wav":
            continue  # the line that names the columns
        if len(cells) not in (2, 3) or not cells[1]:
            got = f"{line!r}" if len(cells) > 3 else f"none for {cells[0]}"
            raise bad_data(f"{source}, line {number}", "file TAB what was said [TAB speaker]", got, "fill it in")
        if name not in there:
            raise bad_data(f"{source}, line {number}", "a file beside the table", f"no file {cells[0]}", "check it")
        entries.append(_Entry(name, cells[1], cells[2] if len(cells) == 3 else ""))
    if not entries:
        raise bad_data(source, "file TAB what was said, in each line", "no lines", "fill it in")
    return entries
