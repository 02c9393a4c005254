"""The processes of several libraries, and the rounds in which they take turns."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.measuring.machine import THREAD_VARIABLES
from engine.measuring.timed_step import TimedStep

#: Where the libraries are described that can be timed.
PEERS = "engine.measuring.peers"
#: Seconds of one library's turn, and the fewest and most rounds of a case.
TURN, FEWEST, MOST = 0.02, 3, 201
#: A library is asked for its results, too: this far from the engine's, it computes something else.
TOLERANCE = 1e-2
#: Seconds that an answer is waited for, and at the least that of a process which has just been started.
PATIENCE, START_PATIENCE = 900.0, 120.0


class WorkerError(EngineError):
    """A library could not do what was asked; the message says why."""


class Worker:
    """A process that runs one library on a number of cores; a context, at whose end the process ends.

    Parameters
    ----------
    library : a name in `module`'s ``LIBRARIES``.
    threads : its threads, and the cores that it may use.
    module : where the library is described.
    patience : seconds to wait for an answer.

    Raises
    ------
    WorkerError
        where the library cannot be imported.
    """

    def __init__(self, library: str, threads: int, module: str = PEERS, patience: float = PATIENCE) -> None:
        self.library, self.patience = library, patience
        described = importlib.import_module(module).LIBRARIES[library]
        # The child finds its modules where this process finds them, whatever folder it was started in.
        path = [entry or os.getcwd() for entry in sys.path]
        code = f"import sys; sys.path[:] = {path!r}; from engine.measuring.serve import main; main()"
        environment = dict.fromkeys(THREAD_VARIABLES, str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, module, library, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            process_group=0,  # Ctrl-C is for the process that asks
            env={**os.environ, "PYTHONWARNINGS": "ignore", **environment, **described.environment(threads)},
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            hello = self._answer(max(patience, START_PATIENCE))
        except BaseException:
            self.close()
            raise
        self.version: str = hello["version"]
        self.cores: list[int] = hello["cores"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed while it was read
            for line in self.process.stdout:
                self._answers.put(line)
        self._answers.put("")

    def ask(self, what: str, patience: float | None = None, **words: Any) -> dict[str, Any]:
        """The answer to a request of `engine.measuring.serve`.

        Raises
        ------
        WorkerError
            if the library failed, took longer than `patience` seconds, or has died; of these only the first leaves the
            process alive.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": what, **words}) + "\n")
            self.process.stdin.flush()
        except OSError:  # it has gone; how, is in the answer that never comes
            pass
        return self._answer(self.patience if patience is None else patience)

    def _answer(self, patience: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=patience)
        except queue.Empty:
            self.close()
            raise WorkerError(f"no answer within {patience:g} s") from None
        if not line:
            self.close()
            raise WorkerError(f"its process ended with exit code {self.process.returncode}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    @property
    def alive(self) -> bool:
        """Whether the process can be asked again."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(timeout=5)
        self.process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Workers:
    """The workers of several libraries on the same cores; a context, at whose end they all end.

    Parameters
    ----------
    libraries : names in `module`'s ``LIBRARIES``; the first is what the others are compared with.
    threads, module, patience : as in `Worker`.

    Attributes
    ----------
    absent : the reason, by name, of each library that cannot be run here.
    versions : of those that can.
    """

    def __init__(self, libraries: Iterable[str], threads: int, module: str = PEERS, patience: float = PATIENCE) -> None:
        self.threads, self.module, self.patience = threads, module, patience
        self.absent: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._workers: dict[str, Worker] = {}
        self.first, *others = libraries
        try:
            self._start(self.first)
            for library in others:
                try:
                    self._start(library)
                except WorkerError as error:
                    self.absent[library] = str(error)
        except BaseException:
            self.close()
            raise

    def _start(self, library: str) -> Worker:
        worker = Worker(library, self.threads, self.module, self.patience)
        self._workers[library] = worker
        self.versions[library] = worker.version
        return worker

    @property
    def libraries(self) -> list[str]:
        """Those that can be run, in their order."""
        return list(self._workers)

    def ask(self, library: str, what: str, **words: Any) -> dict[str, Any]:
        """`Worker.ask`; a process that has died is started again first."""
        worker = self._workers[library]
        return (worker if worker.alive else self._start(library)).ask(what, **words)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def time_case(workers: Workers, case: TimedStep, budget: float, turn: float = TURN) -> dict[str, Any]:
    """Times of a case's step in every library, in rounds of one turn each.

    Libraries take turns, so that a drift of the machine meets all; the order moves on by one from round to round, so
    that none always follows the same other.

    Parameters
    ----------
    budget : seconds for the rounds; there are at least 3.  Building and warming up come on top.
    turn : seconds of a turn; a longer step makes a longer turn.

    Returns
    -------
    row : what `TimedStep` holds and ``threads``; by library ``seconds`` with the median of each turn, ``steps`` in all,
        ``cores`` kept busy, ``failed`` with the reason where it could not, and ``difference`` of its results from the
        first one's, relative to each tensor's largest entry (None if it is not finite); ``sgemm`` in GFLOP/s where
        that was among the libraries.

    Raises
    ------
    WorkerError
        if the first library fails.
    """
    built, failed = _build(workers, case)
    seconds, cores, steps = _take_turns(workers, built, failed, budget, turn)
    reference = built[workers.first]["values"]
    row: dict[str, Any] = {**case.as_dict(), "threads": workers.threads}
    products = seconds.pop("sgemm", [])
    if products:
        row["sgemm"] = [_digits(built["sgemm"]["flops"] / value / 1e9) for value in products]
    row["seconds"] = {library: [_digits(value) for value in values] for library, values in seconds.items()}
    row["steps"] = {library: steps[library] for library in seconds}
    row["cores"] = {library: _digits(float(np.median(cores[library])), 3) for library in seconds}
    row["difference"] = {}
    for library in seconds:
        if library != workers.first:
            apart = difference(reference, built[library]["values"])
            row["difference"][library] = _digits(apart, 2) if apart < np.inf else None
    row["failed"] = failed
    return row


def _build(workers: Workers, case: TimedStep) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What each library answers when it has built the case, and the reason of each that could not."""
    failed: dict[str, str] = {}
    built: dict[str, dict[str, Any]] = {}
    for library in workers.libraries:
        try:
            built[library] = workers.ask(library, "build", case=case.as_dict())
        except WorkerError as error:
            if library == workers.first:
                raise
            failed[library] = str(error)
    return built, failed


def _take_turns(
    workers: Workers, built: Iterable[str], failed: dict[str, str], budget: float, turn: float
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, int]]:
    """By library the seconds and the cores of each turn, and the steps of all; one that fails moves to `failed`."""
    seconds: dict[str, list[float]] = {library: [] for library in built}
    cores: dict[str, list[float]] = {library: [] for library in built}
    steps = dict.fromkeys(built, 0)
    end = time.perf_counter() + budget
    for number in itertools.count():
        if number >= FEWEST and (time.perf_counter() > end or number >= MOST):
            break
        order = list(seconds)
        order = order[number % len(order) :] + order[: number % len(order)]
        for library in order:
            if library == "sgemm" and number % 2:
                continue  # a ceiling needs fewer samples than what stands below it
            try:
                answer = workers.ask(library, "turn", seconds=turn)
            except WorkerError as error:
                if library == workers.first:
                    raise
                failed[library] = str(error)
                del seconds[library], cores[library], steps[library]
                continue
            seconds[library].append(answer["seconds"])
            cores[library].append(answer["cores"])
            steps[library] += answer["steps"]
    return seconds, cores, steps


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """How far the sampled results of two libraries are apart, relative to each tensor's largest entry.

    A library may leave results out; one of another shape is infinitely far.
    """
    worst = 0.0
    for name, value in theirs.items():
        mine = ours[name]
        if len(mine["entries"]) != len(value["entries"]):
            return float("inf")
        apart = np.abs(np.subtract(mine["entries"], value["entries"])).max()
        worst = max(worst, float(apart) / max(mine["scale"], 1e-30) if np.isfinite(apart) else np.inf)
    return worst


def measure_memory(
    library: str, threads: int, case: TimedStep, steps: int = 3, module: str = PEERS, patience: float = PATIENCE
) -> dict[str, Any]:
    """The most memory of a case's steps in MiB, in a process that does nothing else; see `serve.Server.memory`.

    Raises
    ------
    WorkerError
        where it cannot be measured.
    """
    with Worker(library, threads, module, patience) as worker:
        return worker.ask("memory", case=case.as_dict(), steps=steps)


def _digits(value: float, count: int = 4) -> float:
    """Rounded to some digits: more would be noise, and would fill the files."""
    return float(f"{value:.{count}g}")
