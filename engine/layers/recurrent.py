"""The recurrent layers: stacking, directions, lengths, carried state and masks around the kernels' time loops.

A cell is its gate functions (``kernels.gates``); a kernel set walks one layer and direction over time
(``kernels.reference``); here the layers are stacked, and that is all.  ``forward`` and ``backward`` stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from engine.backend import Backend, check_dtype, philox
from engine.cell import known_cell
from engine.checks import describe, integer, one_of, probability, switch
from engine.errors import bad_input
from engine.layers import arguments, showing
from engine.layers.base import Layer
from engine.layers.building import warn_of_option
from engine.layers.cell_parameters import checked_projection, shapes_of
from engine.layers.exemption import checked_exempt
from engine.layers.noise import noisy_cell, zoneout_of
from engine.layers.recurrent_passes import RecurrentPasses
from engine.layers.segment_sizes import recompute_of
from engine.layers.streaming import steps
from engine.layers.tape import DirectionTrace, RecurrentTape, RecurrentTrace
from kernels.cells import Cell
from kernels.rounding import PRECISIONS

Array = Any  # of the layer's backend

MOST_LAYERS = 1000  # more are a slip: to make a hundred thousand small arrays alone takes minutes


class Recurrent(RecurrentPasses):
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
    precision : {"float32", "bf16", "fp16"}
        What matrix products are computed in: with "bf16" their operands are rounded to bfloat16, with "fp16" to IEEE
        half numbers; sums, gates, states and weights stay in float32.  See docs/half_precision.md.
    exempt : sequence of str
        Patterns of the names of matrices whose products stay in float32 all the same, such as ``("weight_hh*",)``.
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
    _options = ("zoneout", "recurrent_dropout", "weight_dropout", "proj_size", "precision", "exempt")
    fixed = Layer.fixed | {"cell", "num_directions", *_options}
    settings = Layer.settings | {"dropout": probability, "variational": switch, "recompute": recompute_of}

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
        precision: str = "float32",
        exempt: Sequence[str] = (),
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
        self.recompute = None
        self.proj_size = checked_projection(self.cell, proj_size, self.hidden_size)
        self.precision = self._checked_precision(precision)
        self.widths = (self.proj_size or self.hidden_size, *(self.hidden_size for _ in self.cell.states[1:]))
        self.exempt = checked_exempt(exempt, self.precision, self._shapes())
        self._noisy = noisy_cell(self.cell, self.zoned, self.recurrent_dropout > 0.0)
        self._quiet = noisy_cell(self.cell, self.zoned, False)
        if self.dropout and self.num_layers == 1:
            hint = f"it acts between layers, so here it does nothing: put engine.Dropout({dropout}) behind the layer"
            warn_of_option("dropout", "0, or num_layers >= 2", f"{dropout} with num_layers=1", hint)
        self._allocate()
        self._silent = self._is_silent()

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
        given = {name: getattr(self, name) for name in self._options}
        given |= {"zoneout": list(self.zoneout), "exempt": list(self.exempt)}
        plain = {"precision": "float32"} | ({} if self.zoned else {"zoneout": given["zoneout"]})
        options = {name: value for name, value in given.items() if value and value != plain.get(name)}
        return cell | super()._arguments() | options

    def _rebuilt(self, **given: Any) -> Any:
        arguments = self._arguments()
        if check_dtype(given["dtype"]) == np.float64:  # nothing is rounded there
            arguments = {key: value for key, value in arguments.items() if key not in ("precision", "exempt")}
        dropout = {"dropout": 0.0} if self.num_layers == 1 else {}  # set below: the warning came when this was built
        copy = type(self)(**arguments | dropout, **given)
        copy.dropout = self.dropout
        return copy

    def _checked_precision(self, given: Any) -> str:
        name = one_of("precision", given, PRECISIONS)
        if name != "float32" and self.dtype != np.float32:
            hint = "weights and states of the layer stay float32 in any precision; leave dtype out"
            raise bad_input("precision", f"'float32' for a layer of dtype {self.dtype}", describe(given), hint)
        return name

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
        x, timeline, firsts = arguments.enter(self, x, state, lengths)
        noise, stamp = self._noise(self._next_call(training), timeline), self._stamp()
        y, last, tapes, masks = self._run(timeline.clean(x), timeline, firsts, noise, stamp[1], keep=True)
        return y, last, RecurrentTape(self._by_layer(tapes), tuple(masks), timeline, stamp)

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
        x, timeline, firsts = arguments.enter(self, x, state, lengths)
        noise, version = self._noise(None, timeline), self._stamp()[1]
        return self._run(x, timeline, firsts, noise, version, keep=False)[:2]

    def advance(self, x: Any, state: Any = None, lengths: Any = None, training: bool = True) -> tuple[Any, Any]:
        """Run as `forward` does, with its masks, and keep no tape.

        Parameters
        ----------
        x, state, lengths, training : array, array, sequence of int and bool
            As for `forward`.

        Returns
        -------
        y : array (T, B, N*H)
            The output of the top layer.
        state : array or tuple of array
            The state after each row's last valid step.
        """
        x, timeline, firsts = arguments.enter(self, x, state, lengths)
        noise, version = self._noise(self._next_call(training), timeline), self._stamp()[1]
        return self._run(timeline.clean(x), timeline, firsts, noise, version, keep=False)[:2]

    def _step(self, batch: int, state: Any) -> steps.Step:
        return steps.RecurrentStep(self, batch, state)

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
            targets = self._grads.own if self._sums is None else self._sums.arrays
            return self._walk(tape, dy, dstate, targets, keep=False)[:2]

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
        dx, dfirst, found = self._walk(tape, dy, dstate, grads, keep=True)
        traces = self._by_layer([DirectionTrace(cell, adjoints) for cell, adjoints in found])
        return RecurrentTrace(traces, dx, dfirst, grads)

    def window(self, tape: RecurrentTape, start: int, stop: int) -> RecurrentTape:
        """The part of a tape that holds the time steps ``start <= t < stop``, for truncated BPTT."""
        if self.bidirectional:
            hint = "its reverse half needs the whole future"
            raise bad_input("layer", "one direction for truncated BPTT", "a bidirectional layer", hint)
        self.check_kind(tape)
        steps, batch = tape.timeline.steps, tape.timeline.batch
        self.check_window((batch, steps) if self.batch_first else (steps, batch), start, stop)
        return tape.window(start, stop)
