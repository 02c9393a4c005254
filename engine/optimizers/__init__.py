"""Optimisers, schedules and gradient clipping: what happens between backward and the next forward (rule 15)."""

from engine.optimizers.adam import Adam, AdamW
from engine.optimizers.clipping import clip_grad_norm, clip_grad_value
from engine.optimizers.rules import SGD, Adagrad, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop", "clip_grad_norm", "clip_grad_value"]
