"""Batches of rows of similar length: which rows share a batch, in an order that needs a number alone to go on.

Rows of unequal length are padded to the longest one of their batch, and the pads are computed for nothing.  A
`BatchSampler` says which rows each batch of each epoch holds, and how many of its steps are pads.  What it says
depends on the seed, the epoch and the number of the batch: a run that is resumed within an epoch needs its step alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.checks import describe, integer, switch
from engine.data.batching import bucket_by_length, shuffled_order
from engine.data.data_checks import require_ids
from engine.errors import bad_input

Index = NDArray[np.int64]
#: Epochs whose batches are kept: a report may begin in one and end in the next.
_KEPT = 2
#: No row is longer, and no block or budget of steps is larger: sums over all rows fit into 64 bits.
_MOST = 2**31 - 1
#: Batches that are looked at in one call.
_MOST_STEPS = 10**5


class Packing(NamedTuple):
    """How full batches are.

    Attributes
    ----------
    valid : int
        Steps that belong to a row.
    computed : int
        Steps with the pads: rows times the longest row, summed over the batches.
    batches : int
        How many batches these are.
    """

    valid: int
    computed: int
    batches: int

    @property
    def wasted(self) -> float:
        """The share of the computed steps that are pads, in [0, 1)."""
        return 1.0 - self.valid / self.computed if self.computed else 0.0


@dataclass(frozen=True)
class Buckets:
    """How rows are put together by their length; what `engine.fit` takes as ``buckets``.

    Parameters
    ----------
    width : int
        Lengths that need equally many blocks of so many steps count as equal.  A larger width mixes the rows more
        from epoch to epoch, and pads more.
    pool : int
        Rows are shuffled and cut into pools of so many batches, and each pool is put in order by itself: the rows of a
        batch change from epoch to epoch, however long they are.  0: all rows are one pool, with the fewest pads.
    steps : int
        A batch holds as many rows as fit into so many steps, pads included, whatever the batch size is: few long rows,
        or many short ones.  A row that is longer is a batch of its own.  0: all batches have equally many rows.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.data import BatchSampler, Buckets
    >>> lengths = 1 + (np.arange(1000) * 37 % 101) ** 2 // 160  # many short rows, few long ones
    >>> for buckets in (None, Buckets(), Buckets(pool=20), Buckets(steps=200)):
    ...     packing = BatchSampler(lengths, 16, buckets).packing(0)
    ...     print(f"{packing.wasted:.3f} in {packing.batches} batches")
    0.704 in 63 batches
    0.044 in 63 batches
    0.148 in 63 batches
    0.009 in 68 batches
    """

    width: int = 1
    pool: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("pool", 0), ("steps", 0)):
            object.__setattr__(self, name, min(integer(name, getattr(self, name), least), _MOST))
        if self.pool and self.steps:
            hint = "the number of batches would differ from epoch to epoch"
            raise bad_input("pool", "0 with a budget of steps", str(self.pool), hint)

    def to_json(self) -> Any:
        """What a run says of its buckets: the width alone, where nothing else is asked for."""
        return asdict(self) if self.pool or self.steps else self.width


def read_buckets(argument: str, given: Any) -> Buckets | None:
    """Buckets from a width, 0 for none, or `Buckets`.

    Raises
    ------
    InputError, InputTypeError
        For anything else.
    """
    if isinstance(given, Buckets):
        return given
    width = integer(argument, given, 0, "" if _plain(given) else "give a width, or engine.data.Buckets(...)")
    return Buckets(width) if width else None


def _plain(given: Any) -> bool:
    return isinstance(given, int | float | np.integer | np.floating)


class BatchSampler:
    """Which rows each batch of each epoch holds.

    Parameters
    ----------
    lengths : integers (n,)
        The steps of each row, 0 or more.
    batch_size : int
        Rows of a batch; the last one may have fewer.
    buckets : Buckets, int or None
        How rows are put together by their length; an integer is a width; None or 0 puts them together as they come.
    seed : int
        Of the orders.
    shuffle : bool
        Another order in each epoch.  Without it rows keep their order, or come with the shortest first in buckets.

    Attributes
    ----------
    uneven : bool
        Whether rows differ in length, so that there may be pads.
    in_order : bool
        Whether every epoch has the rows in the order in which they stand.

    Raises
    ------
    InputError, InputTypeError
        For an argument that cannot be.

    Examples
    --------
    >>> from engine.data import BatchSampler
    >>> sampler = BatchSampler([3, 9, 2, 8, 3, 7], batch_size=2, buckets=1, seed=4)
    >>> [batch.tolist() for batch in sampler.epoch(0)]
    [[1, 3], [0, 2], [5, 4]]
    >>> len(sampler), sampler.rows(5).tolist(), sampler.packing(0)
    (3, [1, 3], Packing(valid=32, computed=38, batches=3))
    """

    def __init__(
        self, lengths: Any, batch_size: int, buckets: Any = None, *, seed: int = 0, shuffle: bool = True
    ) -> None:
        given = require_ids("lengths", lengths)
        wrong = (given < 0) | (given > _MOST)
        if wrong.any():
            index = int(np.argmax(wrong))
            raise bad_input("lengths", f"integers in 0..{_MOST}", f"{given[index]} at index {index}")
        self.lengths = given.astype(np.int64)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.buckets = None if buckets is None else read_buckets("buckets", buckets)
        self.seed, self.shuffle = integer("seed", seed, 0), switch("shuffle", shuffle)
        self.uneven = bool(self.lengths.size) and int(self.lengths.min()) < int(self.lengths.max())
        self._epochs: dict[int, list[Index]] = {}
        self._count = len(self.epoch(0)) if self._by_steps else -(-len(self.lengths) // self.batch_size)

    def __len__(self) -> int:
        """Return the number of batches of an epoch; it is the same in all of them."""
        return self._count

    @property
    def _by_steps(self) -> bool:
        return self.buckets is not None and self.buckets.steps > 0

    @property
    def in_order(self) -> bool:
        """Whether every epoch has the rows in the order in which they stand."""
        return not self.shuffle and self.buckets is None

    def epoch(self, epoch: int) -> list[Index]:
        """Return the row numbers of each batch of an epoch; every row is in one of them."""
        number = integer("epoch", epoch, 0)
        if number not in self._epochs:
            while len(self._epochs) >= _KEPT:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[number] = self._batches(number)
        return self._epochs[number]

    def rows(self, step: int) -> Index:
        """Return the row numbers of the batch of a step, which are counted over all epochs."""
        epoch, number = divmod(integer("step", step, 0), max(1, self._count))
        batches = self.epoch(epoch)
        if not batches:
            raise bad_input("step", "a step of a sampler that has rows", describe(step), "give lengths")
        return batches[number]

    def packing(self, start: int, stop: int | None = None) -> Packing:
        """Return how full the batches of steps are, from `start` on, `stop` excluded.

        Raises
        ------
        InputError
            `stop` is smaller than `start`, or larger by more than a hundred thousand.
        """
        first = integer("start", start, 0)
        end = first + self._count if stop is None else integer("stop", stop, 0)
        if not first <= end <= first + _MOST_STEPS:
            expected = f"start .. start + {_MOST_STEPS}, as start is {describe(first)}"
            raise bad_input("stop", expected, describe(end))
        valid = computed = 0
        for step in range(first, end):
            own = self.lengths[self.rows(step)]
            valid += int(own.sum())
            computed += int(own.max()) * len(own)
        return Packing(valid, computed, end - first)

    def _batches(self, epoch: int) -> list[Index]:
        size, buckets, seed = self.batch_size, self.buckets, self.seed if self.shuffle else None
        if buckets is None:
            order = np.arange(len(self.lengths)) if seed is None else shuffled_order(len(self.lengths), seed, epoch)
            return _cut(order, size)
        if buckets.steps:
            return self._by_budget(buckets, epoch)
        if not buckets.pool:
            return bucket_by_length(self.lengths, size, bucket_width=buckets.width, seed=seed, epoch=epoch)
        order = np.arange(len(self.lengths)) if seed is None else shuffled_order(len(self.lengths), seed, epoch)
        blocks = -(-self.lengths // buckets.width)
        batches: list[Index] = []
        for pool in _cut(order, min(size * buckets.pool, max(1, len(order)))):
            batches += _cut(pool[np.argsort(blocks[pool], kind="stable")], size)
        return _shuffled(batches, seed, epoch)

    def _by_budget(self, buckets: Buckets, epoch: int) -> list[Index]:
        """Batches of at most so many steps.

        A row counts with its length in whole blocks, and these stand in the same order in every epoch: so there are
        equally many batches in all epochs, although other rows share them.
        """
        seed = self.seed if self.shuffle else None
        order = np.arange(len(self.lengths)) if seed is None else shuffled_order(len(self.lengths), seed, epoch)
        blocks = -(-self.lengths // buckets.width)
        order = order[np.argsort(blocks[order], kind="stable")]
        costs = np.maximum(blocks[order], 1) * buckets.width
        batches, start = [], 0
        while start < len(order):
            rows = costs[start : start + buckets.steps // int(costs[start])]  # no more can fit
            total = np.arange(1, len(rows) + 1) * rows  # it rises: each row is at least as long as those before
            stop = start + max(1, int(np.searchsorted(total, buckets.steps, side="right")))
            batches.append(order[start:stop])
            start = stop
        return _shuffled(batches, seed, epoch)


def _cut(order: Index, size: int) -> list[Index]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _shuffled(batches: list[Index], seed: int | None, epoch: int) -> list[Index]:
    """The batches in an order of their own: otherwise each pool would begin with its shortest rows."""
    if seed is None:
        return batches
    return [batches[k] for k in shuffled_order(len(batches), seed, epoch, purpose=1)]
