"""docs/add_a_backend.md: its example is short and whole, and its list is what the engine calls of an array library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT

import engine
from engine.backend import Backend, add_backend
from engine.checking.catalogue import catalogue
from kernels.reference import ReferenceKernels

PAGE = (Path(ROOT) / "docs" / "add_a_backend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Recorded:
    """The example's library, which notes the names that are asked for."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.library, name)  # an AttributeError is no name that is needed
        self.names.add(name)
        return found


@pytest.fixture
def recorded() -> Iterator[tuple[Backend, set[str]]]:
    """The page's example as a backend, and the names that are asked of its namespace."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(BLOCKS[0], "docs/add_a_backend.md", "exec"), names)
    names["Coarse"].bits = 53
    library = Recorded(names["CoarseLibrary"]())
    backend = Backend("recorded", library, ReferenceKernels(library), "host")
    remove = add_backend(backend)
    yield backend, library.names
    remove()


def listed() -> tuple[set[str], set[str]]:
    """The names in the page's table, and those of the sentence about gradient checks."""
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| ") and "PyTorch" not in line)
    table = table[: table.index("| `torch.float32`")]
    more = re.search(r"Gradient checks use a few more:(.*?)of the namespace", PAGE, re.DOTALL)
    assert more
    return set(re.findall(r"`(\w+)`", table)), set(re.findall(r"`(\w+)`", more[1]))


def train(backend: Backend) -> None:
    """Everything that a training run does of arrays: all layers and options, losses, optimisers, clipping."""
    rng = np.random.default_rng(0)
    cells: list[tuple[Any, dict[str, Any]]] = [
        (engine.LSTM, {"batch_first": True, "bidirectional": True}),
        (engine.GRU, {}),
        (engine.GRU, {"reset_after": False, "bidirectional": True}),
        (engine.RNN, {"nonlinearity": "relu", "variational": True}),
        (engine.RNN, {}),
    ]
    optimizers: list[tuple[Any, dict[str, Any]]] = [
        (engine.SGD, {"momentum": 0.9, "nesterov": True, "l1": 0.1}),
        (engine.Adagrad, {}),
        (engine.RMSprop, {"centered": True, "momentum": 0.1}),
        (engine.Adam, {"l2": 0.1}),
        (engine.AdamW, {}),
    ]
    for (cell, given), (optimizer, its) in zip(cells, optimizers, strict=True):
        layer = cell(3, 4, 2, dropout=0.3, backend=backend, **given)
        layers = engine.Embedding(7, 3, backend=backend), engine.Dropout(0.2, backend=backend), layer
        model = engine.Sequential(*layers, engine.Linear(4 * layer.num_directions, 7, backend=backend))
        opt = optimizer(model, **its)
        ids = rng.integers(0, 7, (5, 2))
        for lengths in (None, [2, 1]) if layer.batch_first is False else (None, [2, 1, 0, 2, 1]):
            y, _, tape = model.forward(ids, lengths=lengths)
            loss, dy = engine.cross_entropy(y, backend.asarray(ids), mask=backend.asarray(ids > 2))
            engine.mse(y, y, mask=ids > 1)
            model.zero_grad()
            model.backward(tape, dy)
            engine.clip_grad_norm(model, 1.0)
            engine.clip_grad_value(model, 0.5)
            opt.step(guard=loss)
            model.predict(ids, lengths=lengths)
        opt.load_state_dict(opt.state_dict())
        model.load_state_dict({name: backend.to_host(value) for name, value in model.state_dict().items()})
        assert np.isfinite(backend.to_host(loss))


def test_the_list_is_what_is_asked_for_no_more_and_no_less(recorded: tuple[Backend, set[str]]) -> None:
    backend, names = recorded
    needed, more = listed()
    train(backend)
    layer = engine.LSTM(3, 4, backend=backend, batch_first=True)
    engine.gradcheck(layer, backend.asarray(np.ones((2, 3, 3), np.float32)), method="central")
    assert names <= needed | more
    assert needed - names == set()
    for method in ("complex", "adjoint"):
        for case in catalogue(backend, seed=1):
            if case.family == "lstm" and case.options == "bidirectional, lengths":
                assert case.check(method, 1).verdict == "ok"
    assert names - {"home"} == needed | more


def test_a_training_run_asks_for_nothing_that_only_gradient_checks_need(recorded: tuple[Backend, set[str]]) -> None:
    backend, names = recorded
    train(backend)
    needed, more = listed()
    assert names == needed
    assert not names & more


def test_the_example_is_under_sixty_lines() -> None:
    registration = [line for line in BLOCKS[1].splitlines() if line.startswith(("library", "remove"))]
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()] + registration
    assert len(lines) < 60


def test_an_added_backend_has_every_right_of_the_others(recorded: tuple[Backend, set[str]]) -> None:
    backend, _ = recorded
    assert engine.available_backends()["recorded"] is None
    assert engine.get_backend("recorded") is backend is engine.get_backend("recorded:reference")
    layer = engine.LSTM(2, 3, backend="recorded")
    with pytest.raises(engine.InputTypeError, match=r"x: expected a recorded array, got a numpy\.ndarray"):
        layer.forward(np.ones((4, 1, 2), np.float32))
    with pytest.raises(engine.InputError, match="kernels: expected one of 'reference' for recorded, got 'numba'"):
        engine.get_backend("recorded:numba")
    for wrong, message in ((backend, "backend: expected a name beside"), ("numpy", "backend: expected a Backend")):
        with pytest.raises(engine.InputError, match=message):
            add_backend(wrong)  # type: ignore[arg-type]


def test_an_added_backend_is_taken_off_again() -> None:
    before = engine.available_backends()
    plain = engine.get_backend("numpy:reference")
    remove = add_backend(Backend("mine", plain.xp, plain.kernels, "CPU"))
    assert engine.available_backends() == before | {"mine": None}
    remove()
    assert engine.available_backends() == before
    with pytest.raises(engine.InputError, match="backend: expected one of"):
        engine.get_backend("mine")
