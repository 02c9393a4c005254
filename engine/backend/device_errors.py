"""Errors of a GPU's libraries when something is missing, turned into one sentence with a hint.

CuPy is not imported here: an error is recognised by the name of its class and by its message.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from engine.errors import BackendUnavailableError, DeviceMemoryError, EngineError

_LIBRARIES = ("cupy", "cupy_backends", "cuda")  # top-level packages whose errors are looked at
_INSTALL = "pip install 'bptt-engine[cuda12]' or '[cuda13]', for the CUDA version of the driver"
#: What is missing, by a word in the message; the first that fits.
_PARTS = {
    "nvrtc": "NVRTC, CUDA's run-time compiler",
    "cublas": "cuBLAS, CUDA's library of matrix products",
    "libcudart": "CUDA's run-time library",
}
#: Memory outside CuPy's pool: the driver's own, for a module or a launch, and cuBLAS's.
_NO_MEMORY = "cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def explain(error: BaseException) -> EngineError | None:
    """The engine's own error for one of CuPy's, or None for any other."""
    if isinstance(error, EngineError):
        return None
    name, text = type(error).__name__, str(error)
    ours = type(error).__module__.partition(".")[0] in _LIBRARIES
    if ours and (name == "OutOfMemoryError" or re.search(_NO_MEMORY, text)):
        wanted = re.search(r"allocating ([\d,]+) bytes", text)
        expected = f"room for {wanted[1]} bytes more" if wanted else "room for one array more"
        held = re.search(r"so far: ([\d,]+) bytes", text)
        got = f"none ({held[1]} bytes are in use)" if held else "none"
        hint = "take a smaller batch, shorter sequences or float32, or free what other programs hold"
        return DeviceMemoryError(f"memory of the GPU: expected {expected}, got {got}; {hint}")
    if name == "CompileException" and ours:
        hint = "choose kernels='reference' until then, and report it with the versions of `bptt backends`"
        return BackendUnavailableError(f"CUDA kernels: expected to be compiled, got {first_line(error)!r}; {hint}")
    if isinstance(error, ImportError | OSError | RuntimeError) and _is_a_failed_load(text):
        for word, part in _PARTS.items():
            if word in text.lower():
                return BackendUnavailableError(f"{part}: expected to be found, got {first_line(error)!r}; {_INSTALL}")
    return None


def in_words(error: BaseException) -> str:
    """An error's message in one line; if a part of CUDA is missing, also how to get it."""
    first = first_line(error)
    part_missing = _is_a_failed_load(first) and any(word in first.lower() for word in _PARTS)
    return f"{first}; {_INSTALL}" if part_missing else first


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or the name of its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_a_failed_load(text: str) -> bool:
    return bool(re.search(r"failure finding|failed to load|cannot open shared object|no such file", text.lower()))


class explained:  # noqa: N801  (it reads as a word, as contextlib's do)
    """A ``with`` block, or a decorator of a function, that turns CuPy's errors into the engine's."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            better = explain(error)
            if better is not None:
                raise better from error

    def __call__(self, function: _Function) -> _Function:
        """The function with its body inside a ``try``, which costs nothing; a ``with`` block costs a little."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                better = explain(error)
                if better is None:
                    raise
                raise better from error

        return call  # type: ignore[return-value]
