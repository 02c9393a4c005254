"""Dropout that stores its mask and owns its generator, between two products."""
import numpy as np

class DropNet:
    def __init__(self, rng, p=0.6):
        self.p, self.rng = p, np.random.default_rng(11)
        self.W = rng.normal(size=(4, 6))
        self.U = rng.normal(size=(6, 2))

    def forward(self, x):
        self.x, self.h = x, x @ self.W
        self.mask = (self.rng.random(self.h.shape) < self.p) / self.p
        return (self.h * self.mask) @ self.U

    def backward(self, dout):
        self.dU = (self.h * self.mask).T @ dout
        dh = dout @ self.U.T * self.mask
        self.dW = self.x.T @ dh
        return dh @ self.W.T

# --- data
net, x = DropNet(rng), rng.normal(size=(5, 4))
# --- check
report = engine.check_object(net, x)
# --- bugs
#| self.U.T * self.mask ==> self.U.T * (self.mask > 0) ## W, x
#| (self.h * self.mask).T @ dout ==> self.h.T @ dout ## U
#| dh = dout @ self.U.T * self.mask ==> dh = dout @ self.U.T ## W, x
#| self.dW = self.x.T @ dh ==> self.dW = self.x.T @ dh * self.p ## W
