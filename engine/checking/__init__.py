"""Third floor: gradient checks.

Begin with `check` for layers and functions, `objects` for objects, `forward_of_users` and `second_order` for forward
mode and second derivatives that a user wrote by hand.  Then read `subjects` (what is checked), `oracles` (the second
opinions), `verdicts` (what departs, what cannot be decided), `diagnosis` (where the error comes from), `report` (the
result).
"""

# ruff: noqa: F401  (the names under TYPE_CHECKING are public)

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.checking.assertions import assert_gradients
    from engine.checking.check import check_gradients, gradcheck
    from engine.checking.forward_of_users import check_jvp
    from engine.checking.objects import check_object
    from engine.checking.report.report import Departure, Diagnosis, Report, Row
    from engine.checking.second_order import check_hessian, gradgradcheck
    from engine.checking.verdicts.budget import Progress

#: Where these names live; each is imported at its first use, as in `engine` and for the same reason.
_HOMES = {
    "verdicts.budget": ("Progress",),
    "check": ("check_gradients", "gradcheck"),
    "forward_of_users": ("check_jvp",),
    "objects": ("check_object",),
    "second_order": ("check_hessian", "gradgradcheck"),
    "assertions": ("assert_gradients",),
    "report.report": ("Departure", "Diagnosis", "Report", "Row"),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        for home, names in _HOMES.items():
            if name in names:
                return globals().setdefault(name, getattr(importlib.import_module(f"engine.checking.{home}"), name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
