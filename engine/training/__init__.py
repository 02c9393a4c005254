"""Fourth floor: the trainer, its tasks, checkpoints, metrics, progress and pictures.

Where to read what:

- one step and all that is around it: `loop`, over a `task`; what a run carries on is its `state`, where that goes is
  `keeping`; `nonfinite` finds what broke, `interrupt` ends a run in order;
- `engine.fit`: `fitting`, over rows in memory and their losses and metrics in `examples`;
- ``bptt train``: `session` begins it, `config` holds its options (`option_rules`), `kinds` the tasks by name,
  `architecture` and `optimizer_and_schedule` build what the options say, `fine_tuning` starts from a trained model, and
  `trainer` is the loop with these;
- files: `rundir` is a run's folder, `checkpoint` a state in it (bytes by `container`, rules by `schema` and `rules`),
  `metrics` its lines, `run_files` reads them with care, `loading` makes a model of them;
- what is shown: `progress`, `plots`, and `logs` for other programs; `sampling` writes text.
"""

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
