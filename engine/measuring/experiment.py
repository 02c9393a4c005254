"""One layer with its arguments, the same numbers on every backend, and everything that its two passes compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.cell import cells
from engine.checks import describe, integer, one_of, require_room
from engine.layers.rnn import layer_of

#: Shorter names of the command line.
SHORT = {"rnn": "rnn_tanh"}


@dataclass(frozen=True)
class Experiment:
    """What is computed: one layer, one direction, forward and backward.

    Attributes
    ----------
    cell : one of `engine.cells()`, or ``"rnn"``.
    T, B, D, H : time steps, rows, input features, hidden units.
    lengths : valid steps of each row; None means T.
    dtype : ``"float64"`` or ``"float32"``.
    seed : of weights, input, initial state and cotangents.
    precision : of the products (docs/half_precision.md); another one than ``"float32"`` takes that dtype.
    """

    cell: str = "lstm"
    T: int = 20
    B: int = 8
    D: int = 24
    H: int = 32
    lengths: tuple[int, ...] | None = None
    dtype: str = "float64"
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        one_of("cell", SHORT.get(self.cell, self.cell) if isinstance(self.cell, str) else self.cell, tuple(cells()))
        one_of("dtype", self.dtype, ("float64", "float32"))
        for name in ("T", "B", "D", "H"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        object.__setattr__(self, "seed", integer("seed", self.seed, 0))
        sizes = ", ".join(f"{name} {describe(getattr(self, name))}" for name in "TBDH")
        require_room("experiment", "arrays", 8 * self.T * self.B * (self.D + 6 * self.H), sizes)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; the precision only where it is another one."""
        fields = asdict(self)
        if self.precision == "float32":
            del fields["precision"]
        return fields

    def layer(self, backend: Backend | str) -> Any:
        """The layer with its first weights: the same numbers on every backend."""
        cell = SHORT.get(self.cell, self.cell)
        projection = {"proj_size": max(1, self.H // 2)} if cells()[cell].projected else {}
        options: dict[str, Any] = {"dtype": self.dtype, "seed": self.seed, "precision": self.precision}
        return layer_of(cell, self.D, self.H, backend=backend, **options, **projection)

    def arguments(self, layer: Any) -> dict[str, Any]:
        """x, state, dy and dstate on the layer's backend, random and none of them zero."""
        rng = np.random.default_rng(self.seed)

        def draw(*shape: int) -> Any:
            return layer.backend.asarray(rng.normal(size=shape).astype(self.dtype))

        def states() -> Any:
            found = tuple(draw(1, self.B, width) for width in layer.widths)
            return found if len(found) > 1 else found[0]

        x, state = draw(self.T, self.B, self.D), states()
        return {"x": x, "state": state, "dy": draw(self.T, self.B, layer.widths[0]), "dstate": states()}


class Bench:
    """An experiment set up on one backend, ready to be run again and again."""

    def __init__(self, experiment: Experiment, backend: Backend | str) -> None:
        self.experiment = experiment
        self.layer = experiment.layer(backend)
        self.backend: Backend = self.layer.backend
        self.upload()

    def upload(self) -> None:
        """Put the arguments of a step where the layer computes."""
        self.arguments = self.experiment.arguments(self.layer)

    def step(self) -> tuple[Any, Any, Any, Any, Any]:
        """Forward, and backward to the input, the initial state and every parameter: (y, last, tape, dx, dfirst)."""
        given = self.arguments
        self.layer.zero_grad()
        y, last, tape = self.layer.forward(given["x"], given["state"], self.experiment.lengths)
        return y, last, tape, *self.layer.backward(tape, given["dy"], given["dstate"])

    def wait(self) -> None:
        """Return when all started work is done."""
        self.backend.to_host(self.layer.grads["weight_ih_l0"][:1])

    def values(self) -> dict[str, np.ndarray]:
        """Every output and gradient of a step by name, on the host."""
        y, last, _, dx, dfirst = self.step()
        found = {"y": y, **_states("{}_n", last), "dx": dx, **_states("d{}_0", dfirst), **self.layer.grads}
        return {name: np.array(self.backend.to_host(array)) for name, array in found.items()}

    def by_step(self) -> dict[str, np.ndarray]:
        """Results with an entry for every step, each (T, B, ...), on the host: states, adjoints, gate gradients, dx.

        ``dh`` is the gradient of the loss with respect to h, through all that follows; ``da_i`` that of the
        pre-activation of gate i.
        """
        given = self.arguments
        _, _, tape = self.layer.forward(given["x"], given["state"], self.experiment.lengths)
        trace = self.layer.backward_trace(tape, given["dy"], given["dstate"])
        run, adjoints = tape.layers[0][0], trace.layers[0][0]
        found = {name: slots[1:] for name, slots in run.states.items()}
        found |= {f"d{name}": slots[1:] for name, slots in adjoints.states.items()}
        found |= {f"da_{gate}": value for gate, value in adjoints.gates.items()} | {"dx": trace.dx}
        return {name: np.array(self.backend.to_host(array)) for name, array in found.items()}


def _states(name: str, state: Any) -> Mapping[str, Any]:
    """The parts of a state by name."""
    parts = state if isinstance(state, tuple) else (state,)
    return {name.format(letter): part for letter, part in zip("hc", parts, strict=False)}
