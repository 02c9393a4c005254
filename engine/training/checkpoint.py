"""Checkpoints: arrays in a safetensors file, everything else as JSON in its header.

Nothing in the format can run code: an 8-byte length, a JSON header, then raw numbers.  The file is checked before any
of it is used, and each way in which it can be wrong has a message of its own.

The same training state gives the same bytes: there is one metadata entry, its keys are sorted, and no clock is in it.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import CheckpointError
from engine.training.atomic import write_atomic

#: The one metadata entry, and the version of what stands in it and of how the arrays are named.
KEY = "bptt-engine"
FORMAT_VERSION = 1

LAST = "last.safetensors"
BEST = "best.safetensors"

_RESTORE = "restore the file from a copy, or train anew"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes
    ----------
    path : the file it came from, for error messages.
    arrays : host arrays by name, ``"model/0.weight"``, ``"optimizer/..."``, ``"carried/..."``, ``"trainer/..."``.
    meta : the JSON part.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names start with ``prefix/``, without it."""
        start = len(prefix) + 1
        return {name[start:]: array for name, array in self.arrays.items() if name.startswith(prefix + "/")}


def write_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write `arrays` and `meta` to `path`, wholly or not at all.

    Raises
    ------
    StorageError
        if the write fails; a file that was at `path` is untouched.
    """
    from safetensors.numpy import save

    body = {"format_version": FORMAT_VERSION, **meta}
    text = _as_text({**body, "crc32": _crc32(arrays, body)})
    # safetensors keeps metadata in a hash map: a second entry would come in an order that differs between processes.
    write_atomic(path, save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata={KEY: text}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and check the checkpoint at `path`.  Never runs code from it.

    Raises
    ------
    CheckpointError
        naming the file, what was expected, what came and the likely mend: if it is missing, empty, cut short, damaged,
        not a safetensors file, without this engine's metadata, or of another format version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise problem(
            path,
            "a checkpoint file",
            f"'{reason}'",
            "train one first (bptt train), or name a run or a .safetensors file",
        ) from error
    meta = _metadata(path, data)
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise problem(path, "arrays in safetensors form", f"'{error}'", _RESTORE) from error
    stated = meta.pop("crc32", None)
    if _crc32(arrays, meta) != stated:
        raise problem(path, f"contents with checksum {stated}", f"{_crc32(arrays, meta)} (damaged)", _RESTORE)
    return Checkpoint(path, dict(arrays), meta)


def match_arrays(path: Path, found: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> None:
    """Check that the arrays of a checkpoint are those of the model: the same names, each of the same shape.

    Parameters
    ----------
    found : the checkpoint's model arrays by parameter name.
    wanted : the model's own arrays by parameter name, on any backend.

    Raises
    ------
    CheckpointError
        naming the first parameter that differs.
    """
    mend = "it is another model's checkpoint: use the one it was saved from"
    for name in sorted(wanted.keys() - found.keys()):
        raise problem(path, f"parameter {name!r} of shape {tuple(wanted[name].shape)}", "no such parameter", mend)
    for name in sorted(found.keys() - wanted.keys()):
        raise problem(path, "only the model's own parameters", f"{name!r} of shape {found[name].shape}", mend)
    for name in sorted(wanted):
        if tuple(found[name].shape) != tuple(wanted[name].shape):
            expected = f"parameter {name!r} of shape {tuple(wanted[name].shape)}"
            raise problem(path, expected, f"shape {found[name].shape}", mend)


def problem(path: Path, expected: str, got: str, mend: str) -> CheckpointError:
    """A `CheckpointError` in the one form that all messages share."""
    return CheckpointError(f"{path}: expected {expected}, got {got}; {mend}")


def field(path: Path, meta: Mapping[str, Any], *keys: str) -> Any:
    """The metadata value at ``meta[key][key]...``; a `CheckpointError` that names the keys if it is not there."""
    value: Any = meta
    for depth, key in enumerate(keys, start=1):
        if not isinstance(value, Mapping) or key not in value:
            raise problem(path, f"metadata {'.'.join(keys[:depth])!r}", "none", _RESTORE)
        value = value[key]
    return value


def _metadata(path: Path, data: bytes) -> dict[str, Any]:
    """Check the frame of the file and return this engine's part of the header."""
    header = _header(path, data)
    entries = header.get("__metadata__")
    text = entries.get(KEY) if isinstance(entries, dict) else None
    if text is None:
        mend = "it was not saved by 'bptt train'; bare weights go through load_state_dict"
        raise problem(path, f"metadata {KEY!r} in the safetensors header", "none", mend)
    try:
        meta = json.loads(text)
        version = meta["format_version"]
        _as_text(meta)  # NaN is no JSON, though Python reads it
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise problem(path, f"metadata {KEY!r} as JSON with 'format_version'", "something else", _RESTORE) from error
    if version != FORMAT_VERSION:
        mend = "load it with the release of bptt-engine that wrote it"
        raise problem(path, f"checkpoint format version {FORMAT_VERSION}", f"version {version}", mend)
    return meta


def _header(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON header, after checking that the file is as long as its header says."""
    if not data:
        raise problem(path, "a checkpoint", "an empty file (0 bytes)", _RESTORE)
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    # Every safetensors header opens with a brace: anything else was never one, however it goes on.
    if len(data) > 8 and (data[8:9] != b"{" or length > 100_000_000):
        raise problem(path, "a safetensors checkpoint", "a file of another kind", "give a file saved by 'bptt train'")
    if len(data) < 8 + max(length, 2):
        got = f"{len(data):,} bytes (cut short)"
        raise problem(path, f"at least {8 + max(length, 2):,} bytes by its own header", got, _RESTORE)
    try:
        header = json.loads(data[8 : 8 + length])
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise problem(path, "a safetensors header in JSON", "something else", _RESTORE) from error
    expected = 8 + length + max(ends, default=0)
    if len(data) != expected:
        kind = "cut short" if len(data) < expected else "too long"
        raise problem(path, f"{expected:,} bytes by its own header", f"{len(data):,} bytes ({kind})", _RESTORE)
    return header


def _as_text(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _crc32(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> int:
    """One checksum over the metadata and all arrays, in the order of their names."""
    value = zlib.crc32(_as_text(meta).encode())
    for name in sorted(arrays):
        value = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), value))
    return value
