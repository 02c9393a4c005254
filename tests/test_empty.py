"""No time steps or no rows: the output is empty, the final state is the first one, gradients pass through (rule 9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, leaves, random_arguments
from fake_cupy import use_backend
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import data

SETS = ["numpy:reference", "numpy:numba", "torch:reference", "look-alike:reference", "look-alike:cuda"]
SIZES = [(0, 3), (4, 0), (0, 0), (0, 1), (1, 0), (200, 0)]
D, H, V = 3, 4, 7


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.oracle) if name.startswith("torch") else name for name in SETS]
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every array library with every kernel set; CuPy's look-alike in place of a GPU."""
    library, _, kernels = request.param.partition(":")
    if library == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    return use_backend(library, monkeypatch, kernels)


def upload(backend: Any, nest: Any) -> Any:
    return tuple(upload(backend, part) for part in nest) if isinstance(nest, tuple) else backend.asarray(nest)


def host(layer: Any, nest: Any) -> list[np.ndarray]:
    return [layer.backend.to_host(part) for part in leaves(nest)]


def same(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_recurrent_layers(backend: Any, kind: str) -> None:
    for size, two, bidirectional, batch_first in [
        (size, two, bidirectional, batch_first)
        for place, size in enumerate(SIZES)
        for two, bidirectional, batch_first in [(place % 2, place % 3 == 1, place % 4 > 1), (1, 1, 0)]
    ]:
        layer = build(kind, D, H, 1 + two, bidirectional=bool(bidirectional), batch_first=bool(batch_first))
        arguments = random_arguments(layer, *size)
        layer = layer.to(backend=backend)
        x, state, dy, dstate = upload(backend, arguments)
        for grad in layer.grads.values():
            grad[...] = 7.0  # backward adds nothing to it
        for lengths in (None, [0] * size[1], np.full(size[1], size[0])):
            y, last, tape = layer.forward(x, state, lengths)
            again, last_again = layer.predict(x, state, lengths)
            wanted_y = (size[1], size[0]) if batch_first else size
            assert y.shape == again.shape == (*wanted_y, layer.num_directions * H)
            assert backend.is_array(y)
            assert y.dtype == x.dtype
            assert same(host(layer, last), host(layer, state))
            assert same(host(layer, last_again), host(layer, state))
            dx, dfirst = layer.backward(tape, dy, dstate)
            assert dx.shape == x.shape
            assert same(host(layer, dfirst), host(layer, dstate))
            trace = layer.backward_trace(tape, dy, dstate)
            assert same(host(layer, trace.dstate), host(layer, dstate))
            assert trace.grads.keys() == layer.grads.keys()
            assert not any(backend.to_host(grad).any() for grad in trace.grads.values())
            for records, traces in zip(tape.layers, trace.layers, strict=True):
                for record, adjoints in zip(records, traces, strict=True):
                    shape = (size[0] + 1, size[1], H)
                    assert record.h.shape == adjoints.dh.shape == shape
                    assert all(gate.shape == (*size, H) for gate in record.gates.values())
                    assert adjoints.gates.keys() == record.gates.keys()
                    for part in (record.c, adjoints.dc):
                        assert part.shape == shape if kind == "lstm" else part is None
            for nothing in (None, backend.xp.zeros_like(dy)):
                dx, dfirst = layer.backward(tape, nothing)
                assert dx.shape == x.shape
                assert not any(part.any() for part in host(layer, dfirst))
        assert not any(part.any() for part in host(layer, layer.forward(x)[1]))  # no state: zeros
        assert all((backend.to_host(grad) == 7.0).all() for grad in layer.grads.values())


def test_what_is_returned_is_nobody_elses_memory() -> None:
    """Writing into a final state or its gradient changes neither the first one nor the tape."""
    layer = build("lstm", D, H)
    x, state, dy, dstate = random_arguments(layer, 0, 2)
    kept = [part.copy() for part in (*state, *dstate)]
    _, last, tape = layer.forward(x, state)
    _, dfirst = layer.backward(tape, dy, dstate)
    for part in (*last, *dfirst, *layer.predict(x, state)[1]):
        part[...] = 9.0
    assert same([*state, *dstate], kept)
    assert (tape.layers[0][0].h[0] == kept[0][0]).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_model_takes_a_training_step(backend: Any, size: tuple[int, int]) -> None:
    """Embedding, dropout, two layers and a linear one; the loss of nothing is 0, and weights stay where they are."""
    given: dict[str, Any] = {"backend": backend, "dtype": "float64"}
    model = engine.Sequential(
        engine.Embedding(V, D, **given),
        engine.Dropout(0.3, **given),
        engine.LSTM(D, H, 2, dropout=0.4, bidirectional=True, **given),
        engine.GRU(2 * H, H, 2, dropout=0.4, variational=True, **given),
        engine.Dropout(0.3, variational=True, **given),
        engine.Linear(H, V, **given),
    )
    optimiser = engine.SGD(model, lr=0.1)
    before = {name: backend.to_host(param).copy() for name, param in model.params.items()}
    for lengths in (None, [0] * size[1]):
        ids = np.zeros(size, int)
        y, state, tape = model.forward(ids, lengths=lengths)
        assert y.shape == (*size, V)
        loss, dy = engine.cross_entropy(y, ids)
        assert float(loss) == 0.0
        assert float(engine.mse(y, y)[0]) == 0.0
        assert float(engine.cross_entropy(y, ids, np.zeros(size, bool), 0.0)[0]) == 0.0
        model.backward(tape, dy)
        assert float(engine.clip_grad_norm(model, 1.0)) == 0.0
        optimiser.step(guard=loss)
        assert model.predict(ids, state, lengths)[0].shape == (*size, V)
    assert not bool(optimiser.nonfinite)
    assert all(np.array_equal(backend.to_host(param), before[name]) for name, param in model.params.items())


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.integers(0, 4))
def test_truncated_passes(T: int, B: int, k1: int, extra: int) -> None:
    """Of no steps there is one chunk, with nothing in it: gradients of the input and of the state have their shapes."""
    layer = build("lstm", D, H, 2)
    x, state, _, _ = random_arguments(layer, T, B)
    found = engine.truncated_bptt(layer, x, lambda y: engine.mse(y, y * 0), k1, k1 + extra, state)
    assert found.y.shape == (T, B, H)
    assert found.dx.shape == x.shape
    assert [part.shape for part in found.dstate] == [part.shape for part in state]
    if T * B == 0:
        assert float(found.loss) == 0.0
        assert same(list(found.state), list(state))
        assert not any(grad.any() for grad in layer.grads.values())
        assert not any(part.any() for part in found.dstate)


