"""While something compiles, the user reads one line, with the time it will take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from conftest import JIT_OFF
from numba import types

from kernels.cpu import announcing, compiling, disk_cache, loops

NUMBERS = {name: types.CPointer(getattr(types, name)) for name in ("float32", "float64", "int64")}


class Compiler:
    """A stand-in for Numba: it tells the announcer what it compiles, and how long that took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.announcer, self.now, self.seconds = announcing.Announcer(), 0.0, seconds
        self.made: list[Any] = []  # kept, as titles go by identity
        monkeypatch.setattr(announcing.time, "thread_time", lambda: self.now)
        monkeypatch.setattr(announcing, "_TITLES", {})

    def compile(self, name: str, dtype: str, title: str | None = announcing.KERNELS, kept: bool = True) -> None:
        """Begin and end one function of (a tuple with a pointer to numbers, an integer)."""
        cache = disk_cache.DiskCache.__new__(disk_cache.DiskCache) if kept else None
        dispatcher = SimpleNamespace(py_func=SimpleNamespace(__name__=name), _cache=cache)
        self.made.append(dispatcher)
        if title is not None:
            announcing.entitle(dispatcher, title)
        told = SimpleNamespace(data={"dispatcher": dispatcher, "args": (types.Tuple((NUMBERS[dtype],)), types.int64)})
        self.announcer.on_start(told)
        self.now += self.seconds
        self.announcer.on_end(told)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed since the last call."""
    found = capsys.readouterr()
    assert found.out == ""
    return [line.removeprefix("bptt-engine: compiling ") for line in found.err.splitlines()]


def test_the_first_cell_of_a_dtype_has_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is that of the machine: here each function takes three times as long as where it was measured."""
    numba = Compiler(monkeypatch, 3 * announcing.SECONDS_OF_FIRST)
    for dtype in ("float32", "float64"):
        numba.compile(announcing.FIRST, dtype)
        assert lines(capsys) == [f"the kernels for {dtype}, about {3 * announcing.SECONDS:.0f} s (once; kept on disk)"]
        numba.compile("_panel", dtype)
        numba.compile("portion", dtype, title=None)
        numba.compile("lstm_forward", dtype, title="LSTM")
        numba.compile("start_forward", dtype)
        numba.compile("checksum", "int64")
        numba.compile("lstm_backward", dtype, title="LSTM")
        assert lines(capsys) == []
        numba.compile("gru_forward", dtype, title="GRU")
        numba.compile("gru_backward", dtype, title="GRU")
        assert lines(capsys) == [f"GRU for {dtype}, about 1 s (once; kept on disk)"]
    assert numba.announcer.compiled == 2 * 8


def test_where_some_is_on_disk_the_line_says_at_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numba = Compiler(monkeypatch, 1.0)
    numba.compile("product", "float64", kept=False)
    (line,) = lines(capsys)
    how = "at every start, as NUMBA_CACHE_DIR names no folder to keep it in"
    assert line == f"the kernels for float64, up to {announcing.SECONDS:.0f} s ({how})"


@pytest.mark.skipif(JIT_OFF, reason="nothing is compiled (NUMBA_DISABLE_JIT)")
def test_the_first_function_is_the_one_whose_time_is_taken() -> None:
    assert loops.start_forward is not None  # its import has brought all that is compiled for every cell
    assert compiling._SHARED[0].dispatcher.py_func.__name__ == announcing.FIRST
