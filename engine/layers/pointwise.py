"""What the layers share that take every time step by itself: a dense layer, a table of vectors, dropout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from engine.checks import switch
from engine.layers.base import Layer
from engine.layers.building import check_no_state
from engine.layers.showing import Tape
from engine.layers.streaming import steps
from engine.layers.timeline import Timeline, clean, timeline_of


@dataclass(frozen=True, repr=False)
class PointwiseTape(Tape):
    """What forward leaves for backward.

    Attributes
    ----------
    kept : array or None
        x of a dense layer, pads 0; the ids of a table, on the host, pads -1; the mask of dropout, None if it was off.
    shape : tuple of int
        That of x.
    timeline : Timeline or None
        The valid steps, if there were lengths.
    stamp : tuple of int
        Whose tape it is, and with which parameters it was made.
    """

    kept: Any
    shape: tuple[int, ...]
    timeline: Timeline | None
    stamp: tuple[int, int]


class Pointwise(Layer):
    """A layer that takes every time step by itself, so that it carries no state."""

    tape_type = PointwiseTape

    def _enter(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        """Check x; it comes back as a copy without pads, with the timeline if there are lengths."""
        raise NotImplementedError

    def _shape_of_y(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y from that of x."""
        return shape

    def _run(self, x: Any, timeline: Timeline | None, training: bool) -> tuple[Any, Any]:
        """y, and what backward needs."""
        raise NotImplementedError

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, None, PointwiseTape]:
        """Run the layer.

        Parameters
        ----------
        x : array
            The input; the class says of what shape.
        state : None
            The layer carries no state.
        lengths : sequence of int or None
            (B,) valid steps of each row, on the host; None means T for all.
        training : bool
            Whether to draw dropout masks.

        Returns
        -------
        y : array
            The output, 0 past a row's end.
        state : None
            The layer carries no state.
        tape : PointwiseTape
            What backward needs.

        Raises
        ------
        InputError, InputTypeError
            For a wrong shape, dtype, library or length, and for a state.
        """
        check_no_state(state)
        x, timeline = self._enter(x, lengths)
        y, kept = self._run(x, timeline, switch("training", training))
        return y, None, PointwiseTape(kept, x.shape, timeline, self._stamp())

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, None]:
        """Run the layer without dropout and without a tape."""
        check_no_state(state)
        return self._run(*self._enter(x, lengths), training=False)[0], None

    def _step(self, batch: int, state: Any) -> steps.Step:
        return steps.without_state(steps.PointwiseStep(self, batch, *self._features()), state)

    def _features(self) -> tuple[int | None, int | None]:
        """The features of x and of y, where the layer knows them."""
        return None, None

    def window(self, tape: PointwiseTape, start: int, stop: int) -> PointwiseTape:
        """The time steps ``start <= t < stop`` of a tape."""
        self.check_kind(tape)
        self.check_window(tape.shape, start, stop)
        axis = 1 if self.batch_first else 0
        part = (slice(None),) * axis + (slice(start, stop),)
        return replace(
            tape,
            kept=None if tape.kept is None else tape.kept[part],
            shape=(*tape.shape[:axis], stop - start, *tape.shape[axis + 1 :]),
            timeline=None if tape.timeline is None else tape.timeline.window(start, stop),
        )

    def _enter_array(self, x: Any, lengths: Any) -> tuple[Any, Timeline | None]:
        """A checked x of three axes, time and batch first, as a copy with pads 0."""
        timeline = None if lengths is None else timeline_of(self.backend, x.shape, 3, self.batch_first, lengths)
        return clean(self.backend.xp, x, timeline, self.batch_first), timeline

    def _enter_dy(self, tape: PointwiseTape, dy: Any, dstate: Any) -> Any:
        """Check the arguments of backward; dy comes back."""
        check_no_state(None, dstate)
        self.check_tape(tape)
        if dy is not None:
            self.backend.require("dy", dy, dtype=self.dtype, shape=self._shape_of_y(tape.shape), axes="that of y")
        return dy
