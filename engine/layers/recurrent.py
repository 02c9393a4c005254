"""The recurrent layers: stacking, directions, lengths, carried state and masks around the kernels' time loops.

A cell is its gate functions (``kernels.gates``); a kernel set walks one layer and direction over time
(``kernels.reference``); here the layers are stacked, and that is all.  ``forward`` and ``backward`` stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend, philox
from engine.cell import known_cell
from engine.checks import describe, integer, probability, switch
from engine.errors import bad_input
from engine.layers import arguments, showing
from engine.layers.base import Layer
from engine.layers.building import warn_of_option
from engine.layers.cell_parameters import checked_projection, of_direction, shapes_of
from engine.layers.masks import apply_mask
from engine.layers.noise import Noise, noisy_cell, zoneout_of
from engine.layers.tape import DirectionTape, DirectionTrace, RecurrentTape, RecurrentTrace
from engine.layers.timeline import Timeline
from engine.layers.walk import Direction, backward_walk, forward_walk
from kernels import Kernels
from kernels.cells import Cell, Pass
from kernels.reference import ReferenceKernels

Array = Any  # of the layer's backend

MOST_LAYERS = 1000  # more are a slip: to make a hundred thousand small arrays alone takes minutes


class Recurrent(Layer):
    """Layers of any cell, stacked, in one direction or two.

    Parameters
    ----------
    cell : Cell or str
        A `Cell`, or the name of one of `engine.cells`.
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units of the state.
    num_layers : int
        L, the layers one above the other.
    bias : bool
        Whether the cells have their two bias vectors.
    batch_first : bool
        Whether x and y are (B, T, ...) instead of (T, B, ...); a state never is.
    dropout : float
        Probability of dropping a unit between layers, with a fresh mask at each time step; with one layer it has no
        effect, which an `engine.errors.OptionWarning` says.
    variational : bool
        One dropout mask for the whole sequence instead (Gal and Ghahramani 2016).
    bidirectional : bool
        Add a second direction that reads each row from its own last valid step.
    zoneout : float or sequence of float
        Probability that a unit keeps its state of the step before (Krueger et al. 2016): a number, or one for each
        state of the cell.  Evaluation uses the expected value of the mask.
    recurrent_dropout : float
        Probability of dropping a unit of h before the recurrent product, one mask a sequence (Gal and Ghahramani 2016).
    weight_dropout : float
        Probability of dropping an entry of the recurrent weights, one mask a sequence (Wan et al. 2013).
    proj_size : int
        P, the width of h in a cell with a projection; 0 for all others.
    backend : str or Backend
        Name of the array library, with the kernel set if you like, such as ``"numpy:reference"``.
    dtype : str or dtype
        ``"float32"`` or ``"float64"``.
    seed : int or None
        Key of the first weights and of the masks; None means 0.

    Raises
    ------
    InputError, InputTypeError
        For an argument out of range, of a wrong type, or of a name that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> import engine
    >>> layer = engine.Recurrent("gru", 3, 4, num_layers=2)
    >>> y, state, tape = layer.forward(np.zeros((5, 2, 3), np.float32))
    >>> y.shape, state.shape
    ((5, 2, 4), (2, 2, 4))
    """

    tape_type = RecurrentTape
    shaping: ClassVar[tuple[str, ...]] = (
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "variational", "bidirectional",
    )  # fmt: skip
    _options = ("zoneout", "recurrent_dropout", "weight_dropout", "proj_size")
    fixed = Layer.fixed | {"cell", "num_directions", *_options}
    settings = Layer.settings | {"dropout": probability, "variational": switch}

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        variational: bool = False,
        bidirectional: bool = False,
        zoneout: float | Sequence[float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        proj_size: int = 0,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(backend, dtype, seed)
        self.cell = known_cell(cell)
        self.input_size = integer("input_size", input_size, 1)
        self.hidden_size = integer("hidden_size", hidden_size, 1)
        self.num_layers = integer("num_layers", num_layers, 1)
        if self.num_layers > MOST_LAYERS:
            raise bad_input("num_layers", f"at most {MOST_LAYERS} layers", describe(num_layers))
        self.bias, self.batch_first = switch("bias", bias), switch("batch_first", batch_first)
        self.bidirectional = switch("bidirectional", bidirectional)
        self.dropout, self.variational = dropout, variational
        self.num_directions = 2 if self.bidirectional else 1
        self.zoned = zoneout_of(self.cell, zoneout)
        self.zoneout = tuple(self.zoned.get(state, 0.0) for state in self.cell.states)
        self.recurrent_dropout = probability("recurrent_dropout", recurrent_dropout)
        self.weight_dropout = probability("weight_dropout", weight_dropout)
        if self.weight_dropout and not self.cell.recurrent:
            hint = f"the cell {self.cell.name} has no recurrent weights"
            raise bad_input("weight_dropout", "0 for this cell", describe(weight_dropout), hint)
        self.proj_size = checked_projection(self.cell, proj_size, self.hidden_size)
        self.widths = (self.proj_size or self.hidden_size, *(self.hidden_size for _ in self.cell.states[1:]))
        self._noisy = noisy_cell(self.cell, self.zoned, self.recurrent_dropout > 0.0)
        self._quiet = noisy_cell(self.cell, self.zoned, False)
        if self.dropout and self.num_layers == 1:
            hint = f"it acts between layers, so here it does nothing: put engine.Dropout({dropout}) behind the layer"
            warn_of_option("dropout", "0, or num_layers >= 2", f"{dropout} with num_layers=1", hint)
        self._allocate()

    def input_shape(self, width: int | None) -> str:
        """See `Layer.input_shape`."""
        return showing.shape_of(self, self.input_size)

    def width_after(self, width: int | None) -> int:
        """See `Layer.width_after`."""
        return self.num_directions * int(self.widths[0])

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        sizes = self.input_size, self.hidden_size, self.widths[0], self.num_layers, self.num_directions
        return shapes_of(self.cell, *sizes, self.bias)

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        first = self.cell.initial.get(name.partition("_l")[0])
        if first is not None:
            return np.full(shape, first, self.dtype)
        bound = 1.0 / math.sqrt(self.hidden_size)
        return philox.uniform(self._key(f"init:{name}"), shape, -bound, bound, self.dtype)

    def _arguments(self) -> dict[str, Any]:
        cell = {"cell": self.cell.name} if type(self) is Recurrent else {}
        given = {name: getattr(self, name) for name in self._options} | {"zoneout": list(self.zoneout)}
        options = {name: value for name, value in given.items() if value and (name != "zoneout" or self.zoned)}
        return cell | super()._arguments() | options

    def _rebuilt(self, **given: Any) -> Any:
        dropout = {"dropout": 0.0} if self.num_layers == 1 else {}  # set below: the warning came when this was built
        copy = type(self)(**self._arguments() | dropout, **given)
        copy.dropout = self.dropout
        return copy

    # -- forward and backward ----------------------------------------------------------------------------------------

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, training: bool = True
    ) -> tuple[Any, Any, RecurrentTape]:
        """Run all steps and keep what backward needs.

        Parameters
        ----------
        x : array (T, B, D)
            The input, or (B, T, D) with ``batch_first``; of the layer's dtype and backend.
        state : array, tuple of array or None
            The tuple of the cell's states, such as ``(h, c)`` for an LSTM, or ``h`` if that is the only state; each
            (L*N, B, H), never batch-first.  None means zeros.
        lengths : sequence of int or None
            (B,) host integers in 0..T, the valid steps of each row; None means T.
        training : bool
            Whether to draw the masks of dropout and zoneout.

        Returns
        -------
        y : array (T, B, N*H)
            The output of the top layer, or (B, T, N*H); 0 past a row's end.
        state : array or tuple of array
            The state after each row's last valid step, in the structure of the argument.
        tape : RecurrentTape
            Every state and gate of every step.

        Raises
        ------
        InputError, InputTypeError
            For a wrong shape, dtype, library or length.
        """
        x, timeline, states = arguments.enter(self, x, state, lengths)
        noise = self._noise(self._next_call(training), timeline)
        y, last, tapes, masks = self._run(timeline.clean(x), timeline, states, noise, keep=True)
        return y, last, RecurrentTape(self._by_layer(tapes), tuple(masks), timeline, self._stamp())

    def predict(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        """Run without dropout and without a tape; keeps no history beyond a chunk of steps.

        Parameters
        ----------
        x, state, lengths : array, array and sequence of int
            As for `forward`.

        Returns
        -------
        y : array (T, B, N*H)
            The output of the top layer.
        state : array or tuple of array
            The state after each row's last valid step.
        """
        x, timeline, states = arguments.enter(self, x, state, lengths)
        return self._run(x, timeline, states, self._noise(None, timeline), keep=False)[:2]

    def _run(
        self, x: Array, timeline: Timeline, states: tuple[Array, ...], noise: Noise | None, keep: bool
    ) -> tuple[Array, Any, list[DirectionTape], list[Array]]:
        """Output, last state, and what backward needs: a tape for each direction, a mask for each layer."""
        xp, tapes, masks, last = self.backend.xp, [], [], []
        cell = self._quiet if noise is None or noise.call is None else self._noisy

        def enter(layer: int, values: Array) -> Array:
            mask = None if noise is None else noise.between_layers(layer, values.shape[2])
            masks.append(mask)
            return values if mask is None else apply_mask(xp, values, mask)

        def run(direction: Direction, values: Array) -> Array:
            weights, drop, factors = of_direction(self.cell, direction, self._params.own), None, {}
            if noise is not None:
                factors = noise.factors(direction, cell)
                if "weight_hh" in weights:
                    drop = noise.of_weights(direction, weights["weight_hh"].shape)
                    weights["weight_hh"] = weights["weight_hh"] if drop is None else weights["weight_hh"] * drop
            first = tuple([part[direction.slot] for part in states])
            given = Pass(cell, weights, timeline.lengths, factors)
            found, y = self._kernels(timeline).forward_layer(given, values, first, keep or timeline.empty)
            last.append([slots[-1] for slots in found.states])
            tapes.append(DirectionTape(cell, values, found, factors, drop))
            return y

        y = forward_walk(self.num_layers, self.num_directions, x, enter, run, timeline.flip, self._joined)
        return self._laid_out(y), self._stacked(last), tapes, masks

    def backward(self, tape: RecurrentTape, dy: Any = None, dstate: Any = None) -> tuple[Any, Any]:
        """Backpropagate through time; adds to ``grads``.

        Parameters
        ----------
        tape : RecurrentTape
            The tape that `forward` returned; it is only read, so the same tape can be walked again.
        dy : array or None
            Gradient of y, in y's shape; None means zeros.  Values at pads are ignored.
        dstate : array, tuple of array or None
            Gradient of the final state, in its structure; None means zeros, for the whole or for one state.

        Returns
        -------
        dx : array
            Gradient of x, exactly 0 at pads.
        dstate : array or tuple of array
            Gradient of the initial state, even if that was None (the gradient with respect to zeros).

        Raises
        ------
        StaleTapeError
            If the parameters have changed since the forward pass.
        """
        with self._lock:  # two threads that add to one array would lose some of it
            trace = self._walk(tape, dy, dstate, self._grads.own, keep=False)
        return trace.dx, trace.dstate

    def backward_trace(self, tape: RecurrentTape, dy: Any = None, dstate: Any = None) -> RecurrentTrace:
        """Walk the pass of `backward` and return the gradients of every state and gate; adds nothing to ``grads``.

        Parameters
        ----------
        tape, dy, dstate : RecurrentTape, array and array
            As for `backward`.

        Returns
        -------
        RecurrentTrace
            ``layers[l][d]`` holds ``dh``, ``dc`` and ``gates`` of every step; ``dx``, ``dstate`` and ``grads`` too.
        """
        grads = {name: self.backend.xp.zeros_like(grad) for name, grad in self._grads.own.items()}
        return self._walk(tape, dy, dstate, grads, keep=True)

    def _walk(self, tape: RecurrentTape, dy: Any, dstate: Any, grads: dict[str, Array], keep: bool) -> RecurrentTrace:
        """Reverse of `_run`; adds to `grads`."""
        self.check_tape(tape)
        timeline, slots = tape.timeline, self.num_layers * self.num_directions
        dy = arguments.enter_dy(self, dy, timeline)
        dlast = arguments.enter_state(self, "dstate", dstate, timeline.batch, part_may_be_none=True)
        traces: list[Any] = [None] * slots
        dfirst: list[Any] = [None] * slots

        def leave(layer: int, values: Array) -> Array:
            mask = tape.masks[layer]
            return values if mask is None else apply_mask(self.backend.xp, values, mask)  # enter: apply_mask

        def run(direction: Direction, dy_d: Array) -> Array:
            record = tape.layers[direction.layer][direction.reverse]
            last = tuple([None if part is None else part[direction.slot] for part in dlast])
            adjoints, dx_d = self._walk_direction(
                record, direction, dy_d, last, timeline, of_direction(self.cell, direction, grads), keep
            )
            dfirst[direction.slot] = adjoints.dstates
            traces[direction.slot] = DirectionTrace(record.cell, adjoints)
            return dx_d

        dx = backward_walk(self.num_layers, self.num_directions, dy, leave, run, timeline.flip, self.widths[0])
        return RecurrentTrace(self._by_layer(traces), self._laid_out(dx), self._stacked(dfirst), grads)

    def _walk_direction(
        self,
        record: DirectionTape,
        direction: Direction,
        dy: Array,
        dlast: tuple[Array, ...],
        timeline: Timeline,
        grads: dict[str, Array],
        keep: bool,
    ) -> tuple[Any, Array]:
        """The adjoints and dx of one layer and direction; adds to `grads`."""
        weights = of_direction(self.cell, direction, self._params.own)
        shape = (timeline.steps, timeline.batch, weights["weight_ih"].shape[1])
        record.check(self.backend, shape, self.hidden_size, self.widths, self.dtype)
        targets = grads
        if record.weight_mask is not None:
            weights["weight_hh"] = weights["weight_hh"] * record.weight_mask
            targets = grads | {"weight_hh": self.backend.xp.zeros_like(weights["weight_hh"])}
        given = Pass(record.cell, weights, timeline.lengths, record.factors)
        found = self._kernels(timeline).backward_layer(given, record.run, record.x, dy, dlast, targets, keep)
        if record.weight_mask is not None:
            grads["weight_hh"] += targets["weight_hh"] * record.weight_mask  # weight_hh * weight_mask
        return found

    def window(self, tape: RecurrentTape, start: int, stop: int) -> RecurrentTape:
        """The part of a tape that holds the time steps ``start <= t < stop``, for truncated BPTT."""
        if self.bidirectional:
            hint = "its reverse half needs the whole future"
            raise bad_input("layer", "one direction for truncated BPTT", "a bidirectional layer", hint)
        self.check_kind(tape)
        steps, batch = tape.timeline.steps, tape.timeline.batch
        self.check_window((batch, steps) if self.batch_first else (steps, batch), start, stop)
        return tape.window(start, stop)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _kernels(self, timeline: Timeline) -> Kernels:
        """The backend's kernels; plain array code where no step or no row is there to walk (rule 9)."""
        return ReferenceKernels(self.backend.xp) if timeline.empty else self.backend.kernels

    def _by_layer(self, parts: list[Any]) -> tuple[tuple[Any, ...], ...]:
        N = self.num_directions
        return tuple([tuple(parts[n : n + N]) for n in range(0, len(parts), N)])

    def _joined(self, outputs: list[Array]) -> Array:
        return self.backend.xp.concatenate(outputs, axis=2)

    def _laid_out(self, values: Array) -> Array:
        """Time-major values in the layer's layout."""
        return self.backend.xp.ascontiguousarray(values.swapaxes(0, 1)) if self.batch_first else values

    def _stacked(self, parts: Sequence[Sequence[Array]]) -> Any:
        """The state of all slots from those of each, new arrays: a tuple where the cell has several."""
        xp = self.backend.xp
        if len(parts) == 1:  # in a small pass, to stack takes as long as the gates
            states = tuple([xp.copy(part[None]) for part in parts[0]])
        else:
            states = tuple([xp.stack(part) for part in zip(*parts, strict=True)])
        return states if len(states) > 1 else states[0]

    def _next_call(self, training: bool) -> int | None:
        """The call number for this pass's masks; None if no mask is drawn."""
        between = self.dropout > 0.0 and self.num_layers > 1
        drawn = between or self.zoned or self.recurrent_dropout or self.weight_dropout
        return self._take_call() if switch("training", training) and drawn else None

    def _noise(self, call: int | None, timeline: Timeline) -> Noise | None:
        """The masks of a pass; None where nothing is drawn, and no expectation stands in its place."""
        if call is None and not self._quiet.given:
            return None
        return Noise(self, call, timeline)
