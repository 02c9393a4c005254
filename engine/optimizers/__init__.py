"""Optimisers, schedules, clipping, noise, averages: what happens between backward and the next forward (rule 15)."""

from engine.optimizers.adam import Adam, AdamW
from engine.optimizers.averaging import WeightAverage
from engine.optimizers.clipping import clip_grad_norm, clip_grad_value
from engine.optimizers.gradient_noise import add_gradient_noise
from engine.optimizers.loss_scaling import LossScaler
from engine.optimizers.rules import SGD, Adagrad, RMSprop

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "RMSprop",
    "LossScaler",
    "WeightAverage",
    "add_gradient_noise",
    "clip_grad_norm",
    "clip_grad_value",
]
