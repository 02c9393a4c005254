"""Attention: each query looks at a memory, and gets the mean of its steps by weights that its scores give.

The layer of the encoder-decoder models: a decoder's state asks, the encoder's outputs are the memory.  Three ways to
score a step of the memory: additive (Bahdanau et al. 2014), dot and general (Luong et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.backend import Backend, philox
from engine.checks import describe, integer, one_of, switch
from engine.errors import bad_input
from engine.layers.attention_scores import attend, rows, valid_of
from engine.layers.base import Layer
from engine.layers.showing import Tape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline

Array = Any  # of the layer's backend
ATTENTION_KINDS = ("additive", "dot", "general")


@dataclass(frozen=True, repr=False)
class AttentionTape(Tape):
    """What forward leaves for backward.

    Attributes
    ----------
    queries : array (B, T, Hq)
        x as a copy, rows first.
    memory : array (B, S, Hm)
        The memory as a copy, rows first, pads 0.
    inner : array or None
        ``"additive"``: tanh of the sums (B, T, S, A).  ``"general"``: the queries times the weight (B, T, Hm).
    weights : array (T, B, S)
        How much each query looks at each step of the memory: not negative, 0 at pads; they sum to 1, and to 0 in a row
        whose memory has no valid step.
    timeline : Timeline
        The valid steps of the memory.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    queries: Any
    memory: Any
    inner: Any
    weights: Any
    timeline: Timeline
    stamp: tuple[int, int]


