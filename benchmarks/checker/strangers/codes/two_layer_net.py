"""A network with its loss inside: loss(X, y) returns the loss and a dict of gradients."""
import numpy as np

class TwoLayerNet:
    def __init__(self, d, h, c, rng, reg=0.05):
        self.reg = reg
        self.params = {"W1": rng.normal(size=(d, h)), "b1": rng.normal(size=h), "W2": rng.normal(size=(h, c)), "b2": rng.normal(size=c)}

    def loss(self, X, y):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        N = X.shape[0]
        h = np.maximum(0, X @ W1 + b1)
        s = h @ W2 + b2
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[range(N), y]).mean() + self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        ds = p.copy()
        ds[range(N), y] -= 1
        ds /= N
        grads = {"W2": h.T @ ds + 2 * self.reg * W2, "b2": ds.sum(0)}
        dh = ds @ W2.T
        dh[h <= 0] = 0
        grads["W1"], grads["b1"] = X.T @ dh + 2 * self.reg * W1, dh.sum(0)
        return loss, grads

# --- data
net, X, y = TwoLayerNet(4, 6, 3, rng), rng.normal(size=(5, 4)), rng.integers(0, 3, size=5)
def loss(**params):
    net.params = params
    return net.loss(X, y)
# --- check
report = engine.check_gradients(loss, lambda grads: grads, dict(net.params))
# --- bugs
#| h.T @ ds + 2 * self.reg * W2 ==> h.T @ ds + self.reg * W2 ## W2
#| dh[h <= 0] = 0 ==> dh[dh <= 0] = 0 ## W1, b1
#| ds /= N ==> ds /= N - 1 ## W1, W2, b1, b2
#| X.T @ dh + 2 * self.reg * W1, dh.sum(0) ==> X.T @ dh + 2 * self.reg * W1, dh.mean(0) ## b1
