"""A layer with dicts of parameters and gradients, made at its first pass, and a list of inputs."""
import numpy as np

class FullyConnected:
    def __init__(self, n_out, seed=0):
        self.n_out, self.is_initialized, self.X = n_out, False, []
        self.parameters, self.gradients, self.derived_variables = {"W": None, "b": None}, {}, {"Z": []}
        self.rng = np.random.default_rng(seed)

    def _init_params(self, n_in):
        self.parameters = {"W": self.rng.normal(size=(n_in, self.n_out)), "b": np.zeros((1, self.n_out))}
        self.gradients = {k: np.zeros_like(v) for k, v in self.parameters.items()}
        self.is_initialized = True

    def forward(self, X, retain_derived=True):
        if not self.is_initialized:
            self._init_params(X.shape[1])
        Z = X @ self.parameters["W"] + self.parameters["b"]
        if retain_derived:
            self.X.append(X)
            self.derived_variables["Z"].append(Z)
        return np.tanh(Z)

    def backward(self, dLdy, retain_grads=True):
        dLdy = dLdy if isinstance(dLdy, list) else [dLdy]
        dX = []
        for dy, x, z in zip(dLdy, self.X, self.derived_variables["Z"]):
            dZ = dy * (1 - np.tanh(z) ** 2)
            dX.append(dZ @ self.parameters["W"].T)
            if retain_grads:
                self.gradients["W"] += x.T @ dZ
                self.gradients["b"] += dZ.sum(axis=0, keepdims=True)
        return dX[0] if len(self.X) == 1 else dX

# --- data
layer, X = FullyConnected(3), rng.normal(size=(6, 4))
# --- check
report = engine.check_object(layer, X)
# --- bugs
#| (1 - np.tanh(z) ** 2) ==> (1 - z ** 2) ## X, W, b
#| x.T @ dZ ==> x.T @ dy ## W
#| dZ.sum(axis=0, keepdims=True) ==> dZ.mean(axis=0, keepdims=True) ## b
#| dX.append(dZ @ ==> dX.append(dy @ ## X
