"""The claims, each with the function that measures it, and with sizes that take a second."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.studies.articles import flow, sequences, training
from benchmarks.studies.articles.common import Figures

#: In place of the compiled kernels, where a claim is only tried.
PLAIN = {"backend": "numpy:reference", "seeds": 2}
TEXT = {"hidden": 5, "characters": 3000}


@dataclass(frozen=True)
class Claim:
    """One claim of articles.

    Attributes
    ----------
    says : the claim, as articles have it.
    verdict : "true", "partly", "depends" or "false", after the figures.
    measure : its keywords are the sizes of the measurement.
    tiny : keywords with which it takes a second and shows nothing but that it runs.
    """

    says: str
    verdict: str
    measure: Callable[..., Figures]
    tiny: Mapping[str, Any] = field(default_factory=dict)

    @property
    def setting(self) -> dict[str, Any]:
        """The sizes that the figures were measured with."""
        return {name: found.default for name, found in inspect.signature(self.measure).parameters.items()}


CLAIMS: dict[str, Claim] = {
    "batch-vanishing": Claim(
        "Bigger batches relieve vanishing gradients",
        "false",
        flow.batch_vanishing,
        {"hidden": 5, "steps": 6, "batches": (1, 8)},
    ),
    "lstm-vanishing": Claim(
        "Gradients do not vanish in an LSTM", "depends", flow.lstm_vanishing, {"hidden": 5, "steps": 6}
    ),
    "forget-bias": Claim(
        "Start the forget bias at 1", "partly", flow.forget_bias, {"hidden": 5, "steps": 4, "updates": 25}
    ),
    "clipping": Claim(
        "Clipping prevents exploding and vanishing gradients",
        "partly",
        flow.clipping,
        {"hidden": 5, "steps": 4, "updates": 10},
    ),
    "initialisation": Claim(
        "Start recurrent weights orthogonal",
        "partly",
        flow.initialisation,
        {"hidden": 5, "steps": 4, "updates": 3},
    ),
    "gru-and-lstm": Claim(
        "A GRU is faster than an LSTM and as good",
        "depends",
        training.gru_and_lstm,
        {**TEXT, "same_parameters": 6, "rows": 3, "steps": 4, "updates": (2, 4), "rounds": 2},
    ),
    "layer-normalisation": Claim(
        "Layer normalisation speeds up convergence",
        "partly",
        training.layer_normalisation,
        {**TEXT, "rows": 3, "steps": 4, "updates": (2, 4), "rounds": 2},
    ),
    "recurrent-dropout": Claim(
        "Dropout on recurrent connections destroys memory, unless one mask serves all steps",
        "partly",
        training.recurrent_dropout,
        {"hidden": 5, "steps": 4, "updates": 3},
    ),
    "larger-batch": Claim(
        "A larger batch trains faster", "depends", training.larger_batch, {**TEXT, "steps": 4, "batches": (8, 16)}
    ),
    "learning-rate": Claim(
        "With a larger batch, scale the learning rate",
        "true",
        training.learning_rate_scaling,
        {**TEXT, "steps": 4, "large": 16},
    ),
    "loss-scale": Claim(
        "Whether a loss is summed over time or averaged does not matter",
        "depends",
        training.loss_scale,
        {**TEXT, "lengths": (3, 6), "rows": 3, "tokens": 50},
    ),
    "bucketing": Claim(
        "Batches of similar length save time",
        "true",
        sequences.bucketing,
        {"longest": 40, "hidden": 5, "rounds": 1},
    ),
    "truncation": Claim(
        "Truncated backpropagation saves memory",
        "depends",
        sequences.truncation,
        {"steps": 12, "k": 4, "rows": 2, "hidden": 5},
    ),
    "masks": Claim(
        "Without a mask, padding spoils the loss",
        "partly",
        sequences.masks,
        {"longest": 40, "rows": 3, "hidden": 5, "updates": 3},
    ),
    "padding-side": Claim(
        "Pad in front, not at the end",
        "depends",
        sequences.padding_side,
        {"shortest": 2, "longest": 6, "hidden": 5, "updates": 3},
    ),
    "streaming": Claim(
        "A bidirectional network cannot be used on a stream",
        "partly",
        sequences.streaming,
        {**TEXT, "steps": 8, "updates": 2, "ahead": (0, 2)},
    ),
}