class Attention(Layer):
    """Attention over a memory: y_t = sum_s a_ts m_s with a_t = softmax over s of score(q_t, m_s).

    The memory takes the place of a state: ``forward(queries, memory, lengths)``, where ``lengths`` are those of the
    memory.  It is read and handed on as it is, pads 0; its gradient is the dstate that backward returns.  So the layer
    stands alone in `engine.gradcheck`, and inside a model between an encoder and a decoder.

    The scores, with the names of the parameters:

    - ``"additive"``: weight_score . tanh(weight_query q + weight_memory m), of `hidden_size` numbers (Bahdanau, Cho,
      Bengio 2014, arXiv:1409.0473, section A.1.2)
    - ``"dot"``: q . m (Luong, Pham, Manning 2015, arXiv:1508.04025, equation 8), without parameters
    - ``"general"``: q . (weight m) (the same equation)

    Parameters
    ----------
    kind : str
        ``"additive"``, ``"dot"`` or ``"general"``.
    query_size : int
        Hq, the features of a query.
    memory_size : int or None
        Hm, the features of a step of the memory; None means Hq.  ``"dot"`` needs Hm = Hq.
    hidden_size : int or None
        A, the numbers that ``"additive"`` adds up; None means Hq.  The others have none.
    batch_first : bool
        Whether queries, memory and y are (B, T, ...) instead of (T, B, ...); here the memory too.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights; None means 0.

    Raises
    ------
    InputError, InputTypeError
        For a kind that does not exist, a size out of range, and sizes that do not fit the kind.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> attention = engine.Attention("dot", 2)
    >>> memory = np.array([[[9, 0]], [[0, 9]], [[9, 9]]], np.float32)  # 3 steps of 1 row, the last one a pad
    >>> queries = np.array([[[1, 0]], [[0, 1]], [[0, 0]]], np.float32)
    >>> y, memory_out, tape = attention.forward(queries, memory, lengths=[2])
    >>> tape.weights[:, 0].round(3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    >>> y[:, 0].round(1).tolist()
    [[9.0, 0.0], [0.0, 9.0], [4.5, 4.5]]
    >>> dqueries, dmemory = attention.backward(tape, np.ones_like(y))
    >>> dqueries.shape, dmemory.shape
    ((3, 1, 2), (3, 1, 2))
    """

    shaping = ("kind", "query_size", "memory_size", "hidden_size", "batch_first")
    tape_type = AttentionTape

    def __init__(
        self,
        kind: str,
        query_size: int,
        memory_size: int | None = None,
        hidden_size: int | None = None,
        *,
        batch_first: bool = False,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.kind = one_of("kind", kind, ATTENTION_KINDS)
        self.query_size = integer("query_size", query_size, 1)
        self.memory_size = self.query_size if memory_size is None else integer("memory_size", memory_size, 1)
        if kind == "dot" and self.memory_size != self.query_size:
            hint = 'a dot product needs vectors of one size; take "general"'
            raise bad_input("memory_size", f"query_size = {query_size} for kind 'dot'", f"{memory_size}", hint)
        if kind != "additive" and hidden_size is not None:
            raise bad_input("hidden_size", f"None for kind {kind!r}", describe(hidden_size), "only 'additive' has it")
        hidden = self.query_size if hidden_size is None else integer("hidden_size", hidden_size, 1)
        self.hidden_size = hidden if kind == "additive" else None
        self.batch_first = switch("batch_first", batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if self.kind == "dot":
            return {}
        if self.kind == "general":
            return {"weight": (self.query_size, self.memory_size)}
        A = self.hidden_size or 0
        return {"weight_query": (A, self.query_size), "weight_memory": (A, self.memory_size), "weight_score": (A,)}

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        bound = 1.0 / math.sqrt(shape[-1])
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound, self.dtype)

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return f"(B, T, {self.query_size})" if self.batch_first else f"(T, B, {self.query_size})"

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.memory_size

    # -- forward and backward ------------------------------------------------------------------------------------------

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, Any, AttentionTape]:
        """Let every query look at the memory.

        Parameters
        ----------
        x : array (T, B, Hq)
            The queries.
        state : array (S, B, Hm)
            The memory, such as the outputs of an encoder.
        lengths : sequence of int or None
            (B,) valid steps of each row's memory, on the host; None means S for all.
        training : bool
            Makes no difference here.

        Returns
        -------
        y : array (T, B, Hm)
            What each query found: the mean of the memory's steps by its weights; zeros for a memory of no valid step.
        state : array (S, B, Hm)
            The memory, pads 0.
        tape : AttentionTape
            What backward needs; ``tape.weights`` (T, B, S) are what a picture shows.

        Raises
        ------
        InputError, InputTypeError
            For a wrong shape, dtype, library or length, and for no memory.
        """
        switch("training", training)
        queries, memory, timeline = self._enter(x, state, lengths)
        y, weights, inner = attend(self, self._params.own, queries, memory, valid_of(self, timeline))
        tape = AttentionTape(queries, memory, inner, weights.swapaxes(0, 1), timeline, self._stamp())
        return self._leave(y), self._leave(self.backend.xp.copy(memory)), tape

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Let every query look at the memory, without a tape."""
        queries, memory, timeline = self._enter(x, state, lengths)
        y = attend(self, self._params.own, queries, memory, valid_of(self, timeline))[0]
        return self._leave(y), self._leave(memory)

    def backward(self, tape: AttentionTape, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """Reverse `forward`: add to ``grads``, return the gradients of the queries and of the memory.

        Parameters
        ----------
        tape : AttentionTape
            What forward returned; it is only read.
        dy : array (T, B, Hm) or None
            Gradient of y; None means zeros.
        dstate : array (S, B, Hm) or None
            Gradient of the memory that forward handed on; None means zeros.

        Returns
        -------
        dx : array (T, B, Hq)
            Gradient of the queries.
        dstate : array (S, B, Hm)
            Gradient of the memory, 0 at pads.
        """
        self.check_tape(tape)
        q, m, a, xp = tape.queries, tape.memory, tape.weights.swapaxes(0, 1), self.backend.xp
        (B, T, _), S = q.shape, m.shape[1]
        dy = self._enter_gradient("dy", dy, (T, B, self.memory_size))
        dm = self._enter_gradient("dstate", dstate, (S, B, self.memory_size))
        dm = xp.zeros_like(m) if dm is None else dm
        dq = xp.zeros_like(q)
        if dy is not None and min(B, T, S) > 0:
            dm = dm + a.swapaxes(1, 2) @ dy  # y_t = sum_s a_ts m_s
            da = dy @ m.swapaxes(1, 2)  # y_t = sum_s a_ts m_s
            de = a * (da - (a * da).sum(axis=2)[:, :, None])  # a_t = softmax(e_t) over s
            dq, through_scores = self._scores_backward(tape, de)
            dm = dm + through_scores
        return self._leave(dq), self._leave(tape.timeline.clean(dm.swapaxes(0, 1)).swapaxes(0, 1))  # m = clean(memory)

    def _scores_backward(self, tape: AttentionTape, de: Array) -> tuple[Array, Array]:
        """Gradients of the queries and of the memory from that of the scores (B, T, S); adds to ``grads``."""
        q, m, w = tape.queries, tape.memory, self._params.own
        if self.kind == "dot":
            return de @ m, de.swapaxes(1, 2) @ q  # e_ts = q_t . m_s
        if self.kind == "general":
            p, weight = tape.inner, w["weight"]
            dp, dm = de @ m, de.swapaxes(1, 2) @ p  # e_ts = p_t . m_s
            self._add("weight", self._product(rows(q).T, rows(dp)))  # p_t = q_t W
            return self._product(rows(dp), weight.T).reshape(q.shape), dm  # p_t = q_t W
        act, v = tape.inner, w["weight_score"]
        self._add("weight_score", self._product(de.reshape(1, -1), rows(act))[0])  # e_ts = act_ts . v
        dz = de[..., None] * v * (1 - act * act)  # e_ts = act_ts . v;  act_ts = tanh(z_ts)
        from_query, from_memory = dz.sum(axis=2), dz.sum(axis=1)  # z_ts = Wq q_t + Wm m_s
        self._add("weight_query", self._product(rows(from_query).T, rows(q)))  # z_ts = Wq q_t + Wm m_s
        self._add("weight_memory", self._product(rows(from_memory).T, rows(m)))  # z_ts = Wq q_t + Wm m_s
        dq = self._product(rows(from_query), w["weight_query"]).reshape(q.shape)  # z_ts = Wq q_t + Wm m_s
        return dq, self._product(rows(from_memory), w["weight_memory"]).reshape(m.shape)  # z_ts = Wq q_t + Wm m_s

    def _step(self, batch: int, state: Any) -> steps.Step:
        raise steps.refusal(self, "its queries look at a memory of many steps")

    def window(self, tape: AttentionTape, start: int, stop: int) -> AttentionTape:
        """The queries ``start <= t < stop`` of a tape, for truncated BPTT; the memory stays whole."""
        self.check_kind(tape)
        steps, batch, _ = tape.weights.shape
        self.check_window((batch, steps) if self.batch_first else (steps, batch), start, stop)
        inner = None if tape.inner is None else tape.inner[:, start:stop]
        return replace(tape, queries=tape.queries[:, start:stop], inner=inner, weights=tape.weights[start:stop])

    # -- arguments -----------------------------------------------------------------------------------------------------

    def _enter(self, x: Any, state: Any, lengths: Any) -> tuple[Array, Array, Timeline]:
        """Queries and memory as copies, rows first, the memory's pads 0."""
        lead = "(B, T, Hq)" if self.batch_first else "(T, B, Hq)"
        self.backend.require("x", x, dtype=self.dtype, shape=(None, None, self.query_size), axes=lead)
        axes = "(B, S, Hm)" if self.batch_first else "(S, B, Hm)"
        if state is None:
            raise bad_input("state", f"the memory, an array {axes}", "None", "pass the outputs of the encoder")
        batch = int(x.shape[0 if self.batch_first else 1])
        shape = (batch, None) if self.batch_first else (None, batch)
        self.backend.require("state", state, dtype=self.dtype, shape=(*shape, self.memory_size), axes=axes)
        xp, memory = self.backend.xp, state.swapaxes(0, 1) if self.batch_first else state
        timeline = Timeline(self.backend, int(memory.shape[0]), batch, lengths)
        queries = x if self.batch_first else x.swapaxes(0, 1)
        return xp.copy(queries), timeline.clean(memory).swapaxes(0, 1), timeline

    def _enter_gradient(self, name: str, value: Any, shape: tuple[int, ...]) -> Array:
        """A gradient rows first; None stays None."""
        if value is None:
            return None
        shape = (shape[1], shape[0], shape[2]) if self.batch_first else shape
        self.backend.require(name, value, dtype=self.dtype, shape=shape, axes="that of what forward returned")
        return value if self.batch_first else value.swapaxes(0, 1)

    def _leave(self, values: Array) -> Array:
        """(B, T, H) in the layer's layout."""
        return values if self.batch_first else self.backend.xp.ascontiguousarray(values.swapaxes(0, 1))

    def _product(self, a: Array, b: Array) -> Array:
        return self.backend.kernels.matmul(a, b)

    def _add(self, name: str, gradient: Array) -> None:
        with self._lock:
            self._grads.own[name] += gradient
