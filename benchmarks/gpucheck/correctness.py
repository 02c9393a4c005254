"""Our numbers on the device beside those of the plain kernels in float64 NumPy, over cells, directions and odd shapes.

Weights and arguments are drawn in float32 precision, so that they are the same numbers in both dtypes, and every result
of a forward and a backward pass is compared: the largest difference over the largest size of the tensor.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import engine
from engine.backend import Backend
from engine.errors import InputError
from engine.layers.rnn import FIVE_CELLS, layer_of
from engine.measuring.side_by_side import relative
from kernels.cuda.launches import Launch, LaunchPlan

#: T, B, D, H: ones, primes, one beside a power of two, more units than a block has threads.
SHAPES = (
    (1, 1, 1, 1),
    (5, 3, 4, 7),
    (9, 1, 33, 31),
    (3, 17, 6, 65),
    (6, 33, 20, 130),
    (11, 5, 3, 257),
    (2, 2, 40, 515),
)
#: The largest relative difference from float64 NumPy that is right.
LIMITS = {"float64": 1e-12, "float32": 1e-5}
#: Asked for by the list of dtypes to be checked; each has a row, also where it is not built.
WANTED_DTYPES = ("float64", "float32", "tf32", "bfloat16", "float16")
#: Which path the kernels take: what the planner says, a product and a gate kernel a step, plain array code.
WAYS = ("planned", "stepwise", "plain")
REPEATS = 200


@dataclass(frozen=True)
class DeviceCase:
    """One layer and its sizes; `mixed`: rows of different length, one of them 0."""

    kind: str
    shape: tuple[int, int, int, int]
    bidirectional: bool
    mixed: bool
    layers: int = 1

    def lengths(self) -> list[int] | None:
        """The valid steps of each row."""
        T, B = self.shape[:2]
        return [T * (B - 1 - row) // max(B - 1, 1) for row in range(B)] if self.mixed else None

    def __str__(self) -> str:
        words = f"{self.kind} T={self.shape[0]} B={self.shape[1]} D={self.shape[2]} H={self.shape[3]}"
        return words + " bidirectional" * self.bidirectional + " mixed" * self.mixed


def cases(shapes: Sequence[tuple[int, int, int, int]] = SHAPES) -> Iterator[DeviceCase]:
    """Every cell in every shape, in one direction and in two, with rows of one length and of several."""
    for shape, kind, bidirectional, mixed in itertools.product(shapes, FIVE_CELLS, (False, True), (False, True)):
        if not mixed or shape[1] > 1:
            yield DeviceCase(kind, shape, bidirectional, mixed)


def build(case: DeviceCase, backend: Backend | str, dtype: str) -> Any:
    """The layer of a case, with random weights that saturate no gate."""
    D, H = case.shape[2:]
    options: dict[str, Any] = {"bidirectional": case.bidirectional, "backend": backend, "dtype": dtype}
    layer: Any = layer_of(case.kind, D, H, case.layers, **options)
    rng = np.random.default_rng(H + 10 * D)
    shapes = {name: tuple(param.shape) for name, param in layer.params.items()}
    weights = {name: rng.normal(scale=0.8 * shape[-1] ** -0.5, size=shape) for name, shape in shapes.items()}
    layer.load_state_dict({name: value.astype(np.float32) for name, value in weights.items()})
    return layer


def arguments(case: DeviceCase, layer: Any, lead: int = 0) -> tuple[Any, Any, Any, Any]:
    """x, state, dy, dstate on the layer's backend."""
    T, B, D, H = case.shape
    rng = np.random.default_rng(7 + lead)

    def draw(*shape: int) -> Any:
        values = rng.normal(size=shape).astype(np.float32)
        return layer.backend.asarray(values, dtype=layer.dtype)

    slots = layer.num_layers * layer.num_directions

    def pair() -> Any:
        h = draw(slots, B, H)
        return (h, draw(slots, B, H)) if len(layer.cell.states) > 1 else h

    x, state = draw(T, B, D), pair()
    return x, state, draw(T, B, layer.num_directions * H), pair()


def passes(layer: Any, given: tuple[Any, Any, Any, Any], lengths: Any) -> dict[str, Any]:
    """Everything that a forward and a backward pass give, by name, where the layer computes."""
    x, state, dy, dstate = given
    layer.zero_grad()
    y, last, tape = layer.forward(x, state, lengths)
    dx, dfirst = layer.backward(tape, dy, dstate)
    found = {"y": y, "dx": dx, **_parts("{}_n", last), **_parts("d{}_0", dfirst)}
    return found | {f"d {name}": grad for name, grad in layer.grads.items()}


def _parts(name: str, state: Any) -> dict[str, Any]:
    parts = state if isinstance(state, tuple) else (state,)
    return {name.format(letter): part for letter, part in zip("hc", parts, strict=False)}


def wanted(case: DeviceCase) -> dict[str, np.ndarray]:
    """The right results: plain kernels, NumPy, float64."""
    layer = build(case, "numpy:reference", "float64")
    return {name: np.array(value) for name, value in passes(layer, arguments(case, layer), case.lengths()).items()}


