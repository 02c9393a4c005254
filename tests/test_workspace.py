"""Memory that is used again: never while it is alive, bounded in what waits, and enough of it for every step."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, leaves, passes, random_arguments
from conftest import JIT_OFF
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

import engine
from kernels.cpu import workspace

needs_compiled = pytest.mark.skipif(JIT_OFF, reason="too slow uncompiled (NUMBA_DISABLE_JIT)")


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> None:
    """Collections need not look at all that other tests have left; it would cost a tenth of a second each."""
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[workspace._Store]:
    """A store that no other test has left anything in."""
    store = workspace._Store()
    monkeypatch.setattr(workspace, "_store", store)
    yield store
    gc.collect()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def settle(store: workspace._Store) -> None:
    """Let the store take note of what has come back."""
    store.take(1)  # nothing is as small as that
    store.news.append((-1, None))
    with store.lock:
        store._sort_in()
        store._let_go()


# -- what it hands out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", np.float64, np.dtype("int64"), "uint8"])
@pytest.mark.parametrize("shape", [(70, 30, 45), (100_000,), (1, 90_000, 1), (3, 0, 500_000), (0,), (), (5,)])
def test_an_array_is_what_numpy_would_give(shape: tuple[int, ...], dtype: Any) -> None:
    for make, other in ((workspace.empty, np.empty), (workspace.zeros, np.zeros)):
        for _ in range(2):  # the second from memory that was used before
            found, wanted = make(shape, dtype), other(shape, dtype)
            assert (found.shape, found.dtype, found.strides) == (wanted.shape, wanted.dtype, wanted.strides)
            assert found.flags.writeable
            assert found.flags.aligned
            assert found.flags.c_contiguous
            assert not found.flags.owndata or found.nbytes < workspace.SMALL
            if make is workspace.zeros:
                assert not found.any()
            found[...] = 1
            del found


def test_a_large_array_begins_where_a_cache_line_does() -> None:
    kept = [workspace.empty((20_000 + 7 * n,), np.float32) for n in range(20)]
    assert all(address(array) % 64 == 0 for array in kept)


def test_memory_is_used_again_when_the_last_view_is_gone(fresh_store: workspace._Store) -> None:
    first = workspace.empty((300, 70), np.float32)
    place = address(first)
    second = workspace.empty((300, 70), np.float32)
    assert address(second) != place
    del first
    third = workspace.empty((70, 300), np.float32)
    assert address(third) == place
    fourth = workspace.zeros((150, 70), np.float64)
    assert address(fourth) != place
    del third
    assert address(workspace.zeros((150, 70), np.float64)) == place  # another dtype, the same size


class Holder:
    """What another library hands to NumPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.__array_interface__ = array, array.__array_interface__


VIEWS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda a: a[3:5, 1],
    "transpose": lambda a: a.T,
    "reshaped": lambda a: a.reshape(-1)[::7],
    "reversed": lambda a: a[::-1],
    "other dtype": lambda a: a.view(np.uint8)[-4:],
    "of a view": lambda a: a[1:][2:].T[0],
    "broadcast": lambda a: np.broadcast_to(a[0], (5, *a[0].shape)),
    "memoryview": memoryview,
    "frombuffer": lambda a: np.frombuffer(a, np.uint8)[5:],
    "read-only": lambda a: np.frombuffer(memoryview(a).toreadonly(), np.float32),
    "as strided": lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
    "subclass": lambda a: a.view(np.recarray),
    "dlpack": lambda a: np.from_dlpack(a),
    "base": lambda a: a.base,
    "flat": lambda a: a.flat,
    "iterator": iter,
    "interface": lambda a: np.asarray(Holder(a)),
    "ctypes": lambda a: a.ctypes.data_as(ctypes.c_void_p),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_a_view_of_any_kind_keeps_the_memory(kind: str) -> None:
    array = workspace.empty((120, 230), np.float32)
    array[...] = np.arange(230)
    place = address(array)
    view = VIEWS[kind](array)
    before = np.array(view).tobytes() if isinstance(view, np.ndarray | memoryview) else b""
    del array
    others = [workspace.empty((120, 230), np.float32) for _ in range(3)]
    for other in others:
        other[...] = -1
        assert address(other) != place
    assert before == (np.array(view).tobytes() if isinstance(view, np.ndarray | memoryview) else b"")
    del view
    assert address(workspace.empty((120, 230), np.float32)) == place