@pytest.mark.parametrize("method", ["central", "complex", "directional", "taylor", "adjoint", "rtrl"])
def test_the_gradient_check_has_a_verdict(method: str) -> None:
    for size in ((0, 2), (3, 0), (0, 0)):
        layer = build("lstm", D, H, 2, bidirectional=size == (0, 2))
        x, state, _, _ = random_arguments(layer, *size)
        assert engine.gradcheck(layer, x, state, method=method, entries=9).verdict == "ok"
        assert engine.gradcheck(engine.Linear(D, V), x, method=method).verdict == "ok"
        if size != (0, 2) and method not in ("adjoint", "rtrl"):
            report = engine.gradcheck(layer, x, state, method=method, truncation=(1, 2), entries=9)
            assert report.verdict == "ok"


def test_a_wrong_gradient_of_the_state_shows_without_steps() -> None:
    """The check looks at what passes straight through."""

    class Halving(engine.GRU):
        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            dx, dfirst = super().backward(tape, dy, dstate)
            return dx, dfirst / 2

    report = engine.gradcheck(Halving(D, H, dtype="float64", backend="numpy:reference"), np.zeros((0, 2, D)))
    assert report.verdict == "wrong"
    assert report.worst.name == "h0"


def test_padding_of_empty_sequences_feeds_it() -> None:
    x, lengths = data.pad_sequences([np.zeros((0, D), np.float32)] * 2)
    assert (x.shape, lengths.tolist()) == ((0, 2, D), [0, 0])
    layer = engine.LSTM(D, H)
    y, (h, _), tape = layer.forward(x, lengths=lengths)
    assert y.shape == (0, 2, H)
    assert h.shape == (1, 2, H)
    assert layer.backward(tape, y)[0].shape == x.shape
    ids, lengths = data.pad_sequences([np.zeros(0, int)] * 3, batch_first=True)
    assert engine.Embedding(V, D, batch_first=True).forward(ids, lengths=lengths)[0].shape == (3, 0, D)
    assert engine.Embedding(V, D).forward([[], []])[0].shape == (2, 0, D)
    assert data.bucket_by_length([], 3) == []


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_no_rows_as_in_pytorch(torch: Any, kind: str) -> None:
    theirs = getattr(torch.nn, kind)(D, H, 2, bidirectional=True)
    layer = getattr(engine, kind)(D, H, 2, bidirectional=True)
    y, last = theirs(torch.zeros(5, 0, D))
    found, found_last, _ = layer.forward(np.zeros((5, 0, D), np.float32))
    assert tuple(y.shape) == found.shape
    assert [tuple(part.shape) for part in leaves(last)] == [part.shape for part in leaves(found_last)]
