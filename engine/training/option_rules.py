"""What each option of a training run may be, and which options every task has.

`engine.training.config` holds the record of the options and checks it against these rules.
"""

from __future__ import annotations

from typing import Any

from engine.cell import cells
from engine.errors import InputError
from engine.memory_sizes import bytes_of
from engine.training.loss_scale import is_loss_scale
from engine.training.rules import Rule, choice, listed, real, record, switch, text, whole
from kernels.rounding import PRECISIONS

#: Options that say how long to train.  Exactly one applies; a resumed run may be given another.
BUDGETS = ("steps", "epochs", "minutes")
#: How a data file is written; the values given here mean: find it from the file.
FORMAT: dict[str, Any] = {"decimal": None, "delimiter": None, "encoding": None, "skip": 0}
#: Where the data lies. A resumed run must have the same *contents* (by fingerprint), not the same names or format.
SOURCES = ("files", "data")

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
AVERAGES = ("none", "ema", "swa")
SCHEDULES = ("cosine", "step", "constant")


def _trainable() -> tuple[str, ...]:
    """Names of cells; ``rnn`` is the one with tanh.  A run has no option for the second width of a projected cell."""
    first = ("lstm", "gru", "rnn")
    others = [name for name, cell in cells().items() if not cell.projected and name not in (*first, "rnn_tanh")]
    return (*first, *others)


#: The cells that come with the package; `_trainable` has those declared as well.
TRAINABLE_CELLS = _trainable()
SCALINGS = ("zscore", "minmax", "none")

#: More layers than this are a typing mistake, and would take minutes to build.
_MOST_LAYERS = 1000
_MOST_RATE = 1e300  # schedules add two of them
_MOST_STEPS, _MOST_EPOCHS, _MOST_MINUTES = 10**12, 1e9, 1e7  # the last is nineteen years


def _is_memory(value: Any) -> bool:
    """Whether a value says an amount of memory."""
    try:
        return isinstance(value, str) and bytes_of("memory", value) > 0
    except InputError:
        return False


RULES: dict[str, Rule] = {
    "task": text(),
    "files": listed(text(), tuple),
    "data": text(),
    "column": listed(text(), tuple),
    "missing": choice("error", "interpolate"),
    "time": text(),
    "sort": switch(),
    "regular": switch(),
    "decimal": choice(".", ","),
    "delimiter": text(),
    "encoding": text(),
    "skip": whole(0),
    "horizon": whole(1),
    "window": whole(1),
    "season": whole(0),
    "scaling": choice(*SCALINGS),
    "validation": real(0, open_=True, below=1),
    "test": real(0, open_=True, below=1),
    "cell": Rule(
        f"one of {', '.join(TRAINABLE_CELLS)}, or a cell declared with engine.Cell",
        lambda v: isinstance(v, str) and v in _trainable(),
    ),
    "layers": whole(1, _MOST_LAYERS),
    "hidden": whole(1),
    "embed": whole(1),
    "dropout": real(0, below=1),
    "precision": choice(*PRECISIONS),
    "batch": whole(1),
    "sequence": whole(1),
    "optimizer": choice(*OPTIMIZERS),
    "lr": real(0, open_=True, most=_MOST_RATE),
    "l1": real(0),
    "l2": real(0),
    "momentum": real(0, below=1),
    "weight_decay": real(0),
    "schedule": choice(*SCHEDULES),
    "warmup": whole(0),
    "clip": real(0),
    "clip_value": real(0),
    "gradient_noise": real(0),
    "ar": real(0),
    "tar": real(0),
    "average": choice(*AVERAGES),
    "average_decay": real(0, open_=True, below=1),
    "average_from": whole(0),
    "average_every": whole(1),
    "compress": real(0, open_=True, most=1),
    "loss_scale": Rule("'dynamic', 'off' or a number > 0 and at most 2**30", is_loss_scale),
    "steps": whole(1, _MOST_STEPS),
    "epochs": real(0, open_=True, most=_MOST_EPOCHS),
    "minutes": real(0, open_=True, most=_MOST_MINUTES),
    "patience": whole(0),
    "report_every": whole(1),
    "validate_every": whole(1),
    "checkpoint_every": whole(1),
    "seed": whole(0, 2**64 - 1),
    "backend": text(),
    "dtype": choice("float32", "float64"),
    "from_run": text(),
    "freeze": listed(text(), tuple),
    "rates": listed(text(), tuple),
    "unfreeze_every": whole(0),
    "buckets": whole(0),
    "bucket_pool": whole(0),
    "batch_steps": whole(0),
    "memory": Rule("an amount of memory such as 64MiB", _is_memory),
    "k2": whole(0),
    "own": record(),
}
#: Options that may be left open.
OPTIONAL = (
    "from_run",
    "compress",
    "memory",
    "buckets",
    "data",
    "column",
    "time",
    "decimal",
    "delimiter",
    "encoding",
    *BUDGETS,
)
#: Options that came after the first release, with the values that older saved runs mean: they can still be loaded.
ADDED: dict[str, Any] = {"time": "none", "sort": False, "regular": False, **FORMAT}
#: Options that came still later; a run that does not use them says nothing of them.
ADDED_LATER: dict[str, Any] = {
    "from_run": None,
    "freeze": (),
    "rates": (),
    "unfreeze_every": 0,
    "own": {},
    "precision": "float32",
    "loss_scale": "dynamic",
    "buckets": None,
    "bucket_pool": 0,
    "batch_steps": 0,
    "gradient_noise": 0.0,
    "ar": 0.0,
    "tar": 0.0,
    "average": "none",
    "average_decay": 0.999,
    "average_from": 0,
    "average_every": 1,
    "memory": None,
    "k2": 0,
    "compress": None,
}

#: How a series is read: the rows of a table in the order of time.
SERIES = frozenset({"column", "missing", "time", "sort", "regular", "horizon", "window", "season", "scaling"})
#: How a file with a table is written.
TABLE = frozenset({"decimal", "delimiter", "encoding", "skip"})
#: The recurrent layers.
LAYERS = frozenset({"cell", "layers", "hidden", "dropout", "precision", "memory"})
#: How rows are put together by their length.
PACKING = frozenset({"buckets", "bucket_pool", "batch_steps"})
#: Options that a task has only if it lists them in `TaskKind.shared`.
PARTICULAR = SERIES | TABLE | LAYERS | PACKING | {"files", "data", "test", "embed", "sequence", "k2"}
OPTIMIZERS_WITH = {"momentum": ("sgd", "rmsprop"), "weight_decay": ("adamw",)}