def test_a_copy_is_numpys_own() -> None:
    array = workspace.zeros((200, 200), np.float32)
    copies = [array.copy(), array + 1, pickle.loads(pickle.dumps(array)), np.array(array)]
    for copy in copies:
        assert copy.flags.owndata or copy.base is None or not np.may_share_memory(copy, array)


# -- any order of events -----------------------------------------------------------------------------------------------


class Events(RuleBasedStateMachine):
    """Arrays and views come and go; those that are alive hold what was written into them, and share nothing."""

    arrays = Bundle("arrays")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.store = workspace._Store()
        self.patch.setattr(workspace, "_store", self.store)
        self.patch.setattr(workspace, "SMALL", 512)
        self.patch.setattr(workspace, "SPARE", 20_000)
        self.patch.setattr(workspace, "PATIENCE", 12)
        self.marks: dict[int, Any] = {}  # what is alive, with the number that it is filled with
        self.blocks: dict[int, tuple[int, int]] = {}  # the root that something is a view of, and its room
        self.count = self.most = 0

    def teardown(self) -> None:
        self.marks.clear()
        self.patch.undo()

    def alive(self) -> int:
        """Bytes that are in use: those of every root that something alive is a view of."""
        return sum(dict(self.blocks[key] for key in self.marks).values())

    @rule(target=arrays, shape=st.tuples(st.integers(1, 9), st.integers(20, 300)), dtype=st.sampled_from("fd"))
    def take(self, shape: tuple[int, int], dtype: str) -> int:
        self.count += 1
        array = workspace.empty(shape, dtype)
        for other in self.marks.values():
            assert not np.shares_memory(array, other)
        array[...] = self.count
        self.marks[self.count] = array
        room = 0 if array.nbytes < 512 else workspace._room(array.nbytes)
        self.blocks[self.count] = (self.count, room)
        self.most = max(self.most, self.alive())
        return self.count

    @rule(target=arrays, key=arrays, kind=st.integers(0, 3))
    def look(self, key: int, kind: int) -> int:
        """A view lives on by itself."""
        self.count += 1
        array = self.marks[key]
        view = (array[len(array) // 2 :], array.T, array[..., ::2], array[::-1])[kind]
        self.marks[self.count], self.blocks[self.count] = view, self.blocks[key]
        return self.count

    @rule(key=consumes(arrays))
    def drop(self, key: int) -> None:
        del self.marks[key]

    @rule(key=consumes(arrays))
    def drop_in_a_circle(self, key: int) -> None:
        circle = [self.marks.pop(key)]
        circle.append(circle)
        del circle
        gc.collect()

    @rule(key=consumes(arrays))
    def drop_elsewhere(self, key: int) -> None:
        box = [self.marks.pop(key)]
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()

    @rule()
    def let_go(self) -> None:
        workspace.release()
        assert self.store.waits == 0
        assert not self.store.waiting

    @invariant()
    def what_is_alive_is_as_it_was(self) -> None:
        for key, array in self.marks.items():
            assert (array == self.blocks[key][0]).all()

    @invariant()
    def the_books_are_right(self) -> None:
        settle(self.store)
        store = self.store
        assert store.in_use == self.alive()
        assert store.most_in_use in (self.most, self.most + 1)  # `settle` asks for one byte
        assert store.waits == sum(room for room, _, _ in store.waiting.values())
        assert store.waits + store.in_use <= self.most + 1 + min(self.most + 1, 20_000)
        assert sorted(store.waiting) == list(store.waiting)
        assert sorted(number for numbers in store.by_room.values() for number in numbers) == list(store.waiting)
        assert all(store.handed_out - since <= 12 for _, since, _ in store.waiting.values())
        for room, _, block in store.waiting.values():
            assert block.nbytes == room
            for array in self.marks.values():
                assert not np.may_share_memory(block, array)


Events.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestEvents = Events.TestCase


# -- what waits --------------------------------------------------------------------------------------------------------


def test_sizes_long_gone_are_let_go(fresh_store: workspace._Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "PATIENCE", 10)
    large = workspace.empty((1_000_000,), np.float32)
    del large
    for _ in range(9):
        workspace.empty((20_000,), np.float32)
        assert fresh_store.waits > 4_000_000
    for _ in range(3):
        workspace.empty((20_000,), np.float32)
    assert fresh_store.waits < 200_000


def test_batches_of_ever_another_length_do_not_pile_up(fresh_store: workspace._Store) -> None:
    rng = random.Random(3)
    for _ in range(500):
        held = [workspace.empty((rng.randrange(20_000, 2_000_000),), np.float32) for _ in range(3)]
        settle(fresh_store)
        most = fresh_store.most_in_use
        assert most <= 3 * 8_500_000 + 1
        assert fresh_store.waits + fresh_store.in_use <= most + min(most, workspace.SPARE)
        del held


def test_a_large_peak_leaves_little_more_than_itself(
    fresh_store: workspace._Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits beyond what was in use at once is no more than the spare room."""
    monkeypatch.setattr(workspace, "SPARE", 1_000_000)
    for size in range(400_000, 4_000_000, 400_000):
        workspace.empty((size,), np.uint8)
    settle(fresh_store)
    assert fresh_store.in_use == 0
    assert 3_000_000 < fresh_store.waits <= fresh_store.most_in_use + 1_000_000


def test_nearly_the_same_size_shares_a_block() -> None:
    array = workspace.empty((32, 640, 50), np.float32)
    place = address(array)
    del array
    assert address(workspace.empty((32, 638, 50), np.float32)) == place


@pytest.mark.parametrize("size", [65_536, 65_537, 100_000, 131_071, 131_072, 10**6, 10**7 + 1, 2**31, 2**33 + 5])
def test_a_block_is_hardly_larger_than_what_is_asked_for(size: int) -> None:
    room = workspace._room(size)
    assert size <= room <= size + max(4096, size // 16)
    assert workspace._room(room) == room


def test_out_of_memory_what_waits_is_let_go_first(
    fresh_store: workspace._Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = workspace.empty((50_000,), np.float32)
    workspace.empty((3_000_000,), np.float32)
    fresh, calls = workspace._fresh, []

    def scarce(room: int) -> np.ndarray:
        calls.append(room)
        if fresh_store.waits or (fresh_store.news and len(calls) == 1):
            raise MemoryError
        return fresh(room)

    monkeypatch.setattr(workspace, "_fresh", scarce)
    array = workspace.empty((4_000_000,), np.float32)
    assert len(calls) == 2
    assert array.shape == (4_000_000,)
    assert fresh_store.waits == 0

    def none_left(room: int) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(workspace, "_fresh", none_left)
    for _ in range(3):
        with pytest.raises(MemoryError):
            workspace.empty((10**9,), np.float32)
    settle(fresh_store)
    assert fresh_store.in_use == workspace._room(held.nbytes) + workspace._room(array.nbytes)


def test_an_impossible_size_is_numpys_error() -> None:
    with pytest.raises((MemoryError, ValueError)):
        workspace.empty((1 << 45, 1 << 14), np.float32)


def test_an_interrupt_in_the_middle_leaves_a_sound_store(
    fresh_store: workspace._Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        held = [workspace.empty((50_000 + 9000 * n,), np.float32) for n in range(4)]
    del held

    def interrupted() -> None:
        fresh_store.waiting.popitem()  # half done
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fresh_store, "_let_go", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workspace.empty((60_000,), np.float32)
    held = [workspace.empty((50_000 + 9000 * n,), np.float32) for n in range(4)]
    place = address(held[2])
    del held
    assert address(workspace.empty((68_000,), np.float32)) == place
    assert not fresh_store.busy


def test_a_pass_within_a_pass(fresh_store: workspace._Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler or a finalizer may come here while the same thread is in here."""
    inner: list[np.ndarray] = []
    let_go = fresh_store._let_go

    def handler() -> None:
        if len(inner) < 3:
            inner.append(workspace.empty((70_000,), np.float32))
            inner[-1][...] = len(inner)
            workspace.release()
        let_go()

    monkeypatch.setattr(fresh_store, "_let_go", handler)
    outer = workspace.empty((70_000,), np.float32)
    outer[...] = 9
    assert (inner[0] == 1).all()
    monkeypatch.undo()


def test_arrays_that_end_during_a_collection(fresh_store: workspace._Store) -> None:
    """Garbage collection gives memory back at any allocation, also at those that are made in here."""
    thresholds = gc.get_threshold()
    rng = random.Random(5)
    alive: dict[int, np.ndarray] = {}
    try:
        gc.set_threshold(1, 1, 1)
        for number in range(400):
            array = workspace.empty((rng.randrange(20_000, 60_000),), np.float32)
            array[...] = number
            alive[number] = array
            if len(alive) > 5:
                circle: list[Any] = [alive.pop(rng.choice(list(alive)))]
                circle.append(circle)
                del circle, array
            for mark, kept in alive.items():
                assert kept[0] == kept[-1] == mark
    finally:
        gc.set_threshold(*thresholds)


def test_several_threads_at_once(fresh_store: workspace._Store) -> None:
    wrong: list[Any] = []
    gate = threading.Barrier(4)

    def work(seed: int) -> None:
        rng = random.Random(seed)
        kept: list[tuple[int, np.ndarray]] = []
        gate.wait(30)
        for number in range(seed * 10**6, seed * 10**6 + 300):
            array = workspace.empty((rng.choice((20_000, 30_000, 40_000)),), np.float64)
            array[...] = number
            kept.append((number, array))
            if len(kept) > 4:
                del kept[rng.randrange(len(kept))]
            wrong.extend(mark for mark, array in kept if not (array == mark).all())

    jobs = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3, 4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert wrong == []
    settle(fresh_store)
    assert fresh_store.in_use == 0
    assert fresh_store.waits == sum(block.nbytes for _, _, block in fresh_store.waiting.values())


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork on this system")
def test_after_a_fork_a_child_begins_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook that runs in the child, without the fork: other threads of the tests would not survive one."""
    array = workspace.empty((50_000,), np.float32)
    array[...] = 3
    before = workspace._store
    workspace.empty((60_000,), np.float32)
    monkeypatch.setattr(workspace, "_store", before)  # put back at the end
    with before.lock:
        workspace._after_fork()
        after = workspace._store
        assert after is not before
        assert (array == 3).all()
        news = len(before.news)
        del array  # a page shared with the parent is not written into: this one waits nowhere
        assert len(before.news) == news
        settle(after)
        assert after.waits == after.in_use == 0
        del before


# -- layers ------------------------------------------------------------------------------------------------------------


@needs_compiled
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_a_tape_that_is_alive_is_never_written_into(kind: str) -> None:
    """Nor is anything else that a pass has returned, whatever runs after it."""
    layer = build(kind, 30, 60, 2, dtype="float32", bidirectional=True, backend="numpy:numba")
    T, B = 20, 14
    lengths = [20, 3, 0, 20, 20, 7, 8, 9, 1, 20, 19, 20, 20, 2]
    returned: list[tuple[np.ndarray, np.ndarray]] = []
    tapes = []
    for seed in range(3):
        x, state, dy, dstate = random_arguments(layer, T, B, seed)
        y, last, tape = layer.forward(x, state, lengths if seed else None)
        tapes.append((tape, dy, dstate, layer.backward(tape, dy, dstate)))
        for direction in sum(tape.layers, ()):
            run = direction.run
            arrays = (direction.x, *run.states, run.gates, *run.kept.values())
            returned += [(part, part.copy()) for part in arrays]
        trace = layer.backward_trace(tape, dy, dstate)
        kept = [y, last, tapes[-1][3], layer.predict(x, state), trace.dx, trace.dstate, list(trace.grads.values())]
        kept += [[*d.states.values(), *d.gates.values()] for d in sum(trace.layers, ())]
        returned += [(part, part.copy()) for part in leaves(kept)]
        assert sum(part.nbytes >= workspace.SMALL for part, _ in returned) > 10
    for part, copy in returned:
        assert part.tobytes() == copy.tobytes()
    for tape, dy, dstate, first in tapes:  # and so the same tape gives the same again
        again = layer.backward(tape, dy, dstate)
        for one, other in zip(leaves(first), leaves(again), strict=True):
            assert one.tobytes() == other.tobytes()


def newly_taken(step: Callable[[], None]) -> int:
    """The most bytes beyond those at its beginning that a step takes from the system."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@needs_compiled
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("options", [{}, {"layers": 2}])
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_a_step_after_the_first_ones_takes_no_large_memory(kind: str, options: dict[str, Any], count: int) -> None:
    """Tape, projections, packed weights, gradients: all of it is memory of the step before."""
    layer = build(kind, 50, 128, dtype="float32", backend="numpy:numba", **options)
    T, B, H = 60, 32, 128
    x, state, dy, dstate = random_arguments(layer, T, B)

    def step() -> None:
        layer.zero_grad()
        _, _, tape = layer.forward(x, state)
        layer.backward(tape, dy, dstate)

    engine.set_num_threads(count)
    try:
        for _ in range(3):
            step()
        taken = newly_taken(step)
    finally:
        engine.set_num_threads(None)
    activation = T * B * H * 4
    assert taken < activation / 3, (taken, activation)


@needs_compiled
def test_a_step_after_the_first_ones_touches_no_new_pages() -> None:
    resource = pytest.importorskip("resource", reason="this system does not count page faults")
    layer = build("lstm", 64, 128, dtype="float32", backend="numpy:numba")
    T, B, H = 100, 32, 128
    x, state, dy, dstate = random_arguments(layer, T, B)
    faults = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layer.zero_grad()
        _, _, tape = layer.forward(x, state)
        layer.backward(tape, dy, dstate)
        del tape
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    pages = T * B * H * 4 // 4096  # of one activation buffer; the tape has seven of them
    assert min(faults[3:]) < pages / 4, (faults, pages)


@needs_compiled
@pytest.mark.parametrize("kind", ["lstm", "gru", "gru_before"])
def test_predict_keeps_no_history(kind: str) -> None:
    """Per time step it takes the output and no more; a tape takes the gates as well, twice the state and the input."""
    D, H, B = 3, 80, 6
    layer = build(kind, D, H, dtype="float32", backend="numpy:numba")
    taken = {}
    for T in (100, 400):
        x, state, _, _ = random_arguments(layer, T, B)
        layer.predict(x, state)
        layer.forward(x, state)
        for name, call in (("predict", layer.predict), ("forward", layer.forward)):
            workspace.release()
            taken[name, T] = newly_taken(lambda call=call, x=x, state=state: call(x, state))  # type: ignore[misc]
    per_step = {name: (taken[name, 400] - taken[name, 100]) / 300 / (B * 4) for name in ("predict", "forward")}
    assert 0.95 * H <= per_step["predict"] <= 1.1 * H
    assert per_step["forward"] > D + 5 * H


@needs_compiled
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_numbers_do_not_depend_on_what_memory_held_before(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer full of NaN: nothing is read that was not written."""
    layer = build(kind, 21, 34, 2, bidirectional=True, dtype="float32", backend="numpy:numba")
    x, state, dy, dstate = random_arguments(layer, 12, 9)
    lengths = [12, 5, 0, 12, 1, 11, 12, 3, 2]
    monkeypatch.setattr(workspace, "SMALL", 1)
    plain = workspace.empty

    def poisoned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = plain(shape, dtype)
        array.view(np.uint8).fill(255)  # NaN as a float, -1 as an integer
        return array

    for rows in (None, lengths):
        monkeypatch.setattr(workspace, "empty", plain)
        wanted = passes(layer, x, state, dy, dstate, rows) | {"p": layer.predict(x, state, rows)[0]}
        monkeypatch.setattr(workspace, "empty", poisoned)
        found = passes(layer, x, state, dy, dstate, rows) | {"p": layer.predict(x, state, rows)[0]}
        for name, value in wanted.items():
            assert np.isfinite(value).all()
            assert found[name].tobytes() == value.tobytes(), name
