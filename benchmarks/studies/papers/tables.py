"""The tables: each with its task in words, how it is measured, and what papers report, with the place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.studies.papers import chaos, sequences, strings_and_images
from benchmarks.studies.papers.common import Rows

#: In place of the compiled kernels, where a table is only tried.
PLAIN = {"backend": "numpy:reference", "seeds": 1}

LSTM_1997 = "Hochreiter and Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8)"
BN_2017 = "Cooijmans et al. 2017, Recurrent Batch Normalization, ICLR, table 1"
CHRONO = "Tallec and Ollivier 2018, Can recurrent neural networks warp time?, ICLR"
ESN_2001 = "Jaeger 2001, The echo state approach, GMD report 148"
ESN_2004 = "Jaeger and Haas 2004, Harnessing nonlinearity, Science 304, pages 78 to 80, as others quote it"


class Reported(NamedTuple):
    """What a paper reports: the model, figures in its own words by our names, and the place."""

    model: str
    figures: Mapping[str, str]
    source: str


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    title : of its section.
    task : what is to be done, and when it counts as done.
    figures : the names of the figures, and the heads of their columns.
    measure : its keywords are the sizes of the measurement.
    papers : the rows of papers.
    remark : what differs from the papers.
    tiny : keywords with which it takes a second and shows nothing but that it runs.
    """

    title: str
    task: str
    figures: Mapping[str, str]
    measure: Callable[..., Rows]
    papers: tuple[Reported, ...]
    remark: str
    tiny: Mapping[str, Any] = field(default_factory=dict)

    @property
    def setting(self) -> dict[str, Any]:
        """The sizes that the figures were measured with."""
        named = inspect.signature(self.measure).parameters.values()
        return {found.name: found.default for found in named if found.kind is not found.VAR_KEYWORD}


