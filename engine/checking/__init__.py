"""Third floor: gradient checks.

`check` is the way in, `subject` is what is checked, `oracles` are the second opinions, `forward_mode` is what two of
them need, `report` is what comes back.
"""

from engine.checking.check import check_gradients, gradcheck
from engine.checking.report import Departure, Report, Row

__all__ = ["Departure", "Report", "Row", "check_gradients", "gradcheck"]
