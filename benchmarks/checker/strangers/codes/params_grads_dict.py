"""A layer with dicts params and grads and __call__, a tuple cache in self."""
import numpy as np

class Gated:
    def __init__(self, d, h, rng):
        self.params = {"W": rng.normal(size=(d, h)), "V": rng.normal(size=(d, h)), "b": rng.normal(size=h)}
        self.grads = {}

    def __call__(self, x):
        a = np.tanh(x @ self.params["W"] + self.params["b"])
        g = 1 / (1 + np.exp(-x @ self.params["V"]))
        self.cache = (x, a, g)
        return a * g

    def backward(self, dy):
        x, a, g = self.cache
        da = dy * g * (1 - a ** 2)
        dg = dy * a * g * (1 - g)
        self.grads["W"] = x.T @ da
        self.grads["V"] = x.T @ dg
        self.grads["b"] = da.sum(0)
        return da @ self.params["W"].T + dg @ self.params["V"].T

# --- data
layer, x = Gated(4, 3, rng), rng.normal(size=(5, 4))
# --- check
report = engine.check_object(layer, x)
# --- bugs
#| dy * a * g * (1 - g) ==> dy * a * (1 - g) ## V, x
#| + dg @ self.params["V"].T ==> ## x
#| self.grads["b"] = da.sum(0) ==> self.grads["b"] = (da + dg).sum(0) ## b
#| self.grads["W"] = x.T @ da ==> self.grads["W"] = x.T @ dg ## W
