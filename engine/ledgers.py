"""The ledger: it counts copies between host and device, waits, launches and allocations.

On a GPU these four decide whether a training step is fast, and none of them shows in a result.  They are counted on the
CPU too, where a copy is one that a GPU *would* need.  So a budget can be tested without a GPU.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.backend import available_backends
from kernels import events

_UNTOLD = "not told by this library"


@dataclass(eq=False)
class Ledger:
    """What has happened in this process since the ledger was opened.

    Parameters
    ----------
    copies_to_device, bytes_to_device : int
        Uploads, `Backend.asarray`.
    copies_to_host, bytes_to_host : int
        Downloads, `Backend.to_host`.
    waits : int
        How often the host stood still for the device; every download is one.
    launches : int
        Work started by the kernel set: with ``numba`` a compiled call, with ``cuda`` a kernel on the GPU or a product
        by cuBLAS, with ``reference`` a product or a whole time loop (many array operations in one).
    array_operations : int or None
        Operations that the array library started itself; None if it does not count them.  NumPy and CuPy do not count
        them, the look-alike in the tests does.
    large_allocations, bytes_allocated : int
        Fresh memory of 1 MiB or more at a time.  Memory that is used again does not count.  On the CPU it is the memory
        of the kernels' workspace; on the GPU CuPy's pool takes it from the driver.

    Examples
    --------
    >>> import engine
    >>> print(engine.Ledger(copies_to_device=2, bytes_to_device=4096))
    copies to the device         2  4,096 bytes
    copies to the host           0  0 bytes
    waits                        0
    launches                     0
    array operations             -  not told by this library
    large allocations            0  0 bytes
    """

    copies_to_device: int = 0
    bytes_to_device: int = 0
    copies_to_host: int = 0
    bytes_to_host: int = 0
    waits: int = 0
    launches: int = 0
    array_operations: int | None = None
    large_allocations: int = 0
    bytes_allocated: int = 0

    def __str__(self) -> str:
        told = self.array_operations is not None
        rows = [
            ("copies to the device", f"{self.copies_to_device:,}", f"{self.bytes_to_device:,} bytes"),
            ("copies to the host", f"{self.copies_to_host:,}", f"{self.bytes_to_host:,} bytes"),
            ("waits", f"{self.waits:,}", ""),
            ("launches", f"{self.launches:,}", ""),
            ("array operations", f"{self.array_operations or 0:,}" if told else "-", "" if told else _UNTOLD),
            ("large allocations", f"{self.large_allocations:,}", f"{self.bytes_allocated:,} bytes"),
        ]
        return "\n".join(f"{name:<21}{count:>9}  {note}".rstrip() for name, count, note in rows)


@contextlib.contextmanager
def ledger() -> Iterator[Ledger]:
    """Count what happens inside the ``with`` block; ledgers may be nested, and each counts for itself.

    It cannot see: a copy or a wait that does not go through the backend, such as ``float(array)`` of a CuPy array; the
    kernels that CuPy starts for an array expression; on a GPU, allocations by other threads.

    Yields
    ------
    Ledger
        The counts, which rise while the block runs.

    Examples
    --------
    >>> import engine, numpy as np
    >>> backend = engine.get_backend("numpy:reference")
    >>> with engine.ledger() as counts:
    ...     x = backend.asarray(np.ones((5, 3), np.float32))
    >>> counts.copies_to_device, counts.bytes_to_device, counts.waits
    (1, 60, 0)
    """
    opened = Ledger()
    with _device_memory(opened):
        events.ledgers.append(opened)
        try:
            yield opened
        finally:
            events.ledgers.remove(opened)


def _device_memory(opened: Ledger) -> contextlib.AbstractContextManager[Any]:
    """CuPy's own hook on the allocations of its pool, if CuPy is in use."""
    cupy: Any = sys.modules.get("cupy")  # if nobody has loaded it, there is nothing to watch
    if cupy is None or available_backends().get("cupy", "") is not None:
        return contextlib.nullcontext()

    class Watch(cupy.cuda.MemoryHook):
        """Told of each allocation that the pool could not serve from memory used before."""

        name = f"bptt-engine ledger {id(opened)}"  # CuPy takes each name once

        def alloc_postprocess(self, **event: Any) -> None:
            if event["mem_size"] >= events.LARGE and event["mem_ptr"]:
                opened.large_allocations += 1
                opened.bytes_allocated += event["mem_size"]

    watch: contextlib.AbstractContextManager[Any] = Watch()
    return watch
