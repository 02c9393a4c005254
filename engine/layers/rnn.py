"""The three recurrent layers that users build: RNN, GRU and LSTM, each a `Recurrent` with its cell.

An editor and ``help()`` show the options that they share; `Recurrent` says what each one does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from engine.backend import Backend
from engine.checks import describe, number, switch
from engine.errors import bad_input
from engine.layers.recurrent import Recurrent
from kernels import gates

#: The cells of these three; `layer_of` finds the layer.
FIVE_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before")


class Options(TypedDict, total=False):
    """The options of `Recurrent` that all three have, for editors; `engine.layers.building.known_names` shows them."""

    bias: bool
    batch_first: bool
    dropout: float
    variational: bool
    bidirectional: bool
    zoneout: float | Sequence[float]
    recurrent_dropout: float
    weight_dropout: float
    precision: str
    exempt: Sequence[str]
    backend: str | Backend
    dtype: Any
    seed: int | None


class RNN(Recurrent):
    """Elman network (Elman 1990): h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units of the state.
    num_layers : int
        L, the layers one above the other.
    nonlinearity : {"tanh", "relu"}
        The function act.
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
    >>> rnn = engine.RNN(3, 5, num_layers=2, nonlinearity="relu")
    >>> y, h, tape = rnn.forward(np.zeros((7, 4, 3), np.float32))
    >>> y.shape, h.shape
    ((7, 4, 5), (2, 4, 5))
    """

    shaping = (*Recurrent.shaping, "nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        **options: Unpack[Options],
    ) -> None:
        if not isinstance(nonlinearity, str) or nonlinearity not in ("tanh", "relu"):
            raise bad_input("nonlinearity", "'tanh' or 'relu'", describe(nonlinearity))
        self.nonlinearity = nonlinearity
        super().__init__(
            gates.RNN_TANH if nonlinearity == "tanh" else gates.RNN_RELU,
            input_size,
            hidden_size,
            num_layers,
            **options,
        )


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), h' = (1-z)*n + z*h, gates in the order r, z, n.

    docs/gru.md derives both forms line by line.

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units of the state.
    num_layers : int
        L, the layers one above the other.
    reset_after : bool
        Where the reset gate acts.  True (cuDNN, PyTorch): n = tanh(W_n x + b_in + r*(U_n h + b_hn)).
        False (as first published): n = tanh(W_n x + b_in + U_n(r*h) + b_hn).
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
    >>> gru = engine.GRU(3, 5, bidirectional=True)
    >>> y, h, tape = gru.forward(np.zeros((7, 4, 3), np.float32), lengths=[7, 2, 0, 5])
    >>> y.shape, h.shape, sorted(tape.layers[0][0].gates)
    ((7, 4, 10), (2, 4, 5), ['n', 'r', 'z'])
    """

    shaping = (*Recurrent.shaping, "reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.reset_after = switch("reset_after", reset_after)
        super().__init__(
            gates.GRU if self.reset_after else gates.GRU_BEFORE,
            input_size,
            hidden_size,
            num_layers,
            **options,
        )


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate, gates in the order i, f, g, o.

    docs/lstm.md derives it line by line.

    Parameters
    ----------
    input_size : int
        D, the features of x.
    hidden_size : int
        H, the units of the state.
    num_layers : int
        L, the layers one above the other.
    forget_bias : float
        First value of the forget gate's bias_ih, whose bias_hh starts at 0 (Gers et al. 2000: remember at first).
    proj_size : int
        P projects the hidden state: h = W_hr (o * tanh(c)), of width P (Sak et al. 2014); 0 for no projection.
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
    >>> lstm = engine.LSTM(3, 5)
    >>> y, (h, c), tape = lstm.forward(np.ones((7, 4, 3), np.float32))
    >>> dx, (dh0, dc0) = lstm.backward(tape, dy=np.ones_like(y))
    >>> y.shape, dx.shape, lstm.grads["weight_hh_l0"].shape
    ((7, 4, 5), (7, 4, 3), (20, 5))
    >>> lstm
    LSTM(3, 5)  # (T, B, 3) -> (T, B, 5), 200 parameters
    """

    shaping = (*Recurrent.shaping, "forget_bias")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        forget_bias: float = 1.0,
        proj_size: int = 0,
        **options: Unpack[Options],
    ) -> None:
        self.forget_bias = number("forget_bias", forget_bias, low=-math.inf)
        super().__init__(
            gates.PROJECTED_LSTM if proj_size else gates.LSTM,
            input_size,
            hidden_size,
            num_layers,
            proj_size=proj_size,
            **options,
        )

    def _draw(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = super()._draw(name, shape)
        if name.startswith("bias"):
            forget_block = slice(self.hidden_size, 2 * self.hidden_size)
            values[forget_block] = self.forget_bias if name.startswith("bias_ih") else 0.0
        return values


def layer_of(cell: str, *sizes: int, **options: Any) -> Recurrent:
    """The layer that runs the cell of that name: an RNN, GRU or LSTM if one of them has that cell, else a `Recurrent`.

    Parameters
    ----------
    cell : one of `engine.cells()`.
    sizes, options : of the layer.
    """
    if cell in ("rnn_tanh", "rnn_relu"):
        return RNN(*sizes, nonlinearity=cell.removeprefix("rnn_"), **options)
    if cell in ("gru", "gru_before"):
        return GRU(*sizes, reset_after=cell == "gru", **options)
    if cell in ("lstm", "projected_lstm"):
        return LSTM(*sizes, **options)
    return Recurrent(cell, *sizes, **options)