TABLES: dict[str, Table] = {
    "adding": Table(
        "Adding problem",
        "Each step has a number of [-1, 1] and a marker. The sum of the two marked numbers, scaled to 0..1, is "
        "asked for at the end, after T to 1.1 T steps. A sum that is off by more than 0.04 is wrong; 2560 new "
        "sequences are judged.",
        {"wrong": "wrong of 2560", "mse": "squared error"},
        sequences.adding,
        (
            Reported("LSTM, T = 100", {"wrong": "1", "sequences": "74,000"}, f"{LSTM_1997}, table 7"),
            Reported("LSTM, T = 500", {"wrong": "0", "sequences": "209,000"}, f"{LSTM_1997}, table 7"),
        ),
        "The paper's LSTM has no forget gate, 93 weights and plain stochastic gradients; it has no row for T = 200."
        " Ours has 32 units, Adam, and gates that start out to remember (chrono initialisation); the RNN has no "
        "such gates.",
        {"steps": (22,), "cells": ("GRU",), "hidden": 4, "sequences": 64},
    ),
    "copy": Table(
        "Copying",
        "Ten symbols of eight kinds come first, and are to be repeated T steps later, after a marker. Who has no "
        "memory and knows the rules has the cross-entropy 10 ln 8 / (T + 20) a step.",
        {"cross_entropy": "cross-entropy", "symbols": "symbols right, %"},
        sequences.copy,
        (
            Reported(
                "LSTM of Arjovsky, Shah and Bengio 2016",
                {"cross_entropy": "no better than no memory"},
                f"as told in {CHRONO}, section 3",
            ),
            Reported(
                "LSTM, 128 units, chrono",
                {"cross_entropy": "far below no memory, with no plateau"},
                f"{CHRONO}, figure 3 and text",
            ),
        ),
        "The papers show curves of longer delays, no table, and train longer. Chrono is how the gates start out.",
        {"delays": (2,), "hidden": 4, "sequences": 64, "epochs": 1},
    ),
    "order": Table(
        "Temporal order",
        "Among a hundred meaningless symbols two are X or Y, at steps 10..20 and 50..60. Their order is a class of "
        "four: XX, XY, YX, YY. A sequence of 2560 is wrong if an output is off by more than 0.3.",
        {"wrong": "wrong of 2560", "accuracy": "accuracy, %"},
        sequences.order,
        (Reported("LSTM", {"wrong": "1", "sequences": "31,390"}, f"{LSTM_1997}, table 9, task 6a"),),
        "The paper's outputs are four logistic units, ours a softmax.",
        {"cells": ("GRU",), "hidden": 3, "sequences": 32},
    ),
    "reber": Table(
        "Embedded Reber grammar",
        "256 strings for training, and 256 others for the test. At each symbol the network says what comes next; a "
        "string is right if all symbols that the grammar allows are more active than all others. A trial succeeds "
        "if all 512 strings are right at once.",
        {"success": "trials that succeed, %", "wrong": "test strings wrong at the end"},
        strings_and_images.reber,
        (
            Reported("LSTM, 3 blocks of 2", {"success": "100", "sequences": "8,440"}, f"{LSTM_1997}, table 1"),
            Reported("LSTM, 4 blocks of 1", {"success": "100", "sequences": "39,740"}, f"{LSTM_1997}, table 1"),
            Reported(
                "Elman net (Cleeremans et al. 1989)",
                {"success": "0", "sequences": "more than 200,000"},
                f"{LSTM_1997}, table 1",
            ),
            Reported(
                "recurrent cascade correlation (Fahlman 1991)",
                {"success": "50", "sequences": "182,000"},
                f"{LSTM_1997}, table 1",
            ),
        ),
        "The sequences are strings read until success, counted with repetitions, as in the paper; the mean is over "
        "all trials.",
        {"cells": ("GRU",), "hidden": 3, "strings": 6, "most": 6, "check": 1},
    ),
    "parity": Table(
        "Parity",
        "Is the number of ones so far odd? Strings of 1 to 20 bits are trained on. 1000 strings of 20 and of 500 "
        "bits are judged by the answer after the last bit; guessing is right in 50 %.",
        {"20 bits": "right of 20 bits, %", "500 bits": "right of 500 bits, %"},
        sequences.parity_of_bits,
        (
            Reported(
                "LSTM, told after the last bit",
                {"500 bits": "not learnt, while guessing weights at random is quick"},
                f"{LSTM_1997}, section 6",
            ),
        ),
        "The paper means training on strings of 500 bits. Here short strings among the training data are the way in: "
        "who has learnt the rule on them has it for 500 bits.",
        {"cells": ("GRU",), "hidden": 3, "sequences": 64},
    ),
    "digits": Table(
        "Digits, pixel by pixel",
        "An image is read as a sequence of its pixels, and its digit is asked for at the end. Ours are "
        "scikit-learn's 1797 images of 8x8 pixels, 359 of them held out.",
        {"accuracy": "accuracy, %"},
        strings_and_images.digits,
        (
            Reported("LSTM, MNIST", {"accuracy": "98.9"}, BN_2017),
            Reported("RNN, MNIST (Le et al. 2015)", {"accuracy": "35.0"}, BN_2017),
            Reported("IRNN, MNIST (Le et al. 2015)", {"accuracy": "97.0"}, BN_2017),
        ),
        "The papers' images are MNIST's: 784 steps, and 60,000 images to learn from. Their figures are not to be "
        "compared with ours.",
        {"cells": ("GRU", "IRNN"), "hidden": 3, "epochs": 1, "images": 150},
    ),
    "mackey-glass": Table(
        "Mackey-Glass",
        "A chaotic series (tau = 17), 3000 values to learn from. The figure is the normalised root mean square "
        "error of the 84th value of a free run, over 50 places of another series.",
        {"nrmse": "NRMSE at 84 steps"},
        chaos.chaos,
        (
            Reported("echo state network, 400 units", {"nrmse": "0.00028"}, f"{ESN_2001}, section 6.4"),
            Reported("the same, 21,000 values", {"nrmse": "0.00012"}, f"{ESN_2001}, section 6.4"),
            Reported("echo state network, 1000 units", {"nrmse": "10^-4.2 = 0.000063"}, ESN_2004),
        ),
        "The paper feeds the output back through weights of its own and is told each true value in training; here "
        "the last value is the input, which comes to the same. It averages 20 runs. Its units have two constants "
        "for the leak, ours one. LSTM and GRU are trained through time on pieces of 100 steps of the same series, "
        "in 6000 updates.",
        {"units": (30,), "steps": 400, "washout": 50, "cells": ("GRU",), "hidden": 3, "epochs": 1, "places": 2},
    ),
}
