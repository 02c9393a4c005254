"""One step of an RNN: number by number, with a dict as cache and a dict of gradients."""

import math

import numpy as np


def rnn_step_forward(inputs, state, w, u, b):
    out = np.empty_like(state)
    for row in range(len(inputs)):
        for unit in range(len(b)):
            total = b[unit]
            for k in range(inputs.shape[1]):
                total += w[unit, k] * inputs[row, k]
            for k in range(state.shape[1]):
                total += u[unit, k] * state[row, k]
            out[row, unit] = math.tanh(total)
    return out, {"inputs": inputs, "state": state, "w": w, "u": u, "out": out}


def rnn_step_backward(upstream, kept):
    inputs, state, w, u = kept["inputs"], kept["state"], kept["w"], kept["u"]
    found = {"dx": np.zeros_like(inputs), "dh_prev": np.zeros_like(state)}
    found |= {"dweight_ih": np.zeros_like(w), "dweight_hh": np.zeros_like(u), "dbias": np.zeros(len(u))}
    for row in range(len(inputs)):
        for unit in range(len(u)):
            slope = upstream[row, unit] * (1 - kept["out"][row, unit] ** 2)
            found["dbias"][unit] += slope
            found["dweight_ih"][unit] += slope * inputs[row]
            found["dweight_hh"][unit] += slope * state[row]
            found["dx"][row] += slope * w[unit]
            found["dh_prev"][row] += slope * u[unit]
    return found
