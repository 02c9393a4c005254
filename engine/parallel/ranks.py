"""Several processes that train one model: each on its rows of every batch, all with the same weights.

The answers to what `engine.training.alone.Alone` lists.  Whatever decides how training goes on is decided for all
ranks at once, at a place that all of them pass: a rank that went another way would wait for the others for ever.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np

from engine.errors import EngineError, InputError, RankError, bad_input
from engine.layers.saving import leaves
from engine.parallel.buckets import BUCKET, Buckets
from engine.parallel.communicator import Communicator
from engine.parallel.compression import LargestEntries
from engine.parallel.shards import Shard, part_of
from engine.parallel.states import join_rows, own_rows
from engine.training.alone import Alone
from engine.training.keeping import Keeper, Memory
from engine.training.state import Live
from engine.training.task import ForwardPass

Found = TypeVar("Found")


class Ranks(Alone):
    """The processes of a communicator.

    Parameters
    ----------
    communicator : Communicator
        How they reach each other.
    bucket : int
        Bytes of gradients that are sent together.
    """

    def __init__(self, communicator: Communicator, bucket: int = BUCKET) -> None:
        self.communicator, self.bucket = communicator, bucket
        self.rank, self.size = communicator.rank, communicator.size
        self._shard: Shard | None = None
        self._buckets: Buckets | None = None
        self._share: float | None = None
        self._asked: Callable[[], bool] = lambda: False
        self._seconds: Callable[[], float] | None = None
        self._stopping, self._elapsed = False, float("nan")
        self._known: BaseException | None = None

    # -- a step --------------------------------------------------------------------------------------------------------

    def shard(self, task: Any) -> Any:
        """See `Alone.shard`."""
        for layer in leaves(task.model):
            if layer.mixes_rows:
                hint = "take LayerNorm, or train it in one process"
                words = "layers whose result for a row depends on that row alone, for several ranks"
                raise bad_input("model", words, f"a {type(layer).__name__}", hint)
        self._shard = Shard(task, self.rank, self.size)
        return self._shard

    def backward(self, live: Live, out: ForwardPass) -> ForwardPass:
        """See `Alone.backward`."""
        buckets = self._buckets_of(live)
        with buckets.following(live.model):
            out.backward(live.model)
        buckets.finish()
        return self._whole(live, out)

    def compress(self, share: float | None, scaled: bool, name: str = "compress") -> None:
        """See `Alone.compress`."""
        if share is not None and self.size == 1:
            super().compress(share, scaled, name)
        if share is not None and scaled:  # what waits would have another scale than what comes
            raise bad_input(name, "a loss that is not scaled", "one that is", "take bf16, or leave this out")
        self._share = share

    def _buckets_of(self, live: Live) -> Buckets:
        """The buckets of a model, which go on from what a checkpoint had."""
        if self._buckets is None:
            compression = None
            if self._share is not None:
                compression = LargestEntries(self.communicator, self._share, live.model)
                compression.restore(live.unsent)
            self._buckets = Buckets(live.model, self.communicator, self.bucket, compression)
            live.unsent = {}
        return self._buckets

    def _whole(self, live: Live, out: ForwardPass) -> ForwardPass:
        """The pass with the loss and the positions of all ranks; what ranks ask for goes along."""
        assert self._shard is not None
        loss = float(live.model.backend.to_host(out.loss))
        positions = 0 if self._shard.empty else out.positions
        seconds = self._seconds() if self._seconds is not None and self.rank == 0 else 0.0
        loss, positions, asked, seconds = self.communicator.sum_of(
            np.array([loss, positions, float(self._asked()), seconds])
        )
        self._stopping, self._elapsed = asked > 0, seconds
        xp = live.model.backend.xp
        return out._replace(loss=xp.asarray(np.asarray(loss, dtype=live.model.dtype)), positions=int(positions))

    # -- what is decided together --------------------------------------------------------------------------------------

    def begin(self, live: Live) -> None:
        """Every rank starts with the weights, the masks and the optimiser of the first one."""
        model, optimizer = live.model, live.optimizer
        if live.regularisers.penalties and self.size > 1:
            hint = "leave them out, or train in one process"
            raise self._agreed(bad_input("ar and tar", "0 for several ranks", "penalties on activations", hint))
        seeds = [layer.seed for layer in leaves(model)]
        self.require_equal("model", lambda: json.dumps([model.config(), str(model.dtype), seeds]))
        first = None
        if self.rank == 0:
            to_host = model.backend.to_host
            state = {
                k: v if isinstance(v, str | int | float) else to_host(v) for k, v in optimizer.state_dict().items()
            }
            first = model.call_counters(), {k: to_host(v) for k, v in model.saved_arrays().items()}, state
        counters, weights, state = self.communicator.broadcast(first)
        if self.rank:
            model.load_state_dict(weights)
            model.load_call_counters(counters)
            optimizer.load_state_dict(state)
        self.require_same_weights(model)

    def any(self, wanted: bool) -> bool:
        """See `Alone.any`."""
        return bool(self.communicator.sum_of(np.array([float(wanted)]))[0])

    def stop(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        """See `Alone.stop`: what a rank is asked to do is told to the others with the next loss."""
        self._asked = asked
        return lambda: self._stopping

    def clock(self, seconds: Callable[[], float]) -> Callable[[], float]:
        """See `Alone.clock`: that of the first rank, told with each loss."""
        self._seconds = seconds

        def agreed() -> float:
            if self._elapsed != self._elapsed:  # before the first step
                self._elapsed = self.communicator.broadcast(seconds())
            return self._elapsed

        return agreed

    def together(self, work: Callable[[], Found]) -> Found:
        """See `Alone.together`."""
        found, error = None, None
        try:
            found = work()
        except Exception as problem:
            error = problem
        self._require_no_error(error)
        return found  # type: ignore[return-value]

    def _require_no_error(self, error: Exception | None) -> None:
        """Raise if some rank has an error: of the first of these its own, everywhere else a `RankError`."""
        said = self.communicator.gather(None if error is None else (str(error), _code(error)))
        failed = next((rank for rank, words in enumerate(said) if words is not None), None)
        if failed is None:
            return
        if failed == self.rank:
            assert error is not None
            raise self._agreed(error)
        words, code = said[failed]
        raise self._agreed(RankError(f"rank {failed}: {words}", code)) from error

    def _agreed(self, error: Exception) -> Exception:
        """The error, which all ranks raise now: nobody has to be ended."""
        self._known = error
        return error

    def on_first(self, work: Callable[[], Found]) -> Found:
        """See `Alone.on_first`."""
        found = self.together(lambda: work() if self.rank == 0 else None)
        value: Found = self.communicator.broadcast(found)
        return found if self.rank == 0 and found is not None else value

    @contextlib.contextmanager
    def opened(self, context: AbstractContextManager[Found]) -> Iterator[Found]:
        """See `Alone.opened`."""
        with contextlib.ExitStack() as stack:
            yield self.on_first(lambda: stack.enter_context(context))

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """See `Alone.guard`."""
        try:
            yield
        except BaseException as error:
            if error is not self._known and self.size > 1:
                kind = "" if isinstance(error, EngineError) else f"{type(error).__name__}: "
                self.communicator.abort(f"bptt: rank {self.rank}: {kind}{error}", _code(error))
            raise

    def worst(self, error: Exception) -> Exception:
        """See `Alone.worst`."""
        said = self.communicator.gather(str(error))
        best = next((words for words in said if "could not be reproduced" not in words), said[0])
        return self._agreed(type(error)(best))

    def require_equal(self, name: str, value: Callable[[], str]) -> None:
        """See `Alone.require_equal`."""
        said = self.communicator.gather(zlib.crc32(value().encode())) if self.size > 1 else [0]
        other = next((rank for rank, words in enumerate(said) if words != said[0]), None)
        if other is not None:
            hint = "build model and data in the same way on all of them"
            raise self._agreed(bad_input(name, "the same on all ranks", f"another one on rank {other}", hint))

    def require_same_weights(self, model: Any) -> None:
        """Raise unless all ranks have the same weights, to the bit."""
        found = 0
        for array in model.saved_arrays().values():
            found = zlib.crc32(np.ascontiguousarray(model.backend.to_host(array)).data, found)
        said = self.communicator.gather(found)
        other = next((rank for rank, words in enumerate(said) if words != said[0]), None)
        if other is not None:
            words = f"weights: expected the same bits on all ranks, got others on rank {other} than on rank 0"
            hint = "a callback that changes weights must do the same on all ranks; go on from the last checkpoint"
            raise self._agreed(RankError(f"{words}; {hint}"))

    # -- what is kept --------------------------------------------------------------------------------------------------

    def keeper(self, keeper: Keeper) -> Keeper:
        """See `Alone.keeper`."""
        return _FirstKeeps(self, keeper)

    def own_state(self, carried: Any) -> Any:
        """See `Alone.own_state`."""
        return own_rows(carried, lambda rows: part_of(rows, self.rank, self.size).rows)

    def whole_state(self, carried: Any, backend: Any) -> Any:
        """The carried state of all ranks' rows, on all ranks."""
        assert self._shard is not None
        host = None if self._shard.empty else own_rows(carried, lambda rows: slice(None), backend.to_host)
        parts = [part for part in self.communicator.gather(host) if part is not None]
        return join_rows(parts, backend.asarray) if parts else None

    def unsent(self, live: Live) -> dict[str, np.ndarray]:
        """What each rank has not sent of its gradients, of all ranks, on all ranks."""
        compression = self._buckets_of(live).compression
        return {} if compression is None else compression.of_all_ranks()


