"""The language task: predict the next character of a text; the state is carried through the whole text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.data import Vocabulary, builtin_text, contiguous_batches, load_text, split
from engine.data.corpus import TokenStore, open_tokens, vocabulary_from_json
from engine.data.data_checks import bad_data
from engine.errors import NonFiniteError, bad_input
from engine.layers.base import Layer
from engine.losses import cross_entropy
from engine.tasks.verdict import beside_guessing, language_verdict
from engine.training.architecture import build_model
from engine.training.checkpoint import Checkpoint, problem
from engine.training.config import LANGUAGE, LAYERS, TrainConfig
from engine.training.fine_tuning import described_before
from engine.training.kinds import TaskKind
from engine.training.task import Batch, Validation, fingerprint, load_model

#: The validation text is read in this many lanes side by side, each from a zero state; in this many steps at a time.
#: More lanes are faster, and each costs the context of its first few characters.
LANES, CHUNK = 32, 256
#: The most tokens of a prepared corpus that are held out: more would not make the figure surer, only validation longer.
HELD_OUT = 1 << 18
#: The figure by what a token is, and what it counts.
FIGURES = {"characters": ("bpc", "character"), "bytes": ("bpb", "byte"), "words": ("bpw", "word")}


def read_text(files: tuple[str, ...], encoding: str | None = None) -> str:
    """The text of the files, or the built-in one if there are none."""
    return load_text(files, encoding=encoding) if files else builtin_text()


def name_of(files: tuple[str, ...]) -> str:
    """The name of the files' text in messages."""
    return ", ".join(files) or "the built-in text"


