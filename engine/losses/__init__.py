"""Losses with their gradients, a file each; `positions` holds what they share: masks and means."""

from engine.losses.binary import binary_cross_entropy
from engine.losses.crf import crf_loss, viterbi
from engine.losses.ctc import ctc_loss
from engine.losses.curvature import curvature_of_cross_entropy, curvature_of_mse
from engine.losses.pinball import quantile
from engine.losses.sampled import SampledGradients, sampled_softmax
from engine.losses.softmax import cross_entropy
from engine.losses.squared_error import mse
from engine.losses.weighted import weighted_sum

__all__ = [
    "SampledGradients",
    "binary_cross_entropy",
    "crf_loss",
    "cross_entropy",
    "ctc_loss",
    "curvature_of_cross_entropy",
    "curvature_of_mse",
    "mse",
    "quantile",
    "sampled_softmax",
    "viterbi",
    "weighted_sum",
]
