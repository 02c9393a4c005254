"""Speech and image rows in PyTorch: a recurrent layer in both directions, then pooling or CTC.

It starts from the first weights of our model, so that the two figures differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.tasks.job import Job, Predict

LAYERS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class Recogniser(nn.Module):
    """From rows (T, B, D) to classes (B, K), or without pooling to letters (T, B, K)."""

    def __init__(self, job: Job, inputs: int, outputs: int) -> None:
        super().__init__()
        config = job.config
        self.recurrent = LAYERS[config.cell](inputs, config.hidden, config.layers, bidirectional=True)
        self.linear = nn.Linear(2 * config.hidden, outputs)
        self.pool = config.own["pool"] if job.task.train.targets.labels is None else ""

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The logits; steps past a row's length do not count."""
        if lengths is None:
            y, state = self.recurrent(x)
        else:
            y, state = self.recurrent(pack_padded_sequence(x, lengths, enforce_sorted=False))
            y, _ = pad_packed_sequence(y, padding_value=-torch.inf if self.pool == "max" else 0.0)
        if self.pool == "last":
            y = torch.cat([state[-2], state[-1]], dim=-1)
        elif self.pool == "max":
            y = y.amax(dim=0)
        elif self.pool == "mean":
            steps = len(x) if lengths is None else lengths[:, None]
            y = y.sum(dim=0) / steps
        return self.linear(y)


def start(model: Recogniser, ours: Any) -> None:
    """Copy the first weights of our model."""
    names = [name for name in ours.params if name.startswith("0.")]
    last = max(int(name.partition(".")[0]) for name in ours.params)
    weights = {name: torch.from_numpy(np.array(value)) for name, value in ours.state_dict().items()}
    model.recurrent.load_state_dict({name[2:]: weights[name] for name in names})
    model.linear.load_state_dict({name: weights[f"{last}.{name}"] for name in ("weight", "bias")})


def loss_of(model: Recogniser, batch: Any) -> Tensor:
    """Cross-entropy of the classes, or CTC of the letters."""
    lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)
    y = model(torch.from_numpy(batch.x), lengths)
    if model.pool:
        return nn.functional.cross_entropy(y, torch.from_numpy(batch.targets))
    labels, counts, steps = (torch.from_numpy(np.asarray(part)) for part in batch.targets)
    return nn.functional.ctc_loss(y.log_softmax(dim=-1), labels, steps, counts)


def train(job: Job) -> Predict:
    """Train on the job's batches, and return what predicts."""
    inputs = job.task.train.rows.shape[0]
    model = Recogniser(job, inputs, job.task.answers.outputs)
    start(model, job.task.model)
    optimizer = torch.optim.Adam(model.parameters())
    job.warm_up(lambda batch: loss_of(model, batch).backward())
    for step, batch in enumerate(job.batches()):
        optimizer.param_groups[0]["lr"] = job.rate(step)
        with job.clock:
            loss = loss_of(model, batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), job.config.clip)
            optimizer.step()

    @torch.inference_mode()
    def predict(x: Any, lengths: Any) -> np.ndarray:
        steps = None if lengths is None else torch.from_numpy(np.asarray(lengths))
        return model(torch.from_numpy(x), steps).numpy()

    return predict
