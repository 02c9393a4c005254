"""PyTorch's tensors through the plain kernels: the same numbers as numpy:reference, nothing converted in silence."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, distance, leaves, passes, random_arguments
from commands import bptt, metrics, write_text
from refusals import refused

import engine
from engine.backend import Backend, backend_of
from engine.backend.torch_library import TorchLibrary

pytestmark = pytest.mark.oracle

T, B, D, H, V = 6, 4, 3, 5, 7
LENGTHS = [6, 0, 3, 1]


@pytest.fixture
def backend(torch: ModuleType) -> Backend:
    return engine.get_backend("torch:reference")


def upload(backend: Backend, nest: Any) -> Any:
    """The same nest of tuples on the backend."""
    if isinstance(nest, tuple):
        return tuple(upload(backend, part) for part in nest)
    return None if nest is None else backend.asarray(nest)


def agree(torch: ModuleType, backend: Backend, found: Any, wanted: Any, tolerance: float = 1e-12) -> None:
    """The tensor holds the array, in its dtype, and is a plain one that autograd does not follow."""
    assert type(found) is torch.Tensor
    assert not found.requires_grad
    assert backend.dtype_of(found) == wanted.dtype
    assert distance(backend.to_host(found), wanted) <= tolerance


# -- layers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_recurrent_layers_are_those_of_numpy(
    torch: ModuleType, backend: Backend, kind: str, lengths: Any, dtype: str
) -> None:
    """Every output and gradient of two bidirectional layers with dropout, of both passes of the masks' counter."""
    options: dict[str, Any] = {"bidirectional": True, "batch_first": True, "dropout": 0.3, "dtype": dtype}
    host = build(kind, D, H, 2, **options)
    arguments = random_arguments(host, T, B, 1)
    layer = host.to(backend="torch")
    assert layer.backend is backend
    x, state, dy, dstate = upload(backend, arguments)
    for _ in range(2):
        wanted = passes(host, *arguments, lengths)
        found = passes(layer, x, state, dy, dstate, lengths)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            agree(torch, backend, found[name], value, 1e-12 if dtype == "float64" else 2e-6)
    y, last = layer.predict(x, state, lengths)
    wanted_y, wanted_last = host.predict(arguments[0], arguments[1], lengths)
    for one, other in zip([y, *leaves(last)], [wanted_y, *leaves(wanted_last)], strict=True):
        agree(torch, backend, one, other, 1e-12 if dtype == "float64" else 2e-6)


@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_the_trace_of_every_step_is_that_of_numpy(torch: ModuleType, backend: Backend, kind: str) -> None:
    host = build(kind, D, H)
    x, state, dy, dstate = random_arguments(host, T, B, 2)
    _, _, tape = host.forward(x, state, LENGTHS)
    wanted = host.backward_trace(tape, dy, dstate).layers[0][0]
    layer = host.to(backend=backend)
    x, state, dy, dstate = upload(backend, (x, state, dy, dstate))
    _, _, tape = layer.forward(x, state, LENGTHS)
    found = layer.backward_trace(tape, dy, dstate).layers[0][0]
    agree(torch, backend, found.dh, wanted.dh)
    for gate, value in wanted.gates.items():
        agree(torch, backend, found.gates[gate], value)


def test_views_and_strides_of_a_tensor_are_taken_as_they_are(torch: ModuleType, backend: Backend) -> None:
    """A transposed x, and a NumPy array with negative strides, which PyTorch itself refuses."""
    host = build("lstm", D, H, bidirectional=True)
    x, state, dy, _ = random_arguments(host, T, B, 3)
    wanted = passes(host, x[::-1], state, dy, None)
    layer = host.to(backend=backend)
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(x[::-1])
    flipped = backend.asarray(x[::-1])
    assert distance(backend.to_host(flipped), x[::-1]) == 0
    strided = backend.asarray(np.ascontiguousarray(x[::-1].transpose(2, 1, 0))).permute(2, 1, 0)
    assert not strided.is_contiguous()
    for one in (flipped, strided):
        found = passes(layer, one, upload(backend, state), upload(backend, dy), None, None)
        for name, value in wanted.items():
            agree(torch, backend, found[name], value)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_a_whole_model_with_embedding_and_dropout(torch: ModuleType, backend: Backend, lengths: Any) -> None:
    one, other = model("numpy:reference"), model("torch:reference")
    for name, param in one.params.items():
        agree(torch, backend, other.params[name], param, 0.0)  # the same first weights, to the last bit
    rng = np.random.default_rng(0)
    ids, dy = rng.integers(0, V, (T, B)), rng.normal(size=(T, B, V))
    for _ in range(3):  # gradients add up, masks change
        y, _, tape = one.forward(ids, lengths=lengths)
        one.backward(tape, dy)
        z, _, tape = other.forward(ids, lengths=lengths)
        other.backward(tape, backend.asarray(dy))
        agree(torch, backend, z, y)
    for name, grad in one.grads.items():
        agree(torch, backend, other.grads[name], grad)
    mask = other.layers[1].forward(backend.asarray(rng.normal(size=(T, B, D))))[2].kept
    twin = one.layers[1].forward(rng.normal(size=(T, B, D)))[2].kept
    agree(torch, backend, mask, twin, 0.0)
    assert 0 < np.count_nonzero(twin) < twin.size


