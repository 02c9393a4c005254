"""Functions with tuple caches, as in a course."""
import numpy as np

def affine_relu_forward(x, w, b):
    a = x.reshape(x.shape[0], -1) @ w + b
    return np.maximum(0, a), (x, w, a)

def affine_relu_backward(dout, cache):
    x, w, a = cache
    da = dout * (a > 0)
    dx = (da @ w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T @ da
    db = da.sum(axis=0)
    return dx, dw, db

# --- data
x, w, b = rng.normal(size=(4, 2, 3)), rng.normal(size=(6, 5)), rng.normal(size=5)
# --- check
report = engine.check_gradients(affine_relu_forward, affine_relu_backward, [x, w, b])
# --- bugs
#| da = dout * (a > 0) ==> da = dout * (a > 0.3 * a.max()) ## x, w, b
#| da.sum(axis=0) ==> da.mean(axis=0) ## b
#| .T @ da ==> .T @ dout ## w
#| (da @ w.T) ==> (1.001 * da @ w.T) ## x
