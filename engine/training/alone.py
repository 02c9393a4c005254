"""What the training loop asks of the processes that train together, answered for one process that trains alone.

`engine.parallel.ranks.Ranks` answers for several; it is imported when a training is asked to be parallel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from engine.errors import bad_input
from engine.training.keeping import Keeper
from engine.training.state import Live
from engine.training.task import ForwardPass, Task

Found = TypeVar("Found")


class Alone:
    """One process: nothing to share, nothing to agree on.

    Attributes
    ----------
    rank, size : the number of this process, and how many there are.
    """

    rank, size = 0, 1

    # -- a step --------------------------------------------------------------------------------------------------------

    def shard(self, task: Task) -> Task:
        """The task with this process's rows of each batch."""
        return task

    def backward(self, live: Live, out: ForwardPass) -> ForwardPass:
        """Backward of a forward pass: the gradients of the whole batch, and the pass with its loss and positions."""
        out.backward(live.model)
        return out

    def compress(self, share: float | None, scaled: bool, name: str = "compress") -> None:
        """Send this share of the gradients alone; None: all of them.  Raises where that cannot be.

        Parameters
        ----------
        share : of the entries of each parameter.
        scaled : whether the loss is scaled.
        name : of the option, in messages.
        """
        if share is not None:
            raise bad_input(
                name, "several processes that train together", "one", "start them with mpiexec, or leave it out"
            )

    # -- what is decided together --------------------------------------------------------------------------------------

    def begin(self, live: Live) -> None:
        """Training starts."""

    def any(self, wanted: bool) -> bool:
        """Whether some process wants it."""
        return wanted

    def stop(self, asked: Callable[[], bool]) -> Callable[[], bool]:
        """Whether to stop, from whether this process is asked to."""
        return asked

    def clock(self, seconds: Callable[[], float]) -> Callable[[], float]:
        """The seconds of training that decide when it ends, from those of this process."""
        return seconds

    def together(self, work: Callable[[], Found]) -> Found:
        """The result of this process's work; an error of one process ends all."""
        return work()

    def on_first(self, work: Callable[[], Found]) -> Found:
        """The result of the first process, for all."""
        return work()

    def opened(self, context: AbstractContextManager[Found]) -> AbstractContextManager[Found]:
        """What the first process opens, for all."""
        return context

    def require_equal(self, name: str, value: Callable[[], str]) -> None:
        """Raise unless all processes have an equal value."""

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Within, an error of one process ends all."""
        yield

    def worst(self, error: Exception) -> Exception:
        """Of the errors that all processes found, the one that says most."""
        return error

    # -- what is kept --------------------------------------------------------------------------------------------------

    def keeper(self, keeper: Keeper) -> Keeper:
        """What keeps the state of all processes."""
        return keeper

    def own_state(self, carried: Any) -> Any:
        """The rows of a carried state that this process trains on."""
        return carried


ALONE = Alone()
