"""Fourth floor: the trainer, its tasks, checkpoints, metrics, progress and pictures."""

from engine.training.checkpoint import Checkpoint, checkpoint_in, read_checkpoint, write_checkpoint
from engine.training.config import TrainConfig
from engine.training.fitting.callbacks import Callback
from engine.training.fitting.fit_and_evaluate import evaluate, fit
from engine.training.fitting.history import History
from engine.training.loading import load
from engine.training.rundir import open_run
from engine.training.sampling import sample
from engine.training.session import run_training
from engine.training.task import load_model
from engine.training.trainer import Outcome, Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "History",
    "Outcome",
    "TrainConfig",
    "Trainer",
    "checkpoint_in",
    "evaluate",
    "fit",
    "load",
    "load_model",
    "open_run",
    "read_checkpoint",
    "run_training",
    "sample",
    "write_checkpoint",
]
