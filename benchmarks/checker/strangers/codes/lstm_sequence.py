"""An LSTM over time with one weight for [x, h], a dict of caches a step and gradients in a dict by name."""
import numpy as np

def sig(z):
    return 1.0 / (1.0 + np.exp(-z))

def forward(X, W, b):
    T, N, D = X.shape
    H = W.shape[1] // 4
    h, c = np.zeros((N, H)), np.zeros((N, H))
    hs, caches = np.zeros((T, N, H)), []
    for t in range(T):
        z = np.concatenate([X[t], h], axis=1)
        i, f, g, o = np.split(z @ W + b, 4, axis=1)
        i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
        c_prev, c = c, f * c + i * g
        h = o * np.tanh(c)
        hs[t] = h
        caches.append(dict(z=z, i=i, f=f, g=g, o=o, c=c, c_prev=c_prev))
    return hs, {"steps": caches, "W": W, "D": D}

def backward(dhs, cache):
    W, D = cache["W"], cache["D"]
    dW, db = np.zeros_like(W), np.zeros(W.shape[1])
    dX = np.zeros((len(dhs), dhs.shape[1], D))
    dh_next, dc_next = np.zeros_like(dhs[0]), np.zeros_like(dhs[0])
    for t in range(len(dhs) - 1, -1, -1):
        s = cache["steps"][t]
        dh = dhs[t] + dh_next
        tc = np.tanh(s["c"])
        dc = dh * s["o"] * (1 - tc ** 2) + dc_next
        di, df, dg, do = dc * s["g"], dc * s["c_prev"], dc * s["i"], dh * tc
        da = np.concatenate([di * s["i"] * (1 - s["i"]), df * s["f"] * (1 - s["f"]),
                             dg * (1 - s["g"] ** 2), do * s["o"] * (1 - s["o"])], axis=1)
        dW += s["z"].T @ da
        db += da.sum(0)
        dz = da @ W.T
        dX[t], dh_next = dz[:, :D], dz[:, D:]
        dc_next = dc * s["f"]
    return {"dX": dX, "dW": dW, "db": db}

# --- data
T, N, D, H = 5, 2, 3, 4
X, W, b = rng.normal(size=(T, N, D)), 0.5 * rng.normal(size=(D + H, 4 * H)), rng.normal(size=4 * H)
# --- check
report = engine.check_gradients(forward, backward, [X, W, b], time_axis=0, gates="ifgo", gate_axis=-1)
# --- bugs
#| dc_next = dc * s["f"] ==> dc_next = dc ## X, W, b
#| do * s["o"] * (1 - s["o"]) ==> do * (1 - s["o"]) ## W, b @ o
#| dh = dhs[t] + dh_next ==> dh = dhs[t] ## X, W, b
#| dX[t], dh_next = dz[:, :D] ==> dX[t], dh_next = dz[:, :D] * (t > 0) ## X
