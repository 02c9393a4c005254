"""Text from a trained character model, one character after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.checks import describe, instance, integer, number
from engine.data import Vocabulary
from engine.data.corpus import ByteVocabulary, WordVocabulary
from engine.errors import NonFiniteError, bad_input
from engine.layers import Sequential

#: Characters at a time: a thousand million take hours.
MOST = 10**9


def sample(
    model: Sequential,
    vocabulary: Any,
    length: int,
    *,
    prompt: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
) -> Iterator[str]:
    """Yield the text of `length` characters, bytes or words that follow the prompt.

    Parameters
    ----------
    prompt : the model reads it first, from a zero state.  If it is empty, the model starts after a newline, which is
        not part of the text (or after the first character of a vocabulary that has no newline).
    temperature : the logits are divided by it: below 1 the likely characters gain, above 1 the unlikely ones; 0 always
        takes the likeliest.
    top_k : draw among the k likeliest characters alone; 0 draws among all.
    seed : the same seed gives the same text.

    Raises
    ------
    InputError
        for a value out of range, or a prompt with a character that the vocabulary lacks.
    """
    instance("model", model, Sequential, "a character model", "load one with load_model")
    kinds = Vocabulary, ByteVocabulary, WordVocabulary
    instance("vocabulary", vocabulary, kinds, "a Vocabulary", "take that of the model's checkpoint")
    instance("prompt", prompt, str, "a string")
    length, top_k, seed = integer("length", length, 1), integer("top_k", top_k, 0), integer("seed", seed, 0)
    if length > MOST:
        raise bad_input("length", f"at most {MOST:,}", describe(length))
    temperature = number("temperature", temperature, hint="0 takes the likeliest character")
    ids = vocabulary.encode(prompt or vocabulary.start, "prompt")
    if not len(ids):
        raise bad_input("prompt", f"some {vocabulary.level}, or nothing at all", repr(prompt))
    return _draws(model, vocabulary, ids, length, temperature, top_k, np.random.PCG64(seed))


def _draws(
    model: Sequential,
    vocabulary: Any,
    ids: np.ndarray,
    length: int,
    temperature: float,
    top_k: int,
    source: np.random.PCG64,
) -> Iterator[str]:
    logits, state = model.predict(ids[:, None])
    stepper, spell = model.stepper(1, state), vocabulary.speller()
    for place in range(length):
        logits = logits[-1] if place == 0 else stepper(ids)  # (1, V)
        last = model.backend.to_host(logits)[0].astype(np.float64)  # what overflows is told below
        if len(last) != len(vocabulary):
            hint = "take the vocabulary of the model's checkpoint"
            raise bad_input("vocabulary", f"{len(last)} ids, as many as the model has", len(vocabulary), hint)
        if not np.isfinite(last).all():
            hint = "its weights are too large: use an earlier checkpoint, or train anew with a lower --lr"
            raise NonFiniteError(f"model: expected a finite output, got {last[~np.isfinite(last)][0]}; {hint}")
        ids = np.array([_choose(last, temperature, top_k, source)])
        yield spell(int(ids[0]))


def _choose(logits: np.ndarray, temperature: float, top_k: int, source: np.random.PCG64) -> int:
    """Draw one id from logits (V,) by inverting the cumulated probabilities."""
    if temperature == 0.0:
        return int(np.argmax(logits))
    # The largest logit is subtracted before the division: a small temperature cannot overflow.
    with np.errstate(over="ignore"):
        scaled = (logits - logits.max()) / temperature
    if 0 < top_k < len(scaled):
        # By rank, not by value: with equal logits, more than k could pass by value.
        scaled[np.argsort(-scaled, kind="stable")[top_k:]] = -np.inf
    cumulated = np.cumsum(np.exp(scaled))
    # The top 53 bits of a raw word: the raw words are the same in all NumPy versions, the generator's methods are not.
    uniform = (int(source.random_raw()) >> 11) / 2.0**53
    return min(int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right")), len(logits) - 1)
