"""Training that goes on from a trained model: its weights, its options, the entries of its vocabularies, its groups.

A parameter is taken over if the new model has one of its name and shape.  Where a parameter has a row for each entry of
a vocabulary (`TaskKind.tables`), rows are taken over by entry: a vocabulary that grows keeps what it knew, and an entry
that is new keeps its first weights.  All others keep their first weights too, and are named in a note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from engine.errors import bad_input
from engine.layers.base import Layer
from engine.training.checkpoint import Checkpoint, checkpoint_in, read_checkpoint
from engine.training.config import LAYERS, TABLE, TrainConfig
from engine.training.kinds import Square, TaskKind, kind_of
from engine.training.rules import read_rate

#: Options of the earlier run that say where its data was and how it was written.
_OF_DATA = TABLE | {"files", "data", "test"}


def options_before(
    task: str | None, given: Mapping[str, Any], label: Callable[[str], str] = str
) -> tuple[str | None, dict[str, Any]]:
    """The task and the options of a run that starts from an earlier one: those that are not given are the earlier's.

    Another task takes over the recurrent layers' options alone.
    """
    if not given.get("from_run"):
        return task, dict(given)
    stored = TrainConfig.from_json(trained(given["from_run"]).meta["config"])
    known = stored.kind(label)
    if task is None or task == stored.task:
        own = {option.name for option in known.own if not option.source}
        names = (known.shared - _OF_DATA) | own
        task = stored.task
    else:
        names = known.shared & kind_of(task, label).shared & (LAYERS - {"precision"} | {"embed"})
    return task, {**{name: stored.value(name) for name in names}, **given}


def trained(path: str) -> Checkpoint:
    """The checkpoint that ``--from`` names: a run's directory or a checkpoint file."""
    return read_checkpoint(checkpoint_in(path))


def described_before(config: TrainConfig) -> Mapping[str, Any] | None:
    """What the model that a run starts from says beside its weights, if its task is the same; else None."""
    if config.from_run is None:
        return None
    checkpoint = trained(config.from_run)
    same = checkpoint.meta["config"]["task"] == config.task
    found: Mapping[str, Any] = checkpoint.meta["task"]
    return found if same else None


def take_over(
    model: Layer, checkpoint: Checkpoint, kind: type[TaskKind], described: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Copy what fits of a trained model into one with first weights.

    Parameters
    ----------
    model : is changed in place.
    checkpoint : of the trained model.
    kind, described : the new run's task, and what it says beside its weights.

    Returns
    -------
    taken, left : list of str
        The names of the parameters that were taken over (of those with a table: in part), and of those that were not.

    Raises
    ------
    InputError
        if a parameter has another size there, or nothing fits.
    """
    before = kind_of(checkpoint.meta["config"]["task"])
    old = checkpoint.group("model")
    old_tables = before.tables(checkpoint.meta["task"], checkpoint.meta["model"])
    new_tables = kind.tables(described, model.config())
    host = {name: model.backend.to_host(array).copy() for name, array in model.params.items()}
    taken: list[str] = []
    left: list[str] = []
    for name, array in host.items():
        known, tables = old.get(name), (name in old_tables) + (name in new_tables)
        if known is None or tables == 1:
            left.append(name)
            continue
        square = isinstance(new_tables.get(name), Square)
        if (known.shape[1:] != array.shape[1:] and not square) or (not tables and known.shape != array.shape):
            expected = f"a model with {name!r} of shape {array.shape}"
            got = f"shape {known.shape} in {checkpoint.path}"
            raise bad_input("from_run", expected, got, "leave the options of the model out: they are those of that run")
        fits = not tables or _copy_rows(array, known, new_tables[name], old_tables[name])
        if not tables:
            array[...] = known
        (taken if fits else left).append(name)
    if not taken:
        expected = f"a model with one of the parameters {', '.join(host)}"
        raise bad_input(
            "from_run", expected, f"{checkpoint.path} with {', '.join(old)}", "start from a model of the kind"
        )
    model.load_state_dict({**model.state_dict(), **host})
    return taken, left


def _copy_rows(array: np.ndarray, known: np.ndarray, entries: Sequence[str], before: Sequence[str]) -> bool:
    """Copy the row of each entry that both tables have; whether there was one."""
    places = {entry: place for place, entry in enumerate(before)}
    pairs = [(new, places[entry]) for new, entry in enumerate(entries) if entry in places]
    if pairs:
        to, at = (list(side) for side in zip(*pairs, strict=True))
        if isinstance(entries, Square):
            array[np.ix_(to, to)] = known[np.ix_(at, at)]
        else:
            array[to] = known[at]
    return bool(pairs)


def rates_at(config: TrainConfig, names: Sequence[str], step: int) -> dict[str, float]:
    """The factors of the learning rate by pattern, at a step (`Optimizer.set_rates`).

    With ``unfreeze_every`` the last layer is trained first, and one more from above after every so many steps
    (Howard and Ruder 2018, section 3.3).

    Parameters
    ----------
    names : of the model's parameters.

    Raises
    ------
    InputError
        A pattern of ``freeze`` fits no parameter, or they fit all.
    """
    for pattern in config.freeze:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise bad_input("freeze", f"a pattern that fits one of {', '.join(names)}", repr(pattern))
    if all(any(fnmatchcase(name, pattern) for pattern in config.freeze) for name in names):
        got = f"{' and '.join(map(repr, config.freeze))}, which fits all"
        raise bad_input("freeze", "patterns that leave some parameter to train", got)
    rates = dict(read_rate(word) for word in config.rates)
    if config.unfreeze_every:
        layers = list(dict.fromkeys(name.partition(".")[0] for name in names if "." in name))
        open_ = 1 + step // config.unfreeze_every
        rates |= {f"{layer}.*": 0.0 for layer in layers[: max(0, len(layers) - open_)]}
    return rates | dict.fromkeys(config.freeze, 0.0)
