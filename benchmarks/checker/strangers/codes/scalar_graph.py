"""A graph of single numbers: closures add to the gradients of a node's parents, which stand in a set."""
import math

class Value:
    def __init__(self, data, _children=()):
        self.data, self.grad, self._prev = data, 0, set(_children)
        self._backward = lambda: None

    def __add__(self, other):
        out = Value(self.data + other.data, (self, other))
        def _backward():
            self.grad += out.grad
            other.grad += out.grad
        out._backward = _backward
        return out

    def __mul__(self, other):
        out = Value(self.data * other.data, (self, other))
        def _backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad
        out._backward = _backward
        return out

    def tanh(self):
        t = math.tanh(self.data)
        out = Value(t, (self,))
        def _backward():
            self.grad += (1 - t * t) * out.grad
        out._backward = _backward
        return out

    def backward(self):
        topo, visited = [], set()
        def build(v):
            if v not in visited:
                visited.add(v)
                for child in v._prev:
                    build(child)
                topo.append(v)
        build(self)
        self.grad = 1
        for v in reversed(topo):
            v._backward()

def forward(w1, w2, b, x):
    nodes = [Value(n) for n in (w1, w2, b, x)]
    w1, w2, b, x = nodes
    h = (w1 * x + b).tanh()
    out = w2 * h * h + h * x
    return out.data, (out, nodes)

def backward(dout, cache):
    out, nodes = cache
    out.backward()
    return [dout * node.grad for node in nodes]

# --- data
numbers = [float(n) for n in rng.normal(size=4)]
# --- check
report = engine.check_gradients(forward, backward, numbers)
# --- bugs
#| self.grad += (1 - t * t) * out.grad ==> self.grad += (1 - t) * out.grad ## w1, b, x
#| self.grad += other.data * out.grad ==> self.grad = other.data * out.grad ## w1, w2, b, x
#| other.grad += self.data * out.grad ==> other.grad += other.data * out.grad ## w1, w2, b, x
#| for v in reversed(topo): ==> for v in topo: ## w1, w2, b, x
