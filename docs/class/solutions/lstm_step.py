"""Solution: one step of an LSTM."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_step_forward(x, h_prev, c_prev, weight_ih, weight_hh, bias):
    a_i, a_f, a_g, a_o = np.split(x @ weight_ih.T + h_prev @ weight_hh.T + bias, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h, c, (x, h_prev, c_prev, weight_ih, weight_hh, i, f, g, o, c)


def lstm_step_backward(dh, dc, cache):
    x, h_prev, c_prev, weight_ih, weight_hh, i, f, g, o, c = cache
    do = dh * np.tanh(c)  # h = o * tanh(c)
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    df, di, dg, dc_prev = dc * c_prev, dc * g, dc * i, dc * f  # c = f * c_prev + i * g
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
    return da @ weight_ih, da @ weight_hh, dc_prev, da.T @ x, da.T @ h_prev, da.sum(axis=0)
