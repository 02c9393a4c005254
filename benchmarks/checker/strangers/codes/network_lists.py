"""A network of column vectors with lists of weights and biases; backprop returns two lists."""
import numpy as np

def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))

class Network:
    def __init__(self, sizes, rng):
        self.biases = [rng.normal(size=(y, 1)) for y in sizes[1:]]
        self.weights = [rng.normal(size=(y, x)) for x, y in zip(sizes[:-1], sizes[1:])]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(w @ a + b)
        return a

    def backprop(self, x, y):
        nabla_b, nabla_w = [np.zeros(b.shape) for b in self.biases], [np.zeros(w.shape) for w in self.weights]
        activations, zs = [x], []
        for b, w in zip(self.biases, self.weights):
            zs.append(w @ activations[-1] + b)
            activations.append(sigmoid(zs[-1]))
        delta = (activations[-1] - y) * activations[-1] * (1 - activations[-1])
        nabla_b[-1], nabla_w[-1] = delta, delta @ activations[-2].T
        for l in range(2, len(self.weights) + 1):
            sp = sigmoid(zs[-l]) * (1 - sigmoid(zs[-l]))
            delta = (self.weights[-l + 1].T @ delta) * sp
            nabla_b[-l], nabla_w[-l] = delta, delta @ activations[-l - 1].T
        return nabla_b, nabla_w

# --- data
net, x, y = Network((3, 5, 4, 2), rng), rng.normal(size=(3, 1)), rng.normal(size=(2, 1))
# --- check
def cost(biases, weights):
    net.biases, net.weights = biases, weights
    return 0.5 * np.sum((net.feedforward(x) - y) ** 2)
report = engine.check_gradients(cost, lambda: net.backprop(x, y), [net.biases, net.weights])
# --- bugs
#| * activations[-1] * (1 - activations[-1]) ==> * activations[-1] ## biases[2], weights[2]
#| delta @ activations[-l - 1].T ==> delta @ activations[-l - 1].T * sp.mean() ## weights[1], weights[0]
#| self.weights[-l + 1].T @ delta) * sp ==> self.weights[-l + 1].T @ delta) ## biases[1], weights[1], biases[0], weights[0]
#| delta, delta @ activations[-2].T ==> delta.sum() + 0 * delta, delta @ activations[-2].T ## biases[2]
