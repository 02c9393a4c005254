"""Solution: softmax and cross-entropy with a mask."""

import numpy as np


def softmax_loss(logits, targets, mask):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)
    count = max(1, mask.sum())
    weights = mask[..., None] / count
    loss = (weights * (np.log(total) - chosen)).sum()
    p = np.exp(shifted) / total
    right = np.arange(logits.shape[-1]) == targets[..., None]
    return loss, weights * (p - right)
