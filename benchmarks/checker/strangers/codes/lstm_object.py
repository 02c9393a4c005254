"""An LSTM cell as an object with rows of gates (4H, D + H), states as a tuple, gradients as attributes."""
import numpy as np

class LSTMCell:
    def __init__(self, D, H, rng):
        self.H, self.W, self.b = H, 0.5 * rng.normal(size=(4 * H, D + H)), rng.normal(size=(4 * H, 1))

    def forward(self, x, h_prev, c_prev):
        s = lambda a: 1 / (1 + np.exp(-a))
        z = np.vstack([x, h_prev])
        f, i, g, o = np.split(self.W @ z + self.b, 4)
        f, i, g, o = s(f), s(i), np.tanh(g), s(o)
        c = f * c_prev + i * g
        self.cache = z, f, i, g, o, c, c_prev
        return o * np.tanh(c), c

    def backward(self, dh, dc):
        z, f, i, g, o, c, c_prev = self.cache
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        do = dh * np.tanh(c) * o * (1 - o)
        df, di, dg = dc * c_prev * f * (1 - f), dc * g * i * (1 - i), dc * i * (1 - g ** 2)
        da = np.vstack([df, di, dg, do])
        self.dW, self.db = da @ z.T, da.sum(1, keepdims=True)
        dz = self.W.T @ da
        return dz[:-self.H], dz[-self.H:], dc * f

# --- data
cell = LSTMCell(3, 4, rng)
x = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
# --- check
report = engine.check_object(cell, x, gates="figo", gate_axis=0)
# --- bugs
#| dc * g * i * (1 - i) ==> dc * g * i * (1 + i) ## W, b @ i
#| dz[-self.H:], dc * f ==> dz[-self.H:], dc * i ## c_prev
#| da.sum(1, keepdims=True) ==> da[:, :1] ## b
#| do = dh * np.tanh(c) * o * (1 - o) ==> do = dh * c * o * (1 - o) ## W, b @ o
