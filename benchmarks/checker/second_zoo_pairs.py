"""Pairs of functions as they are written in a course on deep learning, right: x is (N, T, D), W is (D, M).

``forward(*inputs) -> (out, cache)`` and ``backward(dout, cache) -> gradients``; integer inputs have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.checker.second_zoo_bug import B as N
from benchmarks.checker.second_zoo_bug import D, H, Pair, T
from benchmarks.checker.second_zoo_students import sigmoid

V, M = 7, 6  # words of a vocabulary; outputs of a dense layer
EPS = 1e-5  # inside the root of a layer norm
SMOOTH = 0.1  # of the labels


def _draw(*shapes: tuple[int, ...]) -> Any:
    """Inputs with random numbers, of one shape after the other."""
    return lambda rng: tuple(rng.normal(scale=0.7, size=shape) for shape in shapes)


# -- a tanh RNN over time ----------------------------------------------------------------------------------------------


def rnn_forward(x: Any, h0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    h = [h0]
    for t in range(x.shape[1]):
        h.append(np.tanh(x[:, t] @ Wx + h[t] @ Wh + b))
    return np.stack(h[1:], axis=1), (x, np.stack(h, axis=1), Wx, Wh)


def rnn_backward(dout: Any, cache: Any) -> Any:
    x, h, Wx, Wh = cache
    T, H = x.shape[1], h.shape[2]
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(H)
    dnext = np.zeros((len(x), H))
    for t in reversed(range(T)):
        dh = dout[:, t] + dnext
        da = dh * (1 - h[:, t + 1] ** 2)
        dx[:, t] = da @ Wx.T
        dWx += x[:, t].T @ da
        dWh += h[:, t].T @ da
        db += da.sum(axis=0)
        dnext = da @ Wh.T
    return dx, dnext, dWx, dWh, db


RNN = Pair(rnn_forward, rnn_backward, _draw((N, T, D), (N, H), (D, H), (H, H), (H,)), time_axis=1)

# -- steps of an LSTM (gates i, f, o, g), of one with peepholes, and of a GRU with reset before ------------------------


def lstm_forward(x: Any, h: Any, c: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    a_i, a_f, a_o, a_g = np.split(x @ Wx + h @ Wh + b, 4, axis=1)
    i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), np.tanh(a_g)
    c_new = f * c + i * g
    h_new = o * np.tanh(c_new)
    return (h_new, c_new), (x, h, c, Wx, Wh, i, f, o, g, h_new, c_new)


def lstm_backward(dout: Any, cache: Any) -> Any:
    dh_new, dc_new = dout
    x, h, c, Wx, Wh, i, f, o, g, _, c_new = cache
    tanh_c = np.tanh(c_new)
    do = dh_new * tanh_c
    dc = dc_new + dh_new * o * (1 - tanh_c**2)
    dc_prev = dc * f
    da_i, da_f = dc * g * i * (1 - i), dc * c * f * (1 - f)
    da_o, da_g = do * o * (1 - o), dc * i * (1 - g**2)
    da = np.hstack((da_i, da_f, da_o, da_g))
    return da @ Wx.T, da @ Wh.T, dc_prev, x.T @ da, h.T @ da, da.sum(axis=0)


LSTM_STEP = Pair(lstm_forward, lstm_backward, _draw((N, D), (N, H), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,)))


def peephole_forward(x: Any, h: Any, c: Any, Wx: Any, Wh: Any, b: Any, p: Any) -> Any:
    a_i, a_f, a_o, a_g = np.split(x @ Wx + h @ Wh + b, 4, axis=1)
    i, f, g = sigmoid(a_i + p[0] * c), sigmoid(a_f + p[1] * c), np.tanh(a_g)
    c_new = f * c + i * g
    o = sigmoid(a_o + p[2] * c_new)
    return (o * np.tanh(c_new), c_new), (x, h, c, Wx, Wh, p, i, f, o, g, c_new)


def peephole_backward(dout: Any, cache: Any) -> Any:
    dh_new, dc_new = dout
    x, h, c, Wx, Wh, p, i, f, o, g, c_new = cache
    tanh_c = np.tanh(c_new)
    da_o = dh_new * tanh_c * o * (1 - o)
    dc = dc_new + dh_new * o * (1 - tanh_c**2) + p[2] * da_o
    da_i, da_f, da_g = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)
    dc_prev = dc * f + p[0] * da_i + p[1] * da_f
    dp = np.stack([(da_i * c).sum(axis=0), (da_f * c).sum(axis=0), (da_o * c_new).sum(axis=0)])
    da = np.hstack((da_i, da_f, da_o, da_g))
    return da @ Wx.T, da @ Wh.T, dc_prev, x.T @ da, h.T @ da, da.sum(axis=0), dp


PEEPHOLE_STEP = Pair(
    peephole_forward,
    peephole_backward,
    _draw((N, D), (N, H), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,), (3, H)),
)


def gru_forward(x: Any, h: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    H = h.shape[1]
    a = x @ Wx + b
    r, z = np.split(sigmoid(a[:, : 2 * H] + h @ Wh[:, : 2 * H]), 2, axis=1)
    reset = r * h
    n = np.tanh(a[:, 2 * H :] + reset @ Wh[:, 2 * H :])
    return z * h + (1 - z) * n, (x, h, Wx, Wh, r, z, n, reset)


def gru_backward(dout: Any, cache: Any) -> Any:
    x, h, Wx, Wh, r, z, n, reset = cache
    H = h.shape[1]
    da_n = dout * (1 - z) * (1 - n**2)
    da_z = dout * (h - n) * z * (1 - z)
    dreset = da_n @ Wh[:, 2 * H :].T
    da_r = dreset * h * r * (1 - r)
    da_rz = np.hstack((da_r, da_z))
    da = np.hstack((da_rz, da_n))
    dh = dout * z + dreset * r + da_rz @ Wh[:, : 2 * H].T
    return da @ Wx.T, dh, x.T @ da, np.hstack((h.T @ da_rz, reset.T @ da_n)), da.sum(axis=0)


GRU_STEP = Pair(gru_forward, gru_backward, _draw((N, D), (N, H), (D, 3 * H), (H, 3 * H), (3 * H,)))

# -- around the recurrent part -----------------------------------------------------------------------------------------


def loss_forward(x: Any, targets: Any, mask: Any) -> Any:
    """Cross entropy with smoothed labels, over the words that count, for each row of the batch."""
    N, _, V = x.shape
    p = np.exp(x - x.max(axis=2, keepdims=True))
    p = p / p.sum(axis=2, keepdims=True)
    wanted = (1 - SMOOTH) * np.eye(V)[targets] + SMOOTH / V
    loss = -(wanted * np.log(p)).sum(axis=2)
    return np.array([(loss * mask).sum() / N]), (p, targets, mask)


def loss_backward(dout: Any, cache: Any) -> Any:
    p, targets, mask = cache
    N, T, V = p.shape
    dx = p - SMOOTH / V
    dx[np.arange(N)[:, None], np.arange(T), targets] -= 1 - SMOOTH
    dx = dx * mask[:, :, None]
    return dout * dx / N, None, None


def _scores(rng: np.random.Generator) -> tuple[Any, ...]:
    mask = (np.arange(T) < np.array([T, 3, 1])[:, None]).astype(int)
    return rng.normal(size=(N, T, V)), rng.integers(V, size=(N, T)), mask


LOSS = Pair(loss_forward, loss_backward, _scores, time_axis=1)


def affine_forward(x: Any, W: Any, b: Any) -> Any:
    return x @ W + b, (x, W)


def affine_backward(dout: Any, cache: Any) -> Any:
    x, W = cache
    D, M = W.shape
    dW = x.reshape(-1, D).T @ dout.reshape(-1, M)
    return dout @ W.T, dW, dout.sum(axis=(0, 1))


AFFINE = Pair(affine_forward, affine_backward, _draw((N, T, D), (D, M), (M,)), time_axis=1)


def embedding_forward(ids: Any, W: Any) -> Any:
    """Vectors of words, scaled as in a Transformer."""
    scale = np.sqrt(W.shape[1])
    return W[ids] * scale, (ids, W.shape, scale)


def embedding_backward(dout: Any, cache: Any) -> Any:
    ids, shape, scale = cache
    dW = np.zeros(shape)
    np.add.at(dW, ids.reshape(-1), dout.reshape(-1, shape[1]) * scale)
    return None, dW


EMBEDDING = Pair(
    embedding_forward, embedding_backward, lambda rng: (rng.integers(V, size=(N, T)), rng.normal(size=(V, D)))
)


def norm_forward(x: Any, gamma: Any, beta: Any) -> Any:
    centred = x - x.mean(axis=2, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=2, keepdims=True) + EPS)
    return gamma * centred / std + beta, (x, centred, std, gamma)


def norm_backward(dout: Any, cache: Any) -> Any:
    _, centred, std, gamma = cache
    normed = centred / std
    dnormed = dout * gamma
    dcentred = dnormed - normed * (dnormed * normed).mean(axis=2, keepdims=True)
    dx = (dcentred - dcentred.mean(axis=2, keepdims=True)) / std
    return dx, (dout * normed).sum(axis=(0, 1)), dout.sum(axis=(0, 1))


NORM = Pair(norm_forward, norm_backward, _draw((N, T, H), (H,), (H,)), time_axis=1)


def attention_forward(h: Any, w: Any, mask: Any) -> Any:
    """The states' mean, weighted by a softmax of the scores h w over the steps that count."""
    score = np.exp(h @ w) * mask
    a = score / score.sum(axis=1, keepdims=True)
    return (a[:, :, None] * h).sum(axis=1), (h, w, a)


def attention_backward(dout: Any, cache: Any) -> Any:
    h, w, a = cache
    da = (h * dout[:, None]).sum(axis=2)
    dscore = a * (da - (a * da).sum(axis=1, keepdims=True))
    dh = a[:, :, None] * dout[:, None] + dscore[:, :, None] * w
    return dh, (dscore[:, :, None] * h).sum(axis=(0, 1)), None


def _states(rng: np.random.Generator) -> tuple[Any, ...]:
    mask = (np.arange(T) < np.array([4, T, 2])[:, None]).astype(int)
    return rng.normal(size=(N, T, H)), rng.normal(size=H), mask


ATTENTION = Pair(attention_forward, attention_backward, _states, time_axis=1)
