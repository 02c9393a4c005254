"""Recomputation through time inside a recurrent layer: the bits of full storage, in the memory that was predicted."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import engine
from kernels.cpu import workspace
from kernels.reference import ReferenceKernels

Array = Any
T, B, D, H = 14, 5, 3, 7
#: Options of a layer: each draws masks, stacks or turns round, in another way.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "both ways": {"num_layers": 2, "bidirectional": True, "dropout": 0.3, "zoneout": 0.2},
    "masks of weights": {"num_layers": 2, "weight_dropout": 0.3, "batch_first": True},
    "one mask": {"num_layers": 2, "dropout": 0.4, "variational": True, "recurrent_dropout": 0.2},
}


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of the array code may be broken off every 4 steps, so that a short sequence has segments."""
    monkeypatch.setattr(ReferenceKernels, "steps_at_once", 4)


def build(cell: str, options: dict[str, Any], backend: str, dtype: str = "float32") -> engine.Recurrent:
    own = dict(options) | ({"proj_size": 4} if cell == "projected_lstm" else {})
    if cell == "indrnn":  # has no recurrent product
        own = {name: value for name, value in own.items() if name not in ("weight_dropout", "recurrent_dropout")}
    return engine.Recurrent(cell, D, H, backend=backend, dtype=dtype, seed=5, **own)


def passes(layer: engine.Recurrent, recompute: Any, lengths: Any, steps: int = T, batch: int = B) -> list[Array]:
    """Everything that forward and backward give, from gradients that are not zero."""
    rng, slots = np.random.default_rng(3), layer.num_layers * layer.num_directions
    shape = (batch, steps) if layer.batch_first else (steps, batch)
    x = rng.normal(size=(*shape, D)).astype(layer.dtype)
    dy = rng.normal(size=(*shape, layer.num_directions * layer.widths[0])).astype(layer.dtype)
    first: Any
    last: Any
    first, last = (
        tuple(rng.normal(size=(slots, batch, width)).astype(layer.dtype) for width in layer.widths) for _ in range(2)
    )
    first, last = (first, last) if len(first) > 1 else (first[0], last[0])
    layer.recompute, layer.call_counter = recompute, 4
    for name, grad in layer.grads.items():
        layer.grads[name] = np.full_like(grad, 0.25)
    y, state, tape = layer.forward(x, first, lengths)
    kinds = {type(direction).__name__ for row in tape.layers for direction in row}
    assert kinds == {"DirectionTape" if recompute is None else "SegmentedDirection"}
    dx, dstate = layer.backward(tape, dy, last)
    parts = [part if isinstance(part, tuple) else (part,) for part in (state, dstate)]
    return [y, dx, *parts[0], *parts[1], *(grad.copy() for grad in layer.grads.values())]


def same_bits(found: list[Array], wanted: list[Array]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(found, wanted, strict=True))


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", sorted(name for name in engine.cells() if not name.startswith("test_")))
def test_every_cell_has_the_bits_of_full_storage(cell: str, options: str) -> None:
    layer = build(cell, OPTIONS[options], "numpy:reference")
    for lengths in (None, [14, 0, 5, 9, 14]):
        full = passes(layer, None, lengths)
        for segments in (2, 100):
            assert same_bits(passes(layer, segments, lengths), full)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "options"), [("lstm", "both ways"), ("gru", "one mask"), ("indrnn", "plain")])
def test_compiled_cells_have_the_bits_of_full_storage(cell: str, options: str, dtype: str) -> None:
    layer = build(cell, OPTIONS[options], "numpy:numba", dtype)
    for lengths in (None, np.random.default_rng(0).integers(0, 71, 33)):
        full = passes(layer, None, lengths, 70, 33)
        for segments in (3, 100):
            assert same_bits(passes(layer, segments, lengths, 70, 33), full)


@pytest.mark.usefixtures("short_blocks")
def test_a_cell_of_ones_own_is_recomputed_too(leaky_cell: engine.Cell) -> None:
    layer = engine.Recurrent(leaky_cell, D, H, num_layers=2, bidirectional=True, backend="numpy:reference")
    full = passes(layer, None, [3, 14, 8, 1, 12])
    assert same_bits(passes(layer, 3, [3, 14, 8, 1, 12]), full)


@pytest.fixture
def leaky_cell() -> Iterator[engine.Cell]:
    """A cell that the package does not know: a leak of each unit's own, p_l."""
    from kernels import cells as registry

    def forward(a_n, h_prev, p_l, tanh):
        n = tanh(a_n)
        h = h_prev * p_l + n
        return n, h

    def backward(dh, n, h_prev, p_l, one):
        da_n = dh * (one - n * n)
        dh_prev = dh * p_l
        dp_l = dh * h_prev
        return da_n, dh_prev, dp_l

    yield engine.Cell("leaky_for_recomputing", engine.Phase("n", forward, backward))
    registry._CELLS.pop("leaky_for_recomputing")


