"""Layers of the engine whose backward is spoilt from outside: by a subclass, or by a method replaced by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import engine
from benchmarks.checker.second_zoo_bug import NO_GATE, B, D, Gates, H, Names, SecondBug, T, layer_bug
from engine.zoo.bug import BugCase

#: ``edit(layer, new, dx, dstate) -> (dx, dstate)``; `new` are this pass's own gradients, to be changed in place.
Edit = Callable[[Any, dict[str, Any], Any, Any], tuple[Any, Any]]

V = 7
ROWS = (4, T, 2)  # lengths
PLAIN: dict[str, Any] = {"dtype": "float64", "backend": "numpy:reference"}


# -- ways to plant -----------------------------------------------------------------------------------------------------


def spoilt(layer: Any, right: Any, edit: Edit, *arguments: Any) -> tuple[Any, Any]:
    """What the right backward gives, changed, and added to the gradients that were there."""
    before = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    dx, dstate = right(*arguments)
    new = {name: grad.copy() for name, grad in layer.grads.items()}
    dx, dstate = edit(layer, new, dx, dstate)
    for name, grad in layer.grads.items():
        grad[...] = before[name] + new[name]
    return dx, dstate


def subclass(base: Any, edit: Edit) -> Any:
    """A subclass with a backward of its own."""

    class Wrong(base):
        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
            return spoilt(self, super().backward, edit, tape, dy, dstate)

    return Wrong


def replaced(base: Any, edit: Edit) -> Any:
    """Makes layers of the engine on which backward was replaced by hand."""

    def make(*args: Any, **options: Any) -> Any:
        layer = base(*args, **options)
        right = layer.backward
        layer.backward = lambda tape, dy=None, dstate=None: spoilt(layer, right, edit, tape, dy, dstate)
        return layer

    return make


# -- cases -------------------------------------------------------------------------------------------------------------


def _case(layer: Any, seed: int, lengths: Any = None) -> BugCase:
    rng = np.random.default_rng([seed, 15])
    layer.load_state_dict({name: rng.normal(scale=0.5, size=p.shape) for name, p in layer.params.items()})
    x = rng.normal(size=(B, T, D) if layer.batch_first else (T, B, D))
    return BugCase(layer, x, _state(layer, rng), lengths)


def _state(layer: Any, rng: np.random.Generator) -> Any:
    if isinstance(layer, engine.Sequential):
        return tuple(_state(part, rng) for part in layer.layers)
    if not hasattr(layer, "cell"):
        return None
    shape = (layer.num_layers * layer.num_directions, B, H)
    return (rng.normal(size=shape), rng.normal(size=shape)) if len(layer.cell.states) > 1 else rng.normal(size=shape)


def lstm(seed: int, cls: Any = engine.LSTM) -> BugCase:
    return _case(cls(D, H, **PLAIN), seed)


def gru(seed: int, cls: Any = engine.GRU) -> BugCase:
    return _case(cls(D, H, **PLAIN), seed)


def rnn(seed: int, cls: Any = engine.RNN) -> BugCase:
    return _case(cls(D, H, **PLAIN), seed)


def deep_lstm(seed: int, cls: Any = engine.LSTM) -> BugCase:
    return _case(cls(D, H, 2, **PLAIN), seed)


def deep_rnn(seed: int, cls: Any = engine.RNN) -> BugCase:
    return _case(cls(D, H, 3, **PLAIN), seed)


def both_ways(seed: int, cls: Any = engine.GRU) -> BugCase:
    return _case(cls(D, H, bidirectional=True, **PLAIN), seed, [T, 3, 2])


def rows_first(seed: int, cls: Any = engine.GRU) -> BugCase:
    return _case(cls(D, H, batch_first=True, **PLAIN), seed, list(ROWS))


def linear(seed: int, cls: Any = engine.Linear) -> BugCase:
    return _case(cls(D, V, **PLAIN), seed)


def chain_of_three(
    seed: int, lower: Any = engine.GRU, upper: Any = engine.GRU, chain: Any = engine.Sequential
) -> BugCase:
    return _case(chain(lower(D, H, **PLAIN), upper(H, H, **PLAIN), engine.Linear(H, V, **PLAIN)), seed)


# -- what is spoilt ----------------------------------------------------------------------------------------------------


def in_gradients(change: Callable[[dict[str, Any]], Any]) -> Edit:
    """Only parameter gradients are changed; a dict that comes back holds new values."""

    def edit(layer: Any, new: dict[str, Any], dx: Any, dstate: Any) -> tuple[Any, Any]:
        new.update(change(new) or {})
        return dx, dstate

    return edit


def in_dx(change: Callable[[Any], Any]) -> Edit:
    return lambda layer, new, dx, dstate: (change(dx), dstate)


def in_dstate(change: Callable[[Any], Any]) -> Edit:
    return lambda layer, new, dx, dstate: (dx, change(dstate))


def scaled(value: Any, where: Any, factor: float) -> Any:
    value = value.copy()
    value[where] *= factor
    return value


def part_of(new: dict[str, Any], name: str, where: Any, factor: float) -> dict[str, Any]:
    """A part of one gradient multiplied with a factor."""
    return {name: scaled(new[name], where, factor)}


def to_the_end(dx: Any) -> Any:
    """Each row of `rows_first` behind its padding."""
    return np.stack([np.roll(row, T - length, axis=0) for row, length in zip(dx, ROWS, strict=True)])


def exchange(new: dict[str, Any], one: str, other: str, rows: slice = slice(None)) -> None:
    new[one][rows], new[other][rows] = new[other][rows].copy(), new[one][rows].copy()


def decay(layer: Any, new: dict[str, Any], dx: Any, dstate: Any) -> tuple[Any, Any]:
    new["weight_hh_l0"] += 0.01 * layer.params["weight_hh_l0"]
    return dx, dstate


def small_decay(layer: Any, new: dict[str, Any], dx: Any, dstate: Any) -> tuple[Any, Any]:
    new["weight_ih_l0"] += 2e-4 * layer.params["weight_ih_l0"]
    return dx, dstate


def clipped(new: dict[str, Any]) -> dict[str, Any]:
    norm = np.sqrt(sum((grad**2).sum() for grad in new.values()))
    return {name: grad * min(1.0, 1.0 / norm) for name, grad in new.items()}


class RowForgotten(engine.LSTM):
    """Works out the upper layer's input weights from all rows of dy but one."""

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """As in the class above, but for one parameter."""
        name = "weight_ih_l1"
        rest = [scaled(part, np.s_[:, 1], 0.0) for part in (dy, *dstate)]
        spare = {key: np.zeros_like(grad) for key, grad in self.grads.items()}
        self._walk(tape, rest[0], tuple(rest[1:]), spare, keep=False)
        start = self.grads[name].copy()
        found = super().backward(tape, dy, dstate)
        self.grads[name][...] = start + spare[name]
        return found


