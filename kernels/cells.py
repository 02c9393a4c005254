"""What the time loops and the layers need to know of a cell: its gates, their order, and what state it carries."""

from __future__ import annotations

from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A recurrent cell.

    Attributes
    ----------
    name : the name that kernel sets look it up by.
    gates : the names of its gate blocks, in the order in which they stand in the weights (rule 1).
    has_c : whether it carries a cell state c beside the hidden state h.
    resets_before : whether the reset gate acts before the product with U_n (GRU, Cho et al. 2014).
    splits_n : whether the candidate's hidden part (U_n h + b_hn) has a gradient of its own (GRU, reset after).
    """

    name: str
    gates: tuple[str, ...]
    has_c: bool = False
    splits_n: bool = False
    resets_before: bool = False


RNN_TANH = Cell("rnn_tanh", ("h",))
RNN_RELU = Cell("rnn_relu", ("h",))
LSTM = Cell("lstm", ("i", "f", "g", "o"), has_c=True)
GRU_AFTER = Cell("gru_after", ("r", "z", "n"), splits_n=True)
GRU_BEFORE = Cell("gru_before", ("r", "z", "n"), resets_before=True)
CELLS = {cell.name: cell for cell in (RNN_TANH, RNN_RELU, LSTM, GRU_AFTER, GRU_BEFORE)}


class Run(NamedTuple):
    """What the forward time loop of one layer and direction leaves for its backward (G gate blocks; rule 6).

    Attributes
    ----------
    h : (T+1, B, H) hidden states, slot 0 the initial one; a step past a row's end repeats the state before it.
    c : (T+1, B, H) cell states likewise; None unless the cell has them.  Needed for df and for tanh(c).
    gates : (T, B, G, H) activated gates, 0 past a row's end.  For an RNN the one block is the activation
    itself.
    hidden_n : (T, B, H) U_n h_prev + b_hn, needed for dr; None unless the cell splits n.
    """

    h: Any
    c: Any
    gates: Any
    hidden_n: Any


class Adjoints(NamedTuple):
    """What the backward time loop returns.

    Attributes
    ----------
    da : (T, B, G, H) gradients of the pre-activations on the input side; 0 past a row's end.
    da_hidden : the same on the hidden side; it is `da` itself unless the cell splits n.
    dh0, dc0 : (B, H) gradients of the initial state; dc0 is None unless the cell has a cell state.
    dh, dc : (T+1, B, H) gradients of every h and c, where a trace was asked for, else None.
    """

    da: Any
    da_hidden: Any
    dh0: Any
    dc0: Any
    dh: Any
    dc: Any
