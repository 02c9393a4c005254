"""Batches: contiguous lanes of one long stream, seeded orders, and sequences of unequal length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, integer, number, require_room, switch
from engine.data.corpus.store import TokenStore
from engine.data.data_checks import require_ids
from engine.errors import InputError, bad_input, bad_type
from engine.plain_arrays import dtype_in_words, numbers, refuse_own_rules


class TextBatch(NamedTuple):
    """One chunk of every lane; `targets[t, b]` is the id that follows `inputs[t, b]` in the stream."""

    inputs: NDArray[np.int32]  # (T, B)
    targets: NDArray[np.int32]  # (T, B)


class ContiguousBatches:
    """A stream of ids cut into `batch_size` lanes that are read side by side, chunk by chunk.

    Lane b holds the inputs `ids[b*L : (b+1)*L]` and the targets `ids[b*L+1 : (b+1)*L+1]`, with
    `L = (n - 1) // batch_size`. Batch k+1 continues batch k in every lane, so the hidden state carries over; it starts
    from zeros at batch 0. The last input of a lane predicts the first character of the next one, so each id is a target
    exactly once. Exceptions are the very first id, which has none before it, and the last `dropped < batch_size` ids,
    which do not fill the lanes evenly (none with `batch_size=1`). The last chunk is shorter if L is no multiple of
    `steps`.

    A batch depends on its number alone: a run that is resumed at batch k gets the same batch as without the break.

    Parameters
    ----------
    ids : integer array (n,) or TokenStore
        The encoded stream, on the host. int32 is kept as it is, without a copy; the caller must not change it. Of a
        prepared corpus (`engine.open_tokens`) each batch is read from its file.
    batch_size : int
        The number of lanes, B.
    steps : int
        The length of a chunk, T.
    allow_short : bool
        Take a stream that is shorter than one full chunk in every lane, as long as each lane gets one step.

    Raises
    ------
    InputError
        The stream is too short; the message says which sizes would work.
    """

    def __init__(self, ids: Any, batch_size: int, steps: int, *, allow_short: bool = False) -> None:
        stream: Any = ids if isinstance(ids, TokenStore) else require_ids("ids", ids)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.steps = integer("steps", steps, 1)
        switch("allow_short", allow_short)
        if not isinstance(stream, TokenStore):
            if stream.dtype != np.int32 and stream.size and int(stream.max()) > np.iinfo(np.int32).max:
                raise bad_input("ids", "ids that fit in int32", int(stream.max()), "check the vocabulary")
            stream = stream.astype(np.int32, copy=False)
        self._ids: TokenStore | NDArray[np.int32] = stream
        pairs = max(0, len(self._ids) - 1)
        self.lane_length = pairs // self.batch_size
        self.dropped = pairs % self.batch_size
        if self.lane_length < (1 if allow_short else self.steps):
            raise self._too_short(len(self._ids), allow_short)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.lane_length // self.steps)

    def __iter__(self) -> Iterator[TextBatch]:
        return (self.batch(index) for index in range(len(self)))

    @property
    def tokens(self) -> int:
        """The number of targets in all batches together."""
        return self.lane_length * self.batch_size

    def batch(self, index: int) -> TextBatch:
        """Return batch `index`, 0 .. len(self) - 1: fresh arrays (T, B), T = `steps` except perhaps in the last."""
        number = integer("index", index, 0)
        if number >= len(self):
            expected = f"a batch number in 0..{len(self) - 1}"
            raise bad_input("index", expected, describe(number), "start over at 0 after the last")
        start = number * self.steps
        stop = min(start + self.steps, self.lane_length)
        # The ids of a lane from `start` on, and the one behind them: targets are inputs one step later.
        lanes = [self._read(lane * self.lane_length + start, stop - start + 1) for lane in range(self.batch_size)]
        ids = np.stack(lanes, axis=1)  # (T + 1, B)
        return TextBatch(ids[:-1].copy(), ids[1:].copy())

    def _read(self, start: int, count: int) -> NDArray[np.int32]:
        """Ids of the stream, by their place alone."""
        ids = self._ids
        return ids.read(start, start + count) if isinstance(ids, TokenStore) else ids[start : start + count]

    def _too_short(self, size: int, allow_short: bool) -> InputError:
        steps = 1 if allow_short else self.steps
        need = f"batch_size{'' if allow_short else ' * steps'} + 1"
        expected = f"at least {need} = {describe(self.batch_size * steps + 1)} ids"
        if size < 2:
            return bad_input("ids", expected, size, "give more text (2 ids are the least that hold one prediction)")
        options = ["give more text"]
        if size > steps:
            options.append(f"lower batch_size to {(size - 1) // steps} or less")
        if not allow_short and size > self.batch_size:
            options.append(f"lower steps to {(size - 1) // self.batch_size} or less")
        if len(options) == 1:
            options.append(f"lower both (batch_size 1 allows steps up to {size - 1})")
        return bad_input("ids", expected, size, ", or ".join(options))


def contiguous_batches(ids: Any, batch_size: int, steps: int, *, allow_short: bool = False) -> ContiguousBatches:
    """Return the `ContiguousBatches` of a stream: inputs and targets (T, B), state carried from batch to batch."""
    return ContiguousBatches(ids, batch_size, steps, allow_short=allow_short)


def shuffled_order(count: int, seed: int, epoch: int, purpose: int = 0) -> NDArray[np.int64]:
    """Return a permutation (count,) that is a pure function of its arguments.

    It ranks raw words of NumPy's PCG64. That stream is the same in all NumPy versions; `Generator.permutation` is not.
    `purpose` gives independent orders for different things in one epoch.
    """
    number = integer("count", count, 0)
    require_room("count", "an order", 24 * number, f"{number:,} numbers")
    key = (integer("epoch", epoch, 0), integer("purpose", purpose, 0))
    source = np.random.SeedSequence(integer("seed", seed, 0), spawn_key=key)
    words = np.random.PCG64(source).random_raw(number)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def bucket_by_length(
    lengths: Any, batch_size: int, *, bucket_width: int = 1, seed: int | None = None, epoch: int = 0
) -> list[NDArray[np.int64]]:
    """Group sequences of similar length, so that little time is spent on padding.

    Parameters
    ----------
    lengths : integers (n,)
        The length of each sequence, 0 or more.
    batch_size : int
        The size of every batch but perhaps one.
    bucket_width : int
        Lengths that need equally many blocks of this many steps count as equal. A larger width mixes the sequences
        more from epoch to epoch, and pads more.
    seed, epoch : int
        With a seed, sequences of equal length and the batches themselves come in an order that is a pure function of
        (seed, epoch). Without one, the shortest come first, in their own order.

    Returns
    -------
    list of index arrays
        Every sequence is in exactly one of them.
    """
    sizes = require_ids("lengths", lengths)
    size = integer("batch_size", batch_size, 1)
    width = min(integer("bucket_width", bucket_width, 1), np.iinfo(np.int64).max)
    integer("epoch", epoch, 0)
    if (sizes < 0).any():
        index = int(np.argmax(sizes < 0))
        raise bad_input(
            "lengths", "integers >= 0", f"{sizes[index]} at index {index}", "a sequence has 0 or more steps"
        )
    order = np.arange(len(sizes)) if seed is None else shuffled_order(len(sizes), seed, epoch)
    blocks = -(-sizes[order].astype(np.int64) // width)
    order = order[np.argsort(blocks, kind="stable")]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    if seed is None:
        return batches
    return [batches[k] for k in shuffled_order(len(batches), seed, epoch, purpose=1)]


def pad_sequences(
    sequences: Sequence[NDArray[Any] | Sequence[Any]], *, batch_first: bool = False, value: float = 0
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Put B sequences of unequal length into one array, each at the start of its row, followed by `value`.

    Parameters
    ----------
    sequences : list of B arrays (t_b, D), or (t_b,) such as token ids
        All of one dtype, which the result keeps; t_b may be 0.  A plain list of numbers, or of rows of numbers, becomes
        an array as NumPy makes it; several get one dtype, that of an array of all their numbers.

    Returns
    -------
    x : array (T, B, D), or (B, T, D) with `batch_first`; without the last axis for sequences (t_b,)
        T is the greatest t_b.
    lengths : int64 (B,)
        The t_b, as `forward(..., lengths=)` takes them.
    """
    if isinstance(sequences, np.ndarray) or not isinstance(sequences, Sequence):
        kind = type(sequences).__name__
        raise bad_type("sequences", "a list of arrays", kind, "pass one array for each sequence")
    if not sequences:
        raise bad_input("sequences", "at least one array", "an empty list", "leave out empty batches")
    sequences = _as_arrays(sequences)
    first = sequences[0]
    for index, item in enumerate(sequences):
        name = f"sequences[{index}]"
        if item.dtype.kind not in "fiu":
            raise bad_type(name, "floats or integers", dtype_in_words(item.dtype), "convert it")
        if item.ndim not in (1, 2) or item.shape[1:] != first.shape[1:]:
            expected = "shape (t, D) or (t,)" if index == 0 else f"shape {('t', *first.shape[1:])} as in sequences[0]"
            raise bad_input(name, expected.replace("'", ""), f"shape {item.shape}", "make all sequences alike")
        if item.dtype != first.dtype:
            raise bad_type(name, f"dtype {first.dtype} as in sequences[0]", item.dtype, "convert them to one dtype")
    switch("batch_first", batch_first)
    lengths = np.array([len(item) for item in sequences], dtype=np.int64)
    x = np.full((len(sequences), int(lengths.max()), *first.shape[1:]), _pad_value(value, first.dtype), first.dtype)
    for row, item in zip(x, sequences, strict=True):
        row[: len(item)] = item
    return (x if batch_first else np.ascontiguousarray(x.swapaxes(0, 1))), lengths


