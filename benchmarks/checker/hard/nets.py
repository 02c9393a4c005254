"""Recurrent nets and attention as plain pairs of functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.checker.hard.case import Pair, sigmoid, softmax, softmax_back


def rnn(
    rng: Generator, steps: int, gain: float = 1.0, last: bool = False, scale: float = 1.0, slope: Any = None
) -> Pair:
    """h_t = tanh(x_t W + h_{t-1} U + b), or a relu; all h, or the last alone."""
    B, D, H = 2, 3, 4
    act = np.tanh if slope is None else lambda a: np.maximum(a, 0.0)
    slope = slope or (lambda h: 1 - h * h)

    def forward(x: Any, h: Any, w: Any, u: Any, b: Any) -> Any:
        hs = [h]
        for x_t in x:
            hs.append(act(x_t @ w + hs[-1] @ u + b))
        return hs[-1] if last else np.stack(hs[1:]), (x, hs, w, u)

    def backward(dout: Any, cache: Any) -> Any:
        x, hs, w, u = cache
        dx, dh, dw, du, db = np.zeros(x.shape), 0.0, np.zeros(w.shape), np.zeros(u.shape), np.zeros(w.shape[1])
        for t in reversed(range(len(x))):
            dh = dh + (dout if last and t == len(x) - 1 else 0.0 if last else dout[t])
            da = dh * slope(hs[t + 1])
            dx[t], dh = da @ w.T, da @ u.T
            dw, du, db = dw + x[t].T @ da, du + hs[t].T @ da, db + da.sum(axis=0)
        return dx, dh, dw, du, db

    x, h = scale * rng.normal(size=(steps, B, D)), rng.normal(size=(B, H))
    weights = [gain * rng.uniform(-0.5, 0.5, size=shape) for shape in ((D, H), (H, H), (H,))]
    return forward, backward, [x, h, *weights]


def lstm(rng: Generator, steps: int, gain: float = 1.0, zero_state: bool = False, last: bool = False) -> Pair:
    """An LSTM with fused columns i, f, g, o; x and h side by side."""
    B, D, H = 2, 2, 3

    def forward(x: Any, h: Any, c: Any, w: Any, b: Any) -> Any:
        tape, hs = [], []
        for x_t in x:
            z = np.concatenate([x_t, h], axis=1)
            i, f, g, o = np.split(z @ w + b, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            before, c = c, f * c + i * g
            h = o * np.tanh(c)
            tape.append((z, i, f, g, o, before, c))
            hs.append(h)
        return (h if last else np.stack(hs)), (tape, w)

    def backward(dout: Any, cache: Any) -> Any:
        tape, w = cache
        dx, dh, dc = np.zeros((len(tape), B, D)), np.zeros((B, H)), np.zeros((B, H))
        dw, db = np.zeros(w.shape), np.zeros(w.shape[1])
        for t in reversed(range(len(tape))):
            z, i, f, g, o, before, c = tape[t]
            dh = dh + (dout if last and t == len(tape) - 1 else 0.0 if last else dout[t])
            squashed = np.tanh(c)
            dc = dc + dh * o * (1 - squashed**2)
            gates = [dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o)]
            da, dc = np.concatenate(gates, axis=1), dc * f
            dw, db = dw + z.T @ da, db + da.sum(axis=0)
            dz = da @ w.T
            dx[t], dh = dz[:, :D], dz[:, D:]
        return dx, dh, dc, dw, db

    state = np.zeros((B, H)) if zero_state else rng.normal(size=(B, H))
    weights = [gain * rng.uniform(-0.5, 0.5, size=shape) for shape in ((D + H, 4 * H), (4 * H,))]
    return forward, backward, [rng.normal(size=(steps, B, D)), state, state.copy(), *weights]


def gru(rng: Generator, steps: int, gain: float = 1.0) -> Pair:
    """A GRU with the reset before the product."""
    B, D, H = 2, 3, 2

    def forward(x: Any, h: Any, w: Any, u: Any) -> Any:
        tape, hs = [], []
        for x_t in x:
            r, z = np.split(sigmoid(x_t @ w[:, : 2 * H] + h @ u[:, : 2 * H]), 2, axis=1)
            n = np.tanh(x_t @ w[:, 2 * H :] + (r * h) @ u[:, 2 * H :])
            tape.append((x_t, h, r, z, n))
            h = (1 - z) * n + z * h
            hs.append(h)
        return np.stack(hs), (tape, w, u)

    def backward(dout: Any, cache: Any) -> Any:
        tape, w, u = cache
        dx, dh, dw, du = np.zeros((len(tape), B, D)), np.zeros((B, H)), np.zeros(w.shape), np.zeros(u.shape)
        for t in reversed(range(len(tape))):
            x_t, before, r, z, n = tape[t]
            dh = dh + dout[t]
            dn = dh * (1 - z) * (1 - n * n)
            through = dn @ u[:, 2 * H :].T
            gates = np.concatenate([through * before * r * (1 - r), dh * (before - n) * z * (1 - z)], axis=1)
            dx[t] = np.concatenate([gates, dn], axis=1) @ w.T
            dw += x_t.T @ np.concatenate([gates, dn], axis=1)
            du += np.concatenate([before.T @ gates, (r * before).T @ dn], axis=1)
            dh = dh * z + through * r + gates @ u[:, : 2 * H].T
        return dx, dh, dw, du

    weights = [gain * rng.uniform(-0.5, 0.5, size=shape) for shape in ((D, 3 * H), (H, 3 * H))]
    return forward, backward, [rng.normal(size=(steps, B, D)), rng.normal(size=(B, H)), *weights]


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool = False) -> Pair:
    """softmax(q k' / sqrt(d)) v."""
    scale = 1.0 / np.sqrt(q.shape[1])
    allowed = np.tril(np.ones((len(q), len(k)), dtype=bool)) if causal else np.ones((len(q), len(k)), dtype=bool)

    def forward(q: Any, k: Any, v: Any) -> Any:
        p = softmax(np.where(allowed, q @ k.T * scale, -1e30))
        return p @ v, (q, k, v, p)

    def backward(d: Any, cache: Any) -> Any:
        q, k, v, p = cache
        ds = softmax_back(d @ v.T, p) * scale
        return ds @ k, ds.T @ q, p.T @ d

    return forward, backward, [q, k, v]
