"""What `engine.fit` is given as data, as a task of the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.checks import describe, fraction
from engine.data import shuffled_order
from engine.errors import bad_input, bad_type
from engine.layers.base import Layer
from engine.training.examples.evaluation import Measured, check_figures
from engine.training.examples.example_set import ExampleSet
from engine.training.examples.examples_task import ExamplesTask, require_whole_batches
from engine.training.examples.sources import Source, SourceTask, is_source, make_examples
from engine.training.task import fingerprint

#: The purpose of the order that picks validation rows, apart from the orders of the epochs.
_HELD_OUT = 2


def rows_or_source(model: Layer, objective: Any, x: Any, y: Any, rows: Mapping[str, Any]) -> Any:
    """Rows with their targets, or a `Source`; `rows` are lengths, mask and weights, which a source gives by itself."""
    if y is not None or not is_source(x):
        return make_examples(model, objective, x, y, **rows)
    given = [name for name, value in rows.items() if value is not None]
    if given:
        raise bad_input(given[0], "None with a source of batches", "some", "let the source give them in its batches")
    return Source(model, objective, x)


def make_fit_task(
    model: Layer, objective: Any, x: Any, y: Any, rows: Mapping[str, Any], validation: Any, options: Any
) -> Any:
    """Training and validation data as a task."""
    data = rows_or_source(model, objective, x, y, rows)
    if isinstance(data, ExampleSet):
        check_figures(model, data, options["metrics"])
    if isinstance(validation, int | float | np.floating) and not isinstance(validation, bool):
        share = fraction("validation", validation, zero_allowed=True)
        if isinstance(data, Source):
            raise bad_input("validation", "data or a source beside a source of batches", describe(validation))
        held: ExampleSet | None = None
        if share:
            data, held = _split(data, share, options)
        return ExamplesTask(model, data, held, **options)
    other = None if validation is None else _held_out(model, objective, validation)
    if isinstance(data, Source):
        return SourceTask(model, data, other, **options)
    return ExamplesTask(model, data, other, **options)


def _held_out(model: Layer, objective: Any, given: Any) -> Measured:
    if isinstance(given, tuple) and 2 <= len(given) <= 4:
        x, y, lengths, mask = [*given, None, None][:4]
        names = "x of validation", "y of validation"
        return make_examples(model, objective, x, y, lengths=lengths, mask=mask, names=names)
    if isinstance(given, tuple) or not is_source(given):
        expected = "a fraction, (x, y), (x, y, lengths), (x, y, lengths, mask), or a source of batches"
        raise bad_type("validation", expected, describe(given))
    return Source(model, objective, given, "validation")


def _split(data: ExampleSet, share: float, options: Mapping[str, Any]) -> tuple[ExampleSet, ExampleSet]:
    """Training and held-out rows; stateful ones in whole batches."""
    count, unit = len(data), options["batch_size"] if options["stateful"] else 1
    if options["stateful"]:
        require_whole_batches("x", count, unit)
    held = max(1, round(share * count / unit)) * unit
    if held >= count:
        expected = "a fraction that leaves rows to train on"
        raise bad_input("validation", expected, f"{share:g} of {count} rows, in batches of {unit}", "give more rows")
    if options["shuffle"] and not options["stateful"]:
        order = shuffled_order(count, options["seed"], 0, purpose=_HELD_OUT)
        return data.part(np.sort(order[held:])), data.part(np.sort(order[:held]))
    return data.part(np.arange(count - held)), data.part(np.arange(count - held, count))


def data_of(task: ExamplesTask) -> str:
    """A hash of training and validation rows."""
    parts = [task.fingerprint]
    if isinstance(task.validation, ExampleSet) and task.validation is not task.train:
        parts += [fingerprint(*(np.ascontiguousarray(part) for part in task.validation.parts()))]
    return parts[0] if len(parts) == 1 else fingerprint(*parts)
