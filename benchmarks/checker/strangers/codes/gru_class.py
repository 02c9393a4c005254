"""A GRU as an object: lists per step, gradients summed in a dict, lists in and out."""
import numpy as np

def sigm(a):
    return 1 / (1 + np.exp(-a))

class GRU:
    def __init__(self, D, H, rng):
        shapes = {"Wz": (D, H), "Wr": (D, H), "Wn": (D, H), "Uz": (H, H), "Ur": (H, H), "Un": (H, H)}
        self.params = {name: 0.6 * rng.normal(size=shape) for name, shape in shapes.items()}
        self.grads = {name: np.zeros(shape) for name, shape in shapes.items()}

    def forward(self, xs):
        p, self.steps = self.params, []
        h, hs = np.zeros((xs[0].shape[0], p["Uz"].shape[0])), []
        for x in xs:
            z, r = sigm(x @ p["Wz"] + h @ p["Uz"]), sigm(x @ p["Wr"] + h @ p["Ur"])
            n = np.tanh(x @ p["Wn"] + (r * h) @ p["Un"])
            self.steps.append((x, h, z, r, n))
            h = (1 - z) * n + z * h
            hs.append(h)
        return hs

    def backward(self, dhs):
        p, g = self.params, self.grads
        dh_next, dxs = 0, []
        for t in reversed(range(len(dhs))):
            x, h, z, r, n = self.steps[t]
            dh = dhs[t] + dh_next
            dn = dh * (1 - z) * (1 - n ** 2)
            dz = dh * (h - n) * z * (1 - z)
            drh = dn @ p["Un"].T
            dr = drh * h * r * (1 - r)
            for name, d in (("z", dz), ("r", dr), ("n", dn)):
                g["W" + name] += x.T @ d
            g["Uz"] += h.T @ dz
            g["Ur"] += h.T @ dr
            g["Un"] += (r * h).T @ dn
            dxs.insert(0, dz @ p["Wz"].T + dr @ p["Wr"].T + dn @ p["Wn"].T)
            dh_next = dh * z + drh * r + dz @ p["Uz"].T + dr @ p["Ur"].T
        return dxs

# --- data
layer, xs = GRU(3, 4, rng), [rng.normal(size=(2, 3)) for _ in range(4)]
# --- check
report = engine.check_object(layer, xs)
# --- bugs
#| dh * z + drh * r ==> dh * z + drh ## Wz, Wr, Wn, Uz, Ur, Un, xs[0], xs[1], xs[2]
#| g["Un"] += (r * h).T @ dn ==> g["Un"] += h.T @ dn ## Un
#| dz = dh * (h - n) * z ==> dz = dh * (n - h) * z ## Wz, Uz
#| dr = drh * h * r ==> dr = drh * r ## Wr, Ur
