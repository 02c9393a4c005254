"""Where someone's code makes real numbers of complex ones, or takes none."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")
#: The code of others, whose lines say nothing to who wrote the function.
OTHERS = (str(Path(np.__file__ or "").parent), str(Path(__file__).parents[1]))


def strictly(run: Callable[[], Result]) -> Result:
    """Run something; a warning that imaginary parts are dropped is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        return run()


def where(run: Callable[[], object]) -> str:
    """The line at which complex numbers come to an end, in words; nothing where no line complains."""
    try:
        strictly(run)
    except (TypeError, np.exceptions.ComplexWarning) as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(OTHERS)]
        if not frames:
            return f"{error}"
        last = frames[-1]
        return f"line {last.lineno} of {Path(last.filename).name}, in {last.name}: {last.line}"
    return ""
