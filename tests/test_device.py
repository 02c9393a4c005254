"""The engine on the CuPy look-alike: nothing is mixed, nothing waits, the numbers are those of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, leaves, passes, random_arguments
from commands import bptt, metrics, refused, write_series, write_text
from fake_arrays import ndarray
from fake_cuda import counts, machine
from fake_cupy import installed

import engine
from engine.training import load_model, read_checkpoint

pytestmark = pytest.mark.device

KERNELS = ("reference", "cuda")
#: How far a result on the look-alike may be from NumPy's: the plain kernels do the very same, ours add in other orders.
CLOSE = {"reference": 0.0, "cuda": 1e-12}


@pytest.fixture
def cp() -> Iterator[Any]:
    with installed() as cupy:
        yield cupy


def upload(backend: Any, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(upload(backend, part) for part in value)
    return backend.asarray(value)


def agree(found: Any, wanted: Any, kernels: str, name: str = "") -> None:
    assert isinstance(found, ndarray)
    np.testing.assert_allclose(found.get(), wanted, rtol=CLOSE[kernels], atol=CLOSE[kernels], err_msg=name)


# -- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", FIVE_CELLS)
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["full", "lengths"])
def test_recurrent_layers(kind: str, lengths: Any, kernels: str, cp: Any) -> None:
    options: dict[str, Any] = {"bidirectional": True, "batch_first": True, "dropout": 0.3}
    host = build(kind, 2, 4, 2, **options)
    arguments = random_arguments(host, 5, 3, 1)
    wanted = passes(host, *arguments, lengths)
    layer = host.to(backend=f"cupy:{kernels}")
    layer.load_call_counters({"": 0})
    x, state, dy, dstate = (upload(layer.backend, argument) for argument in arguments)
    counts.reset()
    found = passes(layer, x, state, dy, dstate, lengths)
    y, _ = layer.predict(x, state, lengths)
    assert counts.waits == 0
    assert counts.uploads == (0 if lengths is None else 2)  # the lengths, once for forward and once for predict
    for name, value in wanted.items():
        agree(found[name], value, kernels, name)
    agree(y, host.predict(arguments[0], arguments[1], lengths)[0], kernels)
    trace = layer.backward_trace(layer.forward(x, state, lengths)[2], dy, dstate)
    assert trace.layers[1][0].dh.shape == (6, 3, 4)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_arguments_in_any_memory_order(kind: str, kernels: str, cp: Any) -> None:
    host = build(kind, 2, 4, 2, bidirectional=True)
    arguments = random_arguments(host, 5, 3)
    wanted = passes(host, *arguments, [5, 0, 2])

    def turned(value: Any) -> Any:  # CuPy keeps the order that the host array has
        return tuple(map(turned, value)) if isinstance(value, tuple) else np.asfortranarray(value)

    layer = host.to(backend=f"cupy:{kernels}")
    x, state, dy, dstate = (upload(layer.backend, turned(argument)) for argument in arguments)
    assert not x.flags.c_contiguous
    found = passes(layer, x, state, dy, dstate, [5, 0, 2])
    for name, value in wanted.items():  # a product of a transposed array adds in another order
        np.testing.assert_allclose(found[name].get(), value, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_whole_model_with_weights_and_masks_that_are_the_same_numbers(kernels: str, cp: Any) -> None:
    def model(backend: str) -> Any:
        options: dict[str, Any] = {"backend": backend, "dtype": "float64", "seed": 4}
        return engine.Sequential(
            engine.Embedding(7, 3, **options),
            engine.Dropout(0.3, **options),
            engine.GRU(3, 4, 2, dropout=0.2, **options),
            engine.Linear(4, 5, **options),
        )

    one, other = model("numpy:reference"), model(f"cupy:{kernels}")
    for name, param in one.params.items():
        np.testing.assert_array_equal(other.params[name].get(), param, err_msg=name)
    ids = np.random.default_rng(0).integers(0, 7, (6, 3))
    dy = np.random.default_rng(1).normal(size=(6, 3, 5))
    for lengths in (None, [6, 0, 3]):
        y, state, tape = one.forward(ids, lengths=lengths)
        one.backward(tape, dy)
        counts.reset()
        z, other_state, tape = other.forward(ids, lengths=lengths)
        other.backward(tape, other.backend.asarray(dy))
        assert counts.waits == 0
        agree(z, y, kernels)
        for a, b in zip(leaves(other_state), leaves(state), strict=True):
            agree(a, b, kernels)
    for name, grad in one.grads.items():
        agree(other.grads[name], grad, kernels, name)
    with pytest.raises(engine.InputTypeError, match="x: expected integer ids on the host, got a device array"):
        other.forward(other.backend.asarray(ids))
    back = other.to(backend="numpy")
    for name, param in one.params.items():
        np.testing.assert_array_equal(back.params[name], param)


@pytest.mark.parametrize("kernels", KERNELS)
def test_truncated_backpropagation_and_gradient_checks(kernels: str, cp: Any) -> None:
    layer = build("lstm", 2, 3, backend=f"cupy:{kernels}")
    x = layer.backend.asarray(np.random.default_rng(0).normal(size=(5, 2, 2)))
    for method in ("central", "directional", "adjoint"):
        report = engine.gradcheck(layer, x, method=method, lengths=[5, 2])
        assert report.passed, str(report)
    target = layer.backend.asarray(np.zeros((5, 2, 3)))
    layer.zero_grad()
    engine.truncated_bptt(layer, x, lambda y: engine.mse(y, target), k1=2, k2=3)
    host = layer.to(backend="numpy:reference")
    engine.truncated_bptt(host, x.get(), lambda y: engine.mse(y, target.get()), k1=2, k2=3)
    for name, grad in host.grads.items():
        agree(layer.grads[name], grad, kernels, name)


# -- the same run everywhere ------------------------------------------------------------------------------------------

RUN = (
    "--epochs 5 --dtype float64 --hidden 5 --layers 2 --embed 3 --batch 3 --sequence 6 --dropout 0.2 "
    "--report-every 3 --validate-every 6 --checkpoint-every 6 --quiet"
).split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "tides.txt", 160)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_five_epochs_give_the_same_losses_on_every_backend(cell: str, text: Path, tmp_path: Path, cp: Any) -> None:
    curves = {}
    for spec in ("numpy:reference", "numpy:numba", "cupy:reference", "cupy:cuda"):
        out = tmp_path / spec.replace(":", "-")
        assert bptt("train", text, "--out", out, "--cell", cell, "--backend", spec, *RUN) == 0
        records = metrics(out)
        assert records[-1]["epoch"] == 5.0
        curves[spec] = np.array([record["loss"] for record in records])
    reference = curves.pop("numpy:reference")
    assert reference[-1] < reference[0]
    for spec, curve in curves.items():
        np.testing.assert_allclose(curve, reference, rtol=1e-10, err_msg=spec)


@pytest.mark.parametrize(("first", "second"), [("numpy:reference", "cupy:cuda"), ("cupy:cuda", "numpy:numba")])
def test_checkpoints_move_between_backends(first: str, second: str, text: Path, tmp_path: Path, cp: Any) -> None:
    assert bptt("train", text, "--out", tmp_path / "run", "--backend", first, *RUN) == 0
    checkpoint = read_checkpoint(tmp_path / "run" / "last.safetensors")
    one, other = (load_model(checkpoint, engine.get_backend(spec)) for spec in (first, second))
    ids = np.random.default_rng(0).integers(0, 5, (7, 2))
    found, wanted = (model.backend.to_host(model.predict(ids)[0]) for model in (other, one))
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    optimizers = [engine.Adam(model) for model in (one, other)]
    optimizers[1].load_state_dict(optimizers[0].state_dict())


def test_commands_on_cupy(text: Path, tmp_path: Path, cp: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run, plain = tmp_path / "run", tmp_path / "plain"
    assert bptt("train", text, "--out", run, "--backend", "cupy", *RUN) == 0
    assert bptt("train", text, "--out", plain, "--backend", "numpy:reference", *RUN) == 0
    texts = []
    for where in (run, plain):
        capsys.readouterr()
        assert bptt("sample", where, "--length", 30) == 0
        assert bptt("evaluate", where) == 0
        texts.append(capsys.readouterr().out.replace(str(where), "RUN"))
    assert texts[0] == texts[1]
    assert bptt("sample", plain, "--length", 3, "--backend", "cupy") == 0
    assert bptt("gradcheck", "--cell", "gru", "--backend", "cupy", "--method", "directional") == 0
    series = write_series(tmp_path / "tide.csv", 120)
    forecast = "--task forecast --column level --horizon 2 --window 6 --hidden 4 --epochs 1 --backend cupy --quiet"
    assert bptt("train", *forecast.split(), "--data", series, "--out", tmp_path / "forecast") == 0
    capsys.readouterr()
    assert bptt("backends") == 0
    assert "cupy:cuda" in capsys.readouterr().out


# -- errors -----------------------------------------------------------------------------------------------------------


def test_mixing_host_and_device_is_one_clear_error(cp: Any) -> None:
    device, host = engine.LSTM(3, 4, backend="cupy"), engine.LSTM(3, 4)
    x = np.ones((2, 1, 3), np.float32)
    on_device = device.backend.asarray(x)
    y, _, tape = device.forward(on_device)
    refusals: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: device.forward(x),
            "x: expected a cupy array, got a numpy.ndarray; convert it with engine.get_backend('cupy').asarray(",
        ),
        (
            lambda: host.forward(on_device),
            "x: expected a numpy array, got a cupy.ndarray; download it with engine.get_backend('cupy').to_host(",
        ),
        (lambda: device.backward(tape, np.ones((2, 1, 4), np.float32)), "dy: expected a cupy array, got a numpy.nd"),
        (
            lambda: device.forward(on_device, (np.zeros((1, 1, 4), np.float32),) * 2),
            "state h: expected a cupy array, got a numpy.ndarray",
        ),
        (
            lambda: device.forward(on_device, lengths=device.backend.asarray(np.array([1]))),
            "lengths: expected a host list or NumPy integer array, got a device array",
        ),
        (lambda: engine.mse(y, np.zeros((2, 1, 4), np.float32)), "target: expected a cupy array, got a numpy.ndarray"),
        (lambda: engine.Adam([host, device]), "model: expected parameters on one backend (numpy), got"),
        (
            lambda: device.forward(on_device.astype("float64")),
            "x: expected dtype float32, got dtype float64; use x.astype('float32')",
        ),
    ]
    for call, message in refusals:
        with pytest.raises(engine.InputError) as caught:
            call()
        assert str(caught.value).startswith(message)


NO_MEMORY = (
    r"^memory of the GPU: expected room for [\d,]+ bytes more, got none \([\d,]+ bytes are in use\); "
    r"take a smaller batch, shorter sequences or float32, or free what other programs hold$"
)


def test_a_device_that_runs_out_of_memory(cp: Any) -> None:
    layer = engine.LSTM(3, 4, backend="cupy:reference")
    head = engine.Linear(4, 5, backend="cupy:reference")
    x = layer.backend.asarray(np.ones((5, 2, 3), np.float32))
    y, _, tape = layer.forward(x)
    z, _, _ = head.forward(y)
    optimizer = engine.Adam(layer)
    before = {name: param.get() for name, param in layer.params.items()}
    for call in (
        lambda: layer.forward(x),
        lambda: layer.predict(x),
        lambda: layer.backward(tape, y),
        lambda: engine.cross_entropy(z, np.zeros((5, 2), int)),
        lambda: engine.clip_grad_norm(layer, 1.0),
        lambda: layer.backend.asarray(np.ones(3)),
        lambda: engine.GRU(3, 4, backend="cupy:reference"),
        lambda: engine.Adam(layer),
        optimizer.step,
    ):
        machine.fail_at = 0
        with pytest.raises(engine.EngineError, match=NO_MEMORY) as caught:
            call()
        assert isinstance(caught.value, MemoryError)
        machine.fail_at = None
    for name, param in layer.params.items():
        np.testing.assert_array_equal(param.get(), before[name])
    layer.forward(x)  # and goes on


def test_a_run_that_ends_for_want_of_memory_keeps_what_it_saved(
    text: Path, tmp_path: Path, cp: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.training import Trainer

    options = [*RUN, "--backend", "cupy:reference"]
    assert bptt("train", text, "--out", tmp_path / "whole", *options) == 0
    real = Trainer._step

    def step(self: Any) -> None:
        machine.fail_at = 40 if self.state.step == 14 else None
        real(self)

    monkeypatch.setattr(Trainer, "_step", step)
    line = refused(capsys, "train", text, "--out", tmp_path / "run", *options, code=1)
    assert line.startswith("bptt: memory of the GPU: expected room for ")
    machine.fail_at = None
    monkeypatch.setattr(Trainer, "_step", real)
    assert read_checkpoint(tmp_path / "run" / "last.safetensors").meta["trainer"]["step"] == 12
    assert bptt("train", "--resume", "--out", tmp_path / "run", "--quiet") == 0
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
