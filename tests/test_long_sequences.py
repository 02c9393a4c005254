"""Sequences read part by part: full BPTT in segments, truncated BPTT in windows, the bias of a truncation."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from kernels.reference import ReferenceKernels

Array = Any
T, B, D, H, K = 15, 4, 3, 5, 2
X, TARGET = np.random.default_rng(0).normal(size=(T, B, D)), np.random.default_rng(1).normal(size=(T, B, K))


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of the array code may be broken off every 4 steps, so that a short sequence has segments."""
    monkeypatch.setattr(ReferenceKernels, "steps_at_once", 4)


def build(batch_first: bool = False, **options: Any) -> Any:
    kinds: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    return engine.Sequential(
        engine.LSTM(D, H, 2, dropout=0.3, zoneout=0.1, batch_first=batch_first, seed=3, **options, **kinds),
        engine.Dropout(0.2, **kinds), engine.GRU(H, H, batch_first=batch_first, weight_dropout=0.2, **kinds),
        engine.Linear(H, K, **kinds), seed=7,
    )  # fmt: skip


def state_of(model: Any) -> Any:
    rng = np.random.default_rng(5)
    return (rng.normal(size=(2, B, H)), rng.normal(size=(2, B, H))), None, rng.normal(size=(1, B, H)), None


def flat(state: Any) -> list[Array]:
    if state is None:
        return []
    return [part for entry in state for part in flat(entry)] if isinstance(state, tuple) else [state]


def squared(axis: int = 0) -> Any:
    def loss(y: Array, start: int, stop: int) -> tuple[Any, Array]:
        wanted = TARGET.swapaxes(0, 1)[:, start:stop] if axis else TARGET[start:stop]
        return engine.mse(y, np.ascontiguousarray(wanted), normalizer=T * B)

    return loss


def one_pass(model: Any, x: Array, state: Any, lengths: Any, axis: int) -> list[Array]:
    model.zero_grad()
    y, last, tape = model.forward(x, state, lengths)
    dx, dstate = model.backward(tape, squared(axis)(y, 0, T)[1])
    return [dx, *flat(last), *flat(dstate), *(grad.copy() for grad in model.grads.values())]


@pytest.mark.parametrize("lengths", [None, [15, 0, 7, 11]])
@pytest.mark.parametrize("batch_first", [False, True])
def test_segments_have_the_bits_of_one_pass(batch_first: bool, lengths: Any) -> None:
    model, axis = build(batch_first), int(batch_first)
    x, state = (X.swapaxes(0, 1).copy() if axis else X), state_of(None)
    full = one_pass(model, x, state, lengths, axis)
    for segments in (1, 2, 4):
        model.load_call_counters(dict.fromkeys(model.call_counters(), 0))
        model.zero_grad()
        spans: list[tuple[int, int]] = []

        def loss(y: Array, start: int, stop: int, spans: Any = spans) -> tuple[Any, Array]:
            spans.append((start, stop))
            return squared(axis)(y, start, stop)

        found = engine.segmented_bptt(model, x, loss, segments=segments, state=state, lengths=lengths, wants_dx=True)
        assert spans == {1: [(0, 15)], 2: [(7, 15), (0, 7)], 4: [(11, 15), (7, 11), (3, 7), (0, 3)]}[segments]
        parts = [found.dx, *flat(found.state), *flat(found.dstate), *model.grads.values()]
        names = ["other"] * (len(parts) - len(model.grads)) + list(model.grads)
        for name, one, other in zip(names, parts, full, strict=True):
            if name.startswith("3."):  # a dense layer sums segment by segment
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
            else:
                assert one.tobytes() == other.tobytes(), name
        assert set(model.call_counters().values()) <= {0, 1}
        assert model.step_offset == 0


