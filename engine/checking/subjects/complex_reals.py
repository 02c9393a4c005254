"""Find the line at which a user's code turns complex numbers into real ones, or refuses them."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")
#: Code of libraries: its lines do not help the author of the function.
OTHERS = (str(Path(np.__file__ or "").parent), str(Path(__file__).parents[1]))


def strictly(run: Callable[[], Result]) -> Result:
    """Run something; a warning that imaginary parts are dropped is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        return run()


def where(run: Callable[[], object]) -> str:
    """The line at which complex numbers are lost, in words; empty if no line raises."""
    try:
        strictly(run)
    except (TypeError, np.exceptions.ComplexWarning) as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(OTHERS)]
        if not frames:
            return f"{error}"
        last = frames[-1]
        return f"line {last.lineno} of {Path(last.filename).name}, in {last.name}: {last.line}"
    return ""
