"""A file of arrays with a description: safetensors, with one entry of metadata in JSON, written whole or not at all.

The same content gives the same bytes: there is one metadata entry, its keys are sorted, and no clock is in it.  A
checksum covers the description and all arrays.  `engine.training.checkpoint` reads such files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.atomic import write_atomic
from engine.checks import describe, instance
from engine.errors import bad_input, bad_type
from engine.plain_arrays import refuse_own_rules

#: The only metadata entry, and the version of its content and of the names of the arrays.
KEY = "bptt-engine"
#: Version 1 left dtypes and shapes out of the checksum.
FORMAT_VERSION = 2
#: The longest JSON text that is read: a hundred times what a run of a thousand layers needs.
MOST_BYTES = 4_000_000
#: What the engine saves, as safetensors calls it.
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], place: str = "--out") -> None:
    """Write `arrays` and `meta` to `path`.

    Parameters
    ----------
    place : what names the place, for the hint of an error.

    Raises
    ------
    StorageError
        if the write fails; a file that was at `path` is untouched.
    """
    from safetensors.numpy import save

    plain = {name: np.asarray(a, order="C") for name, a in _named_arrays(arrays).items()}
    body = {"format_version": FORMAT_VERSION, **instance("meta", meta, Mapping, "a mapping that JSON holds")}
    try:
        text = as_text({**body, "crc32": checksum(plain, body, FORMAT_VERSION)})
    except (TypeError, ValueError, RecursionError) as error:
        raise bad_type("meta", "a mapping that JSON holds", f"one with something else ({error})") from None
    # safetensors keeps metadata in a hash map: a second entry would come in an order that differs between processes.
    data = save(plain, metadata={KEY: text})
    length = int.from_bytes(data[:8], "little")
    if length > MOST_BYTES:  # what cannot be read again is not written
        hint = "train on fewer files or on text with fewer different characters"
        raise bad_input("checkpoint", f"a description of at most {MOST_BYTES:,} bytes", f"{length:,}", hint)
    write_atomic(path, data, place)


def as_text(meta: Mapping[str, Any]) -> str:
    """The one way to write a description."""
    return json.dumps(meta, sort_keys=True, allow_nan=False, separators=(",", ":"))


def checksum(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], version: int) -> int:
    """One checksum over the metadata and all arrays, their dtypes and shapes included, in the order of their names."""
    value = zlib.crc32(as_text(meta).encode())
    for name in sorted(arrays):
        array = arrays[name]
        head = name if version == 1 else f"{name} {_NAMES.get(array.dtype, array.dtype)} {list(array.shape)}"
        value = zlib.crc32(array.tobytes(), zlib.crc32(head.encode(), value))
    return value


def _named_arrays(arrays: Any) -> Mapping[str, np.ndarray]:
    """The arrays, checked to be of the kinds that such a file holds."""
    instance("arrays", arrays, Mapping, "a mapping from names to arrays")
    for name, array in arrays.items():
        instance("arrays", name, str, "names that are strings")
        refuse_own_rules(f"arrays[{name!r}]", array)
        if not isinstance(array, np.ndarray) or array.dtype not in _NAMES:
            got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else describe(array)
            raise bad_type(f"arrays[{name!r}]", f"a NumPy array of {', '.join(map(str, _NAMES))}", got)
    found: Mapping[str, np.ndarray] = arrays
    return found
