"""One step of an RNN, as in a course."""
import numpy as np

def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)

def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h ** 2)
    dx, dprev_h = da @ Wx.T, da @ Wh.T
    dWx, dWh, db = x.T @ da, prev_h.T @ da, da.sum(0)
    return dx, dprev_h, dWx, dWh, db

# --- data
N, D, H = 3, 4, 5
x, h, Wx, Wh, b = (rng.normal(size=s) for s in ((N, D), (N, H), (D, H), (H, H), (H,)))
# --- check
report = engine.check_gradients(rnn_step_forward, rnn_step_backward, [x, h, Wx, Wh, b])
# --- bugs
#| da @ Wh.T ==> da @ Wh ## prev_h
#| (1 - next_h ** 2) ==> (1 - next_h) ## x, prev_h, Wx, Wh, b
#| prev_h.T @ da ==> next_h.T @ da ## Wh
#| x.T @ da ==> -x.T @ da ## Wx
