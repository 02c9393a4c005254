"""Third floor: gradient checks.

Read `subject` (what is checked), `oracles` and `differences` (the second opinions), `judging` (what departs, what
cannot be told), `diagnosis` (where it comes from), `report` (what comes back).  `check` is the way in; `layer_subject`,
`truncated_subject` and `function_subject` are the three things that can be checked.  `copies` and `forward_mode` run a
layer's forward pass many times at once, and in forward mode.  `zoo` holds planted bugs.
"""

from engine.checking.check import check_gradients, gradcheck
from engine.checking.report import Departure, Diagnosis, Report, Row

__all__ = ["Departure", "Diagnosis", "Report", "Row", "check_gradients", "gradcheck"]
