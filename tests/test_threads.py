"""Threads: who decides how many, that a team always ends, and that the numbers do not depend on it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import FIVE_CELLS, build, passes, random_arguments
from conftest import JIT_OFF
from hypothesis import given
from hypothesis import strategies as st

import engine
from kernels.cells import Cell
from kernels.cpu import barrier as numba_barrier
from kernels.cpu import loops, numba_kernels, threads
from kernels.cpu import plan as division
from kernels.cpu.plan import Plan, Sizes, plan
from kernels.cpu.table import BY_UNITS, TEAM
from kernels.cpu.tiles import VECTOR_BYTES
from kernels.gates import LSTM

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = ("BPTT_NUM_THREADS", "OMP_NUM_THREADS", "PYTEST_XDIST_WORKER")

needs_compiled = pytest.mark.skipif(JIT_OFF, reason="plain Python has one thread (NUMBA_DISABLE_JIT)")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture(autouse=True)
def own_choice() -> Iterator[None]:
    """What a test chooses ends with it."""
    yield
    engine.set_num_threads(None)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of threads, on a machine with 6 cores."""
    monkeypatch.setattr(threads, "_chosen", None)  # whatever a test before this one chose
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 6)
    return monkeypatch


def run_program(code: str, *, seconds: float = 120, **variables: str) -> str:
    """What a program prints, in an interpreter of its own; a hang is a failure."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))} | variables,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "everyones", "expected"),
    [
        (None, None, 6),
        (None, "3", 3),
        ("2", "3", 2),
        ("2", None, 2),
        (" 2 ", None, 2),
        ("007", None, 7),
        ("", "3", 3),
        (None, "4,2", 4),
        (None, " 4 ", 4),
        (None, "0", 6),
        (None, "-2", 6),
        (None, "abc", 6),
        (None, "²", 6),
        (None, "9" * 5000, 6),
        (None, "", 6),
        (None, "64", 6),  # set for another machine
        ("64", "3", 64),  # ours: taken at its word
    ],
)
def test_the_environment_says_how_many(
    environment: pytest.MonkeyPatch, ours: str | None, everyones: str | None, expected: int
) -> None:
    for name, value in (("BPTT_NUM_THREADS", ours), ("OMP_NUM_THREADS", everyones)):
        if value is not None:
            environment.setenv(name, value)
    assert engine.get_num_threads() == expected
    engine.set_num_threads(5)
    assert engine.get_num_threads() == 5
    engine.set_num_threads(None)
    assert engine.get_num_threads() == expected


@pytest.mark.parametrize("nonsense", ["0", "-1", "abc", "4,2", "2.0", "1e3", "²", "9" * 5000, "two threads"])
def test_a_nonsense_number_of_ours_is_one_clear_error(environment: pytest.MonkeyPatch, nonsense: str) -> None:
    environment.setenv("OMP_NUM_THREADS", "3")
    environment.setenv("BPTT_NUM_THREADS", nonsense)
    with pytest.raises(engine.InputError, match="BPTT_NUM_THREADS: expected an integer >= 1, got ") as caught:
        engine.get_num_threads()
    assert nonsense[:50] in str(caught.value)
    assert len(str(caught.value)) < 200
    layer = build("lstm", 2, 3, backend="numpy:numba")
    with pytest.raises(ValueError, match="BPTT_NUM_THREADS"):  # a pass says the same
        layer.forward(np.ones((2, 1, 2)))
    engine.set_num_threads(2)  # who chooses in the program is not asked to hint the environment
    assert engine.get_num_threads() == 2
    layer.forward(np.ones((2, 1, 2)))


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
def test_set_num_threads_takes_a_number_of_threads(count: Any) -> None:
    with pytest.raises(engine.InputError, match="count: expected an integer >= 1"):
        engine.set_num_threads(count)


def test_a_worker_of_xdist_has_one_core(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PYTEST_XDIST_WORKER", "gw1")
    assert engine.get_num_threads() == 1
    environment.setenv("OMP_NUM_THREADS", "2")
    assert engine.get_num_threads() == 2


def test_cores_are_those_that_the_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_quota", lambda: None)
    expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads.cores() == expected
    monkeypatch.setattr(threads, "_quota", lambda: 10**6)
    assert threads.cores() == expected
    monkeypatch.setattr(threads, "_quota", lambda: 1)
    assert threads.cores() == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n", "cpu.max": "max 100000\n"}, 2),
        ({"a/b/cpu.max": "50000 100000\n"}, 1),
        ({"other/cpu.max": "100000 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "150000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
    ],
)
def test_a_container_may_be_given_less(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    membership = tmp_path / "membership"
    for path, text in files.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_text(text)
    for line in ("9:cpu:/a/b\n0::/a/b\n", "0::/a/b\n"):
        membership.write_text(line)
        threads._quota.cache_clear()
        assert threads._quota(tmp_path / "root", membership) == expected
    threads._quota.cache_clear()


def test_no_control_groups_at_all_is_no_limit(tmp_path: Path) -> None:
    assert threads._quota(tmp_path / "nowhere", tmp_path / "nothing") is None


COUNTS = """
import json, multiprocessing, sys
import engine

