"""Backends: what is usable and why not, names, and that nothing converts silently."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest

import engine
from engine import backend as backend_module


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

    yes, no = (lambda: True), (lambda: False)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"cuda": types.SimpleNamespace(is_available=no)}, "no CUDA driver or no GPU was found"),
        (
            {"cuda": types.SimpleNamespace(is_available=no_driver)},
            "cupy is installed but fails: cudaErrorInsufficientDriver",
        ),
        (
            {"cuda": types.SimpleNamespace(is_available=yes), "zeros": out_of_memory},
            "cupy is installed but fails: out of",
        ),
        ({}, "cupy is installed but fails: "),
    ]
    for attributes, reason in cases:
        backend_module._reason.cache_clear()
        fake_cupy(monkeypatch, **attributes)
        found = engine.available_backends()["cupy"]
        assert found is not None
        assert found.startswith(reason)
        assert "\n" not in found
        with pytest.raises(engine.EngineError, match="backend 'cupy' cannot be used here: ") as caught:
            engine.LSTM(2, 3, backend="cupy")
        assert found in str(caught.value)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    backend_module._reason.cache_clear()
    assert "cupy is not installed (pip install 'bptt-engine[cuda12]'" in str(engine.available_backends()["cupy"])


def test_unknown_names_list_the_known_ones() -> None:
    for call, message in [
        (lambda: engine.get_backend("torch"), "backend: expected one of 'numpy', 'cupy', got 'torch'"),
        (
            lambda: engine.get_backend("numpy", kernels="cuda"),
            "kernels: expected one of 'numba', 'reference' for numpy",
        ),
        (lambda: engine.get_backend("cupy:numba"), "kernels: expected one of 'reference' for cupy, got 'numba'"),
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

    with pytest.raises(engine.InputTypeError, match=r"x: expected a numpy array, got a torch\.Tensor; convert"):
        backend.require("x", Tensor())
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
