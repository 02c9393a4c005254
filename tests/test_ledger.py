"""The ledger, and what it is for: budgets of copies, waits, launches and fresh memory of a training step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build
from fake_cuda import counts, machine
from fake_cupy import installed

import engine
from engine.ledgers import Ledger
from kernels import events
from kernels.cpu import workspace

pytestmark = pytest.mark.device

SPECS = ("numpy:reference", "numpy:numba", "cupy:reference", "cupy:cuda")


@pytest.fixture(autouse=True)
def cp() -> Iterator[Any]:
    with installed() as cupy:
        yield cupy


# -- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_transfers_are_counted_in_number_and_bytes(spec: str) -> None:
    backend = engine.get_backend(spec)
    with engine.ledger() as book:
        array = backend.asarray(np.ones((5, 3)), dtype=np.float32)
        backend.asarray(np.arange(7))
        assert (book.copies_to_device, book.bytes_to_device, book.copies_to_host, book.waits) == (2, 60 + 56, 0, 0)
        backend.to_host(array)
        backend.to_host(array[:2])
    assert (book.copies_to_host, book.bytes_to_host, book.waits) == (2, 60 + 24, 2)
    with engine.ledger() as other:  # on a GPU what is there already does not cross
        backend.asarray(array)
        backend.to_host(np.ones(3))
    assert (other.copies_to_device, other.copies_to_host) == ((1, 1) if spec.startswith("numpy") else (0, 0))
    backend.to_host(array)  # after it is closed
    assert book.copies_to_host == 2
    assert events.ledgers == []


def test_ledgers_nest_and_close_in_any_order() -> None:
    backend = engine.get_backend("cupy:reference")
    with engine.ledger() as outer:
        backend.asarray(np.ones(3))
        with engine.ledger() as inner:
            backend.asarray(np.ones(4))
        with contextlib.suppress(KeyError), engine.ledger() as failed:
            backend.to_host(backend.asarray(np.ones(5)))
            raise KeyError
    assert (outer.copies_to_device, inner.copies_to_device, failed.copies_to_device) == (3, 1, 1)
    assert (outer.bytes_to_device, inner.bytes_to_device) == (96, 32)
    assert (outer.waits, inner.waits, failed.waits) == (1, 0, 1)
    first, second = engine.ledger(), engine.ledger()
    one, two = first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    backend.asarray(np.ones(2))
    second.__exit__(None, None, None)
    assert (one.copies_to_device, two.copies_to_device) == (0, 1)
    assert events.ledgers == []


def test_it_counts_the_work_of_all_threads() -> None:
    backend = engine.get_backend("numpy:reference")
    with engine.ledger() as book:
        worker = threading.Thread(target=lambda: backend.asarray(np.ones(3)))
        worker.start()
        worker.join()
    assert book.copies_to_device == 1


@pytest.mark.parametrize("spec", SPECS)
def test_launches_are_those_of_the_kernel_set(spec: str) -> None:
    layer = build("lstm", 2, 3, backend=spec)
    x = layer.backend.asarray(np.ones((4, 5, 2)))
    with engine.ledger() as book:
        _, _, tape = layer.forward(x)
    forward = {"numpy:numba": 1}.get(spec, 2)  # one call for everything; else the projection, then the time loop
    assert book.launches == forward
    with engine.ledger() as book:
        layer.backward(tape, layer.backend.asarray(np.ones((4, 5, 3))))
    assert book.launches == {"numpy:numba": 1}.get(spec, 4)  # the time loop, dx, and two weight gradients
    assert (book.array_operations is None) == spec.startswith("numpy")


def test_large_allocations_on_the_cpu_and_on_a_gpu() -> None:
    workspace.release()
    rows = events.LARGE // 8
    with engine.ledger() as book:
        array = workspace.empty((rows,), np.float64)
        assert (book.large_allocations, book.bytes_allocated) == (1, events.LARGE)
        workspace.empty((rows // 2,), np.float64)  # half a MiB
        del array
        workspace.empty((rows,), np.float64)  # memory used before
        assert book.large_allocations == 1
    xp = engine.get_backend("cupy:reference").xp
    with engine.ledger() as outer, engine.ledger() as book:
        device = xp.zeros(rows)
        assert (book.large_allocations, book.bytes_allocated) == (1, events.LARGE)
        xp.zeros(rows // 2)
        del device
        xp.zeros(rows)
        assert (book.large_allocations, outer.large_allocations) == (1, 1)
        again = xp.zeros(rows), xp.zeros(rows)
        assert book.large_allocations == 2
    del again
    assert machine.hooks == {}


def test_what_is_printed() -> None:
    shown = str(Ledger(3, 4096, 1, 8, 1, 12, None, 2, 3 << 20)).splitlines()
    assert shown[0].split() == ["copies", "to", "the", "device", "3", "4,096", "bytes"]
    assert [line.split()[-1] for line in shown[2:4]] == ["1", "12"]
    assert shown[4].endswith("not told by this library")
    assert shown[5].split()[-3:] == ["2", "3,145,728", "bytes"]
    assert len({len(line.split("  ")[0]) for line in shown}) > 1
    assert "711" in str(Ledger(array_operations=711))


def test_engine_ledger_stays_the_function() -> None:
    import engine.ledgers

    assert engine.ledger is engine.ledgers.ledger
    assert {"ledger", "Ledger"} <= set(engine.__all__)


# -- no copy and no wait inside a training step -----------------------------------------------------------------------


def step_of(model: Any, loss: str, optimizer: Any, lengths: Any, ids: bool) -> Any:
    """A function that makes one training step on data that is there already, tokens and lengths apart."""
    rng, backend = np.random.default_rng(0), model.backend
    T, B, D, V = 5, 3, 4, 6
    x = rng.integers(0, V, (T, B)) if ids else backend.asarray(rng.normal(size=(T, B, D)).astype("float32"))
    classes = backend.asarray(rng.integers(0, V, (T, B)))
    values = backend.asarray(rng.normal(size=(T, B, V)).astype("float32"))
    valid = backend.asarray(np.arange(T)[:, None] < np.array(lengths or [T] * B))

    def step() -> None:
        y, _, tape = model.forward(x, lengths=lengths)
        if loss == "mse":
            value, dy = engine.mse(y, values, valid)
        else:
            value, dy = engine.cross_entropy(y, classes, valid)
        model.zero_grad()
        model.backward(tape, dy)
        engine.clip_grad_value(model, 5.0)
        engine.clip_grad_norm(model, 1.0)
        optimizer.step(guard=value)

    return step


def model_of(spec: str, kind: str, ids: bool, dropout: float) -> Any:
    options: dict[str, Any] = {"backend": spec, "seed": 3}
    arguments: dict[str, Any] = {"dropout": dropout, "bidirectional": True, **options}
    cells = {
        "lstm": lambda: engine.LSTM(4, 3, 2, **arguments),
        "gru": lambda: engine.GRU(4, 3, 2, **arguments),
        "gru_before": lambda: engine.GRU(4, 3, 2, reset_after=False, **arguments),
        "rnn_tanh": lambda: engine.RNN(4, 3, 2, **arguments),
        "rnn_relu": lambda: engine.RNN(4, 3, 2, nonlinearity="relu", **arguments),
    }
    first = [engine.Embedding(6, 4, **options)] if ids else []
    return engine.Sequential(*first, engine.Dropout(dropout, **options), cells[kind](), engine.Linear(6, 6, **options))


OPTIMIZERS: dict[str, Any] = {
    "SGD": {"momentum": 0.8, "nesterov": True, "l1": 0.01},
    "Adagrad": {"lr_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True, "l2": 0.1},
    "Adam": {},
    "AdamW": {"weight_decay": 0.1},
}
LENGTHS = [5, 0, 2]


@pytest.mark.parametrize("kernels", ["reference", "cuda"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("ids", [False, True], ids=["values", "tokens"])
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["", "dropout"])
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_no_copy_and_no_wait_in_a_step(kind: str, dropout: float, ids: bool, lengths: Any, kernels: str) -> None:
    model = model_of(f"cupy:{kernels}", kind, ids, dropout)
    step = step_of(model, "cross_entropy", engine.Adam(model), lengths, ids)
    step()
    counts.reset()
    with engine.ledger() as book:
        step()
    # What enters is what stands on the host: the lengths, once for each layer, and the tokens, once to look them up
    # and once as the order in which their gradients are added (its tables, and the rows they go to).
    layers = len(model.layers)
    assert book.copies_to_device == (0 if lengths is None else layers) + (3 if ids else 0)
    assert book.bytes_to_device <= (0 if lengths is None else 24 * layers) + (8 * 15 * 10 if ids else 0)
    assert (book.copies_to_host, book.bytes_to_host, book.waits) == (0, 0, 0)
    # The look-alike sees what goes past the backend too: nothing does.
    assert (counts.uploads, counts.upload_bytes) == (book.copies_to_device, book.bytes_to_device)
    assert (counts.downloads, counts.waits) == (0, 0)
    assert book.array_operations == counts.launches
    assert book.large_allocations == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_no_copy_and_no_wait_in_any_optimizer_and_loss(name: str, loss: str) -> None:
    model = model_of("cupy:reference", "gru", False, 0.2)
    step = step_of(model, loss, getattr(engine, name)(model, **OPTIMIZERS[name]), None, False)
    counts.reset()
    with engine.ledger() as book:
        for _ in range(3):
            step()
    assert (book.copies_to_device, book.copies_to_host, book.waits) == (0, 0, 0)
    assert (counts.uploads, counts.downloads, counts.waits) == (0, 0, 0)


def test_a_hidden_wait_is_found() -> None:
    """That the tests above can fail: on the look-alike, reading a number past the backend is seen."""
    loss, _ = engine.mse(*(engine.get_backend("cupy:reference").asarray(np.ones((3, 2))) for _ in range(2)))
    with engine.ledger() as book:
        float(loss)
        bool(loss == 0)
    assert book.waits == 2
    assert book.copies_to_host == 0


# -- launches and memory ----------------------------------------------------------------------------------------------


def work(kernels: str, kind: str, steps: int, lengths: Any = None) -> tuple[int, int]:
    """Launches by the kernel set and by the array library, of forward and backward over so many time steps."""
    layer = build(kind, 2, 3, backend=f"cupy:{kernels}")
    x = layer.backend.asarray(np.random.default_rng(0).normal(size=(steps, 4, 2)))
    dy = layer.backend.asarray(np.ones((steps, 4, 3)))
    with engine.ledger() as book:
        _, _, tape = layer.forward(x, lengths=lengths)
        layer.backward(tape, dy)
    assert book.array_operations is not None
    return book.launches, book.array_operations


@pytest.mark.parametrize("kind", FIVE_CELLS)
@pytest.mark.parametrize("lengths", [None, [3, 0, 2, 1]], ids=["full", "lengths"])
def test_launches_of_the_persistent_path_do_not_depend_on_the_number_of_steps(kind: str, lengths: Any) -> None:
    assert work("cuda", kind, 4, lengths) == work("cuda", kind, 9, lengths)
    launches, operations = work("cuda", kind, 4, lengths)
    assert launches <= 7
    assert operations <= 40
    # The plain kernels start several operations a step, as many at each.
    counted = [work("reference", kind, steps, lengths)[1] for steps in (4, 6, 8)]
    assert counted[2] - counted[1] == counted[1] - counted[0] >= 20


@pytest.mark.slow
def test_a_step_after_warm_up_takes_no_fresh_memory() -> None:
    options: dict[str, Any] = {"backend": "numpy:numba", "seed": 1}
    model = engine.Sequential(engine.LSTM(40, 48, 2, bidirectional=True, **options), engine.Linear(96, 50, **options))
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(64, 32, 40)).astype("float32"), rng.integers(0, 50, (64, 32))
    optimizer = engine.Adam(model)

    def step() -> None:
        y, _, tape = model.forward(x)
        _, dy = engine.cross_entropy(y, targets)
        model.zero_grad()
        model.backward(tape, dy)
        engine.clip_grad_norm(model, 1.0)
        optimizer.step()

    workspace.release()
    with engine.ledger() as book:
        step()
    assert book.large_allocations > 3
    step()
    with engine.ledger() as book:
        step()
    assert (book.large_allocations, book.bytes_allocated) == (0, 0)
    assert (book.copies_to_device, book.copies_to_host, book.waits) == (1, 0, 0)  # the targets
    assert book.launches == 4 + 4 + 3  # layers and directions, each way; the products of Linear