class _FirstKeeps:
    """Lets the first rank write, with the states of all."""

    def __init__(self, ranks: Ranks, keeper: Keeper) -> None:
        self._ranks, self._keeper = ranks, keeper

    def begin(self) -> list[dict[str, Any]]:
        """See `Keeper.begin`."""
        return self._ranks.on_first(self._keeper.begin)

    def write(self, record: Mapping[str, Any]) -> None:
        """See `Keeper.write`."""
        self._ranks.together(lambda: self._keeper.write(record) if self._ranks.rank == 0 else None)

    def keep_best(self, live: Live) -> None:
        """See `Keeper.keep_best`; what is kept in memory is kept by all."""
        keeps = self._ranks.rank == 0 or isinstance(self._keeper, Memory)
        self._ranks.together(lambda: self._keeper.keep_best(live) if keeps else None)

    def keep_state(self, live: Live) -> None:
        """See `Keeper.keep_state`."""
        ranks, own = self._ranks, live.carried
        ranks.require_same_weights(live.model)
        live.carried, live.unsent = ranks.whole_state(own, live.model.backend), ranks.unsent(live)
        try:
            ranks.together(lambda: self._keeper.keep_state(live) if ranks.rank == 0 else None)
        finally:
            live.carried, live.unsent = own, {}

    def end(self) -> None:
        """See `Keeper.end`."""
        if self._ranks.rank == 0:
            self._keeper.end()


def _code(error: BaseException) -> int:
    """The exit code of the command line for an error."""
    if isinstance(error, RankError):
        return error.code
    return 2 if isinstance(error, InputError) else 130 if isinstance(error, KeyboardInterrupt) else 1
