"""What a run says of its padding: which share of the steps that it computed were pads."""

from __future__ import annotations

from typing import Any

from engine.data import Buckets, Packing

#: The name of that share in the lines of the metrics and in a history.
WASTED = "wasted_steps"


def packing_of(task: Any, start: int, stop: int) -> Packing | None:
    """How full the batches of steps ``start .. stop - 1`` are; None of a task whose rows have no pads.

    It follows from the numbers of the steps, so a resumed run says the same as one that was not interrupted.
    """
    ask = getattr(task, "packing", None)
    return None if ask is None or start >= stop else ask(start, stop)


def share_of(task: Any, start: int, stop: int) -> dict[str, float]:
    """The share of wasted steps for a line of the metrics; nothing where there are no pads."""
    found = packing_of(task, start, stop)
    return {} if found is None else {WASTED: round(found.wasted, 6)}


def note_of(task: Any) -> str:
    """The padding of the first epoch in words; nothing where there are no pads."""
    found = packing_of(task, 0, task.batches)
    if found is None:
        return ""
    return (
        f"{100 * found.wasted:.1f} % of the {found.computed:,} steps of an epoch are pads, in {found.batches:,} batches"
    )


def buckets_of(config: Any, before: int) -> Buckets | None:
    """How a run puts rows together, by its options.

    Parameters
    ----------
    before : the width that the task had when runs said nothing of it.
    """
    width = before if config.buckets is None else config.buckets
    return Buckets(width, config.bucket_pool, config.batch_steps) if width else None
