"""A table of vectors, one for each token."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import integer
from engine.errors import bad_input
from engine.layers.pointwise import Pointwise, PointwiseTape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline, check_lengths, clean, timeline_of
from engine.plain_arrays import first_place, host_integers
from kernels import segment_sum


class Embedding(Pointwise):
    """A table of vectors, one for each token: y = weight[ids].

    The gradient is a sum over a tree of sorted places, the same on every run.

    x holds token ids, integers in 0..V-1 on the host, in any shape: a list, a NumPy array or a tensor on the CPU; y is
    x.shape + (E,).  Where lengths are given, x is (T, B), and nobody looks at its pads.  An id out of range is an
    error: a device would wrap it around silently.

    A step may have several ids, such as those of a word and of its ending: with ``features=F`` x is (T, B, F), and y
    (T, B, F*E) holds their vectors one after another.  All stand in one table, so each feature has its range of ids.

    Parameters
    ----------
    num_embeddings : int
        V, the number of tokens.
    embedding_dim : int
        E, the width of a vector.
    batch_first : bool or None
        Whether ids are (B, T) instead of (T, B), where time matters: with lengths, and in truncated BPTT.
        None follows the layers around it in a `Sequential`.
    features : int
        F, the ids of a step; 1 means that x has no axis for them.
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

    shaping = ("num_embeddings", "embedding_dim", "batch_first", "features")

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        batch_first: bool | None = None,
        features: int = 1,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.num_embeddings = integer("num_embeddings", num_embeddings, 1)
        self.embedding_dim = integer("embedding_dim", embedding_dim, 1)
        self.batch_first = self._layout(batch_first)
        self.features = integer("features", features, 1)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return philox.normal(self._key(f"init:{name}"), shape, self.dtype)

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`; a single id has no axis of features."""
        axes = "B, T" if self.batch_first else "T, B"
        return f"({axes})" if self.features == 1 else f"({axes}, {self.features})"

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.features * self.embedding_dim

    def _step(self, batch: int, state: Any) -> steps.Step:
        return steps.without_state(steps.EmbeddingStep(self, batch), state)

    def _enter(self, x: Any, lengths: Any) -> tuple[np.ndarray, Timeline | None]:
        """The ids on the host, pads -1."""
        hint = "encode the text with a vocabulary first"
        ids = host_integers("x", x, "integer token ids", hint, hosted="integer ids on the host")
        if self.features > 1 and (ids.ndim < 2 or ids.shape[-1] != self.features):
            raise bad_input("x", f"{self.features} ids on the last axis, one for each feature", f"shape {ids.shape}")
        wrong, timeline = (ids < 0) | (ids >= self.num_embeddings), None
        copy = ids.astype(np.int64)  # a tape must not change when the caller's array does
        if lengths is not None:
            axes = 2 if self.features == 1 else 3
            timeline = timeline_of(self.backend, ids.shape, axes, self.batch_first, lengths)
            pads = np.arange(timeline.steps)[:, None] >= check_lengths(lengths, timeline.steps, timeline.batch)
            pads = pads.T if self.batch_first else pads
            wrong[pads], copy[pads] = False, -1
        if wrong.any():
            where = first_place(wrong)
            raise bad_input("x", f"token ids in 0..{self.num_embeddings - 1}", f"{int(ids[where])} at index {where}")
        return copy, timeline

    def _shape_of_y(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.joined_shape((*shape, self.embedding_dim))

    def joined_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (..., F*E) of vectors (..., F, E); with one feature that of the vectors themselves."""
        return shape if self.features == 1 else (*shape[:-2], shape[-2] * shape[-1])

    def _run(self, x: np.ndarray, timeline: Timeline | None, training: bool) -> tuple[Any, Any]:
        y = self._params.own["weight"][self.backend.asarray(x)]
        y = y.reshape(self.joined_shape(y.shape))
        return (y if timeline is None else clean(self.backend.xp, y, timeline, self.batch_first)), x

    def backward(self, tape: PointwiseTape, dy: Any = None, dstate: Any = None) -> tuple[None, None]:
        """Add to the gradient of the table; ids have no gradient, so dx is None."""
        dy = self._enter_dy(tape, dy, dstate)
        ids, backend, grads = tape.kept.reshape(-1), self.backend, self._grads.own
        places = np.flatnonzero(ids >= 0)
        if dy is None or places.size == 0:
            return None, None
        # y = weight[ids]: every place adds to the row it was read from, in one order on every run
        order = places[np.argsort(ids[places], kind="stable")]
        rows, tables = segment_sum.plan(ids, order)
        sums = segment_sum.add_up(backend.xp, dy.reshape(ids.size, -1), segment_sum.upload(backend.asarray, tables))
        with self._lock:
            grads["weight"][backend.asarray(rows)] += sums
        return None, None