def model(name: str, dtype: str = "float64") -> Any:
    options: dict[str, Any] = {"backend": name, "dtype": dtype, "seed": 4}
    return engine.Sequential(
        engine.Embedding(V, D, **options),
        engine.Dropout(0.3, **options),
        engine.GRU(D, H, 2, dropout=0.4, **options),
        engine.Linear(H, V, **options),
    )


# -- losses, optimisers, clipping --------------------------------------------------------------------------------------


def test_losses_are_those_of_numpy(torch: ModuleType, backend: Backend) -> None:
    rng = np.random.default_rng(1)
    logits, wanted = rng.normal(size=(T, B, V)), rng.normal(size=(T, B, V))
    targets, weights = rng.integers(0, V, (T, B)), rng.uniform(0.1, 2, (T, B))
    valid = weights > 0.6
    targets[~valid] = -100
    weights[~valid] = 0
    safe = np.where(valid, targets, 0)
    for one, mask in ((safe, None), (targets, valid), (targets, weights)):
        for normalizer in (None, 11.5):
            loss, dlogits = engine.cross_entropy(logits, one, mask, normalizer)
            device = mask if mask is None else backend.asarray(mask)
            found = engine.cross_entropy(backend.asarray(logits), one, mask, normalizer)
            again = engine.cross_entropy(backend.asarray(logits), backend.asarray(one), device, normalizer)
            for value, gradient in (found, again):
                agree(torch, backend, value, np.asarray(loss))
                agree(torch, backend, gradient, dlogits)
            loss_2, d = engine.mse(logits, wanted, mask, normalizer)
            value, gradient = engine.mse(backend.asarray(logits), backend.asarray(wanted), device, normalizer)
            agree(torch, backend, value, np.asarray(loss_2))
            agree(torch, backend, gradient, d)
    stray = backend.asarray(np.where(valid, V, 0))
    where = tuple(int(k) for k in np.argwhere(valid)[0])
    with refused(engine.InputError, f"targets: expected class indices in 0..{V - 1}, got {V} at index {where}"):
        engine.cross_entropy(backend.asarray(logits), stray)