class Overlapping(engine.RNN):
    """Walks the tape in two windows, to save memory; the earlier one holds one step too many."""

    SPLIT = 3

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """As in the class above, but window by window."""
        k = self.SPLIT
        late, dstate = super().backward(self.window(tape, k, T), dy[k:].copy(), dstate)
        early, dstate = super().backward(self.window(tape, 0, k + 1), dy[: k + 1].copy(), dstate)
        return np.concatenate([early[:k], late]), dstate


class Remembering(engine.Linear):
    """Keeps the weights that it was made with, and works out dx from them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kept = self.params["weight"].copy()

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """As in the class above, but for dx."""
        super().backward(tape, dy, dstate)
        return dy @ self.kept, None


class _Decaying(engine.LSTM):
    """Adds a weight decay to its gradients; none unless told."""

    decay = 0.0

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        found = super().backward(tape, dy, dstate)
        for name in self.grads:
            self.grads[name] += self.decay * self.params[name]
        return found


def told_to_decay(*args: Any, **options: Any) -> Any:
    layer = _Decaying(*args, **options)
    layer.decay = 0.01
    return layer


def walk_replaced(*args: Any, **options: Any) -> Any:
    """A GRU whose own walk through time was replaced by hand."""
    layer: Any = engine.GRU(*args, **options)
    right = layer._walk
    layer._walk = lambda tape, dy, dstate, grads, keep: right(tape, 1.5 * dy, dstate, grads, keep)
    return layer


def method_bug(
    name: str,
    story: str,
    setting: Any,
    wrong: Any,
    names: Names,
    gates: Gates = NO_GATE,
    time_step: int | None = None,
    **more: Any,
) -> SecondBug:
    wrong = wrong if isinstance(wrong, dict) else {"cls": wrong}
    return layer_bug("method", name, story, setting, wrong, names, gates, time_step, **more)
