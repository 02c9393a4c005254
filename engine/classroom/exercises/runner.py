"""Runs a student's file in a process of its own; started by `engine.classroom.exercises.student`, never imported there.

It reads requests from standard input and answers on standard output, both taken away from the student's code first:
what that code prints goes nowhere, and what it returns is judged in the parent process, which alone knows the right
numbers.  The code may read files that Python imports; it may write none, start no process and open no connection.
It needs NumPy alone, so that it starts quickly.
"""

from __future__ import annotations

import builtins
import json
import os
import struct
import sys
import traceback
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.fft  # these load parts of NumPy that the guard would refuse to load later
import numpy.linalg
import numpy.random

#: Kinds of dtype that may cross: floats, integers, booleans, complex numbers.
KINDS = "fiubc"
#: A message larger than this is refused.
LARGEST = 1 << 28
#: Packages in which the answers could be found, and those that differentiate by themselves.
CLOSED = ("engine", "kernels", "bptt_engine", "torch", "jax", "autograd", "tensorflow", "cupy")
#: Audit events that end in an error, by their first words.
REFUSED = (
    "os.", "shutil.", "subprocess.", "socket.", "ctypes.", "pty.", "winreg.", "webbrowser.", "signal.", "urllib.",
    "tempfile.", "sqlite3.", "ftplib.", "smtplib.", "http.", "fcntl.", "syslog.", "resource.",
)  # fmt: skip
READING = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")


# -- messages: a length, a JSON text, the bytes of its arrays ----------------------------------------------------------


def write_message(stream: IO[bytes], value: Any) -> None:
    """Write a nest of tuples, lists, dicts, numbers, texts, None and arrays.

    Raises
    ------
    TypeError
        for a value that cannot cross.
    """
    arrays: list[np.ndarray] = []
    text = json.dumps(_plain(value, arrays)).encode()
    stream.write(struct.pack("<QQ", len(text), len(arrays)) + text)
    for array in arrays:
        stream.write(struct.pack("<Q", array.nbytes))
        stream.write(array.tobytes())
    stream.flush()


def read_message(stream: IO[bytes]) -> Any:
    """Read what `write_message` wrote; no code of the other side is run.

    Raises
    ------
    EOFError
        if the other side has ended.
    """
    length, count = struct.unpack("<QQ", _exactly(stream, 16))
    text = _exactly(stream, length)
    blobs = [_exactly(stream, struct.unpack("<Q", _exactly(stream, 8))[0]) for _ in range(min(count, 10_000))]
    return _nest(json.loads(text), blobs)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    if size > LARGEST:
        raise EOFError("a message that is too large")
    found = stream.read(size)
    if found is None or len(found) < size:
        raise EOFError("the other side has ended")
    return found


