"""A layer that keeps its input in self.x and its gradients in self.dW, self.db."""
import numpy as np

class Dense:
    def __init__(self, fan_in, fan_out, rng):
        self.W = rng.normal(size=(fan_in, fan_out)) / np.sqrt(fan_in)
        self.b = np.zeros(fan_out)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = np.sum(dout, axis=0)
        return dout @ self.W.T

# --- data
layer, x = Dense(5, 3, rng), rng.normal(size=(6, 5))
# --- check
report = engine.check_object(layer, x)
# --- bugs
#| self.x.T @ dout ==> self.x.T @ dout / len(dout) ## W
#| np.sum(dout, axis=0) ==> np.sum(dout, axis=0)[[1, 0, 2]] ## b
#| dout @ self.W.T ==> dout @ np.abs(self.W).T ## x
#| self.dW = self.x.T @ dout ==> self.dW = self.x.T @ np.sign(dout) ## W