def count(_):
    return engine.get_num_threads()

if __name__ == "__main__":
    found = {"here": engine.get_num_threads()}
    if sys.argv[1] == "set":
        engine.set_num_threads(5)
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(1) as pool:
            found[method] = pool.map(count, [0])[0]
    print(json.dumps(found))
"""


@pytest.mark.parametrize(("set_before", "variables"), [("", {}), ("set", {}), ("", {"BPTT_NUM_THREADS": "3"})])
def test_a_worker_of_multiprocessing_has_one_core(tmp_path: Path, set_before: str, variables: dict[str, str]) -> None:
    """However it is started: a choice that a fork copies is its parent's, not its own."""
    program = tmp_path / "counts.py"  # spawn imports it again
    program.write_text(COUNTS)
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, str(program), set_before]
    environment = clean | {"PYTHONPATH": str(ROOT)} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("here") == (3 if variables else threads.cores())
    assert set(found.values()) == ({3} if variables else {1})


# -- a team ------------------------------------------------------------------------------------------------------------


def together(size: int) -> tuple[list[int], list[int]]:
    """The ranks and threads of a team whose members wait for each other."""
    gate = threading.Barrier(size)
    ranks: list[int] = []
    idents: list[int] = []

    def work(rank: int) -> None:
        gate.wait(30)
        ranks.append(rank)
        idents.append(threading.get_ident())

    with threads.Team(size) as team:
        assert team.size == size
        team.run(work)
    return ranks, idents


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_rank_runs_once_and_all_at_the_same_time(size: int) -> None:
    for _ in range(3):
        ranks, idents = together(size)
        assert sorted(ranks) == list(range(size))
        assert len(set(idents)) == size
        assert idents[ranks.index(0)] == threading.get_ident()


def test_workers_are_kept_and_hold_nothing_of_a_pass() -> None:
    class Thing:
        pass

    together(3)
    before = threading.active_count()
    thing = Thing()
    alive = weakref.ref(thing)
    with threads.Team(3) as team:
        team.run(lambda rank, thing=thing: None)  # type: ignore[misc]
        del thing
        assert alive() is None  # at once: its memory is wanted again by the next pass
    together(2)
    assert threading.active_count() == before


def test_a_team_may_be_lowered() -> None:
    ranks: list[int] = []
    with threads.Team(4) as team:
        team.size = 2
        team.run(ranks.append)
    assert sorted(ranks) == [0, 1]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_is_raised_when_all_have_ended(failing: int) -> None:
    gave_up, begun = threading.Event(), threading.Barrier(3)
    ended: list[int] = []

    def work(rank: int) -> None:
        begun.wait(30)
        if rank == failing:
            raise LookupError(f"rank {rank}")
        assert gave_up.wait(30)  # as at a barrier that the failing one never reaches
        time.sleep(0.05)
        ended.append(rank)

    with threads.Team(3) as team, pytest.raises(LookupError, match=f"rank {failing}"):
        team.run(work, gave_up.set)
    assert sorted(ended) == sorted({0, 1, 2} - {failing})
    assert sorted(together(3)[0]) == [0, 1, 2]


