"""How long the segments of a recomputation are, and how much memory a recurrent layer's two passes take.

The memory is counted, not measured: which arrays are alive at which moment stands in `engine.layers.recurrent_passes`
and in `engine.layers.segments`.  tests/test_recompute_memory.py holds the count against what Python's own tracer sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from engine.checks import integer
from engine.errors import bad_input
from engine.memory_sizes import bytes_of, in_words
from kernels.reference import blocks_of

if TYPE_CHECKING:
    from engine.layers.recurrent_passes import RecurrentPasses


def recompute_of(name: str, value: Any) -> int | str | None:
    """A setting `recompute`: None, a number of segments, or an amount of memory such as ``"64MiB"``."""
    if value is None:
        return None
    if isinstance(value, str):
        bytes_of(name, value)
        return value
    return integer(name, value, 1, "an amount of memory has a unit: '64MiB'")


class Need(NamedTuple):
    """The memory of the two passes of a recurrent layer.

    Attributes
    ----------
    whole : bytes at the highest point.
    kept : bytes that live from forward to backward: the tape.
    """

    whole: int
    kept: int


def need_of(layer: RecurrentPasses, steps: int, batch: int, size: int, lengths: bool = False) -> Need:
    """What forward and backward take where a segment has `size` steps; with all `steps`, nothing is recomputed.

    Counted are the arrays that the layer makes, y and dx among them; x, dy and the parameters are the caller's.
    """
    L, N, P, cell = layer.num_layers, layer.num_directions, layer.widths[0], layer._noisy
    again, states = size < steps, sum(layer.widths)
    values, working = layer.backend.kernels.numbers(cell, layer.hidden_size, P, not lengths)
    values += sum(layer.hidden_size for name in cell.given if name != "k_h")  # zoneout's masks
    widths = [layer.input_size, *[N * P] * (L - 1)]
    flipped = N - 1 if lengths else 0  # the reverse direction has an x of its own
    masks = (L - 1) * N * P if layer.dropout and not again else 0
    segment = (size + 1) * states + size * values
    tape = -(-steps // size) * states if again else segment
    kept = steps * (sum(widths) * (1 + flipped) + masks) + L * N * tape
    # backward through a layer: dy of the layers below the top one, dx of each direction and their sum
    below = [N * P] * (L - 1) + [0]
    parts = 1 if N == 1 else 3 + flipped
    through = max(steps * (dy + parts * dx) + again * size * dx for dy, dx in zip(below, widths, strict=True))
    if layer.dropout and L > 1:  # the mask between layers is laid on a copy
        through = max(through, steps * 2 * N * P)
    running = again * (segment + size * P) + working * size
    row = batch * layer.dtype.itemsize
    outside = steps * N * P * (2 if lengths else 1)  # y, and dy without its pads
    return Need((kept + outside + running + through) * row, kept * row)


def segments_for(layer: RecurrentPasses, steps: int, batch: int, lengths: bool) -> list[slice]:
    """The segments of a pass by the layer's setting `recompute`; one that has all steps if nothing is recomputed."""
    memo, key = layer._params.memo, ("segments", layer.recompute, layer.dropout, steps, batch, lengths)
    if key not in memo:
        memo[key] = blocks_of(steps, _size(layer, steps, batch, lengths))
    found: list[slice] = memo[key]
    return found


def _size(layer: RecurrentPasses, steps: int, batch: int, lengths: bool) -> int:
    """The steps of a segment: whole blocks, and with a budget as many as there is room for."""
    block, setting = layer.backend.kernels.block(layer._noisy, batch), layer.recompute
    if setting is None:
        return steps
    if not isinstance(setting, str):
        return min(steps, -(-steps // (setting * block)) * block)
    budget = bytes_of("recompute", setting)
    needs = {size: need_of(layer, steps, batch, size, lengths).whole for size in [*range(block, steps, block), steps]}
    fitting = [size for size, need in needs.items() if need <= budget]
    if not fitting:
        raise too_little("memory", budget, min(needs.values()), f"{steps:,} steps of {batch:,} rows")
    return max(fitting)


def too_little(argument: str, budget: int, least: int, what: str) -> Exception:
    """The error for a budget below the least possible."""
    hint = "x, y and dx are of all steps; a smaller batch or shorter sequences take less"
    return bad_input(argument, f"at least {in_words_up(least)} for {what}", in_words(budget), hint)


def in_words_up(count: int) -> str:
    """A number of bytes in words, rounded up: an amount of memory that is enough."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{-(-count * 10 // size) / 10:.1f} {unit}"
    return f"{count} B"
