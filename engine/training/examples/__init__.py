"""Rows in memory as data of a training: checked, gathered into batches, measured.

`Examples` are rows with their targets, `ExamplesTask` trains on them; `engine.fit` and most tasks stand on these.
"""

from engine.training.examples.example_set import Examples
from engine.training.examples.examples_task import ExamplesTask

__all__ = ["Examples", "ExamplesTask"]
