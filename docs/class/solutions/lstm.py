"""Solution: an LSTM over a sequence."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_forward(x, h0, c0, weight_ih, weight_hh, bias):
    h, c = h0, c0
    outputs, steps = np.zeros((len(x), *h0.shape)), []
    for t in range(len(x)):
        h_prev, c_prev = h, c
        a_i, a_f, a_g, a_o = np.split(x[t] @ weight_ih.T + h_prev @ weight_hh.T + bias, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * c_prev + i * g
        h = o * np.tanh(c)
        outputs[t] = h
        steps.append((h_prev, c_prev, i, f, g, o, c))
    return outputs, c, (x, weight_ih, weight_hh, steps)


def lstm_backward(dh, dc_last, cache):
    x, weight_ih, weight_hh, steps = cache
    dx = np.zeros_like(x)
    dweight_ih, dweight_hh = np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    dbias = np.zeros(len(weight_hh))
    dh_next, dc_next = np.zeros_like(dc_last), dc_last
    for t in reversed(range(len(x))):
        h_prev, c_prev, i, f, g, o, c = steps[t]
        total = dh[t] + dh_next
        do = total * np.tanh(c)
        dc = dc_next + total * o * (1 - np.tanh(c) ** 2)
        df, di, dg = dc * c_prev, dc * g, dc * i
        da = np.hstack([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
        dx[t] = da @ weight_ih
        dh_next, dc_next = da @ weight_hh, dc * f
        dweight_ih += da.T @ x[t]
        dweight_hh += da.T @ h_prev
        dbias += da.sum(axis=0)
    return dx, dh_next, dc_next, dweight_ih, dweight_hh, dbias
