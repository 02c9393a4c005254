"""Backends: what is usable and why not, names, and that nothing converts silently."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import fake_arrays
import fake_cuda
import numpy as np
import pytest
from commands import refused, tiny, write_text
from fake_cupy import use_backend

import engine
from engine.backend import choosing as backend_module
from engine.backend.device_errors import explain


@pytest.fixture
def fresh_detection() -> Any:
    """Forget what was detected, before and after."""
    backend_module._reason.cache_clear()
    yield
    backend_module._reason.cache_clear()


def fake_cupy(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> None:
    module = types.ModuleType("cupy")
    module.__spec__ = importlib.util.spec_from_loader("cupy", loader=None)
    for name, value in attributes.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "cupy", module)


class DynamicLibNotFoundError(RuntimeError):
    """What CUDA's path finder raises."""


DynamicLibNotFoundError.__module__ = "cuda.pathfinder._dynamic_libs.load_dl_common"
NVRTC = 'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13 or libnvrtc.so.12'
CUBLAS = 'Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13'
#: As CuPy 14.2 raises them where CUDA's libraries are missing.
NO_NVRTC, NO_CUBLAS = DynamicLibNotFoundError(f"{NVRTC}\n"), ImportError(f"{CUBLAS}\n")


def raising(error: Exception) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_numpy_is_always_there_and_the_best_kernels_come_first() -> None:
    assert engine.available_backends()["numpy"] is None
    assert engine.get_backend("numpy").spec == "numpy:numba"
    assert engine.get_backend("numpy:reference") is engine.get_backend("numpy", kernels="reference")
    assert engine.get_backend("numpy:reference").kernels.name == "reference"
    one = engine.get_backend("numpy")
    assert engine.get_backend(one) is one


