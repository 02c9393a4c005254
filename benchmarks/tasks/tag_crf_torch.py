"""A linear-chain conditional random field in PyTorch: the forward algorithm in logarithms, gradients by autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Field(nn.Module):
    """The scores of tags that follow each other, on top of those of single tags (T, B, K)."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(tags, tags).uniform_(-0.1, 0.1))
        self.start = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))

    def loss(self, x: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """The negative log-likelihood of tags (T, B) in rows of these lengths (B,), the mean over words."""
        rows, steps = torch.arange(x.shape[1]), torch.arange(len(x))[:, None]
        valid = steps < lengths
        right = x.gather(2, tags[:, :, None])[:, :, 0]
        pairs = self.transitions[tags[:-1], tags[1:]]
        score = self.start[tags[0]] + self.end[tags[lengths - 1, rows]]
        score = score + torch.where(valid, right, 0.0).sum(0) + torch.where(valid[1:], pairs, 0.0).sum(0)
        alpha = self.start + x[0]
        for t in range(1, len(x)):
            new = torch.logsumexp(alpha[:, :, None] + self.transitions, dim=1) + x[t]
            alpha = torch.where(valid[t][:, None], new, alpha)
        return (torch.logsumexp(alpha + self.end, dim=1) - score).sum() / lengths.sum()

    def pairs(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The scores of pairs of tags (T, B, K, K), as `engine.CRF` gives them, but at pads."""
        last = torch.arange(len(x))[:, None, None] == (lengths - 1)[:, None]
        x = torch.cat([x[:1] + self.start, x[1:]]) + last * self.end
        found = x[:, :, None] + self.transitions
        found[0, :, 0], found[0, :, 1:] = x[0], 0.0
        return found