OPTIMISERS: dict[str, Any] = {
    "SGD": lambda model: engine.SGD(model, lr=0.1),
    "momentum": lambda model: engine.SGD(model, lr=0.1, momentum=0.9, dampening=0.1, l2=0.01),
    "Nesterov": lambda model: engine.SGD(model, lr=0.1, momentum=0.9, nesterov=True, l1=0.01),
    "Adagrad": lambda model: engine.Adagrad(model, lr=0.1, lr_decay=0.05, initial_accumulator_value=0.2),
    "RMSprop": lambda model: engine.RMSprop(model, lr=0.02, momentum=0.3, centered=True),
    "Adam": lambda model: engine.Adam(model, lr=0.03, l2=0.02),
    "AdamW": lambda model: engine.AdamW(model, lr=0.03, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_and_clipping_are_those_of_numpy(torch: ModuleType, backend: Backend, name: str) -> None:
    one = build("gru", D, H)
    other = one.to(backend=backend)
    optimisers = [OPTIMISERS[name](layer) for layer in (one, other)]
    rng = np.random.default_rng(2)
    for step in range(4):
        for key, grad in one.grads.items():
            grad[...] = rng.normal(size=grad.shape)
            if step == 2:
                grad.flat[3] = np.nan  # this step is refused
            other.grads[key][...] = backend.asarray(grad)
        norms = [engine.clip_grad_norm(layer, 2.5) for layer in (one, other)]
        engine.clip_grad_value(one, 0.3)
        engine.clip_grad_value(other, 0.3)
        if step != 2:
            agree(torch, backend, norms[1], np.asarray(norms[0]))
        for optimiser in optimisers:
            optimiser.step()
        assert [bool(optimiser.nonfinite) for optimiser in optimisers] == [step == 2] * 2
        optimisers[0].clear_nonfinite()
        optimisers[1].clear_nonfinite()
        for key, param in one.params.items():
            agree(torch, backend, other.params[key], param)
    states = [optimiser.state_dict() for optimiser in optimisers]
    for key, value in states[0].items():
        if isinstance(value, np.ndarray):
            agree(torch, backend, states[1][key], value)
    optimisers[0].load_state_dict(states[1])  # from one library into the other
    optimisers[1].load_state_dict(states[0])
    assert int(optimisers[1].steps) == 3


def test_dampening_keeps_all_its_digits(torch: ModuleType, backend: Backend) -> None:
    """A flag times a number is a float32 in PyTorch."""
    layer = build("rnn_tanh", D, H).to(backend=backend)
    optimiser = engine.SGD(layer, lr=1.0, momentum=0.5, dampening=0.1)
    for _ in range(2):
        for grad in layer.grads.values():
            grad[...] = 1.0
        optimiser.step()
    direction = optimiser.state_dict()["momentum_buffer.weight_hh_l0"]
    assert distance(backend.to_host(direction), np.full((H, H), 0.5 + 0.9)) <= 1e-15


# -- training ----------------------------------------------------------------------------------------------------------


def curve(name: str) -> list[float]:
    """The losses of a short training run: dropout, lengths, clipping and AdamW."""
    network = model(name)
    optimiser = engine.AdamW(network, lr=0.02)
    rng = np.random.default_rng(7)
    losses = []
    for _ in range(25):
        ids = rng.integers(0, V, (T, B))
        targets = (np.cumsum(ids, axis=0)) % V
        valid = np.arange(T)[:, None] < np.array(LENGTHS)
        logits, _, tape = network.forward(ids, lengths=LENGTHS)
        loss, dlogits = engine.cross_entropy(logits, targets, mask=valid)
        network.zero_grad()
        network.backward(tape, dlogits)
        engine.clip_grad_norm(network, 0.5)
        optimiser.step(guard=loss)
        losses.append(float(loss))
    return losses


def test_a_loss_curve_is_that_of_numpy(torch: ModuleType) -> None:
    wanted, found = curve("numpy:reference"), curve("torch:reference")
    assert len(set(wanted)) == 25
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_the_trainer_and_its_checkpoints(torch: ModuleType, tmp_path: Path) -> None:
    """The same run with both libraries; one begun on numpy goes on with torch and ends with the same weights."""
    text = write_text(tmp_path / "text")
    options = "--cell gru --layers 1 --hidden 6 --embed 5 --batch 4 --sequence 8 --dtype float64 --dropout 0.2 "
    options += "--report-every 2 --validate-every 5 --checkpoint-every 5"
    for name in ("numpy:reference", "torch:reference"):
        out = tmp_path / name.partition(":")[0]
        assert bptt("train", text, "--backend", name, "--out", out, "--steps", 10, "--quiet", *options.split()) == 0
    wanted, found = metrics(tmp_path / "numpy"), metrics(tmp_path / "torch")
    assert len(wanted) == len(found) > 4
    for one, other in zip(wanted, found, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-10)
    for run in ("numpy", "torch"):
        assert bptt("evaluate", tmp_path / run, "--backend", "torch:reference", "--json") == 0


@pytest.mark.parametrize("method", ["central", "directional", "adjoint", "complex"])
@pytest.mark.parametrize("kind", ["lstm", "gru_before"])
def test_gradcheck_of_a_torch_layer(torch: ModuleType, backend: Backend, kind: str, method: str) -> None:
    layer = build(kind, D, 4).to(backend=backend)
    x, state, _, _ = upload(backend, random_arguments(layer_like(layer), 4, 2, 5))
    report = engine.gradcheck(layer, x, state, lengths=[4, 2], method=method)
    assert report.verdict == "ok", report


def layer_like(layer: Any) -> Any:
    return layer.to(backend="numpy:reference")


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_each_mistake_has_one_clear_error(torch: ModuleType, backend: Backend) -> None:
    layer = build("lstm", D, H, dtype="float32").to(backend=backend)
    x = np.ones((T, B, D), np.float32)
    tensor = torch.ones(T, B, D)
    host = build("lstm", D, H, dtype="float32")
    logits, target = torch.ones(T, B, V), np.ones((T, B, V), np.float32)
    cases = [
        (
            lambda: layer.forward(x),
            "x: expected a torch array, got a numpy.ndarray; convert it with engine.get_backend",
        ),
        (
            lambda: host.forward(tensor),
            "x: expected a numpy array, got a torch.Tensor; download it with engine.get_backend('torch').to_host(...)",
        ),
        (
            lambda: layer.forward(tensor.double()),
            "x: expected dtype float32, got dtype torch.float64; use x.to(torch.float32)",
        ),
        (lambda: layer.forward(tensor.bfloat16()), "x: expected dtype float32, got dtype torch.bfloat16"),
        (
            lambda: layer.forward(tensor.clone().requires_grad_()),
            "x: expected an array that autograd does not follow, got one with requires_grad=True; use x.detach()",
        ),
        (lambda: layer.forward(tensor.to("meta")), "x: expected a tensor with numbers in it, got a meta tensor, which"),
        (lambda: layer.forward(tensor.to_sparse()), "x: expected a dense tensor, got one of layout torch.sparse_coo; "),
        (lambda: engine.mse(logits.to("meta"), logits), "prediction: expected a tensor with numbers in it, got a meta"),
        (lambda: layer.forward(tensor, lengths=torch.ones(B)), "lengths: expected integers, got dtype float32; "),
        (
            lambda: layer.forward(tensor, lengths=torch.tensor([1, 2, 3, T + 1])),
            f"lengths: expected values in 0..{T} (T = {T}), got {T + 1} at row 3",
        ),
        (
            lambda: layer.backward(layer.forward(tensor)[2], np.ones((T, B, H), np.float32)),
            "dy: expected a torch array, got a numpy.ndarray",
        ),
        (lambda: engine.mse(logits, target), "target: expected a torch array, got a numpy.ndarray"),
        (
            lambda: engine.mse(torch.nn.Parameter(logits), logits),
            "prediction: expected an array that autograd does not",
        ),
        (lambda: engine.mse(logits.half(), logits.half()), "prediction: expected dtype float32 or float64, got"),
        (lambda: engine.SGD([layer, host]), "model: expected parameters on one backend (torch), got"),
        (
            lambda: model("torch").forward(torch.full((T, B), V)),
            f"x: expected token ids in 0..{V - 1}, got {V} at index (0, 0)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(engine.InputError) as caught:
            call()
        assert str(caught.value).startswith(message), caught.value
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("home", ["numpy:reference", "torch:reference"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_on_the_cpu_are_those_of_numpy(torch: ModuleType, home: str, dtype: str) -> None:
    """Ids, targets, masks and lengths may be tensors on the CPU beside any backend, with the checks of NumPy's."""
    rng = np.random.default_rng(3)
    ids, targets = (rng.integers(0, V, (T, B)).astype(dtype) for _ in range(2))
    network = model(home)
    found = []
    for cast in (np.asarray, torch.from_numpy, lambda a: torch.from_numpy(np.repeat(a, 2, axis=0))[::2]):
        network.zero_grad()
        network.load_call_counters(dict.fromkeys(network.call_counters(), 0))
        y, _, tape = network.forward(cast(ids), lengths=cast(np.array(LENGTHS, dtype)))
        loss, dy = engine.cross_entropy(y, cast(targets), mask=cast(np.arange(T)[:, None] < np.array(LENGTHS)))
        network.backward(tape, dy)
        found.append([float(loss), *(float(np.abs(network.backend.to_host(g)).sum()) for g in network.grads.values())])
    assert found[0] == found[1] == found[2]
    assert min(found[0]) > 0


@pytest.mark.parametrize("wrong", [-1, -100, V, 2**40])
def test_a_target_on_the_cpu_out_of_range_is_named(torch: ModuleType, wrong: int) -> None:
    logits, targets = torch.zeros(2, 3, V), torch.tensor([[0, 1, 2], [3, wrong, V - 1]])
    for scores in (logits, logits.numpy()):
        with refused(engine.InputError, f"targets: expected class indices in 0..{V - 1}, got {wrong} at index (1, 1)"):
            engine.cross_entropy(scores, targets)
        for mask in (targets == wrong, (targets == wrong).float(), (targets == wrong).numpy()):
            with refused(engine.InputError, "targets: ", f"got {wrong} at index (1, 1); padding has mask 0"):
                engine.cross_entropy(scores, targets, mask)
            loss, gradient = engine.cross_entropy(scores, targets, 1 - mask if mask.dtype == torch.float32 else ~mask)
            assert float(loss) == pytest.approx(np.log(V))
            assert not gradient[1, 1].any()
    embedding = engine.Embedding(V, 2, backend="torch:reference")
    with refused(engine.InputError, f"x: expected token ids in 0..{V - 1}, got {wrong} at index (1, 1)"):
        embedding.forward(targets)
    assert embedding.forward(targets, lengths=torch.tensor([2, 1, 2]))[0].shape == (2, 3, 2)


def test_numbers_of_a_loss_on_the_cpu_are_looked_at(torch: ModuleType) -> None:
    logits, targets = torch.zeros(2, V), torch.tensor([1, 2])
    for weights in ([1.0, -0.5], [1.0, float("nan")], [1.0, float("inf")]):
        with refused(engine.InputError, "mask: expected finite weights >= 0, got ", "at index (1,)"):
            engine.cross_entropy(logits, targets, torch.tensor(weights))
    for number in (-1.0, float("nan"), float("inf")):
        with refused(engine.InputError, "normalizer: expected a number >= 0"):
            engine.mse(logits, logits, normalizer=torch.tensor(number))
    assert float(engine.cross_entropy(logits, targets, None, torch.tensor(4))[0]) == pytest.approx(np.log(V) / 2)


def test_a_changed_weight_makes_a_tape_stale(torch: ModuleType, backend: Backend) -> None:
    """On the CPU every change is seen, also one that did not go through the engine."""
    layer = build("lstm", D, H).to(backend=backend)
    x, _, dy, _ = upload(backend, random_arguments(layer_like(layer), T, B, 5))
    _, _, tape = layer.forward(x)
    layer.backward(tape, dy)
    layer.params["weight_hh_l0"][2, 1] += 1e-3
    with pytest.raises(engine.EngineError, match="expected parameters as they were in its forward pass"):
        layer.backward(tape, dy)


def test_what_is_assigned_to_a_tensors_data_is_used(torch: ModuleType, backend: Backend) -> None:
    """``p.data = p.data - lr * p.grad`` is PyTorch's habit: it gives the tensor other memory."""
    layer, other = (engine.Linear(D, 2, backend=backend) for _ in range(2))
    x = torch.ones(T, B, D)
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    for name, param in layer.params.items():
        other.params[name] = param - 0.1 * layer.grads[name]
        param.data = param.data - 0.1 * layer.grads[name]
    assert torch.equal(layer.predict(x)[0], other.predict(x)[0])
    assert not torch.equal(layer.predict(x)[0], y)


# -- the backend itself ------------------------------------------------------------------------------------------------


def test_one_backend_by_every_name(torch: ModuleType, backend: Backend) -> None:
    assert engine.available_backends()["torch"] is None
    assert (backend.spec, backend.device) == ("torch:reference", "CPU")
    assert engine.get_backend("torch") is backend is engine.get_backend("torch", kernels="reference")
    assert backend_of(torch.ones(2)) is backend
    assert pickle.loads(pickle.dumps(backend)) is backend
    assert copy.deepcopy(backend) is backend
    with pytest.raises(engine.InputError, match="kernels: expected one of 'reference' for torch, got 'numba'"):
        engine.get_backend("torch:numba")


def test_uploads_copy_and_downloads_wait_for_nothing_here(torch: ModuleType, backend: Backend) -> None:
    host = np.arange(6.0).reshape(2, 3)
    tensor = backend.asarray(host, dtype=np.float32)
    tensor[0, 0] = 9
    assert host[0, 0] == 0
    assert tensor.dtype == torch.float32
    again = backend.asarray(tensor)
    again[0, 0] = 4
    assert float(tensor[0, 0]) == 9
    assert isinstance(backend.to_host(tensor), np.ndarray)


def test_the_device_is_pytorchs_default_or_what_the_environment_says(
    torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device holds no numbers, and is everywhere: enough to see where a weight would go."""
    monkeypatch.setenv("BPTT_TORCH_DEVICE", "meta")
    elsewhere = engine.get_backend("torch")
    assert elsewhere.xp.zeros(3).device == torch.device("meta")
    assert elsewhere.device == "GPU (meta)"
    monkeypatch.delenv("BPTT_TORCH_DEVICE")
    assert engine.get_backend("torch").device == "CPU"
    with torch.device("meta"):
        assert engine.get_backend("torch") is elsewhere
        assert backend_of(torch.ones(2, device="cpu")).device == "CPU"


@pytest.mark.parametrize("name", ["cuda:97", "abacus"])
def test_a_device_that_is_not_there_is_one_clear_error(
    torch: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BPTT_TORCH_DEVICE", name)
    with pytest.raises(
        engine.EngineError, match="'torch' cannot be used here: torch is installed but fails: "
    ) as caught:
        engine.LSTM(2, 3, backend="torch")
    assert "\n" not in str(caught.value)


def test_without_pytorch_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.backend import choosing as module

    for absent in ("torch", "array_api_compat"):
        module._reason.cache_clear()
        monkeypatch.setattr(
            module.importlib.util, "find_spec", lambda name, absent=absent: None if name == absent else 1
        )
        assert module._reason("torch") == f"{absent} is not installed (pip install 'bptt-engine[torch]')"
        with pytest.raises(engine.EngineError, match=f"backend 'torch' cannot be used here: {absent} is not installed"):
            engine.LSTM(2, 3, backend="torch")
    module._reason.cache_clear()


def test_asking_what_is_there_imports_no_pytorch() -> None:
    code = "import sys, engine; engine.available_backends(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


# -- the wrapper -------------------------------------------------------------------------------------------------------


def test_the_wrapper_computes_what_numpy_does(torch: ModuleType, backend: Backend) -> None:
    xp: TorchLibrary = backend.xp
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    ta, tb, finite = backend.asarray(a), backend.asarray(b), np.array([[1.0, np.nan], [np.inf, -2.0]])
    bits = rng.integers(0, 2**64, 9, dtype=np.uint64)
    signed = torch.from_numpy(bits.view(np.int64))
    narrow = torch.zeros(7, 3)
    pairs: list[tuple[Any, Any]] = [
        (xp.add(ta, 1.5), a + 1.5),
        (xp.right_shift(signed, 37), (bits >> np.uint64(37)).astype(np.int64)),
        (xp.flip(ta, axis=0), a[::-1]),
        (xp.max(ta, axis=1, keepdims=True), a.max(axis=1, keepdims=True)),
        (xp.sum(xp.asarray(ta, dtype="float32"), dtype=np.float64), a.astype(np.float32).sum(dtype=np.float64)),
        (xp.square(narrow + 0.1, dtype=np.float64), np.square(np.full((7, 3), 0.1, np.float32), dtype=np.float64)),
        (xp.maximum(ta, 0.0), np.maximum(a, 0.0)),
        (xp.minimum(ta, tb), np.minimum(a, b)),
        (xp.isfinite(backend.asarray(finite)), np.isfinite(finite)),
        (xp.stack([ta, tb], axis=-1), np.stack([a, b], axis=-1)),
        (xp.concatenate((ta, tb), axis=1), np.concatenate((a, b), axis=1)),
        (xp.ascontiguousarray(ta.T), a.T),
        (xp.full((2, 3), 0.3, dtype=np.float64), np.full((2, 3), 0.3)),
        (xp.arange(2, 5, dtype=xp.uint64), np.arange(2, 5)),
        (xp.multiply(ta, 0.3, out=narrow), (a * 0.3).astype(np.float32)),
    ]
    for found, wanted in pairs:
        assert backend.dtype_of(found) == np.asarray(wanted).dtype
        np.testing.assert_allclose(backend.to_host(found), wanted, rtol=1e-15)
    xp.copyto(ta, tb, where=torch.tensor(False))
    assert distance(backend.to_host(ta), a) == 0
    xp.copyto(ta, tb, where=tb > 0)
    assert distance(backend.to_host(ta), np.where(b > 0, b, a)) == 0
    assert xp.result_type(narrow, ta) == xp.result_type(np.dtype("float32"), torch.float64) == torch.float64
    assert xp.dtype(torch.complex64) == np.complex64
