"""A whole RNN in functions: a list of caches, one a step."""
import numpy as np

def step(x, h, Wx, Wh, b):
    new = np.tanh(x @ Wx + h @ Wh + b)
    return new, (x, h, Wx, Wh, new)

def step_back(d, cache):
    x, h, Wx, Wh, new = cache
    da = d * (1 - new * new)
    return da @ Wx.T, da @ Wh.T, x.T @ da, h.T @ da, da.sum(0)

def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    h, caches = np.zeros((N, T, h0.shape[1])), []
    prev = h0
    for t in range(T):
        prev, cache = step(x[:, t], prev, Wx, Wh, b)
        h[:, t] = prev
        caches.append(cache)
    return h, caches

def rnn_backward(dh, caches):
    N, T, H = dh.shape
    D = caches[0][0].shape[1]
    dx, dprev = np.zeros((N, T, D)), np.zeros((N, H))
    dWx, dWh, db = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
    for t in reversed(range(T)):
        dxt, dprev, dWx_t, dWh_t, db_t = step_back(dh[:, t] + dprev, caches[t])
        dx[:, t] = dxt
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev, dWx, dWh, db

# --- data
N, T, D, H = 2, 6, 3, 4
x, h0 = rng.normal(size=(N, T, D)), rng.normal(size=(N, H))
Wx, Wh, b = rng.normal(size=(D, H)), 0.5 * rng.normal(size=(H, H)), rng.normal(size=H)
# --- check
report = engine.check_gradients(rnn_forward, rnn_backward, [x, h0, Wx, Wh, b], time_axis=1)
# --- bugs
#| step_back(dh[:, t] + dprev, caches[t]) ==> step_back(dh[:, t], caches[t]) ## x, h0, Wx, Wh, b
#| dWh += dWh_t ==> dWh = dWh_t ## Wh
#| db += db_t ==> db += db_t * (t > 0) ## b
#| reversed(range(T)) ==> reversed(range(1, T)) ## x, h0, Wx, Wh, b
