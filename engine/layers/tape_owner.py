"""Whose tape it is: backward takes the tapes of its own layer, made with the parameters that the layer has now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

from engine.checks import describe, integer
from engine.errors import StaleTapeError, bad_input, bad_type
from engine.layers.parameter_holder import ParameterHolder


class TapeOwner(ParameterHolder):
    """The part of a `Layer` that knows its own tapes."""

    #: The class of the tapes that the layer's forward makes.
    tape_type: ClassVar[type[Any]] = object
    batch_first: bool
    _serial: int
    _checked: set[int]

    def _stamp(self) -> tuple[int, int]:
        """What identifies this layer with its present parameters; forward puts it on the tape.

        On the CPU it is a checksum of the parameters, which sees every change.  On a GPU, reading the parameters would
        wait for the device, so it is a count that `touch` raises: code that writes into ``params`` must call `touch`.
        """
        checksum = self._params.fingerprint()
        return self._serial, self._params.version if checksum is None else checksum

    @contextlib.contextmanager
    def already_checked(self, tape: Any) -> Iterator[None]:
        """Mark the tape as checked: a backward pass reads the weights once, not once more for every layer."""
        self._checked.add(id(tape))
        try:
            yield
        finally:
            self._checked.discard(id(tape))

    def check_kind(self, tape: Any) -> None:
        """Raise unless the tape is one that a layer of this class makes."""
        if not isinstance(tape, self.tape_type):
            raise bad_type("tape", f"what this layer's forward returned ({self.tape_type.__name__})", describe(tape))

    def check_tape(self, tape: Any) -> None:
        """Raise unless the tape is this layer's own and the parameters are still those of its forward pass."""
        if id(tape) in self._checked:  # a Sequential around this layer has checked it, and reading weights takes time
            return
        self.check_kind(tape)
        stamp = self._stamp()
        if tape.stamp[0] != stamp[0]:
            raise bad_input(
                "tape", "a tape of this layer", "a tape of another layer", "pass the tape of its own forward"
            )
        if tape.stamp != stamp:
            raise StaleTapeError(
                "tape: expected parameters as they were in its forward pass, got changed ones; run forward "
                "again after an update (all backward passes of a step come before the step)"
            )

    def check_window(self, shape: tuple[int, ...], start: Any, stop: Any) -> None:
        """Raise unless `start` and `stop` mark steps of a tape whose x has this shape."""
        axis = 1 if self.batch_first else 0
        steps = shape[axis] if len(shape) > axis else 0
        if not 0 <= integer("start", start, 0) <= integer("stop", stop, 0) <= steps:
            raise bad_input(
                "window",
                f"0 <= start <= stop <= {steps} (T = {steps})",
                f"start {describe(start)}, stop {describe(stop)}",
            )
