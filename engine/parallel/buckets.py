"""The gradients of a model in a few long arrays, which are summed over the ranks one after another.

The top layers stand in the first bucket: a backward pass is done with them first, so that their sum can be on its way
while it works on the layers below.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.layers.sequential import Sequential
from engine.parallel.communicator import Communicator, Sum
from engine.parallel.compression import LargestEntries, Piece, SparseSum

#: Bytes of a bucket, unless a parameter alone has more: long enough that its bytes cost more than its messages.
BUCKET = 1 << 20


class Bucket:
    """The gradients of some parameters, one after another.

    Attributes
    ----------
    pieces : their places.
    array : (m,), m a multiple of the number of ranks; the end of it stays 0.
    missing : the names of those that are not there yet.
    """

    def __init__(self, communicator: Communicator, sizes: dict[str, int], dtype: np.dtype) -> None:
        self.pieces: list[Piece] = []
        place = 0
        for name, size in sizes.items():
            self.pieces.append(Piece(name, place, place + size))
            place += size
        parts = communicator.size
        self.array = communicator.buffer(-(-place // parts) * parts, dtype)
        self.missing = set(sizes)
        self.sum: Sum | SparseSum | None = None


class Buckets:
    """The gradients of a model, and their sums.

    Parameters
    ----------
    model : whose gradients.
    communicator : of the ranks.
    size : bytes of a bucket.
    compression : what is sent of the gradients; None: all of them.
    """

    def __init__(
        self, model: Any, communicator: Communicator, size: int = BUCKET, compression: LargestEntries | None = None
    ) -> None:
        self.compression = compression
        self.backend, self.grads, self.communicator = model.backend, model.grads, communicator
        self.buckets = [Bucket(communicator, sizes, dtype) for sizes, dtype in _plan(model, size)]
        self._of = {piece.name: bucket for bucket in self.buckets for piece in bucket.pieces}
        self._next = 0

    @property
    def bytes(self) -> int:
        """Of all gradients, with what fills the buckets up."""
        return sum(bucket.array.nbytes for bucket in self.buckets)

    def ready(self, names: list[str]) -> None:
        """Note that these gradients are what they will be, and send the buckets that are whole, in their order."""
        for name in names:
            self._take(name)
        while self._next < len(self.buckets) and not self.buckets[self._next].missing:
            bucket = self.buckets[self._next]
            bucket.sum = self._sum(bucket)
            self._next += 1
        self.move_on()

    def _sum(self, bucket: Bucket) -> Sum | SparseSum:
        if self.compression is None:
            return self.communicator.start_sum(bucket.array)
        return self.compression.start_sum(bucket.array, bucket.pieces)

    @contextlib.contextmanager
    def following(self, model: Any) -> Iterator[None]:
        """Within, a backward pass of the model sends each bucket as soon as it is whole."""
        parts = [(f"{name}.", layer) for name, layer in _parts(model)] or [("", model)]
        for prefix, layer in parts:
            layer.on_gradients = functools.partial(self._on_gradients, prefix, list(layer.grads))
        try:
            yield
        finally:
            for _, layer in parts:
                layer.on_gradients = None

    def _on_gradients(self, prefix: str, names: list[str], layer: int | None) -> None:
        ends = () if layer is None else (f"_l{layer}", f"_l{layer}_reverse")
        self.ready([prefix + name for name in names if layer is None or name.endswith(ends)])

    def move_on(self) -> None:
        """Let the sums that are on their way make progress, each after the one before it."""
        for bucket in self.buckets[: self._next]:
            assert bucket.sum is not None
            if not bucket.sum.added():
                return

    def finish(self) -> None:
        """Send what has not been sent, wait for all sums, and put them in the place of the gradients."""
        self.ready([piece.name for bucket in self.buckets for piece in bucket.pieces if piece.name in bucket.missing])
        for bucket in self.buckets:
            assert bucket.sum is not None
            bucket.sum.wait()
            for piece in bucket.pieces:
                grad = self.grads[piece.name]
                found = bucket.array[piece.start : piece.stop].reshape(grad.shape)
                grad[...] = found if self.backend.is_array(found) else self.backend.asarray(found)
            bucket.sum, bucket.missing = None, {piece.name for piece in bucket.pieces}
        self._next = 0

    def _take(self, name: str) -> None:
        bucket = self._of[name]
        if name in bucket.missing:
            bucket.missing.discard(name)
            piece = next(piece for piece in bucket.pieces if piece.name == name)
            bucket.array[piece.start : piece.stop] = self.backend.to_host(self.grads[name]).reshape(-1)


def _parts(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The layers that a backward pass is done with one after another, with the beginnings of their names."""
    if isinstance(model, Sequential):
        for name, layer in model.named_parts():
            if isinstance(layer, Sequential):
                yield from _parts(layer, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", layer


def _plan(model: Any, size: int) -> list[tuple[dict[str, int], np.dtype]]:
    """The parameters of each bucket with their sizes, from the last one to the first, each bucket of one dtype."""
    dtype_of = model.backend.dtype_of
    counts = [(name, int(np.prod(grad.shape)), np.dtype(str(dtype_of(grad)))) for name, grad in model.grads.items()]
    return packed(counts, size)


def packed(counts: Sequence[tuple[str, int, np.dtype]], size: int) -> list[tuple[dict[str, int], np.dtype]]:
    """What `Buckets` has in each bucket, from names, numbers of entries and dtypes in the order of a model."""
    found: list[tuple[dict[str, int], np.dtype]] = []
    for name, count, dtype in reversed(counts):
        if found and found[-1][1] == dtype:
            held = sum(found[-1][0].values())
            if (held + count) * dtype.itemsize <= size:
                found[-1][0][name] = count
                continue
        found.append(({name: count}, dtype))
    return found
