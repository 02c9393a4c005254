"""Backward works in place on the gradient it is given, for speed."""
import numpy as np

def leaky_forward(x, w, slope=0.1):
    a = x @ w
    return np.where(a > 0, a, slope * a), (x, w, a, slope)

def leaky_backward(d, cache):
    x, w, a, slope = cache
    d[a < 0] *= slope
    return d @ w.T, x.T @ d, None

# --- data
x, w = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
# --- check
report = engine.check_gradients(leaky_forward, leaky_backward, [x, w, 0.1], allow=("mutation",))
# --- bugs
#| d[a < 0] *= slope ==> d[a < 0] *= 0 ## x, w
#| d[a < 0] *= slope ==> d[a > 0] *= slope ## x, w
#| x.T @ d, None ==> x.T @ (d * (a > 0)), None ## w
#| d @ w.T, ==> d @ w.T / w.shape[0], ## x
