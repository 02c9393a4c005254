"""A small autograd of arrays: each tensor has parents, a closure for its backward, and a grad that adds up."""
import numpy as np

def unbroadcast(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    return g

class Tensor:
    def __init__(self, data, parents=(), back=None):
        self.data, self.parents, self.back = np.asarray(data, dtype=float), parents, back
        self.grad = np.zeros_like(self.data)

    def __matmul__(self, other):
        def back(g):
            self.grad += g @ other.data.T
            other.grad += self.data.T @ g
        return Tensor(self.data @ other.data, (self, other), back)

    def __add__(self, other):
        def back(g):
            self.grad += unbroadcast(g, self.data.shape)
            other.grad += unbroadcast(g, other.data.shape)
        return Tensor(self.data + other.data, (self, other), back)

    def relu(self):
        def back(g):
            self.grad += g * (self.data > 0)
        return Tensor(np.maximum(self.data, 0), (self,), back)

    def backward(self, g):
        order, seen = [], set()
        def visit(t):
            if id(t) not in seen:
                seen.add(id(t))
                for parent in t.parents:
                    visit(parent)
                order.append(t)
        visit(self)
        self.grad = self.grad + g
        for t in reversed(order):
            if t.back is not None:
                t.back(t.grad)

class Linear:
    def __init__(self, size, width, rng):
        self.w, self.b = Tensor(rng.normal(size=(size, width))), Tensor(rng.normal(size=width))

    def __call__(self, x):
        return x @ self.w + self.b

class MLP:
    def __init__(self, sizes, rng):
        self.layers = [Linear(a, b, rng) for a, b in zip(sizes, sizes[1:])]

    def forward(self, x):
        self.x = t = Tensor(x)
        for layer in self.layers[:-1]:
            t = layer(t).relu()
        self.out = self.layers[-1](t)
        return self.out.data

    def backward(self, dout):
        self.out.backward(dout)
        return self.x.grad

# --- data
net, x = MLP((3, 5, 2), rng), rng.normal(size=(6, 3))
# --- check
report = engine.check_object(net, x)
# --- bugs
#| g = g.sum(axis=0) ==> g = g.mean(axis=0) ## layers[0].b, layers[1].b
#| self.grad += g @ other.data.T ==> self.grad += g @ other.data.T / 2 ## layers[0].w, layers[0].b, x
#| self.grad += g * (self.data > 0) ==> self.grad += g ## layers[0].w, layers[0].b, x
#| other.grad += self.data.T @ g ==> other.grad += self.data.T @ g[::-1] ## layers[0].w, layers[1].w
