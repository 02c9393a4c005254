"""What a good refusal is, for the tests of bad input."""

from __future__ import annotations

import re

import pytest


def refused(error: type[Exception], *parts: str) -> pytest.RaisesExc:
    """Expect an error whose message is one line that holds `parts` in this order.

    A first part that names the argument ("steps: expected ...") has to open the message.
    """
    opening = "" if ": expected " in parts[0] else ".*"
    return pytest.raises(error, match=r"\A(?=.*\Z)" + opening + ".*".join(re.escape(part) for part in parts))
