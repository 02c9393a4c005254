"""Truncated backpropagation: while loops, one array that is carried, einsum."""

import numpy as np


def truncated_bptt(x, h0, dh, weight_ih, weight_hh, bias, k1, k2):
    T = x.shape[0]
    h = np.zeros((T,) + h0.shape)
    for t in range(T):
        h[t] = np.tanh(x[t] @ weight_ih.T + (h[t - 1] if t else h0) @ weight_hh.T + bias)
    g_ih, g_hh, g_b = 0 * weight_ih, 0 * weight_hh, 0 * bias
    start = 0
    while start < T:
        stop = start + k1 if start + k1 <= T else T
        t, carried = stop - 1, 0
        while t >= max(0, stop - k2):
            if start <= t < stop:
                carried = carried + dh[t]
            da = carried * (1 - h[t] * h[t])
            before = h[t - 1] if t > 0 else h0
            g_ih += np.einsum("bh,bd->hd", da, x[t])
            g_hh += np.einsum("bh,bk->hk", da, before)
            g_b += np.einsum("bh->h", da)
            carried = da @ weight_hh
            t -= 1
        start = stop
    return g_ih, g_hh, g_b
