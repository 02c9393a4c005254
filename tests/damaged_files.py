"""Damaged and crafted files of a run, and a watch over what a command does with them.

A *damaged* file was hit by an accident: flipped bits, a missing end.  A *crafted* one says something impossible with a
right checksum, as another program may, or somebody who means harm.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import json
import math
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commands import bptt

from engine.array_file import FORMAT_VERSION, KEY, as_text, checksum
from engine.training.checkpoint import read_file
from engine.training.container import DTYPES

NAMES = {dtype: name for name, dtype in DTYPES.items()}

#: What a value of any kind may be replaced by.
ODD: list[Any] = [
    None, True, -1, 0, 1, 3, 10**9, 10**18, 2**70, 10**400, 0.5, -1.5, 1e308, -1e308, math.inf, -math.inf, math.nan,
    "", "x", "/dev/zero", "\0", "\ud800", "x" * 5000, [], [None], [[]], [1, 2], ["x"], {}, {"x": 1}, {"args": []},
]  # fmt: skip

Change = Callable[[random.Random], bytes]


@dataclass
class Outcome:
    """What a command did: exit code, what it printed, seconds of work, megabytes above those held before."""

    code: int | str
    out: str
    err: str
    seconds: float
    megabytes: float

    def complaints(self, *, codes: tuple[int, ...] = (2,)) -> list[str]:
        """What is wrong with it, if anything."""
        found = []
        if self.code not in codes:
            found.append(f"exit {self.code}")
        if self.code != 0 and (self.err.count("\n") != 1 or not self.err.startswith("bptt")):
            found.append(f"standard error {self.err[-300:]!r}")
        if "Traceback" in self.err or "Warning" in self.err:
            found.append("a traceback or a warning")
        if self.seconds > 2:
            found.append(f"{self.seconds:.1f} s")
        if self.megabytes > 100:
            found.append(f"{self.megabytes:.0f} MB")
        return found


def watched(*args: object, limit: int = 10) -> Outcome:
    """Run a command in this process and watch it."""
    out, err = io.StringIO(), io.StringIO()
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here
    before, started = _memory("VmRSS"), time.process_time()
    code: int | str
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _alarm(limit):
        try:
            code = bptt(*args)
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"[:200]
    seconds = time.process_time() - started
    return Outcome(code, out.getvalue(), err.getvalue(), seconds, _memory("VmHWM") - before)


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"still at work after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory(key: str) -> float:
    """Megabytes by /proc; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    return 0.0


# -- crafted checkpoints ----------------------------------------------------------------------------------------------


def header_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The arrays' part of a safetensors header."""
    header, at = {}, 0
    for name, array in arrays.items():
        offsets = [at, at + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        at += array.nbytes
    return header


def packed(header: dict[str, Any], meta: dict[str, Any] | None, arrays: dict[str, np.ndarray]) -> bytes:
    """A checkpoint file with any header at all; the checksum is right wherever there can be one."""
    body = b"".join(array.tobytes() for array in arrays.values())
    if meta is not None:
        try:
            version = meta["format_version"] if meta["format_version"] in (1, 2) else FORMAT_VERSION
            text = as_text({**meta, "crc32": checksum(arrays, meta, version)})
        except (ValueError, KeyError, TypeError, UnicodeError):
            text = json.dumps({**meta, "crc32": 0})
        header = {"__metadata__": {KEY: text}, **header}
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a nest of records and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*at, key)
        yield from places(part, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any, delete: bool = False) -> Any:
    """A copy of the nest with another value at a place, or none."""
    whole = copy.deepcopy(value)
    part = whole
    for key in at[:-1]:
        part = part[key]
    if delete:
        del part[at[-1]]
    else:
        part[at[-1]] = new
    return whole


