"""Compiled code on disk: what is damaged, cut short or another's is compiled anew, never run."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from conftest import JIT_OFF

from kernels.cpu import announcing, compiling
from kernels.cpu.disk_cache import OTHERS, _CheckedFiles

KEY: Any = (("float32", "int64"), ("x86_64", "znver4", "+avx"), ("of the bytes", "of what it encloses"))
OTHER_KEY: Any = (("float64", "int64"), *KEY[1:])
CODE = random.Random(3).randbytes(20_000)

compiled_only = pytest.mark.skipif(JIT_OFF, reason="nothing is compiled, so nothing is kept (NUMBA_DISABLE_JIT)")


@pytest.fixture
def files(tmp_path: Path) -> _CheckedFiles:
    files = _CheckedFiles(tmp_path, "module.function-7.py311", "the sources")
    files.save(KEY, CODE)
    files.save(OTHER_KEY, CODE[::-1])
    assert files.load(KEY) == CODE
    assert files.load(OTHER_KEY) == CODE[::-1]
    return files


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_no_flipped_bit_goes_unseen(files: _CheckedFiles) -> None:
    path, draw = files.path(KEY), random.Random(11)
    bits = 8 * path.stat().st_size
    for bit in [0, 127, 128, bits - 1, *(draw.randrange(bits) for _ in range(60))]:
        flip(path, bit)
        assert files.load(KEY) is None, bit
        flip(path, bit)
    assert files.load(KEY) == CODE


@pytest.mark.parametrize("left", [0, 1, 15, 16, 17, 4096, 20_000])
def test_a_file_that_was_cut_short_is_none(files: _CheckedFiles, left: int) -> None:
    path = files.path(KEY)
    path.write_bytes(path.read_bytes()[:left])
    assert files.load(KEY) is None
    files.save(KEY, CODE)
    assert files.load(KEY) == CODE


def test_a_file_with_something_after_its_end_is_none(files: _CheckedFiles) -> None:
    path = files.path(KEY)
    path.write_bytes(path.read_bytes() + b"\0")
    assert files.load(KEY) is None


def test_a_whole_file_for_something_else_is_none(files: _CheckedFiles) -> None:
    """Code for other types, of other sources, of another function: run, it would read past the end of arrays."""
    shutil.copy(files.path(OTHER_KEY), files.path(KEY))
    assert files.load(KEY) is None
    assert files.load(OTHER_KEY) == CODE[::-1]
    folder = files.path(KEY).parent
    changed = _CheckedFiles(folder, "module.function-7.py311", "changed sources")
    assert changed.path(OTHER_KEY) == files.path(OTHER_KEY)  # the old one makes room for the new one
    assert changed.load(OTHER_KEY) is None
    other = _CheckedFiles(folder, "module.other-9.py311", "the sources")
    shutil.copy(files.path(OTHER_KEY), other.path(OTHER_KEY))
    assert other.load(OTHER_KEY) is None


def test_what_cannot_be_read_is_none(files: _CheckedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.path(KEY).unlink()
    assert files.load(KEY) is None
    files.path(KEY).mkdir()
    assert files.load(KEY) is None
    with pytest.raises(OSError, match="irectory"):  # nor can it be replaced; nothing half written stays
        files.save(KEY, CODE)
    assert not list(files.path(KEY).parent.glob("*.tmp.*"))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert files.load(OTHER_KEY) is None


def test_two_that_write_at_once_leave_a_whole_file(files: _CheckedFiles) -> None:
    seen: set[bytes | None] = set()

    def write(data: bytes) -> None:
        for _ in range(40):
            files.save(KEY, data)
            seen.add(files.load(KEY))

    writers = [threading.Thread(target=write, args=(CODE[n:],)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert seen <= {CODE[n:] for n in range(3)}


# -- with Numba ----------------------------------------------------------------------------------------------------


def _double(x: Any) -> Any:
    for n in range(len(x)):
        x[n] += x[n]


def doubled(x: np.ndarray) -> tuple[list[float], int]:
    """Double the numbers as a new process would, and say how many functions that compiled."""
    before = announcing.compilations()
    compiling.compiled("a test's loop")(_double)(x)
    return x.tolist(), announcing.compilations() - before


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with monkeypatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        numba.core.config.reload_config()
        yield tmp_path
    numba.core.config.reload_config()


def _times(factor: float) -> Any:
    def loop(x: Any) -> Any:
        for n in range(len(x)):
            x[n] *= factor

    return loop


def test_texts_of_a_cell_that_is_edited_do_not_pile_up(tmp_path: Path) -> None:
    """The newest stay, and so does all that belongs to other cells and to the text at hand."""
    others = [_CheckedFiles(tmp_path, f"loop.{name}-7.py311", "") for name in ("my_cell_forward_0123abcd", "my_cell")]
    for other in others:
        other.save(KEY, CODE)
    texts = [_CheckedFiles(tmp_path, f"loop.cell_forward_{n:08x}-7.py311", "") for n in range(3 * OTHERS)]
    for age, text in enumerate(texts):
        text.save(KEY, CODE)
        text.save(OTHER_KEY, CODE)
        for key in (KEY, OTHER_KEY):
            os.utime(text.path(key), (1e9 + age, 1e9 + age))
    kept = 1 + OTHERS // 2  # a text has two files here
    assert [text.load(KEY) is not None for text in texts] == [False] * (len(texts) - kept) + [True] * kept
    assert all(other.load(KEY) == CODE for other in others)
    assert texts[-1].load(OTHER_KEY) == CODE


@compiled_only
def test_loops_of_two_texts_do_not_mix(cache: Path) -> None:
    """Functions with one name and one code, such as those of two cells of one name, that enclose different things."""
    for factor, text, new in [(2.0, "a", 1), (2.0, "a", 0), (3.0, "b", 1), (2.0, "a", 0), (3.0, "b", 0)]:
        before, x = announcing.compilations(), np.array([1.5, 2.0])
        compiling.compiled("a test's loop", key=text)(_times(factor))(x)
        assert x.tolist() == [1.5 * factor, 2.0 * factor]
        assert announcing.compilations() - before == new


@compiled_only
def test_damaged_code_is_compiled_anew_and_written_anew(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doubled(np.array([1.5, 2.0])) == ([3.0, 4.0], 1)
    assert doubled(np.array([1.5, 2.0])) == ([3.0, 4.0], 0)
    (path,) = cache.rglob("*.nbc")
    content = path.read_bytes()
    draw = random.Random(5)
    for _ in range(2):
        flip(path, draw.randrange(8 * len(content)))
        assert doubled(np.array([0.5, -2.0])) == ([1.0, -4.0], 1)
        assert doubled(np.array([0.5, -2.0])) == ([1.0, -4.0], 0)
    assert "Traceback" not in capsys.readouterr().err
    assert [found.name for found in cache.rglob("*.*")] == [path.name]  # no index, nothing left over


@compiled_only
def test_code_for_another_type_is_not_run(cache: Path) -> None:
    doubled(np.array([1.5, 2.0]))
    (of_float64,) = cache.rglob("*.nbc")
    doubled(np.array([3, 4], np.int64))
    (of_int64,) = set(cache.rglob("*.nbc")) - {of_float64}
    shutil.copy(of_float64, of_int64)
    assert doubled(np.array([3, 4], np.int64)) == ([6, 8], 1)


@compiled_only
def test_code_that_numba_cannot_rebuild_is_compiled_anew(cache: Path) -> None:
    doubled(np.array([1.5, 2.0]))
    dispatcher = compiling.compiled("a test's loop")(_double)
    files = dispatcher._cache._cache_file
    key = dispatcher._cache._index_key((numba.float64[::1],), dispatcher.targetctx.codegen())
    assert files.path(key).exists()
    files.save(key, ("whole", "but", "no code"))
    assert doubled(np.array([1.5, 2.0])) == ([3.0, 4.0], 1)