def backend_for(way: str) -> Backend:
    """CuPy with the kernels that take one of `WAYS`; those that step have a kernel set of their own."""
    backend = engine.get_backend("cupy", kernels="reference" if way == "plain" else "cuda")
    return _stepwise(backend) if way == "stepwise" else backend


@functools.cache
def _stepwise(backend: Backend) -> Backend:
    kernels: Any = type(backend.kernels)(backend.xp)
    stepwise = Launch("stepwise", "asked for by the check")
    kernels.plan = lambda *sizes: LaunchPlan(stepwise, stepwise)
    return dataclasses.replace(backend, kernels=kernels)


def not_built(dtype: str) -> str | None:
    """Why a dtype is not checked; None where the engine has it."""
    try:
        engine.RNN(1, 1, backend="numpy:reference", dtype=dtype)
    except InputError:
        return f"not built: the engine's kernels have no {dtype} yet"
    return None


def check(case: DeviceCase, way: str, dtype: str, right: dict[str, np.ndarray]) -> dict[str, Any]:
    """One row: how far the results of a case are from the right ones."""
    row: dict[str, Any] = {"case": str(case), "way": way, "dtype": dtype, "limit": LIMITS[dtype]}
    try:
        backend = backend_for(way)
        layer = build(case, backend, dtype)
        found = passes(layer, arguments(case, layer), case.lengths())
        # the last plan is that of backward; without one, plain array code has run
        planned = getattr(backend.kernels, "last_plan", None)
        row["path"] = f"{planned.forward.path}, {planned.backward.path}" if planned else "plain"
        if getattr(backend.kernels, "fallback_reason", None):
            row["fallback"] = backend.kernels.fallback_reason
        errors = {name: relative(backend.to_host(found[name]), value) for name, value in right.items()}
    except Exception as error:  # whatever a device, a compiler or a kernel raises is the row's result
        return {**row, "status": "failed", "error": first_line(error)}
    row["at"], row["worst"] = max(errors.items(), key=lambda item: item[1])
    fell_back = "fallback" in row and way != "plain"
    row["status"] = "wrong" if not row["worst"] <= row["limit"] else "fell back" if fell_back else "ok"
    return row


def rows(
    shapes: Sequence[tuple[int, int, int, int]] = SHAPES,
    ways: Sequence[str] = WAYS,
    left: Callable[[], float] = lambda: 1.0,
) -> Iterator[dict[str, Any]]:
    """A row for each case, way and dtype, as they come; those that are not built come first.

    Parameters
    ----------
    left : asked before each case for the seconds that are left; those that find none are rows that say so.
    """
    built = []
    for dtype in WANTED_DTYPES:
        reason = not_built(dtype)
        if reason is None:
            built.append(dtype)
        else:
            yield {"case": "every case", "way": "every way", "dtype": dtype, "status": "not built", "error": reason}
    for case in cases(shapes):
        if left() <= 0:
            yield {"case": str(case), "way": "every way", "dtype": "every dtype", "status": "not reached"}
            continue
        right = wanted(case)
        for way, dtype in itertools.product(ways, built):
            yield check(case, way, dtype, right)


def repeats(count: int = REPEATS, shape: tuple[int, int, int, int] = (20, 9, 13, 65)) -> Iterator[dict[str, Any]]:
    """Whether the same step gives the same bits each time: a race between threads would not."""
    for kind, dtype in itertools.product(FIVE_CELLS, LIMITS):
        case = DeviceCase(kind, shape, bidirectional=True, mixed=True)
        row: dict[str, Any] = {"case": str(case), "dtype": dtype, "repeats": count}
        try:
            backend = backend_for("planned")
            layer = build(case, backend, dtype)
            given = arguments(case, layer)
            first = _bits(backend, passes(layer, given, case.lengths()))
            odd = {
                name
                for _ in range(count - 1)
                for name, bits in _bits(backend, passes(layer, given, case.lengths())).items()
                if bits != first[name]
            }
            yield {**row, "status": "wrong" if odd else "ok", "differs": sorted(odd)}
        except Exception as error:  # as in `check`
            yield {**row, "status": "failed", "error": first_line(error)}


def _bits(backend: Backend, found: dict[str, Any]) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(backend.to_host(value)).tobytes() for name, value in found.items()}


def gradchecks(method: str = "directional") -> Iterator[dict[str, Any]]:
    """The gradient check of every cell, run on the device."""
    for kind, bidirectional in itertools.product(FIVE_CELLS, (False, True)):
        case = DeviceCase(kind, (4, 3, 5, 6), bidirectional, mixed=True)
        row: dict[str, Any] = {"case": str(case), "dtype": "float64", "method": method}
        try:
            layer = build(case, backend_for("planned"), "float64")
            x, state, _, _ = arguments(case, layer)
            report = engine.gradcheck(layer, x, state, case.lengths(), method=method)
            yield {**row, "status": "ok" if report.passed else "wrong", "verdict": report.verdict}
        except Exception as error:  # as in `check`
            yield {**row, "status": "failed", "error": first_line(error)}


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
