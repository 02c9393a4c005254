"""What a planted bug is: the lesson it teaches, the case that shows it, and what a right diagnosis says of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BugCase:
    """What is checked while a bug is planted.

    Attributes
    ----------
    layer : a layer of the engine, float64, on the plain kernels, with random weights.
    x, state, lengths : arguments for its forward pass.
    truncation : (k1, k2) where `engine.truncated_bptt` is to be checked in place of ``layer.backward``.
    """

    layer: Any
    x: Any
    state: Any = None
    lengths: Any = None
    truncation: tuple[int, int] | None = None


@dataclass(frozen=True)
class Bug:
    """One mistake in backward code.

    A wrong value spoils everything that is computed from it, so most bugs make every gradient wrong.  `names` are the
    tensors that are wrong *at the source*: with everything later in time and above right, they would still be wrong.

    ==========================================  ========================================================================
    what is wrong                               names
    ==========================================  ========================================================================
    a gate's pre-activation gradient            the weights and biases of its layer
    dc before the gates take it                 the same, and c0
    dh before the gates take it                 the same; and h0 where dh is lost on its way through time
    dh_prev or dc_prev, at the first step too   h0 or c0; and weight_hh where the product with it is wrong
    the gradient of one parameter, or x alone   that
    the output's gradient of a layer            the weights and biases of that layer
    backward writes where it should only read   what a second walk over the same tape then gets wrong, at its source
    ==========================================  ========================================================================

    Attributes
    ----------
    name : as `find` takes it.
    story : what is wrong, in one sentence.
    case : from a seed to a `BugCase` in which the bug shows.
    plant : a context manager with the bug inside and the right code outside.
    names : the tensors that a right diagnosis may name; see above.
    gates : the gate blocks that it may name; {None} where no single one is to blame.
    time_step : the largest t (of x's time axis) at which dx departs, the first that backward meets; None if dx is
        right everywhere, or where the reverse direction meets the other end first.
    verdicts : what a checker may call it.
    cause : one of those that a diagnosis may name where one describes it.
    """

    name: str
    story: str
    case: Callable[[int], BugCase]
    plant: Callable[[], AbstractContextManager[None]]
    names: frozenset[str]
    gates: frozenset[str | None]
    time_step: int | None
    verdicts: frozenset[str] = frozenset({"wrong"})
    cause: str | None = None

    @property
    def change(self) -> str:
        """The wrong lines beside the right ones, for people."""
        return str(self.plant)