def like(value: Any, draw: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice([value + 1, value * 1000 + 7, -value - 1, 10**12])
    if isinstance(value, float):
        return draw.choice([value * 1.5 + 1, -value, value * 1e300, 1e-300])
    if isinstance(value, str):
        return draw.choice([value[::-1], value + "x", value * 50, value.upper()])
    return value


def damaged_checkpoints(path: Path) -> list[tuple[str, Change]]:
    """Ways to spoil a checkpoint file by accident: each has to be noticed."""
    data = path.read_bytes()

    def flipped(draw: random.Random) -> bytes:
        spoilt = bytearray(data)
        for _ in range(draw.choice([1, 1, 1, 2, 8])):
            spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
        return bytes(spoilt) if bytes(spoilt) != data else data[:-1]

    def cut(draw: random.Random) -> bytes:
        return data[: draw.randrange(len(data))]

    def longer(draw: random.Random) -> bytes:
        return data + draw.randbytes(draw.randrange(1, 100))

    def zeroed(draw: random.Random) -> bytes:
        at = draw.randrange(len(data) - 40)
        patch = bytes(40) if any(data[at : at + 40]) else b"\1" * 40
        return data[:at] + patch + data[at + 40 :]

    def head_of_another(draw: random.Random) -> bytes:
        return draw.choice([2, 2**31, 2**63, 9, 0]).to_bytes(8, "little") + data[8:]

    return [("flip", flipped), ("cut", cut), ("longer", longer), ("zeroed", zeroed), ("length", head_of_another)]


def crafted_checkpoints(path: Path) -> list[tuple[str, Change]]:
    """Ways to write a checkpoint that says something else, with a right checksum."""
    checkpoint = read_file(path)
    meta, arrays = checkpoint.meta, checkpoint.arrays
    header = header_of(arrays)
    inside = list(places(meta))

    def metadata(draw: random.Random) -> bytes:
        at = draw.choice(inside)
        return packed(header, replaced(meta, at, draw.choice(ODD), delete=draw.random() < 0.1), arrays)

    def metadata_of_the_type(draw: random.Random) -> bytes:
        at = draw.choice(inside)
        old = meta
        for key in at:
            old = old[key]
        return packed(header, replaced(meta, at, like(old, draw)), arrays)

    def entry(draw: random.Random) -> bytes:
        at = draw.choice(list(places(header)))
        return packed(replaced(header, at, draw.choice(ODD), delete=draw.random() < 0.1), meta, arrays)

    def dtype(draw: random.Random) -> bytes:
        name = draw.choice(list(header))
        size = DTYPES[header[name]["dtype"]].itemsize
        other = draw.choice(["I32" if size == 4 else "I64", "U8", "F16", "BF16", "F64", "F32", "BOOL", "F8_E4M3"])
        if other == header[name]["dtype"]:
            other = "U32"
        return packed(replaced(header, (name, "dtype"), other), meta, arrays)

    def shape(draw: random.Random) -> bytes:
        """The same numbers in another shape."""
        name = draw.choice([name for name, array in arrays.items() if array.size > 1])
        array = arrays[name]
        other = draw.choice([array.reshape(-1, 1), array.reshape(1, -1), array[None]])
        changed = {**arrays, name: other if other.shape != array.shape else array[None]}
        return packed(header_of(changed), meta, changed)

    def numbers(draw: random.Random) -> bytes:
        name = draw.choice([name for name, array in arrays.items() if array.dtype.kind == "f" and "sum" not in name])
        array = arrays[name].copy()
        array.reshape(-1)[draw.randrange(array.size)] = math.nan if "_sq" in name else draw.choice([math.nan, math.inf])
        changed = {**arrays, name: array}
        return packed(header_of(changed), meta, changed)

    def names(draw: random.Random) -> bytes:
        """An array more, or one less."""
        changed = dict(arrays)
        if draw.random() < 0.5:
            del changed[draw.choice(list(changed))]
        else:
            changed[draw.choice(["model/9.weight", "optimizer/x", "x", "", "carried/7", "trainer/x"])] = np.zeros(3)
        return packed(header_of(changed), meta, changed)

    def a_giant(draw: random.Random) -> bytes:
        """A small file that describes a large model."""
        size = draw.choice([10**4, 10**6, 10**9])
        part = draw.choice([i for i, p in enumerate(meta["model"]["args"]["layers"]) if len(p["args"]) > 3])
        args = meta["model"]["args"]["layers"][part]["args"]
        key = draw.choice([k for k, v in args.items() if isinstance(v, int) and not isinstance(v, bool)])
        changed = replaced(meta, ("model", "args", "layers", part, "args", key), size)
        option = {"hidden_size": "hidden", "in_features": "hidden", "num_layers": "layers", "embedding_dim": "embed"}
        if key in option and draw.random() < 0.7:
            changed["config"][option[key]] = size
        return packed(header, changed, arrays)

    def another_file(draw: random.Random) -> bytes:
        text = draw.choice(
            ["[" * 200_000, '{"a":' * 50_000, "{}", "[]", '{"__metadata__": 3}', "[1," * 90_000, "{" + " " * 99]
        )
        raw = b"{" + text.encode() if draw.random() < 0.5 else text.encode()
        return len(raw).to_bytes(8, "little") + raw

    return [
        ("metadata", metadata),
        ("metadata", metadata),
        ("metadata", metadata),
        ("metadata of the type", metadata_of_the_type),
        ("entry", entry),
        ("dtype", dtype),
        ("shape", shape),
        ("numbers", numbers),
        ("names", names),
        ("a giant", a_giant),
        ("another file", another_file),
    ]


# -- the small files beside it ----------------------------------------------------------------------------------------


def spoilt_options(path: Path) -> list[tuple[str, Change]]:
    """Ways to spoil ``run.json``."""
    data = path.read_bytes()
    record = json.loads(data)

    def value(draw: random.Random) -> bytes:
        at = draw.choice(list(places(record)))
        return json.dumps(replaced(record, at, draw.choice(ODD), delete=draw.random() < 0.15)).encode()

    def cut(draw: random.Random) -> bytes:
        return data[: draw.randrange(len(data) - 2)]

    def other(draw: random.Random) -> bytes:
        short = [b"", b"\xff\xfe", b"null", b"3", b"[]", b"{}", b'"x"', b"\0" * 99]
        return draw.choice([*short, b"[" * 100_000, b"{" * 5_000_000])

    return [("options", value), ("options", value), ("options cut", cut), ("options of another kind", other)]


def spoilt_metrics(path: Path) -> list[tuple[str, Change]]:
    """Ways to spoil ``metrics.jsonl``."""
    lines = path.read_bytes().splitlines(keepends=True)

    def value(draw: random.Random) -> bytes:
        at = draw.randrange(len(lines))
        record = json.loads(lines[at])
        place = draw.choice(list(places(record)))
        changed = json.dumps(replaced(record, place, draw.choice(ODD), delete=draw.random() < 0.15)).encode() + b"\n"
        return b"".join([*lines[:at], changed, *lines[at + 1 :]])

    def cut(draw: random.Random) -> bytes:
        return b"".join(lines)[: draw.randrange(sum(map(len, lines)))]

    def other(draw: random.Random) -> bytes:
        odd = draw.choice([b"[" * 100_000, b"\xff", b"x" * 3_000_000, b"null\n", b"\n", b"{}\n", b'{"kind": []}\n'])
        at = draw.randrange(len(lines))
        return b"".join([*lines[:at], odd, *lines[at:]])

    return [("metrics", value), ("metrics", value), ("metrics cut", cut), ("metrics of another kind", other)]


# -- trying them ------------------------------------------------------------------------------------------------------


def copied(run: Path, to: Path) -> Path:
    """A fresh copy of a run."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run, to)
    return to


def snapshot(directory: Path) -> dict[str, bytes]:
    """What the files of a run hold, pictures apart."""
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file() and p.suffix != ".png"}