def test_a_memory_map_is_read_part_by_part(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    model = engine.GRU(D, K, backend="numpy:reference", dtype="float64")
    results = [
        engine.segmented_bptt(model, x, squared(), memory="7 KiB")
        for x in (X, np.load(tmp_path / "x.npy", mmap_mode="r"))
    ]
    assert results[0].loss == results[1].loss
    assert results[0].segments > 1
    assert results[0].dx is None


def test_ids_are_read_part_by_part_too() -> None:
    kinds: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    model = engine.Sequential(engine.Embedding(6, D, **kinds), engine.GRU(D, K, **kinds))
    ids = np.random.default_rng(2).integers(0, 6, (T, B))
    full = one_pass(model, ids, None, None, 0)[-5:]
    model.zero_grad()
    engine.segmented_bptt(model, ids, squared(), segments=3)
    np.testing.assert_allclose(model.grads["0.weight"], full[0], rtol=1e-12)
    assert model.grads["1.weight_hh_l0"].tobytes() == full[2].tobytes() or "1.weight_hh_l0" != list(model.grads)[2]


def test_an_impossible_budget_names_the_least() -> None:
    model = engine.GRU(D, K, backend="numpy:reference", dtype="float64")
    with pytest.raises(
        engine.InputError, match=r"memory: expected at least (\d\.\d KiB) for 15 steps of 4 rows"
    ) as found:
        engine.segmented_bptt(model, X, squared(), memory=100)
    least = str(found.value).split("at least ")[1].split(" for")[0]
    assert engine.segmented_bptt(model, X, squared(), memory=least).segments > 1
    with pytest.raises(engine.InputError, match="a bidirectional layer"):
        engine.segmented_bptt(engine.GRU(D, K, bidirectional=True), X, squared())
    heads = engine.Heads({"a": engine.Linear(K, 2)})
    for name, part in {"BatchNorm": engine.BatchNorm(K), "Heads": heads, "Pool": engine.Pool()}.items():
        with pytest.raises(engine.InputError, match=f"a {name};"):
            engine.segmented_bptt(engine.Sequential(engine.GRU(D, K), part), X, squared())


def unrolled(model: Any, state: Any, k1: int, k2: int) -> list[Array]:
    """The sum of what each chunk's losses give, with the states before its window as constants, written out."""
    model.zero_grad()
    for start in range(0, T, k1):
        stop = min(start + k1, T)
        begin = max(0, stop - k2)
        before = model.predict(X[:begin], state)[1] if begin else state
        y, _, tape = model.forward(X[begin:stop], before)
        dy = np.zeros_like(y)
        dy[start - begin :] = squared()(y[start - begin :], start, stop)[1]
        model.backward(tape, dy)
    return [grad.copy() for grad in model.grads.values()]


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (4, 4), (1, 5), (3, 7), (4, 20), (15, 15), (20, 40)])
def test_windows_are_explicit_unrolled_sums(k1: int, k2: int) -> None:
    kinds: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    model = engine.Sequential(engine.LSTM(D, H, 2, **kinds), engine.Linear(H, K, **kinds))
    state = (np.ones((2, B, H)) * 0.3, np.ones((2, B, H)) * -0.2), None
    wanted = unrolled(model, state, k1, k2)
    model.zero_grad()
    engine.windowed_bptt(model, X, squared(), k1, k2, state)
    for found, grad in zip(model.grads.values(), wanted, strict=True):
        np.testing.assert_allclose(found, grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (2, 7), (15, 15)])