def test_an_error_keeps_none_of_the_arrays() -> None:
    array = np.ones(3)
    alive = weakref.ref(array)

    def work(rank: int, array: Any = array) -> None:
        raise LookupError(rank)

    failed = False
    with threads.Team(2) as team:
        try:
            team.run(work)
        except LookupError:
            failed = True
    assert failed
    del work, array
    assert alive() is None  # without a garbage collection


def test_where_another_thread_has_the_workers_a_team_is_the_caller_alone() -> None:
    sizes: dict[str, int] = {}

    def note(name: str) -> None:
        with threads.Team(3) as team:
            sizes[name] = team.size

    with threads.Team(3) as team:
        other = threading.Thread(target=note, args=("beside",))
        other.start()
        other.join()
        note("within")
        team.size = 1  # it needs no workers after all, but it has a core
        note("beside one alone")
    note("after")
    assert sizes == {"beside": 1, "within": 1, "beside one alone": 2, "after": 3}


def test_a_team_that_was_torn_down_leaves_its_workers() -> None:
    """An interrupt may come before the body of the context, and then nothing leaves it."""
    threads.Team(3).__enter__()
    with threads.Team(3) as team:
        assert team.size == 3


def test_no_more_threads_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(worker: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads._Worker, "start", refuse)
    with threads.Team(3) as team:
        assert team.hire(3) == team.size == 1
        team.run(lambda rank: None)
        team.size = 3
        with pytest.raises(RuntimeError, match="expected 3 threads for a pass, got 1; set BPTT_NUM_THREADS=1"):
            team.run(lambda rank: None)


@needs_compiled
def test_who_watches_is_told_at_once_and_gives_up_after_a_while() -> None:
    bell, own = numba_barrier.new(), numba_barrier.new()
    numba_barrier.watch(bell, 1, own, 7)  # nobody rings: it comes back
    assert own[0] == 7
    begun = threading.Event()

    def watch_for_long() -> None:
        begun.set()
        while bell[0] < 5:
            numba_barrier.watch(bell, 5, own, 8)

    watcher = threading.Thread(target=watch_for_long)
    watcher.start()
    begun.wait()
    bell[0] = 5
    watcher.join(timeout=30)
    assert not watcher.is_alive()


@needs_compiled
def test_the_bell_rings_with_the_number_of_the_pass() -> None:
    layer = build("lstm", 64, 64, dtype="float32", backend="numpy:numba")
    x = random_arguments(layer, 40, 40)[0]
    layer.predict(x)
    engine.set_num_threads(2)
    try:
        before = threads._pool.number
        layer.predict(x)
        assert threads._pool.number == before + 1
        assert threads._pool.bell[0] == before + 1
        layer.predict(x)
        assert threads._pool.bell[0] == before + 2
        assert 0 < threads._pool.workers[0].done[0] <= before + 2
    finally:
        engine.set_num_threads(None)


BROKEN_BARRIER = """
import threading
import numba, numpy as np
from kernels.cpu import barrier as numba_barrier, threads
from kernels.cpu.pointers import at

@numba.njit(nogil=True)
def loop(steps, barrier, team):
    for _ in range(steps):
        numba_barrier.wait(at(barrier), team)

loop(1, numba_barrier.new(), 1)  # compiled before
for failing in (0, 1, 2, None):
    barrier = numba_barrier.new()
    def work(rank):
        if rank == failing:
            raise LookupError
        loop(50, barrier, 3)
    with threads.Team(3) as team:
        try:
            team.run(work, lambda: numba_barrier.open_for_good(barrier))
            assert failing is None
        except LookupError:
            print(failing)
"""


@needs_compiled
def test_a_rank_that_fails_does_not_leave_the_others_at_a_compiled_barrier() -> None:
    assert run_program(BROKEN_BARRIER).split() == ["0", "1", "2"]


