"""A GRU with lengths: each row of the batch by itself, as far as it is long."""

import numpy as np


def sigmoid(a):
    return np.where(a >= 0, 1 / (1 + np.exp(-abs(a))), np.exp(-abs(a)) / (1 + np.exp(-abs(a))))


def gru_forward(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, lengths):
    H = h0.shape[1]
    h, rows = np.repeat(h0[None], len(x), axis=0), []
    for b, length in enumerate(lengths):
        state, steps = h0[b], []
        for t in range(length):
            u, v = weight_ih @ x[t, b] + bias_ih, weight_hh @ state + bias_hh
            r, z = sigmoid(u[:H] + v[:H]), sigmoid(u[H : 2 * H] + v[H : 2 * H])
            n = np.tanh(u[2 * H :] + r * v[2 * H :])
            steps.append((state, r, z, n, v[2 * H :]))
            state = n + z * (state - n)
            h[t, b] = state
        h[length:, b] = state
        rows.append(steps)
    return h, (x, weight_ih, weight_hh, rows)


def gru_backward(dh, cache):
    x, weight_ih, weight_hh, rows = cache
    dx, dh0 = np.zeros_like(x), np.zeros_like(dh[0])
    grads = [np.zeros_like(weight_ih), np.zeros_like(weight_hh), np.zeros(len(weight_hh)), np.zeros(len(weight_hh))]
    for b, steps in enumerate(rows):
        back = dh[len(steps) :, b].sum(axis=0)  # padding hands everything to the last real step
        for t in range(len(steps) - 1, -1, -1):
            state, r, z, n, v_n = steps[t]
            back = back + dh[t, b]
            dn = back * (1 - z) * (1 - n * n)
            du = np.concatenate([dn * v_n * r * (1 - r), back * (state - n) * z * (1 - z), dn])
            dv = np.concatenate([du[: -len(n)], dn * r])
            back = back * z + dv @ weight_hh
            dx[t, b] = du @ weight_ih
            for grad, one in zip(grads, (np.outer(du, x[t, b]), np.outer(dv, state), du, dv), strict=True):
                grad += one
        dh0[b] = back
    return (dx, dh0, *grads)
