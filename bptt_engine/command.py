"""The console script ``bptt``: from its first moment on, Ctrl-C is one line and exit code 130.

Little is imported here, for that moment comes after these imports.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

BAD_INPUT, INTERRUPTED = 2, 130


def main() -> None:
    """Import the command line, run it, and leave with its exit code."""
    signal.signal(signal.SIGINT, end_now)
    try:
        from engine.cli import main as command
    except ImportError as error:
        reason = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError) and error.name in ("engine", "engine.cli"):
            found = getattr(sys.modules.get("engine"), "__file__", None) or "a folder"
            reason = (
                f"the package 'engine' found first ({found}) is not the one of bptt-engine: take that folder "
                "off the import path (PYTHONPATH)"
            )
        print(f"bptt: {reason}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    try:
        command()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: the interpreter tidies up


def end_now(number: int, frame: FrameType | None) -> None:
    """End the process at once: the handler of SIGINT.

    A `KeyboardInterrupt` would not do.  Raised within an import or while Numba compiles, it comes out as a traceback or
    as another error, or is lost.  Files are replaced whole, so there is nothing to be tidied up.
    """
    try:
        sys.stdout.flush()  # what `bptt sample` has written so far
    finally:  # whatever the streams do
        try:
            show_cursor = b"\x1b[?25h\n" if os.isatty(2) else b""  # a progress bar hides it
            os.write(2, show_cursor + b"bptt: interrupted\n")
        finally:
            os._exit(INTERRUPTED)
