"""Solution: truncated backpropagation through time."""

import numpy as np


def truncated_bptt(x, h0, dh, weight_ih, weight_hh, bias, k1, k2):
    T = len(x)
    slots = [h0]
    for t in range(T):
        slots.append(np.tanh(x[t] @ weight_ih.T + slots[t] @ weight_hh.T + bias))
    dweight_ih, dweight_hh, dbias = np.zeros_like(weight_ih), np.zeros_like(weight_hh), np.zeros_like(bias)
    for start in range(0, T, k1):
        stop = min(start + k1, T)
        carried = np.zeros_like(h0)
        for t in range(stop - 1, max(0, stop - k2) - 1, -1):
            total = carried + dh[t] if t >= start else carried
            da = total * (1 - slots[t + 1] ** 2)
            carried = da @ weight_hh
            dweight_ih += da.T @ x[t]
            dweight_hh += da.T @ slots[t]
            dbias += da.sum(axis=0)
    return dweight_ih, dweight_hh, dbias
