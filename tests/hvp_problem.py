"""Models along a direction, for the tests of second derivatives, and their products by differences of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import engine

T, B, D, H = 5, 4, 3, 6
LENGTHS = [3, 0, 5, 2]
BACKEND = "numpy:reference"
Arrays = dict[str, Any]


def random_like(rng: np.random.Generator, value: Any, size: float) -> Any:
    """Random numbers in the shape, or the structure, of a value."""
    if isinstance(value, tuple):
        return tuple(random_like(rng, part, size) for part in value)
    return None if value is None else rng.normal(size=value.shape) * size


def moved(value: Any, step: float, direction: Any) -> Any:
    if value is None or direction is None:
        return value
    if isinstance(value, tuple):
        return tuple(moved(part, step, along) for part, along in zip(value, direction, strict=True))
    return value + step * direction


def leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


class Problem:
    """A model with an input, a loss with its curvature, and a direction in which everything moves."""

    def __init__(
        self, model: Any, x: Any, state: Any, lengths: Any, seed: int, names: Callable[[str], bool] = lambda name: True
    ) -> None:
        rng = np.random.default_rng(seed)
        self.model, self.x, self.state, self.lengths = model, x, state, lengths
        for name, value in model.params.items():
            model.params[name] = value + 0.2 * rng.normal(size=value.shape)
        self.base = {name: np.array(value) for name, value in model.params.items()}
        self.counters = model.call_counters()
        self.y, _, self.tape = self.run(0.0, {})
        self.first, self.second = rng.normal(size=self.y.shape), rng.normal(size=self.y.shape)
        self.direction = {n: random_like(rng, value, 0.2) for n, value in self.base.items() if names(n)}
        if np.asarray(x).dtype.kind == "f":
            self.direction["x"] = random_like(rng, x, 0.2)
        if state is not None:
            self.direction["state"] = random_like(rng, state, 0.2)

    def run(self, step: float, direction: Arrays) -> Any:
        """Forward at the place that is `step` along the direction, with the same dropout masks."""
        for name, value in self.base.items():
            self.model.params[name] = moved(value, step, direction.get(name))
        self.model.load_call_counters(self.counters)
        x = moved(self.x, step, direction["x"]) if "x" in direction else self.x
        return self.model.forward(x, moved(self.state, step, direction.get("state")), self.lengths)

    def gradients(self, step: float, direction: Arrays, held: Any = None) -> Arrays:
        """Of sum(first*y + second*y*y), or of sum(held*y)."""
        y, _, tape = self.run(step, direction)
        self.model.zero_grad()
        dx, dstate = self.model.backward(tape, self.first + 2 * self.second * y if held is None else held)
        return {name: np.array(value) for name, value in self.model.grads.items()} | {"x": dx, "state": dstate}

    def differences(self, name: str, held: Any = None) -> list[np.ndarray]:
        """The product by differences of gradients, with an error of the order of step^4."""
        if not hasattr(self, "_found"):
            self._found: dict[bool, list[Arrays]] = {}
        steps = (4e-4, 2e-4)
        if (held is None) not in self._found:
            self._found[held is None] = [
                self.gradients(sign * step, self.direction, held) for step in steps for sign in (1, -1)
            ]
            self.run(0.0, {})
        parts = [leaves(found[name]) for found in self._found[held is None]]
        pairs = [
            [(up - down) / (2 * step) for up, down in zip(parts[2 * k], parts[2 * k + 1], strict=True)]
            for k, step in enumerate(steps)
        ]
        return [(4 * fine - coarse) / 3 for coarse, fine in zip(*pairs, strict=True)]

    def check(self) -> None:
        """Both products against differences, 1e-8 of each array's largest number."""
        y, _, tape = self.run(0.0, {})
        for held in (None, self.first):
            dy = self.first + 2 * self.second * y if held is None else held
            curvature = 2 * self.second if held is None else None
            found = engine.hvp(self.model, tape, dy, self.direction, curvature)
            assert list(found) == list(self.direction)
            for name, value in found.items():
                for got, wanted in zip(leaves(value), self.differences(name, held), strict=True):
                    assert got.shape == wanted.shape
                    assert np.abs(got - wanted).max() <= 1e-8 * max(1.0, np.abs(wanted).max()), name


def recurrent(name: str, **options: Any) -> Any:
    cell = engine.cells()[name]
    options |= {"proj_size": H - 1} if cell.projected else {}
    return engine.Recurrent(cell, D, H, backend=BACKEND, dtype="float64", seed=5, **options)


def state_of(model: Any, seed: int) -> Any:
    rng, slots = np.random.default_rng(seed), model.num_layers * model.num_directions
    found = tuple(0.4 * rng.normal(size=(slots, B, width)) for width in model.widths)
    return found if len(found) > 1 else found[0]


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def linear(inputs: int, outputs: int, **options: Any) -> Any:
    return engine.Linear(inputs, outputs, dtype="float64", backend=BACKEND, **options)


def pool(kind: str, input_size: int | None = None, **options: Any) -> Any:
    return engine.Pool(kind, input_size, dtype="float64", backend=BACKEND, **options)


def function(kind: str) -> Any:
    return engine.Activation(kind, dtype="float64", backend=BACKEND)


def dropout() -> Any:
    return engine.Dropout(0.3, dtype="float64", backend=BACKEND)
