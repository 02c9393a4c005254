"""The parts of a `Translator`: which they are, how they run, what its copies keep, how its ids are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend
from engine.checks import describe, integer
from engine.errors import bad_input, bad_type
from engine.layers.attention import Attention
from engine.layers.base import Layer
from engine.layers.building import without_arrays
from engine.layers.composite import Composite
from engine.layers.dropout import Dropout
from engine.layers.embedding import Embedding
from engine.layers.linear import Linear
from engine.layers.recurrent import Recurrent
from engine.layers.rnn import GRU, LSTM
from engine.layers.showing import Tape
from engine.layers.streaming import steps
from engine.plain_arrays import host_integers

Array = Any  # of the model's backend
#: Cells with a layer class of their own.
_CLASSES: dict[str, tuple[type[Layer], dict[str, Any]]] = {"gru": (GRU, {}), "lstm": (LSTM, {})}


@dataclass(frozen=True, repr=False)
class TranslatorTape(Tape):
    """What forward leaves for backward.

    Attributes
    ----------
    tapes : dict of str to Tape
        Those of the parts, by name; ``tapes["attention"].weights`` (T, B, S) says what each token looked at.
    combined : array (T, B, H)
        tanh(weight [found; h]), before dropout.
    stamp : tuple of int
        Whose tape it is.
    """

    tapes: Mapping[str, Any]
    combined: Any
    stamp: tuple[int, int]

    def entries(self) -> Iterator[tuple[str, Any]]:
        """See `Tape.entries`."""
        for part, tape in self.tapes.items():
            yield from ((f".tapes[{part!r}]{name}", array) for name, array in tape.entries())
        yield ".combined", self.combined


class TranslatorParts(Composite):
    """The part of a `Translator` that holds its layers."""

    source_size: int
    target_size: int
    embedding_dim: int
    hidden_size: int
    num_layers: int
    cell: str
    attention: str
    dropout: float
    sampling: float
    parts: dict[str, Layer]

    def _plan(self) -> dict[str, tuple[type[Layer], dict[str, Any]]]:
        """The class and the arguments of each part, by name."""
        E, H, L = self.embedding_dim, self.hidden_size, self.num_layers
        kind, named = _CLASSES.get(self.cell, (Recurrent, {"cell": self.cell}))
        recurrent = {**named, "input_size": E, "num_layers": L, "dropout": self.dropout if L > 1 else 0.0}
        plan: dict[str, tuple[type[Layer], dict[str, Any]]] = {
            "source_embedding": (Embedding, {"num_embeddings": self.source_size, "embedding_dim": E}),
            "encoder": (kind, {**recurrent, "hidden_size": H // 2, "bidirectional": True}),
            "target_embedding": (Embedding, {"num_embeddings": self.target_size, "embedding_dim": E}),
            "decoder": (kind, {**recurrent, "hidden_size": H}),
            "attention": (Attention, {"kind": self.attention, "query_size": H}),
            "combine": (Linear, {"in_features": 2 * H, "out_features": H, "bias": False}),
            "output": (Linear, {"in_features": H, "out_features": self.target_size}),
        }
        drops = ("drop_source", "drop_target", "drop_output") if self.dropout else ()
        return plan | {name: (Dropout, {"p": self.dropout}) for name in drops}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        bare = {name: without_arrays(kind)(**args, backend=self.backend) for name, (kind, args) in self._plan().items()}
        return {f"{name}.{own}": shape for name, part in bare.items() for own, shape in part._shapes().items()}

    def _allocate(self) -> None:
        self._require_room()
        common: dict[str, Any] = {"backend": self.backend, "dtype": self.dtype, "seed": self.seed}
        self.parts = {name: kind(**args, **common) for name, (kind, args) in self._plan().items()}
        self._join(None)

    def named_parts(self) -> list[tuple[str, Layer]]:
        """The parts with their names."""
        return list(self.parts.items())

    def _step(self, batch: int, state: Any) -> steps.Step:
        raise steps.refusal(self, "use its translate, which writes the target step by step")

    def _take_parts(self, parts: dict[str, Layer]) -> None:
        vars(self)["parts"] = parts

    def to(self, backend: str | Backend | None = None, dtype: Any = None) -> Any:
        """A copy on another backend or in another dtype."""
        copy = super().to(backend, dtype)
        copy._take_counters(self.call_counters())
        copy.sampling = self.sampling
        return copy

    def call_counters(self) -> dict[str, int]:
        """The counters of the parts' dropout, and that of scheduled sampling."""
        return {**super().call_counters(), f"{self.path}.sampling".lstrip("."): self.call_counter}

    def _take_counters(self, counters: Mapping[str, int]) -> None:
        super()._take_counters(counters)
        self.call_counter = counters[f"{self.path}.sampling".lstrip(".")]

    def check_tape(self, tape: Any) -> None:
        """Raise unless the tape of every part is good, before any of them is walked."""
        if id(tape) not in self._checked:
            super().check_tape(tape)
            for name, part in tape.tapes.items():
                self.parts[name].check_tape(part)

    def _run(
        self, tapes: Any, training: bool, name: str, x: Any, state: Any = None, lengths: Any = None
    ) -> tuple[Any, Any]:
        """A part's forward pass, whose tape goes to `tapes`; without these its predict."""
        if name not in self.parts:
            return x, None
        if tapes is None:
            return self.parts[name].predict(x, state, lengths)
        y, last, tapes[name] = self.parts[name].forward(x, state, lengths, training)
        return y, last

    def _back(self, tape: TranslatorTape, name: str, dy: Any, dstate: Any = None) -> tuple[Any, Any]:
        """A part's backward pass."""
        if name not in self.parts:
            return dy, None
        with self.parts[name].already_checked(tape.tapes[name]):
            return self.parts[name].backward(tape.tapes[name], dy, dstate)

    def _pair(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Source and target ids, of as many rows."""
        if not isinstance(x, tuple | list) or len(x) != 2:
            raise bad_type("x", "a pair (source, target) of ids", describe(x), "the target begins with the start token")
        source, target = (self._ids(name, ids) for name, ids in zip(("source", "target"), x, strict=True))
        if source.shape[1] != target.shape[1]:
            raise bad_input("target", f"shape (T, {source.shape[1]}), rows as in the source", f"shape {target.shape}")
        return source, target

    def _ids(self, name: str, ids: Any) -> np.ndarray:
        hint = "encode the text with a vocabulary first"
        found = host_integers(name, ids, "integer token ids", hint, hosted="integer ids on the host")
        if found.ndim != 2:
            raise bad_input(name, "ids (steps, rows)", f"shape {found.shape}")
        return found

    def _id(self, name: str, value: Any) -> int:
        if integer(name, value, 0) >= self.target_size:
            raise bad_input(name, f"an id in 0..{self.target_size - 1}, a token of the target", describe(value))
        return int(value)


def join_directions(xp: Any, last: Any) -> Any:
    """The final states (2L, B, H/2) of both directions, side by side (L, B, H), for each state of the cell."""
    if isinstance(last, tuple):
        return tuple(join_directions(xp, part) for part in last)
    return xp.concatenate([last[..., 0::2, :, :], last[..., 1::2, :, :]], axis=-1)


def split_directions(xp: Any, joined: Any) -> Any:
    """Reverse of `join_directions`."""
    if isinstance(joined, tuple):
        return tuple(split_directions(xp, part) for part in joined)
    L, B, H = joined.shape
    return xp.stack([joined[:, :, : H // 2], joined[:, :, H // 2 :]], axis=1).reshape(2 * L, B, H // 2)
