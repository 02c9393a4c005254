"""What `evaluate` and `predict` of every task begin with: the data that was named, or the run's own with its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from engine.backend import Backend
from engine.data.data_checks import bad_data
from engine.errors import bad_input
from engine.training.checkpoint import Checkpoint
from engine.training.config import TrainConfig
from engine.training.task import load_weights

Job = TypeVar("Job")


def one_source(sources: Sequence[str]) -> str:
    """The one file or folder that is named."""
    if len(sources) != 1:
        raise bad_input("FILE", "one file or folder", f"{len(sources)}", "name one")
    return sources[0]


def typed_or_named(asked: Mapping[str, Any], sources: Sequence[str], files: str, hint: str) -> list[str]:
    """The texts of ``--text``; none where a file is named.

    Parameters
    ----------
    files : what a file holds, in words.
    hint : what to do where neither is given, or both.
    """
    typed = list(asked.get("text", ()))
    if bool(typed) == bool(sources):
        raise bad_input("FILE", f"a file of {files} or --text", "both" if typed else "neither", hint)
    for text in typed:
        if not text.strip():
            got = "blanks alone" if text else "an empty text"
            raise bad_input("--text", "a text with at least one word", got, "write --text 'some words'")
    return typed


def restored(
    kind: Callable[..., Job],
    checkpoint: Checkpoint,
    config: TrainConfig,
    backend: Backend,
    data: str,
    *,
    own: bool = True,
) -> Job:
    """The task with the trained weights, on the data that `config` names.

    Parameters
    ----------
    data : what it is, in words.
    own : whether it has to be what the model was trained on.

    Raises
    ------
    DataError
        if it has to be, and is not any more.
    """
    job: Any = kind(config, backend, checkpoint.meta["task"])
    if own and job.fingerprint != checkpoint.meta["data"]:
        expected = f"the {data} that {checkpoint.path} was trained on"
        raise bad_data(str(config.data), expected, "others", "name the file to measure on")
    load_weights(job.model, checkpoint)
    found: Job = job
    return found
