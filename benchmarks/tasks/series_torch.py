"""The forecaster of several columns in PyTorch: an LSTM over known rows and rows to come, quantiles at the latter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tasks.job import Job, Predict


class Forecaster(nn.Module):
    """From spans (T + horizon, B, C) to the quantiles (horizon, B, K * Q)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon
        self.lstm = nn.LSTM(inputs, hidden)
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The quantiles at the rows to come."""
        y, _ = self.lstm(x)
        return self.linear(y[-self.horizon :])


def quantile_loss(said: Tensor, wanted: Tensor, known: Tensor, levels: Tensor) -> Tensor:
    """The mean over what was measured, `wanted` (horizon, B, K), and the levels (Q,)."""
    error = wanted[..., None] - said.unflatten(2, (wanted.shape[2], len(levels)))
    losses = torch.maximum(levels * error, (levels - 1) * error)
    return (losses * known[..., None]).sum() / (known.sum() * len(levels))


def train(job: Job) -> Predict:
    """Train on the job's batches, and return what predicts."""
    torch.manual_seed(job.config.seed)
    task, config = job.task, job.config
    batch = task.batch(0)
    outputs = batch.targets.shape[2] * len(task.levels)
    model = Forecaster(batch.x.shape[2], config.hidden, outputs, config.horizon)
    levels = torch.tensor(task.levels)
    optimizer = torch.optim.Adam(model.parameters())
    job.warm_up(lambda batch: model(torch.from_numpy(batch.x)).sum().backward())
    for step, batch in enumerate(job.batches()):
        x, wanted = torch.from_numpy(batch.x), torch.from_numpy(batch.targets)
        known = torch.from_numpy(np.asarray(batch.mask, batch.targets.dtype))
        optimizer.param_groups[0]["lr"] = job.rate(step)
        with job.clock:
            loss = quantile_loss(model(x), wanted, known, levels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()

    @torch.inference_mode()
    def predict(x: Any, lengths: Any) -> np.ndarray:
        return model(torch.from_numpy(x)).numpy()

    return predict
