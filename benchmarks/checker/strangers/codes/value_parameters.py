"""Parameters that are objects with data and grad, kept in a list."""
import numpy as np

class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)

class MLP:
    def __init__(self, sizes, rng):
        self.w1, self.b1 = Parameter(rng.normal(size=(sizes[0], sizes[1]))), Parameter(rng.normal(size=sizes[1]))
        self.w2 = Parameter(rng.normal(size=(sizes[1], sizes[2])))

    def parameters(self):
        return [self.w1, self.b1, self.w2]

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.w1.data + self.b1.data)
        return self.h @ self.w2.data

    def backward(self, dout):
        self.w2.grad += self.h.T @ dout
        dh = dout @ self.w2.data.T
        da = dh * (1 - self.h ** 2)
        self.w1.grad += self.x.T @ da
        self.b1.grad += da.sum(0)
        return da @ self.w1.data.T

# --- data
net, x = MLP((3, 4, 2), rng), rng.normal(size=(5, 3))
# --- check
report = engine.check_object(net, x)
# --- bugs
#| self.w2.grad += self.h.T @ dout ==> self.w2.grad += self.h.T @ dout * 1.00001 ## w2
#| da = dh * (1 - self.h ** 2) ==> da = dh * (1 - self.h) ** 2 ## w1, b1, x
#| self.x.T @ da ==> self.x.T @ dh ## w1
#| self.b1.grad += da.sum(0) ==> self.b1.grad += da.sum() ## b1
