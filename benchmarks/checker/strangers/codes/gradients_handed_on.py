"""A network whose layers share the arrays of params, and whose method gradient hands on theirs by name."""
import numpy as np

class Relu:
    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        return dout

class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T

class Net:
    def __init__(self, sizes, rng):
        D, H, C = sizes
        self.params = {'W1': rng.normal(size=(D, H)), 'b1': rng.normal(size=H),
                       'W2': rng.normal(size=(H, C)), 'b2': rng.normal(size=C)}
        self.layers = {'Affine1': Affine(self.params['W1'], self.params['b1']), 'Relu1': Relu(),
                       'Affine2': Affine(self.params['W2'], self.params['b2'])}

    def loss(self, x, t):
        for layer in self.layers.values():
            x = layer.forward(x)
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return -np.log(self.y[np.arange(len(t)), t]).mean()

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.y.copy()
        dout[np.arange(len(t)), t] -= 1
        dout /= len(t)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        first, second = self.layers['Affine1'], self.layers['Affine2']
        return {'W1': first.dW, 'b1': first.db, 'W2': second.dW, 'b2': second.db}

# --- data
net, x, t = Net((4, 5, 3), rng), rng.normal(size=(6, 4)), np.array([0, 2, 1, 1, 0, 2])
# --- check
report = engine.check_object(net, (x, t))
# --- bugs
#| 'b1': first.db ==> 'b1': second.db.sum() * first.db ## b1
#| dout[self.mask] = 0 ==> pass ## W1, b1
#| dout /= len(t) ==> pass ## W2, b2
#| 'W2': second.dW ==> 'W2': 0.999 * second.dW ## W2
