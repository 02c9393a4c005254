"""Solution: one step of a GRU."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def gru_step_forward(x, h_prev, weight_ih, weight_hh, bias_ih, bias_hh):
    u_r, u_z, u_n = np.split(x @ weight_ih.T + bias_ih, 3, axis=1)
    v_r, v_z, v_n = np.split(h_prev @ weight_hh.T + bias_hh, 3, axis=1)
    r, z = sigmoid(u_r + v_r), sigmoid(u_z + v_z)
    n = np.tanh(u_n + r * v_n)
    h = (1 - z) * n + z * h_prev
    return h, (x, h_prev, weight_ih, weight_hh, r, z, n, v_n)


def gru_step_backward(dh, cache):
    x, h_prev, weight_ih, weight_hh, r, z, n, v_n = cache
    dn, dz = dh * (1 - z), dh * (h_prev - n)  # h = (1 - z) * n + z * h_prev
    da_n = dn * (1 - n**2)  # n = tanh(u_n + r * v_n)
    da_r = da_n * v_n * r * (1 - r)
    da_z = dz * z * (1 - z)
    du, dv = np.hstack([da_r, da_z, da_n]), np.hstack([da_r, da_z, da_n * r])
    dh_prev = dh * z + dv @ weight_hh
    return du @ weight_ih, dh_prev, du.T @ x, dv.T @ h_prev, du.sum(axis=0), dv.sum(axis=0)
