"""The layers on a device made of host memory: no host array is mixed in, nothing waits, the numbers are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import KINDS, build, passes, random_arguments
from fake_device import DeviceArray, Library, counts

import engine
from engine.backend import Backend
from kernels.reference import ReferenceKernels


@pytest.fixture
def device() -> Backend:
    library: Any = Library()
    counts.reset()
    return Backend("fake", library, ReferenceKernels(library), "memory of the host")


def upload(backend: Backend, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(upload(backend, part) for part in value)
    return backend.asarray(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["full", "lengths"])
def test_recurrent_layers_on_a_device(kind: str, lengths: Any, device: Backend) -> None:
    options: dict[str, Any] = {"bidirectional": True, "batch_first": True, "dropout": 0.3}
    host = build(kind, 3, 4, 2, **options)
    arguments = random_arguments(host, 5, 3, 1)
    wanted = passes(host, *arguments, lengths)
    layer = type(host)(**host._arguments(), backend=device, dtype="float64")
    layer.load_state_dict(host.state_dict())
    x, state, dy, dstate = (upload(device, argument) for argument in arguments)
    counts.reset()
    found = passes(layer, x, state, dy, dstate, lengths)
    layer.predict(x, state, lengths)
    assert counts.waits == 0
    for name, value in wanted.items():
        assert isinstance(found[name], DeviceArray)
        np.testing.assert_array_equal(found[name].get(), value, err_msg=name)


def test_a_whole_model_on_a_device(device: Backend) -> None:
    def model(backend: Any) -> Any:
        options: dict[str, Any] = {"backend": backend, "dtype": "float32", "seed": 4}
        return engine.Sequential(
            engine.Embedding(7, 3, **options),
            engine.Dropout(0.3, **options),
            engine.GRU(3, 4, **options),
            engine.Linear(4, 5, **options),
        )

    one, other = model("numpy:reference"), model(device)
    ids = np.random.default_rng(0).integers(0, 7, (5, 3))
    dy = np.random.default_rng(1).normal(size=(5, 3, 5)).astype(np.float32)
    for lengths in (None, [5, 0, 3]):
        y, _, tape = one.forward(ids, lengths=lengths)
        one.backward(tape, dy)
        counts.reset()
        z, _, tape = other.forward(ids, lengths=lengths)
        other.backward(tape, device.asarray(dy))
        assert counts.waits == 0
        np.testing.assert_array_equal(z.get(), y)
    for name, grad in one.grads.items():
        np.testing.assert_array_equal(other.grads[name].get(), grad, err_msg=name)
    with pytest.raises(engine.InputTypeError, match="x: expected integer ids on the host, got a device array"):
        other.forward(device.asarray(ids))


def test_host_arrays_are_refused_on_a_device(device: Backend) -> None:
    layer = engine.LSTM(3, 4, backend=device)
    x = np.ones((2, 1, 3), np.float32)
    with pytest.raises(engine.InputTypeError, match=r"x: expected a fake array, got a numpy\.ndarray; convert it with"):
        layer.forward(x)
    with pytest.raises(
        engine.InputTypeError, match="lengths: expected a host list or NumPy integer array, got a device"
    ):
        layer.forward(device.asarray(x), lengths=device.asarray(np.array([1])))
