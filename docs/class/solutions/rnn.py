"""Solution: an RNN over a sequence."""

import numpy as np


def rnn_forward(x, h0, weight_ih, weight_hh, bias):
    slots = np.zeros((len(x) + 1, *h0.shape))  # slot t holds the state before step t
    slots[0] = h0
    for t in range(len(x)):
        slots[t + 1] = np.tanh(x[t] @ weight_ih.T + slots[t] @ weight_hh.T + bias)
    return slots[1:].copy(), (x, slots, weight_ih, weight_hh)


def rnn_backward(dh, cache):
    x, slots, weight_ih, weight_hh = cache
    dx = np.zeros_like(x)
    dweight_ih, dweight_hh = np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    dbias = np.zeros(len(weight_hh))
    carried = np.zeros_like(slots[0])
    for t in reversed(range(len(x))):
        da = (dh[t] + carried) * (1 - slots[t + 1] ** 2)
        dx[t] = da @ weight_ih
        carried = da @ weight_hh
        dweight_ih += da.T @ x[t]
        dweight_hh += da.T @ slots[t]
        dbias += da.sum(axis=0)
    return dx, carried, dweight_ih, dweight_hh, dbias
