"""What a run does, in which order, and how much of the time each part may take.

A part that runs out of its share stops, says how much of it was not reached, and leaves the rest to the next; the
timings come last and take what is left.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable
from typing import Any

import engine
from benchmarks.gpucheck import correctness, peers, timings
from benchmarks.gpucheck.clock import Budget

#: Shares of the whole, of the parts before the timings.
SHARES = {"correctness": 0.30, "gradient checks": 0.08, "repeats": 0.10, "agreement": 0.10}


def device_facts() -> tuple[dict[str, Any], dict[str, Any]]:
    """The device, and versions of all that has a part in it."""
    xp = engine.get_backend("cupy", kernels="reference").xp
    device, runtime = xp.cuda.Device(), xp.cuda.runtime
    properties = runtime.getDeviceProperties(device.id)
    name = properties["name"]
    facts = {
        "device": name.decode() if isinstance(name, bytes) else str(name),
        "compute capability": str(device.compute_capability),
        "memory, GiB": round(properties["totalGlobalMem"] / 2**30, 1),
        "multiprocessors": int(properties["multiProcessorCount"]),
    }
    versions = {"bptt-engine": engine.__version__, "python": sys.version.split()[0], "cupy": xp.__version__}
    for title, ask in (("driver", "driverGetVersion"), ("CUDA runtime", "runtimeGetVersion")):
        if hasattr(runtime, ask):
            versions[title] = getattr(runtime, ask)()
    if peers.reason_missing() is None:
        torch = importlib.import_module("torch")
        versions |= {"torch": torch.__version__, "cuDNN": torch.backends.cudnn.version()}
    return facts, versions


def run(
    document: dict[str, Any],
    budget: Budget,
    tell: Callable[[str], None],
    save: Callable[[], None],
    size: dict[str, Any] | None = None,
) -> None:
    """Fill the document section by section, saved after each and every few rows.

    Parameters
    ----------
    tell : told what is done next, row by row.
    size : for a smaller run: ``shapes`` and ``ways`` of the correctness part, ``repeats``, and ``points`` of the grid.
    """
    size = size or {}
    whole = budget.left
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in (*SHARES, "timings")}
    notes: dict[str, str] = {}
    document |= {"sections": sections, "notes": notes}
    missing = peers.reason_missing()
    shapes = size.get("shapes", correctness.SHAPES)
    parts: dict[str, Iterable[dict[str, Any]]] = {
        "correctness": correctness.rows(shapes, size.get("ways", correctness.WAYS), lambda: budget.left),
        "gradient checks": correctness.gradchecks(),
        "repeats": correctness.repeats(size.get("repeats", correctness.REPEATS)),
    }
    if missing is None:
        parts["agreement"] = peers.agreement()
    else:
        notes["agreement"] = notes["timings"] = f"PyTorch's layers have no part in this: {missing}."
    for name, rows in parts.items():
        tell(name)
        with budget.share(SHARES[name] * whole):
            _collect(name, rows, sections[name], budget, tell, save)
    points = size.get("points", timings.grid())
    for number, row in enumerate(timings.rows(points, lambda: budget.left, missing)):
        sections["timings"].append(row)
        tell(f"timings: {row}")
        if number % 10 == 9:
            save()
    save()


def _collect(
    name: str,
    rows: Iterable[dict[str, Any]],
    into: list[dict[str, Any]],
    budget: Budget,
    tell: Callable[[str], None],
    save: Callable[[], None],
) -> None:
    """Take rows while there is time; the last says so where it ran out."""
    steps = iter(rows)
    for row in steps:
        into.append(row)
        tell(f"{name}: {row}")
        if budget.left <= 0 and name != "correctness":  # which has a row for each case that is not reached
            more = next(steps, None)
            if more is not None:
                into.append({"case": "the rest", "dtype": "every dtype", "status": "not reached"})
            break
    save()
