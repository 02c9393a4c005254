"""Two recurrent nets joined by a state; xs and ys are lists of steps, params a dict."""
import numpy as np

def forward(xs, ys, p):
    h = np.zeros((xs[0].shape[0], p["U"].shape[0]))
    enc, dec, out = [], [], []
    for x in xs:
        h_new = np.tanh(x @ p["W"] + h @ p["U"])
        enc.append((x, h, h_new))
        h = h_new
    for y in ys:
        h_new = np.tanh(y @ p["V"] + h @ p["R"])
        dec.append((y, h, h_new))
        h = h_new
        out.append(h @ p["O"])
    return out, (enc, dec, p)

def backward(dout, cache):
    enc, dec, p = cache
    g = {name: np.zeros_like(value) for name, value in p.items()}
    dh, dxs, dys = 0, [], []
    for d, (y, h, h_new) in zip(reversed(dout), reversed(dec)):
        g["O"] += h_new.T @ d
        da = (dh + d @ p["O"].T) * (1 - h_new ** 2)
        g["V"] += y.T @ da
        g["R"] += h.T @ da
        dys.append(da @ p["V"].T)
        dh = da @ p["R"].T
    for x, h, h_new in reversed(enc):
        da = dh * (1 - h_new ** 2)
        g["W"] += x.T @ da
        g["U"] += h.T @ da
        dxs.append(da @ p["W"].T)
        dh = da @ p["U"].T
    return dxs[::-1], dys[::-1], g

# --- data
shapes = {"W": (3, 4), "U": (4, 4), "V": (2, 4), "R": (4, 4), "O": (4, 5)}
p = {name: 0.6 * rng.normal(size=shape) for name, shape in shapes.items()}
xs, ys = [rng.normal(size=(2, 3)) for _ in range(3)], [rng.normal(size=(2, 2)) for _ in range(2)]
# --- check
report = engine.check_gradients(forward, backward, [xs, ys, p])
# --- bugs
#| return dxs[::-1], ==> return dxs, ## xs[0], xs[2]
#| g["R"] += h.T @ da ==> g["R"] += h_new.T @ da ## p.R
#| g["O"] += h_new.T @ d ==> g["O"] = h_new.T @ d ## p.O
#| dh = da @ p["U"].T ==> dh = da @ p["R"].T ## p.W, p.U, xs[0], xs[1]
