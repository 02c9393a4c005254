"""A hinge loss with regularisation, weights in and (loss, dW) out."""
import numpy as np

def svm_loss_vectorized(W, X, y, reg):
    scores = X @ W
    N = X.shape[0]
    margins = np.maximum(0, scores - scores[np.arange(N), y][:, None] + 1)
    margins[np.arange(N), y] = 0
    loss = margins.sum() / N + reg * np.sum(W * W)
    binary = (margins > 0).astype(float)
    binary[np.arange(N), y] = -binary.sum(axis=1)
    dW = X.T @ binary / N + 2 * reg * W
    return loss, dW

# --- data
W, X, y = rng.normal(size=(5, 3)), rng.normal(size=(7, 5)), rng.integers(0, 3, size=7)
# --- check
report = engine.check_gradients(svm_loss_vectorized, lambda dW: dW, [W, X, y, 0.1], check=["W"])
# --- bugs
#| 2 * reg * W ==> reg * W ## W
#| = -binary.sum(axis=1) ==> = -1 ## W
#| X.T @ binary / N ==> X.T @ binary ## W
#| (margins > 0) ==> (margins > margins.max() / 2) ## W
