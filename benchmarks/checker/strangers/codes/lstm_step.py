"""A step of an LSTM with fused (D, 4H) weights in the order i, f, o, g; it returns h, c and the cache."""
import numpy as np

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x @ Wx + prev_h @ Wh + b
    i, f = sigmoid(a[:, :H]), sigmoid(a[:, H:2 * H])
    o, g = sigmoid(a[:, 2 * H:3 * H]), np.tanh(a[:, 3 * H:])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)

def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
    dnext_c = dnext_c + dnext_h * o * (1 - np.tanh(next_c) ** 2)
    do = dnext_h * np.tanh(next_c)
    di, dg, df = dnext_c * g, dnext_c * i, dnext_c * prev_c
    da = np.hstack((di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g ** 2)))
    return da @ Wx.T, da @ Wh.T, dnext_c * f, x.T @ da, prev_h.T @ da, da.sum(axis=0)

# --- data
N, D, H = 3, 4, 5
inputs = [rng.normal(size=s) for s in ((N, D), (N, H), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,))]
# --- check
report = engine.check_gradients(lstm_step_forward, lstm_step_backward, inputs, gates="ifog")
# --- bugs
#| df * f * (1 - f) ==> df * f ## Wx, Wh, b @ f
#| dg * (1 - g ** 2) ==> dg * g * (1 - g) ## Wx, Wh, b @ g
#| dnext_c * f, x.T ==> dnext_c * i, x.T ## prev_c
#| dnext_c + dnext_h * o * (1 - np.tanh(next_c) ** 2) ==> dnext_c + dnext_h * (1 - np.tanh(next_c) ** 2) ## prev_c, Wx, Wh, b
