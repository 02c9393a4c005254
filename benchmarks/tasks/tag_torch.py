"""The tagger in PyTorch: a table for all features of a word, packed recurrent layers, a linear layer on every step.

With ``--crf`` a conditional random field stands on top of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.tasks.job import Job, Predict
from benchmarks.tasks.tag_crf_torch import Field
from engine.tasks.tag import SMALL
from engine.training.config import TrainConfig

#: The target of a pad.
IGNORED = -100


class Tagger(nn.Module):
    """From ids (T, B, F) and lengths (B,) to logits (T, B, K)."""

    def __init__(self, ids: int, features: int, tags: int, config: TrainConfig) -> None:
        super().__init__()
        self.table = nn.Embedding(ids, config.embed)
        nn.init.normal_(self.table.weight, std=SMALL)
        self.dropout = nn.Dropout(config.dropout)
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        both = not config.own["one_way"]
        self.recurrent = layer(features * config.embed, config.hidden, config.layers, bidirectional=both)
        self.linear = nn.Linear(config.hidden * (1 + both), tags)
        self.field = Field(tags) if config.own["crf"] else None

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The logits of a batch."""
        vectors = self.dropout(self.table(ids).flatten(2))
        packed = pack_padded_sequence(vectors, lengths, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.recurrent(packed)[0])
        return self.linear(self.dropout(y))


def tensors(x: Any, lengths: Any) -> tuple[Tensor, Tensor]:
    """Ids and lengths as PyTorch takes them."""
    ids = torch.from_numpy(x)
    return ids, torch.full((x.shape[1],), len(x)) if lengths is None else torch.from_numpy(np.asarray(lengths))


def wanted(batch: Any) -> Tensor:
    """The targets of a batch."""
    return torch.from_numpy(batch.targets if batch.mask is None else np.where(batch.mask, batch.targets, IGNORED))


def loss_of(model: Tagger, logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """The mean over words; the targets of pads are `IGNORED`."""
    if model.field is not None:
        return model.field.loss(logits, targets.clamp(min=0), lengths)
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def train(job: Job) -> Predict:
    """Train on the job's batches, and return what predicts."""
    torch.manual_seed(job.config.seed)
    features = job.task.batch(0).x.shape[2]
    model = Tagger(len(job.task.encoder), features, len(job.task.labels), job.config)
    optimizer = torch.optim.Adam(model.parameters())

    def passes(batch: Any) -> None:
        (ids, lengths), targets = tensors(batch.x, batch.lengths), wanted(batch)
        loss_of(model, model(ids, lengths), targets, lengths).backward()

    job.warm_up(passes)
    for step, batch in enumerate(job.batches()):
        ids, lengths = tensors(batch.x, batch.lengths)
        targets = wanted(batch)
        optimizer.param_groups[0]["lr"] = job.rate(step)
        with job.clock:
            loss = loss_of(model, model(ids, lengths), targets, lengths)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), job.config.clip)
            optimizer.step()
    model.eval()

    @torch.inference_mode()
    def predict(x: Any, lengths: Any) -> np.ndarray:
        ids, steps = tensors(x, lengths)
        y = model(ids, steps)
        return (y if model.field is None else model.field.pairs(y, steps)).numpy()

    return predict
