"""The translator in PyTorch: packed encoder, decoder, general attention after its recurrence, Luong's tanh layer.

Its parameters have the names of ours.  After training they are copied into our model, which then searches the
translations: what is compared is what was learned, with one and the same search.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.tasks.job import Job, Predict
from engine.tasks.translate import SMALL

#: The target of a pad.
IGNORED = -100


class Translator(nn.Module):
    """From ids (S, B), lengths (B,) and the fed words (T, B) to logits (T, B, V)."""

    def __init__(self, source: int, target: int, embed: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.source_embedding, self.target_embedding = nn.Embedding(source, embed), nn.Embedding(target, embed)
        for table in (self.source_embedding, self.target_embedding):
            nn.init.normal_(table.weight, std=SMALL)
        self.encoder = nn.GRU(embed, hidden // 2, bidirectional=True)
        self.decoder = nn.GRU(embed, hidden)
        self.attention = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, target)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor, lengths: Tensor, fed: Tensor) -> Tensor:
        """The logits of a batch."""
        packed = pack_padded_sequence(self.dropout(self.source_embedding(source)), lengths, enforce_sorted=False)
        y, last = self.encoder(packed)
        memory = pad_packed_sequence(y)[0].transpose(0, 1)  # (B, S, H)
        h, _ = self.decoder(self.dropout(self.target_embedding(fed)), torch.cat([last[0:1], last[1:2]], dim=2))
        scores = torch.bmm((h @ self.attention.weight).transpose(0, 1), memory.transpose(1, 2))  # (B, T, S)
        pads = torch.arange(memory.shape[1]) >= lengths[:, None]
        weights = scores.masked_fill(pads[:, None], -torch.inf).softmax(dim=2)
        found = torch.bmm(weights, memory).transpose(0, 1)
        return self.output(self.dropout(torch.tanh(self.combine(torch.cat([found, h], dim=2)))))


def tensors(x: Any, lengths: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and lengths as PyTorch takes them."""
    source, fed = map(torch.from_numpy, x)
    return source, torch.from_numpy(np.asarray(lengths)), fed


def train(job: Job) -> Predict:
    """Train on the job's batches, and return what predicts."""
    torch.manual_seed(job.config.seed)
    task, config = job.task, job.config
    model = Translator(len(task.source), len(task.target), config.embed, config.hidden, config.dropout)
    optimizer = torch.optim.Adam(model.parameters())
    job.warm_up(lambda batch: model(*tensors(batch.x, batch.lengths)).sum().backward())
    for step, batch in enumerate(job.batches()):
        inputs = tensors(batch.x, batch.lengths)
        wanted = torch.from_numpy(np.where(batch.mask, batch.targets, IGNORED))
        optimizer.param_groups[0]["lr"] = job.rate(step)
        with job.clock:
            logits = model(*inputs)
            loss = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
    model.eval()
    task.translator.load_state_dict(model.state_dict())

    @torch.inference_mode()
    def predict(x: Any, lengths: Any) -> np.ndarray:
        return model(*tensors(x, lengths)).numpy()

    return predict
