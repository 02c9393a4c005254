"""Where a measurement is made: processor, cores, instruction sets, and what sets the number of threads.

It loads no NumPy, so that a process can set its threads first.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

#: Read by OpenMP, by the BLAS libraries, by Numba, and by the engine.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BPTT_NUM_THREADS",
)
#: The instruction sets that decide about speed, as Linux names them.
SETS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The processor's name, the cores that may be used, the instruction sets, and the system; no host's name."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            name = value
        elif key.lower() in ("flags", "features"):
            flags |= set(value.split())
    return {
        "cpu": name,
        "cores": cores(),
        "isa": [platform.machine(), *(name for name in SETS if name in flags)],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
