"""A recurrent net whose buffers are float32, whatever it is given."""
import numpy as np

def forward(x, W, U):
    T, N, _ = x.shape
    hs = np.zeros((T + 1, N, U.shape[0]), dtype=np.float32)
    for t in range(T):
        hs[t + 1] = np.tanh(x[t] @ W + hs[t] @ U)
    return hs[1:], (x, W, U, hs)

def backward(dout, cache):
    x, W, U, hs = cache
    dx, dW, dU = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U)
    carry = np.zeros_like(hs[0])
    for t in range(len(x) - 1, -1, -1):
        da = (dout[t] + carry) * (1 - hs[t + 1] ** 2)
        dW += x[t].T @ da
        dU += hs[t].T @ da
        dx[t] = da @ W.T
        carry = da @ U.T
    return dx, dW, dU

# --- data
x, W, U = rng.normal(size=(4, 2, 3)), rng.normal(size=(3, 5)), 0.5 * rng.normal(size=(5, 5))
# --- check
report = engine.check_gradients(forward, backward, [x, W, U], time_axis=0)
# --- bugs
#| carry = da @ U.T ==> carry = da @ U ## x, W, U
#| dU += hs[t].T @ da ==> dU += hs[t + 1].T @ da ## U
#| dx[t] = da @ W.T ==> dx[t] = da @ W.T * (1 + 0.01 * t) ## x
#| (1 - hs[t + 1] ** 2) ==> (1 - hs[t] ** 2) ## x, W, U
