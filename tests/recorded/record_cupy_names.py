"""Record the names that CuPy offers, for tests/fake_cupy.py to offer no others.  Needs CuPy, but no GPU.

Run where CuPy is installed::

    python tests/recorded/record_cupy_names.py

It writes ``cupy_names.json`` beside itself.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("cupy_names.json")
#: What the look-alike imitates, and how each is reached from the package.
PLACES = (
    "",
    "ndarray",
    "add",
    "RawModule",
    "RawKernel",
    "cuda",
    "cuda.Device",
    "cuda.Event",
    "cuda.MemoryHook",
    "cuda.MemoryPool",
    "cuda.Stream",
    "cuda.compiler",
    "cuda.driver",
    "cuda.memory",
    "cuda.runtime",
    "linalg",
)


def record() -> dict[str, Any]:
    """The public names of every place, and the version they are from."""
    cupy = importlib.import_module("cupy")
    found: dict[str, Any] = {"version": cupy.__version__}
    for place in PLACES:
        thing = cupy
        for part in place.split(".") if place else ():
            thing = getattr(thing, part)
        found[place] = sorted(name for name in dir(thing) if not name.startswith("_"))
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(record(), indent=0) + "\n", encoding="utf-8")