def _plain(value: Any, arrays: list[np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind not in KINDS:
            raise TypeError(f"an array of dtype {array.dtype}")
        arrays.append(array)
        return {"array": len(arrays) - 1, "dtype": array.dtype.str, "shape": list(array.shape)}
    if isinstance(value, (int, float)):
        return {"number": repr(value)}
    if isinstance(value, (tuple, list)):
        return {"tuple" if isinstance(value, tuple) else "list": [_plain(one, arrays) for one in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(one, arrays) for key, one in value.items()}}
    raise TypeError(f"a {type(value).__name__}")


def _nest(value: Any, blobs: list[bytes]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in KINDS:
            raise EOFError("an array that cannot cross")
        return np.frombuffer(blobs[value["array"]], dtype).reshape(value["shape"]).copy()
    if "number" in value:
        return float(value["number"]) if any(c in value["number"] for c in ".einf") else int(value["number"])
    if "dict" in value:
        return {key: _nest(one, blobs) for key, one in value["dict"].items()}
    kind = tuple if "tuple" in value else list
    return kind(_nest(one, blobs) for one in value[kind.__name__])


# -- what the student's code may not do --------------------------------------------------------------------------------


class Closed:
    """An import hook that refuses the packages that would do the exercise."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse a closed package; leave all others to Python."""
        if name.partition(".")[0] in CLOSED:
            raise ImportError(f"{name} may not be used here: solve the exercise with NumPy and plain Python")


def guard(forbidden: str) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that refuses to write, to start processes, and to read what lies in the folder `forbidden`."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            name, mode, flags = (*args, None, None, None)[:3]
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            kinds = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if writes or (isinstance(flags, int) and flags & kinds):
                raise PermissionError("an exercise may not write files")
            if isinstance(name, (str, bytes)) and os.path.realpath(os.fsdecode(name)).startswith(forbidden + os.sep):
                raise PermissionError("an exercise may not read the files of bptt-engine")
        elif event.startswith(REFUSED) and event not in READING:
            raise PermissionError(f"an exercise may not do this ({event})")

    return hook


def limit_memory() -> None:
    """At most 4 GiB of addresses and no byte written, where the system can be told so."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_AS, 4 << 30), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):
            pass


def arrays_in(value: Any, place: str, depth: int = 4) -> list[tuple[str, np.ndarray]]:
    """The arrays in a nest of tuples, lists, dicts and objects, with the words that lead to each."""
    if isinstance(value, np.ndarray):
        return [] if value.dtype.hasobject else [(place, value)]
    if depth == 0 or isinstance(value, type):
        return []
    if isinstance(value, (tuple, list)):
        parts = [(f"{place}[{k}]", one) for k, one in enumerate(value)]
    elif isinstance(value, dict):
        parts = [(f"{place}[{key!r}]", one) for key, one in value.items()]
    else:
        parts = [(f"{place}.{key}", one) for key, one in getattr(value, "__dict__", {}).items()]
    return [found for where, one in parts for found in arrays_in(one, where, depth - 1)]


# -- the loop ----------------------------------------------------------------------------------------------------------


class Host:
    """The student's functions, and the caches that their forward functions have returned."""

    def __init__(self, path: str, shown: str) -> None:
        self.shown, self.count = shown, 0
        self.caches: dict[int, Any] = {}
        self.kept: dict[int, list[Any]] = {}  # the arguments of the call that made the cache
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.names: dict[str, Any] = {"__name__": "exercise", "__file__": shown, "__builtins__": builtins}

    def load(self) -> None:
        """Run the file from top to bottom, as an import does."""
        exec(compile(self.source, self.shown, "exec"), self.names)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call one function; what it returned, and which of its arguments it has written into."""
        for number in request["drop"]:
            self.caches.pop(number, None)
            self.kept.pop(number, None)
        function = self.names.get(request["function"])
        if not callable(function):
            return {"error": "missing", "words": "", "line": None}
        args = [self._argument(value) for value in request["args"]]
        before = [value.copy() if isinstance(value, np.ndarray) else None for value in args]
        number = next((value["cache"] for value in request["args"] if isinstance(value, dict) and "cache" in value), 0)
        inside = arrays_in(self.caches.get(number), "cache")
        copies = [array.copy() for _, array in inside]
        result = function(*args)
        written = self._written(inside, copies, number)
        keep = None
        if request["keep"]:
            if not isinstance(result, tuple) or len(result) < 2:
                return {"error": "no cache", "words": type(result).__name__, "line": None}
            self.count += 1
            self.caches[self.count], self.kept[self.count] = result[-1], args
            result, keep = result[:-1], self.count
        changed = {
            str(k): value
            for k, (value, old) in enumerate(zip(args, before, strict=True))
            if old is not None and value.tobytes() != old.tobytes()
        }
        return {"value": result, "cache": keep, "changed": changed, "written": written}

    def _written(self, inside: list[tuple[str, np.ndarray]], copies: list[np.ndarray], number: int) -> list[list[Any]]:
        """For each array of the cache that has changed: where it stands, and the number of forward's argument or -1."""
        found = []
        for (place, array), copy in zip(inside, copies, strict=True):
            if array.tobytes() != copy.tobytes():
                kept = [value is array or np.shares_memory(value, array) if isinstance(value, np.ndarray) else False
                        for value in self.kept[number]]  # fmt: skip
                found.append([place, kept.index(True) if True in kept else -1])
        return found

    def _argument(self, value: Any) -> Any:
        if isinstance(value, dict) and "cache" in value:
            return self.caches[value["cache"]]
        if isinstance(value, dict) and "code" in value:
            return eval(value["code"], {"np": np})
        return value

    def said(self, error: BaseException) -> dict[str, Any]:
        """An exception in words, with the last line of the student's file that it passed."""
        lines = [place.lineno for place in traceback.extract_tb(error.__traceback__) if place.filename == self.shown]
        line = lines[-1] if lines else error.lineno if isinstance(error, SyntaxError) else None
        kind = "not written" if isinstance(error, NotImplementedError) else "raised"
        try:
            words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        except Exception:
            words = type(error).__name__
        return {"error": kind, "words": words[:500], "line": line}


def main(path: str, shown: str, forbidden: str) -> None:
    """Answer requests until the parent closes the pipe."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    sys.stdin, sys.stdout, sys.stderr = open(os.devnull), open(os.devnull, "w"), open(os.devnull, "w")
    host = Host(path, shown)
    limit_memory()
    sys.meta_path.insert(0, Closed())
    sys.addaudithook(guard(forbidden))
    try:
        host.load()
        write_message(answers, {"ready": True})
    except BaseException as error:  # also SystemExit and KeyboardInterrupt
        write_message(answers, host.said(error))
        return
    while True:
        try:
            request = read_message(requests)
        except EOFError:
            return
        try:
            answer = host.answer(request)
        except BaseException as error:  # the student's code may raise anything
            answer = host.said(error)
        try:
            write_message(answers, answer)
        except TypeError as error:
            write_message(answers, {"error": "cannot cross", "words": str(error), "line": None})


if __name__ == "__main__":
    sys.path.append(sys.argv[4])  # where NumPy lies, in case this Python does not look there by itself
    main(*sys.argv[1:4])
