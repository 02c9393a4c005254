"""One thread a process, before anything imports NumPy: the history is of one core."""

from __future__ import annotations

import os

from engine.measuring.machine import THREAD_VARIABLES

os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
