"""A table of vectors, one for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import integer, switch
from engine.errors import bad_input
from engine.layers.base import Layer
from engine.layers.building import check_no_state
from engine.layers.showing import Tape
from engine.layers.timeline import Timeline, check_lengths, clean, timeline_of
from engine.plain_arrays import first_place, host_integers
from kernels import segment_sum


@dataclass(frozen=True, repr=False)
class EmbeddingTape(Tape):
    """What `Embedding` keeps for its backward pass.

    Attributes
    ----------
    ids : array of int
        Token ids on the host, pads already 0.
    valid : array of bool or None
        Which of them are valid; None: all.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    ids: np.ndarray
    valid: np.ndarray | None
    stamp: tuple[int, int]


class Embedding(Layer):
    """A table of vectors, one for each token: y = weight[ids].

    The gradient is a sum over a tree of sorted places, the same on every run.

    Parameters
    ----------
    num_embeddings : int
        V, the number of tokens.
    embedding_dim : int
        E, the width of a vector.
    batch_first : bool or None
        Whether ids are (B, T) instead of (T, B), where time matters: with lengths, and in truncated BPTT.
        None follows the layers around it in a `Sequential`.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights and dropout masks; None means 0.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> table = engine.Embedding(10, 3)
    >>> y, state, tape = table.forward([[1, 2], [1, 0], [1, 9]])
    >>> table.backward(tape, np.ones_like(y))
    (None, None)
    >>> y.shape, table.grads["weight"][:3, 0].tolist()
    ((3, 2, 3), [1.0, 3.0, 1.0])
    """

    tape_type = EmbeddingTape
    fixed = Layer.fixed | {"num_embeddings", "embedding_dim"}

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        batch_first: bool | None = None,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.num_embeddings = integer("num_embeddings", num_embeddings, 1)
        self.embedding_dim = integer("embedding_dim", embedding_dim, 1)
        self.batch_first = self._layout(batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return philox.normal(self._key(f"init:{name}"), shape, self.dtype)

    def _arguments(self) -> dict[str, Any]:
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "batch_first": self.batch_first,
        }

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`; ids have no axis of features."""
        return "(B, T)" if self.batch_first else "(T, B)"

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.embedding_dim

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, EmbeddingTape]:
        """Look up host integer ids of any shape.

        Parameters
        ----------
        x : array of int
            Ids in 0..V-1 on the host: a list, a NumPy array or a tensor on the CPU. Where lengths are given, x is (T,
            B), and pads are not looked at.
        state : None
            A table carries no state.
        lengths : sequence of int or None
            (B,) valid steps of each row; None means T for all.
        training : bool
            Makes no difference here.

        Returns
        -------
        y : array
            The vectors, x.shape + (E,), pads 0.
        state : None
            A table carries no state.
        tape : EmbeddingTape
            What backward needs.

        Raises
        ------
        InputError
            For an id out of range; a device would wrap it around silently.
        """
        check_no_state(state)
        switch("training", training)
        ids, valid, timeline = self._enter(x, lengths)
        return self._look_up(ids, timeline), None, EmbeddingTape(ids, valid, self._stamp())

    def backward(self, tape: EmbeddingTape, dy: Any = None, dstate: Any = None) -> tuple[None, None]:
        """Add to the gradient of the table; ids have no gradient, so dx is None."""
        check_no_state(None, dstate)
        self.check_tape(tape)
        if dy is None:
            return None, None
        backend = self.backend
        backend.require("dy", dy, dtype=self.dtype, shape=(*tape.ids.shape, self.embedding_dim), axes="that of y")
        ids = tape.ids.reshape(-1)
        places = np.arange(ids.size) if tape.valid is None else np.flatnonzero(tape.valid)
        if places.size == 0:
            return None, None
        # y = weight[ids]: every place adds to the row it was read from, in one order on every run
        order = places[np.argsort(ids[places], kind="stable")]
        rows, tables = segment_sum.plan(ids, order)
        sums = segment_sum.add_up(backend.xp, dy.reshape(ids.size, -1), segment_sum.upload(backend.asarray, tables))
        grads = self._grads.own
        with self._lock:
            grads["weight"][backend.asarray(rows)] += sums
        return None, None

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """The output of `forward`, without a tape."""
        check_no_state(state)
        ids, _, timeline = self._enter(x, lengths)
        return self._look_up(ids, timeline), None

    def window(self, tape: EmbeddingTape, start: int, stop: int) -> EmbeddingTape:
        """The time steps ``start <= t < stop`` of a tape."""
        self.check_kind(tape)
        self.check_window(tape.ids.shape, start, stop)
        part = (slice(None), slice(start, stop)) if self.batch_first else slice(start, stop)
        return EmbeddingTape(tape.ids[part], None if tape.valid is None else tape.valid[part], tape.stamp)

    def _look_up(self, ids: np.ndarray, timeline: Timeline | None) -> Any:
        y = self._params.own["weight"][self.backend.asarray(ids)]
        return y if timeline is None else clean(self.backend.xp, y, timeline, self.batch_first)

    def _enter(self, x: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray | None, Timeline | None]:
        """The ids, pads 0, and which are valid, on the host; the timeline where lengths were given."""
        hint = "encode the text with a vocabulary first"
        ids = host_integers("x", x, "integer token ids", hint, hosted="integer ids on the host")
        valid, timeline = None, None
        if lengths is not None:
            timeline = timeline_of(self.backend, "x", ids.shape, 2, self.batch_first, lengths)
            valid = np.arange(timeline.steps)[:, None] < check_lengths(lengths, timeline.steps, timeline.batch)
            valid = valid.T if self.batch_first else valid
        wrong = (ids < 0) | (ids >= self.num_embeddings)
        if valid is not None:
            wrong &= valid
        if wrong.any():
            where = first_place(wrong)
            raise bad_input("x", f"token ids in 0..{self.num_embeddings - 1}", f"{int(ids[where])} at index {where}")
        ids = ids.astype(np.int64)  # a copy: a tape must not change when the caller's array does
        return (ids if valid is None else np.where(valid, ids, 0)), valid, timeline
