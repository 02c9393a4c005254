"""An RNN, a GRU and an LSTM in plain NumPy, right, in the way they are written in a first course.

Each has one layer and one direction; x is (T, B, D), a state (B, H), and the parameters have PyTorch's names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.checker.second_zoo_bug import (
    LAST,
    NO_GATE,
    B,
    D,
    Gates,
    H,
    Names,
    SecondBug,
    T,
    layer_bug,
    parameters,
    rewritten,
)
from engine.zoo.bug import BugCase

CELL = parameters()


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-a)."""
    return 1.0 / (1.0 + np.exp(-a))


class Student:
    """The parameters of a layer of G gates, and their gradients."""

    G = 1

    def __init__(self, D: int, H: int, rng: np.random.Generator) -> None:
        self.H = H
        shapes = {"weight_ih_l0": (self.G * H, D), "weight_hh_l0": (self.G * H, H)}
        shapes |= {"bias_ih_l0": (self.G * H,), "bias_hh_l0": (self.G * H,)}
        self.params = {name: rng.normal(scale=0.5, size=shape) for name, shape in shapes.items()}
        self.grads = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.work = np.zeros((self.G * H, H))  # where backward gathers the gradient of the recurrent weights
        self.last: Any = None  # the latest tape, for a look from outside


class StudentRNN(Student):
    """h = tanh(W x + b_ih + U h_prev + b_hh); rows may end early."""

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any, Any]:
        """Outputs (0 past a row's end), the state after each row's end, and the tape."""
        T, B, _ = x.shape
        p = self.params
        lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
        h, y = np.zeros((T + 1, B, self.H)), np.zeros((T, B, self.H))
        h[0] = 0 if state is None else state
        for t in range(T):
            a = x[t] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h[t] @ p["weight_hh_l0"].T + p["bias_hh_l0"]
            valid = (lengths > t)[:, None]
            h[t + 1] = np.where(valid, np.tanh(a), h[t])
            y[t] = np.where(valid, h[t + 1], 0)
        self.last = (x.copy(), h, lengths)
        return y, h[T].copy(), self.last

    def backward(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """Gradients of x and of the first state; adds to ``grads``."""
        x, h, lengths = tape
        T, B, D = x.shape
        W, U = self.params["weight_ih_l0"], self.params["weight_hh_l0"]
        dW, dU, db_ih, db_hh = np.zeros(W.shape), np.zeros(U.shape), np.zeros(self.H), np.zeros(self.H)
        dx = np.zeros((T, B, D))
        dh = dstate
        for t in range(T - 1, -1, -1):
            valid = (lengths > t)[:, None]
            dh = dh + np.where(valid, dy[t], 0)
            da = np.where(valid, dh * (1 - h[t + 1] ** 2), 0)
            dW += da.T @ x[t]
            dU += da.T @ h[t]
            db_ih += da.sum(axis=0)
            db_hh += da.sum(axis=0)
            dx[t] = da @ W
            dh = np.where(valid, da @ U, dh)
        self.grads["weight_ih_l0"] += dW
        self.grads["weight_hh_l0"] += dU
        self.grads["bias_ih_l0"] += db_ih
        self.grads["bias_hh_l0"] += db_hh
        return dx, dh


class StudentGRU(Student):
    """Gates r, z, n; the reset gate acts after the product."""

    G = 3

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any, Any]:
        """Outputs, the last state, and the tape."""
        T, B, _ = x.shape
        H, p = self.H, self.params
        h = [np.zeros((B, H)) if state is None else state]
        steps = []
        for t in range(T):
            a = x[t] @ p["weight_ih_l0"].T + p["bias_ih_l0"]
            u = h[t] @ p["weight_hh_l0"].T + p["bias_hh_l0"]
            r, z = sigmoid(a[:, :H] + u[:, :H]), sigmoid(a[:, H : 2 * H] + u[:, H : 2 * H])
            n = np.tanh(a[:, 2 * H :] + r * u[:, 2 * H :])
            h.append((1 - z) * n + z * h[t])
            steps.append((r, z, n, u[:, 2 * H :]))
        return np.stack(h[1:]), h[-1].copy(), (x.copy(), np.stack(h), steps)

    def backward(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """Gradients of x and of the first state; adds to ``grads``."""
        x, h, steps = tape
        T, B, D = x.shape
        W, U = self.params["weight_ih_l0"], self.params["weight_hh_l0"]
        dU = self.work
        dU[...] = 0
        dx = np.zeros((T, B, D))
        dh = dstate
        for t in range(T - 1, -1, -1):
            r, z, n, u_n = steps[t]
            dh = dh + dy[t]
            dz = dh * (h[t] - n)
            dn = dh * (1 - z)
            da_n = dn * (1 - n**2)
            dr = da_n * u_n
            da_r = dr * r * (1 - r)
            da_z = dz * z * (1 - z)
            da = np.concatenate([da_r, da_z, da_n], axis=1)
            du = np.concatenate([da_r, da_z, da_n * r], axis=1)
            self.grads["weight_ih_l0"] += da.T @ x[t]
            self.grads["bias_ih_l0"] += da.sum(axis=0)
            self.grads["bias_hh_l0"] += du.sum(axis=0)
            dU += du.T @ h[t]
            dx[t] = da @ W
            dh = dh * z + du @ U
        self.grads["weight_hh_l0"] += dU
        return dx, dh


class StudentLSTM(Student):
    """Gates i, f, g, o; the state is (h, c)."""

    G = 4

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any, Any]:
        """Outputs, the last state, and the tape."""
        T, B, _ = x.shape
        H, p = self.H, self.params
        h, c, gates = np.zeros((T + 1, B, H)), np.zeros((T + 1, B, H)), np.zeros((T, B, 4 * H))
        if state is not None:
            h[0], c[0] = state
        for t in range(T):
            a = x[t] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h[t] @ p["weight_hh_l0"].T + p["bias_hh_l0"]
            gates[t] = sigmoid(a)
            gates[t, :, 2 * H : 3 * H] = np.tanh(a[:, 2 * H : 3 * H])
            i, f, g, o = np.split(gates[t], 4, axis=1)
            c[t + 1] = f * c[t] + i * g
            h[t + 1] = o * np.tanh(c[t + 1])
        return h[1:].copy(), (h[T].copy(), c[T].copy()), (x.copy(), h, c, gates)

    def backward(self, tape: Any, dy: Any, dstate: Any) -> tuple[Any, Any]:
        """Gradients of x and of the first state; adds to ``grads``."""
        x, h, c, gates = tape
        T, B, D = x.shape
        H = self.H
        W, U = self.params["weight_ih_l0"], self.params["weight_hh_l0"]
        dW, dU, db_ih, db_hh = np.zeros(W.shape), np.zeros(U.shape), np.zeros(4 * H), np.zeros(4 * H)
        dx = np.zeros((T, B, D))
        dh, dc = dstate
        for t in reversed(range(T)):
            i, f, g, o = np.split(gates[t], 4, axis=1)
            dh = dh + dy[t]
            tanh_c = np.tanh(c[t + 1])
            do = dh * tanh_c
            dc = dc + dh * o * (1 - tanh_c**2)
            dc_prev = dc * f
            di, df, dg = dc * g, dc * c[t], dc * i
            da = np.zeros((B, 4 * H))
            da[:, :H] = di * i * (1 - i)
            da[:, H : 2 * H] = df * f * (1 - f)
            da[:, 2 * H : 3 * H] = dg * (1 - g**2)
            da[:, 3 * H :] = do * o * (1 - o)
            dW += da.T @ x[t]
            dU += da.T @ h[t]
            db_ih += da.sum(axis=0)
            db_hh += da.sum(axis=0)
            dx[t] = da @ W
            dh, dc = da @ U, dc_prev
        self.grads["weight_ih_l0"] += dW
        self.grads["weight_hh_l0"] += dU
        self.grads["bias_ih_l0"] += db_ih
        self.grads["bias_hh_l0"] += db_hh
        return dx, (dh, dc)


