"""The format of a checkpoint file: safetensors, read without trusting it.

An 8-byte length, a JSON header, then raw numbers.  The header is checked before any array is made, and no array is
larger than the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.array_file import DTYPES, MOST_BYTES
from engine.training.rules import choice, listed, record_fault, whole
from engine.training.run_files import parse_json, problem

RESTORE = "restore the file from a copy, or train anew"

#: NumPy's own limit is 64; no array here has more than three.
_MOST_AXES = 8
_ENTRY = {"dtype": choice(*DTYPES), "shape": listed(whole(0)), "data_offsets": listed(whole(0))}


class Entry(NamedTuple):
    """What the header says of an array.

    Attributes
    ----------
    start, stop : where its bytes lie, counted from the end of the header.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: Path, file: BufferedReader, size: int) -> tuple[Any, dict[str, Entry]]:
    """The metadata of a safetensors file and its arrays by name, after a check that these are the whole file.

    Raises
    ------
    CheckpointError
        naming the file, what was expected and what came.
    """
    if not size:
        raise problem(path, "a checkpoint", "an empty file (0 bytes)", RESTORE)
    head = file.read(9)
    length = struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else 0
    # Every safetensors header begins with a brace: a file with anything else was never one.
    if size > 8 and (head[8:] != b"{" or length > MOST_BYTES):
        raise problem(path, "a safetensors checkpoint", "a file of another kind", "give a file saved by 'bptt train'")
    if size < 8 + max(length, 2):
        got = f"{size:,} bytes (cut short)"
        raise problem(path, f"at least {8 + max(length, 2):,} bytes by its own header", got, RESTORE)
    try:
        header = parse_json(b"{" + file.read(length - 1))
    except ValueError as error:
        raise problem(path, "a safetensors header in JSON", "something else", RESTORE) from error
    if not isinstance(header, dict):
        raise problem(path, "a safetensors header in JSON", "something else", RESTORE)
    metadata = header.pop("__metadata__", None)
    entries = {name: _entry(path, name, record) for name, record in header.items()}
    expected = 8 + length + max((entry.stop for entry in entries.values()), default=0)
    if size != expected:
        kind = "cut short" if size < expected else "too long"
        raise problem(path, f"{expected:,} bytes by its own header", f"{size:,} bytes ({kind})", RESTORE)
    _check_places(path, entries)
    return metadata, entries


def read_arrays(file: BufferedReader, entries: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """The arrays that `entries` describe; `file` stands where the header ends."""
    arrays = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        array = np.empty(entry.shape, entry.dtype)
        if array.nbytes and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise OSError(0, "the file became shorter while it was read")
        arrays[name] = array
    return arrays


def _entry(path: Path, name: str, record: Any) -> Entry:
    """One entry of the header, checked for itself."""
    fault = record_fault(_ENTRY, record, closed=True)
    if fault is not None:
        place = f"{name!r}{'.' * bool(fault[0])}{fault[0]}"
        if isinstance(record, dict) and record.get("dtype") in ("F16", "BF16"):
            hint = "bare weights in it go through load_state_dict, which takes them as they are"
            raise problem(path, f"{name!r} in float32 or float64", f"{record['dtype']} (half precision)", hint)
        raise problem(path, f"{fault[1]} as {place} in the safetensors header", fault[2], RESTORE)
    dtype, shape, offsets = DTYPES[record["dtype"]], tuple(record["shape"]), record["data_offsets"]
    if len(shape) > _MOST_AXES or len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        expected = f"an array of the size that its place in the file has for {name!r}"
        raise problem(path, expected, f"shape {shape} of {record['dtype']} at {offsets}", RESTORE)
    return Entry(dtype, shape, offsets[0], offsets[1])


def _check_places(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raise unless the arrays lie one behind the other, without gap or overlap."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise problem(path, f"the array {name!r} at offset {end:,}", f"{entry.start:,}", RESTORE)
        end = entry.stop
