"""Laying a mask on values."""

from __future__ import annotations

from typing import Any


def apply_mask(xp: Any, values: Any, mask: Any) -> Any:
    """values * mask; a dropped unit is 0 whatever its value was, even infinity.

    The mask is an array, or draws itself segment by segment (`engine.layers.segments.DrawnMask`).
    """
    if hasattr(mask, "lay_on"):
        return mask.lay_on(xp, values)
    return xp.where(mask != 0, values, xp.zeros_like(values)) * mask