# -- their cases, and bugs in them ------------------------------------------------------------------------------------


def rnn(seed: int, cls: Any = StudentRNN) -> BugCase:
    rng = np.random.default_rng([seed, 11])
    return BugCase(cls(D, H, rng), rng.normal(size=(T, B, D)), rng.normal(size=(B, H)))


def ragged(seed: int, cls: Any = StudentRNN) -> BugCase:
    rng = np.random.default_rng([seed, 12])
    return BugCase(cls(D, H, rng), rng.normal(size=(T, B, D)), rng.normal(size=(B, H)), [T, 2, 1])


def gru(seed: int, cls: Any = StudentGRU) -> BugCase:
    rng = np.random.default_rng([seed, 13])
    return BugCase(cls(D, H, rng), rng.normal(size=(T, B, D)), rng.normal(size=(B, H)))


def lstm(seed: int, cls: Any = StudentLSTM) -> BugCase:
    rng = np.random.default_rng([seed, 14])
    return BugCase(cls(D, H, rng), rng.normal(size=(T, B, D)), (rng.normal(size=(B, H)), rng.normal(size=(B, H))))


_RIGHT: dict[Any, type[Student]] = {rnn: StudentRNN, ragged: StudentRNN, gru: StudentGRU, lstm: StudentLSTM}


def student_bug(
    setting: Any,
    name: str,
    story: str,
    was: str,
    becomes: str,
    names: Names = CELL,
    gates: Gates = NO_GATE,
    time_step: int | None = LAST,
    method: str = "backward",
    **more: Any,
) -> SecondBug:
    """A bug in one line of a student's method."""
    right = _RIGHT[setting]
    wrong = type("Wrong" + right.__name__, (right,), {method: rewritten(getattr(right, method), was, becomes)})
    return layer_bug("layer", name, story, setting, {"cls": wrong}, names, gates, time_step, **more)
