"""Third floor: numerical gradients (`numeric`), comparison and report (`report`), the checks (`check`)."""

from engine.checking.check import check_gradients, gradcheck
from engine.checking.report import Departure, Report, Row

__all__ = ["Departure", "Report", "Row", "check_gradients", "gradcheck"]
