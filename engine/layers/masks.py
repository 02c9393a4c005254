"""Laying a mask on values."""

from __future__ import annotations

from typing import Any


def apply_mask(xp: Any, values: Any, mask: Any) -> Any:
    """values * mask; a dropped unit is 0 whatever its value was, even infinity."""
    return xp.where(mask != 0, values, xp.zeros_like(values)) * mask
