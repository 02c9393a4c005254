"""A loss that returns its gradient, as in a course: dout is 1."""
import numpy as np

def softmax_loss(x, y):
    shifted = x - x.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    N = x.shape[0]
    loss = -log_probs[np.arange(N), y].sum() / N
    dx = np.exp(log_probs)
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx

# --- data
x, y = rng.normal(size=(6, 4)), rng.integers(0, 4, size=6)
# --- check
report = engine.check_gradients(softmax_loss, lambda dout, dx: dx, [x, y])
# --- bugs
#| dx /= N ==> dx /= 1 ## x
#| y] -= 1 ==> y] -= 0.99 ## x
#| dx = np.exp(log_probs) ==> dx = np.exp(shifted) ## x
#| dx[np.arange(N), y] ==> dx[np.arange(N), y[::-1]] ## x
