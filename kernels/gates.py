"""The gate equations, forward and backward side by side: the one place where they stand.

Every function here is plain arithmetic on whatever it is given.  `kernels.reference` calls it with whole arrays (B,
H) of any array library, `kernels.cpu.rows` compiles the same source and calls it with one number of one hidden unit,
`kernels.cuda.translate` translates it into CUDA.

Letters
-------
a_*     pre-activation of a gate: everything inside its sigmoid or tanh
x_*, h_*  the two parts of a pre-activation: from the input (with bias_ih) and from the hidden state (with bias_hh)
i f g o   LSTM: input gate, forget gate, candidate, output gate
r z n     GRU: reset gate, update gate, candidate
c, h      cell state, hidden state; ``_prev`` marks the step before
dv        gradient of the loss with respect to v

``sigmoid``, ``tanh`` and ``act`` are arguments, as each library has its own.  ``one`` is the number 1 in the arrays'
own dtype: compiled code would widen float32 to float64 for a bare ``1.0``.  A backward line quotes the forward line
that it reverses.
"""

from __future__ import annotations

from typing import Any

# --------------------------------------------------------------------------------------------------------------------
# RNN (Elman 1990):  h = act(W_ih x + b_ih + W_hh h_prev + b_hh),  act = tanh or relu
# --------------------------------------------------------------------------------------------------------------------


def rnn_forward(a: Any, act: Any) -> Any:
    """New hidden state of an Elman cell."""
    h = act(a)
    return h


def rnn_backward(dh: Any, h: Any, act_slope: Any, one: Any) -> Any:
    """Gradient of the pre-activation.  `act_slope` gives act' from the output h."""
    da = dh * act_slope(h, one)  # h = act(a)
    return da


def tanh_slope(h: Any, one: Any) -> Any:
    """tanh'(a), from h = tanh(a)."""
    return one - h * h


def relu_slope(h: Any, one: Any) -> Any:
    """relu'(a), from h = relu(a): 1 where the output is positive, 0 elsewhere (0 at the kink, as PyTorch has it)."""
    return one * (h.real > 0)


# --------------------------------------------------------------------------------------------------------------------
# LSTM (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000)
# --------------------------------------------------------------------------------------------------------------------


def lstm_forward(a_i: Any, a_f: Any, a_g: Any, a_o: Any, c_prev: Any, sigmoid: Any, tanh: Any) -> Any:
    """One LSTM step from its four pre-activations."""
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
    return i, f, g, o, c, h


def lstm_backward(dh: Any, dc: Any, i: Any, f: Any, g: Any, o: Any, c_prev: Any, c: Any, tanh: Any, one: Any) -> Any:
    """Reverse of `lstm_forward`.  `dh` and `dc` are what h and c receive from everything later than this step."""
    tanh_c = tanh(c)
    do = dh * tanh_c  # h = o * tanh(c)
    dc = dc + dh * o * (one - tanh_c * tanh_c)  # h = o * tanh(c), on top of what c_next sent
    df = dc * c_prev  # c = f * c_prev + i * g
    di = dc * g  # c = f * c_prev + i * g
    dg = dc * i  # c = f * c_prev + i * g
    dc_prev = dc * f  # c = f * c_prev + i * g
    da_o = do * o * (one - o)  # o = sigmoid(a_o)
    da_g = dg * (one - g * g)  # g = tanh(a_g)
    da_f = df * f * (one - f)  # f = sigmoid(a_f)
    da_i = di * i * (one - i)  # i = sigmoid(a_i)
    return da_i, da_f, da_g, da_o, dc_prev, dc


# --------------------------------------------------------------------------------------------------------------------
# GRU, reset after the product (cuDNN, PyTorch):  n = tanh(x_n + r * (U_n h_prev + b_hn))
# --------------------------------------------------------------------------------------------------------------------


def gru_after_forward(
    x_r: Any, x_z: Any, x_n: Any, h_r: Any, h_z: Any, h_n: Any, h_prev: Any, sigmoid: Any, tanh: Any, one: Any
) -> Any:
    """One GRU step; h_n keeps its bias b_hn inside the product with r, so the two biases of n are not one."""
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = tanh(x_n + r * h_n)
    h = (one - z) * n + z * h_prev
    return r, z, n, h


def gru_after_backward(dh: Any, r: Any, z: Any, n: Any, h_n: Any, h_prev: Any, one: Any) -> Any:
    """Reverse of `gru_after_forward`.

    The candidate has two pre-activation gradients: da_n for the input side, dh_n = da_n * r for the hidden side.
    `dh_prev` is the direct part only; the time loop adds the part that comes through the recurrent product.
    """
    dn = dh * (one - z)  # h = (one - z) * n + z * h_prev
    dz = dh * (h_prev - n)  # h = (one - z) * n + z * h_prev
    dh_prev = dh * z  # h = (one - z) * n + z * h_prev
    da_n = dn * (one - n * n)  # n = tanh(x_n + r * h_n)
    dr = da_n * h_n  # n = tanh(x_n + r * h_n)
    dh_n = da_n * r  # n = tanh(x_n + r * h_n)
    da_z = dz * z * (one - z)  # z = sigmoid(x_z + h_z)
    da_r = dr * r * (one - r)  # r = sigmoid(x_r + h_r)
    return da_r, da_z, da_n, dh_n, dh_prev


# --------------------------------------------------------------------------------------------------------------------
# GRU, reset before the product (Cho et al. 2014):  n = tanh(x_n + U_n (r * h_prev) + b_hn)
# The product with U_n stands between the two halves, so a step is two functions each way.
# --------------------------------------------------------------------------------------------------------------------


def gru_before_gates_forward(a_r: Any, a_z: Any, h_prev: Any, sigmoid: Any) -> Any:
    """First half: the gates, and the reset state that enters the product with U_n."""
    r = sigmoid(a_r)
    z = sigmoid(a_z)
    reset_h = r * h_prev
    return r, z, reset_h


def gru_before_output_forward(a_n: Any, z: Any, h_prev: Any, tanh: Any, one: Any) -> Any:
    """Second half: the candidate from a_n = x_n + U_n reset_h + b_hn, and the new state."""
    n = tanh(a_n)
    h = (one - z) * n + z * h_prev
    return n, h


def gru_before_output_backward(dh: Any, z: Any, n: Any, h_prev: Any, one: Any) -> Any:
    """Reverse of `gru_before_output_forward`; `dh_prev` is the direct part only."""
    dn = dh * (one - z)  # h = (one - z) * n + z * h_prev
    dz = dh * (h_prev - n)  # h = (one - z) * n + z * h_prev
    dh_prev = dh * z  # h = (one - z) * n + z * h_prev
    da_n = dn * (one - n * n)  # n = tanh(a_n)
    da_z = dz * z * (one - z)  # z = sigmoid(a_z)
    return da_z, da_n, dh_prev


def gru_before_gates_backward(dreset_h: Any, r: Any, h_prev: Any, one: Any) -> Any:
    """Reverse of `gru_before_gates_forward`, from dreset_h = U_n' da_n; `dh_prev` is this path's part only."""
    dr = dreset_h * h_prev  # reset_h = r * h_prev
    dh_prev = dreset_h * r  # reset_h = r * h_prev
    da_r = dr * r * (one - r)  # r = sigmoid(a_r)
    return da_r, dh_prev
