"""The encoder-attention-decoder model: from a sequence of tokens to another one.

    source ids -> embedding -> encoder, in both directions -> memory
    target ids -> embedding -> decoder -> attention over the memory -> tanh(weight [found; h]) -> logits

The order is Luong's (Luong, Pham, Manning 2015, section 3.1): the attention comes after the decoder's recurrence and
does not feed it.  So in training, where the right tokens are known, the decoder walks the whole target in one pass.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.cell import cells
from engine.checks import describe, integer, number, one_of, probability, switch
from engine.errors import bad_input
from engine.layers.attention import ATTENTION_KINDS
from engine.layers.base import Layer
from engine.layers.building import check_no_state
from engine.layers.searching import Search, Translation
from engine.layers.timeline import check_lengths
from engine.layers.translator_parts import TranslatorParts, TranslatorTape, join_directions, split_directions
from kernels.activations import activations

Array = Any  # of the model's backend
#: More beams, and more tokens of a sentence, are a slip: they take hours.
WIDEST, LONGEST = 1000, 10_000


class Translator(TranslatorParts):
    """Encoder, attention and decoder, after Luong, Pham and Manning (2015).

    ``forward((source, target), lengths=...)`` takes ids: the source (S, B) with its lengths, and the tokens (T, B)
    that the decoder is fed, the start token first.  Logits (T, B, V) of the token after each come back.  Tokens behind
    the end of a target change nothing before them: leave them out of the loss with a mask.

    Each direction of the encoder has H/2 units, so that the memory and the decoder's first state, which are the two
    directions side by side, have the H features of the decoder.

    Parameters
    ----------
    source_size, target_size : int
        The tokens of the two vocabularies.
    embedding_dim : int
        E, the width of the vectors of tokens, on both sides.
    hidden_size : int
        H, the units of the decoder; an even number.
    num_layers : int
        L, the layers of the encoder and of the decoder.
    cell : str
        ``"gru"`` or ``"lstm"``, or another of `engine.cells`.
    attention : str
        The kind of `engine.Attention`: ``"general"``, ``"dot"`` or ``"additive"``.
    dropout : float
        Probability of dropping a number of the tokens' vectors, of what stands before the logits, and between layers.
    start, end : int
        The ids that begin and end a target.
    unknown : int or None
        The id of unknown tokens; a translation never has it.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the random numbers for first weights and dropout masks; None means 0.

    Attributes
    ----------
    sampling : float
        Scheduled sampling (Bengio et al. 2015): the probability that in a training pass the decoder is fed its own
        likeliest token in place of the right one.  0 at first; it may be set at any time.

    Raises
    ------
    InputError, InputTypeError
        For an argument out of range, of a wrong type, or of a name that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> model = engine.Translator(9, 7, 4, 6, seed=1)
    >>> source, target = np.array([[3, 4], [5, 3], [6, 0]]), np.array([[1, 1], [4, 5]])
    >>> logits, _, tape = model.forward((source, target), lengths=[3, 2])
    >>> logits.shape, tape.tapes["attention"].weights.shape
    ((2, 2, 7), (2, 2, 3))
    >>> found = model.translate(source, [3, 2], beam=2, most=4)
    >>> len(found), all(len(translation.ids) <= 4 for translation in found)
    (2, True)
    """

    shaping = (
        "source_size", "target_size", "embedding_dim", "hidden_size", "num_layers", "cell", "attention", "dropout",
        "start", "end", "unknown",
    )  # fmt: skip
    always_shown = frozenset({"cell", "attention"})
    tape_type = TranslatorTape
    settings: ClassVar[dict[str, Any]] = Layer.settings | {"sampling": probability}

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        cell: str = "gru",
        attention: str = "general",
        dropout: float = 0.0,
        start: int = 1,
        end: int = 2,
        unknown: int | None = 0,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.source_size = integer("source_size", source_size, 1)
        self.target_size = integer("target_size", target_size, 2)
        self.embedding_dim = integer("embedding_dim", embedding_dim, 1)
        self.hidden_size = integer("hidden_size", hidden_size, 2)
        if self.hidden_size % 2:
            raise bad_input("hidden_size", "an even number", f"{hidden_size}", "each direction of the encoder has half")
        self.num_layers = integer("num_layers", num_layers, 1)
        self.cell = one_of("cell", cell, (name for name, known in cells().items() if not known.projected))
        self.attention, self.dropout = one_of("attention", attention, ATTENTION_KINDS), probability("dropout", dropout)
        self.start, self.end = self._id("start", start), self._id("end", end)
        self.unknown = None if unknown is None else self._id("unknown", unknown)
        if self.start == self.end:
            raise bad_input("end", "another id than that of start", describe(end))
        self.sampling = 0.0
        self._allocate()

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return "((S, B), (T, B))"

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.target_size

    # -- forward and backward ------------------------------------------------------------------------------------------

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, TranslatorTape]:
        """Run the encoder, and the decoder over tokens that are known.

        Parameters
        ----------
        x : tuple of two int arrays
            Ids of the source (S, B), and of the tokens that the decoder is fed (T, B), on the host.
        state : None
            The model carries no state from batch to batch.
        lengths : sequence of int or None
            (B,) valid tokens of each source; None means S for all.
        training : bool
            Whether to draw dropout masks, and tokens in scheduled sampling.

        Returns
        -------
        y : array (T, B, V)
            Logits of the token after each that was fed.
        state : None
            The model carries no state.
        tape : TranslatorTape
            What backward needs.

        Raises
        ------
        InputError, InputTypeError
            For what are no two arrays of ids, ids out of range, and lengths that do not fit.
        """
        check_no_state(state)
        source, target = self._pair(x)
        tapes: dict[str, Any] = {}
        memory, first = self._encode(source, lengths, tapes, switch("training", training))
        if training and self.sampling:
            target = self._sampled(target, memory, first, lengths)
        logits, combined, _ = self._decode(target, first, memory, lengths, tapes, training)
        return logits, None, TranslatorTape(tapes, combined, self._stamp())

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """The logits for tokens that are known, without dropout and tapes; `translate` finds the tokens itself."""
        check_no_state(state)
        source, target = self._pair(x)
        memory, first = self._encode(source, lengths)
        return self._decode(target, first, memory, lengths)[0], None

    def backward(self, tape: TranslatorTape, dy: Any = None, dstate: Any = None) -> tuple[None, None]:
        """Reverse `forward`: add to ``grads``; ids have no gradient, so there is none to return."""
        check_no_state(None, dstate)
        self.check_tape(tape)
        if dy is None:
            return None, None
        ds, _ = self._back(tape, "drop_output", self._back(tape, "output", dy)[0])  # logits = output(drop(s))
        do = ds * (1 - tape.combined * tape.combined)  # s = tanh(o)
        dfound_and_h, _ = self._back(tape, "combine", do)  # o = combine([found; h])
        dfound, dh = dfound_and_h[:, :, : self.hidden_size], dfound_and_h[:, :, self.hidden_size :]
        dquery, dmemory = self._back(tape, "attention", dfound)  # found = attention(h, memory)
        de, dfirst = self._back(tape, "decoder", dh + dquery)  # h, _ = decoder(e, first)
        self._back(tape, "target_embedding", self._back(tape, "drop_target", de)[0])  # e = drop(embedding(target))
        dlast = split_directions(self.backend.xp, dfirst)  # first = join_directions(last)
        de, _ = self._back(tape, "encoder", dmemory, dlast)  # memory, last = encoder(e)
        self._back(tape, "source_embedding", self._back(tape, "drop_source", de)[0])  # e = drop(embedding(source))
        return None, None

    def window(self, tape: TranslatorTape, start: int, stop: int) -> TranslatorTape:
        """Refused: the source is read as a whole, so no part of a pass stands alone."""
        hint = "it reads the whole source before the first token"
        raise bad_input("layer", "a layer that walks one sequence for truncated BPTT", "a Translator", hint)

    def _encode(self, source: Any, lengths: Any, tapes: Any = None, training: bool = False) -> tuple[Array, Any]:
        """The memory (S, B, H), and the state that the decoder starts from."""
        e, _ = self._run(tapes, training, "source_embedding", source, None, lengths)
        e, _ = self._run(tapes, training, "drop_source", e)
        memory, last = self._run(tapes, training, "encoder", e, None, lengths)
        return memory, join_directions(self.backend.xp, last)

    def _decode(
        self, target: Any, first: Any, memory: Array, lengths: Any, tapes: Any = None, training: bool = False
    ) -> tuple[Array, Array, Any]:
        """The logits (T, B, V), what they are made of (T, B, H), and the state after the last token."""
        e, _ = self._run(tapes, training, "target_embedding", target)
        e, _ = self._run(tapes, training, "drop_target", e)
        h, last = self._run(tapes, training, "decoder", e, first)
        found, _ = self._run(tapes, training, "attention", h, memory, lengths)
        o, _ = self._run(tapes, training, "combine", self.backend.xp.concatenate([found, h], axis=2))
        s = activations(self.backend.xp)["tanh"](o)  # Luong's equation 5
        dropped, _ = self._run(tapes, training, "drop_output", s)
        return self._run(tapes, training, "output", dropped)[0], s, last

    # -- its own tokens ------------------------------------------------------------------------------------------------

    def _sampled(self, target: np.ndarray, memory: Array, first: Any, lengths: Any) -> np.ndarray:
        """The target with some tokens replaced by the likeliest ones, found step by step.  Waits for the device."""
        (T, B), backend = target.shape, self.backend
        rows = range(self.row_offset, self.row_offset + B)
        key = (self.seed, self.path, "sampling", self._take_call(), range(T), rows, 1, self.sampling, self.dtype)
        own = backend.to_host(backend.dropout_mask(*key))[:, :, 0] == 0
        fed, state = target.copy(), first
        for t in range(1, T):
            logits, _, state = self._decode(fed[t - 1 : t], state, memory, lengths)
            fed[t] = np.where(own[t], backend.to_host(backend.xp.argmax(logits[0], axis=1)), fed[t])
        return fed

    def translate(
        self, source: Any, lengths: Any = None, *, beam: int = 1, most: int = 50, penalty: float = 1.0
    ) -> list[Translation]:
        """Find the tokens of each target: step by step, the likeliest ones.

        Parameters
        ----------
        source : array of int (S, B)
            Ids, on the host.
        lengths : sequence of int or None
            (B,) valid tokens of each source.
        beam : int
            How many candidates are kept; 1 takes the likeliest token at each step (greedy search).
        most : int
            Tokens after which a target ends at the latest.
        penalty : float
            Candidates are compared by log p / ((5 + n) / 6) ** penalty for n tokens (Wu et al. 2016, equation 14);
            with 0 short ones win.

        Returns
        -------
        list of Translation
            For each row the best target that was found.

        Raises
        ------
        InputError, InputTypeError
            For ids, lengths or options that are not as described.
        """
        ids = self._ids("source", source)
        for name, value, limit in (("beam", beam, WIDEST), ("most", most, LONGEST)):
            if integer(name, value, 1) > limit:
                raise bad_input(name, f"an integer in 1..{limit:,}", describe(value))
        penalty = number("penalty", penalty, below=100.0)
        memory, state = self._encode(ids, lengths)
        host = np.full(ids.shape[1], len(ids)) if lengths is None else check_lengths(lengths, *ids.shape)
        xp, never = self.backend.xp, [self.start, *([] if self.unknown is None else [self.unknown])]

        def step(tokens: np.ndarray, state: Any, rows: np.ndarray) -> tuple[np.ndarray, Any]:
            part = memory[:, self.backend.asarray(rows)]
            logits, _, state = self._decode(tokens[None], state, xp.ascontiguousarray(part), host[rows])
            return self.backend.to_host(logits[0]), state

        def take(state: Any, places: np.ndarray) -> Any:
            index = self.backend.asarray(places)
            return tuple(part[:, index] for part in state) if isinstance(state, tuple) else state[:, index]

        search = Search(step, take, self.start, self.end, never, most)
        return search.greedy(state, ids.shape[1]) if beam == 1 else search.beams(state, ids.shape[1], beam, penalty)