@pytest.mark.usefixtures("short_blocks")
def test_a_tape_of_segments_gives_what_a_whole_one_gives() -> None:
    layer = build("lstm", OPTIONS["one mask"], "numpy:reference", "float64")
    x = np.random.default_rng(1).normal(size=(T, B, D))
    found = {}
    for setting in (None, 3):
        layer.recompute, layer.call_counter = setting, 0
        tape = layer.forward(x, lengths=[14, 2, 9, 0, 7])[2]
        part = tape.layers[1][0]
        trace = layer.backward_trace(tape, np.ones((T, B, H)))
        dx = layer.backward(layer.window(tape, 3, 11), np.ones((8, B, H)))[0]
        found[setting] = [*part.gates.values(), *part.states.values(), *part.factors.values(), trace.dx, dx]
        found[setting] += [trace.layers[0][0].dc, layer.backward(tape)[0]]
    assert all(np.array_equal(a, b) for a, b in zip(found[None], found[3], strict=True))


def test_a_segment_draws_the_masks_of_its_own_steps() -> None:
    layer = build("gru", {"num_layers": 2, "dropout": 0.5, "zoneout": 0.3}, "numpy:reference")
    x = np.random.default_rng(2).normal(size=(T, B, D)).astype("float32")
    y, state, _ = layer.forward(x)
    layer.call_counter = 0
    head, state, _ = layer.forward(x[:5])
    layer.call_counter, layer.step_offset = 0, 5
    tail = layer.forward(x[5:], state)[0]
    np.testing.assert_array_equal(np.concatenate([head, tail]), y)


def test_the_predicted_memory_is_what_python_traces() -> None:
    layer = engine.LSTM(8, 32, num_layers=2, bidirectional=True, backend="numpy:numba")
    x, lengths = np.random.default_rng(0).normal(size=(1500, 16, 8)).astype("float32"), np.linspace(100, 1500, 16)
    dy = np.random.default_rng(1).normal(size=(1500, 16, 64)).astype("float32")

    def measured(ragged: Any) -> int:
        def both() -> None:
            y, state, tape = layer.forward(x, None, ragged)
            layer.backward(tape, dy)
            del y, state

        both()  # what is kept from pass to pass is there afterwards
        gc.collect()
        workspace.release()
        tracemalloc.start()
        both()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    for ragged in (None, lengths.astype(int)):
        layer.recompute = 8
        plan = engine.memory_of(layer, 1500, 16, lengths=ragged is not None)
        assert plan.peak / 1.15 < measured(ragged) < 1.15 * plan.peak
        assert plan.peak < 0.5 * engine.memory_of(layer, 1500, 16, lengths=ragged is not None, recompute=None).peak


def test_a_budget_takes_as_few_segments_as_fit() -> None:
    layer = engine.GRU(4, 16, backend="numpy:reference")
    whole, least = (engine.memory_of(layer, 900, 3, recompute=way) for way in (None, 900))
    assert engine.memory_of(layer, 900, 3, recompute=f"{whole.peak}B").segments == 1
    middle = engine.memory_of(layer, 900, 3, recompute=f"{(whole.peak + least.peak) // 2}B")
    longer = engine.memory_of(layer, 900, 3, recompute=middle.segments - 1)
    assert 1 < middle.segments < least.segments
    assert middle.peak <= (whole.peak + least.peak) // 2 < longer.peak
    engine.recompute(layer, memory="50KiB")
    x = np.zeros((900, 3, 4), np.float32)
    with pytest.raises(
        engine.InputError, match=r"at least (\d+\.\d KiB) for 900 steps of 3 rows, got 50.0 KiB"
    ) as caught:
        layer.forward(x)
    engine.recompute(layer, memory=str(caught.value).split("at least ")[1].split(" for")[0])  # what it names is enough
    assert type(layer.forward(x)[2].layers[0][0]).__name__ == "SegmentedDirection"


def test_the_setting_is_of_the_program_and_in_no_file() -> None:
    model: Any = engine.Sequential(engine.GRU(2, 3), engine.Dropout(0.1), engine.LSTM(3, 4), engine.Linear(4, 1))
    before = model.config()
    engine.recompute(model, memory="3 KB")
    assert [model.layers[n].recompute for n in (0, 2)] == ["1500 B"] * 2
    assert model.config() == before
    engine.recompute(model)
    assert model.layers[2].recompute is None
    for wrong in ("64 apples", "MiB", 0, 2.5, True):
        with pytest.raises(engine.InputError):
            model.layers[0].recompute = wrong
    with pytest.raises(engine.InputError, match="a model with a recurrent layer"):
        engine.recompute(engine.Linear(2, 3), segments=2)
    with pytest.raises(engine.InputError, match="None beside segments"):
        engine.recompute(model, segments=2, memory="1GiB")