def test_windows_give_all_that_truncated_bptt_gives_masks_included(k1: int, k2: int) -> None:
    model, state = build(), state_of(None)
    whole = engine.truncated_bptt(model, X, lambda y: squared()(y, 0, T), k1, k2, state)
    full = [whole.dx, *flat(whole.state), *flat(whole.dstate), *(grad.copy() for grad in model.grads.values())]
    model.load_call_counters(dict.fromkeys(model.call_counters(), 0))
    model.zero_grad()
    part = engine.windowed_bptt(model, X, squared(), k1, k2, state, wants_dx=True)
    found = [part.dx, *flat(part.state), *flat(part.dstate), *model.grads.values()]
    np.testing.assert_allclose(part.loss, whole.loss, rtol=1e-12)
    for one, other in zip(found, full, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("as_array", [False, True])
def test_a_row_begins_anew_where_a_document_does(as_array: bool) -> None:
    kinds: dict[str, Any] = {"backend": "numpy:reference", "dtype": "float64"}
    model = engine.Sequential(engine.LSTM(D, H, **kinds), engine.Linear(H, K, **kinds))
    begins = [[4, 9], [], [0, 14], [7]]
    resets: Any = begins
    if as_array:
        resets = np.zeros((T, B), bool)
        for row, steps in enumerate(begins):
            resets[steps, row] = True
    state = (np.ones((1, B, H)) * 0.3, np.ones((1, B, H)) * -0.2), None
    result = engine.windowed_bptt(model, X, squared(), 3, 40, state, resets=resets)
    windowed = [grad.copy() for grad in model.grads.values()]
    model.zero_grad()
    for row, steps in enumerate(begins):  # every document by itself
        first = tuple(part[:, row : row + 1] for part in state[0])
        for start, stop in zip([0, *steps], [*steps, T], strict=True):
            if start < stop:
                begun = None if start in steps else (first, None)
                y, last, tape = model.forward(X[start:stop, row : row + 1], begun)
                dy = engine.mse(y, TARGET[start:stop, row : row + 1], normalizer=T * B)[1]
                dstate = model.backward(tape, dy)[1]
                if start == 0:
                    want = [0 * part for part in dstate[0]] if 0 in steps else dstate[0]
                    for one, other in zip(result.dstate[0], want, strict=True):
                        np.testing.assert_allclose(one[:, row : row + 1], other, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(result.state[0][0][:, row], last[0][0][:, 0], rtol=1e-12)
    for found, grad in zip(windowed, model.grads.values(), strict=True):
        np.testing.assert_allclose(found, grad, rtol=1e-9, atol=1e-13)


@pytest.mark.proof
def test_the_memory_of_windows_does_not_grow_with_the_sequence() -> None:
    model = engine.GRU(D, 64, backend="numpy:reference")

    def loss(y: Array, start: int, stop: int) -> tuple[Any, Array]:
        gc.collect()  # what waits for the collector is no part of the window
        return 0.0, np.ones_like(y)

    def peak(steps: int) -> int:
        x = np.ones((steps, 16, D), np.float32)
        tracemalloc.start()
        engine.windowed_bptt(model, x, loss, 5, 20)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(20)
    short, long = peak(40), peak(160)
    assert long < 1.05 * short


def test_wrong_arguments_of_windows() -> None:
    model = engine.GRU(D, K, backend="numpy:reference", dtype="float64")
    for wrong, words in (
        ([[1]], "resets"), ([[], [], [], [15]], "resets of row 3"), (np.zeros((T, B)), "resets"), ("abcd", "resets"),
    ):  # fmt: skip
        with pytest.raises(engine.InputError, match=words):
            engine.windowed_bptt(model, X, squared(), 2, 4, resets=wrong)
    with pytest.raises(engine.InputError, match="k2: expected at least k1 = 3"):
        engine.windowed_bptt(model, X, squared(), 3, 2)


def test_the_bias_of_a_truncation_is_that_of_its_gradient() -> None:
    model = engine.LSTM(D, K, backend="numpy:reference", dtype="float64", zoneout=0.2)

    def loss(y: Array) -> tuple[Any, Array]:
        return squared()(y, 0, T)

    engine.truncated_bptt(model, X, loss, T, T)
    full = model.grads["weight_hh_l0"].copy()
    model.zero_grad()
    model.call_counter = 0
    engine.truncated_bptt(model, X, loss, 2, 3)
    part = model.grads["weight_hh_l0"].copy()
    model.call_counter = 0
    bias = engine.truncation_bias(model, X, loss, [3, T], k1=2)
    assert model.call_counter == 0
    np.testing.assert_array_equal(model.grads["weight_hh_l0"], part)  # the gradients stay
    row = next(row for row in bias.rows if (row.name, row.k2) == ("weight_hh_l0", 3))
    norms = np.linalg.norm(part), np.linalg.norm(full)
    np.testing.assert_allclose(row.cosine, (part * full).sum() / np.prod(norms))
    np.testing.assert_allclose([row.ratio, row.error], [norms[0] / norms[1], np.linalg.norm(part - full) / norms[1]])
    assert row.error > 0.01
    for row in bias.rows:
        if row.k2 == T:
            np.testing.assert_allclose([row.cosine, row.ratio, row.error], [1, 1, 0], atol=1e-12)
    assert "weight_hh_l0    2     3" in str(bias)
