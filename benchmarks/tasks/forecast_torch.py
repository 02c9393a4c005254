"""The forecaster in PyTorch: an LSTM over a window, and a linear layer on its last output."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tasks.job import Job, Predict


class Forecaster(nn.Module):
    """From windows (T, B, C) to forecasts (B, horizon)."""

    def __init__(self, columns: int, hidden: int, horizon: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(columns, hidden)
        self.linear = nn.Linear(hidden, horizon)

    def forward(self, x: Tensor) -> Tensor:
        """The forecast from the last output."""
        y, _ = self.lstm(x)
        return self.linear(y[-1])


def train(job: Job) -> Predict:
    """Train on the job's batches, and return what predicts."""
    torch.manual_seed(job.config.seed)
    model = Forecaster(len(job.task.series.names), job.config.hidden, job.config.horizon)
    optimizer = torch.optim.Adam(model.parameters())
    job.warm_up(lambda batch: model(torch.from_numpy(batch.x)).sum().backward())
    for step, batch in enumerate(job.batches()):
        x, targets = torch.from_numpy(batch.x), torch.from_numpy(batch.targets)
        known = ~torch.isnan(targets)
        optimizer.param_groups[0]["lr"] = job.rate(step)
        with job.clock:
            loss = (model(x) - targets)[known].square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), job.config.clip)
            optimizer.step()

    @torch.inference_mode()
    def predict(x: Any, lengths: Any) -> np.ndarray:
        return model(torch.from_numpy(x)).numpy()[None]  # the last step alone

    return predict
