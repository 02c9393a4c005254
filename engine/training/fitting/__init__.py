"""`engine.fit` and `engine.evaluate`: a training in one call, its history and its callbacks."""

from engine.training.fitting.callbacks import Callback
from engine.training.fitting.fit_and_evaluate import evaluate, fit
from engine.training.fitting.history import History

__all__ = ["Callback", "History", "evaluate", "fit"]
