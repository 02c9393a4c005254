"""Losses and figures over rows, and a model's outputs for them: each row once, without dropout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from engine.errors import bad_input
from engine.training.examples.example_set import MEASURED, in_order
from engine.training.examples.figures import Figure, best_path, make_figures, require_class_targets
from engine.training.examples.head_losses import HeadLosses, of_head
from engine.training.examples.objectives import LABELS, Last, Objective
from engine.training.examples.rows import Rows
from engine.training.task import Batch, Validation


class Measured(Protocol):
    """Rows to measure a model on, or batches of them."""

    by_row: Any

    def in_batches(self, size: int, stateful: bool) -> Iterator[Batch]:
        """All rows once."""


def loss_of(objective: Any, model: Any, y: Any, batch: Batch, by_row: Any) -> tuple[Any, Any, int]:
    """The loss of a model's output, its gradient by the whole output, and how many targets it is over.

    Parameters
    ----------
    objective : an `Objective`; or `HeadLosses` of a model that ends in `Heads`: then the gradient and `by_row` are
        dicts by head, and the loss is over the rows.
    by_row : whether there is one target a row: of outputs for each step, the one at its last valid step is compared.
    """
    if isinstance(objective, HeadLosses):
        return _loss_of_heads(objective, model, y, batch, by_row)
    if objective.kind == LABELS:
        loss, dy = objective(y.swapaxes(0, 1) if model.batch_first else y, batch.targets)
        return loss, dy.swapaxes(0, 1) if model.batch_first else dy, len(batch.targets[1])
    count = count_of(batch)
    if not by_row or getattr(y, "ndim", 0) < 3:
        return (*objective(y, batch.targets, batch.mask), count)
    last = Last(model.backend, y, batch.lengths, model.batch_first)
    loss, gradient = objective(last.value, batch.targets, batch.mask)
    return loss, last.back(gradient), count


def _loss_of_heads(
    losses: HeadLosses, model: Any, y: Any, batch: Batch, by_row: Mapping[str, bool]
) -> tuple[Any, dict[str, Any], int]:
    """The weighted sum of the heads' losses, its gradients by head, and the number of rows."""
    total, gradients = None, {}
    for name, (objective, weight) in losses.heads.items():
        loss, gradient, _ = loss_of(objective, model, y[name], of_head(batch, name), by_row[name])
        total = weight * loss if total is None else total + weight * loss
        gradients[name] = weight * gradient  # L = sum over heads of weight * L_head
    rows = batch.x.shape[0 if model.batch_first else 1]
    return model.backend.xp.asarray(total, dtype=model.dtype), gradients, int(rows)


def count_of(batch: Batch) -> int:
    """How many targets of a batch count."""
    if batch.mask is not None:
        return int(np.count_nonzero(batch.mask))
    targets = batch.targets
    classes = isinstance(targets, np.ndarray) and targets.dtype.kind in "iu"
    shape = targets.shape if classes else targets.shape[: max(1, targets.ndim - 1)]
    return int(np.prod(shape))


def measure(
    model: Any, objective: Any, examples: Measured, metrics: Any, batch_size: int, stateful: bool
) -> Validation:
    """Loss and metrics over all of `examples`; the loss is the mean over all targets, by their weights.  Waits.

    Of several heads it is the weighted sum of theirs; the metrics have the head's name in front, ``"tag.accuracy"``,
    and each head's own loss is among them.
    """
    if not isinstance(objective, HeadLosses):
        meter = _Meter(model, objective, metrics, examples.by_row)
        for batch, y in outputs(model, examples, batch_size, stateful):
            meter.add(y, batch)
        loss = meter.loss()
        return Validation(loss, {"loss": loss, **meter.figures()} if "loss" in metrics else meter.figures())
    meters = {
        head: _Meter(model, one, metrics[head], examples.by_row[head], f"[{head!r}]")
        for head, (one, _) in objective.heads.items()
    }
    for batch, y in outputs(model, examples, batch_size, stateful):
        for head, meter in meters.items():
            meter.add(y[head], of_head(batch, head))
    losses = {head: meter.loss() for head, meter in meters.items()}
    found = {
        f"{head}.{name}": value
        for head, meter in meters.items()
        for name, value in {"loss": losses[head], **meter.figures()}.items()
    }
    return Validation(sum(weight * losses[head] for head, (_, weight) in objective.heads.items()), found)


class _Meter:
    """The loss and the figures of one output of a model, built up over batches.

    Parameters
    ----------
    place : what messages put behind "mask" and "metrics", such as ``"['tag']"``.
    """

    def __init__(self, model: Any, objective: Objective, metrics: Sequence[Any], by_row: bool, place: str = "") -> None:
        self.model, self.objective, self.by_row, self.place = model, objective, by_row, place
        self._figures = make_figures(metrics, f"metrics{place}")
        self._total, self._weight = model.backend.xp.zeros((), dtype=np.float64), 0.0

    def add(self, y: Any, batch: Batch) -> None:
        """Take in the output for a batch."""
        loss, _, count = loss_of(self.objective, self.model, y, batch, self.by_row)
        share = float(count if batch.mask is None else np.sum(batch.mask, dtype=np.float64))
        self._total += self.model.backend.xp.asarray(loss, dtype=np.float64) * share
        self._weight += share
        if self._figures:
            _add(self._figures, self.model, y, batch, self.by_row, self.objective.kind == LABELS)

    def loss(self) -> float:
        """The mean over all targets."""
        if not self._weight:
            hint = "hold out other rows, or more of them"
            raise bad_input(f"mask{self.place}", "some target that counts among the rows to measure", "none", hint)
        return float(self.model.backend.to_host(self._total)) / self._weight

    def figures(self) -> dict[str, float]:
        """The metrics by name."""
        return {figure.name: figure.value() for figure in self._figures}


