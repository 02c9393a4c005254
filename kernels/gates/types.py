"""The types of a gate function's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: (B, H) of any array library in the array steps; one number of one hidden unit in compiled code.
Array = Any
#: An activation of the library that calls: it takes and gives an `Array`.
Function = Callable[..., Any]
