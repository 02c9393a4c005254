"""Corpora larger than memory: text becomes a file of token ids once, and training reads it by position."""

from engine.data.corpus.coding import ByteVocabulary, WordVocabulary, vocabulary_from_json
from engine.data.corpus.preparing import LEVELS, Prepared, prepare_tokens
from engine.data.corpus.store import TokenStore, open_tokens
from engine.data.corpus.writer import TokenWriter

__all__ = [
    "LEVELS",
    "ByteVocabulary",
    "Prepared",
    "TokenStore",
    "TokenWriter",
    "WordVocabulary",
    "open_tokens",
    "prepare_tokens",
    "vocabulary_from_json",
]