def check_figures(model: Any, examples: Any, metrics: Any) -> None:
    """Raise if a metric with a name does not fit the targets, as the first row tells."""
    heads = getattr(examples, "heads", None)
    parts = {"": (examples, metrics)} if heads is None else {head: (heads[head], metrics[head]) for head in heads}
    figures = {
        head: make_figures(
            [metric for metric in own if isinstance(metric, str)], f"metrics[{head!r}]" if head else "metrics"
        )
        for head, (_, own) in parts.items()
    }
    if not any(figures.values()):
        return
    batch = examples.batch(slice(0, 1))
    y, _ = model.predict(batch.x, None, batch.lengths)
    for head, (one, _) in parts.items():
        output, own = (y, batch) if heads is None else (y[head], of_head(batch, head))
        if figures[head]:
            _add(figures[head], model, output, own, one.by_row, one.targets.labels is not None)


def outputs(model: Any, examples: Measured, batch_size: int, stateful: bool) -> Iterator[tuple[Batch, Any]]:
    """The batches of `examples` with the model's outputs, on the device: in order of the rows if they are stateful."""
    state = None
    for batch in examples.in_batches(batch_size, stateful):
        y, after = model.predict(batch.x, state, batch.lengths)
        state = after if stateful else None
        yield batch, y


def _add(figures: list[Figure], model: Any, y: Any, batch: Batch, by_row: bool, labels: bool) -> None:
    """Give the outputs of a batch to the figures: valid positions, or whole rows."""
    host = model.backend.to_host(y)
    host = host.swapaxes(0, 1) if model.batch_first and host.ndim > 2 else host  # (T, B, K) or (B, K)
    if labels:
        wanted, counts, steps = batch.targets
        answers = best_path(host, steps)
        rows = [row[:count].tolist() for row, count in zip(wanted, counts, strict=True)]
        for figure in figures:
            figure.add(answers, rows if figure.sequences else None)
        return
    targets = batch.targets if isinstance(batch.targets, np.ndarray) else model.backend.to_host(batch.targets)
    mask = None if batch.mask is None else np.asarray(batch.mask) != 0
    if by_row:
        if host.ndim > 2:
            steps = np.full(host.shape[1], len(host)) if batch.lengths is None else np.asarray(batch.lengths)
            host = host[steps - 1, np.arange(host.shape[1])]
    elif model.batch_first:
        targets, mask = targets.swapaxes(0, 1), None if mask is None else mask.swapaxes(0, 1)
    for figure in figures:
        if figure.sequences:
            require_class_targets(figure, targets)
    whole = host, targets, mask
    places = host.shape[: 1 if by_row else 2]
    host = host.reshape(-1, *host.shape[len(places) :])
    targets = targets.reshape(-1, *targets.shape[len(places) :])
    if mask is not None:
        host, targets = host[mask.reshape(-1)], targets[mask.reshape(-1)]
    for figure in figures:
        if figure.sequences:
            figure.add(*_sequences(*whole))
        else:
            figure.add(host, targets)


def _sequences(host: np.ndarray, targets: np.ndarray, mask: np.ndarray | None) -> tuple[list[Any], list[Any]]:
    """The largest output of each valid step and its class, a list for each row, from (T, B, K) and (T, B)."""
    answers = host.argmax(axis=-1)
    if answers.ndim == 1:  # one a row
        answers, targets = answers[None], targets[None]
        mask = None if mask is None else mask[None]
    kept = np.ones(answers.shape, bool) if mask is None else mask
    pairs = [(answers[kept[:, b], b].tolist(), targets[kept[:, b], b].tolist()) for b in range(answers.shape[1])]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def predict_rows(model: Any, rows: Rows, batch_size: int = MEASURED) -> np.ndarray | list[np.ndarray]:
    """The model's outputs for rows, in their order, on the host.

    Returns
    -------
    array (N, K) of a model with one output a row; (N, T, K) of one with an output a step, or a list of arrays (t, K)
    if the rows differ in length.
    """
    found: list[Any] = [None] * len(rows)
    for index in in_order(rows.lengths, max(batch_size, MEASURED)):
        lengths = rows.lengths[index]
        steps = int(lengths.max())
        x = rows.gather(index, steps, model.dtype, model.batch_first)
        given = None if (lengths == steps).all() else lengths
        y, _ = model.predict(x if rows.ids else model.backend.asarray(x), None, given)
        host = model.backend.to_host(y)
        host = host.swapaxes(0, 1) if host.ndim > 2 and not model.batch_first else host
        for place, output, length in zip(np.arange(len(rows))[index], host, lengths, strict=True):
            found[place] = output if host.ndim == 2 else output[:length].copy()
    return found if rows.ragged and found[0].ndim > 1 else np.stack(found)