FAILING_PASS = """
import numpy as np
import engine
from builders import build, random_arguments
from kernels.cpu import numba_kernels
from kernels.cpu import loops
from kernels.gates import LSTM
from kernels.cpu import plan as division
from kernels.cpu.plan import Plan

layer = build("lstm", 3, 40, backend="numpy:numba")
x, state, dy, dstate = random_arguments(layer, 9, 5)
layer.forward(x, state)  # compiled before
division.WORTH_A_TEAM = 0
numba_kernels.plan = lambda *sizes: Plan(min(3, sizes[-1]), True, 2)
engine.set_num_threads(3)
true = loops.loops_of(LSTM)
def failing(table, rank, *rest):
    if rank == 1:
        raise MemoryError("none left")
    true.forward(table, rank, *rest)
loops._LOOPS[LSTM] = true._replace(forward=failing)
try:
    layer.forward(x, state)
except MemoryError as error:
    print(error)
loops._LOOPS[LSTM] = true
y = layer.forward(x, state)[0]
engine.set_num_threads(1)
print((y == layer.forward(x, state)[0]).all())
"""


@needs_compiled
def test_a_rank_that_fails_ends_the_pass() -> None:
    assert run_program(FAILING_PASS) == "none left\nTrue\n"


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import engine
from builders import build, passes, random_arguments
from kernels.cpu import barrier as numba_barrier, threads
from kernels.cpu import numba_kernels
from kernels.cpu import plan as division
from kernels.cpu.plan import Plan

layer = build("gru_before", 5, 40, backend="numpy:numba")
arguments = random_arguments(layer, 20, 6)
division.WORTH_A_TEAM = 0
numba_kernels.plan = lambda *sizes: Plan(min(2, sizes[-1]), True, 4)
engine.set_num_threads(2)
for _ in range(2):  # the first only compiles
    wanted = passes(layer, *arguments)
running = True
begun = False

def shoot():
    while not begun:  # an interrupt within thread.start() would end the program
        time.sleep(0.0003)
    pause = 0.0003
    while running:
        time.sleep(pause)
        pause = pause * 1.1 if pause < 0.01 else 0.0003
        os.kill(os.getpid(), signal.SIGINT)

thread = threading.Thread(target=shoot)
hits = rounds = 0
def main():
    global begun, hits, rounds, running
    begun = True
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            rounds += 1
            passes(layer, *arguments)
        except KeyboardInterrupt:
            hits += 1
def more():
    while True:  # an interrupt in the few lines between
        try:
            return main()
        except KeyboardInterrupt:
            pass
thread.start()
more()
while True:
    try:
        running = False
        thread.join()
        break
    except KeyboardInterrupt:
        pass
with threads.Team(2) as team:
    sizes = team.size
found = passes(layer, *arguments)
assert hits > 20, (hits, rounds)
assert sizes == 2
assert threading.active_count() == 2, threading.enumerate()
assert all((found[name] == wanted[name]).all() for name in wanted)
print("sound")
"""


@needs_compiled
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of another kind on this system")
def test_ctrl_c_at_any_moment_leaves_all_as_it_was() -> None:
    assert run_program(INTERRUPTED) == "sound\n"


WAITED = """
import os, signal, threading, time
from kernels.cpu import threads
ended = []
def work(rank):
    if rank:
        for _ in range(3):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)  # the caller waits for this rank
        time.sleep(0.1)
        ended.append(rank)
with threads.Team(2) as team:
    try:
        team.run(work)
    except KeyboardInterrupt:
        print("interrupted", ended)
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of another kind on this system")
def test_an_interrupt_does_not_cut_the_waiting_short() -> None:
    assert run_program(WAITED) == "interrupted [1]\n"