class LanguageModel(TaskKind):
    """Embedding, recurrent layers and a linear layer over a text; see `engine.training.task.Task`.

    The text comes from files that are read whole, or from a prepared corpus (``config.data``), of which each step reads
    its own batch: its tokens may be characters, bytes or words.

    The training part is read in ``config.batch`` lanes.  A step reads ``config.sequence`` characters of each, from the
    state that the step before it left; at the start of an epoch the state is zero.  Gradients stay within a step.
    """

    name, words = LANGUAGE, "predict the characters of a text"
    shared = LAYERS | {"files", "data", "encoding", "embed", "sequence", "k2"}
    reads = "a folder that 'bptt prepare' wrote"
    defaults: ClassVar[Mapping[str, Any]] = {"steps": 2000}
    out, needs_data, standard, reads_ids = "runs/text", False, True, True
    unit, position = "bits per character", "characters"

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        self.vocabulary: Any
        train: Any
        if config.data:
            source = config.data
            store = open_tokens(config.data)
            self.fingerprint, self.vocabulary = store.fingerprint, store.vocabulary
            train, held_out = store.split(config.validation, HELD_OUT)
            self.validation_ids, count = held_out.read(0, len(held_out)), len(store)
        else:
            source, text = name_of(config.files), read_text(config.files, config.encoding)
            self.fingerprint, count = fingerprint(text), len(text)
            self.vocabulary = _vocabulary(config, text, described)
            train, self.validation_ids = split(self.vocabulary.encode(text, source), config.validation, source)
        if 0 < config.k2 < config.sequence:
            hint = "fewer would leave the first losses of a step uncounted"
            raise bad_input("k2", f"0, or at least the sequence of {config.sequence}", str(config.k2), hint)
        self._steps, self._k2 = config.sequence, config.k2 or config.sequence
        self.position = self.vocabulary.level
        self._figure, token = FIGURES[self.position]
        self.unit = f"bits per {token}"
        need = config.batch * config.sequence + 1
        if len(train) < need or len(self.validation_ids) < 2:
            expected = f"at least {need:,} {self.position} to train on (--batch * --sequence + 1) and 2 to validate on"
            got = f"{len(train):,} and {len(self.validation_ids):,}"
            raise bad_data(source, expected, got, "give more text, or lower --batch or --sequence")
        self.config, self._count = config, count
        self._batches = contiguous_batches(train, config.batch, config.sequence)
        self.batches = len(self._batches)
        size = len(self.vocabulary)
        self.model = build_model(config, backend, size, size, config.batch * self._k2)
        size_of_text = f"{count:,} {self.position}" if config.files or config.data else source
        shape = f"{config.layers} × {config.hidden}" if config.layers > 1 else f"{config.hidden}"
        self.title = f"{config.cell.upper()} {shape} on {size_of_text}"

    @classmethod
    def complete(cls, given: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
        """Nothing follows; an encoding is that of files, and files are not beside a corpus."""
        if given.get("data") == "":
            raise bad_input(label("data"), cls.reads, "an empty name", f"leave {label('data')} out")
        if given.get("files") and given.get("data"):
            got, hint = "both", f"prepare the files too, or leave {label('data')} out"
            raise bad_input(label("data"), f"no files beside it, as {label('files')} are", got, hint)
        if "encoding" in given and not given.get("files"):
            hint = f"name {label('files')}, or leave {label('encoding')} out"
            raise bad_input(label("encoding"), "files that are written in it", "the built-in text", hint)
        return {}

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """The vocabulary has as many characters as the model has outputs."""
        outputs = model["args"]["layers"][-1]["args"]["out_features"]
        vocabulary = vocabulary_from_json(described.get("vocabulary", {}))
        size = len(vocabulary)
        if size != outputs:
            raise bad_input("vocabulary", f"a vocabulary of the model's {outputs:,} {vocabulary.level}", f"{size:,}")

    @classmethod
    def tables(cls, described: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Sequence[str]]:
        """The embedding and the output layer have a row for each character."""
        last = len(model["args"]["layers"]) - 1
        entries = vocabulary_from_json(described["vocabulary"]).entries()
        return dict.fromkeys(("0.weight", f"{last}.weight", f"{last}.bias"), entries)

    def batch(self, step: int) -> Batch:
        """Character ids (k2, B), and those that follow the newest T of them; fewer at the start of an epoch."""
        number = step % self.batches
        if self._k2 == self._steps:
            return Batch(*self._batches.batch(number))
        begin, after = (max(0, (number + one) * self._steps - self._k2) for one in (1, 2))
        chunks = [self._batches.batch(n) for n in range(begin // self._steps, number + 1)]
        x = np.concatenate([chunk.inputs for chunk in chunks])[begin % self._steps :]
        return Batch(x, chunks[-1].targets, carry=after - begin)

    def loss(self, y: Any, batch: Batch) -> tuple[Any, Any, int]:
        """Cross-entropy of the logits (T, B, V) in nats; the steps before the newest T have no loss."""
        early = len(y) - len(batch.targets)
        loss, dy = cross_entropy(y[early:], batch.targets)
        if early:
            whole = self.model.backend.xp.zeros_like(y)
            whole[early:] = dy
            dy = whole
        return loss, dy, batch.targets.size

    def carried(self, step: int, state: Any) -> Any:
        """The state goes on from batch to batch and starts from zeros in every epoch."""
        return state if step % self.batches else None

    def validate(self) -> Validation:
        """Mean cross-entropy in nats over the whole validation part."""
        return Validation(mean_loss(self.model, self.validation_ids))

    def figure(self, loss: float) -> tuple[str, float]:
        """Bits per character, byte or word."""
        return self._figure, loss / math.log(2.0)

    def describe(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": self.vocabulary.to_json()}

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Whether the model is better than guessing."""
        found = [record[self._figure] for record in records if record["kind"] == "validation"]
        about = len(self.vocabulary), self._figure, self.position
        return language_verdict(min(found), records, *about) if found else {}

    def notes(self) -> list[str]:
        """How much is held out of a corpus."""
        if not self.config.data:
            return []
        held_out = f"{len(self.validation_ids):,} {self.position} at the end are held out to validate on"
        return [f"{self.config.data}: {self._count:,} {self.position}, {len(self.vocabulary):,} different; {held_out}"]

    @classmethod
    def predict(cls, checkpoint: Checkpoint, *_: Any) -> dict[str, Any]:
        """Refused: a character model writes, and says nothing of new data."""
        hint = "let it write with 'bptt sample', or measure it with 'bptt evaluate'"
        raise problem(checkpoint.path, "the model of a task that predicts", f"one of the task {cls.name!r}", hint)

    @classmethod
    def evaluate(
        cls, checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], backend: Backend
    ) -> dict[str, Any]:
        """Bits per character and perplexity of the validation part, or of all of the files."""
        vocabulary = vocabulary_from_json(checkpoint.meta["task"]["vocabulary"])
        figure, _ = FIGURES[vocabulary.level]
        source = ", ".join(sources) or "the validation part"
        ids = _measured(checkpoint, config, sources, vocabulary, source)
        if len(ids) < 2:
            raise bad_data(source, f"at least 2 {vocabulary.level}", len(ids), "give more text")
        loss = mean_loss(load_model(checkpoint, backend), ids)
        bpc = loss / math.log(2)
        if not math.isfinite(bpc):
            hint = "use an earlier checkpoint, or train anew with a lower --lr"
            raise NonFiniteError(
                f"{checkpoint.path}: expected a finite loss, got {loss}: the weights are too large; {hint}"
            )
        return {
            "text": source,
            vocabulary.level: len(ids) - 1,
            "loss": loss,
            figure: bpc,
            "perplexity": math.exp(min(loss, 700.0)),
            **beside_guessing(bpc, len(vocabulary)),
        }


def _vocabulary(config: TrainConfig, text: str, described: Mapping[str, Any] | None) -> Any:
    """The vocabulary of a text: that of a checkpoint; or its characters, and those that the model of before knew."""
    if described:
        return vocabulary_from_json(described["vocabulary"])
    before = described_before(config)
    known = vocabulary_from_json(before["vocabulary"]) if before else None
    if known is not None and not isinstance(known, Vocabulary):
        hint = "prepare the text in the same way, and name it with data"
        raise bad_input("from_run", "a model of characters, to go on with a text", f"one of {known.level}", hint)
    return Vocabulary(text if known is None else known.characters + text)


def _measured(
    checkpoint: Checkpoint, config: TrainConfig, sources: Sequence[str], vocabulary: Any, source: str
) -> np.ndarray:
    """The ids to measure a trained model on: of other files, or of the part of its own text that was held out."""
    expected, hint = f"the text that {checkpoint.path} was trained on", "name the files to measure on"
    if config.data and not sources:
        store = open_tokens(config.data)
        if store.fingerprint != checkpoint.meta["data"]:
            raise bad_data(config.data, expected, "another", hint)
        held_out: TokenStore = store.split(config.validation, HELD_OUT)[1]
        return held_out.read(0, len(held_out))
    text = read_text(tuple(sources) or config.files, config.encoding)
    if not sources:
        if fingerprint(text) != checkpoint.meta["data"]:
            raise bad_data(name_of(config.files), expected, "another", hint)
        text = split(text, config.validation)[1]
    found: np.ndarray = vocabulary.encode(text, source)
    return found


def mean_loss(model: Layer, ids: np.ndarray, lanes: int = LANES) -> float:
    """Mean cross-entropy in nats over all of ``ids[1:]``, without dropout.

    The stream is cut into `lanes` equal lanes, the last one perhaps shorter; each starts from a zero state and carries
    it on to its end.  Every id but the first is a target exactly once.

    Parameters
    ----------
    ids : integers (n,) on the host, n >= 2.
    """
    xp = model.backend.xp
    targets = len(ids) - 1
    length = -(-targets // min(lanes, targets))
    rows = -(-targets // length)
    pad = rows * length - targets
    inputs = np.pad(ids[:-1], (0, pad)).reshape(rows, length).T  # (length, rows); the pads end the last lane
    wanted = np.pad(ids[1:], (0, pad)).reshape(rows, length).T
    valid = (np.arange(rows * length) < targets).reshape(rows, length).T
    total, state = xp.zeros((), dtype=np.float64), None
    with np.errstate(all="ignore"):  # the non-finite loss is message enough
        for start in range(0, length, CHUNK):
            part = slice(start, start + CHUNK)
            logits, state = model.predict(np.ascontiguousarray(inputs[part]), state)
            # The same normaliser for every chunk: the parts add up to the mean over all positions (rule 13).
            chunk, mask = np.ascontiguousarray(wanted[part]), valid[part].copy()
            loss, _ = cross_entropy(logits, chunk, mask=mask, normalizer=targets)
            total += loss
    return float(model.backend.to_host(total))
