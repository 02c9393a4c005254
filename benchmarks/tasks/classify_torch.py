"""The text classifier in PyTorch: table, packed recurrent layers, pooling over valid steps, linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.tasks.job import Job, Predict
from engine.tasks.classify import SMALL
from engine.training.config import TrainConfig


class Classifier(nn.Module):
    """From ids (T, B) and their lengths (B,) to logits (B, K)."""

    def __init__(self, tokens: int, classes: int, config: TrainConfig) -> None:
        super().__init__()
        both = not config.own["one_way"]
        self.pool, self.directions = config.own["pool"], 1 + both
        self.table = nn.Embedding(tokens, config.embed)
        if config.own["by"] == "words":
            nn.init.normal_(self.table.weight, std=SMALL)
        self.dropout = nn.Dropout(config.dropout)
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        self.recurrent = layer(config.embed, config.hidden, config.layers, bidirectional=both)
        self.linear = nn.Linear(config.hidden * (1 + both), classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The logits of a batch."""
        vectors = self.dropout(self.table(ids))
        packed = pack_padded_sequence(vectors, lengths, enforce_sorted=False)
        packed_y, state = self.recurrent(packed)
        if self.pool == "last":
            h = state[0] if isinstance(state, tuple) else state  # (layers * directions, B, H)
            return self.linear(self.dropout(torch.cat(list(h[-self.directions :]), dim=1)))
        y, _ = pad_packed_sequence(packed_y)
        valid = (torch.arange(len(y))[:, None] < lengths)[:, :, None]
        if self.pool == "max":
            pooled = y.masked_fill(~valid, -torch.inf).amax(0)
        else:
            pooled = (y * valid).sum(0) / lengths[:, None]
        return self.linear(self.dropout(pooled))


def tensors(x: Any, lengths: Any) -> tuple[Tensor, Tensor]:
    """Ids and lengths as PyTorch takes them."""
    ids = torch.from_numpy(x.astype(np.int64))
    return ids, torch.full((x.shape[1],), len(x)) if lengths is None else torch.from_numpy(lengths)


def train(job: Job) -> Predict:
    """Train on the job's batches, and return what predicts."""
    torch.manual_seed(job.config.seed)
    model = Classifier(len(job.task.encoder.vocabulary), len(job.task.labels), job.config)
    optimizer = torch.optim.Adam(model.parameters())
    job.warm_up(lambda batch: model(*tensors(batch.x, batch.lengths)).sum().backward())
    for step, batch in enumerate(job.batches()):
        ids, lengths = tensors(batch.x, batch.lengths)
        targets = torch.from_numpy(batch.targets)
        weights = torch.ones(len(targets)) if batch.mask is None else torch.from_numpy(batch.mask)
        optimizer.param_groups[0]["lr"] = job.rate(step)
        with job.clock:
            losses = cross_entropy(model(ids, lengths), targets, reduction="none")
            loss = (losses * weights).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), job.config.clip)
            optimizer.step()
    model.eval()

    @torch.inference_mode()
    def predict(x: Any, lengths: Any) -> np.ndarray:
        return model(*tensors(x, lengths)).numpy()

    return predict
