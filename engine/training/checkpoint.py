"""Checkpoints: arrays in a safetensors file, everything else as JSON in its header.

Nothing in the format can run code: an 8-byte length, a JSON header, then raw numbers (`engine.training.container`).
The metadata is checked before any of it is used (`engine.training.schema`), and each possible fault has a message of
its own.

The same training state gives the same bytes: there is one metadata entry, its keys are sorted, and no clock is in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.array_file import FORMAT_VERSION, KEY, as_text, checksum, write_arrays
from engine.checks import file_name, one_of
from engine.errors import bad_input
from engine.pretrained import pretrained_file
from engine.training.container import RESTORE, Entry, read_arrays, read_header
from engine.training.run_files import opened, parse_json, problem
from engine.training.schema import check_metadata, field, match_shapes

LAST = "last.safetensors"
BEST = "best.safetensors"

#: Bytes that may be read of any file, whatever it says it is.
SMALL = 32_000_000

#: These may be infinite, because squares can overflow; their weights then stop moving (`engine.optimizers.base`).
_MAY_BE_INFINITE = ("optimizer/exp_avg_sq.", "optimizer/square_avg.", "optimizer/sum.", "trainer/norm_sum")


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
    write_arrays(file_name("path", path), arrays, meta)


def checkpoint_in(path: str | Path, which: str | None = None) -> Path:
    """The checkpoint file that `path` means: the file itself, or the best one of a run directory, else the last.

    Where there is no such file, a name in `engine.pretrained` means the model that comes with the package.

    Parameters
    ----------
    which : ``"best"`` or ``"last"``, for a directory.
    """
    path = file_name("path", path)
    names = [BEST, LAST] if which is None else [f"{one_of('which', which, ('best', 'last'))}.safetensors"]
    if not os.path.exists(path):
        return pretrained_file(str(path)) or path
    if not os.path.isdir(path):
        return path
    for name in names:
        if (path / name).exists():
            return path / name
    hint = "train it first (bptt train), or name another directory or a .safetensors file"
    raise bad_input("run", f"a directory with {' or '.join(names)}", f"{path} without", hint)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint at `path` and check all of it.  Never runs code from it.

    Raises
    ------
    CheckpointError
        naming the file, what was expected, what came and the likely hint: if it is missing, no plain file, empty, cut
        short, damaged, not a safetensors file, without this engine's metadata, of another format version, or if its
        parts do not fit each other.
    """
    return read_file(file_name("path", path), check_metadata)


def read_file(
    path: Path,
    check: Callable[[Path, Mapping[str, Any], Mapping[str, Entry]], None] | None = None,
    hint: str = "train one first (bptt train), or name a run or a .safetensors file",
) -> Checkpoint:
    """Read a file that `write_checkpoint` wrote, with any content.

    For a large file, `check` is called before the arrays are read.  A small file is first tested for damage.

    Parameters
    ----------
    hint : what to do if there is no such file.
    """
    with opened(path, "a checkpoint file", hint) as (file, size):
        metadata, entries = read_header(path, file, size)
        meta = _metadata(path, metadata)
        stated = meta.pop("crc32", None)
        if check is not None and size > SMALL:
            check(path, meta, entries)
        arrays = read_arrays(file, entries)
    found = checksum(arrays, meta, meta["format_version"])
    if found != stated:
        raise problem(path, f"contents with checksum {str(stated)[:20]}", f"{found} (damaged)", RESTORE)
    if check is not None and size <= SMALL:
        check(path, meta, entries)
    for name, array in arrays.items():
        _require_numbers(path, name, array)
    return Checkpoint(path, arrays, meta)


def match_arrays(path: Path, found: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> None:
    """Check that the arrays of a checkpoint are those of the model: the same names, each of the same shape.

    Parameters
    ----------
    path : for the message.
    found : the checkpoint's arrays by parameter name.
    wanted : the model's own arrays by parameter name, on any backend.

    Raises
    ------
    CheckpointError
        naming the first parameter that differs.
    """
    match_shapes(path, *({name: tuple(a.shape) for name, a in arrays.items()} for arrays in (found, wanted)))


def _metadata(path: Path, entries: Any) -> dict[str, Any]:
    """The engine's own part of the header; raises for a version that this release does not know."""
    text = entries.get(KEY) if isinstance(entries, dict) else None
    if text is None:
        hint = "it was not saved by 'bptt train'; bare weights go through load_state_dict"
        raise problem(path, f"metadata {KEY!r} in the safetensors header", "none", hint)
    try:
        meta = parse_json(text)
        version = meta["format_version"]
        as_text(meta)  # a number beyond float64 becomes infinite, which is no JSON
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise problem(path, f"metadata {KEY!r} as JSON with 'format_version'", "something else", RESTORE) from error
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= FORMAT_VERSION:
        hint = "load it with the release of bptt-engine that wrote it"
        got = f"version {version}" if isinstance(version, int) else "something else"
        raise problem(path, f"checkpoint format version 1 to {FORMAT_VERSION}", got[:60], hint)
    return dict(meta)


def _require_numbers(path: Path, name: str, array: np.ndarray) -> None:
    """Raise if an array holds a value that no run saves: NaN, infinity, or a byte that is neither true nor false."""
    if array.dtype.kind == "f":
        wrong = np.isnan(array) if name.startswith(_MAY_BE_INFINITE) else ~np.isfinite(array)
    elif array.dtype.kind == "b":
        wrong = np.atleast_1d(array).view(np.uint8) > (0 if name == "optimizer/nonfinite" else 1)
    else:
        return
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        value = "true" if array.dtype.kind == "b" else str(array[at]) if array.ndim else str(array)
        kind, _, rest = name.partition("/")
        what = f"parameter {rest!r}" if kind == "model" else repr(name)
        got = f"{value} in {what} at index {list(at) if array.ndim else 0}"
        raise problem(path, "finite numbers", got, "use a checkpoint from before that, or train anew with a lower --lr")


__all__ = [
    "BEST",
    "FORMAT_VERSION",
    "KEY",
    "LAST",
    "Checkpoint",
    "checkpoint_in",
    "field",
    "match_arrays",
    "problem",
    "read_checkpoint",
    "read_file",
    "write_checkpoint",
]
