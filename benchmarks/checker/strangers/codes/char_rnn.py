"""A character model in one function: dicts of steps, the loss and all gradients returned together."""
import numpy as np

def lossFun(inputs, targets, hprev, Wxh, Whh, Why, bh, by):
    xs, hs, ps = {}, {}, {}
    hs[-1] = np.copy(hprev)
    loss = 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((Wxh.shape[1], 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1] + bh)
        ys = Why @ hs[t] + by
        ps[t] = np.exp(ys) / np.sum(np.exp(ys))
        loss += -np.log(ps[t][targets[t], 0])
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1
        dWhy += dy @ hs[t].T
        dby += dy
        dh = Why.T @ dy + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += dhraw @ xs[t].T
        dWhh += dhraw @ hs[t - 1].T
        dhnext = Whh.T @ dhraw
    return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs) - 1]

# --- data
V, H, T = 5, 4, 6
text = rng.integers(0, V, size=T + 1)
weights = [0.5 * rng.normal(size=s) for s in ((H, V), (H, H), (V, H), (H, 1), (V, 1))]
# --- check
forward = lambda Wxh, Whh, Why, bh, by: (lambda out: (out[0], out[1:6]))(lossFun(text[:-1], text[1:], np.zeros((H, 1)), Wxh, Whh, Why, bh, by))
report = engine.check_gradients(forward, lambda cache: cache, weights)
# --- bugs
#| Why.T @ dy + dhnext ==> Why.T @ dy ## Wxh, Whh, bh
#| dWhh += dhraw @ hs[t - 1].T ==> dWhh += dhraw @ hs[t].T ## Whh
#| dby += dy ==> dby += ps[t] ## by
#| dhnext = Whh.T @ dhraw ==> dhnext = Whh @ dhraw ## Wxh, Whh, bh
