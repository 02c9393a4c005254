"""Counters of copies, waits, launches and allocations, reported to every open ledger (`engine.ledgers`).

The list of ledgers stands on the ground floor so that kernels can report too.  While no ledger is open, a report is one
call that walks an empty list.
"""

from __future__ import annotations

from typing import Any

#: An allocation of so many bytes is a large one: a fresh MiB costs 256 page faults on a CPU, a driver call on a GPU.
LARGE = 1 << 20

#: The open ledgers, outermost first.
ledgers: list[Any] = []


def uploaded(size: int) -> None:
    """One copy of `size` bytes from the host to the device."""
    for ledger in ledgers:
        ledger.copies_to_device += 1
        ledger.bytes_to_device += size


def downloaded(size: int) -> None:
    """One copy of `size` bytes from the device to the host, which waits until they have been computed."""
    for ledger in ledgers:
        ledger.copies_to_host += 1
        ledger.bytes_to_host += size
    waited()


def waited() -> None:
    """The host stood still until the device had caught up."""
    for ledger in ledgers:
        ledger.waits += 1


def launched() -> None:
    """A kernel set has started work: a compiled call, a kernel on the GPU, a product by cuBLAS."""
    for ledger in ledgers:
        ledger.launches += 1


def operated() -> None:
    """The array library has started work of its own.  Only a library that can tell reports it."""
    for ledger in ledgers:
        ledger.array_operations = (ledger.array_operations or 0) + 1


def allocated(size: int) -> None:
    """Fresh memory of `size` bytes was taken from the system or the device."""
    if size >= LARGE:
        for ledger in ledgers:
            ledger.large_allocations += 1
            ledger.bytes_allocated += size
