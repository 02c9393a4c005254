"""What both sides are asked about: bugs of the zoo, its cases without their bugs, right code from seeds."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from engine.layers.rnn import layer_of
from engine.zoo import BUGS, BugCase

Job = tuple[str, str]  # "bug", "no bug" or "seed", and which


def collect(bugs: list[str], seeds: int) -> list[Job]:
    """The jobs: each bug, each case of theirs once without a bug, each seed."""
    cases: dict[str, str] = {}
    for name in bugs:
        if not BUGS[name].case(0).truncation:
            cases.setdefault(repr(BUGS[name].case), name)
    return [
        *(("bug", name) for name in bugs),
        *(("no bug", name) for name in cases.values()),
        *(("seed", str(seed)) for seed in range(seeds)),
    ]


def find(job: Job, kernels: str) -> tuple[BugCase, AbstractContextManager[None]]:
    """The case of a job, and what plants its bug."""
    what, which = job
    if what == "seed":
        return right_case(int(which), kernels), nullcontext()
    bug = BUGS[which]
    return bug.case(0), bug.plant() if what == "bug" else nullcontext()


def right_case(seed: int, kernels: str = "reference") -> BugCase:
    """A layer with its arguments, as `draw` says."""
    choices = draw(seed)
    kind, steps, batch, lengths, gain = (choices.pop(name) for name in ("kind", "T", "B", "lengths", "gain"))
    zero, sizes = choices.pop("zero state"), (choices.pop("D"), choices.pop("H"))
    options: dict[str, Any] = {"dtype": "float64", "backend": f"numpy:{kernels}", "seed": seed, **choices}
    layer: Any = layer_of(kind, *sizes, **options)
    rng = np.random.default_rng([seed, 18])
    weights = {}
    for name, param in layer.params.items():
        scale = gain / 2 if param.ndim == 1 else gain / np.sqrt(param.shape[1])
        weights[name] = rng.normal(scale=scale, size=param.shape)
    layer.load_state_dict(weights)
    x = rng.normal(size=(batch, steps, sizes[0]) if layer.batch_first else (steps, batch, sizes[0]))
    shape = (layer.num_layers * layer.num_directions, batch, sizes[1])
    h, c = (np.zeros(shape) if zero else rng.normal(size=shape) for _ in "hc")
    return BugCase(layer, x, (h, c) if len(layer.cell.states) > 1 else h, lengths)


def draw(seed: int) -> dict[str, Any]:
    """The random choices behind a right case.

    Cells take turns.  T is 3..8 in 80 % of the cases, 9..20 in 15 %, 21..50 in 5 %; B and D are 1..3, H is 2..4.
    Weights are normal with standard deviation gain / sqrt(columns), biases with gain / 2; the gain is log-uniform in
    0.1..10, where gates saturate and tanh networks are chaotic, or in 0.1..1 for relu, which grows without bound above.
    Two layers of relu always have biases: without, the upper one can stand with everything at 0, exactly at the kink,
    and has no gradient there.
    """
    rng = np.random.default_rng([seed, 17])
    kind = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before")[seed % 5]
    low, high = [(3, 8), (9, 20), (21, 50)][int(rng.choice(3, p=[0.80, 0.15, 0.05]))]
    steps, batch = int(rng.integers(low, high + 1)), int(rng.integers(1, 4))
    options: dict[str, Any] = {
        "num_layers": int(rng.integers(1, 3)),
        "bias": bool(rng.random() < 0.75),
        "batch_first": bool(rng.random() < 0.5),
        "bidirectional": bool(rng.random() < 0.5),
    }
    dropout, variational = rng.random(2)
    if options["num_layers"] > 1 and dropout < 0.5:
        options |= {"dropout": 0.3, "variational": bool(variational < 0.5)}
    options["bias"] |= kind == "rnn_relu" and options["num_layers"] > 1
    lengths = None
    if rng.random() < 0.5:
        lengths = [int(length) for length in rng.integers(0, steps + 1, batch)]
        lengths[int(rng.integers(batch))] = steps
    return {
        "kind": kind,
        "T": steps,
        "B": batch,
        "D": int(rng.integers(1, 4)),
        "H": int(rng.integers(2, 5)),
        "gain": float(10 ** rng.uniform(-1, 0 if kind == "rnn_relu" else 1)),
        "zero state": bool(rng.random() < 0.25),
        "lengths": lengths,
        **options,
    }
