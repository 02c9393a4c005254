"""An LSTM over a sequence: einsum, buffers that are written in place, all steps' products at the end, a list."""

import numpy as np


class Buffers:
    """What one forward pass leaves."""

    def __init__(self, T, B, H):
        self.gates, self.cells, self.states = np.empty((T, 4, B, H)), np.empty((T + 1, B, H)), np.empty((T + 1, B, H))


def lstm_forward(xs, h0, c0, W, U, b):
    T, (B, H) = len(xs), h0.shape
    kept = Buffers(T, B, H)
    kept.xs, kept.W, kept.U = xs, W.reshape(4, H, -1), U.reshape(4, H, H)
    kept.states[0], kept.cells[0] = h0, c0
    projected = np.einsum("tbd,khd->tkbh", xs, kept.W) + b.reshape(4, 1, H)
    for t in range(T):
        act = kept.gates[t]
        np.einsum("bj,khj->kbh", kept.states[t], kept.U, out=act)
        act += projected[t]
        act[2] = np.tanh(act[2])
        for k in (0, 1, 3):
            act[k] = 0.5 * (1 + np.tanh(0.5 * act[k]))
        kept.cells[t + 1] = act[1] * kept.cells[t]
        kept.cells[t + 1] += act[0] * act[2]
        np.multiply(act[3], np.tanh(kept.cells[t + 1]), out=kept.states[t + 1])
    return kept.states[1:].copy(), kept.cells[-1].copy(), kept


def lstm_backward(dhs, dc_end, kept):
    T = len(dhs)
    da = np.empty_like(kept.gates)
    dh, dc = np.zeros_like(dc_end), dc_end.copy()
    for t in range(T - 1, -1, -1):
        i, f, g, o = kept.gates[t]
        dh += dhs[t]
        squashed = np.tanh(kept.cells[t + 1])
        dc += dh * o * (1 - squashed**2)
        slopes = (i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o))
        for k, before in enumerate((dc * g, dc * kept.cells[t], dc * i, dh * squashed)):
            np.multiply(before, slopes[k], out=da[t, k])
        dh = np.einsum("kbh,khj->bj", da[t], kept.U)
        dc *= f
    H = dc.shape[1]
    return [
        np.einsum("tkbh,khd->tbd", da, kept.W),
        dh,
        dc,
        np.einsum("tkbh,tbd->khd", da, kept.xs).reshape(4 * H, -1),
        np.einsum("tkbh,tbj->khj", da, kept.states[:-1]).reshape(4 * H, H),
        da.sum(axis=(0, 2)).reshape(4 * H),
    ]
