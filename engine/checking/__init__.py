"""Third floor: gradient checks.

Read `subject` (what is checked), `oracles` and `differences` (the second opinions), `judging` (what departs, what
cannot be told), `diagnosis` (where it comes from), `report` (what comes back).  `check` is the way in; `layer_subject`,
`truncated_subject` and `function_subject` are the three things that can be checked.  `copies` and `forward_mode` run a
layer's forward pass many times at once, and in forward mode.  `zoo` holds planted bugs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.checking.assertions import assert_gradients
    from engine.checking.budget import Progress
    from engine.checking.check import check_gradients, gradcheck
    from engine.checking.forward_of_users import check_jvp
    from engine.checking.objects import check_object
    from engine.checking.report import Departure, Diagnosis, Report, Row
    from engine.checking.second_order import check_hessian, gradgradcheck

__all__ = [
    "Departure",
    "Diagnosis",
    "Progress",
    "Report",
    "Row",
    "assert_gradients",
    "check_gradients",
    "check_hessian",
    "check_jvp",
    "check_object",
    "gradcheck",
    "gradgradcheck",
]

#: Where these names live; each is fetched when it is first asked for, as in `engine` and for the same reason.
_HOMES = {
    "budget": ("Progress",),
    "check": ("check_gradients", "gradcheck"),
    "forward_of_users": ("check_jvp",),
    "objects": ("check_object",),
    "second_order": ("check_hessian", "gradgradcheck"),
    "assertions": ("assert_gradients",),
    "report": ("Departure", "Diagnosis", "Report", "Row"),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        for home, names in _HOMES.items():
            if name in names:
                return globals().setdefault(name, getattr(importlib.import_module(f"engine.checking.{home}"), name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
