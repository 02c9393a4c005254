"""Causal self-attention as a function, everything in dicts."""
import numpy as np

def attention_forward(x, params):
    q, k, v = x @ params["Wq"], x @ params["Wk"], x @ params["Wv"]
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -1e9)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    att = e / e.sum(-1, keepdims=True)
    return att @ v, {"x": x, "q": q, "k": k, "v": v, "att": att, "params": params}

def attention_backward(dout, cache):
    x, q, k, v, att, params = (cache[name] for name in ("x", "q", "k", "v", "att", "params"))
    dv = att.transpose(0, 2, 1) @ dout
    datt = dout @ v.transpose(0, 2, 1)
    dscores = att * (datt - (datt * att).sum(-1, keepdims=True))
    dscores = dscores / np.sqrt(q.shape[-1])
    dq, dk = dscores @ k, dscores.transpose(0, 2, 1) @ q
    grads = {"dW" + n: np.einsum("btd,bte->de", x, d) for n, d in (("q", dq), ("k", dk), ("v", dv))}
    dx = dq @ params["Wq"].T + dk @ params["Wk"].T + dv @ params["Wv"].T
    return dx, grads

# --- data
B, T, D, E = 2, 4, 3, 5
x, params = rng.normal(size=(B, T, D)), {name: rng.normal(size=(D, E)) for name in ("Wq", "Wk", "Wv")}
# --- check
report = engine.check_gradients(attention_forward, attention_backward, [x, params])
# --- bugs
#| dscores = dscores / np.sqrt(q.shape[-1]) ==> dscores = dscores / q.shape[-1] ## params.Wq, params.Wk, x
#| (datt - (datt * att).sum(-1, keepdims=True)) ==> datt ## params.Wq, params.Wk, x
#| att.transpose(0, 2, 1) @ dout ==> att @ dout ## params.Wv, x
#| + dv @ params["Wv"].T ==> ## x