FORKED = """
import os, sys, threading
import numpy as np
import engine
from builders import build, passes, random_arguments
from kernels.cpu import numba_kernels
from kernels.cpu import threads, workspace
from kernels.cpu import plan as division
from kernels.cpu.plan import Plan

layer = build("lstm", 70, 90, dtype="float32", backend="numpy:numba")
arguments = random_arguments(layer, 30, 8)
passes(layer, *arguments)
division.WORTH_A_TEAM = 0
numba_kernels.plan = lambda *sizes: Plan(min(2, sizes[-1]), True, 4)
engine.set_num_threads(2)
wanted = passes(layer, *arguments)

class Pause:
    pass

# another thread is in the middle of everything while this one forks
busy = threading.Event()
def hold():
    with threads._pool.lock, workspace._store.lock:
        busy.set()
        threading.Event().wait(0.5)
holder = threading.Thread(target=hold)
holder.start()
busy.wait()
child = os.fork()
if child == 0:
    assert threading.active_count() == 1
    with threads.Team(2) as team:
        size = team.size
    found = passes(layer, *arguments)
    same = all((found[name] == wanted[name]).all() for name in wanted)
    os._exit(0 if same and size == 2 and threading.active_count() == 2 else 1)
status = os.waitpid(child, 0)[1]
holder.join()
found = passes(layer, *arguments)
assert all((found[name] == wanted[name]).all() for name in wanted)
print(status)
"""


@needs_compiled
@needs_fork
def test_a_forked_child_has_threads_of_its_own() -> None:
    assert run_program(FORKED) == "0\n"


ENDING = """
import atexit, threading
import numpy as np
import engine
from builders import build, random_arguments
from kernels.cpu import numba_kernels
from kernels.cpu import plan as division
from kernels.cpu.plan import Plan

division.WORTH_A_TEAM = 0
numba_kernels.plan = lambda *sizes: Plan(min(2, sizes[-1]), True, 4)
engine.set_num_threads(2)
layer = build("rnn_tanh", 5, 40, backend="numpy:numba")
x, state, _, _ = random_arguments(layer, 20, 6)
for _ in range(2):
    y = layer.forward(x, state)[0]

def last():
    print((layer.forward(x, state)[0] == y).all(), flush=True)

class Late:
    def __del__(self):
        layer.forward(x, state)

late = Late()
late.itself = late  # collected when the interpreter is all but gone
if {beside}:
    def go_on():
        while True:
            layer.forward(x, state)
    threading.Thread(target=go_on, daemon=True).start()
atexit.register(last)
"""


@needs_compiled
@pytest.mark.parametrize("beside", [False, True])
def test_the_interpreter_ends_with_idle_and_with_busy_workers(beside: bool) -> None:
    assert run_program(ENDING.format(beside=beside)) == "True\n"


BESIDE = """
import threading
import numpy as np
import engine
from builders import build, passes, random_arguments
from kernels.cpu import numba_kernels
from kernels.cpu import plan as division
from kernels.cpu.plan import Plan

engine.set_num_threads(3)
division.WORTH_A_TEAM = 0
numba_kernels.plan = lambda *sizes: Plan(sizes[-1], sizes[0].T % 2 == 0, 2)
errors = []
def work(kind, T, B):
    layer = build(kind, 6, 50, backend="numpy:numba")
    arguments = random_arguments(layer, T, B)
    wanted = {name: value.copy() for name, value in passes(layer, *arguments).items()}
    for _ in range(40):
        found = passes(layer, *arguments)
        errors.extend(name for name in wanted if not (found[name] == wanted[name]).all())
jobs = [threading.Thread(target=work, args=job) for job in
        (("lstm", 8, 5), ("lstm", 9, 4), ("gru", 7, 5), ("gru", 12, 3))]
for job in jobs: job.start()
for job in jobs: job.join()
print(errors)
"""


@needs_compiled
def test_layers_in_several_python_threads_at_once() -> None:
    assert run_program(BESIDE) == "[]\n"


# -- how a pass is divided ---------------------------------------------------------------------------------------------

sizes = st.builds(
    Sizes,
    T=st.integers(1, 500),
    B=st.integers(1, 600),
    D=st.integers(1, 2000),
    G=st.integers(1, 6),
    R=st.integers(0, 6),
    H=st.integers(1, 2000),
    P=st.integers(1, 2000),
)