def _as_arrays(sequences: Sequence[Any]) -> list[NDArray[Any]]:
    """Each sequence as an array: arrays as they are, and lists as NumPy makes arrays of them, these of one dtype."""
    found: list[NDArray[Any]] = []
    for index, item in enumerate(sequences):
        name = f"sequences[{index}]"
        refuse_own_rules(name, item)
        if not isinstance(item, np.ndarray | list | tuple):
            raise bad_type(name, "an array, or a list of numbers", describe(item), "convert it")
        found.append(numbers(name, item))
    lists = [index for index, item in enumerate(sequences) if not isinstance(item, np.ndarray)]
    filled = [found[index] for index in lists if found[index].size]
    if all(one.dtype.kind in "fiu" for one in filled):
        like = next((one for index, one in enumerate(found) if index not in lists or one.size), None)
        for index in lists:
            if found[index].size:
                found[index] = found[index].astype(np.result_type(*filled))
            elif like is not None:  # an empty list has no steps, of whatever the others are
                found[index] = np.zeros((0, *like.shape[1:]), np.result_type(*filled) if filled else like.dtype)
    return found


def _pad_value(value: Any, dtype: np.dtype) -> Any:
    """The value of the pads; the dtype of the sequences must hold it exactly."""
    if isinstance(value, float | np.floating) and not math.isfinite(value) and dtype.kind == "f":
        return value
    found = number("value", value, low=-math.inf)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if not limits.min <= found <= limits.max or (dtype.kind != "f" and found != int(value)):
        raise bad_input("value", f"a number that {dtype} holds", describe(value))
    return found if dtype.kind == "f" else int(value)
