"""Builds CUDA source with g++ and calls its kernels as CuPy would, on NumPy arrays.  See host_cuda.h.

`build` compiles, `HostKernel` calls: ``kernel(grid, block, args, shared_mem=...)``, the call form of `cupy.RawKernel`.
It refuses what would go wrong on a GPU without a word: bare Python numbers, a scalar or an array of another type than
the kernel's, a cooperative grid that must not be, an array that is not C-contiguous.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).resolve().parent
_TYPES: dict[str, type[np.generic]] = {"i": np.int32, "u": np.uint32, "f": np.float32, "d": np.float64}
_SHARED = ("-std=c++17", "-O1", "-g0", "-fPIC", "-fno-strict-aliasing", "-fno-omit-frame-pointer", "-w")


class _Dim3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class _Array(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]


class _Launch(ctypes.Structure):
    """`host_cuda::Launch`."""

    _fields_ = [
        ("grid", _Dim3),
        ("block", _Dim3),
        ("shared_bytes", ctypes.c_size_t),
        ("cooperative", ctypes.c_int),
        ("check", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("arrays", ctypes.POINTER(_Array)),
        ("array_count", ctypes.c_int),
        ("run", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
    ]


def compiler() -> str:
    """The path of g++; a RuntimeError where there is none: the proof of the kernels must not vanish quietly."""
    found = shutil.which("g++")
    if found is None:
        raise RuntimeError("g++ is missing: the CUDA kernels are tested on the CPU with it (apt install g++)")
    return found


def build(code: str, options: tuple[str, ...] = (), sanitize: bool = False) -> ctypes.CDLL:
    """Compile CUDA source for the CPU.

    Parameters
    ----------
    code : the whole source, as `cupy.RawModule` gets it.
    options : its compiler options; those that define a macro are kept.
    sanitize : with the address sanitizer in place of the simulator's own checks; the process must have been started
        with libasan preloaded.
    """
    defines = tuple(option for option in options if option.startswith("-D"))
    return _build(code, defines, sanitize)


@functools.cache
def _build(code: str, defines: tuple[str, ...], sanitize: bool) -> ctypes.CDLL:
    check = ("-fsanitize=address",) if sanitize else ("-fsanitize=thread",)
    source = f'#include "{_HERE / "host_cuda.h"}"\n{code}'
    kernels = _compile(source, (*_SHARED, *defines, *check, "-c"), ".o")
    simulator = _compile(f'#include "{_HERE / "host_cuda.cpp"}"\n', (*_SHARED, "-c"), ".o")
    link = ("-shared", *(check if sanitize else ()), str(kernels), str(simulator))
    return ctypes.CDLL(str(_compile("", link, ".so")))


def _compile(source: str, flags: tuple[str, ...], suffix: str) -> Path:
    """Run g++ once for each source and flags; the result lies in the folder for temporary files."""
    key = hashlib.sha256(repr((source, flags, _headers())).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"bptt-cuda-sim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / (key + suffix)
    if not target.exists():
        mine = folder / f"{key}.{os.getpid()}{suffix}"  # several test processes may build the same
        command = [compiler(), *flags, "-o", str(mine)]
        if source:
            command += ["-x", "c++", "-"]
        done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"g++ could not compile the kernels:\n{done.stderr[:4000]}")
        mine.replace(target)
    return target


@functools.cache
def _headers() -> str:
    return "".join((_HERE / name).read_text() for name in ("host_cuda.h", "host_cuda.cpp"))


class HostKernel:
    """One kernel of a built library.

    Parameters
    ----------
    lib : what `build` returned.
    name : the kernel's name.
    seed : 0 runs the threads in order; any other number in an order of its own.
    check : look for races, wild addresses and unwritten shared memory.
    """

    def __init__(self, lib: ctypes.CDLL, name: str, seed: int = 0, check: bool = True) -> None:
        self.name, self.seed, self.check = name, seed, check
        try:
            self._launch = getattr(lib, f"launch_{name}")
            signature = getattr(lib, f"signature_{name}")
        except AttributeError:
            raise KeyError(f"the module has no kernel {name!r}") from None
        self._launch.restype = signature.restype = ctypes.c_char_p
        self.signature: str = signature().decode()

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        cooperative: bool = False,
    ) -> None:
        """Run the kernel to its end; a RuntimeError says what a checked launch did wrong.

        A null pointer is ``np.uintp(0)``: CuPy hands None over as no argument at all.
        """
        if len(args) != len(self.signature):
            raise TypeError(f"{self.name}: {len(args)} arguments, the kernel has {len(self.signature)}")
        keep = [self._argument(place, value) for place, value in enumerate(args)]
        pointers = (ctypes.c_void_p * len(keep))(*(ctypes.addressof(value) for value in keep))
        arrays = [_Array(value.ctypes.data, value.nbytes) for value in args if isinstance(value, np.ndarray)]
        launch = _Launch(
            _Dim3(*_three(grid)),
            _Dim3(*_three(block)),
            shared_mem,
            cooperative,
            self.check,
            self.seed,
            (_Array * len(arrays))(*arrays),
            len(arrays),
            None,
            pointers,
        )
        error = self._launch(ctypes.byref(launch))
        if error:
            raise RuntimeError(f"{self.name}: {error.decode()}")

    def _argument(self, place: int, value: Any) -> Any:
        letter = self.signature[place]
        wanted = _TYPES[letter.lower()]
        if letter.islower():
            if type(value) is wanted:
                return np.ctypeslib.as_ctypes(np.array(value))
        elif isinstance(value, np.ndarray) and value.dtype == wanted:
            if not value.flags.c_contiguous:
                raise TypeError(f"{self.name}, argument {place}: the array is not C-contiguous")
            return ctypes.c_void_p(value.ctypes.data)
        elif type(value) is np.uintp and value == 0:
            return ctypes.c_void_p(0)
        kind = "np." if letter.islower() else "an array of "
        got = f"{type(value).__name__} of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
        raise TypeError(f"{self.name}, argument {place}: the kernel wants {kind}{wanted.__name__}, got {got}")


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def barrier_calls(code: str) -> list[tuple[int, int]]:
    """Where each call of a barrier or a fence starts and ends in CUDA source; those in comments are none."""
    calls = re.finditer(r"\b(?:__syncthreads|__threadfence|group_barrier)\([^()]*\);", code)
    return [call.span() for call in calls if "//" not in code[code.rfind("\n", 0, call.start()) + 1 : call.start()]]
