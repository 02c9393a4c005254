"""Hypothesis strategies for tests of recurrent code: sizes, lengths, arrays, states, layers, whole gradient checks.

Numbers come from a generator whose seed hypothesis draws, not entry by entry: an array of any size costs one draw, and
is never the zeros or ones that hide a swapped axis.
"""

from __future__ import annotations

try:
    import hypothesis  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"engine.checking.strategies needs {error.name}, which is not installed: pip install hypothesis"
    ) from error

from engine.checking.strategies.layers_and_problems import FIVE_CELLS, Problem, layers, problems, states
from engine.checking.strategies.sizes_and_arrays import Sizes, arrays, dtypes, lengths, sizes

__all__ = ["FIVE_CELLS", "Problem", "Sizes", "arrays", "dtypes", "layers", "lengths", "problems", "sizes", "states"]
