"""Solution: a GRU over rows of different length."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_forward(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, lengths):
    slots, steps = np.zeros((len(x) + 1, *h0.shape)), []
    slots[0] = h0
    for t in range(len(x)):
        h_prev, valid = slots[t], (t < lengths)[:, None]
        u_r, u_z, u_n = np.split(x[t] @ weight_ih.T + bias_ih, 3, axis=1)
        v_r, v_z, v_n = np.split(h_prev @ weight_hh.T + bias_hh, 3, axis=1)
        r, z = sigmoid(u_r + v_r), sigmoid(u_z + v_z)
        n = np.tanh(u_n + r * v_n)
        slots[t + 1] = np.where(valid, (1 - z) * n + z * h_prev, h_prev)
        steps.append((valid, r, z, n, v_n))
    return slots[1:].copy(), (x, slots, weight_ih, weight_hh, steps)


def gru_backward(dh, cache):
    x, slots, weight_ih, weight_hh, steps = cache
    dx = np.zeros_like(x)
    dweight_ih, dweight_hh = np.zeros_like(weight_ih), np.zeros_like(weight_hh)
    dbias_ih, dbias_hh = np.zeros(len(weight_hh)), np.zeros(len(weight_hh))
    carried = np.zeros_like(slots[0])
    for t in reversed(range(len(x))):
        valid, r, z, n, v_n = steps[t]
        h_prev = slots[t]
        total = dh[t] + carried
        dn, dz = total * (1 - z), total * (h_prev - n)
        da_n = dn * (1 - n**2)
        da_r, da_z = da_n * v_n * r * (1 - r), dz * z * (1 - z)
        du = np.where(valid, np.hstack([da_r, da_z, da_n]), 0)
        dv = np.where(valid, np.hstack([da_r, da_z, da_n * r]), 0)
        dx[t] = du @ weight_ih
        carried = np.where(valid, total * z, total) + dv @ weight_hh
        dweight_ih += du.T @ x[t]
        dweight_hh += dv.T @ h_prev
        dbias_ih += du.sum(axis=0)
        dbias_hh += dv.sum(axis=0)
    return dx, carried, dweight_ih, dweight_hh, dbias_ih, dbias_hh
