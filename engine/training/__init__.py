"""Fourth floor: the trainer, its tasks, checkpoints, metrics, progress and pictures."""

from engine.training.checkpoint import Checkpoint, checkpoint_in, read_checkpoint, write_checkpoint
from engine.training.config import TrainConfig
from engine.training.loading import load
from engine.training.rundir import open_run
from engine.training.sampling import sample
from engine.training.session import run_training
from engine.training.task import load_model
from engine.training.trainer import Outcome, Trainer

__all__ = [
    "Checkpoint",
    "Outcome",
    "TrainConfig",
    "Trainer",
    "checkpoint_in",
    "load",
    "load_model",
    "open_run",
    "read_checkpoint",
    "run_training",
    "sample",
    "write_checkpoint",
]
