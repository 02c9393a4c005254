"""An LSTM with batch normalisation in its recurrence (Cooijmans et al. 2016): its parameters and arguments.

`batch_norm_lstm_passes` holds the equations.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend, philox
from engine.checks import describe, integer, number, switch
from engine.errors import bad_input, bad_type
from engine.layers import showing
from engine.layers.batch_norm_lstm_passes import BatchNormLSTMPasses
from engine.layers.batch_norm_lstm_tape import BatchNormLSTMTape, rows_by_step
from engine.layers.normalisation import _positive, _share
from engine.layers.parameter_holder import Buffer
from engine.layers.streaming.steps import Step
from engine.layers.timeline import Timeline
from kernels.gates.normalising import EPS

Array = Any  # of the layer's backend


class BatchNormLSTM(BatchNormLSTMPasses):
    """An LSTM with recurrent batch normalisation (Cooijmans et al. 2016).

    The products with x and with h and the cell are normalised apart, each over the rows of the batch at one time step.
    In training the statistics are those of the batch; rows past their end do not count, and a step that only one row
    has takes the running statistics.  Every pass in training moves the running statistics of the steps that it made, up
    to the step `max_steps`.  `predict`, and `forward` with ``training=False``, use them; later steps use those of the
    last one.  Steps are counted from the start of each pass, also where a state is given.

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units.
    max_steps : int
        For how many steps running statistics are kept.
    gain : float
        First value of the three gains, > 0; the paper's 0.1 keeps tanh where its slope is near 1.
    forget_bias : float
        First value of the forget gate's bias.
    eps : float
        What is added to a variance, > 0.
    momentum : float
        The share of a batch in the running statistics, 0 to 1.
    batch_first : bool
        Whether x and y are (B, T, ...) instead of (T, B, ...); a state never is.
    backend : str or Backend
        Name of the array library; the layer is plain array code on every kernel set.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the first weights; None means 0.

    Raises
    ------
    InputError, InputTypeError
        For an argument out of range or of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> layer = engine.BatchNormLSTM(3, 4, max_steps=5)
    >>> x = np.random.default_rng(0).normal(size=(5, 8, 3)).astype(np.float32)
    >>> y, (h, c), tape = layer.forward(x)
    >>> y.shape, h.shape, layer.buffers["running_mean_hh"].shape
    ((5, 8, 4), (1, 8, 4), (5, 16))
    """

    tape_type = BatchNormLSTMTape
    shaping: ClassVar[tuple[str, ...]] = (
        "input_size", "hidden_size", "max_steps", "gain", "forget_bias", "eps", "momentum", "batch_first",
    )  # fmt: skip
    mixes_rows = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        max_steps: int,
        *,
        gain: float = 0.1,
        forget_bias: float = 1.0,
        eps: float = EPS,
        momentum: float = 0.1,
        batch_first: bool = False,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.input_size = integer("input_size", input_size, 1)
        self.hidden_size = integer("hidden_size", hidden_size, 1)
        self.max_steps = integer("max_steps", max_steps, 1)
        self.gain, self.eps = _positive("gain", gain), _positive("eps", eps)
        self.momentum = _share("momentum", momentum)
        self.forget_bias = number("forget_bias", forget_bias, low=-math.inf)
        self.batch_first = switch("batch_first", batch_first)
        self._allocate()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        D, H = self.input_size, self.hidden_size
        wide = dict.fromkeys(("bias", "gain_ih", "gain_hh"), (4 * H,))
        return {"weight_ih": (4 * H, D), "weight_hh": (4 * H, H), **wide, "gain_c": (H,), "bias_c": (H,)}

    def _buffers_by_name(self) -> dict[str, Buffer]:
        widths = {"ih": 4 * self.hidden_size, "hh": 4 * self.hidden_size, "c": self.hidden_size}
        found = {}
        for name, width in widths.items():
            found[f"running_mean_{name}"] = Buffer((self.max_steps, width), 0.0)
            found[f"running_var_{name}"] = Buffer((self.max_steps, width), 1.0)
        return found

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.startswith("gain"):
            return np.full(shape, self.gain, self.dtype)
        if name.startswith("bias"):
            first = np.zeros(shape, self.dtype)
            if name == "bias":
                first[self.hidden_size : 2 * self.hidden_size] = self.forget_bias  # gates i, f, g, o
            return first
        bound = 1.0 / math.sqrt(self.hidden_size)
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound, self.dtype)

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return showing.shape_of(self, self.input_size)

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.hidden_size

    # -- forward and backward ------------------------------------------------------------------------------------------

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, tuple[Any, Any], BatchNormLSTMTape]:
        """Run all steps and keep what backward needs.

        Parameters
        ----------
        x : array (T, B, D)
            The input, or (B, T, D) with ``batch_first``.
        state : tuple of array or None
            ``(h, c)``, each (1, B, H); None means zeros.
        lengths : sequence of int or None
            (B,) host integers in 0..T, the valid steps of each row; None means T.
        training : bool
            Whether the statistics are those of the batch, which move the running ones.

        Returns
        -------
        y : array (T, B, H)
            State h of every step, or (B, T, H); 0 past a row's end.
        state : tuple of array
            The states after each row's last valid step.
        tape : BatchNormLSTMTape
            What backward needs.

        Raises
        ------
        InputError, InputTypeError
            For a wrong shape, dtype, library or length, and for one row in training.
        """
        training = switch("training", training)
        x, timeline, h, c = self._enter(x, state, lengths)
        counts = rows_by_step(timeline) if training else [0] * timeline.steps
        if training and max(counts, default=0) == 1:
            hint = "the mean of one value is that value: take more rows, or training=False"
            raise bad_input("x", "more than one row in training", "one", hint)
        stamp = self._stamp()
        y, state, records = self._walk(x, timeline, h, c, counts)
        return y, state, BatchNormLSTMTape(tuple(records), timeline, stamp)

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """Run with the running statistics, and without a tape.

        Parameters
        ----------
        x, state, lengths : array, tuple of array and sequence of int
            As for `forward`.

        Returns
        -------
        y : array (T, B, H)
            State h of every step.
        state : tuple of array
            The states after each row's last valid step.
        """
        x, timeline, h, c = self._enter(x, state, lengths)
        return self._walk(x, timeline, h, c, [0] * timeline.steps, keep=False)[:2]

    def backward(self, tape: BatchNormLSTMTape, dy: Any = None, dstate: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """Backpropagate through time and through the statistics of the batch; adds to ``grads``.

        Parameters
        ----------
        tape : BatchNormLSTMTape
            The tape that `forward` returned; it is only read.
        dy : array or None
            Gradient of y, in y's shape; None means zeros.
        dstate : tuple of array or None
            Gradient of the states at the end; None means zeros, for both or for one.

        Returns
        -------
        dx : array
            Gradient of x, exactly 0 at pads.
        dstate : tuple of array
            Gradient of the states at the start.
        """
        self.check_tape(tape)
        xp, timeline = self.backend.xp, tape.timeline
        dh, dc = self._enter_state("dstate", dstate, timeline.batch)
        dy = self._enter_dy(dy, timeline)
        dx: list[Array] = []
        with self._lock:
            for t in reversed(range(timeline.steps)):
                step = tape.steps[t]
                dh_t = dh if dy is None else dh + dy[t]  # y_t = h_t
                dx_t, dh, dc = self._step_backward(step, step.kept(dh_t, xp), step.passed(dh, xp), dc)
                dx.append(dx_t)
        empty = xp.zeros((0, timeline.batch, self.input_size), dtype=self.dtype)
        found = xp.stack(dx[::-1]) if dx else empty
        return (found.swapaxes(0, 1) if self.batch_first else found), (dh[None], dc[None])

    def window(self, tape: BatchNormLSTMTape, start: int, stop: int) -> BatchNormLSTMTape:
        """The time steps ``start <= t < stop`` of a tape."""
        self.check_kind(tape)
        shape = tape.timeline.steps, tape.timeline.batch
        self.check_window(shape[::-1] if self.batch_first else shape, start, stop)
        return BatchNormLSTMTape(tape.steps[start:stop], tape.timeline.window(start, stop), tape.stamp)

    def _step(self, batch: int, state: Any) -> Step:
        hint = "use predict over whole sequences"
        raise bad_input("layer", "layers whose steps do not count, for a stepper", "a BatchNormLSTM", hint)

    # -- arguments -----------------------------------------------------------------------------------------------------

    def _enter(self, x: Any, state: Any, lengths: Any) -> tuple[Array, Timeline, Array, Array]:
        """Check x, state and lengths; x comes back time-major, without pads, and as a copy."""
        axes = "(B, T, D)" if self.batch_first else "(T, B, D)"
        self.backend.require("x", x, dtype=self.dtype, shape=(None, None, self.input_size), axes=axes)
        x = x.swapaxes(0, 1) if self.batch_first else x
        timeline = Timeline(self.backend, x.shape[0], x.shape[1], lengths)
        return timeline.clean(x), timeline, *self._enter_state("state", state, x.shape[1])

    def _enter_state(self, name: str, state: Any, batch: int) -> tuple[Array, Array]:
        """h and c (B, H), zeros where none is given."""
        xp, shape = self.backend.xp, (1, batch, self.hidden_size)
        if state is None:
            state = (None, None)
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise bad_type(name, "a pair (h, c)", describe(state))
        found = []
        for letter, part in zip("hc", state, strict=True):
            if part is not None:
                self.backend.require(f"{name} {letter}", part, dtype=self.dtype, shape=shape, axes="(1, B, H)")
            elif name == "state" and state[0] is not state[1]:
                raise bad_type(f"{name} {letter}", "an array (1, B, H)", "None", "give both, or None for the pair")
            found.append(xp.zeros(shape[1:], dtype=self.dtype) if part is None else xp.copy(part[0]))
        return found[0], found[1]

    def _enter_dy(self, dy: Any, timeline: Timeline) -> Array | None:
        """dy, time-major and 0 at pads."""
        if dy is None:
            return None
        shape: tuple[int, ...] = (timeline.steps, timeline.batch, self.hidden_size)
        if self.batch_first:
            shape = (shape[1], shape[0], shape[2])
        self.backend.require("dy", dy, dtype=self.dtype, shape=shape)
        return timeline.clean(dy.swapaxes(0, 1) if self.batch_first else dy)
