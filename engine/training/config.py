"""The options of a training run: all choices that shape its result, in one frozen record that its checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from engine.errors import bad_input
from engine.training.kinds import FORECAST, LANGUAGE, TaskKind, kind_of
from engine.training.option_rules import (
    ADDED,
    ADDED_LATER,
    AVERAGES,
    BUDGETS,
    FORMAT,
    LAYERS,
    OPTIMIZERS,
    OPTIMIZERS_WITH,
    OPTIONAL,
    PACKING,
    PARTICULAR,
    RULES,
    SCALINGS,
    SCHEDULES,
    SERIES,
    SOURCES,
    TABLE,
    TRAINABLE_CELLS,
)
from engine.training.rules import read_rate, shown


@dataclass(frozen=True)
class TrainConfig:
    """Every choice that shapes a run.  `make` fills in the defaults of the task and checks them all.

    Attributes
    ----------
    task : the name of a task (`engine.training.kinds`), such as ``"language"`` or ``"forecast"``.
    files : text files; none means the built-in text.
    data : the file or folder with the data; a series is a CSV or NPY file.
    column, missing : of a series: its columns (the first one is forecast, all are inputs; one may be given as a
        string), and what to do about missing cells.
    time, sort, regular : the column of times (None: the one that looks like it; ``"none"``: none), whether to sort the
        rows by it, and whether to insert the rows that it lacks, as missing cells.
    decimal, delimiter, encoding, skip : how a file with data is written, as `engine.data.read_table` takes them.
    horizon, window, season : values ahead to forecast, known values in a window, period in rows (0: none).
    scaling : ``"zscore"``, ``"minmax"`` or ``"none"``, measured on the training part alone.
    validation, test : the fractions at the end of the data that are held out; a text has no test part.
    cell, layers, hidden, embed, dropout, precision : the model.
    batch, sequence : rows in a batch (lanes of the text), and steps in each (k1 of truncated BPTT).
    k2 : the steps that a loss goes back at most; 0 is `sequence`.
    memory : the budget of the recurrent layers' passes, such as ``"64MiB"`` (`engine.recompute`); None: all they take.
    buckets, bucket_pool, batch_steps : how rows are put together by their length (`engine.data.Buckets`: width, pool
        and steps; 0 each: not); None in runs of before is the width that the task had then.
    optimizer, lr, l1, l2, momentum, weight_decay : as in `engine.optimizers`.
    schedule, warmup : the learning rate's course, and the steps over which it first rises.
    clip, clip_value : largest global norm of the gradient, and largest single value of it (0: off).
    gradient_noise, ar, tar, compress : as for `engine.fit`.
    average, average_decay, average_from, average_every : the weights that are validated and kept as the best: their
        own (``"none"``), or an average as in `engine.WeightAverage`.
    loss_scale : ``"dynamic"`` (in fp16 alone), ``"off"`` or a number, as a text.
    steps, epochs, minutes : the budget, exactly one of them.
    patience : validations without improvement before training stops (0: never).
    report_every, validate_every, checkpoint_every : in steps.
    seed, backend, dtype : as everywhere in the engine.
    from_run : a trained model whose weights this one starts with (`engine.training.fine_tuning`).
    freeze, rates : patterns of parameters that are not trained, and ``PATTERN=FACTOR`` for those with a learning rate
        of their own.
    unfreeze_every : with a number > 0 the last layer is trained first, and one more after every so many steps.
    own : the options of this task alone, by name.
    """

    task: str = LANGUAGE
    files: tuple[str, ...] = ()
    data: str | None = None
    column: tuple[str, ...] | None = None
    missing: str = "error"
    time: str | None = None
    sort: bool = False
    regular: bool = False
    decimal: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    skip: int = 0
    horizon: int = 1
    window: int = 64
    season: int = 0
    scaling: str = "zscore"
    validation: float = 0.1
    test: float = 0.15
    cell: str = "lstm"
    layers: int = 1
    hidden: int = 256
    embed: int = 64
    dropout: float = 0.0
    batch: int = 32
    sequence: int = 64
    optimizer: str = "adam"
    lr: float = 3e-3
    l1: float = 0.0
    l2: float = 0.0
    momentum: float = 0.0
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: int = 0
    clip: float = 1.0
    clip_value: float = 0.0
    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    patience: int = 0
    report_every: int = 20
    validate_every: int = 100
    checkpoint_every: int = 100
    seed: int = 0
    backend: str = "numpy"
    dtype: str = "float32"
    from_run: str | None = None
    freeze: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    unfreeze_every: int = 0
    precision: str = "float32"
    loss_scale: str = "dynamic"
    buckets: int | None = None
    bucket_pool: int = 0
    batch_steps: int = 0
    gradient_noise: float = 0.0
    ar: float = 0.0
    tar: float = 0.0
    average: str = "none"
    average_decay: float = 0.999
    average_from: int = 0
    average_every: int = 1
    memory: str | None = None
    k2: int = 0
    compress: float | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take one column or pattern as a string, and several values as a list, as JSON has them."""
        for name in ("column", "freeze", "rates"):
            object.__setattr__(self, name, _several(getattr(self, name)))
        if isinstance(self.own, Mapping):
            own = {name: tuple(value) if isinstance(value, list) else value for name, value in self.own.items()}
            object.__setattr__(self, "own", own)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` takes and `from_json` gives back as an equal record."""
        said = {**asdict(self), "files": list(self.files)}
        own = said.pop("own")
        # Without what nothing was asked for: as the runs of before have it.
        said = {name: value for name, value in said.items() if name not in ADDED_LATER or value != ADDED_LATER[name]}
        return {**said, "own": own} if own else said

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrainConfig:
        """The record that `to_json` described, checked as if a user had typed it."""
        if not isinstance(record, dict):
            raise bad_input("config", "a record of options", shown(record))
        record = {**ADDED_LATER, **ADDED, **record}
        known = {f.name for f in fields(cls)}
        if set(record) != known:
            odd = sorted(map(str, set(record) ^ known))
            raise bad_input("config", "the options of this release", f"a difference in {', '.join(map(repr, odd))}")
        files = record["files"]
        config = cls(**{**record, "files": tuple(files) if isinstance(files, list) else files})
        config.check()
        return config

    @property
    def budget(self) -> str:
        """Which of the budgets applies."""
        return next(name for name in BUDGETS if getattr(self, name) is not None)

    def check(self, label: Callable[[str], str] = str) -> None:
        """Raise an `InputError` that names the first option with an impossible value; `label` words the name."""
        kind = self.kind(label)
        for name, rule in RULES.items():
            value = getattr(self, name)
            expected = rule.fault(value)
            if expected is not None and not (value is None and name in OPTIONAL):
                raise bad_input(label(name), expected, shown(value))
        _check_own(kind, self.own, label)
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            wanted = "one of " + ", ".join(map(label, BUDGETS))
            raise bad_input(label("steps"), wanted, " and ".join(map(label, given)) or "none", "keep one of them")
        if kind.needs_data and "data" in kind.shared and not self.data:
            raise bad_input(label("data"), kind.reads, "none", f"give {label('data')} FILE")
        for word in self.rates:
            read_rate(word, label)
        _check_buckets(self, label)
        _check_average(self, label)
        kind.check(self, label)

    def kind(self, label: Callable[[str], str] = str) -> type[TaskKind]:
        """The class of the task."""
        return kind_of(self.task, label)

    def value(self, name: str) -> Any:
        """The value of an option, of every task or of this one alone."""
        return self.own[name] if name in self.own else getattr(self, name)


def _check_buckets(config: TrainConfig, label: Callable[[str], str]) -> None:
    """Raise for ways to put rows together that exclude each other."""
    if config.bucket_pool and config.batch_steps:
        hint = f"leave out {label('batch_steps')}, or this"
        raise bad_input(label("bucket_pool"), f"0 with {label('batch_steps')}", shown(config.bucket_pool), hint)
    for name in ("bucket_pool", "batch_steps"):
        if getattr(config, name) and config.buckets == 0:
            raise bad_input(label(name), f"0 with {label('buckets')} 0", shown(getattr(config, name)))


def _check_average(config: TrainConfig, label: Callable[[str], str]) -> None:
    """Raise for an average without a step to begin at, and for options of an average that is not taken."""
    if config.average == "swa" and not config.average_from:
        hint = "such as three quarters of the steps"
        raise bad_input(label("average_from"), f"a step > 0 with {label('average')} swa", "0", hint)
    used = {"average_decay": ("ema",), "average_from": ("ema", "swa"), "average_every": ("ema", "swa")}
    for name, kinds in used.items():
        if getattr(config, name) != ADDED_LATER[name] and config.average not in kinds:
            expected = f"{label('average')} {' or '.join(kinds)} beside it"
            raise bad_input(label(name), expected, f"{label('average')} {config.average}")


def _check_own(kind: type[TaskKind], own: Any, label: Callable[[str], str]) -> None:
    """Raise unless the options of the task alone are all there, and follow their rules."""
    options = {option.name: option for option in kind.own}
    if not isinstance(own, Mapping) or set(own) != set(options):
        odd = sorted(map(str, set(own) ^ set(options))) if isinstance(own, Mapping) else [shown(own)]
        raise bad_input("own", f"the options of the task {kind.name!r}", f"a difference in {', '.join(odd)}")
    for name, option in options.items():
        expected = option.rule.fault(own[name])
        if expected is not None and not (own[name] is None and option.default is None):
            raise bad_input(label(name), expected, shown(own[name]))


def field_names() -> frozenset[str]:
    """The names of the fields of `TrainConfig`."""
    return frozenset(f.name for f in fields(TrainConfig))


#: What a field of `TrainConfig` is if neither the user nor the task says otherwise.
DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING}


def make(task: str, given: Mapping[str, Any], label: Callable[[str], str] = str) -> TrainConfig:
    """The record for `task` with the options `given`, and the task's defaults for all others.

    Raises
    ------
    InputError
        for an unknown task, an option that the task does not know, or an impossible value.
    """
    kind = kind_of(task, label)
    own = {option.name: option.default for option in kind.own}
    strangers(task, given, label)
    for name, users in OPTIMIZERS_WITH.items():
        if name in given and given.get("optimizer", "adam") not in users:
            hint = f"add {label('optimizer')} {users[0]} or leave it out"
            raise bad_input(label(name), f"an optimiser that has one ({', '.join(users)})", "another", hint)
    values = {**kind.defaults, **kind.complete(given, label), **given}
    if any(name in given for name in BUDGETS):
        values = {name: value for name, value in values.items() if name not in BUDGETS or name in given}
    own |= {name: values.pop(name) for name in own if name in values}
    config = TrainConfig(**{**values, "task": task, "own": own})
    config.check(label)
    return config


def strangers(task: str, given: Mapping[str, Any], label: Callable[[str], str] = str) -> None:
    """Raise an `InputError` that names options which the task does not have."""
    kind = kind_of(task, label)
    known = field_names() | {option.name for option in kind.own}
    strange = sorted(map(str, given.keys() - known))
    if strange:
        raise bad_input("options", f"options of the task {task!r}", ", ".join(map(label, strange)))
    other = sorted(given.keys() & (PARTICULAR - kind.shared))
    if other:
        got = ", ".join(label(name) for name in other)
        raise bad_input(got, f"no such option for the task {task!r}", "one", f"leave it out or change {label('task')}")


def changed(stored: TrainConfig, given: Mapping[str, Any]) -> list[str]:
    """The names among the options `given` that would make a resumed run differ from the `stored` one."""
    free = {*BUDGETS, *SOURCES, *FORMAT, *sources_of(stored.kind())}
    given = {**given, **{name: _several(given[name]) for name in ("column", "freeze", "rates") if name in given}}
    known = field_names() | stored.own.keys()
    return [
        name for name, value in given.items() if name not in known or (name not in free and stored.value(name) != value)
    ]


def sources_of(kind: type[TaskKind]) -> frozenset[str]:
    """The options of a task alone that name files with data."""
    return frozenset(option.name for option in kind.own if option.source)


def with_budget(stored: TrainConfig, given: Mapping[str, Any], label: Callable[[str], str] = str) -> TrainConfig:
    """The stored record with the sources and the budget of a resumed run, where the options `given` name them."""
    updates = {name: given[name] for name in (*BUDGETS, *SOURCES, *FORMAT) if name in given}
    if any(name in given for name in BUDGETS):
        updates = {**dict.fromkeys(BUDGETS), **updates}
    own = {name: given[name] for name in sources_of(stored.kind(label)) if name in given}
    config = replace(stored, **updates, own={**stored.own, **own})
    config.check(label)
    return config


def elsewhere(stored: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """The stored record for data in another file, whose format comes from the options `given` or from the file.

    The other file may have a column of times even if the run's own file has none.
    """
    time = None if stored.time == ADDED["time"] else stored.time
    return replace(stored, **{**FORMAT, "time": time, **given})


def _several(given: Any) -> Any:
    return (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else given


__all__ = [
    "AVERAGES",
    "BUDGETS",
    "DEFAULTS",
    "TRAINABLE_CELLS",
    "FORECAST",
    "LANGUAGE",
    "LAYERS",
    "OPTIMIZERS",
    "PACKING",
    "PARTICULAR",
    "SCALINGS",
    "SCHEDULES",
    "SERIES",
    "SOURCES",
    "TABLE",
    "TrainConfig",
    "changed",
    "elsewhere",
    "field_names",
    "make",
    "sources_of",
    "strangers",
    "with_budget",
]