@given(sizes, st.sampled_from([4, 8]), st.integers(1, 200))
def test_a_plan_is_one_that_can_be_carried_out(given: Sizes, itemsize: int, available: int) -> None:
    team, by_units, chunk = plan(given, itemsize, available)
    assert 1 <= team <= available
    assert 1 <= chunk <= given.T
    lanes = VECTOR_BYTES // itemsize
    parts = -(-given.H // lanes) if by_units else given.B
    assert team <= parts  # nobody comes for nothing
    alone = plan(given, itemsize, 1)
    assert alone.team == 1
    assert alone.chunk == chunk  # a chunk's gradients are summed apart: with another chunk, other bits
    assert plan(given, itemsize, available) == (team, by_units, chunk)


@given(st.integers(0, 3000), st.integers(1, 70), st.sampled_from([1, 4, 6, 8, 16]))
def test_portions_cover_everything_once(total: int, team: int, grain: int) -> None:
    from kernels.cpu.products import portion

    parts = [portion(total, rank, team, grain) for rank in range(team)]
    assert parts[0][0] == 0
    assert parts[-1][1] == total
    for (_, end), (begin, _) in itertools.pairwise(parts):
        assert begin == end  # and so nothing twice
    assert all(begin % grain == 0 for begin, end in parts if end > begin)
    counts = [-(-(end - begin) // grain) for begin, end in parts]
    assert max(counts) - min(counts) <= 1


class Spy:
    """What every call of a loop was told of its share."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cell: Cell) -> None:
        self.shares: list[tuple[str, int, int, bool]] = []
        true = loops.loops_of(cell)
        assert true is not None
        spies = {way: self._around(way, getattr(true, way)) for way in ("forward", "backward")}
        monkeypatch.setitem(loops._LOOPS, cell, true._replace(**spies))  # type: ignore[arg-type]

    def _around(self, name: str, loop: Callable[..., None]) -> Callable[..., None]:
        def run(table: Any, rank: int, *rest: Any) -> None:
            self.shares.append((name, rank, int(table[TEAM]), bool(table[BY_UNITS])))
            loop(table, rank, *rest)

        return run

    def ways(self) -> set[tuple[str, int, int, bool]]:
        found, self.shares = set(self.shares), []
        return found


@needs_compiled
def test_which_way_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small passes alone; many rows by rows; few rows and many units by units."""
    engine.set_num_threads(2)
    warm = build("lstm", 2, 3, dtype="float32", backend="numpy:numba")
    passes(warm, *random_arguments(warm, 2, 2))
    spy = Spy(monkeypatch, LSTM)
    for (T, B, D, H), team, by_units in [
        ((7, 3, 5, 20), 1, False),
        ((20, 64, 30, 48), 2, False),
        ((6, 2, 9, 512), 2, True),
    ]:
        layer = build("lstm", D, H, dtype="float32", backend="numpy:numba")
        passes(layer, *random_arguments(layer, T, B))
        ranks = [(way, rank, team, by_units) for way in ("forward", "backward") for rank in range(team)]
        assert spy.ways() == set(ranks), (T, B, D, H)
    engine.set_num_threads(1)
    passes(layer, *random_arguments(layer, T, B))
    assert spy.ways() == {("forward", 0, 1, False), ("backward", 0, 1, False)}


# -- the same bits -----------------------------------------------------------------------------------------------------


def force(monkeypatch: Any, team: int, by_units: bool, chunk: int) -> None:
    """Divide every pass so, whatever its size."""
    monkeypatch.setattr(division, "WORTH_A_TEAM", 0)
    monkeypatch.setattr(
        numba_kernels, "plan", lambda *sizes: Plan(min(team, sizes[-1]), by_units, min(chunk, sizes[0].T))
    )
    engine.set_num_threads(team)


def assert_same_bits(found: dict[Any, Any], wanted: dict[Any, Any], where: Any = "") -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].tobytes() == value.tobytes(), (name, where)


WAYS = [(2, False), (2, True), (3, False), (3, True)]


@needs_compiled
@pytest.mark.parametrize(
    ("kind", "precision"),
    [*itertools.product(FIVE_CELLS, ("float32", "float64", "bf16")), ("lstm", "fp16")],
)
def test_bits_do_not_depend_on_the_threads(kind: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    half = precision in ("bf16", "fp16")
    common: dict[str, Any] = {"dtype": "float32", "precision": precision} if half else {"dtype": precision}
    options: list[dict[str, Any]] = [{}, {"layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}]
    for number, option in enumerate(options):
        layer = build(kind, 11, 71, backend="numpy:numba", **common, **option)
        arguments = random_arguments(layer, 9, 7, seed=number)
        for lengths, chunk in ((None, (2, 9)[number % 2]), ([9, 3, 0, 9, 1, 8, 5], (9, 2)[number % 2])):
            force(monkeypatch, 1, False, chunk)
            wanted = passes(layer, *arguments, lengths)
            assert_same_bits(passes(layer, *arguments, lengths), wanted, "again")
            for team, by_units in WAYS:
                force(monkeypatch, team, by_units, chunk)
                for again in range(2):
                    where = (option, lengths, chunk, team, by_units, again)
                    assert_same_bits(passes(layer, *arguments, lengths), wanted, where)


@needs_compiled
@pytest.mark.parametrize("kind", FIVE_CELLS)
@given(
    T=st.integers(1, 7),
    B=st.integers(1, 9),
    D=st.integers(1, 140),
    H=st.integers(1, 140),
    chunk=st.integers(1, 7),
    way=st.sampled_from([(2, False), (2, True), (3, False), (3, True), (4, True)]),
    seed=st.integers(0, 2**20),
    with_lengths=st.booleans(),
)
def test_bits_do_not_depend_on_where_the_shares_meet(
    kind: str, T: int, B: int, D: int, H: int, chunk: int, way: tuple[int, bool], seed: int, with_lengths: bool
) -> None:
    """Loops over units are vectorised in blocks and a rest: a unit may be in the one here and in the other there."""
    layer = build(kind, D, H, dtype="float32", backend="numpy:numba")
    arguments = random_arguments(layer, T, B, seed)
    lengths = np.random.default_rng(seed).integers(0, T + 1, B) if with_lengths else None
    with pytest.MonkeyPatch.context() as monkeypatch:
        force(monkeypatch, 1, False, chunk)
        wanted = passes(layer, *arguments, lengths)
        force(monkeypatch, *way, chunk)
        found = passes(layer, *arguments, lengths)
    assert_same_bits(found, wanted)


@needs_compiled
@pytest.mark.parametrize("kind", FIVE_CELLS)
def test_predict_and_traces_do_not_depend_on_the_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build(kind, 5, 41, 2, bidirectional=True, backend="numpy:numba")
    x, state, dy, dstate = random_arguments(layer, 8, 5)
    lengths = [8, 2, 0, 7, 8]

    def everything() -> dict[Any, Any]:
        y, last = layer.predict(x, state, lengths)
        trace = layer.backward_trace(layer.forward(x, state, lengths)[2], dy, dstate)
        found: dict[Any, Any] = {"y": y, "dx": trace.dx} | dict(enumerate(last if isinstance(last, tuple) else [last]))
        for number, direction in enumerate(sum(trace.layers, ())):
            found |= {(number, "dh"): direction.dh} | {(number, name): g for name, g in direction.gates.items()}
            if direction.dc is not None:
                found[number, "dc"] = direction.dc
        return found | trace.grads

    force(monkeypatch, 1, False, 3)
    wanted = everything()
    for team, by_units in WAYS:
        force(monkeypatch, team, by_units, 3)
        assert_same_bits(everything(), wanted, (team, by_units))


@needs_compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("M", "K", "N"), [(300, 70, 310), (401, 90, 130), (90, 301, 203)])
def test_products_of_single_matrices_do_not_depend_on_the_threads(dtype: Any, M: int, K: int, N: int) -> None:
    rng = np.random.default_rng(M)
    a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    kernels = engine.get_backend("numpy", kernels="numba").kernels
    for left, right in ((a, b), (a, b.T.copy().T), (a.T.copy().T, b)):
        engine.set_num_threads(1)
        wanted = kernels.matmul(left, right)
        for count in (2, 3):
            engine.set_num_threads(count)
            assert kernels.matmul(left, right).tobytes() == wanted.tobytes()
