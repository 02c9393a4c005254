"""The language task: predict the next character of a text; the state is carried through the whole text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend
from engine.data import Vocabulary, builtin_text, contiguous_batches, load_text, split
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


def read_text(files: tuple[str, ...], encoding: str | None = None) -> str:
    """The text of the files, or the built-in one if there are none."""
    return load_text(files, encoding=encoding) if files else builtin_text()


def name_of(files: tuple[str, ...]) -> str:
    """The name of the files' text in messages."""
    return ", ".join(files) or "the built-in text"


class LanguageModel(TaskKind):
    """Embedding, recurrent layers and a linear layer over a text; see `engine.training.task.Task`.

    The training part is read in ``config.batch`` lanes.  A step reads ``config.sequence`` characters of each, from the
    state that the step before it left; at the start of an epoch the state is zero.  Gradients stay within a step.
    """

    name, words = LANGUAGE, "predict the characters of a text"
    shared = LAYERS | {"files", "encoding", "embed", "sequence", "k2"}
    defaults: ClassVar[Mapping[str, Any]] = {"steps": 2000}
    out, needs_data, standard, reads_ids = "runs/text", False, True, True
    unit, position = "bits per character", "characters"

    def __init__(self, config: TrainConfig, backend: Backend, described: Mapping[str, Any] | None = None) -> None:
        text = read_text(config.files, config.encoding)
        self.fingerprint = fingerprint(text)
        if described:
            self.vocabulary = Vocabulary.from_json(described["vocabulary"])
        else:
            before = described_before(config)  # a vocabulary that grows keeps what it knew
            known = Vocabulary.from_json(before["vocabulary"]).characters if before else ""
            self.vocabulary = Vocabulary(known + text)
        source = name_of(config.files)
        train, self.validation_ids = split(self.vocabulary.encode(text, source), config.validation, source)
        if 0 < config.k2 < config.sequence:
            hint = "fewer would leave the first losses of a step uncounted"
            raise bad_input("k2", f"0, or at least the sequence of {config.sequence}", str(config.k2), hint)
        self._steps, self._k2 = config.sequence, config.k2 or config.sequence
        need = config.batch * config.sequence + 1
        if len(train) < need or len(self.validation_ids) < 2:
            expected = f"at least {need:,} characters to train on (--batch * --sequence + 1) and 2 to validate on"
            got = f"{len(train):,} and {len(self.validation_ids):,}"
            raise bad_data(source, expected, got, "give more text, or lower --batch or --sequence")
        self._batches = contiguous_batches(train, config.batch, config.sequence)
        self.batches = len(self._batches)
        size = len(self.vocabulary)
        self.model = build_model(config, backend, size, size, config.batch * self._k2)
        size_of_text = f"{len(text):,} characters" if config.files else source
        shape = f"{config.layers} × {config.hidden}" if config.layers > 1 else f"{config.hidden}"
        self.title = f"{config.cell.upper()} {shape} on {size_of_text}"

    @classmethod
    def complete(cls, given: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
        """Nothing follows; an encoding is that of files."""
        if "encoding" in given and not given.get("files"):
            hint = f"name {label('files')}, or leave {label('encoding')} out"
            raise bad_input(label("encoding"), "files that are written in it", "the built-in text", hint)
        return {}

    @classmethod
    def check_described(cls, config: TrainConfig, described: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """The vocabulary has as many characters as the model has outputs."""
        outputs = model["args"]["layers"][-1]["args"]["out_features"]
        size = len(Vocabulary.from_json(described.get("vocabulary", {})))
        if size != outputs:
            raise bad_input("vocabulary", f"a vocabulary of the model's {outputs:,} characters", f"{size:,}")

    @classmethod
    def tables(cls, described: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Sequence[str]]:
        """The embedding and the output layer have a row for each character."""
        last = len(model["args"]["layers"]) - 1
        characters = Vocabulary.from_json(described["vocabulary"]).characters
        return dict.fromkeys(("0.weight", f"{last}.weight", f"{last}.bias"), characters)

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
        """Bits per character."""
        return "bpc", loss / math.log(2.0)

    def describe(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": self.vocabulary.to_json()}

    def results(self, directory: Path, finished: bool, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Whether the model is better than guessing."""
        found = [record["bpc"] for record in records if record["kind"] == "validation"]
        return language_verdict(min(found), records, len(self.vocabulary)) if found else {}

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
        vocabulary = Vocabulary.from_json(checkpoint.meta["task"]["vocabulary"])
        files = tuple(sources)
        text = read_text(files or config.files, config.encoding)
        source = ", ".join(files) or "the validation part"
        if not files:
            if fingerprint(text) != checkpoint.meta["data"]:
                expected = f"the text that {checkpoint.path} was trained on"
                raise bad_data(name_of(config.files), expected, "another", "name the files to measure on")
            text = split(text, config.validation)[1]
        if len(text) < 2:
            raise bad_data(source, "at least 2 characters", len(text), "give more text")
        ids = vocabulary.encode(text, source)
        loss = mean_loss(load_model(checkpoint, backend), ids)
        bpc = loss / math.log(2)
        if not math.isfinite(bpc):
            hint = "use an earlier checkpoint, or train anew with a lower --lr"
            raise NonFiniteError(
                f"{checkpoint.path}: expected a finite loss, got {loss}: the weights are too large; {hint}"
            )
        return {
            "text": source,
            "characters": len(ids) - 1,
            "loss": loss,
            "bpc": bpc,
            "perplexity": math.exp(min(loss, 700.0)),
            **beside_guessing(bpc, len(vocabulary)),
        }


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