def test_every_reason_for_no_is_kept_and_shown(fresh_detection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> bool:
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient\nmore lines")

    def out_of_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError("out of memory")

    def no_device(driver: int) -> dict[str, Any]:
        versions = {"driverGetVersion": lambda: driver, "runtimeGetVersion": lambda: 13000}
        runtime = types.SimpleNamespace(**versions)
        return {"cuda": types.SimpleNamespace(is_available=lambda: False, runtime=runtime)}

    def yes() -> bool:
        return True

    cases: list[tuple[dict[str, Any], str]] = [
        (no_device(driver=0), "no CUDA driver, and so no GPU, was found: install NVIDIA's"),
        (no_device(driver=13000), "the CUDA driver finds no GPU: "),
        (no_device(driver=11080), "the driver is for CUDA 11, and the installed cupy needs 13: update the driver"),
        (no_device(driver=12090), "the driver is for CUDA 12, and the installed cupy needs 13: update the driver, or "),
        (
            {"cuda": types.SimpleNamespace(is_available=no_driver)},
            "cupy is installed but fails: cudaErrorInsufficientDriver",
        ),
        (
            {"cuda": types.SimpleNamespace(is_available=yes), "zeros": out_of_memory},
            "cupy is installed but fails: out of",
        ),
        ({}, "cupy is installed but fails: "),
        (
            {"cuda": types.SimpleNamespace(is_available=yes), "zeros": raising(NO_NVRTC)},
            f"cupy is installed but fails: {NVRTC}",
        ),
        (
            {"cuda": types.SimpleNamespace(is_available=yes), "zeros": raising(NO_CUBLAS)},
            f"cupy is installed but fails: {CUBLAS}",
        ),
    ]
    for attributes, reason in cases:
        backend_module._reason.cache_clear()
        fake_cupy(monkeypatch, **attributes)
        found = engine.available_backends()["cupy"]
        assert found is not None
        assert found.startswith(reason)
        assert "\n" not in found
        assert ("; pip install 'bptt-engine[cuda12]' or '[cuda13]'" in found) == ("Failure finding" in found)
        with pytest.raises(engine.EngineError, match="backend 'cupy' cannot be used here: ") as caught:
            engine.LSTM(2, 3, backend="cupy")
        assert found in str(caught.value)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    backend_module._reason.cache_clear()
    assert "cupy is not installed (pip install 'bptt-engine[cuda12]'" in str(engine.available_backends()["cupy"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NO_NVRTC, f"NVRTC, CUDA's run-time compiler: expected to be found, got '{NVRTC}'; pip install 'bptt-engine["),
        (NO_CUBLAS, f"cuBLAS, CUDA's library of matrix products: expected to be found, got '{CUBLAS}'; pip install '"),
        (fake_cuda.CompileException("a.cu(3): error"), "CUDA kernels: expected to be compiled, got 'a.cu(3): error'; "),
        (
            fake_cuda.OutOfMemoryError(1200, 34),
            "memory of the GPU: expected room for 1,200 bytes more, got none (34 by",
        ),
        (
            fake_cuda.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
            "memory of the GPU: expected room for one array more, got none; take a smaller batch",
        ),
        (
            fake_cuda.CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
            "memory of the GPU: expected room for one array more, got none; take a smaller batch",
        ),
    ],
    ids=["nvrtc", "cublas", "compiler", "pool", "runtime", "driver"],
)
def test_what_fails_in_use_is_one_clear_error(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layer = engine.LSTM(2, 3, backend=use_backend("look-alike", monkeypatch))
    x = layer.backend.asarray(np.ones((4, 1, 2), np.float32))
    text = write_text(tmp_path / "text")
    monkeypatch.setattr(fake_arrays.ndarray, "__matmul__", raising(error))
    for call in (lambda: layer.forward(x), lambda: layer.predict(x)):
        with pytest.raises(engine.EngineError) as caught:
            call()
        assert str(caught.value).startswith(message)
        assert caught.value.__cause__ is error
    code = 1 if message.startswith("memory") else 2
    monkeypatch.setattr(backend_module, "_reason", lambda library: None)  # detection would have found it already
    run = tmp_path / "run"
    line = refused(capsys, "train", text, "--out", run, *tiny(backend="cupy:reference"), "--quiet", code=code)
    assert line.startswith(f"bptt: {message[:60]}")


def test_other_errors_pass_as_they_are() -> None:
    for error in (ValueError("nvrtc"), RuntimeError("cublas is fine"), MemoryError("12"), OSError("no such file: x")):
        assert explain(error) is None


def test_unknown_names_list_the_known_ones() -> None:
    for call, message in [
        (lambda: engine.get_backend("jax"), "backend: expected one of 'numpy', 'cupy', 'torch', got 'jax'"),
        (
            lambda: engine.get_backend("numpy", kernels="cuda"),
            "kernels: expected one of 'numba', 'reference' for numpy",
        ),
        (
            lambda: engine.get_backend("cupy:numba"),
            "kernels: expected one of 'cuda', 'reference' for cupy, got 'numba'",
        ),
        (
            lambda: engine.get_backend("numpy:numba", kernels="reference"),
            "kernels: expected one kernel set, 'numba' is",
        ),
        (
            lambda: engine.get_backend(3),  # type: ignore[arg-type]
            "backend: expected a name or a Backend, got 3",
        ),
    ]:
        with pytest.raises(engine.InputError) as caught:
            call()
        assert str(caught.value).startswith(message)


def test_uploads_copy_and_another_library_is_refused() -> None:
    backend = engine.get_backend("numpy:reference")
    host = np.arange(3.0)
    device = backend.asarray(host, dtype=np.float32)
    device[0] = 9
    assert host[0] == 0
    assert device.dtype == np.float32

    class Tensor:
        __module__ = "torch"

    with pytest.raises(engine.InputTypeError) as caught:
        backend.require("x", Tensor())
    assert str(caught.value) == (
        "x: expected a numpy array, got a torch.Tensor; download it with engine.get_backend('torch').to_host(...)"
    )
    with pytest.raises(engine.InputTypeError, match=r"x: expected a numpy array, got a list; convert it with engine\."):
        backend.require("x", [[[1.0]]])
    with pytest.raises(engine.InputTypeError, match="array: expected an array of one of the backends numpy, cupy"):
        backend_module.backend_of(Tensor())


def test_a_fingerprint_sees_one_changed_bit_anywhere() -> None:
    backend = engine.get_backend("numpy:reference")
    rng = np.random.default_rng(0)
    arrays: list[Any] = [rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=7)]
    before = backend.fingerprint(arrays)
    assert backend.fingerprint([array.copy() for array in arrays]) == before
    for array in arrays:
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = np.nextafter(value, np.inf, dtype=array.dtype)
            assert backend.fingerprint(arrays) != before
            array[index] = value
    assert backend.fingerprint(arrays) == before
